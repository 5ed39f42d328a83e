/* The ranks' columns, averaged. */
#include "metrics_parts.h"

#include "base/err.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

enum { ROWS_READ = 16384, WIDTH = SIDE_HEAD + R_N + 1 };

struct averager {
    const struct history *h;
    int in;          /* the open segment's file */
    int64_t segment; /* which one is open; -1: none */
    double *row;     /* [ranks][WIDTH] of one step */
    int64_t *count;  /* [ranks][R_N] */
    struct metrics_ranks *out;
};

static void take_row(struct averager *a, double step)
{
    for (int64_t r = 0; r < a->out->ranks; r++) {
        const double *row = a->row + r * WIDTH;
        if (!metrics_is_sealed(row, WIDTH) || row[0] != step)
            continue;
        for (int64_t i = 0; i < R_N; i++)
            if (isfinite(row[SIDE_HEAD + i])) {
                a->out->mean[r * R_N + i] += row[SIDE_HEAD + i];
                a->count[r * R_N + i]++;
            }
    }
}

static int read_row(struct averager *a, const struct history_row *from)
{
    const struct segment *s = &a->h->segment[from->segment];
    if (a->segment != from->segment) {
        if (a->in >= 0)
            close(a->in);
        a->segment = from->segment;
        a->in = open(s->path, O_RDONLY | O_CLOEXEC);
        if (a->in < 0)
            return ERR(E_IO, "%s: cannot open: %s", s->path, strerror(errno));
    }
    TRY(fs_pread(a->in, a->row, (size_t)s->n_beside[SIDE_RANKS] * WIDTH * sizeof(double),
                 segment_beside_at(s, SIDE_RANKS, from->at, 0), s->path));
    take_row(a, from->v[M_STEP]);
    a->out->rows++;
    return OK;
}

static int64_t ranks_of(const struct history *h, int64_t i)
{
    return h->segment[h->row[i].segment].n_beside[SIDE_RANKS];
}

/* Of each stretch one row, at a place that differs from stretch to stretch: what happens every so
 * many steps, such as a checkpoint, would be met always or never. */
static int read_rows(struct averager *a)
{
    int64_t stretch = (a->h->n + ROWS_READ - 1) / ROWS_READ;
    for (int64_t first = 0; first < a->h->n; first += stretch) {
        int64_t i = first + (int64_t)((uint64_t)first * 0x9e3779b97f4a7c15U >> 33) % stretch;
        if (i < a->h->n && ranks_of(a->h, i) == a->out->ranks)
            TRY(read_row(a, &a->h->row[i]));
    }
    return OK;
}

static int average(const struct history *h, struct metrics_ranks *r)
{
    struct averager a = {.h = h, .in = -1, .segment = -1, .out = r};
    int64_t n = r->ranks * R_N;
    int rc;
    TRY_OUT(mem_alloc(&r->mean, (size_t)n, sizeof *r->mean, "means of the ranks"));
    TRY_OUT(mem_alloc(&a.count, (size_t)n, sizeof *a.count, "counts of the ranks"));
    TRY_OUT(mem_alloc(&a.row, (size_t)r->ranks, WIDTH * sizeof *a.row, "rank rows"));
    rc = read_rows(&a);
    for (int64_t i = 0; i < n; i++)
        r->mean[i] = a.count[i] > 0 ? r->mean[i] / (double)a.count[i] : NAN;
out:
    if (a.in >= 0)
        close(a.in);
    mem_free(a.row);
    mem_free(a.count);
    if (rc != OK)
        MEM_FREE(r->mean);
    return rc;
}

int metrics_read_ranks(const char *run_dir, struct metrics_ranks *r)
{
    struct history h;
    *r = (struct metrics_ranks){0};
    TRY(history_read(&h, run_dir));
    int rc = OK;
    if (h.n > 0) {
        r->ranks = ranks_of(&h, h.n - 1);
        rc = average(&h, r);
    }
    history_release(&h);
    return rc;
}
