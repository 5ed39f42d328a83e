#include "kern/blas_core.h"

#include <stddef.h>
#include <strings.h>

enum simd simd_of_cpu(void)
{
#if defined __x86_64__
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq"))
        return SIMD_AVX512;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        return SIMD_AVX2;
    return __builtin_cpu_supports("avx") ? SIMD_AVX : SIMD_SSE;
#else
    return SIMD_UNKNOWN;
#endif
}

/* Source: OpenBLAS, the names that openblas_get_corename() can return on x86-64. */
static const struct {
    const char *core;
    enum simd simd;
} CORES[] = {
    {"Core2", SIMD_SSE},
    {"Penryn", SIMD_SSE},
    {"Dunnington", SIMD_SSE},
    {"Nehalem", SIMD_SSE},
    {"Prescott", SIMD_SSE},
    {"Athlon", SIMD_SSE},
    {"Opteron", SIMD_SSE},
    {"Opteron_SSE3", SIMD_SSE},
    {"Barcelona", SIMD_SSE},
    {"Nano", SIMD_SSE},
    {"Atom", SIMD_SSE},
    {"Bobcat", SIMD_SSE},
    {"Generic", SIMD_SSE},
    {"Sandybridge", SIMD_AVX},
    {"Bulldozer", SIMD_AVX},
    {"Piledriver", SIMD_AVX},
    {"Steamroller", SIMD_AVX},
    {"Excavator", SIMD_AVX2},
    {"Haswell", SIMD_AVX2},
    {"Zen", SIMD_AVX2},
    {"SkylakeX", SIMD_AVX512},
    {"Cooperlake", SIMD_AVX512},
    {"SapphireRapids", SIMD_AVX512},
};

enum simd simd_of_core(const char *core)
{
    for (size_t i = 0; i < sizeof CORES / sizeof CORES[0]; i++)
        if (strcasecmp(core, CORES[i].core) == 0)
            return CORES[i].simd;
    return SIMD_UNKNOWN;
}

static const struct {
    const char *name, *force; /* what makes OpenBLAS take a kernel of this width */
} WIDTHS[] = {
    [SIMD_UNKNOWN] = {"unknown instructions", NULL},
    [SIMD_SSE] = {"SSE", NULL},
    [SIMD_AVX] = {"AVX", "export OPENBLAS_CORETYPE=Sandybridge"},
    [SIMD_AVX2] = {"AVX2", "export OPENBLAS_CORETYPE=Haswell"},
    [SIMD_AVX512] = {"AVX-512", "export OPENBLAS_CORETYPE=SkylakeX"},
};

const char *simd_name(enum simd s)
{
    return WIDTHS[s].name;
}

const char *blas_core_fix(const char *core, enum simd cpu, const char *coretype)
{
    enum simd has = simd_of_core(core);
    if (has == SIMD_UNKNOWN || has >= cpu)
        return NULL;
    return coretype != NULL && simd_of_core(coretype) < cpu ? "unset OPENBLAS_CORETYPE"
                                                            : WIDTHS[cpu].force;
}
