#include "base/err.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/str.h"
#include "cmd/cmd.h"
#include "cmd/opts.h"
#include "model/convert.h"
#include "par/agree.h"
#include "train/weights.h"

#include <dirent.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct {
    const char *name;
    enum convert_dtype dtype;
    size_t bytes;
} dtypes[] = {{"f32", CONVERT_F32, 4}, {"bf16", CONVERT_BF16, 2}, {"f16", CONVERT_F16, 2}};
enum { N_DTYPES = sizeof dtypes / sizeof dtypes[0] };

struct request {
    const char *from, *output, *dtype_name;
    int dtype; /* row of dtypes */
    double max_shard_bytes;
    bool force;
};

static int find_dtype(struct request *r)
{
    for (r->dtype = 0; r->dtype < N_DTYPES; r->dtype++)
        if (strcmp(r->dtype_name, dtypes[r->dtype].name) == 0)
            return OK;
    return ERR(E_USAGE, "--dtype is f32, bf16 or f16, not \"%s\"", r->dtype_name);
}

/* ---- the folder ---- */

/* Files that an earlier export may have left and that would be read beside the new ones. */
static bool is_ours(const char *name)
{
    return strcmp(name, "config.json") == 0 || strcmp(name, "model.safetensors") == 0 ||
           strcmp(name, "model.safetensors.index.json") == 0 ||
           (strncmp(name, "model-", 6) == 0 && str_ends(name, ".safetensors")) ||
           strcmp(name, "tokenizer.model") == 0 || strcmp(name, "tokenizer.json") == 0 ||
           strcmp(name, "tokenizer_config.json") == 0;
}

static int clear_entry(const char *folder, const char *name, bool force)
{
    char path[FS_PATH_MAX];
    if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return OK;
    if (!force)
        return ERR(E_CONFIG,
                   "%s is not empty (it holds %s); choose another folder, or --force to replace "
                   "the model in it",
                   folder, name);
    if (!is_ours(name))
        return OK;
    TRY(fs_join(path, folder, name));
    if (unlink(path) != 0)
        return ERR(E_IO, "%s: cannot remove: %s", path, strerror(errno));
    return OK;
}

/* Refuses a folder that holds something; with force takes the model in it away first. */
static int clear_folder(const char *folder, bool force)
{
    if (!fs_exists(folder))
        return OK;
    DIR *d = opendir(folder);
    if (d == NULL)
        return ERR(errno == ENOTDIR ? E_CONFIG : E_IO, "%s: cannot use as a folder: %s", folder,
                   strerror(errno));
    int rc = OK;
    for (struct dirent *e; rc == OK && (e = readdir(d)) != NULL;)
        rc = clear_entry(folder, e->d_name, force);
    closedir(d);
    return rc;
}

/* The source would be gone before its copy is whole. */
static int refuse_same(const char *from, const char *to)
{
    char *a = realpath(from, NULL), *b = realpath(to, NULL);
    int rc = a != NULL && b != NULL && strcmp(a, b) == 0
                 ? ERR(E_CONFIG, "%s is the source itself; choose another folder", to)
                 : OK;
    free(a);
    free(b);
    return rc;
}

static int put_text(const char *folder, const char *name, const char *text)
{
    char path[FS_PATH_MAX];
    TRY(fs_join(path, folder, name));
    return fs_write_file(path, text, strlen(text));
}

/* ---- what lies beside the weights ---- */

static const char generation_config[] = "{\n"
                                        "  \"_from_model_config\": true,\n"
                                        "  \"bos_token_id\": 2,\n"
                                        "  \"do_sample\": true,\n"
                                        "  \"eos_token_id\": 1,\n"
                                        "  \"pad_token_id\": 0\n"
                                        "}\n";

static const char tokenizer_config[] = "{\n"
                                       "  \"add_bos_token\": true,\n"
                                       "  \"add_eos_token\": false,\n"
                                       "  \"bos_token\": \"<bos>\",\n"
                                       "  \"clean_up_tokenization_spaces\": false,\n"
                                       "  \"eos_token\": \"<eos>\",\n"
                                       "  \"pad_token\": \"<pad>\",\n"
                                       "  \"sp_model_kwargs\": {},\n"
                                       "  \"spaces_between_special_tokens\": false,\n"
                                       "  \"tokenizer_class\": \"GemmaTokenizer\",\n"
                                       "  \"unk_token\": \"<unk>\"\n"
                                       "}\n";

static int write_tokenizer(const char *folder, const struct tokenizer *t)
{
    char path[FS_PATH_MAX];
    size_t n;
    if (t == NULL)
        return OK;
    const void *bytes = tokenizer_bytes(t, &n);
    TRY(fs_join(path, folder, "tokenizer.model"));
    TRY(fs_write_file(path, bytes, n));
    return put_text(folder, "tokenizer_config.json", tokenizer_config);
}

static void report(const struct request *r, const struct weights *w, bool exact)
{
    char n[32], size[32];
    double bytes = (double)w->tensors.n_params * (double)dtypes[r->dtype].bytes;
    log_info("read            %s: Gemma %d, %s parameters in %d tensors", w->path, w->spec.family,
             fmt_si(n, sizeof n, (double)w->tensors.n_params), w->tensors.n);
    log_info("wrote           %s, %s as %s; %s", r->output, fmt_bytes(size, sizeof size, bytes),
             r->dtype_name,
             exact                  ? "every value exact"
             : w->spec.mup_base > 0 ? "muP's constants are in its norms or matrices now"
                                    : "values were rounded to it (--dtype f32 keeps all)");
    log_info("tokenizer       %s", w->tokenizer != NULL ? "tokenizer.model" : "none known");
}

/* The model comes last: config.json stands for a folder that is whole. */
static int write_folder(const struct request *r, const struct weights *w)
{
    int exact;
    TRY(refuse_same(w->path, r->output));
    TRY(clear_folder(r->output, r->force));
    TRY(fs_mkdirs(r->output));
    TRY(write_tokenizer(r->output, w->tokenizer));
    TRY(put_text(r->output, "generation_config.json", generation_config));
    TRY(convert_write(r->output, &w->spec, &w->tensors, w->params, dtypes[r->dtype].dtype,
                      (size_t)r->max_shard_bytes, &exact));
    report(r, w, exact);
    return OK;
}

static int run(const struct request *r, const struct comm *c)
{
    struct weights w;
    /* Before anything large is read. */
    TRY(agree(c, r->force ? OK : clear_folder(r->output, false)));
    TRY(weights_load(&w, c, r->from));
    int rc = agree(c, c->rank == 0 ? write_folder(r, &w) : OK);
    weights_release(&w);
    return rc;
}

int cmd_export(int argc, char **argv)
{
    struct request r = {.dtype_name = "f32", .max_shard_bytes = 5e9};
    bool help = false;
    const struct opt table[] = {
        {"output", 'o', OPT_STR, &r.output, "FOLDER", "the folder to write"},
        {"dtype", 0, OPT_STR, &r.dtype_name, "TYPE",
         "f32 (default: exact), bf16 or f16 (rounded to nearest even)"},
        {"max-shard", 0, OPT_F64, &r.max_shard_bytes, "SIZE",
         "the most bytes of one weight file, as 500MB or 4GiB (default 5GB; 0: one file)"},
        {"force", 'f', OPT_FLAG, &r.force, NULL, "replace the model in a folder that is not empty"},
        {"help", 'h', OPT_FLAG, &help, NULL, "this text"},
    };
    enum { N = sizeof table / sizeof *table };
    TRY(opts_parse(table, N, &argc, argv));
    if (help) {
        opts_help(stdout, "carat export FROM -o FOLDER",
                  "Writes a run's newest checkpoint, a checkpoint or another folder's model as a "
                  "Hugging Face folder: config.json, model.safetensors (with an index when it is "
                  "sharded), generation_config.json, and the tokenizer when it is known. `carat "
                  "import` reads it back bit for bit.",
                  table, N, "carat export runs/quickstart -o quickstart-hf --dtype bf16");
        return OK;
    }
    if (argc != 2 || r.output == NULL)
        return ERR(E_USAGE, "export takes one source and an output: carat export FROM -o FOLDER");
    if (!(r.max_shard_bytes >= 0 && r.max_shard_bytes < 0x1p62))
        return ERR(E_USAGE, "--max-shard is %g; it is a size in bytes", r.max_shard_bytes);
    TRY(find_dtype(&r));
    r.from = argv[1];
    struct comm c;
    TRY(comm_init(&c, &argc, &argv));
    int rc = run(&r, &c);
    comm_end(&c);
    return rc;
}
