#include "study/length.h"

#include "base/err.h"
#include "conf/amount.h"
#include "conf/config_table.h"
#include "data/store.h"
#include "study/space.h"

#include <stdio.h>
#include <string.h>

static int count_samples(const struct config *c, uint64_t *n)
{
    struct store s;
    *n = 0;
    if (c->train.length.unit != UNIT_EPOCHS)
        return OK;
    TRY(store_open(&s, c->data.train, SPLIT_TRAIN));
    *n = s.n_tokens > 0 ? (s.n_tokens - 1) / (uint64_t)c->batch.seq_len : 0;
    store_close(&s);
    return OK;
}

int study_course(struct course *k, const struct config *c)
{
    uint64_t n_samples;
    TRY(count_samples(c, &n_samples));
    return derive_course(k, c, n_samples, (struct ramp_at){0, 0});
}

static double tokens_at(const struct course *k, const struct config *c, int64_t step)
{
    return (double)course_at(k, step).samples * (double)c->batch.seq_len;
}

int study_length(double *tokens, const struct config *c)
{
    struct course k;
    TRY(study_course(&k, c));
    *tokens =
        c->train.length.unit == UNIT_TOKENS ? c->train.length.value : tokens_at(&k, c, k.n_steps);
    return OK;
}

int study_amount(double *tokens, const struct config *c, struct amount a)
{
    struct course k;
    TRY(study_course(&k, c));
    *tokens = a.unit == UNIT_TOKENS ? a.value : tokens_at(&k, c, course_steps(&k, c, a));
    return OK;
}

int plan_set_number(struct trial_plan *plan, const char *key, double v)
{
    char text[64];
    snprintf(text, sizeof text, "%.0f", v);
    return plan_set(plan, key, text);
}

int plan_in_tokens(struct trial_plan *plan, const struct config *job)
{
    struct config c = *job;
    double run;
    for (int i = 0; i < CONF_N_KEYS; i++) {
        const struct conf_key *k = &CONF_KEYS[i];
        char text[64];
        if (k->kind != CONF_AMOUNT || strncmp(k->name, "schedule.", strlen("schedule.")) != 0)
            continue;
        struct amount a = *(const struct amount *)conf_member(k, &c);
        if (a.unit != UNIT_STEPS || a.value == 0)
            continue;
        TRY(study_amount(&a.value, job, a));
        a.unit = UNIT_TOKENS;
        TRY(plan_set(plan, k->name, amount_text(&a, text, sizeof text)));
    }
    if (strcmp(c.schedule.clock, "steps") == 0)
        TRY(plan_set(plan, "schedule.clock", "tokens"));
    TRY(study_length(&run, job));
    return plan_set_number(plan, "train.tokens", run);
}
