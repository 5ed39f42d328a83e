#include "optim/rules.h"

#include "base/err.h"
#include "base/mem.h"
#include "par/fold.h"

#include <math.h>
#include <string.h>

/* The squared gradient of a matrix is kept as its rows' and its columns' means; a vector is a
 * matrix of one column. Ranks have whole rows. Sums over columns are taken per unit of rows, which
 * no rank count cuts, and each unit has a place of its own in the message, so that zeros are all
 * that MPI adds to them. */
enum { ROWS, COLS };

static const double TINY = 1e-30;       /* added to squared gradients */
static const double LEAST_SCALE = 1e-3; /* of the weights that the rate is relative to */
static const double DECAY_POWER = -0.8;

enum { UNIT_ROWS = 1024, UNIT_FLOATS = 1 << 22 };

struct adafactor {
    size_t *row_at, *col_at, *unit_at; /* [n_groups] where a group's begin */
    float *message;                    /* rows' means of all groups, then units' sums by column */
    size_t n_message, n_rows;
    float *col_factor;           /* 1/sqrt of the columns' means */
    double *row_mean, *col_sums; /* [n_groups]; [columns] of a unit */
};

static size_t common_divisor(size_t a, size_t b)
{
    while (b > 0) {
        size_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

size_t adafactor_unit(size_t cols)
{
    size_t least = SHARD_BLOCK / common_divisor(cols, SHARD_BLOCK), rows = UNIT_FLOATS / cols;
    rows = rows < UNIT_ROWS ? rows : UNIT_ROWS;
    rows = rows > least ? rows / least * least : least;
    return rows * cols;
}

static bool is_matrix(const struct optim_group *g)
{
    return g->cols > 1;
}

static size_t stat_n(const struct optim_group *g, int i)
{
    size_t cols = is_matrix(g) ? g->cols : 0;
    return i == COLS ? cols : is_matrix(g) ? g->rows : g->at.n;
}

static size_t units_in(const struct optim_group *g)
{
    size_t unit = is_matrix(g) ? adafactor_unit(g->cols) : 1;
    return is_matrix(g) ? (g->at.n + unit - 1) / unit : 0;
}

/* ---- memory ---- */

struct sizes {
    size_t rows, cols, units, most_cols;
};

static void add_group(struct sizes *s, const struct optim_group *g)
{
    if (g->frozen)
        return;
    s->rows += stat_n(g, ROWS);
    s->cols += stat_n(g, COLS);
    s->units += units_in(g) * stat_n(g, COLS);
    s->most_cols = stat_n(g, COLS) > s->most_cols ? stat_n(g, COLS) : s->most_cols;
}

static size_t own_bytes(const struct optim_group *groups, int n_groups)
{
    struct sizes s = {0};
    size_t n = (size_t)n_groups;
    for (int i = 0; i < n_groups; i++)
        add_group(&s, &groups[i]);
    return arena_need(1, sizeof(struct adafactor)) + 3 * arena_need(n, sizeof(size_t)) +
           arena_need(s.rows + s.units, sizeof(float)) + arena_need(s.cols, sizeof(float)) +
           arena_need(n, sizeof(double)) + arena_need(s.most_cols, sizeof(double));
}

static void own_init(struct optim *o)
{
    size_t n = (size_t)o->n_groups;
    struct sizes s = {0};
    struct arena arena = {.base = o->own, .size = own_bytes(o->groups, o->n_groups)};
    struct adafactor *a = arena_push(&arena, 1, sizeof *a);
    a->row_at = arena_push(&arena, n, sizeof(size_t));
    a->col_at = arena_push(&arena, n, sizeof(size_t));
    a->unit_at = arena_push(&arena, n, sizeof(size_t));
    for (int i = 0; i < o->n_groups; i++) {
        a->row_at[i] = s.rows;
        a->col_at[i] = s.cols;
        a->unit_at[i] = s.units;
        add_group(&s, &o->groups[i]);
    }
    a->n_rows = s.rows;
    a->n_message = s.rows + s.units;
    a->message = arena_push(&arena, a->n_message, sizeof(float));
    a->col_factor = arena_push(&arena, s.cols, sizeof(float));
    a->row_mean = arena_push(&arena, n, sizeof(double));
    a->col_sums = arena_push(&arena, s.most_cols, sizeof(double));
}

/* ---- what the gradient says ---- */

static void add_squares(double *restrict sum, const float *restrict g, size_t n)
{
    for (size_t i = 0; i < n; i++)
        sum[i] += (double)g[i] * (double)g[i];
}

static void measure_vector(const struct optim_part *p, float *row)
{
    double scale = p->step->grad_scale;
    for (size_t i = 0; i < p->n; i++) {
        double g = scale * (double)p->g[i];
        row[i] = (float)(g * g + TINY);
    }
}

static void measure(const struct optim_part *p, double *sum)
{
    struct adafactor *a = p->o->own;
    size_t cols = p->group->cols;
    double scale = p->step->grad_scale * p->step->grad_scale;
    float *row = a->message + a->row_at[p->group_i] + p->at / (cols > 0 ? cols : 1);
    (void)sum;
    if (!is_matrix(p->group)) {
        measure_vector(p, row);
        return;
    }
    float *unit =
        a->message + a->n_rows + a->unit_at[p->group_i] + p->at / adafactor_unit(cols) * cols;
    memset(a->col_sums, 0, cols * sizeof *a->col_sums);
    for (size_t i = 0; i < p->n / cols; i++) {
        const float *g = p->g + i * cols;
        row[i] = (float)(scale * fold_dot(g, g, cols) / (double)cols + TINY);
        add_squares(a->col_sums, g, cols);
    }
    for (size_t k = 0; k < cols; k++)
        unit[k] = (float)(scale * a->col_sums[k]);
}

static void average(float *old, double now, double keep)
{
    *old = (float)(keep * (double)*old + (1 - keep) * now);
}

static void average_columns(struct optim *o, int i, double keep)
{
    const struct adafactor *a = o->own;
    const struct optim_group *g = &o->groups[i];
    const float *unit = a->message + a->n_rows + a->unit_at[i];
    float *col = o->stat[COLS] + a->col_at[i], *factor = a->col_factor + a->col_at[i];
    for (size_t k = 0; k < stat_n(g, COLS); k++) {
        double sum = 0;
        for (size_t u = 0; u < units_in(g); u++)
            sum += (double)unit[u * g->cols + k];
        average(&col[k], sum / (double)g->rows + TINY, keep);
        factor[k] = (float)(1 / sqrt((double)col[k]));
    }
}

static void average_rows(struct optim *o, int i, double keep)
{
    const struct adafactor *a = o->own;
    size_t n = stat_n(&o->groups[i], ROWS);
    float *row = o->stat[ROWS] + a->row_at[i];
    double sum = 0;
    for (size_t k = 0; k < n; k++) {
        average(&row[k], (double)a->message[a->row_at[i] + k], keep);
        sum += (double)row[k];
    }
    a->row_mean[i] = sum / (double)n;
}

static void join(struct optim *o, struct optim_step *s, const double *sum)
{
    struct adafactor *a = o->own;
    double keep = 1 - pow((double)s->t, DECAY_POWER);
    (void)sum;
    if (o->comm.size > 1) {
        int rc = comm_check(MPI_Allreduce(MPI_IN_PLACE, a->message, (int)a->n_message, MPI_FLOAT,
                                          MPI_SUM, o->comm.world),
                            "MPI_Allreduce");
        if (rc != OK)
            fatal(rc, "adafactor's statistics: %s", err_message());
    }
    for (int i = 0; i < o->n_groups; i++) {
        if (o->groups[i].frozen)
            continue;
        average_rows(o, i, keep);
        average_columns(o, i, keep);
    }
    memset(a->message, 0, a->n_message * sizeof *a->message);
}

/* ---- the update ---- */

/* The factor of row k's gradient, beside the columns'. */
static float row_factor(const struct optim_part *p, size_t k)
{
    const struct adafactor *a = p->o->own;
    double row = (double)p->o->stat[ROWS][a->row_at[p->group_i] + k];
    double mean = is_matrix(p->group) ? a->row_mean[p->group_i] : 1;
    return (float)(p->step->grad_scale * sqrt(mean / row));
}

static const float *col_factors(const struct optim_part *p)
{
    const struct adafactor *a = p->o->own;
    return a->col_factor + a->col_at[p->group_i];
}

/* Stretches of a row, or of a vector, for which there is room on the stack. */
static size_t stretch(size_t at, size_t end)
{
    return end - at < SHARD_BLOCK ? end - at : SHARD_BLOCK;
}

static void scale_row(float *restrict u, const float *restrict g, const float *restrict col,
                      size_t n, float row)
{
    for (size_t i = 0; i < n; i++)
        u[i] = g[i] * row * col[i];
}

/* u[n] for the floats [at, at+n) of the part: within one row of a matrix. */
static void update_of(float *u, const struct optim_part *p, size_t at, size_t n)
{
    size_t cols = p->group->cols, from = p->at + at;
    if (is_matrix(p->group)) {
        scale_row(u, p->g + at, col_factors(p) + from % cols, n, row_factor(p, from / cols));
        return;
    }
    for (size_t i = 0; i < n; i++)
        u[i] = p->g[at + i] * row_factor(p, from + i);
}

static size_t row_length(const struct optim_part *p)
{
    return is_matrix(p->group) ? p->group->cols : p->n;
}

static void measure_update(const struct optim_part *p, double *sum)
{
    float u[SHARD_BLOCK];
    size_t length = row_length(p);
    for (size_t row = 0; row < p->n; row += length)
        for (size_t at = row, n; at < row + length; at += n) {
            n = stretch(at, row + length);
            update_of(u, p, at, n);
            sum[0] += fold_dot(u, u, n);
            sum[1] += fold_dot(p->w + at, p->w + at, n);
        }
}

static void descend(float *restrict w, const float *restrict u, size_t n, float keep, float lr)
{
    for (size_t i = 0; i < n; i++)
        w[i] = w[i] * keep - lr * u[i];
}

static void run(const struct optim_part *p, double *sum)
{
    float u[SHARD_BLOCK];
    double n_all = (double)p->group->at.n, size = sqrt(p->sum[0] / n_all);
    double lr = part_lr(p) * fmax(LEAST_SCALE, sqrt(p->sum[1] / n_all)) / fmax(1, size);
    float keep = (float)(1 - part_lr(p) * part_decay(p));
    size_t length = row_length(p);
    (void)sum;
    for (size_t row = 0; row < p->n; row += length)
        for (size_t at = row, n; at < row + length; at += n) {
            n = stretch(at, row + length);
            update_of(u, p, at, n);
            descend(p->w + at, u, n, keep, (float)lr);
        }
}

const struct optim_rule optim_adafactor = {
    .name = "adafactor",
    .cut = OPTIM_CUT_ROWS,
    .n_passes = 3,
    .pass = {{.run = measure, .join = join},
             {.run = measure_update, .n_sums = 2, .by_tensor = true},
             {.run = run}},
    .moves = 6,
    .n_stats = 2,
    .stat = {[ROWS] = "exp_avg_sq_row", [COLS] = "exp_avg_sq_col"},
    .stat_n = stat_n,
    .own_bytes = own_bytes,
    .own_init = own_init,
    .note = "squares by rows and columns, relative rate: lr 1e-2 (Shazeer & Stern 2018, alg. 4)",
};
