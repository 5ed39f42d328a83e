#include "report/marks.h"

#include "base/err.h"
#include "base/mem.h"
#include "train/events.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct event_list {
    struct event *at;
    size_t n;
};

/* Going back begins an attempt too, and is an event of its own. */
static bool went_back(const struct event_list *l, double attempt)
{
    for (size_t i = 0; i < l->n; i++)
        if (strcmp(l->at[i].kind, "back") == 0 && (double)l->at[i].attempt == attempt)
            return true;
    return false;
}

static bool is_resumed(const struct report_run *r, const struct event_list *l, int64_t i)
{
    double attempt = r->rows[i * M_N + M_ATTEMPT];
    return attempt > r->rows[(i - 1) * M_N + M_ATTEMPT] && !went_back(l, attempt);
}

static void add_resume(struct report_run *r, int64_t i)
{
    const double *before = r->rows + (i - 1) * M_N, *now = r->rows + i * M_N;
    struct run_mark *m = &r->mark[r->n_marks++];
    *m = (struct run_mark){.step = (int64_t)before[M_STEP], .row = i - 1};
    snprintf(m->kind, sizeof m->kind, "resumed");
    snprintf(m->text, sizeof m->text, "Resumed after step %.0f (attempt %.0f).", before[M_STEP],
             now[M_ATTEMPT]);
}

/* The row of a step, or the one before it where there is none. */
static int64_t row_of(const struct report_run *r, int64_t step)
{
    int64_t first = 0,
            end = r->n; /* rows before first are not behind the step, those from end are */
    while (first < end) {
        int64_t middle = first + (end - first) / 2;
        if (r->rows[middle * M_N + M_STEP] <= (double)step)
            first = middle + 1;
        else
            end = middle;
    }
    return first > 0 ? first - 1 : 0;
}

/* The sentence without "step 12: ", which stands beside it everywhere. */
static const char *sentence_of(const struct event *e)
{
    char prefix[48];
    int n = snprintf(prefix, sizeof prefix, "step %" PRId64 ": ", e->step);
    return strncmp(e->text, prefix, (size_t)n) == 0 ? e->text + n : e->text;
}

static void add_event(struct report_run *r, const struct event *e)
{
    struct run_mark *m = &r->mark[r->n_marks++];
    *m = (struct run_mark){.step = e->step, .row = row_of(r, e->step)};
    snprintf(m->kind, sizeof m->kind, "%s: %s", e->kind, e->action);
    int len = snprintf(m->text, sizeof m->text, "%s", sentence_of(e));
    if (e->sample_n > 0)
        snprintf(m->text + len, sizeof m->text - (size_t)len,
                 " (samples %" PRIu64 " to %" PRIu64 ")", e->sample_first,
                 e->sample_first + e->sample_n - 1);
}

/* In the order of the rows; those of one row as they came. */
static int by_row(const void *a, const void *b)
{
    const struct run_mark *p = a, *q = b;
    if (p->row != q->row)
        return p->row < q->row ? -1 : 1;
    return (p->order > q->order) - (p->order < q->order);
}

static int make_marks(struct report_run *r, const struct event_list *l)
{
    size_t n = l->n;
    for (int64_t i = 1; i < r->n; i++)
        n += is_resumed(r, l, i);
    TRY(mem_alloc(&r->mark, n, sizeof *r->mark, "marks of a run"));
    for (size_t i = 0; i < l->n; i++)
        add_event(r, &l->at[i]);
    for (int64_t i = 1; i < r->n; i++)
        if (is_resumed(r, l, i))
            add_resume(r, i);
    for (int i = 0; i < r->n_marks; i++)
        r->mark[i].order = i;
    if (n > 0)
        qsort(r->mark, n, sizeof *r->mark, by_row);
    return OK;
}

int report_marks(struct report_run *r)
{
    struct event_list l;
    TRY(events_read(r->path, &l.at, &l.n, NULL));
    int rc = make_marks(r, &l);
    mem_free(l.at);
    return rc;
}
