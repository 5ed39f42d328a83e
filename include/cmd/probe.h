/* What one machine has: processor, memory, file systems. Read from the kernel, nothing started. */
#ifndef CARAT_CMD_PROBE_H
#define CARAT_CMD_PROBE_H

#include "base/cpuset.h"

#include <stdbool.h>
#include <stddef.h>

struct machine {
    char cpu[64];                         /* the processor's own name */
    char blas[32];                        /* the kernel that the BLAS picked on it */
    bool blas_multiplies;                 /* that library, rather than oneDNN */
    int cpus, cores, sockets, numa_nodes; /* on-line: hardware threads, and where they are */
    double cpu_quota;      /* processors that a container's limit allows; 0: no limit */
    double memory_bytes;   /* of the node, or a container's limit */
    double free_bytes;     /* available now */
    double shm_free_bytes; /* /dev/shm; -1 when there is none */
    bool avx2, avx512, bf16, amx;
    struct cpuset allowed;   /* processors this process may run on */
    char huge_pages[16];     /* the kernel's choice: "always", "madvise", "never"; "" unknown */
    char shm_huge_pages[16]; /* the same for shared memory */
    char governor[24], freq_driver[24]; /* of the first processor's frequency; "" unknown */
    bool memory_policy; /* pages do not simply go to the node that first writes them (numactl) */
};

void probe_machine(struct machine *m);

/* The memory limit alone. */
double probe_memory_bytes(void);

/* The kind of file system that holds path ("ext4", "nfs", "lustre", "0x…"); *network tells whether
 * other nodes share it. Static or buf. */
const char *probe_fs_type(const char *path, char *buf, size_t n, bool *network);

/* Matrix products of a model's size, single precision: FLOP/s with these threads, measured over
 * about `seconds`. E_MEM. */
int probe_gemm_flops(double *flops, int threads, double seconds);

/* Seconds to look this host's own name up, found or not, as MPI does in each start. */
double probe_name_s(void);

/* Whether a program is found on PATH. */
bool probe_program(const char *name);

/* True in Docker, Podman, Apptainer and their like. */
bool probe_container(void);

#endif
