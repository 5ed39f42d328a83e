/* Matrix products: row-major single precision, by OpenBLAS or oneDNN. Nothing else calls them. */
#ifndef CARAT_KERN_GEMM_H
#define CARAT_KERN_GEMM_H

#include <stdbool.h>
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

/* The distance between rows of n floats, at least n, at which the products run best. */
size_t gemm_ld(size_t n);

/* Which library multiplies. By itself it is oneDNN where the program was built with it and the CPU
 * has AVX-512: there it was measured faster in every form; elsewhere it is OpenBLAS. */
enum gemm_library { GEMM_OPENBLAS, GEMM_ONEDNN };
enum gemm_library gemm_library(void);
/* Takes another, for this process; false, changing nothing, where the program lacks it. */
bool gemm_use(enum gemm_library l);

/* Threads the products may use, in this process. A product of few rows and columns and a long sum
 * is split along the sum: its last bits then depend on the number. */
void gemm_set_threads(int n);
/* What multiplies, as far as the bits of a product depend on it ("oneDNN 2.6.3 AVX512_BF16"), and
 * the kernel that OpenBLAS picked ("SkylakeX") with its version line; static strings. */
const char *gemm_kernel(void);
const char *gemm_core(void);
const char *gemm_version(void);

#endif
