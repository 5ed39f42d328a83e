/* Drawing the next token from logits. */
#ifndef CARAT_MODEL_SAMPLE_H
#define CARAT_MODEL_SAMPLE_H

#include <stddef.h>
#include <stdint.h>

struct sampling {
    double temperature; /* 0: the greatest logit */
    int top_k;          /* 0: all */
    double top_p;       /* 1: all; else the smallest set that holds this probability
                           (Holtzman et al. 2020) */
    uint64_t seed;
};

/* The token drawn at a position: depends on (seed, stream, position) and the logits alone. Ties go
 * to the lower id. Overwrites scratch, V floats and V int32. */
int32_t sample_token(const struct sampling *s, const float *logits, size_t V, uint64_t stream,
                     uint64_t position, float *scratch_p, int32_t *scratch_id);

#endif
