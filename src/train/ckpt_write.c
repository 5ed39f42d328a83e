#include "ckpt_parts.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/fault.h"
#include "base/fs.h"
#include "base/mem.h"
#include "par/agree.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* What root alone writes beside the arrays. */
enum extra { EXTRA_TOKENIZER, EXTRA_HISTORY, N_EXTRAS };

/* One checkpoint on its way. */
struct writer {
    const struct comm *c;
    const struct ckpt_set *set;
    const char *path;
    char temp[FS_PATH_MAX];
    struct ckpt_index x;
    size_t *number;          /* datasets of array 0's tensors, of array 1's, ... */
    int64_t extra[N_EXTRAS]; /* dataset, or -1 */
    int fd;
    struct ckpt_sums sums;
    int32_t *reader; /* [n_blocks]: who reads the block back */
};

static bool writes_array(const struct writer *w, const struct ckpt_array *a)
{
    return a->shard->size > 1 || w->c->rank == 0;
}

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

static void add_extra(struct writer *w, enum extra e, uint64_t bytes)
{
    w->extra[e] = -1;
    if (bytes == 0)
        return;
    struct ckpt_dataset *d = &w->x.dataset[w->x.n];
    bool text = e == EXTRA_HISTORY;
    *d = (struct ckpt_dataset){.bytes = bytes, .is_text = text, .n_dims = text ? 0 : 1};
    d->dims[0] = bytes;
    snprintf(d->name, sizeof d->name, "/%s", text ? "history" : "tokenizer");
    w->extra[e] = (int64_t)w->x.n++;
}

static int check_set(const struct writer *w)
{
    const struct ckpt_set *set = w->set;
    if (set->n_arrays < 1 || set->n_arrays > CKPT_MAX_ARRAYS || set->tensors->n < 1)
        return ERR(E_BUG, "%s: a checkpoint of nothing", w->path);
    for (int a = 0; a < set->n_arrays; a++) {
        const struct shard *s = set->array[a].shard;
        size_t n = ckpt_layout(&set->array[a], set->tensors)->n_elems;
        if (s->n != n || (s->size != 1 && s->size != w->c->size))
            return ERR(E_BUG, "%s: %s is sharded otherwise than the ranks are", w->path,
                       set->array[a].kind);
    }
    return OK;
}

/* The arrays' datasets; a tensor that nobody has has no dataset. */
static int list_arrays(struct writer *w)
{
    const struct ckpt_set *set = w->set;
    size_t k = 0;
    for (int a = 0; a < set->n_arrays; a++) {
        const struct tensor_table *t = ckpt_layout(&set->array[a], set->tensors);
        for (int i = 0; i < t->n; i++, k++) {
            w->number[k] = w->x.n;
            if (ckpt_has(&set->array[a], &t->row[i]))
                TRY(add_tensor(&w->x.dataset[w->x.n++], set->array[a].kind, &t->row[i]));
        }
    }
    return OK;
}

static int list_datasets(struct writer *w, const uint64_t extra_bytes[N_EXTRAS])
{
    const struct ckpt_set *set = w->set;
    size_t n = ckpt_n_tensors(set->array, set->n_arrays, set->tensors);
    TRY(ckpt_index_init(&w->x, n + N_EXTRAS));
    TRY(mem_alloc(&w->number, n, sizeof *w->number, "checkpoint datasets"));
    w->x.n = 0;
    TRY(list_arrays(w));
    for (int e = 0; e < N_EXTRAS; e++)
        add_extra(w, (enum extra)e, extra_bytes[e]);
    TRY(ckpt_index_number(&w->x));
    return mem_alloc(&w->reader, w->x.n_blocks, sizeof *w->reader, "readers of blocks");
}

/* The extras and the temporary name are root's: a rank that differs would make another file. */
static int plan(struct writer *w)
{
    const struct ckpt_meta *m = &w->set->meta;
    uint64_t bytes[N_EXTRAS] = {m->tokenizer != NULL ? m->n_tokenizer : 0,
                                m->history != NULL ? strlen(m->history) : 0};
    int rc = check_set(w);
    if (snprintf(w->temp, sizeof w->temp, "%s.tmp-%.8s-%ld", w->path, m->run_id, (long)getpid()) >=
        (int)sizeof w->temp)
        rc = ERR(E_CONFIG, "%.60s...: the path is too long", w->path);
    TRY(agree_bcast(w->c, 0, rc, w->temp, sizeof w->temp));
    TRY(agree_bcast(w->c, 0, OK, bytes, sizeof bytes));
    return agree(w->c, list_datasets(w, bytes));
}

/* ---- stages, each collective ---- */

static int create(struct writer *w)
{
    return ckpt_file_create(w->c, w->temp, &w->x);
}

static int describe(struct writer *w)
{
    int rc = w->c->rank == 0 ? ckpt_file_describe(w->temp, &w->x, &w->set->meta) : OK;
    return agree_bcast(w->c, 0, rc, w->x.dataset, w->x.n * sizeof *w->x.dataset);
}

static int write_part(void *ctx, const struct ckpt_part *p)
{
    struct writer *w = ctx;
    const struct ckpt_dataset *d = &w->x.dataset[p->dataset];
    /* The sum first: it is the memory's, and brings the block into the cache for the copy. */
    TRY(ckpt_sums_add(&w->sums, p, &w->x, w->c->rank));
    int rc = fault_hit("ckpt.pwrite")
                 ? ERR(E_IO, "%s: cannot write (fault ckpt.pwrite)", w->temp)
                 : fs_pwrite(w->fd, p->data, p->n, d->offset + (int64_t)p->first, w->temp);
    return rc == OK ? OK : err_context(rc, "%s", d->name);
}

static int write_extras(struct writer *w)
{
    void *const data[N_EXTRAS] = {w->set->meta.tokenizer, w->set->meta.history};
    for (int e = 0; e < N_EXTRAS; e++)
        if (w->extra[e] >= 0)
            TRY(ckpt_each_block(&w->x, (size_t)w->extra[e], data[e], write_part, w));
    return OK;
}

static int write_mine(struct writer *w)
{
    const struct ckpt_set *set = w->set;
    for (int a = 0; a < set->n_arrays; a++)
        if (writes_array(w, &set->array[a]))
            TRY(ckpt_each_part(&set->array[a], ckpt_layout(&set->array[a], set->tensors), &w->x,
                               w->number + ckpt_n_tensors(set->array, a, set->tensors), write_part,
                               w));
    return w->c->rank == 0 ? write_extras(w) : OK;
}

/* Never retried: after a failed fsync the kernel may have dropped what it could not write. */
static int sync_payload(const struct writer *w)
{
    if (fault_hit("ckpt.fsync") || fsync(w->fd) != 0)
        return ERR(E_IO, "%s: cannot fsync: %s", w->temp, strerror(errno != 0 ? errno : EIO));
    return OK;
}

static int close_payload(struct writer *w)
{
    int rc = close(w->fd) != 0 || fault_hit("ckpt.close")
                 ? ERR(E_IO, "%s: cannot close: %s", w->temp, strerror(errno != 0 ? errno : EIO))
                 : OK;
    w->fd = -1;
    return rc;
}

static int payload(struct writer *w)
{
    int rc = OK;
    w->fd = open(w->temp, O_WRONLY | O_CLOEXEC);
    if (w->fd < 0)
        rc = ERR(E_IO, "%s: cannot open: %s", w->temp, strerror(errno));
    if (rc == OK)
        rc = write_mine(w);
    errno = 0;
    if (rc == OK)
        rc = sync_payload(w);
    if (w->fd >= 0) {
        int closed = close_payload(w);
        rc = rc != OK ? rc : closed;
    }
    return agree(w->c, rc);
}

/* The block's sum, and a reader that did not write most of it: on another node where there is one,
 * since ranks of one node share the page cache. */
static int take_covers(struct writer *w, const struct ckpt_cover *cover)
{
    const struct comm *c = w->c;
    int step = c->n_nodes > 1 && c->node_size > 0 && c->node_size < c->size ? c->node_size : 1;
    for (size_t i = 0; i < w->x.n_blocks; i++) {
        size_t n;
        const struct ckpt_dataset *d = ckpt_block(&w->x, i, NULL, &n);
        if (cover[i].n != n)
            return ERR(E_BUG, "%s: the ranks wrote %llu of %zu bytes of block %llu of %s", w->temp,
                       (unsigned long long)cover[i].n, n, (unsigned long long)(i - d->first_block),
                       d->name);
        w->x.crc[i] = cover[i].crc;
        int skip = c->size > step ? step + (int)(i % (size_t)(c->size - step)) : 0;
        w->reader[i] = (cover[i].owner + skip) % c->size;
    }
    return OK;
}

static int join(struct writer *w)
{
    struct ckpt_cover *cover = NULL;
    int rc = w->c->rank == 0
                 ? mem_alloc(&cover, w->x.n_blocks, sizeof *cover, "joined checkpoint sums")
                 : OK;
    TRY_OUT(agree(w->c, rc));
    TRY_OUT(ckpt_sums_gather(w->c, &w->sums, cover, w->x.n_blocks));
    if (w->c->rank == 0)
        rc = take_covers(w, cover);
    TRY_OUT(agree_bcast(w->c, 0, rc, w->x.crc, w->x.n_blocks * sizeof *w->x.crc));
    rc = agree_bcast(w->c, 0, OK, w->reader, w->x.n_blocks * sizeof *w->reader);
out:
    mem_free(cover);
    return rc;
}

static int read_mine(const struct writer *w, int fd, void *buf)
{
    for (size_t i = 0; i < w->x.n_blocks; i++) {
        if (w->reader[i] != w->c->rank)
            continue;
        if (fault_hit("ckpt.readback"))
            return ERR(E_IO, "%s: %s cannot be read back (fault ckpt.readback)", w->temp,
                       ckpt_block(&w->x, i, NULL, NULL)->name);
        int rc = ckpt_block_check(&w->x, i, fd, buf, w->temp, E_IO);
        if (rc != OK)
            return err_context(rc, "what was written is not what is read back");
    }
    return OK;
}

static int read_back(struct writer *w)
{
    void *buf;
    int fd = -1, rc = mem_alloc(&buf, CKPT_BLOCK, 1, "block that is read back");
    if (rc == OK)
        fd = open(w->temp, O_RDONLY | O_CLOEXEC);
    if (rc == OK && fd < 0)
        rc = ERR(E_IO, "%s: cannot open: %s", w->temp, strerror(errno));
    if (rc == OK)
        rc = read_mine(w, fd, buf);
    if (fd >= 0)
        close(fd);
    mem_free(buf);
    return agree(w->c, rc);
}

static int commit(struct writer *w)
{
    return agree(w->c, w->c->rank == 0 ? ckpt_file_commit(w->temp, &w->x) : OK);
}

static int rename_durably(const struct writer *w)
{
    if (w->set->may_publish != NULL)
        TRY(w->set->may_publish(w->set->may_publish_ctx));
    if (fault_hit("ckpt.rename"))
        return ERR(E_IO, "%s: cannot rename (fault ckpt.rename)", w->temp);
    if (rename(w->temp, w->path) != 0)
        return ERR(E_IO, "%s: cannot rename to %s: %s", w->temp, w->path, strerror(errno));
    int rc = fault_hit("ckpt.folder")
                 ? ERR(E_IO, "%s: cannot fsync its folder (fault ckpt.folder)", w->path)
                 : fs_fsync_parent(w->path);
    if (rc != OK)
        unlink(w->path); /* not known to be durable: nobody may rely on it */
    return rc;
}

static int publish(struct writer *w)
{
    return agree(w->c, w->c->rank == 0 ? rename_durably(w) : OK);
}

static int (*const stages[])(struct writer *w) = {create,    describe, payload, join,
                                                  read_back, commit,   publish};

static void writer_release(struct writer *w)
{
    ckpt_index_release(&w->x);
    ckpt_sums_release(&w->sums);
    mem_free(w->number);
    mem_free(w->reader);
}

int ckpt_write(const struct comm *c, const char *path, const struct ckpt_set *set, double *seconds,
               double *bytes)
{
    struct writer w = {.c = c, .set = set, .path = path, .fd = -1};
    double begun = clock_now_s(), total = 0;
    int rc = plan(&w);
    bool planned = rc == OK;
    for (size_t i = 0; rc == OK && i < sizeof stages / sizeof stages[0]; i++)
        rc = stages[i](&w);
    if (rc != OK && planned && c->rank == 0)
        unlink(w.temp);
    for (size_t i = 0; i < w.x.n; i++)
        total += (double)w.x.dataset[i].bytes;
    if (seconds != NULL)
        *seconds = clock_now_s() - begun;
    if (bytes != NULL)
        *bytes = total;
    writer_release(&w);
    return rc;
}
