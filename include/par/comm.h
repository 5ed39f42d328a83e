/* The processes: MPI's start and end, and which ranks share a node. */
#ifndef CARAT_PAR_COMM_H
#define CARAT_PAR_COMM_H

#include <mpi.h>

struct comm {
    MPI_Comm world;
    int rank, size;
    int node, n_nodes;         /* this rank's node, in order of the lowest rank on it */
    int node_rank, node_size;
    char host[64];
};

/* MPI_Init_thread (FUNNELED), a duplicate of COMM_WORLD with errors returned, the node map; names
 * this process to log, fault and the abort hook of fatal(). Collective. E_RANK. */
int comm_init(struct comm *c, int *argc, char ***argv);
/* Collective; ends MPI. */
void comm_end(struct comm *c);

/* Turns MPI's return code into an error of carat (E_RANK, MPI's own words). Local. */
int comm_check(int mpi_rc, const char *what);
#define MPI_TRY(call) TRY(comm_check((call), #call))

#endif
