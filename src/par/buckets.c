#include "par/buckets.h"

#include "base/err.h"

#include <sched.h>

/* Pairs of ranks send each other buckets in one order, so all messages may have one tag. */
enum { TAG = 1 };

static struct slot *slot_of(struct reducer *r, int k)
{
    return &r->slot[k % N_SLOTS];
}

/* What `ready` counts when the buckets from k on are final. */
static uint64_t count_of(const struct reducer *r, int k)
{
    uint64_t n = (uint64_t)r->shard.n_buckets;
    return r->step * (n + 1) + n - (uint64_t)k;
}

void buckets_publish(struct reducer *r, size_t low)
{
    int k = shard_bucket_from(&r->shard, low);
    atomic_store_explicit(&r->board[r->me]->ready, count_of(r, k), memory_order_release);
}

static bool team_has(const struct reducer *r, int k)
{
    for (int i = 0; i < r->n_team; i++)
        if (atomic_load_explicit(&r->board[i]->ready, memory_order_acquire) < count_of(r, k))
            return false;
    return true;
}

/* Open MPI moves messages only while one of its functions runs. */
static int idle(struct reducer *r)
{
    int flag;
    MPI_TRY(MPI_Iprobe(MPI_ANY_SOURCE, TAG, r->comm.world, &flag, MPI_STATUS_IGNORE));
    sched_yield();
    return OK;
}

static MPI_Datatype mpi_type(enum dtype t)
{
    return t == BF16 ? MPI_UINT16_T : MPI_FLOAT;
}

/* The other teams' roots of this rank's piece of bucket k, each from the rank that deals with it.
 */
static int receive_bucket(struct reducer *r, int k)
{
    const struct team *t = &r->comm.team;
    struct slot *s = slot_of(r, k);
    size_t n = shard_piece(&r->shard, k, t->rank).n, size = n * dtype_size(r->wire);
    for (int j = 0; j < team_count(t); j++)
        for (int i = r->lists.team_root[j]; n > 0 && i < r->lists.team_root[j + 1]; i++)
            MPI_TRY(MPI_Irecv(s->received + (size_t)i * size, (int)n, mpi_type(r->wire),
                              team_proxy(t, j, t->rank), TAG, r->comm.world, &s->request[i]));
    return OK;
}

int buckets_begin(struct reducer *r)
{
    r->to_send = r->to_fold = r->shard.n_buckets - 1;
    exactsum_clear(&r->sumsq);
    for (int i = 0; r->group_sum != NULL && i < r->by_group.n_groups; i++)
        exactsum_clear(&r->group_sum[i]);
    for (int i = 0; i < N_SLOTS && i <= r->to_fold; i++)
        TRY(receive_bucket(r, r->to_fold - i));
    return OK;
}

/* Adds the team's blocks of [first, first+n) up to root i, in place: nobody else of the team
 * touches this range. On the narrow wire the root then takes the beginning of that place. Returns
 * where it is. */
static void *fold_root(struct reducer *r, int i, struct range at)
{
    int first = r->lists.root_block[i], n = r->lists.root_block[i + 1] - first;
    float *root = r->block[first] + at.first, *scratch = r->tiles + r->plan.n_tiles * FOLD_TILE;
    for (size_t done = 0, part; done < at.n; done += part) {
        part = at.n - done < FOLD_TILE ? at.n - done : FOLD_TILE;
        float *out = r->wire == BF16 ? scratch : root + done;
        fold_terms(out, r->lists.part + first, n, at.first + done, part, r->tiles);
        if (r->wire == BF16)
            bf16_narrow((uint16_t *)(void *)root + done, scratch, part);
    }
    r->bytes += (double)(at.n * sizeof(float)) * (n > 1 ? n + 1 : 0);
    return root;
}

/* The team's roots of bucket k to those owners of other teams that this rank deals with. */
static int send_bucket(struct reducer *r, int k)
{
    const struct team *t = &r->comm.team;
    MPI_Request *request = slot_of(r, k)->request + r->plan.n_received;
    for (int q = 0; q < t->size; q++) {
        struct range piece = shard_piece(&r->shard, k, q);
        if (!team_deals_with(t, q) || piece.n == 0)
            continue;
        for (int i = 0; i < r->plan.n_roots; i++)
            MPI_TRY(MPI_Isend(fold_root(r, i, piece), (int)piece.n, mpi_type(r->wire), q, TAG,
                              r->comm.world, request++));
    }
    return OK;
}

/* Sums up this rank's piece of bucket k, which has come, in place of its first slab, where nobody
 * else of the team reads. */
static void fold_bucket(struct reducer *r, int k)
{
    struct range piece = shard_piece(&r->shard, k, r->shard.rank);
    struct fold_term *term = r->lists.whole;
    int own = r->lists.team_root[team_of(&r->comm.team, r->comm.rank)];
    int n = r->plan.n_received + r->plan.n_blocks;
    size_t size = piece.n * dtype_size(r->wire);
    for (int i = 0; i < r->plan.n_received; i++)
        term[i < own ? i : i + r->plan.n_blocks].x = slot_of(r, k)->received + (size_t)i * size;
    for (int i = 0; i < r->plan.n_blocks; i++)
        term[own + i].x = r->block[i] + piece.first;
    for (size_t done = 0, part; done < piece.n; done += part) {
        part = piece.n - done < FOLD_TILE ? piece.n - done : FOLD_TILE;
        float *out = r->slab[0] + piece.first + done;
        fold_terms(out, term, n, done, part, r->tiles);
        exactsum_add(&r->sumsq, fold_sumsq(out, part));
        if (r->group_sum != NULL)
            squares_add(&r->by_group, r->group_sum, out, piece.first + done, part);
    }
    r->bytes += (double)(piece.n * sizeof(float)) * (n > 1 ? n + 1 : 1);
}

static bool may_send(const struct reducer *r)
{
    return r->to_send >= 0 && r->to_fold - r->to_send < N_SLOTS && team_has(r, r->to_send);
}

static int may_fold(struct reducer *r, int *yes)
{
    *yes = r->to_fold > r->to_send;
    if (*yes && r->n_requests > 0)
        MPI_TRY(
            MPI_Testall(r->n_requests, slot_of(r, r->to_fold)->request, yes, MPI_STATUSES_IGNORE));
    return OK;
}

int buckets_advance(struct reducer *r, bool *moved)
{
    int ready = true;
    *moved = false;
    while (ready) {
        for (; may_send(r); *moved = true)
            TRY(send_bucket(r, r->to_send--));
        TRY(may_fold(r, &ready));
        if (!ready)
            break;
        fold_bucket(r, r->to_fold);
        if (r->to_fold >= N_SLOTS)
            TRY(receive_bucket(r, r->to_fold - N_SLOTS));
        r->to_fold--;
        *moved = true;
    }
    return OK;
}

int buckets_drain(struct reducer *r)
{
    while (r->to_fold >= 0) {
        bool moved;
        TRY(buckets_advance(r, &moved));
        if (!moved)
            TRY(idle(r));
    }
    atomic_store_explicit(&r->board[r->me]->through, r->step, memory_order_release);
    return OK;
}

static bool team_is_through(const struct reducer *r, uint64_t step)
{
    for (int i = 0; i < r->n_team; i++)
        if (atomic_load_explicit(&r->board[i]->through, memory_order_acquire) < step)
            return false;
    return true;
}

int buckets_reclaim(struct reducer *r)
{
    while (!team_is_through(r, r->step - 1))
        TRY(idle(r));
    return OK;
}
