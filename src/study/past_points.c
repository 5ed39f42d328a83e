/* From trials at single rates to the points of the law. */
#include "base/err.h"
#include "base/mem.h"
#include "optim/lrscale.h"
#include "study/best_rate.h"
#include "study/past.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LABEL_COLUMNS = 16 };

/* Runs whose tokens differ by less than this share are of one length. */
static const double SAME_LENGTH = 1e-6;

static int by_group(const void *a, const void *b)
{
    const struct past_sample *x = a, *y = b;
    int c = strcmp(x->group, y->group);
    return c != 0 ? c : strcmp(x->from, y->from);
}

/* Adds room for one more to an array of n; its address, NULL without memory. */
static void *grow(void *array, int n, size_t size, const char *label)
{
    void *more, **at = array;
    if (mem_alloc(&more, (size_t)n + 1, size, label) != OK)
        return NULL;
    if (n > 0)
        memcpy(more, *at, (size_t)n * size);
    mem_free(*at);
    *at = more;
    return (char *)more + (size_t)n * size;
}

int past_add_skip(struct past *p, const char *from, const char *why)
{
    struct past_skip *s = grow(&p->skip, p->n_skip, sizeof *s, "what the past leaves out");
    if (s == NULL)
        return E_MEM;
    snprintf(s->from, sizeof s->from, "%s", from);
    snprintf(s->why, sizeof s->why, "%s", why);
    p->n_skip++;
    return OK;
}

int past_add_find(struct past *p, const struct past_find *find)
{
    struct past_find *f = grow(&p->find, p->n, sizeof *f, "best rates of the past");
    if (f == NULL)
        return E_MEM;
    *f = *find;
    p->n++;
    return OK;
}

/* The lowest target of the group's trials; 0: they go to their end. */
static double common_target(const struct past_sample *s, int n)
{
    double target = s[0].target;
    for (int i = 1; i < n; i++)
        target = fmin(target, s[i].target);
    return target;
}

static double longest(const struct past_sample *s, int n)
{
    double most = 0;
    for (int i = 0; i < n; i++)
        if (isfinite(s[i].score))
            most = fmax(most, s[i].at[PRIOR_TOKENS]);
    return most;
}

/* Those of one length or one target; the others are not comparable. */
static int comparable(struct rate_score *x, const struct past_sample *s, int n, double length)
{
    double target = common_target(s, n);
    int m = 0;
    for (int i = 0; i < n; i++) {
        bool same = target > 0 ? s[i].target == target
                               : s[i].at[PRIOR_TOKENS] >= length * (1 - SAME_LENGTH);
        if (same || !isfinite(s[i].score))
            x[m++] = (struct rate_score){s[i].lr, s[i].score};
    }
    return m;
}

static int judge_group(struct past *p, const struct past_sample *s, int n)
{
    struct rate_score *x;
    double length = longest(s, n), target = common_target(s, n);
    TRY(mem_alloc(&x, (size_t)n, sizeof *x, "rates of the past"));
    struct best_rate b = best_rate_of(x, comparable(x, s, n, length));
    mem_free(x);
    if (b.kind != BEST_WITHIN)
        return past_add_skip(p, s[0].from, best_rate_why(b.kind));
    struct past_find f = {.n_rates = b.n_rates, .point = {.lr = b.lr, .error = b.error}};
    snprintf(f.from, sizeof f.from, "%s", s[0].from);
    memcpy(f.point.at, s[0].at, sizeof f.point.at);
    f.point.at[PRIOR_TOKENS] = target > 0 ? b.score : length;
    return past_add_find(p, &f);
}

static int by_place(const void *a, const void *b)
{
    const struct past_find *x = a, *y = b;
    int c = strcmp(x->from, y->from);
    return c != 0 ? c
                  : (x->point.at[PRIOR_BATCH] > y->point.at[PRIOR_BATCH]) -
                        (x->point.at[PRIOR_BATCH] < y->point.at[PRIOR_BATCH]);
}

int past_judge(struct past *p, struct past_sample *sample, int n)
{
    if (n > 0)
        qsort(sample, (size_t)n, sizeof *sample, by_group);
    for (int i = 0, end; i < n; i = end) {
        for (end = i + 1; end < n && strcmp(sample[end].group, sample[i].group) == 0; end++)
            continue;
        TRY(judge_group(p, sample + i, end - i));
    }
    if (p->n > 0)
        qsort(p->find, (size_t)p->n, sizeof *p->find, by_place);
    return OK;
}

void past_release(struct past *p)
{
    MEM_FREE(p->find);
    MEM_FREE(p->skip);
    p->n = p->n_skip = 0;
}

static struct prior_assumption assumption(const struct config *job)
{
    return (struct prior_assumption){.adaptive = lrscale_is_adaptive(job->optimizer.name),
                                     .mup = job->rates.mup_base > 0};
}

bool past_law(struct prior *law, const struct past *p, const struct config *job)
{
    struct prior_point *x;
    bool any = false;
    if (p->n == 0 || mem_alloc(&x, (size_t)p->n, sizeof *x, "points of the law") != OK)
        return false;
    for (int i = 0; i < p->n; i++)
        x[i] = p->find[i].point;
    any = prior_fit(law, x, p->n, assumption(job));
    mem_free(x);
    return any;
}

int past_without(const struct past *p, const struct config *job)
{
    return ERR(E_CONFIG,
               "study.past %s: no best rate for %s was found there (%d place%s looked at); set "
               "study.center=range, or see `carat study JOB --past`",
               p->folder, job->optimizer.name, p->n_skip, p->n_skip == 1 ? "" : "s");
}

static void show_point(struct str *text, const struct past_find *f)
{
    char b[32], d[32], n[32];
    str_addf(text, "  %-34s %8s %8s %8s %10.3g  × or / %.2f  %d rates\n", f->from,
             fmt_si(b, sizeof b, f->point.at[PRIOR_BATCH]),
             fmt_si(d, sizeof d, f->point.at[PRIOR_TOKENS]),
             fmt_si(n, sizeof n, f->point.at[PRIOR_PARAMS]), f->point.lr, exp(f->point.error),
             f->n_rates);
}

void past_show(struct str *text, const struct past *p, const struct config *job)
{
    struct prior law;
    str_addf(text, "past            %s: %d best rate%s with %s\n", p->folder, p->n,
             p->n == 1 ? "" : "s", job->optimizer.name);
    if (p->n > 0)
        str_addf(text, "  %-34s %8s %8s %8s %10s\n", "found in", "B (tok)", "D (tok)", "N", "lr*");
    for (int i = 0; i < p->n; i++)
        show_point(text, &p->find[i]);
    for (int i = 0; i < p->n_skip; i++)
        str_addf(text, "  %-34s left out: %s\n", p->skip[i].from, p->skip[i].why);
    if (past_law(&law, p, job))
        prior_show(text, &law, LABEL_COLUMNS);
    else
        str_add(text, "law             none: there is nothing to fit\n");
}
