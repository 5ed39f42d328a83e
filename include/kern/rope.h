/* Rotary position embedding on halves: element i turns with element i + Hd/2.
 * Source: Su et al. 2021, eq. 34, in the half-split pairing that Gemma uses. */
#ifndef CARAT_KERN_ROPE_H
#define CARAT_KERN_ROPE_H

#include <stddef.h>

/* cos_sin[T, Hd/2, 2]: angles p / (base^(2i/Hd) · factor), computed in double. */
void rope_table(float *cos_sin, size_t T, size_t Hd, double base, double factor);
/* Turns n_heads heads of one row block in place: x[b·T + p] starts at x + (b·T + p)·ldx, heads are
 * Hd apart. Position of row (b, p) is p + first. The table holds rows first … first+T-1 at least.
 */
void rope_fwd(float *x, size_t ldx, const float *cos_sin, size_t B, size_t T, size_t first,
              size_t n_heads, size_t Hd);
/* The transpose (turning back): gradients. */
void rope_bwd(float *dx, size_t lddx, const float *cos_sin, size_t B, size_t T, size_t first,
              size_t n_heads, size_t Hd);

#endif
