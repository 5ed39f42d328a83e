/* What branches say. */
#include "study/branch.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* A branch's loss once it has ended; NaN: it says nothing. */
static double loss_of(const struct trial *t)
{
    switch (t->state) {
    case TRIAL_DONE:
        return isfinite(t->value) ? t->value : INFINITY;
    case TRIAL_DIVERGED:
        return INFINITY;
    default:
        return NAN;
    }
}

/* The largest factor up to which each loss is within harm of the least before it. */
static void find_harmless(struct branch_row *row, const struct branch_setup *b)
{
    double least = row->loss[0];
    int last = 0;
    row->verdict = isfinite(least) ? BRANCH_AT_LEAST : BRANCH_UNKNOWN;
    if (row->verdict == BRANCH_UNKNOWN)
        return;
    while (last + 1 < b->n_factors && row->loss[last + 1] <= least + b->conf.study.harm)
        least = fmin(least, row->loss[++last]);
    if (last + 1 < b->n_factors)
        row->verdict = BRANCH_HARMLESS;
    row->factor = b->factor[last];
    row->batch = b->factor[last] * (double)row->point.batch;
}

static void judge_row(struct branch_row *row, const struct branch_setup *b, int i,
                      const struct history *h)
{
    bool ended = true;
    *row = (struct branch_row){.point = b->point[i], .noise_scale = NAN};
    for (int j = 0; j < b->n_factors; j++) {
        int number = i * b->n_factors + j;
        const struct trial *t = number < h->n ? &h->trial[number] : NULL;
        row->loss[j] = t != NULL ? loss_of(t) : NAN;
        ended &= t != NULL && t->state >= TRIAL_DONE;
        if (t != NULL && j == 0)
            row->noise_scale = t->noise_scale;
    }
    row->verdict = BRANCH_OPEN;
    if (ended)
        find_harmless(row, b);
}

void branch_judge(struct branch_result *r, const struct branch_setup *b, const struct history *h)
{
    r->setup = b;
    r->n = b->n_points;
    for (int i = 0; i < r->n; i++)
        judge_row(&r->row[i], b, i, h);
}

static bool decided(const struct branch_row *row)
{
    return row->verdict == BRANCH_HARMLESS || row->verdict == BRANCH_AT_LEAST;
}

bool branch_ramp(struct str *text, const struct branch_result *r, int64_t *batch)
{
    double allowed[BRANCH_MOST_POINTS] = {0};
    for (int i = r->n - 1; i >= 0; i--) {
        if (!decided(&r->row[i]))
            return false;
        allowed[i] = i + 1 < r->n ? fmin(allowed[i + 1], r->row[i].batch) : r->row[i].batch;
    }
    /* Before the first checkpoint nothing was measured: the run's own batch, or what is allowed. */
    *batch = (int64_t)fmin((double)r->row[0].point.batch, allowed[0]);
    str_addf(text, "0:%" PRId64, *batch);
    for (int i = 0; i < r->n; i++) {
        if (allowed[i] <= (double)*batch)
            continue;
        *batch = (int64_t)allowed[i];
        str_addf(text, " %.0ftok:%" PRId64, r->row[i].point.tokens, *batch);
    }
    return true;
}

static void show_head(struct str *text, const struct branch_setup *b)
{
    char tokens[32];
    str_addf(text,
             "branches of %s tokens, loss at their end; harm: more than %g above the least of "
             "smaller batches\n",
             fmt_si(tokens, sizeof tokens, b->length), b->conf.study.harm);
    str_addf(text, "%10s %9s %7s", "step", "tokens", "batch");
    for (int j = 0; j < b->n_factors; j++) {
        char head[24];
        snprintf(head, sizeof head, "× %g", b->factor[j]);
        str_addf(text, " %10s", head); /* the sign is of two bytes */
    }
    str_addf(text, " %11s %11s\n", "harmless", "noise scale");
}

static void show_loss(struct str *text, double loss)
{
    if (isnan(loss))
        str_addf(text, " %9s", "-");
    else if (isinf(loss))
        str_addf(text, " %9s", "diverged");
    else
        str_addf(text, " %9.4f", loss);
}

static void show_row(struct str *text, const struct branch_row *row, const struct branch_setup *b)
{
    char tokens[32], batch[32];
    str_addf(text, "%10" PRId64 " %9s %7" PRId64, row->point.step,
             fmt_si(tokens, sizeof tokens, row->point.tokens), row->point.batch);
    for (int j = 0; j < b->n_factors; j++)
        show_loss(text, row->loss[j]);
    if (decided(row))
        snprintf(batch, sizeof batch, "%s%.0f", row->verdict == BRANCH_AT_LEAST ? ">= " : "",
                 row->batch);
    else
        snprintf(batch, sizeof batch, "%s", row->verdict == BRANCH_OPEN ? "..." : "not known");
    str_addf(text, " %11s", batch);
    if (isfinite(row->noise_scale))
        str_addf(text, " %11.1f\n", row->noise_scale);
    else
        str_addf(text, " %11s\n", "-");
}

/* What it comes to, in a sentence. */
static void show_advice(struct str *text, const struct branch_result *r)
{
    struct str ramp = {0};
    int64_t batch;
    bool open_end = false;
    for (int i = 0; i < r->n; i++)
        open_end |= r->row[i].verdict == BRANCH_AT_LEAST;
    if (!branch_ramp(&ramp, r, &batch))
        str_add(text, "advice          none yet: a checkpoint has no verdict\n");
    else if (strchr(ramp.s, ' ') != NULL)
        str_addf(text, "advice          batch.ramp=\"%s\" batch.global=%" PRId64 "%s\n", ramp.s,
                 batch, open_end ? "; larger may do: all that was tried was harmless" : "");
    else
        str_addf(text, "advice          stay at a batch of %" PRId64 ": twice it does harm\n",
                 batch);
    str_release(&ramp);
}

void branch_show(struct str *text, const struct branch_result *r)
{
    show_head(text, r->setup);
    for (int i = 0; i < r->n; i++)
        show_row(text, &r->row[i], r->setup);
    show_advice(text, r);
}
