#include "par/reduce.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/fault.h"
#include "base/mem.h"
#include "par/agree.h"
#include "par/fold.h"
#include "par/peers.h"
#include "par/sumplan.h"

#include <string.h>

/* Buckets under way at a time: enough to keep messages flowing while one is folded. */
enum { N_SLOTS = 4 };

/* Floats of others' partial sums that are read at a time: they stay in the cache until summed. */
enum { READ_AHEAD = 1 << 17 };

/* MPI_Ialltoallv's arguments, which must stay until it ends. */
enum { SEND_COUNT, SEND_AT, RECV_COUNT, RECV_AT, N_ARGS };

/* A bucket under way. */
struct slot {
    int k;
    MPI_Request *request; /* [n_rounds], or one when memory is read */
    int *args;            /* [n_rounds][N_ARGS][size] */
    float *received;      /* [n_received][floats in the piece] */
};

struct reducer {
    struct comm comm; /* its world is a duplicate: nobody else's messages come between */
    struct shard shard;
    bool exact;
    float *const **stack_of; /* [size] where each rank keeps its slab[], for peers_read */

    /* A step's plan, and the memory that is cut by it. */
    int64_t n_micro;
    struct sumplan plan, room;
    struct arena arena;
    int *first_block;
    struct fold_term *term;
    const float **theirs; /* [n_blocks] the blocks in their ranks' address spaces */
    float *tiles;
    struct slot slot[N_SLOTS];
    float *slab[SUMTREE_DEPTH];
    float *spare; /* for the sum, on a rank without a slab */

    /* This rank's micro-batches. */
    struct range mine;
    size_t n_done;
    struct sumtree tree;
    int top, merges; /* the slab of the one being computed, and the additions that follow it */

    /* Buckets, from the last to the first; -1: none left. */
    int to_start, to_fold, to_settle;
    bool found; /* theirs[] is this step's */
    float *sum; /* this rank's shard of the sum */
    int rc;
    double wait_s;
};

/* Floats of the largest piece that a rank can have. */
static size_t piece_room(const struct shard *s)
{
    if (s->n_buckets == 0)
        return 0;
    size_t n = shard_bucket(s, 0).n, share = (size_t)s->size * SHARD_BLOCK;
    return (n + share - 1) / share * SHARD_BLOCK;
}

static size_t n_requests(const struct sumplan *p)
{
    return p->n_rounds > 0 ? (size_t)p->n_rounds : 1;
}

static size_t n_args(const struct shard *s, const struct sumplan *p)
{
    return (size_t)p->n_rounds * N_ARGS * (size_t)s->size;
}

static size_t arena_bytes(const struct shard *s, const struct sumplan *p)
{
    size_t slot = arena_need(n_requests(p), sizeof(MPI_Request)) +
                  arena_need(n_args(s, p), sizeof(int)) +
                  arena_need((size_t)p->n_received * piece_room(s), sizeof(float));
    return arena_need((size_t)s->size + 1, sizeof(int)) +
           arena_need((size_t)p->n_blocks, sizeof(struct fold_term)) +
           arena_need((size_t)p->n_blocks, sizeof(float *)) +
           arena_need((size_t)p->n_tiles * FOLD_TILE, sizeof(float)) + N_SLOTS * slot;
}

/* The same order as in arena_bytes. */
static void cut_arena(struct reducer *r)
{
    const struct shard *s = &r->shard;
    const struct sumplan *p = &r->room;
    struct arena *a = &r->arena;
    r->first_block = arena_push(a, (size_t)s->size + 1, sizeof *r->first_block);
    r->term = arena_push(a, (size_t)p->n_blocks, sizeof *r->term);
    r->theirs = arena_push(a, (size_t)p->n_blocks, sizeof *r->theirs);
    r->tiles = arena_push(a, (size_t)p->n_tiles * FOLD_TILE, sizeof *r->tiles);
    for (int i = 0; i < N_SLOTS; i++) {
        struct slot *t = &r->slot[i];
        t->request = arena_push(a, n_requests(p), sizeof *t->request);
        t->args = arena_push(a, n_args(s, p), sizeof *t->args);
        t->received = arena_push(a, (size_t)p->n_received * piece_room(s), sizeof *t->received);
    }
}

/* A rank without micro-batches has no slab, but still a shard. */
static size_t spare_floats(const struct shard *s, const struct sumplan *p)
{
    return p->n_slabs == 0 ? shard_count(s, s->rank) : 0;
}

size_t reducer_bytes(const struct shard *s, const struct reduce_options *o)
{
    struct sumplan p = sumplan_of(s, o->exact, o->max_micro, NULL, NULL);
    size_t floats = (size_t)p.n_slabs * s->n + spare_floats(s, &p);
    return sizeof(struct reducer) + (size_t)s->size * sizeof(float *const *) + arena_bytes(s, &p) +
           floats * sizeof(float);
}

/* Makes room for a step of n_micro where what is held does not do, and plans it. */
static int plan_step(struct reducer *r, int64_t n_micro)
{
    const struct shard *s = &r->shard;
    struct sumplan need = sumplan_of(s, r->exact, n_micro, NULL, NULL);
    struct sumplan room = sumplan_max(&r->room, &need);
    if (r->arena.base == NULL || memcmp(&room, &r->room, sizeof room) != 0) {
        for (int i = r->room.n_slabs; i < room.n_slabs; i++)
            TRY(mem_alloc(&r->slab[i], s->n, sizeof(float), "gradients"));
        if (r->spare == NULL)
            TRY(mem_alloc(&r->spare, spare_floats(s, &room), sizeof(float), "gradient shard"));
        arena_release(&r->arena);
        TRY(arena_init(&r->arena, arena_bytes(s, &room), "gradient reduction"));
        r->room = room;
        cut_arena(r);
    }
    r->n_micro = n_micro;
    r->plan = sumplan_of(s, r->exact, n_micro, r->first_block, r->term);
    return OK;
}

static int set_up(struct reducer *r, const struct comm *c, const struct shard *s,
                  const struct reduce_options *o)
{
    r->comm = *c;
    r->comm.world = MPI_COMM_NULL;
    r->shard = *s;
    r->exact = o->exact;
    if (o->max_micro < 0 || o->max_micro > SUMTREE_MAX)
        return ERR(E_CONFIG, "a step of %lld micro-batches; 1 to 2^40 can be reduced",
                   (long long)o->max_micro);
    TRY(mem_alloc(&r->stack_of, (size_t)s->size, sizeof *r->stack_of, "gradient stacks"));
    return plan_step(r, o->max_micro);
}

static int connect_ranks(struct reducer *r, const struct comm *c)
{
    float *const *mine = r->slab;
    MPI_TRY(MPI_Comm_dup(c->world, &r->comm.world));
    MPI_TRY(MPI_Allgather(&mine, sizeof mine, MPI_BYTE, r->stack_of, sizeof mine, MPI_BYTE,
                          r->comm.world));
    return OK;
}

int reducer_new(struct reducer **out, const struct comm *c, const struct shard *s,
                const struct reduce_options *o)
{
    struct reducer *r;
    int rc = mem_alloc(&r, 1, sizeof *r, "gradient reduction");
    if (rc == OK)
        rc = set_up(r, c, s, o);
    rc = agree(c, rc);
    if (rc == OK)
        rc = agree(c, connect_ranks(r, c));
    if (rc != OK) {
        reducer_free(r);
        r = NULL;
    }
    *out = r;
    return rc;
}

void reducer_free(struct reducer *r)
{
    if (r == NULL)
        return;
    if (r->comm.world != MPI_COMM_NULL)
        MPI_Comm_free(&r->comm.world);
    for (int i = 0; i < SUMTREE_DEPTH; i++)
        mem_free(r->slab[i]);
    mem_free(r->spare);
    mem_free(r->stack_of);
    arena_release(&r->arena);
    mem_free(r);
}

/* Takes the next micro-batch onto the stack before it is computed: where its gradient goes, and
 * what is added to it, is known then. */
static void stack_next(struct reducer *r)
{
    r->top = r->tree.n;
    r->merges = 0;
    if (r->n_done < r->mine.n)
        r->merges = sumplan_stack(&r->tree, r->mine, r->n_done, r->shard.size);
}

/* The sum goes to the end of slab 0, so that a piece of it never lies below the bucket it belongs
 * to: what it overwrites has been summed up and sent. Whole blocks apart, so that no tile overlaps
 * itself. */
static float *place_sum(const struct reducer *r)
{
    const struct shard *s = &r->shard;
    if (r->slab[0] == NULL)
        return r->spare;
    return r->slab[0] + (s->n - shard_count(s, s->rank)) / SHARD_BLOCK * SHARD_BLOCK;
}

struct range reducer_begin(struct reducer *r, int64_t n_micro)
{
    if (n_micro != r->n_micro && plan_step(r, n_micro) != OK)
        fatal(E_MEM, "%s", err_message());
    r->mine = split_even((size_t)n_micro, r->shard.size, r->shard.rank);
    r->n_done = 0;
    sumtree_begin(&r->tree, r->exact, n_micro);
    stack_next(r);
    r->to_start = r->to_fold = r->shard.n_buckets - 1;
    r->sum = place_sum(r);
    r->found = false;
    r->to_settle = r->comm.peers != NULL && r->mine.n > 0 ? r->to_fold : -1;
    r->rc = OK;
    return r->mine;
}

float *reducer_slab(struct reducer *r)
{
    if (r->n_done >= r->mine.n)
        fatal(E_BUG, "reduce: a micro-batch beyond this rank's %zu", r->mine.n);
    return r->slab[r->top];
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

/* Starts what can be started and sums up what has come, without waiting. Open MPI moves messages
 * only while one of its functions runs. */
static int advance(struct reducer *r, size_t low)
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

void reducer_ready(void *reducer, size_t first, size_t n)
{
    struct reducer *r = reducer;
    fold_down(r->slab, r->top, r->merges, first, n);
    if (r->n_done + 1 == r->mine.n && r->shard.size > 1 && r->rc == OK)
        r->rc = advance(r, first);
    if (first == 0) {
        r->n_done++;
        stack_next(r);
    }
}

static int wait_for(struct reducer *r, int n, MPI_Request *request)
{
    double start = clock_now_s();
    MPI_TRY(MPI_Waitall(n, request, MPI_STATUSES_IGNORE));
    r->wait_s += clock_now_s() - start;
    return OK;
}

static int drain(struct reducer *r)
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

int reducer_finish(struct reducer *r, float *out)
{
    if (r->n_done != r->mine.n)
        fatal(E_BUG, "reduce: %zu of %zu micro-batches are done", r->n_done, r->mine.n);
    r->wait_s = 0;
    if (r->rc == OK && fault_hit("reduce"))
        r->rc = ERR(E_RANK, "fault reduce");
    if (r->rc == OK)
        r->rc = drain(r);
    /* The others wait for this rank's messages, so there is no way to tell them. */
    if (r->rc != OK)
        fatal(r->rc, "the gradient's sum: %s", err_message());
    if (out != NULL)
        memcpy(out, r->sum, shard_count(&r->shard, r->shard.rank) * sizeof *out);
    return OK;
}

float *reducer_sum(struct reducer *r)
{
    return r->sum;
}

double reducer_wait_s(const struct reducer *r)
{
    return r->wait_s;
}
