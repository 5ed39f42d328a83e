#include "optim/shaping.h"

#include "base/err.h"
#include "base/mem.h"
#include "par/fold.h"

#include <math.h>

/* ---- elements ---- */

struct elements {
    const struct optim_group *groups;
    int n_groups;
    const float *params;
    float *g;
    float limit, l1, l2; /* of the summed gradient */
};

static void clip_values(float *g, size_t n, float limit)
{
    for (size_t i = 0; i < n; i++) {
        float low = g[i] < -limit ? -limit : g[i];
        g[i] = low > limit ? limit : low;
    }
}

static void add_penalties(float *restrict g, const float *restrict w, size_t n, float l1, float l2)
{
    for (size_t i = 0; i < n; i++) {
        float sign = w[i] > 0 ? l1 : w[i] < 0 ? -l1 : 0;
        g[i] += l2 * w[i] + sign;
    }
}

static struct range overlap(struct range a, struct range b)
{
    size_t first = a.first > b.first ? a.first : b.first, a_end = a.first + a.n,
           b_end = b.first + b.n, end = a_end < b_end ? a_end : b_end;
    return (struct range){first, end > first ? end - first : 0};
}

static void shape_piece(void *ctx, struct range piece, size_t at)
{
    const struct elements *e = ctx;
    (void)at;
    for (int i = 0; i < e->n_groups; i++) {
        struct range part = overlap(piece, e->groups[i].at);
        if (part.n > 0 && e->limit > 0)
            clip_values(e->g + part.first, part.n, e->limit);
        if (part.n > 0 && e->groups[i].decay && (e->l1 > 0 || e->l2 > 0))
            add_penalties(e->g + part.first, e->params + part.first, part.n, e->l1, e->l2);
    }
}

void shape_elements(const struct shaping *s, const struct shard *sh,
                    const struct optim_group *groups, int n_groups, const float *params, float *g,
                    double grad_scale)
{
    struct elements e = {.groups = groups,
                         .n_groups = n_groups,
                         .params = params,
                         .g = g,
                         .limit = (float)(s->clip_value / grad_scale),
                         .l1 = (float)(s->l1 / grad_scale),
                         .l2 = (float)(s->l2 / grad_scale)};
    if (e.limit > 0 || e.l1 > 0 || e.l2 > 0)
        shard_each(sh, shape_piece, &e);
}

/* ---- rows ---- */

/* The least norm that a row is taken to have: a row of zeros could never leave them. */
static const double LEAST_NORM = 1e-3;

/* Bits of the whole gradient's sum of squares: room is left for rounding up and for the sign. */
enum { SUM_BITS = 60, LEAST_EXPONENT = -900 };

static size_t count_rows(const struct row_matrix *matrix, int n)
{
    size_t rows = 0;
    for (int i = 0; i < n; i++)
        rows += matrix[i].rows;
    return rows;
}

size_t row_clip_bytes(const struct row_matrix *matrix, int n)
{
    return (size_t)n * sizeof *matrix + count_rows(matrix, n) * (sizeof(int64_t) + sizeof(float));
}

int row_clip_init(struct row_clip *r, const struct row_matrix *matrix, int n)
{
    int rc;
    *r = (struct row_clip){.n = n, .n_rows = count_rows(matrix, n)};
    TRY_OUT(mem_alloc(&r->matrix, (size_t)n, sizeof *r->matrix, "row norms"));
    TRY_OUT(mem_alloc(&r->sum, r->n_rows, sizeof *r->sum, "row norms"));
    TRY_OUT(mem_alloc(&r->limit, r->n_rows, sizeof *r->limit, "row norms"));
    for (int i = 0; i < n; i++)
        r->matrix[i] = matrix[i];
    return OK;
out:
    row_clip_release(r);
    return rc;
}

void row_clip_release(struct row_clip *r)
{
    mem_free(r->matrix);
    mem_free(r->sum);
    mem_free(r->limit);
    *r = (struct row_clip){0};
}

struct rows_at_work {
    struct row_clip *r;
    const float *params;
    float *g;
    double fixed; /* of a square, to fixed point */
    double scale; /* grad_scale */
    double most;
    void (*visit)(const struct rows_at_work *w, size_t i, struct range row, struct range part);
};

/* Visits the rows that a piece has a part of; i counts rows through all matrices. */
static void rows_of_piece(void *ctx, struct range piece, size_t at)
{
    const struct rows_at_work *w = ctx;
    size_t base = 0;
    (void)at;
    for (int k = 0; k < w->r->n; k++) {
        const struct row_matrix *m = &w->r->matrix[k];
        struct range part = overlap(piece, (struct range){m->first, m->rows * m->cols});
        size_t end = part.first + part.n;
        for (size_t done = part.first, next; done < end; done = next) {
            size_t i = (done - m->first) / m->cols;
            struct range row = {m->first + i * m->cols, m->cols};
            next = row.first + row.n < end ? row.first + row.n : end;
            w->visit(w, base + i, row, (struct range){done, next - done});
        }
        base += m->rows;
    }
}

/* The square of a float is exact in double, and so is it times a power of 2. */
static void sum_row(const struct rows_at_work *w, size_t i, struct range row, struct range part)
{
    const float *g = w->g + part.first;
    int64_t sum = 0;
    for (size_t j = 0; j < part.n; j++)
        sum += (int64_t)((double)g[j] * (double)g[j] * w->fixed + 0.5);
    w->r->sum[i] += sum;
    w->r->limit[i] =
        (float)(w->most * fmax(sqrt(fold_sumsq(w->params + row.first, row.n)), LEAST_NORM));
}

static void clip_row(const struct rows_at_work *w, size_t i, struct range row, struct range part)
{
    double norm = w->scale * sqrt((double)w->r->sum[i] / w->fixed), limit = w->r->limit[i];
    (void)row;
    if (norm <= limit)
        return;
    float factor = (float)(limit / norm), *g = w->g + part.first;
    for (size_t j = 0; j < part.n; j++)
        g[j] *= factor;
}

int row_clip(struct row_clip *r, const struct comm *c, const struct shard *sh, const float *params,
             float *g, double grad_scale, double sumsq, double most)
{
    struct rows_at_work w = {
        .r = r, .params = params, .g = g, .scale = grad_scale, .most = most, .visit = sum_row};
    int exponent;
    frexp(sumsq, &exponent);
    w.fixed = ldexp(1, SUM_BITS - (exponent > LEAST_EXPONENT ? exponent : LEAST_EXPONENT));
    for (size_t i = 0; i < r->n_rows; i++)
        r->sum[i] = 0;
    shard_each(sh, rows_of_piece, &w);
    if (c != NULL)
        MPI_TRY(
            MPI_Allreduce(MPI_IN_PLACE, r->sum, (int)r->n_rows, MPI_INT64_T, MPI_SUM, c->world));
    w.visit = clip_row;
    shard_each(sh, rows_of_piece, &w);
    return OK;
}
