#include "par/comm.h"

#include "base/err.h"
#include "base/fault.h"
#include "base/log.h"
#include "par/peers.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

int comm_check(int mpi_rc, const char *what)
{
    if (mpi_rc == MPI_SUCCESS)
        return OK;
    char text[MPI_MAX_ERROR_STRING] = "unknown error";
    int n;
    MPI_Error_string(mpi_rc, text, &n);
    return ERR(E_RANK, "%s: %s", what, text);
}

/* MPI is alive between its start and its end only; MPI_Abort outside is itself an error. */
static bool mpi_is_alive(void)
{
    int begun = 0, ended = 0;
    MPI_Initialized(&begun);
    MPI_Finalized(&ended);
    return begun && !ended;
}

static void abort_all(int code)
{
    /* mpirun and srun report 256 as success, and 126 on mean something else to a shell. */
    if (code < 1 || code > 125)
        code = E_BUG;
    if (mpi_is_alive())
        MPI_Abort(MPI_COMM_WORLD, code);
    _exit(code);
}

static int start_mpi(struct comm *c, int *argc, char ***argv)
{
    int begun, level;
    MPI_TRY(MPI_Initialized(&begun));
    if (begun)
        return OK;
    MPI_TRY(MPI_Init_thread(argc, argv, MPI_THREAD_FUNNELED, &level));
    c->owns_mpi = true;
    if (level < MPI_THREAD_FUNNELED)
        return ERR(E_RANK,
                   "this MPI supports no threads at all (level %d); use an MPI built with "
                   "MPI_THREAD_FUNNELED",
                   level);
    return OK;
}

static int name_host(struct comm *c)
{
    char name[MPI_MAX_PROCESSOR_NAME] = "";
    int n;
    MPI_TRY(MPI_Get_processor_name(name, &n));
    snprintf(c->host, sizeof c->host, "%.*s", (int)sizeof c->host - 1, name);
    return OK;
}

/* A node's number is the count of nodes whose lowest rank is below its own. */
static int number_nodes(struct comm *c, MPI_Comm local)
{
    MPI_TRY(MPI_Comm_rank(local, &c->node_rank));
    MPI_TRY(MPI_Comm_size(local, &c->node_size));
    int leader = c->node_rank == 0, before = 0;
    MPI_TRY(MPI_Exscan(&leader, &before, 1, MPI_INT, MPI_SUM, c->world));
    c->node = c->rank == 0 ? 0 : before; /* MPI_Exscan leaves rank 0's result undefined */
    MPI_TRY(MPI_Bcast(&c->node, 1, MPI_INT, 0, local));
    MPI_TRY(MPI_Allreduce(&leader, &c->n_nodes, 1, MPI_INT, MPI_SUM, c->world));
    return OK;
}

static int map_nodes(struct comm *c)
{
    MPI_Comm local;
    MPI_TRY(MPI_Comm_split_type(c->world, MPI_COMM_TYPE_SHARED, c->rank, MPI_INFO_NULL, &local));
    int rc = number_nodes(c, local);
    MPI_Comm_free(&local);
    return rc;
}

static int name_ranks(struct comm *c)
{
    MPI_TRY(MPI_Comm_set_errhandler(c->world, MPI_ERRORS_RETURN));
    MPI_TRY(MPI_Comm_rank(c->world, &c->rank));
    MPI_TRY(MPI_Comm_size(c->world, &c->size));
    return name_host(c);
}

int comm_init(struct comm *c, int *argc, char ***argv)
{
    *c = (struct comm){.world = MPI_COMM_NULL};
    TRY(start_mpi(c, argc, argv));
    MPI_TRY(MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN));
    MPI_TRY(MPI_Comm_set_errhandler(MPI_COMM_SELF, MPI_ERRORS_RETURN));
    MPI_TRY(MPI_Comm_dup(MPI_COMM_WORLD, &c->world));
    TRY(name_ranks(c));
    log_set_rank(c->rank, c->host);
    fault_set_rank(c->rank);
    err_set_abort_hook(abort_all);
    TRY(map_nodes(c));
    return peers_new(&c->peers, c);
}

int comm_first(struct comm *out, const struct comm *c, int n)
{
    *out = (struct comm){.world = MPI_COMM_NULL};
    MPI_TRY(MPI_Comm_split(c->world, c->rank < n ? 0 : MPI_UNDEFINED, c->rank, &out->world));
    if (out->world == MPI_COMM_NULL)
        return OK;
    TRY(name_ranks(out));
    TRY(map_nodes(out));
    return peers_new(&out->peers, out);
}

void comm_end(struct comm *c)
{
    peers_free(c->peers);
    if (c->world != MPI_COMM_NULL)
        MPI_Comm_free(&c->world);
    if (c->owns_mpi) {
        MPI_Finalize();
        err_set_abort_hook(NULL);
    }
    *c = (struct comm){.world = MPI_COMM_NULL};
}
