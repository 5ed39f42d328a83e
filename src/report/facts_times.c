/* Where the time of a step goes. */
#include "facts_parts.h"

#include "base/err.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Mean and greatest of a part over the ranks, seconds a step; NaN when none measured it. */
static void over_ranks(const struct report_run *r, int part, double *mean, double *most)
{
    double sum = 0;
    int64_t n = 0;
    *most = NAN;
    for (int64_t rank = 0; rank < r->ranks.ranks; rank++) {
        double v = r->ranks.mean[rank * R_N + part];
        if (!isfinite(v))
            continue;
        sum += v;
        n++;
        *most = fmax(*most, v);
    }
    *mean = n > 0 ? sum / (double)n : NAN;
}

static bool is_time(int part)
{
    return strcmp(RANK_COLUMNS[part].unit, "s") == 0;
}

static double all_parts(const struct report_run *r)
{
    double all = 0, mean, most;
    for (int part = 0; part < R_N; part++) {
        over_ranks(r, part, &mean, &most);
        all += is_time(part) && isfinite(mean) ? mean : 0;
    }
    return all;
}

static void write_part(const struct report_run *r, int part, bool with_most, char *cell, size_t n)
{
    double mean, most, all = all_parts(r);
    over_ranks(r, part, &mean, &most);
    if (!isfinite(mean) || !(all > 0))
        return;
    int len = snprintf(cell, n, "%.3g ms, %.1f%%", 1000 * mean, 100 * mean / all);
    if (with_most && r->ranks.ranks > 1)
        snprintf(cell + len, n - (size_t)len, ", at most %.3g", 1000 * most);
}

int facts_times(struct facts *f, const struct report_run *runs, int n)
{
    *f = (struct facts){.n_runs = n};
    for (int part = 0; part < R_N; part++) {
        if (!is_time(part))
            continue;
        char label[FACT_LABEL];
        const char *name = RANK_COLUMNS[part].name;
        snprintf(label, sizeof label, "%.*s", (int)(strlen(name) - strlen("_s")), name);
        int rc = facts_next_row(f, label);
        if (rc != OK) {
            facts_release(f);
            return rc;
        }
        for (int i = 0; i < n; i++)
            write_part(&runs[i], part, n == 1, f->row[f->n].cell[i], FACT_CELL);
        facts_keep_row(f, facts_any_cell(f));
    }
    return OK;
}
