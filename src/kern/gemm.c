#include "kern/gemm.h"

#include <cblas.h>

/* C ← beta·C, where no product adds anything. beta = 0 clears, whatever was there. */
static void scale_c(float *c, size_t ldc, size_t m, size_t n, float beta)
{
    for (size_t i = 0; i < m; i++)
        for (size_t j = 0; j < n; j++)
            c[i * ldc + j] = beta == 0.0f ? 0.0f : beta * c[i * ldc + j];
}

static void gemm(CBLAS_TRANSPOSE ta, CBLAS_TRANSPOSE tb, float *c, size_t ldc, const float *a,
                 size_t lda, const float *b, size_t ldb, size_t m, size_t n, size_t k, float alpha,
                 float beta)
{
    if (m == 0 || n == 0)
        return;
    if (k == 0) {
        scale_c(c, ldc, m, n, beta);
        return;
    }
    cblas_sgemm(CblasRowMajor, ta, tb, (blasint)m, (blasint)n, (blasint)k, alpha, a, (blasint)lda,
                b, (blasint)ldb, beta, c, (blasint)ldc);
}

void gemm_nt(float *c, size_t ldc, const float *a, size_t lda, const float *b, size_t ldb, size_t m,
             size_t n, size_t k, float alpha, float beta)
{
    gemm(CblasNoTrans, CblasTrans, c, ldc, a, lda, b, ldb, m, n, k, alpha, beta);
}

void gemm_nn(float *c, size_t ldc, const float *a, size_t lda, const float *b, size_t ldb, size_t m,
             size_t n, size_t k, float alpha, float beta)
{
    gemm(CblasNoTrans, CblasNoTrans, c, ldc, a, lda, b, ldb, m, n, k, alpha, beta);
}

void gemm_tn(float *c, size_t ldc, const float *a, size_t lda, const float *b, size_t ldb, size_t m,
             size_t n, size_t k, float alpha, float beta)
{
    gemm(CblasTrans, CblasNoTrans, c, ldc, a, lda, b, ldb, m, n, k, alpha, beta);
}

void gemm_set_threads(int n)
{
    openblas_set_num_threads(n);
}

const char *gemm_core(void)
{
    return openblas_get_corename();
}

const char *gemm_version(void)
{
    return openblas_get_config();
}
