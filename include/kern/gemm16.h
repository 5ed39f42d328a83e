/* Products of bfloat16 matrices with single-precision sums, by oneDNN.
 *
 * Weights are read in two forms, blocked as the library's kernels want them: one for the forward
 * product, one for the gradient of its input. They are packed from single precision once a step
 * rather than in each product. All arrays are dense but one. */
#ifndef CARAT_KERN_GEMM16_H
#define CARAT_KERN_GEMM16_H

#include "base/half.h"

#include <stdbool.h>

/* A form of the weight w[out,in]. */
enum gemm16_form { FORM_FORWARD, FORM_BACKWARD, N_FORMS };

/* Slices of a form that are packed by themselves begin at multiples of so many rows of w. */
enum { GEMM16_SLICE = 64 };

/* NULL where the CPU multiplies bfloat16 and the program has oneDNN; else what is missing. */
const char *gemm16_missing(void);
/* Bytes of a form. Where something is missing: what it is on CPUs with AVX-512. */
size_t gemm16_form_bytes(size_t out, size_t in, enum gemm16_form f);

/* Primitives made so far: each shape of product is made when it is first asked for, and kept. Not
 * for two threads at once. */
struct gemm16;

/* E_CONFIG with the reason where something is missing; E_MEM. */
int gemm16_new(struct gemm16 **g);
void gemm16_free(struct gemm16 *g);
/* Bytes that gemm16_new takes. */
size_t gemm16_bytes(void);

/* Rows first … first+n-1 of w[out,in] (w: the whole) into their place in a form, which is aligned
 * as mem_alloc aligns. first is a multiple of GEMM16_SLICE, and n too unless the rows end there. */
void gemm16_pack(struct gemm16 *g, enum gemm16_form f, void *form, const float *w, size_t out,
                 size_t in, size_t first, size_t n);
/* y[n,out] = x[n,in] · wᵀ, rounded to type ty. */
void gemm16_forward(struct gemm16 *g, void *y, enum dtype ty, const uint16_t *x, const void *form,
                    size_t n, size_t out, size_t in);
/* dx[n,in] = dy[n,out] · w, rounded to type tx. */
void gemm16_backward(struct gemm16 *g, void *dx, enum dtype tx, const uint16_t *dy,
                     const void *form, size_t n, size_t out, size_t in);
/* dw[out,in] = dyᵀ · x over n rows, added to what is there when add; rows of dy are lddy apart. */
void gemm16_weight(struct gemm16 *g, float *dw, const uint16_t *dy, size_t lddy, const uint16_t *x,
                   size_t n, size_t out, size_t in, bool add);
/* The distance between rows of n values at which gemm16_weight reads dy best. Where it is not n the
 * other products cannot skip what lies between: they take a weight of so many rows, of which those
 * from n on are zero, so that the ends of y are zero too, and those of dy must not be NaN. */
size_t gemm16_ld(size_t n);

#endif
