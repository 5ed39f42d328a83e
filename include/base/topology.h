/* A machine's processors: which share a core, a NUMA node, a socket; and how much of them a
 * control group grants. Read from the kernel's files. */
#ifndef CARAT_BASE_TOPOLOGY_H
#define CARAT_BASE_TOPOLOGY_H

#include "base/cpuset.h"

struct topology {
    int n_cpus, n_cores, n_sockets, n_numa; /* on-line */
    struct {
        int core; /* 0 … n_cores-1, in order of NUMA nodes and then of processors; -1: off-line */
        int socket; /* the kernel's number */
        int numa;   /* the kernel's number */
    } cpu[CPUS_MAX];
};

/* root is "" on the machine itself, or a folder with copies of /sys and /proc. What cannot be read
 * counts as absent: a processor is then a core of its own, on socket and node 0. */
void topology_read(struct topology *t, const char *root);

/* Processors' worth of time that the control groups of this process grant; 0: no limit. */
double topology_quota(const char *root);

#endif
