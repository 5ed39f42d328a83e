#include "train/weights.h"
#include "base/err.h"
#include "base/fs.h"
#include "base/mem.h"
#include "model/convert.h"
#include "par/agree.h"
#include "par/zero.h"
#include "train/ckpt.h"
#include <stdio.h>
#include <string.h>

enum source { SOURCE_FILE, SOURCE_FOLDER, SOURCE_RUN };

static int kind_of(enum source *kind, const char *from)
{
    char inside[FS_PATH_MAX];
    if (!fs_exists(from))
        return ERR(E_DATA, "%s does not exist", from);
    *kind = SOURCE_FILE;
    if (!fs_is_dir(from))
        return OK;
    TRY(fs_join(inside, from, "checkpoints"));
    *kind = SOURCE_RUN;
    if (fs_is_dir(inside))
        return OK;
    TRY(fs_join(inside, from, "config.json"));
    *kind = SOURCE_FOLDER;
    if (fs_exists(inside))
        return OK;
    return ERR(E_DATA,
               "%s is neither a run folder (no checkpoints/) nor a Hugging Face folder (no "
               "config.json)",
               from);
}

/* The file or folder behind a name: a run folder stands for its newest checkpoint. Collective. */
static int resolve(char *path, const struct comm *c, const char *from)
{
    enum source kind = SOURCE_FILE;
    TRY(agree(c, kind_of(&kind, from)));
    if (kind != SOURCE_RUN) {
        snprintf(path, FS_PATH_MAX, "%s", from);
        return OK;
    }
    TRY(ckpt_newest(c, from, false, path));
    return path[0] ? OK : ERR(E_DATA, "%s has no checkpoint yet", from);
}

static int spec_of_checkpoint(struct model_spec *s, const char *path)
{
    struct ckpt_meta m = {0};
    TRY(ckpt_read_meta(path, &m));
    int rc = spec_from_json(s, m.spec_json, path);
    ckpt_meta_release(&m);
    return rc;
}

/* All checkpoints of a run have one shape: of the newest that tells it. */
static int spec_of_steps(struct model_spec *s, const char *run, const int64_t *step, size_t n)
{
    char path[FS_PATH_MAX];
    int rc = ERR(E_DATA, "%s has no checkpoint yet", run);
    for (size_t i = 0; i < n && rc == E_DATA; i++) {
        TRY(ckpt_path(path, run, step[i]));
        rc = spec_of_checkpoint(s, path);
    }
    return rc;
}

static int spec_of_run(struct model_spec *s, const char *run)
{
    int64_t *step;
    size_t n;
    TRY(ckpt_list(run, &step, &n, NULL));
    int rc = spec_of_steps(s, run, step, n);
    mem_free(step);
    return rc;
}

int weights_spec(struct model_spec *s, const char *from)
{
    static int (*const spec_of[])(struct model_spec * s,
                                  const char *from) = {[SOURCE_FILE] = spec_of_checkpoint,
                                                       [SOURCE_FOLDER] = spec_from_file,
                                                       [SOURCE_RUN] = spec_of_run};
    enum source kind = SOURCE_FILE;
    TRY(kind_of(&kind, from));
    return spec_of[kind](s, from);
}

/* Each rank its pieces, or all of it where the shard is the whole. */
static int read_checkpoint(float *params, const struct tensor_table *t, const struct shard *s,
                           const struct comm *c, const char *path)
{
    struct ckpt_array a = {.kind = "params", .slab = true, .shard = s};
    a.data = params;
    TRY(ckpt_read(c, path, t, &a, 1));
    return s->size > 1 ? zero_allgather(c, s, params) : OK;
}

static int read_params(float *params, const struct tensor_table *t, const struct shard *s,
                       const struct comm *c, const char *path)
{
    if (!fs_is_dir(path))
        return read_checkpoint(params, t, s, c, path);
    /* What a team's first rank has read, the others see once all have agreed. */
    return agree(c, team_leads(&c->team) ? convert_read(path, t, params) : OK);
}

static int tokenizer_of_folder(struct tokenizer **tok, const char *folder)
{
    char path[FS_PATH_MAX];
    TRY(fs_join(path, folder, "tokenizer.model"));
    return fs_exists(path) ? tokenizer_open(tok, path) : OK;
}

static int describe_checkpoint(struct weights *w)
{
    struct ckpt_meta m = {0};
    int rc;
    TRY(ckpt_read_meta(w->path, &m));
    w->step = m.step;
    if (m.config_text != NULL && m.config_text[0] != '\0') {
        w->config_text = m.config_text;
        m.config_text = NULL;
    }
    TRY_OUT(spec_from_json(&w->spec, m.spec_json, w->path));
    if (m.n_tokenizer)
        TRY_OUT(tokenizer_from_bytes(&w->tokenizer, m.tokenizer, m.n_tokenizer, w->path));
out:
    ckpt_meta_release(&m);
    return rc;
}

static int describe(struct weights *w)
{
    w->step = -1;
    if (fs_is_dir(w->path)) {
        TRY(spec_from_file(&w->spec, w->path));
        TRY(tokenizer_of_folder(&w->tokenizer, w->path));
    } else {
        TRY(describe_checkpoint(w));
    }
    return tensors_init(&w->tensors, &w->spec);
}

int weights_load(struct weights *w, const struct comm *c, const char *from)
{
    memset(w, 0, sizeof *w);
    int rc = resolve(w->path, c, from);
    if (rc == OK)
        rc = describe(w);
    if (rc == OK)
        rc = mem_alloc(&w->params, w->tensors.n_elems, sizeof(float), "parameters");
    rc = agree(c, rc);
    if (rc == OK) {
        struct shard whole; /* every rank reads all of it */
        struct comm each = comm_without_teams(c);
        shard_init(&whole, w->tensors.n_elems, 16 << 20, 1, 0);
        rc = read_params(w->params, &w->tensors, &whole, &each, w->path);
    }
    if (rc != OK)
        weights_release(w);
    return rc;
}

void weights_release(struct weights *w)
{
    mem_free(w->params);
    mem_free(w->config_text);
    tensors_release(&w->tensors);
    tokenizer_free(w->tokenizer);
    memset(w, 0, sizeof *w);
}

static int check_shapes(const struct weights *w, const struct tensor_table *t)
{
    if (w->tensors.n != t->n)
        return ERR(E_CONFIG, "%s holds %d tensors, this model has %d: another architecture",
                   w->path, w->tensors.n, t->n);
    for (int i = 0; i < t->n; i++) {
        const struct tensor *a = &w->tensors.row[i], *b = &t->row[i];
        if (strcmp(a->name, b->name) != 0 || a->n != b->n || a->dims[0] != b->dims[0])
            return ERR(E_CONFIG,
                       "%s: %s is [%zu,%zu] there and %s is [%zu,%zu] in this model; set "
                       "model.path to the same model",
                       w->path, a->name, a->dims[0], a->n / a->dims[0], b->name, b->dims[0],
                       b->n / b->dims[0]);
    }
    return OK;
}

/* The description alone; the values go straight into the caller's slab. */
int weights_load_into(float *params, const struct tensor_table *t, const struct shard *s,
                      const struct comm *c, const char *from)
{
    struct weights w = {0};
    int rc = resolve(w.path, c, from);
    if (rc == OK)
        rc = describe(&w);
    if (rc == OK)
        rc = check_shapes(&w, t);
    rc = agree(c, rc);
    if (rc == OK)
        rc = read_params(params, t, s, c, w.path);
    weights_release(&w);
    return rc;
}
