#include "kern/peak.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/mem.h"

#include <string.h>

#if defined __x86_64__ && defined __GNUC__
#include <immintrin.h>
#define X86 1
#else
#define X86 0
#endif

/* Twelve chains cover the latency of two units; NEON has registers, and needs chains, for more. */
#if defined __aarch64__
enum { CHAINS = 24 };
#else
enum { CHAINS = 12 };
#endif
enum { ROUNDS = 20000 };

/* Seconds that ROUNDS of multiply-adds take in registers of BYTES bytes. */
#define DEFINE_ROUNDS(NAME, TARGET, BYTES)                                                         \
    TARGET static double NAME(void)                                                                \
    {                                                                                              \
        typedef float lanes __attribute__((vector_size(BYTES)));                                   \
        lanes acc[CHAINS];                                                                         \
        for (int c = 0; c < CHAINS; c++)                                                           \
            acc[c] = (lanes){0} + (float)c;                                                        \
        const lanes a = (lanes){0} + 0.999f, b = (lanes){0} + 1e-3f;                               \
        double begin = clock_now_s();                                                              \
        for (int r = 0; r < ROUNDS; r++) {                                                         \
            _Pragma("GCC unroll 24") for (int c = 0; c < CHAINS; c++) acc[c] = acc[c] * a + b;     \
        }                                                                                          \
        double seconds = clock_now_s() - begin;                                                    \
        volatile float sink = 0;                                                                   \
        for (int c = 0; c < CHAINS; c++)                                                           \
            sink += acc[c][0];                                                                     \
        return seconds;                                                                            \
    }

DEFINE_ROUNDS(rounds_portable, , 16)
#if X86
DEFINE_ROUNDS(rounds_avx2, __attribute__((target("avx2,fma"))), 32)
DEFINE_ROUNDS(rounds_avx512, __attribute__((target("avx512f"))), 64)

__attribute__((target("avx512f,avx512bf16"))) static double rounds_bf16(void)
{
    __m512 acc[CHAINS];
    for (int c = 0; c < CHAINS; c++)
        acc[c] = _mm512_set1_ps((float)c);
    const __m512bh one = (__m512bh)_mm512_set1_epi16(0x3f80);
    const __m512bh small = (__m512bh)_mm512_set1_epi16(0x3a83); /* about 0.001 */
    double begin = clock_now_s();
    for (int r = 0; r < ROUNDS; r++) {
#pragma GCC unroll 12
        for (int c = 0; c < CHAINS; c++)
            acc[c] = _mm512_dpbf16_ps(acc[c], one, small);
    }
    double seconds = clock_now_s() - begin;
    volatile float sink = 0;
    for (int c = 0; c < CHAINS; c++)
        sink += _mm512_cvtss_f32(acc[c]);
    return seconds;
}
#endif

struct unit {
    const char *name;
    double (*run)(void);
    double flops_a_round; /* of one chain: multiply-adds times two */
};

/* The widest that this CPU has. */
static struct unit fp32_unit(void)
{
#if X86
    if (__builtin_cpu_supports("avx512f"))
        return (struct unit){"avx512", rounds_avx512, 32};
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        return (struct unit){"avx2", rounds_avx2, 16};
#elif defined __aarch64__
    return (struct unit){"neon", rounds_portable, 8};
#endif
    return (struct unit){"portable", rounds_portable, 8};
}

static struct unit bf16_unit(void)
{
#if X86
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bf16"))
        return (struct unit){"avx512_bf16", rounds_bf16, 64};
#endif
    return (struct unit){NULL, NULL, 0};
}

static double measure(struct unit u, double seconds)
{
    double best = 0, spent = 0;
    while (u.run != NULL && spent < seconds) {
        double s = u.run(), rate = ROUNDS * CHAINS * u.flops_a_round / s;
        spent += s;
        best = rate > best ? rate : best;
    }
    return best;
}

double peak_fma_flops(double seconds)
{
    return measure(fp32_unit(), seconds);
}

double peak_bf16_flops(double seconds)
{
    return measure(bf16_unit(), seconds);
}

const char *peak_isa(void)
{
    return fp32_unit().name;
}

/* Beyond the part of a last-level cache that a core can fill. */
enum { ARRAY_BYTES = 64 << 20, PASSES_MAX = 256 };

static double copy_once(float *a, const float *b, const float *c, size_t n)
{
    (void)c;
    double begin = clock_now_s();
    memcpy(a, b, n * sizeof *a);
    return 2.0 * (double)(n * sizeof *a) / (clock_now_s() - begin);
}

static double triad_once(float *restrict a, const float *restrict b, const float *restrict c,
                         size_t n)
{
    double begin = clock_now_s();
    for (size_t i = 0; i < n; i++)
        a[i] = b[i] + 0.5f * c[i];
    return 3.0 * (double)(n * sizeof *a) / (clock_now_s() - begin);
}

/* The median: a pass after the others have ended would have their share too. */
static double median_pass(double (*pass)(float *a, const float *b, const float *c, size_t n),
                          float *arrays, size_t n, double seconds)
{
    double end = clock_now_s() + seconds, rate[PASSES_MAX] = {0};
    int k = 0;
    do {
        double r = pass(arrays, arrays + n, arrays + 2 * n, n);
        int i = k++;
        for (; i > 0 && rate[i - 1] > r; i--)
            rate[i] = rate[i - 1];
        rate[i] = r;
    } while (k < PASSES_MAX && clock_now_s() < end);
    return rate[k / 2];
}

int peak_memory(struct peak_memory *out, double seconds)
{
    size_t n = ARRAY_BYTES / sizeof(float);
    float *arrays;
    TRY(mem_alloc(&arrays, 3 * n, sizeof *arrays, "bandwidth arrays"));
    for (size_t i = 0; i < 3 * n; i++)
        arrays[i] = 1;
    out->copy = median_pass(copy_once, arrays, n, seconds / 2);
    out->triad = median_pass(triad_once, arrays, n, seconds / 2);
    mem_free(arrays);
    return OK;
}
