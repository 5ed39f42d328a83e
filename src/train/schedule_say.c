/* What is said of a job's schedule: its derivation, and warnings. */
#include "base/err.h"
#include "base/log.h"
#include "conf/amount.h"
#include "conf/config_file.h"
#include "schedule_parts.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Less than this of the peak moves no weight: a rate that is zero in all but name. */
static const double AS_GOOD_AS_ZERO = 1e-8;

static bool counts_steps(const struct making *m)
{
    return derive_clock_unit(m->job) == UNIT_STEPS;
}

/* ": gamma 0.1, every 30%", of what the rule reads; but for one key. */
static void add_settings(struct str *out, const struct wanted *w, const char *but)
{
    const char *sign = ": ";
    for (const char *at = w->rule->keys; *at != '\0';) {
        char key[64], value[CONF_STR + 64];
        int n = (int)strcspn(at, " ");
        snprintf(key, sizeof key, "schedule.%.*s", n, at);
        const struct conf_key *k = conf_find(key);
        if (k != NULL && strcmp(key, but) != 0) {
            str_addf(out, "%s%.*s %s", sign, n, at,
                     conf_value_text(k, &w->conf, value, sizeof value));
            sign = ", ";
        }
        at += n + (at[n] == ' ');
    }
    str_add(out, "\n");
}

void schedule_say_piece(struct making *m, const struct schedule_piece *p, const struct wanted *w)
{
    char label[48];
    long long step = schedule_step(m, m->begin) + 1;
    double peak = m->s->peak;
    snprintf(label, sizeof label, "  from step %lld", step);
    str_addf(&m->lines, "%-15s %s, %.3e to %.3e", label, p->rule->name,
             peak * p->rule->share(p, 0, 0), peak * schedule_piece_end(p));
    add_settings(&m->lines, w, "");
}

static void say_warmup(const struct making *m, struct str *text)
{
    const struct schedule_warmup *w = &m->s->warmup;
    const struct schedule_rule *first = m->s->piece[0].rule;
    if (w->length <= 0) {
        str_addf(text, "warmup          none%s%s%s\n", first->rises ? ": " : "",
                 first->rises ? first->name : "", first->rises ? " rises by itself" : "");
        return;
    }
    str_addf(text, "warmup          %s", warmup_name(w->shape));
    if (w->shape == WARMUP_CONSTANT || w->shape == WARMUP_GRADUAL)
        str_addf(text, " %s %g of the rate", w->shape == WARMUP_CONSTANT ? "at" : "from", w->start);
    str_addf(text, " over %lld steps", (long long)schedule_step(m, w->length));
    if (!counts_steps(m))
        str_addf(text, " = %.0f %s", w->length, unit_name(derive_clock_unit(m->job)));
    if (w->shape == WARMUP_EXPONENTIAL)
        str_addf(text, ", where it is %.3g of the rate", -expm1(-w->length / w->tau));
    str_add(text, "\n");
}

/* A rule that goes to its final rate says to which. */
static void say_rule(const struct making *m, const struct wanted *w, struct str *text)
{
    const struct schedule *s = m->s;
    const struct schedule_rule *rule = w->rule;
    bool to = schedule_reads(rule, "final") && !rule->jumps && !rule->observes;
    str_addf(text, "schedule        %s", rule->name);
    if (to)
        str_addf(text, " to %.3e", s->peak * schedule_piece_end(&s->piece[0]));
    str_addf(text, " over %lld steps", (long long)m->course->n_steps);
    if (!counts_steps(m))
        str_addf(text, " = %.0f %s", s->total, unit_name(derive_clock_unit(m->job)));
    if (rule->share != NULL) {
        add_settings(text, w, to ? "schedule.final" : "");
    } else {
        str_add(text, "\n");
        str_add(text, m->lines.s);
    }
    str_addf(text, "first, last     %.3e, %.3e%s\n",
             derive_rate(s, m->job, m->course, m->scaling, 0),
             derive_rate(s, m->job, m->course, m->scaling, m->course->n_steps - 1),
             schedule_has_plateau(s) ? " without a plateau" : "");
}

/* The key that lifts the rate at a step where it is zero. */
static const char *lifts(const struct making *m, const struct schedule_rule *rule, int64_t step)
{
    const struct schedule *s = m->s;
    const struct schedule_rule *r = s->piece[0].rule;
    if (derive_clock(m->job, m->course, step) < s->warmup.length)
        return "schedule.warmup_start";
    if (rule->share == NULL)
        return "final or from in schedule.pieces";
    if (schedule_reads(r, "base") && (step == 0 || !schedule_reads(r, "final")))
        return "schedule.base";
    return schedule_reads(r, "final")   ? "schedule.final"
           : schedule_reads(r, "gamma") ? "schedule.gamma"
                                        : "schedule.power";
}

/* Looks at all steps, or at so many of them. */
static void warn_of_zero(const struct making *m, const struct schedule_rule *rule)
{
    enum { LOOKS = 1 << 16 };
    int64_t first = -1, last = -1, n = 0, stride = (m->course->n_steps - 1) / LOOKS + 1;
    for (int64_t t = 0; t < m->course->n_steps; t += stride)
        if (derive_rate(m->s, m->job, m->course, m->scaling, t) < AS_GOOD_AS_ZERO * m->s->peak) {
            first = first < 0 ? t : first;
            last = t;
            n += stride;
        }
    if (first < 0)
        return;
    log_warn("schedule %s: the learning rate is zero, or below 1e-8 of its peak, at %lld of %lld "
             "steps, from step %lld to %lld: nothing is learned there; raise %s or shorten the run",
             m->job->schedule.name, (long long)n, (long long)m->course->n_steps,
             (long long)first + 1, (long long)last + 1, lifts(m, rule, last));
}

/* A run that measures at fixed weights is wanted now and then. */
static void warn_of_no_rate(const struct making *m)
{
    if (m->s->peak == 0)
        log_warn("optimizer.lr is 0: no step changes a weight; set optimizer.lr, which `carat "
                 "range` helps to find");
}

static void warn_of_warmup(const struct making *m, const struct schedule_rule *rule)
{
    const struct schedule_warmup *w = &m->s->warmup;
    if (m->course->n_steps > 1 && w->length >= m->s->total && *rule->keys != '\0')
        log_warn("schedule.warmup takes all %lld steps of the run, so that schedule.name %s never "
                 "begins; shorten schedule.warmup or lengthen train.steps",
                 (long long)m->course->n_steps, rule->name);
}

static bool is_read(const struct making *m, const struct schedule_rule *rule, const char *key)
{
    static const char *const common[] = {"name", "clock", "warmup", "warmup_shape"};
    enum warmup_shape shape = m->s->warmup.shape;
    for (size_t i = 0; i < sizeof common / sizeof common[0]; i++)
        if (strcmp(key, common[i]) == 0)
            return true;
    if (strcmp(key, "warmup_start") == 0 && (shape == WARMUP_CONSTANT || shape == WARMUP_GRADUAL))
        return true;
    bool read = schedule_reads(rule, key);
    for (int i = 0; i < m->s->n && !read; i++)
        read = schedule_reads(m->s->piece[i].rule, key);
    return read;
}

struct reader {
    const struct making *m;
    const struct schedule_rule *rule;
};

static void note_unread(void *ctx, const struct conf_key *k, const char *def, const char *now)
{
    static const char section[] = "schedule.";
    const struct reader *r = ctx;
    (void)def;
    if (strncmp(k->name, section, sizeof section - 1) == 0 &&
        !is_read(r->m, r->rule, k->name + sizeof section - 1))
        log_warn("%s=%s is set, and schedule.name %s does not read it", k->name, now,
                 r->rule->name);
}

/* A constant rate is what one sets for a trial of something else. */
static int warn_of_unread(const struct making *m, const struct schedule_rule *rule)
{
    struct config def;
    struct conf_origins origins;
    struct reader r = {m, rule};
    if (*rule->keys == '\0')
        return OK;
    TRY(conf_load(&def, &origins, NULL, NULL, 0));
    conf_diff(&def, m->job, note_unread, &r);
    return OK;
}

void schedule_say(const struct making *m, const struct wanted *w, struct str *text)
{
    say_warmup(m, text);
    say_rule(m, w, text);
}

int schedule_warn(const struct making *m, const struct schedule_rule *rule)
{
    warn_of_no_rate(m);
    warn_of_warmup(m, rule);
    warn_of_zero(m, rule);
    return warn_of_unread(m, rule);
}
