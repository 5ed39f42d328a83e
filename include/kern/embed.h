/* The embedding look-up, scaled by sqrt(D). */
#ifndef CARAT_KERN_EMBED_H
#define CARAT_KERN_EMBED_H

#include <stddef.h>
#include <stdint.h>

/* x[n,D] = table[token[i]] · scale. Tokens are in 0 … V-1 (checked where data enters). */
void embed_fwd(float *x, const float *table, const int32_t *token, size_t n, size_t D, float scale);
/* dtable[token[i]] += dx[i] · scale, rows in order i = 0 … n-1. */
void embed_bwd(float *dtable, const float *dx, const int32_t *token, size_t n, size_t D,
               float scale);

#endif
