/* Matrix products: row-major single precision, by OpenBLAS. The only file that calls the BLAS. */
#ifndef CARAT_KERN_GEMM_H
#define CARAT_KERN_GEMM_H

#include <stddef.h>

/* C[m,n] = alpha · A[m,k] · B[n,k]ᵀ + beta · C: activations times weights kept as [out,in]. */
void gemm_nt(float *c, size_t ldc, const float *a, size_t lda, const float *b, size_t ldb, size_t m,
             size_t n, size_t k, float alpha, float beta);
/* C[m,n] = alpha · A[m,k] · B[k,n] + beta · C: the gradient of an input. */
void gemm_nn(float *c, size_t ldc, const float *a, size_t lda, const float *b, size_t ldb, size_t m,
             size_t n, size_t k, float alpha, float beta);
/* C[m,n] = alpha · A[k,m]ᵀ · B[k,n] + beta · C: the gradient of a weight. */
void gemm_tn(float *c, size_t ldc, const float *a, size_t lda, const float *b, size_t ldb, size_t m,
             size_t n, size_t k, float alpha, float beta);

/* Threads the products may use, in this process. A product of few rows and columns and a long sum
 * is split along the sum: its last bits then depend on the number. */
void gemm_set_threads(int n);
/* The kernel that the BLAS picked ("SkylakeX") and its version line; static strings. */
const char *gemm_core(void);
const char *gemm_version(void);

#endif
