/* What the tests of attention share: one shape's data, its results and the twin's. */
#ifndef CARAT_TESTS_KERN_ATTENTION_SET_H
#define CARAT_TESTS_KERN_ATTENTION_SET_H

#include "kern/attention.h"
#include "ref/ref.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* One shape's data, with the twin's results. */
struct set {
    struct attention_shape s;
    size_t n_qkv, n_out, n_lse;
    float *qkv, *dout, *out, *lse, *dqkv, *scratch;
    int32_t *start;
    double *out64, *lse64, *dqkv64;
};

static inline size_t row_size(const struct attention_shape *s)
{
    return (s->H + 2 * s->K) * s->Hd;
}

/* Documents of 1 … longest positions, laid end to end over each sequence. */
static inline int32_t *documents(const struct attention_shape *s, uint32_t longest)
{
    int32_t *start = ref_random_ints(s->B * s->T, 5, longest);
    for (size_t b = 0; b < s->B; b++) {
        int32_t *x = start + b * s->T, left = x[0] + 1, first = 0;
        for (size_t i = 0; i < s->T; i++) {
            if (left-- == 0) {
                first = (int32_t)i;
                left = x[i];
            }
            x[i] = first;
        }
    }
    return start;
}

static inline struct set set_new(struct attention_shape s, int32_t *start)
{
    struct set t = {.s = s, .start = start};
    t.n_qkv = s.B * s.T * row_size(&s);
    t.n_out = s.B * s.T * s.H * s.Hd;
    t.n_lse = s.B * s.H * s.T;
    t.qkv = ref_random(t.n_qkv, 1, 1.7);
    t.dout = ref_random(t.n_out, 2, 1.0);
    t.out = ref_random(t.n_out, 3, 1.0); /* whatever was there must not matter */
    t.lse = ref_random(t.n_lse, 4, 1.0);
    t.dqkv = ref_random(t.n_qkv, 5, 1.0);
    t.scratch = ref_floats(attention_scratch(&s));
    memset(t.scratch, 0xff, attention_scratch(&s) * sizeof(float)); /* NaN */
    t.out64 = ref_doubles(t.n_out);
    t.lse64 = ref_doubles(t.n_lse);
    t.dqkv64 = ref_doubles(t.n_qkv);
    return t;
}

static inline void set_free(struct set *t)
{
    free(t->qkv), free(t->dout), free(t->out), free(t->lse), free(t->dqkv), free(t->scratch);
    free(t->start), free(t->out64), free(t->lse64), free(t->dqkv64);
}

static inline void run(struct set *t)
{
    attention_fwd(t->out, F32, t->lse, t->qkv, t->start, &t->s, t->scratch);
    attention_bwd(t->dqkv, t->dout, t->out, F32, t->lse, t->qkv, t->start, &t->s, t->scratch);
}

static inline void run_twin(struct set *t)
{
    double *qkv = ref_widen(t->qkv, t->n_qkv), *dout = ref_widen(t->dout, t->n_out);
    ref_attention_fwd(t->out64, t->lse64, qkv, t->start, &t->s);
    ref_attention_bwd(t->dqkv64, dout, qkv, t->start, &t->s);
    free(qkv), free(dout);
}

static inline struct attention_shape shape(size_t B, size_t T, size_t H, size_t K, size_t Hd)
{
    struct attention_shape s = {.B = B, .T = T, .H = H, .K = K, .Hd = Hd};
    s.scale = 1.0f / sqrtf((float)Hd);
    return s;
}

#endif
