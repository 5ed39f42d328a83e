/* What runs reached. */
#include "facts_parts.h"

#include "base/err.h"
#include "base/mem.h"
#include "report/series.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { SMOOTH_PARTS = 50 };

double smoothing_of(int64_t n)
{
    return n > SMOOTH_PARTS ? (double)n / SMOOTH_PARTS : 1;
}

char *count_text(char *buf, size_t n, double count)
{
    char digits[32];
    snprintf(digits, sizeof digits, "%.0f", count);
    size_t len = strlen(digits), at = 0;
    for (size_t i = 0; i < len && at + 2 < n; i++) {
        buf[at++] = digits[i];
        if ((len - 1 - i) % 3 == 0 && i + 1 < len && digits[i] != '-')
            buf[at++] = ',';
    }
    buf[at] = '\0';
    return buf;
}

static double last_of(const struct report_run *r, int column)
{
    for (int64_t i = r->n - 1; i >= 0; i--)
        if (isfinite(r->rows[i * M_N + column]))
            return r->rows[i * M_N + column];
    return NAN;
}

static double median_of(const struct report_run *r, int column)
{
    double *v, median = NAN;
    if (mem_alloc(&v, (size_t)r->n, sizeof *v, "a column") == OK) {
        report_column(r, column, v);
        median = series_median(v, r->n);
        mem_free(v);
    }
    err_clear();
    return median;
}

/* The row of the least finite value, -1: none. */
static int64_t least_row(const struct report_run *r, const double *v)
{
    int64_t best = -1;
    for (int64_t i = 0; i < r->n; i++)
        if (isfinite(v[i]) && (best < 0 || v[i] < v[best]))
            best = i;
    return best;
}

static void say_value_at(const struct report_run *r, const double *v, int64_t i, char *cell,
                         size_t n)
{
    char step[32];
    if (i >= 0)
        snprintf(cell, n, "%.4g at step %s", v[i],
                 count_text(step, sizeof step, r->rows[i * M_N + M_STEP]));
}

/* ---- rows ---- */

static void make_standing(const struct report_run *r, char *cell, size_t n)
{
    snprintf(cell, n, "%s", r->failed[0] != '\0' ? "failed" : r->standing);
}

static double steps_wanted(const struct report_run *r)
{
    const struct amount *length = &r->conf.train.length;
    double step_tokens = (double)r->conf.batch.global * (double)r->conf.batch.seq_len;
    if (!r->has_conf || r->conf.batch.ramp[0] != '\0')
        return NAN;
    if (length->unit == UNIT_STEPS)
        return length->value;
    return length->unit == UNIT_TOKENS && step_tokens > 0 ? ceil(length->value / step_tokens) : NAN;
}

static void make_steps(const struct report_run *r, char *cell, size_t n)
{
    char done[32], all[32];
    double wanted = steps_wanted(r);
    count_text(done, sizeof done, r->rows[(r->n - 1) * M_N + M_STEP]);
    if (isfinite(wanted))
        snprintf(cell, n, "%s of %s", done, count_text(all, sizeof all, wanted));
    else
        snprintf(cell, n, "%s", done);
}

static void make_tokens(const struct report_run *r, char *cell, size_t n)
{
    double tokens = last_of(r, M_TOKENS);
    if (isfinite(tokens))
        count_text(cell, n, tokens);
}

static void make_time(const struct report_run *r, char *cell, size_t n)
{
    fmt_duration(cell, n, r->time_s[r->n - 1]);
}

static void smooth_loss(const struct report_run *r, char *cell, size_t n, bool best)
{
    double *v;
    if (mem_alloc(&v, (size_t)r->n, sizeof *v, "a column") != OK) {
        err_clear();
        return;
    }
    report_column(r, M_LOSS, v);
    series_smooth(v, r->n, smoothing_of(r->n));
    double last = series_last(v, r->n);
    if (best)
        say_value_at(r, v, least_row(r, v), cell, n);
    else if (isfinite(last))
        snprintf(cell, n, "%.4g", last);
    mem_free(v);
}

static void make_loss(const struct report_run *r, char *cell, size_t n)
{
    smooth_loss(r, cell, n, false);
}

static void make_best_loss(const struct report_run *r, char *cell, size_t n)
{
    smooth_loss(r, cell, n, true);
}

static void make_valid(const struct report_run *r, char *cell, size_t n)
{
    double v = last_of(r, M_VALID_LOSS);
    if (isfinite(v))
        snprintf(cell, n, "%.4g", v);
}

static int64_t best_valid_row(const struct report_run *r)
{
    int64_t best = -1;
    for (int64_t i = 0; i < r->n; i++) {
        double v = r->rows[i * M_N + M_VALID_LOSS];
        if (isfinite(v) && (best < 0 || v < r->rows[best * M_N + M_VALID_LOSS]))
            best = i;
    }
    return best;
}

static void make_best_valid(const struct report_run *r, char *cell, size_t n)
{
    int64_t i = best_valid_row(r);
    char step[32];
    if (i >= 0)
        snprintf(cell, n, "%.4g at step %s", r->rows[i * M_N + M_VALID_LOSS],
                 count_text(step, sizeof step, r->rows[i * M_N + M_STEP]));
}

static void make_perplexity(const struct report_run *r, char *cell, size_t n)
{
    int64_t i = best_valid_row(r);
    if (i >= 0)
        snprintf(cell, n, "%.4g", exp(r->rows[i * M_N + M_VALID_LOSS]));
}

static void make_accuracy(const struct report_run *r, char *cell, size_t n)
{
    double v = last_of(r, M_VALID_ACCURACY);
    if (isfinite(v))
        snprintf(cell, n, "%.1f%%", 100 * v);
}

static void make_rate(const struct report_run *r, char *cell, size_t n)
{
    double most = -INFINITY;
    for (int64_t i = 0; i < r->n; i++)
        most = fmax(most, r->rows[i * M_N + M_LR]);
    if (isfinite(most))
        snprintf(cell, n, "%.4g, now %.4g", most, last_of(r, M_LR));
}

static void make_noise(const struct report_run *r, char *cell, size_t n)
{
    int k = metric_find("noise_scale");
    double v = k >= 0 ? last_of(r, k) : NAN;
    if (isfinite(v))
        snprintf(cell, n, "%.3g sequences", v);
}

static void make_speed(const struct report_run *r, char *cell, size_t n)
{
    double v = median_of(r, M_TOKENS_PER_S);
    char text[32];
    if (isfinite(v))
        snprintf(cell, n, "%s", count_text(text, sizeof text, v));
}

static void make_peak(const struct report_run *r, char *cell, size_t n)
{
    double v = median_of(r, M_PEAK_FRACTION);
    if (isfinite(v))
        snprintf(cell, n, "%.0f%%", 100 * v);
}

static void make_memory(const struct report_run *r, char *cell, size_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < r->ranks.ranks; i++)
        sum += r->ranks.mean[i * R_N + R_MEM_BYTES];
    if (isfinite(sum) && sum > 0)
        fmt_bytes(cell, n, sum);
}

static void make_not_finite(const struct report_run *r, char *cell, size_t n)
{
    int64_t bad = 0;
    for (int64_t i = 0; i < r->n; i++)
        bad += !isfinite(r->rows[i * M_N + M_LOSS]) || !isfinite(r->rows[i * M_N + M_GRAD_NORM]);
    if (bad > 0)
        snprintf(cell, n, "%lld", (long long)bad);
}

static void make_damaged(const struct report_run *r, char *cell, size_t n)
{
    if (r->n_bad > 0)
        snprintf(cell, n, "%lld", (long long)r->n_bad);
}

int facts_results(struct facts *f, const struct report_run *runs, int n)
{
    static const struct fact_maker makers[] = {
        {"state", make_standing},
        {"steps", make_steps},
        {"tokens", make_tokens},
        {"time in steps", make_time},
        {"loss, smoothed", make_loss},
        {"best loss, smoothed", make_best_loss},
        {"validation loss", make_valid},
        {"best validation loss", make_best_valid},
        {"its perplexity", make_perplexity},
        {"validation accuracy", make_accuracy},
        {"highest rate", make_rate},
        {"noise scale", make_noise},
        {"tokens/s, median", make_speed},
        {"of peak, median", make_peak},
        {"memory, all ranks", make_memory},
        {"steps not finite", make_not_finite},
        {"damaged rows left out", make_damaged},
    };
    return facts_fill(f, makers, sizeof makers / sizeof *makers, runs, n);
}
