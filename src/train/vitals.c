#include "train/vitals.h"

#include "base/err.h"
#include "base/mem.h"
#include "train/metrics.h"

#include <math.h>
#include <string.h>

enum { SUM_GRADIENT, SUM_CHANGE, SUM_WEIGHTS, VITALS_SUMS };

/* Blocks of the slab that are kept at most, over all ranks: 8 MiB. */
enum { MOST_BLOCKS = 512, PACKED = EXACT_LIMBS + 1 };

static int group_of(const struct tensor *t, int n_groups)
{
    if (t->layer >= 0)
        return t->layer + 1;
    return t->kind == TENSOR_EMBED ? 0 : n_groups - 1;
}

static int count_groups(const struct tensor_table *t)
{
    int layers = 0;
    for (int i = 0; i < t->n; i++)
        layers = t->row[i].layer + 1 > layers ? t->row[i].layer + 1 : layers;
    return layers + 2;
}

static size_t stride_of(size_t n)
{
    size_t blocks = (n + SHARD_BLOCK - 1) / SHARD_BLOCK;
    return blocks > MOST_BLOCKS ? (blocks + MOST_BLOCKS - 1) / MOST_BLOCKS : 1;
}

/* ---- blocks of this rank ---- */

struct visit {
    size_t stride;
    size_t n; /* floats visited so far */
    /* With floats of the slab, which the kept ones stand for; NULL: they are only counted. */
    void (*see)(struct vitals *v, size_t first, size_t n, size_t kept_at);
    struct vitals *v;
};

static void visit_piece(void *ctx, struct range piece, size_t at)
{
    struct visit *w = ctx;
    size_t end = piece.first + piece.n;
    (void)at;
    for (size_t first = piece.first, stop; first < end; first = stop) {
        size_t block = first / SHARD_BLOCK;
        stop = (block + 1) * SHARD_BLOCK < end ? (block + 1) * SHARD_BLOCK : end;
        if (block % w->stride != 0)
            continue;
        if (w->see != NULL)
            w->see(w->v, first, stop - first, w->n);
        w->n += stop - first;
    }
}

static size_t count_kept(const struct shard *s)
{
    struct visit w = {.stride = stride_of(s->n)};
    shard_each(s, visit_piece, &w);
    return w.n;
}

/* ---- memory ---- */

size_t vitals_bytes(const struct tensor_table *t, const struct shard *s)
{
    size_t groups = (size_t)count_groups(t);
    return (size_t)t->n * sizeof(struct squares_of) +
           VITALS_SUMS * groups * (sizeof(struct exactsum) + PACKED * sizeof(int64_t)) +
           count_kept(s) * sizeof(float) + groups * L_N * sizeof(double);
}

/* A tensor lies in one zone or, frozen, in none. */
static void find_parts(struct vitals *v, const struct tensor_table *t)
{
    const struct shard *s = &v->shard;
    const struct shard_zone *zone = s->zones != NULL ? s->zones : &s->all;
    for (int i = 0, z = 0; i < t->n; i++) {
        const struct tensor *row = &t->row[i];
        v->part[i] = (struct squares_of){.end = i + 1 < t->n ? t->row[i + 1].offset : t->n_elems,
                                         .group = group_of(row, v->n_groups)};
        while (z < s->n_zones && zone[z].first + zone[z].n <= row->offset)
            z++;
        if (z < s->n_zones && zone[z].first <= row->offset)
            v->part[i].origin = zone[z].first;
    }
    v->by = (struct squares){.part = v->part, .n_parts = t->n, .n_groups = v->n_groups};
}

int vitals_init(struct vitals *v, const struct tensor_table *t, const struct shard *s)
{
    *v = (struct vitals){.n_groups = count_groups(t), .shard = *s, .stride = stride_of(s->n)};
    size_t sums = VITALS_SUMS * (size_t)v->n_groups;
    TRY(mem_alloc(&v->part, (size_t)t->n, sizeof *v->part, "monitoring"));
    TRY(mem_alloc(&v->sum, sums, sizeof *v->sum, "monitoring"));
    TRY(mem_alloc(&v->packed, sums, PACKED * sizeof *v->packed, "monitoring"));
    TRY(mem_alloc(&v->kept, count_kept(s), sizeof *v->kept, "monitoring"));
    TRY(mem_alloc(&v->by_layer, (size_t)v->n_groups, L_N * sizeof *v->by_layer, "monitoring"));
    find_parts(v, t);
    vitals_begin(v);
    return OK;
}

void vitals_release(struct vitals *v)
{
    mem_free(v->part);
    mem_free(v->sum);
    mem_free(v->packed);
    mem_free(v->kept);
    mem_free(v->by_layer);
    *v = (struct vitals){0};
}

/* ---- a step ---- */

static struct exactsum *sums(struct vitals *v, int which)
{
    return v->sum + which * v->n_groups;
}

struct exactsum *vitals_gradient(struct vitals *v)
{
    return sums(v, SUM_GRADIENT);
}

void vitals_begin(struct vitals *v)
{
    for (int i = 0; i < v->n_groups; i++) {
        exactsum_clear(sums(v, SUM_CHANGE) + i);
        exactsum_clear(sums(v, SUM_WEIGHTS) + i);
    }
    for (int i = 0; i < v->n_groups * L_N; i++)
        v->by_layer[i] = NAN;
    v->update_ratio = NAN;
    v->most_logit = -INFINITY;
}

static void walk(struct vitals *v, void (*see)(struct vitals *v, size_t first, size_t n, size_t at))
{
    struct visit w = {.stride = v->stride, .see = see, .v = v};
    shard_each(&v->shard, visit_piece, &w);
}

static void keep_block(struct vitals *v, size_t first, size_t n, size_t at)
{
    memcpy(v->kept + at, v->params + first, n * sizeof *v->kept);
}

void vitals_before(struct vitals *v, const float *params)
{
    v->params = params;
    walk(v, keep_block);
}

static void compare_block(struct vitals *v, size_t first, size_t n, size_t at)
{
    float change[SHARD_BLOCK];
    for (size_t i = 0; i < n; i++)
        change[i] = v->params[first + i] - v->kept[at + i];
    squares_add(&v->by, sums(v, SUM_CHANGE), change, first, n);
    squares_add(&v->by, sums(v, SUM_WEIGHTS), v->kept + at, first, n);
}

void vitals_after(struct vitals *v, const float *params)
{
    v->params = params;
    walk(v, compare_block);
}

static int reduce(struct vitals *v, const struct comm *c)
{
    int n = VITALS_SUMS * v->n_groups;
    for (int i = 0; i < n; i++)
        exactsum_pack(&v->sum[i], v->packed + (size_t)i * PACKED);
    MPI_TRY(MPI_Allreduce(MPI_IN_PLACE, v->packed, n * PACKED, MPI_INT64_T, MPI_SUM, c->world));
    for (int i = 0; i < n; i++)
        exactsum_unpack(&v->sum[i], v->packed + (size_t)i * PACKED);
    MPI_TRY(MPI_Allreduce(MPI_IN_PLACE, &v->most_logit, 1, MPI_DOUBLE, MPI_MAX, c->world));
    return OK;
}

static double ratio(double change, double weights)
{
    return weights > 0 ? sqrt(change / weights) : NAN;
}

void vitals_leave(struct vitals *v)
{
    v->most_logit = NAN;
}

int vitals_conclude(struct vitals *v, const struct comm *c, double targets, bool updated)
{
    double change = 0, weights = 0;
    TRY(reduce(v, c));
    for (int i = 0; i < v->n_groups; i++) {
        double *row = v->by_layer + i * L_N;
        double moved = exactsum_value(sums(v, SUM_CHANGE) + i);
        double size = exactsum_value(sums(v, SUM_WEIGHTS) + i);
        row[L_GRAD_NORM] = sqrt(exactsum_value(sums(v, SUM_GRADIENT) + i)) / targets;
        row[L_UPDATE_RATIO] = updated ? ratio(moved, size) : NAN;
        change += moved;
        weights += size;
    }
    v->update_ratio = updated ? ratio(change, weights) : NAN;
    return OK;
}
