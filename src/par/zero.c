#include "par/zero.h"

#include "base/err.h"
#include "par/agree.h"

#include <stdlib.h>
#include <string.h>

/* Buckets under way at a time. */
enum { N_SLOTS = 4 };

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

int zero_allgather(const struct comm *c, const struct shard *s, float *slab)
{
    if (s->size == 1)
        return OK;
    /* Small, and MPI takes more for each of its calls: not worth a place in anybody's plan. */
    int *args = malloc(N_SLOTS * 2 * (size_t)s->size * sizeof *args);
    if (args == NULL)
        fatal(E_MEM, "no memory for the counts of %d ranks", s->size);
    struct gather g = {.comm = c, .shard = s, .slab = slab, .args = args};
    /* A rank that fails here cannot tell those that wait for its pieces. */
    if (gather_all(&g) != OK)
        fatal(E_RANK, "the parameters' all-gather: %s", err_message());
    free(args);
    return OK;
}

void zero_from_slab(const struct shard *s, float *shard_values, const float *slab)
{
    for (int k = 0; k < s->n_buckets; k++) {
        struct range p = shard_piece(s, k, s->rank);
        memcpy(shard_values + shard_offset(s, k, s->rank), slab + p.first, p.n * sizeof *slab);
    }
}

void zero_to_slab(const struct shard *s, float *slab, const float *shard_values)
{
    for (int k = 0; k < s->n_buckets; k++) {
        struct range p = shard_piece(s, k, s->rank);
        memcpy(slab + p.first, shard_values + shard_offset(s, k, s->rank), p.n * sizeof *slab);
    }
}
