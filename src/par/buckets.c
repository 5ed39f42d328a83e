#include "par/buckets.h"

#include "base/clock.h"
#include "base/err.h"
#include "par/peers.h"

#include <string.h>

/* Floats of others' partial sums that are read at a time: they stay in the cache until summed. */
enum { READ_AHEAD = 1 << 17 };

void buckets_begin(struct reducer *r)
{
    r->to_start = r->to_fold = r->shard.n_buckets - 1;
    r->to_settle = r->comm.peers != NULL && r->mine.n > 0 ? r->to_fold : -1;
    r->found = false;
}

/* One round of a bucket: each rank's j-th block, to the owners of its pieces. This rank's own piece
 * stays where it is. */
static int start_round(struct reducer *r, struct slot *t, int j)
{
    const struct shard *s = &r->shard;
    int size = s->size, *args = t->args + (size_t)j * N_ARGS * (size_t)size;
    int *send_n = args + SEND_COUNT * size, *send_at = args + SEND_AT * size;
    int *recv_n = args + RECV_COUNT * size, *recv_at = args + RECV_AT * size;
    size_t first = shard_bucket(s, t->k).first, mine = shard_piece(s, t->k, s->rank).n;
    const int *block = r->first_block;
    int own = block[s->rank + 1] - block[s->rank];
    for (int q = 0; q < size; q++) {
        struct range piece = shard_piece(s, t->k, q);
        bool sends = j < own && q != s->rank, receives = j < block[q + 1] - block[q];
        int at = block[q] + j - (q > s->rank ? own : 0);
        send_n[q] = sends ? (int)piece.n : 0;
        send_at[q] = sends ? (int)(piece.first - first) : 0;
        recv_n[q] = receives && q != s->rank ? (int)mine : 0;
        recv_at[q] = recv_n[q] > 0 ? at * (int)mine : 0;
    }
    const float *from = j < own ? r->slab[j] + first : r->tiles;
    MPI_TRY(MPI_Ialltoallv(from, send_n, send_at, MPI_FLOAT, t->received, recv_n, recv_at,
                           MPI_FLOAT, r->comm.world, &t->request[j]));
    return OK;
}

/* Bucket k of every rank is final when all have come this far; then it can be read. */
static int start_slot(struct reducer *r, struct slot *t)
{
    if (r->comm.peers != NULL) {
        MPI_TRY(MPI_Ibarrier(r->comm.world, t->request));
        return OK;
    }
    for (int j = 0; j < r->plan.n_rounds; j++)
        TRY(start_round(r, t, j));
    return OK;
}

static int slot_requests(const struct reducer *r)
{
    return r->comm.peers != NULL ? 1 : r->plan.n_rounds;
}

static struct slot *slot_of(struct reducer *r, int k)
{
    return &r->slot[k % N_SLOTS];
}

/* Starts the buckets that lie at or above `low`, as far as there are slots. */
static int start_buckets(struct reducer *r, size_t low)
{
    while (r->to_start >= 0 && r->to_fold - r->to_start < N_SLOTS &&
           shard_bucket(&r->shard, r->to_start).first >= low) {
        struct slot *t = slot_of(r, r->to_start);
        t->k = r->to_start--;
        TRY(start_slot(r, t));
    }
    return OK;
}

/* Where the sum of bucket k belongs. */
static float *sum_of(const struct reducer *r, int k)
{
    return r->sum + shard_offset(&r->shard, k, r->shard.rank);
}

/* Brings sums that had to wait to where they belong, from the last bucket on, as far as that is at
 * or above `from`. */
static void settle(struct reducer *r, const float *from)
{
    for (; r->to_settle > r->to_fold && sum_of(r, r->to_settle) >= from; r->to_settle--) {
        struct range piece = shard_piece(&r->shard, r->to_settle, r->shard.rank);
        memmove(sum_of(r, r->to_settle), r->slab[0] + piece.first, piece.n * sizeof(float));
    }
}

/* Where the sum of bucket k can go now. Messages of this bucket and those above have left, so it
 * goes where it belongs. But when others read this rank's slab, only what lies N_SLOTS buckets
 * above is known to be read by all, for with fewer free nobody starts a bucket; below that, the sum
 * waits in this rank's own piece, which nobody else reads. */
static float *place_of(struct reducer *r, int k)
{
    if (r->to_settle < k)
        return sum_of(r, k);
    size_t above =
        k + N_SLOTS < r->shard.n_buckets ? shard_bucket(&r->shard, k + N_SLOTS).first : r->shard.n;
    settle(r, r->slab[0] + above);
    if (r->to_settle > k || sum_of(r, k) < r->slab[0] + above)
        return r->slab[0] + shard_piece(&r->shard, k, r->shard.rank).first;
    r->to_settle--;
    return sum_of(r, k);
}

/* Points own terms to floats [first, …) of the slabs, the others' to a row of arrays of n each. */
static void point_terms(struct reducer *r, size_t first, const float *others, size_t n)
{
    int own = r->first_block[r->shard.rank], own_end = r->first_block[r->shard.rank + 1];
    for (int i = 0; i < r->plan.n_blocks; i++) {
        bool is_own = i >= own && i < own_end;
        r->term[i].x = is_own ? r->slab[i - own] + first : others;
        others += is_own ? 0 : n;
    }
}

/* Asks the others where their blocks are, once a step. */
static int find_blocks(struct reducer *r)
{
    const int *block = r->first_block;
    for (int q = 0; q < r->shard.size && !r->found; q++)
        if (q != r->shard.rank)
            TRY(peers_read(r->comm.peers, q, r->theirs + block[q], r->stack_of[q],
                           (size_t)(block[q + 1] - block[q]) * sizeof *r->theirs));
    r->found = true;
    return OK;
}

/* The others' blocks in [first, first + n), one after the other. */
static int read_blocks(struct reducer *r, size_t first, size_t n, float *to)
{
    for (int q = 0; q < r->shard.size; q++) {
        if (q == r->shard.rank)
            continue;
        for (int i = r->first_block[q]; i < r->first_block[q + 1]; i++, to += n)
            TRY(peers_read(r->comm.peers, q, to, r->theirs[i] + first, n * sizeof *to));
    }
    return OK;
}

/* A multiple of FOLD_TILE. */
static size_t read_ahead(const struct reducer *r)
{
    size_t n = READ_AHEAD / (size_t)(r->plan.n_received > 0 ? r->plan.n_received : 1);
    return n < FOLD_TILE ? FOLD_TILE : n / FOLD_TILE * FOLD_TILE;
}

static int fold_by_reading(struct reducer *r, float *out, struct range piece, float *room)
{
    size_t most = read_ahead(r);
    TRY(find_blocks(r));
    for (size_t at = 0, n; at < piece.n; at += n) {
        n = piece.n - at < most ? piece.n - at : most;
        TRY(read_blocks(r, piece.first + at, n, room));
        point_terms(r, piece.first + at, room, n);
        fold_terms(out + at, r->term, r->plan.n_blocks, n, r->tiles);
    }
    return OK;
}

/* Sums up this rank's piece of the oldest bucket, which has arrived. */
static int fold_oldest(struct reducer *r)
{
    int k = r->to_fold, rc = OK;
    struct range piece = shard_piece(&r->shard, k, r->shard.rank);
    float *out = place_of(r, k), *received = slot_of(r, k)->received;
    if (r->comm.peers != NULL) {
        rc = fold_by_reading(r, out, piece, received);
    } else {
        point_terms(r, piece.first, received, piece.n);
        fold_terms(out, r->term, r->plan.n_blocks, piece.n, r->tiles);
    }
    r->to_fold--;
    return rc;
}

/* Open MPI moves messages only while one of its functions runs, so this is called often. */
int buckets_advance(struct reducer *r, size_t low)
{
    int here = true;
    TRY(start_buckets(r, low));
    while (here && r->to_fold > r->to_start) {
        struct slot *t = slot_of(r, r->to_fold);
        MPI_TRY(MPI_Testall(slot_requests(r), t->request, &here, MPI_STATUSES_IGNORE));
        if (here) {
            TRY(fold_oldest(r));
            TRY(start_buckets(r, low));
        }
    }
    return OK;
}

static int wait_for(struct reducer *r, int n, MPI_Request *request)
{
    double start = clock_now_s();
    MPI_TRY(MPI_Waitall(n, request, MPI_STATUSES_IGNORE));
    r->wait_s += clock_now_s() - start;
    return OK;
}

int buckets_drain(struct reducer *r)
{
    while (r->to_fold >= 0) {
        TRY(start_buckets(r, 0));
        TRY(wait_for(r, slot_requests(r), slot_of(r, r->to_fold)->request));
        TRY(fold_oldest(r));
    }
    if (r->comm.peers == NULL)
        return OK;
    /* Until all have read this rank's slabs, they cannot be used again. */
    MPI_TRY(MPI_Ibarrier(r->comm.world, r->slot[0].request));
    TRY(wait_for(r, 1, r->slot[0].request));
    settle(r, r->slab[0]);
    return OK;
}
