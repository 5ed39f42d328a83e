#include "par/zero.h"

#include "base/err.h"
#include "par/window.h"

#include <stdlib.h>

/* Buckets under way at a time. */
enum { N_SLOTS = 4 };
/* Pairs of ranks send each other buckets in one order, so all messages may have one tag. */
enum { TAG = 2 };

struct gather {
    const struct comm *comm;
    const struct shard *shard;
    float *slab;
    int n_requests;       /* of a bucket, at most */
    MPI_Request *request; /* [N_SLOTS][n_requests] */
};

/* This rank's piece of bucket k to a rank of each other team, and into this team's slab what this
 * rank takes for its team. */
static int start_bucket(struct gather *g, int k)
{
    const struct team *t = &g->comm->team;
    MPI_Request *request = g->request + (size_t)(k % N_SLOTS) * (size_t)g->n_requests;
    struct range mine = shard_piece(g->shard, k, t->rank);
    for (int q = 0; q < t->size; q++) {
        struct range theirs = shard_piece(g->shard, k, q);
        if (team_deals_with(t, q) && theirs.n > 0)
            MPI_TRY(MPI_Irecv(g->slab + theirs.first, (int)theirs.n, MPI_FLOAT, q, TAG,
                              g->comm->world, request++));
    }
    for (int j = 0; j < team_count(t); j++)
        if (j != team_of(t, t->rank) && mine.n > 0)
            MPI_TRY(MPI_Isend(g->slab + mine.first, (int)mine.n, MPI_FLOAT,
                              team_proxy(t, j, t->rank), TAG, g->comm->world, request++));
    return OK;
}

static int wait_bucket(struct gather *g, int k)
{
    MPI_Request *request = g->request + (size_t)(k % N_SLOTS) * (size_t)g->n_requests;
    MPI_TRY(MPI_Waitall(g->n_requests, request, MPI_STATUSES_IGNORE));
    return OK;
}

static int pass_buckets(struct gather *g)
{
    int n = g->shard->n_buckets;
    for (int k = 0; k < n; k++) {
        if (k >= N_SLOTS)
            TRY(wait_bucket(g, k - N_SLOTS));
        TRY(start_bucket(g, k));
    }
    for (int k = n > N_SLOTS ? n - N_SLOTS : 0; k < n; k++)
        TRY(wait_bucket(g, k));
    return OK;
}

static int pass_between_teams(const struct comm *c, const struct shard *s, float *slab)
{
    struct gather g = {.comm = c, .shard = s, .slab = slab};
    g.n_requests = team_count(&c->team) - 1;
    for (int q = 0; q < c->size; q++)
        g.n_requests += team_deals_with(&c->team, q);
    /* Small, and MPI takes more for its calls: not worth a place in anybody's plan. */
    size_t n = N_SLOTS * (size_t)g.n_requests;
    g.request = malloc(n * sizeof *g.request);
    if (g.request == NULL)
        return ERR(E_MEM, "no memory for %zu messages", n);
    for (size_t i = 0; i < n; i++)
        g.request[i] = MPI_REQUEST_NULL;
    int rc = pass_buckets(&g);
    free(g.request);
    return rc;
}

int zero_allgather(const struct comm *c, const struct shard *s, float *slab)
{
    int rc = team_count(&c->team) > 1 ? pass_between_teams(c, s, slab) : OK;
    if (rc == OK && c->team.per > 1)
        rc = window_meet(c);
    /* A rank that fails here cannot tell those that wait for it. */
    if (rc != OK)
        fatal(E_RANK, "the parameters' all-gather: %s", err_message());
    return OK;
}
