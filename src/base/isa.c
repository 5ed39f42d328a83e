#include "base/isa.h"

#ifdef CARAT_ISA_TABLE

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Generated (.make/isa_table): where each function of the hot files is entered, and for each
 * instruction set where its functions are. Calls go through the first, which begins as the
 * baseline's. */
extern void *isa_entry[];
extern void *const *const isa_functions[];
extern const size_t isa_n_functions, isa_n_sets;

void isa_choose(void);

static const char *chosen = "baseline";

/* As many features as .make/isa.mk compiles each set with. */
static bool has_baseline(void)
{
    return true;
}

static bool has_v3(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
           __builtin_cpu_supports("bmi2");
}

static bool has_v4(void)
{
    return has_v3() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}

static bool has_v4_bf16(void)
{
    return has_v4() && __builtin_cpu_supports("avx512bf16");
}

/* In the order of isa_functions, of which a compiler may know the first few only. */
static const struct set {
    const char *key, *name;
    bool (*has)(void);
} sets[] = {
    {"baseline", "x86-64", has_baseline},
    {"v3", "x86-64-v3", has_v3},
    {"v4", "x86-64-v4", has_v4},
    {"v4_bf16", "x86-64-v4, bf16", has_v4_bf16},
};

/* There is no one to hand an error to before main. */
static void refuse(const char *wish, const char *why)
{
    fprintf(stderr, "carat: CARAT_ISA=%s: %s\n", wish, why);
    _exit(E_CONFIG);
}

static size_t wished(const char *wish)
{
    for (size_t i = 0; i < isa_n_sets; i++)
        if (strcmp(sets[i].key, wish) == 0) {
            if (!sets[i].has())
                refuse(wish, "this processor does not know these instructions");
            return i;
        }
    refuse(wish, "not one of baseline, v3, v4, v4_bf16, or not in this build");
    return 0;
}

static size_t best(void)
{
    size_t i = isa_n_sets - 1;
    while (!sets[i].has())
        i--;
    return i;
}

/* Called before main, by the table's entry among the initialisers. */
void isa_choose(void)
{
    const char *wish = getenv("CARAT_ISA");
    __builtin_cpu_init();
    size_t set = wish && *wish ? wished(wish) : best();
    memcpy(isa_entry, isa_functions[set], isa_n_functions * sizeof *isa_entry);
    chosen = sets[set].name;
}

const char *isa_name(void)
{
    return chosen;
}

#else

const char *isa_name(void)
{
#if defined __AVX512BF16__
    return "x86-64-v4, bf16";
#elif defined __AVX512VL__
    return "x86-64-v4";
#elif defined __AVX2__ && defined __FMA__
    return "x86-64-v3";
#elif defined __x86_64__
    return "x86-64";
#elif defined __aarch64__
    return "aarch64";
#else
    return "generic";
#endif
}

#endif
