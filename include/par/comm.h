/* The processes: MPI's start and end, and which ranks share a node. */
#ifndef CARAT_PAR_COMM_H
#define CARAT_PAR_COMM_H

#include <mpi.h>
#include <stdbool.h>

struct peers;

struct comm {
    MPI_Comm world;
    int rank, size;
    int node, n_nodes; /* this rank's node, in order of the lowest rank on it */
    int node_rank, node_size;
    char host[64];
    bool owns_mpi;       /* comm_init started MPI, so comm_end ends it */
    struct peers *peers; /* the ranks' memory, where each can read all others'; else NULL */
};

/* MPI_Init_thread (FUNNELED), a duplicate of COMM_WORLD with errors returned, the node map; names
 * this process to log, fault and the abort hook of fatal(). Collective. E_RANK. */
int comm_init(struct comm *c, int *argc, char ***argv);
/* The first n ranks of c as processes of their own; the others are in none (size 0). End it with
 * comm_end. Collective over c. E_RANK. */
int comm_first(struct comm *out, const struct comm *c, int n);
/* Collective; ends MPI when comm_init began it. */
void comm_end(struct comm *c);

/* Turns MPI's return code into an error of carat (E_RANK, MPI's own words). Local. */
int comm_check(int mpi_rc, const char *what);
#define MPI_TRY(call) TRY(comm_check((call), #call))

#endif
