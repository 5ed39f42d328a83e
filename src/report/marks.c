#include "report/marks.h"

#include "base/err.h"
#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>

static bool is_resumed(const struct report_run *r, int64_t i)
{
    return r->rows[i * M_N + M_ATTEMPT] > r->rows[(i - 1) * M_N + M_ATTEMPT];
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

int report_marks(struct report_run *r)
{
    int64_t n = 0;
    for (int64_t i = 1; i < r->n; i++)
        n += is_resumed(r, i);
    TRY(mem_alloc(&r->mark, (size_t)n, sizeof *r->mark, "marks of a run"));
    for (int64_t i = 1; i < r->n; i++)
        if (is_resumed(r, i))
            add_resume(r, i);
    return OK;
}
