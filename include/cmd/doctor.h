/* What `carat doctor` looks at, and what it makes of it. */
#ifndef CARAT_CMD_DOCTOR_H
#define CARAT_CMD_DOCTOR_H

#include "cmd/probe.h"
#include "par/comm.h"
#include "par/place.h"

#include <jansson.h>

/* A node with the ranks on it. */
struct patient_node {
    char host[64];
    int ranks;
    struct machine machine;
    struct place place; /* of the rank that is placed worst */
    double name_s;      /* to look the node's own name up */
};

/* Everything that a warning can rest on, beside the environment's variables. */
struct patient {
    int ranks, threads;              /* in all; of each rank */
    const struct patient_node *node; /* [n_nodes]; the first is the one that reports */
    int n_nodes;
    double peak_flops;               /* one thread's fused multiply-adds, measured */
    double gemm_flops, gemm_flops_n; /* products with one thread, with `threads` */
    int open_mpi;                    /* version 4.1.7 is 40107; 0: another MPI */
    bool root, container, infiniband;
    bool kernels_avx512, parallel_hdf5;
    char folder_type[32]; /* the working folder's file system */
    bool folder_network;
    double folder_free_bytes;
    char srun_mpi[256]; /* what `srun --mpi=list` says; "" without a cluster */
};

/* Fills in what concerns the whole program (the nodes are the caller's), and adds a section of
 * facts after the other to root. Takes about half a second to measure. E_MEM. */
int doctor_look(struct patient *p, const struct comm *c, json_t *root);

/* Adds {"what", "fix"} to an array for every row of the table of warnings that holds. */
void doctor_warn(json_t *warnings, const struct patient *p);

#endif
