/* Plain passes over arrays, each with an order of operations that depends on the length alone. */
#ifndef CARAT_KERN_VEC_H
#define CARAT_KERN_VEC_H

#include <stdbool.h>
#include <stddef.h>

/* y += x; y = a + b; y *= s. */
void vec_add(float *y, const float *x, size_t n);
void vec_sum2(float *y, const float *a, const float *b, size_t n);
void vec_scale(float *y, float s, size_t n);
/* Sum of squares in double, in a fixed order (eight interleaved lanes, then a tree). */
double vec_sumsq(const float *x, size_t n);
/* True when every value is finite. */
bool vec_finite(const float *x, size_t n);
/* exp to 1 ulp and tanh to 3 ulp of float, n values (for the kernels and their tests). y may be x.
 */
void vec_exp(float *y, const float *x, size_t n);
void vec_tanh(float *y, const float *x, size_t n);

#endif
