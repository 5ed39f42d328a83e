#include "par/comm.h"

#include "base/err.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
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

static int number_ranks(struct comm *c)
{
    MPI_TRY(MPI_Comm_set_errhandler(c->world, MPI_ERRORS_RETURN));
    MPI_TRY(MPI_Comm_rank(c->world, &c->rank));
    MPI_TRY(MPI_Comm_size(c->world, &c->size));
    return map_nodes(c);
}

/* Numbers the ranks anew, node by node; on each in their old order. */
static int order_ranks(struct comm *c)
{
    MPI_Comm ordered;
    TRY(number_ranks(c));
    MPI_TRY(MPI_Comm_split(c->world, 0, c->node * c->size + c->node_rank, &ordered));
    MPI_TRY(MPI_Comm_free(&c->world));
    c->world = ordered;
    return number_ranks(c);
}

static int common_divisor(int a, int b)
{
    int k = a < b ? a : b;
    while (k > 1 && (a % k != 0 || b % k != 0))
        k--;
    return k > 1 ? k : 1;
}

/* The most ranks that a team can have without reaching over a node's end anywhere. */
static int ranks_a_team(int *per, const struct comm *c, int *size_of)
{
    MPI_TRY(MPI_Allgather(&c->node_size, 1, MPI_INT, size_of, 1, MPI_INT, c->world));
    int whole = size_of[0], all = whole;
    bool even = true;
    for (int r = 0; r < c->size; r++) {
        /* Only the last node may have fewer. */
        even = even && (size_of[r] == whole || (size_of[r] < whole && r >= c->size - size_of[r]));
        all = common_divisor(all, size_of[r]);
    }
    *per = even ? whole : all;
    return OK;
}

static int asked_per_node(const struct comm *c)
{
    const char *text = getenv("CARAT_RANKS_PER_NODE");
    int n = text != NULL ? atoi(text) : 0;
    return n > 0 ? n : c->size;
}

static int form_teams(struct comm *c)
{
    int *size_of, per;
    TRY(mem_alloc(&size_of, (size_t)c->size, sizeof *size_of, "node sizes"));
    int rc = ranks_a_team(&per, c, size_of);
    mem_free(size_of);
    TRY(rc);
    int most = asked_per_node(c);
    if (most < per)
        per = c->n_nodes == 1 ? most : common_divisor(per, most);
    c->team = (struct team){.size = c->size, .per = per, .rank = c->rank};
    MPI_TRY(MPI_Comm_split(c->world, team_of(&c->team, c->rank), c->rank, &c->team_world));
    MPI_TRY(MPI_Comm_set_errhandler(c->team_world, MPI_ERRORS_RETURN));
    return OK;
}

static int map_ranks(struct comm *c)
{
    TRY(order_ranks(c));
    TRY(name_host(c));
    return form_teams(c);
}

int comm_init(struct comm *c, int *argc, char ***argv)
{
    *c = (struct comm){.world = MPI_COMM_NULL, .team_world = MPI_COMM_NULL};
    TRY(start_mpi(c, argc, argv));
    MPI_TRY(MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN));
    MPI_TRY(MPI_Comm_set_errhandler(MPI_COMM_SELF, MPI_ERRORS_RETURN));
    MPI_TRY(MPI_Comm_dup(MPI_COMM_WORLD, &c->world));
    TRY(map_ranks(c));
    log_set_rank(c->rank, c->host);
    fault_set_rank(c->rank);
    err_set_abort_hook(abort_all);
    return OK;
}

static int split(struct comm *out, const struct comm *c, int colour)
{
    *out = (struct comm){.world = MPI_COMM_NULL, .team_world = MPI_COMM_NULL};
    MPI_TRY(MPI_Comm_split(c->world, colour, c->rank, &out->world));
    return out->world == MPI_COMM_NULL ? OK : map_ranks(out);
}

int comm_first(struct comm *out, const struct comm *c, int n)
{
    return split(out, c, c->rank < n ? 0 : MPI_UNDEFINED);
}

int comm_groups(struct comm *out, const struct comm *c, int per)
{
    int group = c->rank / per;
    return split(out, c, (group + 1) * per <= c->size ? group : MPI_UNDEFINED);
}

struct comm comm_without_teams(const struct comm *c)
{
    struct comm alone = *c;
    alone.team.per = 1;
    alone.team_world = MPI_COMM_SELF;
    return alone;
}

void comm_end(struct comm *c)
{
    if (c->team_world != MPI_COMM_NULL)
        MPI_Comm_free(&c->team_world);
    if (c->world != MPI_COMM_NULL)
        MPI_Comm_free(&c->world);
    if (c->owns_mpi) {
        MPI_Finalize();
        err_set_abort_hook(NULL);
    }
    *c = (struct comm){.world = MPI_COMM_NULL, .team_world = MPI_COMM_NULL};
}
