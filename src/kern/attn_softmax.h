/* What the softmax of attention does to a block of scores, forward and backward: one group of rows
 * at a time, on whole vectors. */
#ifndef CARAT_SRC_KERN_ATTN_SOFTMAX_H
#define CARAT_SRC_KERN_ATTN_SOFTMAX_H

#include "attn_tile.h"

/* What a masked score is set to: its weight is 0 next to any maximum from LOWEST_TOP on, and its
 * square does not overflow. */
#define MASKED     (-1e18f)
#define LOWEST_TOP (-1e9f)

/* What one unit of a stored score adds to the exponent of 2. */
static inline float exponent_scale(const struct attention_shape *s)
{
    return (s->cap != 0.0f ? s->cap : s->scale) * VM_LOG2E;
}

/* The vectors that hold what any row of group g sees, in steps of so many floats. */
static inline struct span group_vectors(const struct block *k, size_t g, size_t step)
{
    return (struct span){k->any[g].from / step * step, round_up(k->any[g].to, step)};
}

static inline void mask_vector(float *x, size_t j, const struct span *seen)
{
    vi lane = v_lanes() + (int32_t)j;
    vi in = (lane >= (int32_t)seen->from) & (lane < (int32_t)seen->to);
    v_store(x + j, v_select(in, v_load(x + j), v_splat(MASKED)));
}

/* scores[MICRO_ROWS, LD_SCORES] of group g, within v: what is not seen becomes MASKED. */
static inline void mask_group(float *scores, const struct block *k, size_t g, struct span v)
{
    size_t left = min_size(round_up(k->each[g].from, VL), v.to);
    size_t right = max_size(k->each[g].to / VL * VL, left);
    for (size_t r = 0; r < MICRO_ROWS; r++) {
        for (size_t j = v.from; j < left; j += VL)
            mask_vector(scores + r * LD_SCORES, j, &k->row[g * MICRO_ROWS + r]);
        for (size_t j = right; j < v.to; j += VL)
            mask_vector(scores + r * LD_SCORES, j, &k->row[g * MICRO_ROWS + r]);
    }
}

/* x ← tanh(x·scale/cap), the capped score but for a factor. */
static inline void cap_group(float *scores, struct span v, const struct attention_shape *s)
{
    float factor = s->scale / s->cap;
    for (size_t r = 0; r < MICRO_ROWS; r++)
        for (size_t j = v.from; j < v.to; j += VL) {
            float *x = scores + r * LD_SCORES + j;
            v_store(x, v_tanh(v_load(x) * factor));
        }
}

/* Scores as the products left them → capped and masked. */
static inline void finish_scores(float *scores, const struct block *k, size_t g, struct span v,
                                 const struct attention_shape *s)
{
    if (s->cap != 0.0f)
        cap_group(scores, v, s);
    mask_group(scores, k, g, v);
}

#endif
