/* The softmax of attention on one block of scores: rows of queries, seen keys only. */
#ifndef CARAT_SRC_KERN_ATTN_SOFTMAX_H
#define CARAT_SRC_KERN_ATTN_SOFTMAX_H

#include "attn_tile.h"

/* One row's keys: lo … hi-1 seen, in the vectors from … to-1 (floats). */
struct span {
    size_t lo, hi, from, to;
};

static inline struct span span_of(const struct block *k, size_t r)
{
    struct span v = {.lo = k->lo[r], .hi = k->hi[r]};
    v.from = v.lo / VL * VL;
    v.to = round_up(v.hi, VL);
    return v;
}

/* What one unit of a stored score adds to the exponent of 2. */
static inline float exponent_scale(const struct attention_shape *s)
{
    return (s->cap != 0.0f ? s->cap : s->scale) * VM_LOG2E;
}

/* x ← tanh(x·scale/cap), the capped score but for a factor. */
static inline void cap_scores(float *x, const struct span *v, const struct attention_shape *s)
{
    float factor = s->scale / s->cap;
    for (size_t j = v->from; j < v->to; j += VL)
        v_store(x + j, v_tanh(v_load(x + j) * factor));
}

static inline void mask_vector(float *x, size_t j, const struct span *v)
{
    vi lane = v_lanes() + (int32_t)j;
    vi seen = (lane >= (int32_t)v->lo) & (lane < (int32_t)v->hi);
    v_store(x + j, v_select(seen, v_load(x + j), v_splat(MASKED)));
}

/* What is not seen of the first and the last vector. */
static inline void mask_ends(float *x, const struct span *v)
{
    if (v->lo != v->from)
        mask_vector(x, v->from, v);
    if (v->hi != v->to)
        mask_vector(x, v->to - VL, v);
}

/* Zeros where nothing is seen, up to whole vectors behind the block's n keys. */
static inline void clear_unseen(float *x, const struct span *v, size_t n)
{
    for (size_t j = 0; j < v->from; j += VL)
        v_store(x + j, (vf){0});
    for (size_t j = v->to; j < n; j += VL)
        v_store(x + j, (vf){0});
}

static inline void finish_scores(float *x, const struct span *v, const struct attention_shape *s)
{
    if (s->cap != 0.0f)
        cap_scores(x, v, s);
    mask_ends(x, v);
}

#endif
