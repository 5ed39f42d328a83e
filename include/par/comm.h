/* The processes: MPI's start and end, and which ranks share a node.
 *
 * Ranks are numbered node by node, however they were placed. Those that share memory form teams
 * (par/team.h): a node's ranks where all nodes have as many (the last may have fewer), else equal
 * parts of them. CARAT_RANKS_PER_NODE=n in the environment makes teams of at most n, so that what
 * passes between nodes can be tried on one. */
#ifndef CARAT_PAR_COMM_H
#define CARAT_PAR_COMM_H

#include "par/team.h"

#include <mpi.h>
#include <stdbool.h>

struct comm {
    MPI_Comm world;
    int rank, size;
    int node, n_nodes; /* this rank's node, in order of the lowest rank on it */
    int node_rank, node_size;
    struct team team;
    MPI_Comm team_world; /* this rank's team */
    char host[64];
    bool owns_mpi; /* comm_init started MPI, so comm_end ends it */
};

/* MPI_Init_thread (FUNNELED), COMM_WORLD's ranks node by node with errors returned, the node map;
 * names this process to log, fault and the abort hook of fatal(). Collective. E_RANK, E_MEM. */
int comm_init(struct comm *c, int *argc, char ***argv);
/* The first n ranks of c as processes of their own; the others are in none (size 0). End it with
 * comm_end. Collective over c. E_RANK. */
int comm_first(struct comm *out, const struct comm *c, int n);
/* The ranks of c as groups of `per` in turn, each of which gets its own; those that are too few for
 * another whole group are in none (size 0). End it with comm_end. Collective over c. E_RANK. */
int comm_groups(struct comm *out, const struct comm *c, int per);
/* The same ranks in teams of one. Borrows c's communicators. Local. */
struct comm comm_without_teams(const struct comm *c);
/* Collective; ends MPI when comm_init began it. */
void comm_end(struct comm *c);

/* Turns MPI's return code into an error of carat (E_RANK, MPI's own words). Local. */
int comm_check(int mpi_rc, const char *what);
#define MPI_TRY(call) TRY(comm_check((call), #call))

#endif
