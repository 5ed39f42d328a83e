#include "train/conditions.h"

#include "base/err.h"
#include "base/isa.h"
#include "base/log.h"
#include "kern/gemm.h"

#include <stdio.h>
#include <string.h>

static void name_cpu(char *buf, size_t n)
{
    char line[256];
    snprintf(buf, n, "unknown; %s", isa_name());
    FILE *f = fopen("/proc/cpuinfo", "re");
    while (f && fgets(line, sizeof line, f)) {
        char *value = strstr(line, ": ");
        if (strncmp(line, "model name", 10) == 0 && value) {
            value[2 + strcspn(value + 2, "\n")] = '\0';
            snprintf(buf, n, "%.44s; %s", value + 2, isa_name());
            break;
        }
    }
    if (f)
        fclose(f);
}

void conditions_here(struct conditions *c)
{
    memset(c, 0, sizeof *c);
    name_cpu(c->cpu, sizeof c->cpu);
    snprintf(c->products, sizeof c->products, "%s", gemm_kernel());
}

/* The lowest rank that differs from the first has told all the others its own. */
static void warn(const struct conditions *first, const struct conditions *other, int rank)
{
    log_warn("rank 0 has %s with %s, rank %d has %s with %s: the bits now depend on which rank "
             "computes what; take nodes of one kind, or set CARAT_ISA and, for the library, "
             "OPENBLAS_CORETYPE or ONEDNN_MAX_CPU_ISA to what all have",
             first->cpu, first->products, rank, other->cpu, other->products);
}

int conditions_compare(const struct comm *c)
{
    struct conditions here, first, other;
    int mine = c->size, lowest;
    conditions_here(&here);
    first = here;
    MPI_TRY(MPI_Bcast(&first, sizeof first, MPI_BYTE, 0, c->world));
    if (memcmp(&first, &here, sizeof here) != 0)
        mine = c->rank;
    MPI_TRY(MPI_Allreduce(&mine, &lowest, 1, MPI_INT, MPI_MIN, c->world));
    if (lowest == c->size)
        return OK;
    other = here;
    MPI_TRY(MPI_Bcast(&other, sizeof other, MPI_BYTE, lowest, c->world));
    warn(&first, &other, lowest);
    return OK;
}
