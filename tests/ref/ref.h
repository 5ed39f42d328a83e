/* Plain double-precision twins of the kernels: the formulas as loops, no tiles, no lanes, no
 * tricks. Arrays are dense. Tests prove the twins by central differences and the kernels by the
 * twins. Below them, what those tests share. */
#ifndef CARAT_TESTS_REF_H
#define CARAT_TESTS_REF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/half.h"
#include "kern/attention.h"
#include "kern/softmax_ce.h"

/* C = alpha·op(A)·op(B) + beta·C, C[m,n]; ta: A is [k,m]; tb: B is [n,k]. */
void ref_gemm(double *c, const double *a, const double *b, size_t m, size_t n, size_t k, bool ta,
              bool tb, double alpha, double beta);

void ref_embed_fwd(double *x, const double *table, const int32_t *token, size_t n, size_t D,
                   double scale);
void ref_embed_bwd(double *dtable, const double *dx, const int32_t *token, size_t n, size_t D,
                   double scale);

void ref_rmsnorm_fwd(double *y, double *rstd, const double *x, const double *w, size_t n, size_t d,
                     double eps);
/* dx is overwritten, dw added to. */
void ref_rmsnorm_bwd(double *dx, double *dw, const double *dy, const double *x, const double *w,
                     size_t n, size_t d, double eps);

/* x[B·T, n_heads·Hd] in place; direction 1 turns, -1 turns back. */
void ref_rope(double *x, size_t B, size_t T, size_t first, size_t n_heads, size_t Hd, double base,
              double factor, int direction);

void ref_geglu_fwd(double *h, const double *gu, size_t n, size_t F);
void ref_geglu_bwd(double *dgu, const double *dh, const double *gu, size_t n, size_t F);

void ref_attention_fwd(double *out, double *lse, const double *qkv, const int32_t *start,
                       const struct attention_shape *s);
/* dqkv is overwritten. */
void ref_attention_bwd(double *dqkv, const double *dout, const double *qkv, const int32_t *start,
                       const struct attention_shape *s);

/* loss: the cross-entropy; extra: what `also` adds to it, may be NULL as correct and weight, and
 * grad[n,V], which is that of both. */
void ref_softmax_ce(double *loss, double *extra, uint8_t *correct, double *grad,
                    const double *logits, const int32_t *target, const double *weight, size_t n,
                    size_t V, double cap, struct ce_terms also);

/* Sizes that whole vectors and whole tiles do not divide, and some that they do. */
extern const size_t ref_sizes[];
extern const size_t ref_n_sizes;

/* n values, zeroed; ends the process when there is no memory. Freed with free(). */
float *ref_floats(size_t n);
double *ref_doubles(size_t n);
/* n values uniform in [-scale, scale), a function of seed. */
float *ref_random(size_t n, uint64_t seed, double scale);
double *ref_random_double(size_t n, uint64_t seed, double scale);
/* n integers uniform in 0 … below-1. */
int32_t *ref_random_ints(size_t n, uint64_t seed, uint32_t below);
double *ref_widen(const float *x, size_t n);
/* n values of x in a type, rounded; and back, exactly. */
void *ref_typed(const float *x, enum dtype t, size_t n);
float *ref_untyped(const void *x, enum dtype t, size_t n);

/* max |got - want| / max |want| (or the plain distance when want is all 0); infinite when got has
 * a value that is not finite. */
double ref_distance(const float *got, const double *want, size_t n);
/* The same for rows of d values, ld apart in got and dense in want. */
double ref_distance_rows(const float *got, size_t ld, const double *want, size_t n, size_t d);

/* The greatest distance of grad[n] from central differences of f at x, over max |grad|. x is
 * disturbed and put back. */
typedef double ref_function(const double *x, void *context);
double ref_grad_distance(const double *grad, double *x, size_t n, ref_function *f, void *context);

/* What central differences of step 1e-5 can tell: their own error is h²·f'''/6 + 1e-16·f/h. */
#define REF_GRAD_TOLERANCE 2e-8

#endif
