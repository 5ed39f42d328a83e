#include "ckpt_parts.h"

#include "base/err.h"
#include "base/hash.h"
#include "base/mem.h"
#include "par/agree.h"

#include <stdlib.h>
#include <string.h>

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* Bytes [first, first+n) of a dataset, cut where blocks begin. */
static int each_of_range(const struct ckpt_index *x, size_t dataset, uint64_t first, uint64_t n,
                         char *data, int (*visit)(void *ctx, const struct ckpt_part *p), void *ctx)
{
    uint64_t before = x->dataset[dataset].first_block;
    while (n > 0) {
        uint64_t part = least(n, CKPT_BLOCK - first % CKPT_BLOCK);
        const struct ckpt_part p = {.dataset = dataset,
                                    .block = before + first / CKPT_BLOCK,
                                    .first = first,
                                    .n = (size_t)part,
                                    .data = data};
        TRY(visit(ctx, &p));
        first += part;
        data += part;
        n -= part;
    }
    return OK;
}

int ckpt_each_block(const struct ckpt_index *x, size_t dataset, void *data,
                    int (*visit)(void *ctx, const struct ckpt_part *p), void *ctx)
{
    return each_of_range(x, dataset, 0, x->dataset[dataset].bytes, data, visit, ctx);
}

const struct tensor_table *ckpt_layout(const struct ckpt_array *a,
                                       const struct tensor_table *common)
{
    return a->tensors != NULL ? a->tensors : common;
}

size_t ckpt_n_tensors(const struct ckpt_array *a, int n, const struct tensor_table *common)
{
    size_t all = 0;
    for (int i = 0; i < n; i++)
        all += (size_t)ckpt_layout(&a[i], common)->n;
    return all;
}

bool ckpt_has(const struct ckpt_array *a, const struct tensor *t)
{
    return shard_holds(a->shard, t->offset, t->n);
}

bool ckpt_writes(const struct ckpt_array *a, int rank)
{
    return a->shard->size > 1 || rank == 0;
}

int ckpt_each_part(const struct ckpt_array *a, const struct tensor_table *t,
                   const struct ckpt_index *x, const size_t *dataset,
                   int (*visit)(void *ctx, const struct ckpt_part *p), void *ctx)
{
    const struct shard *s = a->shard;
    int i = 0; /* pieces and tensors both rise: one walk over the table serves all pieces */
    for (int k = 0; k < s->n_buckets; k++) {
        struct range piece = shard_piece(s, k, s->rank);
        size_t end = piece.first + piece.n;
        float *at = a->data + (a->slab ? piece.first : shard_offset(s, k, s->rank));
        while (i < t->n && t->row[i].offset + t->row[i].n <= piece.first)
            i++;
        for (int j = i; j < t->n && t->row[j].offset < end; j++) {
            const struct tensor *row = &t->row[j];
            size_t from = row->offset > piece.first ? row->offset : piece.first;
            size_t to = (size_t)least(row->offset + row->n, end);
            if (to > from)
                TRY(each_of_range(x, dataset[j], sizeof(float) * (from - row->offset),
                                  sizeof(float) * (to - from), (char *)(at + (from - piece.first)),
                                  visit, ctx));
        }
    }
    return OK;
}

int ckpt_sums_init(struct ckpt_sums *s, size_t n)
{
    *s = (struct ckpt_sums){.cap = n};
    return mem_alloc(&s->row, n, sizeof *s->row, "checkpoint sums of a rank");
}

int ckpt_sums_add(struct ckpt_sums *s, const struct ckpt_part *p, const struct ckpt_index *x,
                  int rank, uint32_t crc)
{
    if (s->n == s->cap) {
        struct ckpt_sums more;
        TRY(ckpt_sums_init(&more, s->cap > 0 ? 2 * s->cap : 256));
        more.n = s->n;
        if (s->n > 0)
            memcpy(more.row, s->row, s->n * sizeof *more.row);
        mem_free(s->row);
        *s = more;
    }
    uint64_t begin = CKPT_BLOCK * (p->block - x->dataset[p->dataset].first_block);
    s->row[s->n++] = (struct ckpt_sum){.block = p->block,
                                       .at = (uint32_t)(p->first - begin),
                                       .n = (uint32_t)p->n,
                                       .crc = crc,
                                       .rank = rank};
    return OK;
}

void ckpt_sums_release(struct ckpt_sums *s)
{
    mem_free(s->row);
    *s = (struct ckpt_sums){0};
}

static int by_place(const void *a, const void *b)
{
    const struct ckpt_sum *p = a, *q = b;
    if (p->block != q->block)
        return p->block < q->block ? -1 : 1;
    return (p->at > q->at) - (p->at < q->at);
}

int ckpt_sums_join(struct ckpt_sum *row, size_t n, struct ckpt_cover *cover, size_t n_blocks)
{
    memset(cover, 0, n_blocks * sizeof *cover);
    if (row == NULL)
        return OK;
    qsort(row, n, sizeof *row, by_place);
    for (size_t i = 0; i < n; i++) {
        if (row[i].block >= n_blocks || row[i].at != cover[row[i].block].n)
            return ERR(E_BUG, "the ranks' parts of block %llu overlap or leave a gap",
                       (unsigned long long)row[i].block);
        struct ckpt_cover *c = &cover[row[i].block];
        c->crc = c->n == 0 ? row[i].crc : crc32c_combine(c->crc, row[i].crc, row[i].n);
        c->n += row[i].n;
        if (row[i].n > c->owner_n) {
            c->owner = row[i].rank;
            c->owner_n = row[i].n;
        }
    }
    return OK;
}

/* Bytes of every rank's rows and where they go; totals beyond MPI's int cannot be gathered. */
static int layout(const struct comm *c, const int *count, int *place, size_t *total)
{
    *total = 0;
    for (int r = 0; r < c->size; r++) {
        place[r] = (int)*total;
        *total += (size_t)count[r];
        if (*total > INT32_MAX)
            return ERR(E_CONFIG, "too many checkpoint blocks to gather on one rank");
    }
    return OK;
}

int ckpt_sums_gather(const struct comm *c, const struct ckpt_sums *s, struct ckpt_cover *cover,
                     size_t n_blocks)
{
    int rc = OK, mine = (int)(s->n * sizeof *s->row), *count = NULL, *place = NULL;
    size_t total = 0;
    struct ckpt_sum *all = NULL;
    if (c->rank == 0)
        rc = mem_alloc(&count, (size_t)c->size * 2, sizeof *count, "checkpoint sums' counts");
    TRY_OUT(agree(c, rc));
    place = count != NULL ? count + c->size : NULL;
    TRY_OUT(
        comm_check(MPI_Gather(&mine, 1, MPI_INT, count, 1, MPI_INT, 0, c->world), "MPI_Gather"));
    if (count != NULL)
        rc = layout(c, count, place, &total);
    if (rc == OK && c->rank == 0)
        rc = mem_alloc(&all, total / sizeof *all, sizeof *all, "checkpoint sums of all ranks");
    TRY_OUT(agree(c, rc));
    TRY_OUT(
        comm_check(MPI_Gatherv(s->row, mine, MPI_BYTE, all, count, place, MPI_BYTE, 0, c->world),
                   "MPI_Gatherv"));
    if (c->rank == 0)
        rc = ckpt_sums_join(all, total / sizeof *all, cover, n_blocks);
    rc = agree(c, rc);
out:
    mem_free(all);
    mem_free(count);
    return rc;
}
