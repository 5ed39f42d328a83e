#include "ckpt_parts.h"

#include "base/err.h"
#include "base/fs.h"
#include "base/hash.h"
#include "base/mem.h"
#include "par/agree.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { TOKENIZER_MAX = 64 << 20, HISTORY_MAX = 256 << 20 };

/* ---- meta ---- */

static int read_whole(const struct ckpt_index *x, size_t dataset, int fd, char *data, void *buf,
                      const char *path)
{
    const struct ckpt_dataset *d = &x->dataset[dataset];
    for (uint64_t i = 0; i < ckpt_n_blocks(d->bytes); i++) {
        uint64_t at;
        size_t n;
        ckpt_block(x, d->first_block + i, &at, &n);
        TRY(ckpt_block_check(x, d->first_block + i, fd, buf, path, E_DATA));
        memcpy(data + at, buf, n);
    }
    return OK;
}

/* A small dataset with a NUL byte behind it; *data NULL when the file has none. */
static int read_extra(const struct ckpt_index *x, const char *name, size_t max, int fd,
                      const char *path, char **data, size_t *n)
{
    void *buf = NULL;
    int64_t i = ckpt_index_find(x, name);
    *data = NULL;
    *n = 0;
    if (i < 0)
        return OK;
    if (x->dataset[i].bytes > max)
        return ERR(E_DATA, "%s: %s is larger than %zu bytes", path, name, max);
    TRY(mem_alloc(data, x->dataset[i].bytes + 1, 1, "part of a checkpoint"));
    int rc = mem_alloc(&buf, CKPT_BLOCK, 1, "block of a checkpoint");
    if (rc == OK)
        rc = read_whole(x, (size_t)i, fd, *data, buf, path);
    mem_free(buf);
    *n = rc == OK ? x->dataset[i].bytes : 0;
    return rc;
}

static int read_extras(const char *path, const struct ckpt_index *x, struct ckpt_meta *m)
{
    size_t n;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return ERR(E_IO, "%s: cannot open: %s", path, strerror(errno));
    int rc = read_extra(x, "/tokenizer", TOKENIZER_MAX, fd, path, (char **)&m->tokenizer,
                        &m->n_tokenizer);
    if (rc == OK)
        rc = read_extra(x, "/history", HISTORY_MAX, fd, path, &m->history, &n);
    close(fd);
    return rc;
}

static int read_attributes(const char *path, struct ckpt_meta *m)
{
    hid_t file;
    TRY(h5x_open(&file, path, false));
    int rc = ckpt_meta_get(file, m);
    if (rc != OK)
        err_context(rc, "%s", path);
    h5x_close(&file);
    return rc;
}

int ckpt_read_meta(const char *path, struct ckpt_meta *m)
{
    struct ckpt_index x;
    memset(m, 0, sizeof *m);
    TRY(ckpt_index_load(&x, path));
    int rc = read_attributes(path, m);
    if (rc == OK)
        rc = read_extras(path, &x, m);
    ckpt_index_release(&x);
    if (rc != OK)
        ckpt_meta_release(m);
    return rc;
}

int ckpt_has_kind(const struct comm *c, const char *path, const char *kind, bool *has)
{
    struct ckpt_index x;
    char lead[CKPT_NAME_MAX];
    *has = false;
    TRY(ckpt_index_open(c, &x, path));
    int n = snprintf(lead, sizeof lead, "/%s/", kind);
    for (size_t i = 0; !*has && i < x.n; i++)
        *has = strncmp(x.dataset[i].name, lead, (size_t)n) == 0;
    ckpt_index_release(&x);
    return OK;
}

/* ---- arrays ---- */

struct reader {
    const struct comm *c;
    const char *path;
    const struct tensor_table *tensors;
    struct ckpt_index x;
    size_t *number; /* datasets of array 0's tensors, of array 1's, ... */
    int fd;
    struct ckpt_sums shared; /* parts of blocks that other ranks read the rest of */
    struct ckpt_sums own;    /* parts of blocks that this rank reads as a whole */
    bool alone;              /* the array at hand is read as a whole by each rank */
};

static int match(struct reader *r, const char *kind, const struct tensor *t, size_t *number)
{
    char name[CKPT_NAME_MAX];
    TRY(ckpt_dataset_name(name, kind, t->name));
    int64_t i = ckpt_index_find(&r->x, name);
    if (i < 0)
        return ERR(E_DATA, "%s: no dataset %s: it is a checkpoint of another model or optimizer",
                   r->path, name);
    const struct ckpt_dataset *d = &r->x.dataset[i];
    bool same = d->is_f32 && d->n_dims == t->n_dims && d->bytes == t->n * sizeof(float);
    for (int k = 0; same && k < t->n_dims; k++)
        same = d->dims[k] == t->dims[k];
    if (!same)
        return ERR(E_DATA,
                   "%s: %s has the shape [%llu,%llu] there; this model's is [%zu,%zu] of float32",
                   r->path, name, (unsigned long long)d->dims[0],
                   (unsigned long long)(d->n_dims > 1 ? d->dims[1] : 1), t->dims[0],
                   t->n_dims > 1 ? t->dims[1] : 1);
    *number = (size_t)i;
    return OK;
}

static int match_array(struct reader *r, const struct ckpt_array *a, size_t *number)
{
    const struct tensor_table *t = ckpt_layout(a, r->tensors);
    const struct shard *s = a->shard;
    if (s->n != t->n_elems || (s->size != 1 && s->size != r->c->size))
        return ERR(E_BUG, "%s: %s is sharded otherwise than the ranks are", r->path, a->kind);
    for (int i = 0; i < t->n; i++)
        if (ckpt_has(a, &t->row[i]))
            TRY(match(r, a->kind, &t->row[i], &number[i]));
    return OK;
}

static int match_all(struct reader *r, const struct ckpt_array *array, int n_arrays)
{
    size_t n = ckpt_n_tensors(array, n_arrays, r->tensors);
    TRY(mem_alloc(&r->number, n, sizeof *r->number, "checkpoint datasets"));
    for (int a = 0; a < n_arrays; a++)
        TRY(match_array(r, &array[a], r->number + ckpt_n_tensors(array, a, r->tensors)));
    return OK;
}

static int read_part(void *ctx, const struct ckpt_part *p)
{
    struct reader *r = ctx;
    const struct ckpt_dataset *d = &r->x.dataset[p->dataset];
    int rc = fs_pread(r->fd, p->data, p->n, d->offset + (int64_t)p->first, r->path);
    if (rc != OK)
        return err_context(rc, "%s", d->name);
    return ckpt_sums_add(r->alone ? &r->own : &r->shared, p, &r->x, r->c->rank,
                         crc32c(0, p->data, p->n));
}

static int read_all(struct reader *r, const struct ckpt_array *array, int n_arrays)
{
    r->fd = open(r->path, O_RDONLY | O_CLOEXEC);
    if (r->fd < 0)
        return ERR(E_IO, "%s: cannot open: %s", r->path, strerror(errno));
    int rc = OK;
    for (int a = 0; rc == OK && a < n_arrays; a++) {
        r->alone = array[a].shard->size == 1;
        rc = ckpt_each_part(&array[a], ckpt_layout(&array[a], r->tensors), &r->x,
                            r->number + ckpt_n_tensors(array, a, r->tensors), read_part, r);
    }
    close(r->fd);
    return rc;
}

static int compare(const struct reader *r, const struct ckpt_cover *cover)
{
    for (size_t i = 0; i < r->x.n_blocks; i++) {
        if (cover[i].n == 0)
            continue;
        const struct ckpt_dataset *d = ckpt_block(&r->x, i, NULL, NULL);
        if (cover[i].crc != r->x.crc[i])
            return ERR(E_DATA, "%s: dataset %s, block %llu: the checksum is wrong", r->path,
                       d->name, (unsigned long long)(i - d->first_block));
    }
    return OK;
}

static int check_sums(struct reader *r)
{
    struct ckpt_cover *cover;
    size_t n = r->x.n_blocks;
    int rc = agree(r->c, mem_alloc(&cover, n, sizeof *cover, "joined checkpoint sums"));
    TRY_OUT(rc);
    TRY_OUT(ckpt_sums_gather(r->c, &r->shared, cover, n));
    if (r->c->rank == 0)
        rc = compare(r, cover);
    if (rc == OK)
        rc = ckpt_sums_join(r->own.row, r->own.n, cover, n);
    if (rc == OK)
        rc = compare(r, cover);
    rc = agree(r->c, rc);
out:
    mem_free(cover);
    return rc;
}

int ckpt_read(const struct comm *c, const char *path, const struct tensor_table *t,
              struct ckpt_array *array, int n_arrays)
{
    struct reader r = {.c = c, .path = path, .tensors = t, .fd = -1};
    int rc;
    TRY(ckpt_index_open(c, &r.x, path));
    TRY_OUT(agree(c, match_all(&r, array, n_arrays)));
    TRY_OUT(agree(c, read_all(&r, array, n_arrays)));
    rc = check_sums(&r);
out:
    ckpt_sums_release(&r.shared);
    ckpt_sums_release(&r.own);
    mem_free(r.number);
    ckpt_index_release(&r.x);
    return rc;
}

/* ---- verification ---- */

/* Calls of progress during one rank's share. */
enum { REPORTS = 100 };

static int verify_share(const struct comm *c, const struct ckpt_index *x, int fd, void *buf,
                        const char *path, void (*progress)(double done, double all))
{
    struct range mine = split_even(x->n_blocks, c->size, c->rank);
    size_t every = mine.n / REPORTS + 1;
    for (size_t i = 0; i < mine.n; i++) {
        TRY(ckpt_block_check(x, mine.first + i, fd, buf, path, E_DATA));
        if (progress != NULL && c->rank == 0 && ((i + 1) % every == 0 || i + 1 == mine.n))
            progress((double)(i + 1), (double)mine.n);
    }
    return OK;
}

int ckpt_verify(const struct comm *c, const char *path, void (*progress)(double done, double all))
{
    struct ckpt_index x;
    void *buf = NULL;
    TRY(ckpt_index_open(c, &x, path));
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    int rc = fd < 0 ? ERR(E_IO, "%s: cannot open: %s", path, strerror(errno)) : OK;
    if (rc == OK)
        rc = mem_alloc(&buf, CKPT_BLOCK, 1, "block that is verified");
    if (rc == OK)
        rc = verify_share(c, &x, fd, buf, path, progress);
    mem_free(buf);
    if (fd >= 0)
        close(fd);
    ckpt_index_release(&x);
    return agree(c, rc);
}
