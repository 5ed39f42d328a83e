#include "par/zero.h"

#include "base/err.h"
#include "par/peers.h"

#include <stdlib.h>
#include <string.h>

/* Buckets under way at a time. */
enum { N_SLOTS = 4 };

/* Small, and MPI takes more for each of its calls: not worth a place in anybody's plan. */
static void *scratch(size_t bytes)
{
    void *p = malloc(bytes);
    if (p == NULL)
        fatal(E_MEM, "no memory for %zu bytes", bytes);
    return p;
}

struct gather {
    const struct comm *comm;
    const struct shard *shard;
    float *slab;
    int *args; /* [N_SLOTS][2][size]: counts and displacements, kept until the call ends */
    MPI_Request request[N_SLOTS];
};

static int start_bucket(struct gather *g, int k)
{
    const struct shard *s = g->shard;
    size_t first = shard_bucket(s, k).first, size = (size_t)s->size;
    int *count = g->args + (size_t)(k % N_SLOTS) * 2 * size, *at = count + size;
    for (int r = 0; r < s->size; r++) {
        struct range piece = shard_piece(s, k, r);
        count[r] = (int)piece.n;
        at[r] = (int)(piece.first - first);
    }
    MPI_TRY(MPI_Iallgatherv(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, g->slab + first, count, at,
                            MPI_FLOAT, g->comm->world, &g->request[k % N_SLOTS]));
    return OK;
}

static int gather_all(struct gather *g)
{
    for (int i = 0; i < N_SLOTS; i++)
        g->request[i] = MPI_REQUEST_NULL;
    for (int k = 0; k < g->shard->n_buckets; k++) {
        MPI_TRY(MPI_Wait(&g->request[k % N_SLOTS], MPI_STATUS_IGNORE));
        TRY(start_bucket(g, k));
    }
    MPI_TRY(MPI_Waitall(N_SLOTS, g->request, MPI_STATUSES_IGNORE));
    return OK;
}

/* Messages to everybody, bucket by bucket. */
static int gather_by_messages(const struct comm *c, const struct shard *s, float *slab)
{
    struct gather g = {.comm = c, .shard = s, .slab = slab};
    g.args = scratch(N_SLOTS * 2 * (size_t)s->size * sizeof *g.args);
    int rc = gather_all(&g);
    free(g.args);
    return rc;
}

static int read_pieces(const struct comm *c, const struct shard *s, float *slab, int rank,
                       const float *theirs)
{
    for (int k = 0; k < s->n_buckets; k++) {
        struct range piece = shard_piece(s, k, rank);
        TRY(peers_read(c->peers, rank, slab + piece.first, theirs + piece.first,
                       piece.n * sizeof *slab));
    }
    return OK;
}

/* Each rank takes the others' pieces out of their slabs: once when all pieces are valid, and nobody
 * goes on to change them before all are through. */
static int gather_by_reading(const struct comm *c, const struct shard *s, float *slab)
{
    float **slab_of = scratch((size_t)s->size * sizeof *slab_of);
    int rc = comm_check(
        MPI_Allgather(&slab, sizeof slab, MPI_BYTE, slab_of, sizeof slab, MPI_BYTE, c->world),
        "MPI_Allgather");
    for (int i = 1; i < s->size && rc == OK; i++) {
        int rank = (s->rank + i) % s->size; /* not all from the same one at a time */
        rc = read_pieces(c, s, slab, rank, slab_of[rank]);
    }
    free(slab_of);
    TRY(rc);
    MPI_TRY(MPI_Barrier(c->world));
    return OK;
}

int zero_allgather(const struct comm *c, const struct shard *s, float *slab)
{
    if (s->size == 1)
        return OK;
    int rc = c->peers != NULL ? gather_by_reading(c, s, slab) : gather_by_messages(c, s, slab);
    /* A rank that fails here cannot tell those that wait for it. */
    if (rc != OK)
        fatal(E_RANK, "the parameters' all-gather: %s", err_message());
    return OK;
}

struct copy {
    float *to;
    const float *from;
};

static void piece_from_slab(void *ctx, struct range p, size_t at)
{
    const struct copy *c = ctx;
    memcpy(c->to + at, c->from + p.first, p.n * sizeof *c->to);
}

static void piece_to_slab(void *ctx, struct range p, size_t at)
{
    const struct copy *c = ctx;
    memcpy(c->to + p.first, c->from + at, p.n * sizeof *c->to);
}

void zero_from_slab(const struct shard *s, float *shard_values, const float *slab)
{
    struct copy c = {shard_values, slab};
    shard_each(s, piece_from_slab, &c);
}

void zero_to_slab(const struct shard *s, float *slab, const float *shard_values)
{
    struct copy c = {slab, shard_values};
    shard_each(s, piece_to_slab, &c);
}
