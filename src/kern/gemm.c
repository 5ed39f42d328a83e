#include "kern/gemm.h"

#include "base/err.h"
#include "onednn.h"

#include <cblas.h>
#include <malloc.h>
#include <stdio.h>

enum form { NT, NN, TN };

struct operands {
    const float *a, *b;
    size_t lda, ldb, m, n, k;
    float alpha, beta;
};

/* C ← beta·C, where no product adds anything. beta = 0 clears, whatever was there. */
static void scale_c(float *c, size_t ldc, size_t m, size_t n, float beta)
{
    for (size_t i = 0; i < m; i++)
        for (size_t j = 0; j < n; j++)
            c[i * ldc + j] = beta == 0.0f ? 0.0f : beta * c[i * ldc + j];
}

static void by_openblas(enum form f, float *c, size_t ldc, const struct operands *o)
{
    cblas_sgemm(CblasRowMajor, f == TN ? CblasTrans : CblasNoTrans,
                f == NT ? CblasTrans : CblasNoTrans, (blasint)o->m, (blasint)o->n, (blasint)o->k,
                o->alpha, o->a, (blasint)o->lda, o->b, (blasint)o->ldb, o->beta, c, (blasint)ldc);
}

#ifdef HAVE_DNNL
#include <omp.h>

static const bool have_onednn = true;

static void by_onednn(enum form f, float *c, size_t ldc, const struct operands *o)
{
    dnnl_status_t s =
        dnnl_sgemm(f == TN ? 'T' : 'N', f == NT ? 'T' : 'N', (dnnl_dim_t)o->m, (dnnl_dim_t)o->n,
                   (dnnl_dim_t)o->k, o->alpha, o->a, (dnnl_dim_t)o->lda, o->b, (dnnl_dim_t)o->ldb,
                   o->beta, c, (dnnl_dim_t)ldc);
    if (s != dnnl_success)
        fatal(s == dnnl_out_of_memory ? E_MEM : E_BUG, "oneDNN: a product of %zu x %zu x %zu: %d",
              o->m, o->n, o->k, (int)s);
}

static bool onednn_is_faster(void)
{
    return onednn_has(dnnl_cpu_isa_avx512_core);
}

static void onednn_threads(int n)
{
    omp_set_num_threads(n);
}

/* The richest set that the library uses, by its own name for it. */
static const char *onednn_isa(void)
{
    static const struct {
        dnnl_cpu_isa_t isa;
        const char *name;
    } sets[] = {{dnnl_cpu_isa_avx512_core_amx, "AVX512_AMX"},
                {dnnl_cpu_isa_avx512_core_bf16, "AVX512_BF16"},
                {dnnl_cpu_isa_avx512_core_vnni, "AVX512_VNNI"},
                {dnnl_cpu_isa_avx512_core, "AVX512"},
                {dnnl_cpu_isa_avx2_vnni, "AVX2_VNNI"},
                {dnnl_cpu_isa_avx2, "AVX2"}};
    for (size_t i = 0; i < sizeof sets / sizeof *sets; i++)
        if (onednn_has(sets[i].isa))
            return sets[i].name;
    return "generic";
}

static void name_onednn(char *text, size_t n)
{
    const dnnl_version_t *v = dnnl_version();
    snprintf(text, n, "oneDNN %d.%d.%d %s", v->major, v->minor, v->patch, onednn_isa());
}
#else
static const bool have_onednn = false;

static void by_onednn(enum form f, float *c, size_t ldc, const struct operands *o)
{
    by_openblas(f, c, ldc, o);
}

static bool onednn_is_faster(void)
{
    return false;
}

static void onednn_threads(int n)
{
    (void)n;
}

static void name_onednn(char *text, size_t n)
{
    snprintf(text, n, "no oneDNN");
}
#endif

/* -1: not asked for yet. */
static int library = -1;

enum gemm_library gemm_library(void)
{
    if (library < 0)
        library = onednn_is_faster() ? GEMM_ONEDNN : GEMM_OPENBLAS;
    return (enum gemm_library)library;
}

bool gemm_use(enum gemm_library l)
{
    if (l == GEMM_ONEDNN && !have_onednn)
        return false;
    library = (int)l;
    return true;
}

static void gemm(enum form f, float *c, size_t ldc, const struct operands *o)
{
    if (o->m == 0 || o->n == 0)
        return;
    if (o->k == 0)
        scale_c(c, ldc, o->m, o->n, o->beta);
    else if (gemm_library() == GEMM_ONEDNN)
        by_onednn(f, c, ldc, o);
    else
        by_openblas(f, c, ldc, o);
}

void gemm_nt(float *c, size_t ldc, const float *a, size_t lda, const float *b, size_t ldb, size_t m,
             size_t n, size_t k, float alpha, float beta)
{
    gemm(NT, c, ldc, &(struct operands){a, b, lda, ldb, m, n, k, alpha, beta});
}

void gemm_nn(float *c, size_t ldc, const float *a, size_t lda, const float *b, size_t ldb, size_t m,
             size_t n, size_t k, float alpha, float beta)
{
    gemm(NN, c, ldc, &(struct operands){a, b, lda, ldb, m, n, k, alpha, beta});
}

void gemm_tn(float *c, size_t ldc, const float *a, size_t lda, const float *b, size_t ldb, size_t m,
             size_t n, size_t k, float alpha, float beta)
{
    gemm(TN, c, ldc, &(struct operands){a, b, lda, ldb, m, n, k, alpha, beta});
}

/* Rows a multiple of 4 KiB apart fall into the same sets of the first cache, which cost transposed
 * operands up to a third of the rate. Of the distances that avoid it, oneDNN copies operands to
 * where they lie well only when it is a multiple of 256 floats: others cost long sums a third. */
size_t gemm_ld(size_t n)
{
    enum { LINE = 16, BAD = 1024, STEP = 256 };
    size_t ld = (n + LINE - 1) / LINE * LINE;
    return ld % BAD == 0 ? ld + STEP : ld;
}

void gemm_set_threads(int n)
{
    /* oneDNN takes the room that operands are copied to from malloc in each product. Given back to
     * the system in between, its pages would be cleared anew each time. */
    mallopt(M_MMAP_THRESHOLD, 32 << 20);
    mallopt(M_TRIM_THRESHOLD, 1 << 30);
    openblas_set_num_threads(n);
    onednn_threads(n);
}

const char *gemm_kernel(void)
{
    static char text[64];
    if (gemm_library() == GEMM_ONEDNN)
        name_onednn(text, sizeof text);
    else
        snprintf(text, sizeof text, "%s", gemm_core());
    return text;
}

const char *gemm_core(void)
{
    return openblas_get_corename();
}

const char *gemm_version(void)
{
    return openblas_get_config();
}
