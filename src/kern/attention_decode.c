#include "kern/attention.h"

#include "lanes.h"

#define MASKED (-1e30f)

static void cap_scores(float *x, size_t n, float cap)
{
    float inverse = 1.0f / cap;
    for (size_t j = 0; j < n; j++)
        x[j] = cap * vm_tanh(x[j] * inverse);
}

/* out[Hd] += Σ weight[j] · values[j] of four keys, in order. */
static void weigh_four(float *restrict out, const float *restrict weight,
                       const float *restrict values, size_t ld, size_t Hd)
{
    const float *a = values, *b = a + ld, *c = b + ld, *d = c + ld;
    for (size_t e = 0; e < Hd; e++) {
        float sum = fmaf_(weight[0], a[e], out[e]);
        sum = fmaf_(weight[1], b[e], sum);
        sum = fmaf_(weight[2], c[e], sum);
        out[e] = fmaf_(weight[3], d[e], sum);
    }
}

/* out[Hd] = Σ weight[j] · values[j], keys in order. */
static void weigh(float *restrict out, const float *restrict weight, const float *restrict values,
                  size_t ld, size_t n, size_t Hd)
{
    size_t j = 0;
    memset(out, 0, Hd * sizeof *out);
    for (; j + 4 <= n; j += 4)
        weigh_four(out, weight + j, values + j * ld, ld, Hd);
    for (; j < n; j++)
        for (size_t e = 0; e < Hd; e++)
            out[e] = fmaf_(weight[j], values[j * ld + e], out[e]);
}

void attention_decode(float *out, const float *q, const float *keys, const float *values,
                      size_t ldkv, size_t n, const struct attention_shape *s, float *scratch)
{
    size_t skip = s->window != 0 && n > s->window ? n - s->window : 0, seen = n - skip;
    for (size_t h = 0; h < s->H; h++) {
        size_t col = h / (s->H / s->K) * s->Hd;
        const float *k = keys + skip * ldkv + col;
        for (size_t j = 0; j < seen; j++)
            scratch[j] = lanes_dot(q + h * s->Hd, k + j * ldkv, s->Hd) * s->scale;
        if (s->cap != 0.0f)
            cap_scores(scratch, seen, s->cap);
        float top = lanes_max(scratch, seen, MASKED) * VM_LOG2E;
        for (size_t j = 0; j < seen; j++)
            scratch[j] = vm_exp2_softmax(fmaf_(scratch[j], VM_LOG2E, -top));
        float inverse = 1.0f / lanes_sum(scratch, seen);
        float *oh = out + h * s->Hd;
        weigh(oh, scratch, values + skip * ldkv + col, ldkv, seen, s->Hd);
        for (size_t e = 0; e < s->Hd; e++)
            oh[e] *= inverse;
    }
}
