#include "ckpt_parts.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/fault.h"
#include "base/fs.h"
#include "base/mem.h"
#include "par/agree.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* What the payload is at work for, and the two ends. */
enum stage { WRITING, READING, PUBLISHED, FAILED };

/* One checkpoint on its way. */
struct ckpt_save {
    const struct comm *c;
    const struct ckpt_set *set;
    char path[FS_PATH_MAX], temp[FS_PATH_MAX];
    bool named; /* temp is ours */
    struct ckpt_index x;
    size_t *number;             /* datasets of array 0's tensors, of array 1's, ... */
    int64_t extra[CKPT_EXTRAS]; /* dataset, or -1 */
    struct ckpt_payload payload;
    bool aside; /* the payload's work has a thread */
    enum stage stage;
    double seconds, staging_s;
};

/* ---- what will be in the file ---- */

static int add_tensor(struct ckpt_dataset *d, const char *kind, const struct tensor *t)
{
    d->is_f32 = true;
    d->n_dims = t->n_dims;
    d->bytes = t->n * sizeof(float);
    for (int i = 0; i < t->n_dims && i < 2; i++)
        d->dims[i] = t->dims[i];
    return ckpt_dataset_name(d->name, kind, t->name);
}

static void add_extra(struct ckpt_save *s, enum ckpt_extra e, uint64_t bytes)
{
    s->extra[e] = -1;
    if (bytes == 0)
        return;
    struct ckpt_dataset *d = &s->x.dataset[s->x.n];
    bool text = e == CKPT_HISTORY;
    *d = (struct ckpt_dataset){.bytes = bytes, .is_text = text, .n_dims = text ? 0 : 1};
    d->dims[0] = bytes;
    snprintf(d->name, sizeof d->name, "/%s", text ? "history" : "tokenizer");
    s->extra[e] = (int64_t)s->x.n++;
}

static int check_set(const struct ckpt_save *s)
{
    const struct ckpt_set *set = s->set;
    if (set->n_arrays < 1 || set->n_arrays > CKPT_MAX_ARRAYS || set->tensors->n < 1)
        return ERR(E_BUG, "%s: a checkpoint of nothing", s->path);
    for (int a = 0; a < set->n_arrays; a++) {
        const struct shard *own = set->array[a].shard;
        size_t n = ckpt_layout(&set->array[a], set->tensors)->n_elems;
        if (own->n != n || (own->size != 1 && own->size != s->c->size))
            return ERR(E_BUG, "%s: %s is sharded otherwise than the ranks are", s->path,
                       set->array[a].kind);
    }
    return OK;
}

/* The arrays' datasets; a tensor that nobody has has no dataset. */
static int list_arrays(struct ckpt_save *s)
{
    const struct ckpt_set *set = s->set;
    size_t k = 0;
    for (int a = 0; a < set->n_arrays; a++) {
        const struct tensor_table *t = ckpt_layout(&set->array[a], set->tensors);
        for (int i = 0; i < t->n; i++, k++) {
            s->number[k] = s->x.n;
            if (ckpt_has(&set->array[a], &t->row[i]))
                TRY(add_tensor(&s->x.dataset[s->x.n++], set->array[a].kind, &t->row[i]));
        }
    }
    return OK;
}

static int list_datasets(struct ckpt_save *s, const uint64_t extra_bytes[CKPT_EXTRAS])
{
    const struct ckpt_set *set = s->set;
    size_t n = ckpt_n_tensors(set->array, set->n_arrays, set->tensors);
    TRY(ckpt_index_init(&s->x, n + CKPT_EXTRAS));
    TRY(mem_alloc(&s->number, n, sizeof *s->number, "checkpoint datasets"));
    s->x.n = 0;
    TRY(list_arrays(s));
    for (int e = 0; e < CKPT_EXTRAS; e++)
        add_extra(s, (enum ckpt_extra)e, extra_bytes[e]);
    TRY(ckpt_index_number(&s->x));
    return ckpt_payload_init(&s->payload, &s->x, set, s->number, s->extra, s->c, s->temp);
}

/* The extras and the temporary name are root's: a rank that differs would make another file. */
static int plan(struct ckpt_save *s)
{
    const struct ckpt_meta *m = &s->set->meta;
    uint64_t bytes[CKPT_EXTRAS] = {m->tokenizer != NULL ? m->n_tokenizer : 0,
                                   m->history != NULL ? strlen(m->history) : 0};
    int rc = check_set(s);
    if (snprintf(s->temp, sizeof s->temp, "%s.tmp-%.8s-%ld", s->path, m->run_id, (long)getpid()) >=
        (int)sizeof s->temp)
        rc = ERR(E_CONFIG, "%.60s...: the path is too long", s->path);
    TRY(agree_bcast(s->c, 0, rc, s->temp, sizeof s->temp));
    TRY(agree_bcast(s->c, 0, OK, bytes, sizeof bytes));
    return agree(s->c, list_datasets(s, bytes));
}

/* ---- making the file ---- */

static int create(struct ckpt_save *s)
{
    TRY(ckpt_file_create(s->c, s->temp, &s->x));
    int rc = s->c->rank == 0 ? ckpt_file_describe(s->temp, &s->x, &s->set->meta) : OK;
    return agree_bcast(s->c, 0, rc, s->x.dataset, s->x.n * sizeof *s->x.dataset);
}

/* ---- between writing and reading back ---- */

/* The block's sum, and a reader that did not write most of it: on another node where there is one,
 * since ranks of one node share the page cache. */
static int take_covers(struct ckpt_save *s, const struct ckpt_cover *cover)
{
    const struct comm *c = s->c;
    int step = c->n_nodes > 1 && c->node_size > 0 && c->node_size < c->size ? c->node_size : 1;
    for (size_t i = 0; i < s->x.n_blocks; i++) {
        size_t n;
        const struct ckpt_dataset *d = ckpt_block(&s->x, i, NULL, &n);
        if (cover[i].n != n)
            return ERR(E_BUG, "%s: the ranks wrote %llu of %zu bytes of block %llu of %s", s->temp,
                       (unsigned long long)cover[i].n, n, (unsigned long long)(i - d->first_block),
                       d->name);
        s->x.crc[i] = cover[i].crc;
        int skip = c->size > step ? step + (int)(i % (size_t)(c->size - step)) : 0;
        s->payload.reader[i] = (cover[i].owner + skip) % c->size;
    }
    return OK;
}

static int share_sums(struct ckpt_save *s)
{
    struct ckpt_cover *cover = NULL;
    int rc = s->c->rank == 0
                 ? mem_alloc(&cover, s->x.n_blocks, sizeof *cover, "joined checkpoint sums")
                 : OK;
    TRY_OUT(agree(s->c, rc));
    TRY_OUT(ckpt_sums_gather(s->c, &s->payload.sums, cover, s->x.n_blocks));
    if (s->c->rank == 0)
        rc = take_covers(s, cover);
    TRY_OUT(agree_bcast(s->c, 0, rc, s->x.crc, s->x.n_blocks * sizeof *s->x.crc));
    rc = agree_bcast(s->c, 0, OK, s->payload.reader, s->x.n_blocks * sizeof *s->payload.reader);
out:
    mem_free(cover);
    return rc;
}

/* ---- publishing ---- */

static int rename_durably(const struct ckpt_save *s)
{
    if (s->set->may_publish != NULL)
        TRY(s->set->may_publish(s->set->may_publish_ctx));
    if (fault_hit("ckpt.rename"))
        return ERR(E_IO, "%s: cannot rename (fault ckpt.rename)", s->temp);
    if (rename(s->temp, s->path) != 0)
        return ERR(E_IO, "%s: cannot rename to %s: %s", s->temp, s->path, strerror(errno));
    /* Where that fails the file stays: it verifies, and a file of that name that it replaced is no
     * longer there. It only is not acknowledged. */
    return fault_hit("ckpt.folder")
               ? ERR(E_IO, "%s: cannot fsync its folder (fault ckpt.folder)", s->path)
               : fs_fsync_parent(s->path);
}

static int commit_and_rename(const struct ckpt_save *s)
{
    TRY(ckpt_file_commit(s->temp, &s->x));
    return rename_durably(s);
}

static int publish(struct ckpt_save *s)
{
    return agree(s->c, s->c->rank == 0 ? commit_and_rename(s) : OK);
}

/* ---- from stage to stage ---- */

/* What a stage came to; nothing is left of a save that failed. */
static int conclude(struct ckpt_save *s, int rc, double begun)
{
    s->seconds += clock_now_s() - begun;
    if (rc == OK)
        return OK;
    s->stage = FAILED;
    if (s->named && s->c->rank == 0)
        unlink(s->temp);
    return rc;
}

/* Waits for this rank's work; the slowest rank's seconds are the save's. */
static int join(struct ckpt_save *s)
{
    int rc = ckpt_payload_join(&s->payload);
    double slowest = s->payload.seconds;
    MPI_TRY(MPI_Allreduce(MPI_IN_PLACE, &slowest, 1, MPI_DOUBLE, MPI_MAX, s->c->world));
    s->seconds += slowest;
    return agree(s->c, rc);
}

static int prepare(struct ckpt_save *s, void *staging, size_t bytes)
{
    TRY(plan(s));
    s->named = true;
    TRY(create(s));
    double begun = clock_now_s();
    int rc = s->aside ? ckpt_payload_stage(&s->payload, staging, bytes) : OK;
    s->staging_s = clock_now_s() - begun;
    return agree(s->c, rc);
}

int ckpt_save_begin(struct ckpt_save **out, const struct comm *c, const char *path,
                    const struct ckpt_set *set, bool aside, void *staging, size_t bytes)
{
    struct ckpt_save *s;
    double begun = clock_now_s();
    int rc = mem_alloc(&s, 1, sizeof *s, "checkpoint on its way");
    *out = s;
    TRY_OUT(agree(c, rc));
    s->c = c;
    s->set = set;
    s->aside = aside;
    snprintf(s->path, sizeof s->path, "%s", path);
    rc = conclude(s, prepare(s, staging, bytes), begun);
    if (rc == OK)
        ckpt_payload_write(&s->payload, aside);
out:
    if (rc != OK) {
        ckpt_save_free(s);
        *out = NULL;
    }
    return rc;
}

bool ckpt_save_busy(const struct ckpt_save *s)
{
    return atomic_load_explicit(&s->payload.busy, memory_order_acquire);
}

bool ckpt_save_done(const struct ckpt_save *s)
{
    return s->stage == PUBLISHED;
}

struct ckpt_cost ckpt_save_cost(const struct ckpt_save *s)
{
    struct ckpt_cost cost = {.seconds = s->seconds, .staging_s = s->staging_s};
    for (size_t i = 0; i < s->x.n; i++)
        cost.bytes += (double)s->x.dataset[i].bytes;
    return cost;
}

int ckpt_save_advance(struct ckpt_save *s)
{
    int rc = join(s);
    double begun = clock_now_s();
    if (rc == OK)
        rc = s->stage == WRITING ? share_sums(s) : publish(s);
    TRY(conclude(s, rc, begun));
    if (s->stage++ == WRITING)
        ckpt_payload_read(&s->payload, s->aside);
    return OK;
}

int ckpt_save_finish(struct ckpt_save *s)
{
    while (!ckpt_save_done(s))
        TRY(ckpt_save_advance(s));
    return OK;
}

void ckpt_save_free(struct ckpt_save *s)
{
    if (s == NULL)
        return;
    ckpt_payload_release(&s->payload);
    if (s->named && s->stage < PUBLISHED && s->c->rank == 0)
        unlink(s->temp);
    ckpt_index_release(&s->x);
    mem_free(s->number);
    mem_free(s);
}

int ckpt_write(const struct comm *c, const char *path, const struct ckpt_set *set,
               struct ckpt_cost *cost)
{
    struct ckpt_save *s;
    TRY(ckpt_save_begin(&s, c, path, set, false, NULL, 0));
    int rc = ckpt_save_finish(s);
    if (rc == OK && cost != NULL)
        *cost = ckpt_save_cost(s);
    ckpt_save_free(s);
    return rc;
}
