#include "study/length.h"

#include "base/err.h"
#include "data/store.h"

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
    *tokens = c->train.length.unit == UNIT_TOKENS ? c->train.length.value
                                                  : tokens_at(&k, c, k.n_steps);
    return OK;
}

int study_amount(double *tokens, const struct config *c, struct amount a)
{
    struct course k;
    TRY(study_course(&k, c));
    *tokens = a.unit == UNIT_TOKENS ? a.value : tokens_at(&k, c, course_steps(&k, c, a));
    return OK;
}
