#include "train/detect.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Of the averages: about the last 50 steps. */
static const double DECAY = 0.98;
/* Steps that a plateau, and a rate of clipping, are judged by at least. */
enum { PLATEAU_STEPS = 50, CLIP_STEPS = 50 };
/* The part of the tokens in which a plateau is looked for. */
static const double PLATEAU_SHARE = 0.1;
/* A plateau is told only where a fall by this share of the loss could have been seen. */
static const double PLATEAU_RESOLUTION = 0.005;
/* Of a normal distribution: 95 % and 99 % lie within. */
static const double SIGMAS_95 = 1.96, SIGMAS_99 = 2.58;
/* A condition clears this far on the other side of its limit, so that noise does not repeat it. */
static const double OSCILLATION_CLEARS = 0.1, CLIP_CLEARS = 0.8;
/* Equal values have no spread: what is above them by less than this share is no spike. */
static const double SPIKE_LEAST = 1e-6;

/* Notes whether the condition is met; a sight is new when it was not before. */
static bool switch_to(struct detect *d, enum detector which, bool met, struct sight *out)
{
    out->is_new = met && d->s.on[which] == 0;
    d->s.on[which] = met;
    return met;
}

/* ---- single steps ---- */

static bool is_nonfinite(const struct detect_step *v)
{
    return !isfinite(v->loss) || !isfinite(v->grad_norm);
}

bool detect_nonfinite(struct detect *d, const struct detect_step *v, struct sight *out)
{
    bool met = is_nonfinite(v);
    out->value = isfinite(v->loss) ? v->grad_norm : v->loss;
    out->since = v->step;
    snprintf(out->text, sizeof out->text, "the loss is %g and the gradient norm %g", v->loss,
             v->grad_norm);
    return switch_to(d, DETECT_NONFINITE, met, out);
}

static int in_window(const struct detect *d, const struct detect_limits *l)
{
    return (int)fmin(d->s.seen, (double)l->window);
}

static void mean_and_std(const double *v, int n, double *mean, double *std)
{
    double sum = 0, squares = 0;
    for (int i = 0; i < n; i++)
        sum += v[i];
    *mean = sum / n;
    for (int i = 0; i < n; i++)
        squares += (v[i] - *mean) * (v[i] - *mean);
    *std = sqrt(squares / (n - 1));
}

static bool is_spike(const double *before, int n, double x, const struct detect_limits *l,
                     const char *what, struct sight *out)
{
    double mean, std;
    mean_and_std(before, n, &mean, &std);
    if (!(x > mean + l->spike_sigma * std && x - mean > SPIKE_LEAST * fabs(mean)))
        return false;
    out->value = x;
    snprintf(out->text, sizeof out->text,
             "the %s of %.4g is %.3g standard deviations above the %.4g of the %d steps before",
             what, x, (x - mean) / std, mean, n);
    return true;
}

static bool is_any_spike(const struct detect *d, const struct detect_limits *l,
                         const struct detect_step *v, struct sight *out)
{
    int n = in_window(d, l);
    return 2 * n >= l->window && (is_spike(d->loss, n, v->loss, l, "loss", out) ||
                                  is_spike(d->grad, n, v->grad_norm, l, "gradient norm", out));
}

bool detect_suspects(const struct detect *d, const struct detect_limits *l,
                     const struct detect_step *v)
{
    struct sight unused;
    return is_nonfinite(v) || is_any_spike(d, l, v, &unused);
}

bool detect_spike(struct detect *d, const struct detect_limits *l, const struct detect_step *v,
                  struct sight *out)
{
    bool met = is_any_spike(d, l, v, out);
    out->since = v->step;
    int at = (int)fmod(d->s.seen, (double)l->window);
    d->loss[at] = v->loss;
    d->grad[at] = v->grad_norm;
    d->s.seen++;
    return switch_to(d, DETECT_SPIKE, met, out);
}

/* ---- averages ---- */

static void average(double *sum, double x)
{
    *sum = DECAY * *sum + (1 - DECAY) * x;
}

double detect_smooth_loss(const struct detect *d)
{
    return d->s.loss_sum / d->s.weight;
}

double detect_clip_rate(const struct detect *d)
{
    return d->s.clip_sum / d->s.weight;
}

static void add_bin(struct detect_bin *sum, const struct detect_bin *b)
{
    sum->n += b->n;
    sum->x += b->x;
    sum->y += b->y;
    sum->xx += b->xx;
    sum->xy += b->xy;
    sum->yy += b->yy;
}

/* Pairs of intervals become one, twice as long. */
static void merge_bins(struct detect *d)
{
    for (int i = 0; i < DETECT_BINS; i++) {
        struct detect_bin sum = {0};
        for (int k = 2 * i; k < 2 * i + 2 && k < DETECT_BINS; k++)
            add_bin(&sum, &d->bin[k]);
        d->bin[i] = sum;
    }
    d->s.bin_width *= 2;
}

static void add_to_bin(struct detect *d, double x, double y)
{
    if (d->s.bin_width <= 0)
        d->s.bin_width = x;
    while (x >= DETECT_BINS * d->s.bin_width)
        merge_bins(d);
    const struct detect_bin one = {1, x, y, x * x, x * y, y * y};
    add_bin(&d->bin[(int)(x / d->s.bin_width)], &one);
}

void detect_average(struct detect *d, const struct detect_step *v)
{
    average(&d->s.loss_sum, v->loss);
    average(&d->s.clip_sum, v->clipped);
    average(&d->s.weight, 1);
    double smooth = detect_smooth_loss(d);
    if (d->s.start == 0)
        d->s.start = d->s.best = smooth;
    d->s.best = fmin(d->s.best, smooth);
    if (v->tokens > 0)
        add_to_bin(d, v->tokens, v->loss);
}

/* ---- many steps ---- */

bool detect_diverged(struct detect *d, const struct detect_limits *l, const struct detect_step *v,
                     struct sight *out)
{
    double smooth = detect_smooth_loss(d);
    /* The loss of a run that stays level wanders about its first: half the margin is let pass. */
    bool over_start = smooth > d->s.start + l->margin / 2;
    bool over_best = smooth > d->s.best + fmax(l->margin, fabs(d->s.best) / 10);
    if (!over_start && !over_best)
        d->s.above = 0;
    else if (d->s.above++ == 0)
        d->s.above_since = (double)v->step;
    out->value = smooth;
    out->since = (int64_t)d->s.above_since;
    snprintf(out->text, sizeof out->text,
             "the smoothed loss of %.4g has been above %s of %.4g for %.0f steps", smooth,
             over_best ? "its best" : "its start", over_best ? d->s.best : d->s.start, d->s.above);
    return switch_to(d, DETECT_DIVERGED, d->s.above >= (double)l->diverged_steps, out);
}

/* The deviations of v[n] from their straight line, in place. */
static void detrend(double *v, int n)
{
    double middle = (n - 1) / 2.0, mean = 0, xy = 0, xx = 0;
    for (int i = 0; i < n; i++)
        mean += v[i] / n;
    for (int i = 0; i < n; i++) {
        xy += (i - middle) * (v[i] - mean);
        xx += (i - middle) * (i - middle);
    }
    for (int i = 0; i < n; i++)
        v[i] -= mean + xy / xx * (i - middle);
}

double detect_autocorrelation(const double *v, int n)
{
    double e[DETECT_WINDOW_MAX], with_next = 0, with_self = 0;
    memcpy(e, v, (size_t)n * sizeof *e);
    detrend(e, n);
    for (int i = 0; i < n; i++) {
        with_self += e[i] * e[i];
        with_next += i + 1 < n ? e[i] * e[i + 1] : 0;
    }
    return with_self > 0 ? with_next / with_self : 0;
}

bool detect_oscillation(struct detect *d, const struct detect_limits *l,
                        const struct detect_step *v, struct sight *out)
{
    double in_order[DETECT_WINDOW_MAX] = {0};
    int n = (int)l->window, first = (int)fmod(d->s.seen, (double)n);
    bool was = d->s.on[DETECT_OSCILLATION] != 0, met = false;
    out->since = v->step - n + 1;
    if (d->s.seen >= n) {
        for (int i = 0; i < n; i++)
            in_order[i] = d->loss[(first + i) % n];
        out->value = detect_autocorrelation(in_order, n);
        /* Few independent values have a correlation of their own. */
        met = out->value <
              fmin(l->oscillation, -SIGMAS_99 / sqrt(n)) + (was ? OSCILLATION_CLEARS : 0);
    }
    snprintf(out->text, sizeof out->text,
             "the loss swings from step to step: over %d steps its correlation with the step before"
             " is %.2f",
             n, out->value);
    return switch_to(d, DETECT_OSCILLATION, met, out);
}

void detect_slope(const struct detect_bin *s, double *slope, double *half)
{
    double xx = s->xx - s->x * s->x / s->n, xy = s->xy - s->x * s->y / s->n;
    double yy = s->yy - s->y * s->y / s->n;
    *slope = xy / xx;
    *half = SIGMAS_95 * sqrt(fmax(yy - *slope * xy, 0) / (s->n - 2) / xx);
}

/* The steps of the last tenth of the tokens, as far as intervals tell it; *from: where it begins.
 */
static struct detect_bin last_part(const struct detect *d, double tokens, double *from)
{
    struct detect_bin sum = {0};
    int first = (int)((1 - PLATEAU_SHARE) * tokens / d->s.bin_width);
    *from = first * d->s.bin_width;
    for (int i = first; i < DETECT_BINS; i++)
        add_bin(&sum, &d->bin[i]);
    return sum;
}

bool detect_plateau(struct detect *d, const struct detect_limits *l, const struct detect_step *v,
                    struct sight *out)
{
    double from, slope, half;
    (void)l;
    /* Looks at the same steps again and again would some time see by chance what is not there. */
    if (d->s.bin_width <= 0 || v->tokens < d->s.next_look)
        return d->s.on[DETECT_PLATEAU] != 0;
    struct detect_bin sums = last_part(d, v->tokens, &from);
    if (sums.n < PLATEAU_STEPS)
        return false;
    d->s.next_look = v->tokens / (1 - PLATEAU_SHARE);
    detect_slope(&sums, &slope, &half);
    double level = sums.y / sums.n;
    bool fine = half * (v->tokens - from) <= PLATEAU_RESOLUTION * fabs(level);
    bool met = fine && fabs(slope) <= half;
    out->value = slope;
    out->since = v->step - (int64_t)sums.n + 1;
    snprintf(out->text, sizeof out->text,
             "the loss of %.4g may have stopped falling: its slope over the last %.0f steps is"
             " %.2g ± %.2g a million tokens",
             level, sums.n, slope * 1e6, half * 1e6);
    return switch_to(d, DETECT_PLATEAU, met, out);
}

bool detect_clip(struct detect *d, const struct detect_limits *l, const struct detect_step *v,
                 struct sight *out)
{
    double rate = detect_clip_rate(d);
    bool was = d->s.on[DETECT_CLIP] != 0;
    bool met = d->s.seen >= CLIP_STEPS && rate > l->clip_rate * (was ? CLIP_CLEARS : 1);
    out->value = rate;
    out->since = v->step;
    snprintf(out->text, sizeof out->text, "%.0f %% of the recent steps were clipped", 100 * rate);
    return switch_to(d, DETECT_CLIP, met, out);
}

bool detect_overfit(struct detect *d, const struct detect_limits *l, int64_t step,
                    double valid_loss, struct sight *out)
{
    double smooth = detect_smooth_loss(d);
    bool first = d->s.valid == 0;
    bool rises = !first && valid_loss > d->s.valid && smooth < d->s.valid_smooth;
    d->s.rises = rises ? d->s.rises + 1 : 0;
    out->value = valid_loss;
    out->since = step;
    snprintf(out->text, sizeof out->text,
             "the validation loss has risen %.0f times in a row, to %.4g, while the training loss"
             " fell to %.4g",
             d->s.rises, valid_loss, smooth);
    d->s.valid = valid_loss;
    d->s.valid_smooth = smooth;
    return switch_to(d, DETECT_OVERFIT, d->s.rises >= (double)l->overfit_times, out);
}
