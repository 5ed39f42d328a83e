/* The schedule of a job: its warmup and pieces in units of the clock, and what is wrong with them.
 */
#include "base/err.h"
#include "base/log.h"
#include "conf/amount.h"
#include "schedule_parts.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static double tokens_in(const struct making *m, enum unit u)
{
    double sample = (double)m->job->batch.seq_len;
    switch (u) {
    case UNIT_SAMPLES:
        return sample;
    case UNIT_EPOCHS:
        return sample * (double)m->course->n_samples;
    default:
        return 1;
    }
}

int schedule_units(double *out, const struct making *m, struct amount a, double whole,
                   const char *key)
{
    enum unit clock = derive_clock_unit(m->job);
    if (a.unit == UNIT_EPOCHS && m->course->n_samples == 0)
        return ERR(E_DATA,
                   "%s is in epochs, and %s is not there, so an epoch has no length; run `carat "
                   "prepare`, or give it in steps or tokens",
                   key, m->job->data.train);
    if (a.unit == UNIT_NONE)
        *out = 0;
    else if (a.unit == UNIT_PERCENT)
        *out = a.value * whole / 100;
    else if (a.unit == UNIT_STEPS || clock == UNIT_STEPS)
        *out = derive_clock(m->job, m->course, course_steps(m->course, m->job, a));
    else
        *out = a.value * tokens_in(m, a.unit) / tokens_in(m, clock);
    return OK;
}

int64_t schedule_step(const struct making *m, double at)
{
    static const double ROUNDING = 1e-12;
    int64_t lo = 0, hi = m->course->n_steps;
    at *= 1 - ROUNDING;
    while (lo < hi) {
        int64_t mid = lo + (hi - lo) / 2;
        if (derive_clock(m->job, m->course, mid) < at)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

/* Time constant of 1 - exp(-(1 - β2)·t). */
static int warmup_tau(struct making *m, double *tau)
{
    int64_t batch = ramp_batch(&m->course->ramp, (struct ramp_at){0, 0});
    double beta2 = derive_settings(m->scaling, batch).beta2;
    if (beta2 <= 0)
        return ERR(E_CONFIG,
                   "schedule.warmup_shape exponential follows beta2, and %s has none; set it to "
                   "linear",
                   m->job->optimizer.name);
    *tau = derive_clock(m->job, m->course, 1) / (1 - beta2);
    return OK;
}

/* Rounded up to whole steps. */
static int set_warmup(struct making *m, const struct wanted *w)
{
    const struct config *c = m->job;
    struct schedule_warmup *warm = &m->s->warmup;
    char amount[64];
    warm->shape = w->rule->rises ? WARMUP_NONE : warmup_find(c->schedule.warmup_shape);
    if (warm->shape == WARMUP_NONE)
        return OK;
    TRY(schedule_units(&warm->length, m, c->schedule.warmup, m->s->total, "schedule.warmup"));
    if (warm->length > m->s->total)
        return ERR(E_CONFIG,
                   "schedule.warmup, %s, is longer than the run of %lld steps; shorten it or "
                   "lengthen train.steps",
                   amount_text(&c->schedule.warmup, amount, sizeof amount),
                   (long long)m->course->n_steps);
    warm->length = derive_clock(c, m->course, schedule_step(m, warm->length));
    if (warm->length > w->length)
        return ERR(E_CONFIG,
                   "schedule.warmup, %s, is longer than the first of schedule.pieces, which holds "
                   "it; shorten the one or lengthen the other",
                   amount_text(&c->schedule.warmup, amount, sizeof amount));
    warm->start = c->schedule.warmup_start;
    if (warm->shape != WARMUP_EXPONENTIAL || warm->length <= 0)
        return OK;
    return warmup_tau(m, &warm->tau);
}

/* Where the job leaves it to the rule, the rule's own. */
static int settle(struct config *c, const struct schedule_rule *r)
{
    const struct {
        const char *key;
        double *v, own;
    } rows[] = {{"schedule.final", &c->schedule.final, r->own.final},
                {"schedule.base", &c->schedule.base, r->own.base},
                {"schedule.rise", &c->schedule.rise, r->own.rise}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (*rows[i].v == -1)
            *rows[i].v = rows[i].own;
        if (*rows[i].v < 0)
            return ERR(E_CONFIG, "%s is %g: it is a share, from 0 to 1; -1 is the rule's own",
                       rows[i].key, *rows[i].v);
    }
    c->schedule.power = c->schedule.power != 0 ? c->schedule.power : r->own.power;
    return OK;
}

/* Positions, which are counted from where the piece begins, with its warmup. */
static int add_milestone(struct schedule_piece *p, const struct making *m, const char *text,
                         double whole)
{
    struct amount a;
    double at, warmup = p->start - m->begin;
    if (!amount_parse(text, UNIT_STEPS, &a))
        return ERR(E_CONFIG,
                   "schedule.milestones: \"%.40s\" is no amount; write them as \"50%% 75%%\" or "
                   "\"1000 steps, 4Mtok\"",
                   text);
    if (p->n_milestones == SCHEDULE_MAX_MILESTONES)
        return ERR(E_CONFIG, "schedule.milestones: at most %d fit", SCHEDULE_MAX_MILESTONES);
    TRY(schedule_units(&at, m, a, whole, "schedule.milestones"));
    at -= warmup;
    if (at < 0)
        return ERR(E_CONFIG,
                   "schedule.milestones: %s is within the warmup; shorten schedule.warmup or set "
                   "it later",
                   text);
    if (p->n_milestones > 0 && at <= p->milestone[p->n_milestones - 1])
        return ERR(E_CONFIG,
                   "schedule.milestones: %s does not come after the one before it; write them in "
                   "order",
                   text);
    if (at >= p->length)
        log_warn("schedule.milestones: %s is not before the end, so nothing falls there", text);
    p->milestone[p->n_milestones++] = at;
    return OK;
}

/* Words of an amount belong together: "1000 steps, 4Mtok". */
static int read_milestones(struct schedule_piece *p, const struct making *m, const char *text,
                           double whole)
{
    char buf[CONF_STR], amount[CONF_STR] = "", *rest = NULL;
    snprintf(buf, sizeof buf, "%s", text);
    for (char *word = strtok_r(buf, " ,/\t", &rest); word; word = strtok_r(NULL, " ,/\t", &rest)) {
        bool unit = isalpha((unsigned char)*word) || *word == '%';
        if (*amount != '\0' && !unit) {
            TRY(add_milestone(p, m, amount, whole));
            *amount = '\0';
        }
        size_t n = strlen(amount);
        snprintf(amount + n, sizeof amount - n, "%s%s", n > 0 ? " " : "", word);
    }
    if (*amount == '\0')
        return ERR(E_CONFIG, "schedule.milestones is empty, and multi_step falls there; set it, "
                             "for instance to \"50%% 75%%\"");
    return add_milestone(p, m, amount, whole);
}

static int set_amounts(struct schedule_piece *p, const struct making *m, const struct wanted *w)
{
    const struct config *c = &w->conf;
    const struct {
        const char *key;
        struct amount amount;
        double *to;
    } rows[] = {{"schedule.every", c->schedule.every, &p->every},
                {"schedule.cycle", c->schedule.cycle, &p->cycle},
                {"schedule.decay", c->schedule.decay, &p->decay},
                {"schedule.timescale", c->schedule.timescale, &p->timescale}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (schedule_reads(p->rule, rows[i].key + strlen("schedule.")))
            TRY(schedule_units(rows[i].to, m, rows[i].amount, p->length, rows[i].key));
    if (p->timescale == 0)
        p->timescale = m->s->warmup.length;
    if (!schedule_reads(p->rule, "milestones"))
        return OK;
    return read_milestones(p, m, c->schedule.milestones, w->length);
}

static void set_numbers(struct schedule_piece *p, const struct config *c)
{
    p->final = c->schedule.final;
    p->gamma = c->schedule.gamma;
    p->power = c->schedule.power;
    p->cycle_mult = c->schedule.cycle_mult;
    p->rise = c->schedule.rise;
    p->base = c->schedule.base;
    p->momentum_low = c->schedule.momentum_low;
    p->momentum_high = c->schedule.momentum_high;
    p->phases = (int)c->schedule.phases;
    p->decay_shape = schedule_decay_shape(c->schedule.decay_shape);
}

static int check_amounts(const struct schedule_piece *p, const struct making *m)
{
    double step = derive_clock(m->job, m->course, 1);
    if (schedule_reads(p->rule, "every") && p->every <= 0)
        return ERR(E_CONFIG, "schedule.every is 0, and %s divides by it; set it to 30%%",
                   p->rule->name);
    if (schedule_reads(p->rule, "cycle") && p->cycle <= 0)
        return ERR(E_CONFIG, "schedule.cycle is 0, so that %s has no cycle; set it to 10%%",
                   p->rule->name);
    if (schedule_reads(p->rule, "cycle") && p->cycle < 2 * step)
        log_warn("schedule.cycle is %.3g steps: too short for %s to be seen", p->cycle / step,
                 p->rule->name);
    if (schedule_reads(p->rule, "timescale") && p->timescale <= 0)
        return ERR(E_CONFIG,
                   "schedule.timescale is 0, which takes the warmup's length, and there is no "
                   "warmup; set schedule.timescale or schedule.warmup");
    if (p->decay > p->length)
        return ERR(E_CONFIG, "schedule.decay is longer than what follows the warmup; shorten it or "
                             "lengthen train.steps");
    return OK;
}

static int check_numbers(const struct schedule_piece *p, const struct making *m)
{
    const char *name = p->rule->name;
    if (p->rule->share == NULL)
        return ERR(E_CONFIG, "schedule.pieces: %s cannot be a piece itself", name);
    if (strcmp(name, "polynomial") == 0 && p->power < 0)
        return ERR(E_CONFIG, "schedule.power is %g: polynomial needs one above 0", p->power);
    if (strcmp(name, "power") == 0 && p->power > 0)
        return ERR(E_CONFIG, "schedule.power is %g: power needs one below 0, such as -0.51",
                   p->power);
    if (schedule_reads(p->rule, "phases") && p->phases == 3 && p->rise > 0.5)
        return ERR(E_CONFIG,
                   "schedule.rise is %g: with schedule.phases 3 it goes up and down the same way, "
                   "so at most 0.5",
                   p->rise);
    if (p->rule->observes && m->job->validate.every == 0)
        return ERR(E_CONFIG, "%s follows the validation loss; set validate.every", name);
    if (p->rule->observes && schedule_has_plateau(m->s))
        return ERR(E_CONFIG, "schedule.pieces: only one piece can be %s", name);
    return OK;
}

int schedule_add(struct making *m, struct wanted *w)
{
    struct schedule *s = m->s;
    if (s->n == SCHEDULE_MAX_PIECES)
        return ERR(E_CONFIG, "schedule.pieces: at most %d fit", SCHEDULE_MAX_PIECES);
    struct schedule_piece *p = &s->piece[s->n], *before = s->n > 0 ? p - 1 : NULL;
    *p = (struct schedule_piece){.rule = w->rule};
    TRY(settle(&w->conf, w->rule));
    set_numbers(p, &w->conf);
    TRY(check_numbers(p, m));
    if (before == NULL)
        TRY(set_warmup(m, w));
    double warmup = before == NULL ? s->warmup.length : 0;
    p->start = m->begin + warmup;
    p->length = w->length - warmup;
    p->top = w->from >= 0 ? w->from : before != NULL ? schedule_piece_end(before) : 1;
    p->follows_plateau =
        w->rule->observes || (before != NULL && before->follows_plateau && w->from < 0);
    TRY(set_amounts(p, m, w));
    TRY(check_amounts(p, m));
    if (w->rule->observes) {
        s->factor = w->conf.schedule.factor;
        s->patience = (double)w->conf.schedule.patience;
        s->threshold = w->conf.schedule.threshold;
    }
    schedule_say_piece(m, p, w);
    m->begin += w->length;
    s->n++;
    return OK;
}

static int make(struct making *m, struct str *text)
{
    struct wanted w = {.conf = *m->job, .length = m->s->total, .from = -1};
    int rc = schedule_find(&w.rule, m->job->schedule.name);
    if (rc != OK)
        return err_context(rc, "schedule.name");
    TRY(w.rule->share != NULL ? schedule_add(m, &w) : schedule_add_pieces(m));
    if (text == NULL)
        return OK;
    schedule_say(m, &w, text);
    return schedule_warn(m, w.rule);
}

int derive_schedule(struct schedule *s, const struct config *c, const struct course *k,
                    const struct scaling *g, struct str *text)
{
    struct making m = {.s = s, .job = c, .course = k, .scaling = g};
    memset(s, 0, sizeof *s);
    s->peak = derive_settings(g, c->batch.global).lr;
    s->total = derive_clock(c, k, k->n_steps);
    schedule_reset(s);
    int rc = make(&m, text);
    str_release(&m.lines);
    return rc;
}
