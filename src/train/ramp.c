#include "train/ramp.h"

#include "base/err.h"
#include "base/str.h"
#include "conf/amount.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

struct ramp ramp_of(int64_t batch)
{
    return (struct ramp){.n = 1, .stage = {{.batch = batch}}};
}

static bool begun(const struct ramp_stage *s, struct ramp_at at)
{
    return s->from <= (s->by_step ? at.step : at.samples);
}

int ramp_stage_at(const struct ramp *r, struct ramp_at at)
{
    int i = r->n - 1;
    while (i > 0 && !begun(&r->stage[i], at))
        i--;
    return i;
}

int64_t ramp_batch(const struct ramp *r, struct ramp_at at)
{
    return r->stage[ramp_stage_at(r, at)].batch;
}

static int64_t divide_up(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}

int64_t ramp_left(const struct ramp *r, struct ramp_at at)
{
    int64_t left = INT64_MAX;
    int i = ramp_stage_at(r, at);
    for (int k = i + 1; k < r->n; k++) {
        const struct ramp_stage *next = &r->stage[k];
        int64_t n = next->by_step ? next->from - at.step
                                  : divide_up(next->from - at.samples, r->stage[i].batch);
        left = n < left ? n : left;
    }
    return left;
}

/* At most to the next stage. */
static struct ramp_at advance(const struct ramp *r, struct ramp_at at, int64_t n_steps)
{
    int64_t batch = ramp_batch(r, at);
    return (struct ramp_at){at.step + n_steps, at.samples + n_steps * batch};
}

struct ramp_at ramp_walk(const struct ramp *r, struct ramp_at at, int64_t n_steps)
{
    while (n_steps > 0) {
        int64_t n = ramp_left(r, at);
        n = n < n_steps ? n : n_steps;
        at = advance(r, at, n);
        n_steps -= n;
    }
    return at;
}

int64_t ramp_steps(const struct ramp *r, struct ramp_at at, double samples)
{
    int64_t first = at.step;
    while ((double)at.samples < samples) {
        double wanted = ceil((samples - (double)at.samples) / (double)ramp_batch(r, at));
        int64_t n = ramp_left(r, at);
        at = advance(r, at, wanted < (double)n ? (int64_t)wanted : n);
    }
    return at.step - first;
}

/* ---- reading ---- */

#define FORM "write it like \"0:64 2Mtok:128 20Mtok:256\", amounts in tokens, samples or steps"

static int unreadable(const char *at)
{
    return ERR(E_CONFIG, "batch.ramp: \"%.40s\" is no AMOUNT:BATCH; " FORM, at);
}

/* Where the stage begins; whole sequences. */
static int take_amount(struct ramp_stage *s, const char *text, int64_t seq_len)
{
    struct amount a;
    if (!amount_parse(text, UNIT_STEPS, &a))
        return unreadable(text);
    switch (a.unit) {
    case UNIT_STEPS:
    case UNIT_SAMPLES:
        s->from = (int64_t)a.value;
        break;
    case UNIT_TOKENS:
        s->from = divide_up((int64_t)a.value, seq_len);
        break;
    default:
        return ERR(E_CONFIG, "batch.ramp: \"%.40s\" is in %s; " FORM, text,
                   a.unit == UNIT_PERCENT ? "percent" : unit_name(a.unit));
    }
    s->by_step = a.unit == UNIT_STEPS;
    return OK;
}

static const char BETWEEN[] = " ,\t\n";

/* One "AMOUNT:BATCH" from *text on, which moves behind it. An amount may hold a blank. */
static int take_stage(struct ramp_stage *s, const char **text, int64_t seq_len)
{
    char amount[64], batch[32];
    const char *at = *text;
    size_t n_amount = strcspn(at, ":");
    if (at[n_amount] == '\0' || n_amount >= sizeof amount)
        return unreadable(at);
    size_t blank = strspn(at + n_amount + 1, " ");
    const char *behind = at + n_amount + 1 + blank;
    size_t n_batch = strcspn(behind, BETWEEN);
    if (n_batch >= sizeof batch)
        return unreadable(at);
    snprintf(amount, sizeof amount, "%.*s", (int)n_amount, at);
    snprintf(batch, sizeof batch, "%.*s", (int)n_batch, behind);
    if (!parse_i64(batch, &s->batch))
        return unreadable(at);
    TRY(take_amount(s, amount, seq_len));
    *text = behind + n_batch;
    *text += strspn(*text, BETWEEN);
    return OK;
}

static int read_stages(struct ramp *r, const char *text, int64_t seq_len)
{
    r->n = 0;
    text += strspn(text, BETWEEN);
    while (*text != '\0') {
        if (r->n == RAMP_MAX)
            return ERR(E_CONFIG, "batch.ramp has more than %d stages; leave some out", RAMP_MAX);
        TRY(take_stage(&r->stage[r->n++], &text, seq_len));
    }
    return r->n > 0 ? OK : unreadable(text);
}

/* ---- checking ---- */

/* Amounts of one unit; those of two compare by where they fall in a run. */
static int check_amounts(const struct ramp *r)
{
    for (int i = 1; i < r->n; i++) {
        const struct ramp_stage *s = &r->stage[i], *before = s - 1;
        if (s->by_step == before->by_step && s->from <= before->from)
            return ERR(E_CONFIG,
                       "batch.ramp: stage %d, of %" PRId64 " sequences, begins at %" PRId64
                       " %s, and the one before it at %" PRId64 "; sort the amounts",
                       i + 1, s->batch, s->from, s->by_step ? "steps" : "sequences", before->from);
    }
    return OK;
}

static int check_batches(const struct ramp *r, const struct config *c)
{
    for (int i = 0; i < r->n; i++) {
        int64_t batch = r->stage[i].batch, before = i > 0 ? r->stage[i - 1].batch : 0;
        if (batch < 1)
            return ERR(E_CONFIG, "batch.ramp has a batch of %" PRId64 "; the least is batch.micro",
                       batch);
        if (batch < c->batch.micro)
            return ERR(E_CONFIG,
                       "batch.ramp has a batch of %" PRId64 ", less than batch.micro (%" PRId64
                       "); raise it or lower batch.micro",
                       batch, c->batch.micro);
        if (batch <= before)
            return ERR(E_CONFIG,
                       "batch.ramp goes from %" PRId64 " to %" PRId64
                       " sequences, and the batch has to grow; raise or leave out the later one",
                       before, batch);
    }
    if (r->stage[r->n - 1].batch != c->batch.global)
        return ERR(E_CONFIG,
                   "batch.ramp ends at %" PRId64 " sequences, batch.global is %" PRId64
                   "; set batch.global=%" PRId64 " or add a last stage",
                   r->stage[r->n - 1].batch, c->batch.global, r->stage[r->n - 1].batch);
    return OK;
}

/* Each stage has a step. Amounts of different units compare by where they fall in a run. */
static int check_order(struct ramp *r)
{
    struct ramp part = *r;
    struct ramp_at at = {0, 0};
    if (r->stage[0].from != 0)
        return ERR(E_CONFIG,
                   "batch.ramp does not say what the first batch is; begin it with 0:BATCH");
    for (int i = 1; i < r->n; i++) {
        part.n = i + 1;
        if (ramp_stage_at(&part, at) >= i)
            return ERR(E_CONFIG,
                       "batch.ramp: the stage of %" PRId64
                       " sequences begins where that of %" PRId64
                       " does or before; sort the amounts and leave a step between them",
                       r->stage[i].batch, r->stage[i - 1].batch);
        at = ramp_walk(&part, at, ramp_left(&part, at));
    }
    return OK;
}

int ramp_init(struct ramp *r, const struct config *c)
{
    *r = ramp_of(c->batch.global);
    if (*c->batch.ramp == '\0')
        return OK;
    TRY(read_stages(r, c->batch.ramp, c->batch.seq_len));
    TRY(check_amounts(r));
    TRY(check_batches(r, c));
    return check_order(r);
}
