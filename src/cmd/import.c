#include "base/clock.h"
#include "base/err.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "cmd/cmd.h"
#include "cmd/opts.h"
#include "par/agree.h"
#include "train/ckpt.h"
#include "train/run.h"
#include "train/weights.h"
#include "version.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

struct request {
    const char *from, *output, *tokenizer;
    bool force;
};

/* Only what came from elsewhere is imported: a run's own checkpoint is one already. */
static int check_request(const struct request *r)
{
    char config[FS_PATH_MAX];
    TRY(fs_join(config, r->from, "config.json"));
    if (!fs_exists(config))
        return ERR(E_DATA, "%s: no Hugging Face folder (it holds no config.json)", r->from);
    if (fs_is_dir(r->output))
        return ERR(E_CONFIG, "%s is a folder; name a file: -o %s/model.h5", r->output, r->output);
    if (fs_exists(r->output) && !r->force)
        return ERR(E_CONFIG, "%s exists; --force replaces it", r->output);
    return OK;
}

/* The tokenizer of another file in the place of the folder's own. */
static int take_tokenizer(struct weights *w, const char *path)
{
    if (path == NULL)
        return OK;
    tokenizer_free(w->tokenizer);
    w->tokenizer = NULL;
    return tokenizer_open(&w->tokenizer, path);
}

static int check_tokenizer(const struct weights *w)
{
    if (w->tokenizer != NULL && tokenizer_vocab(w->tokenizer) > w->spec.V)
        return ERR(E_DATA,
                   "the tokenizer has %d pieces, the model %d rows: they do not belong together",
                   tokenizer_vocab(w->tokenizer), w->spec.V);
    return OK;
}

static int copy_tokenizer(struct ckpt_meta *m, const struct tokenizer *t)
{
    if (t == NULL)
        return OK;
    const void *bytes = tokenizer_bytes(t, &m->n_tokenizer);
    TRY(mem_alloc(&m->tokenizer, m->n_tokenizer, 1, "tokenizer"));
    memcpy(m->tokenizer, bytes, m->n_tokenizer);
    snprintf(m->tokenizer_hash, sizeof m->tokenizer_hash, "%s", tokenizer_hash(t));
    return OK;
}

/* A checkpoint of no run: step 0, weights alone. */
static int describe(struct ckpt_meta *m, const struct weights *w, const struct comm *c)
{
    m->ranks = c->size;
    clock_stamp(m->created, sizeof m->created);
    snprintf(m->build, sizeof m->build, "%s", CARAT_VERSION);
    TRY(run_new_id(m->run_id));
    TRY(spec_to_json(&w->spec, &m->spec_json));
    return copy_tokenizer(m, w->tokenizer);
}

static void report(const struct request *r, const struct weights *w, double bytes, double seconds)
{
    char n[32], size[32];
    log_info("read            %s: Gemma %d, %s parameters in %d tensors", r->from, w->spec.family,
             fmt_si(n, sizeof n, (double)w->tensors.n_params), w->tensors.n);
    log_info("tokenizer       %s", w->tokenizer != NULL
                                       ? "in the checkpoint"
                                       : "none found; give --tokenizer FILE to keep one with it");
    log_info("wrote           %s, %s in %.2f s, every value exact", r->output,
             fmt_bytes(size, sizeof size, bytes), seconds);
}

static int write_checkpoint(const struct request *r, const struct comm *c, struct weights *w)
{
    struct ckpt_set set = {.tensors = &w->tensors, .n_arrays = 1};
    struct shard whole;
    struct ckpt_cost cost;
    shard_init(&whole, w->tensors.n_elems, 16 << 20, 1, 0);
    set.array[0] =
        (struct ckpt_array){.kind = "params", .data = w->params, .slab = true, .shard = &whole};
    int rc = describe(&set.meta, w, c);
    /* Made by chance: every rank takes root's. */
    rc = agree_bcast(c, 0, rc, set.meta.run_id, sizeof set.meta.run_id);
    if (rc == OK)
        rc = agree_bcast(c, 0, rc, set.meta.created, sizeof set.meta.created);
    if (rc == OK)
        rc = ckpt_write(c, r->output, &set, &cost);
    if (rc == OK)
        report(r, w, cost.bytes, cost.seconds);
    ckpt_meta_release(&set.meta);
    return rc;
}

static int run(const struct request *r, const struct comm *c)
{
    struct weights w;
    TRY(agree(c, check_request(r)));
    TRY(weights_load(&w, c, r->from));
    int rc = take_tokenizer(&w, r->tokenizer);
    if (rc == OK)
        rc = check_tokenizer(&w);
    rc = agree(c, rc);
    if (rc == OK)
        rc = write_checkpoint(r, c, &w);
    weights_release(&w);
    return rc;
}

int cmd_import(int argc, char **argv)
{
    struct request r = {0};
    bool help = false;
    const struct opt table[] = {
        {"output", 'o', OPT_STR, &r.output, "FILE", "the checkpoint to write (HDF5)"},
        {"tokenizer", 0, OPT_STR, &r.tokenizer, "FILE",
         "a SentencePiece model to keep with the weights; else the folder's tokenizer.model"},
        {"force", 'f', OPT_FLAG, &r.force, NULL, "replace FILE when it exists"},
        {"help", 'h', OPT_FLAG, &help, NULL, "this text"},
    };
    enum { N = sizeof table / sizeof *table };
    TRY(opts_parse(table, N, &argc, argv));
    if (help) {
        opts_help(stdout, "carat import FOLDER -o FILE",
                  "Reads a Hugging Face folder of a Gemma model (config.json, safetensors in one "
                  "file or in shards, tokenizer.model) into a checkpoint of step 0. F32, BF16 and "
                  "F16 become float32 without loss. Of a model that also sees pictures the text "
                  "part is taken. Training starts from it with model.init=FILE.",
                  table, N, "carat import ~/models/gemma-3-270m -o gemma-3-270m.h5");
        return OK;
    }
    if (argc != 2 || r.output == NULL)
        return ERR(E_USAGE, "import takes one folder and an output: carat import FOLDER -o FILE");
    r.from = argv[1];
    struct comm c;
    TRY(comm_init(&c, &argc, &argv));
    int rc = run(&r, &c);
    comm_end(&c);
    return rc;
}
