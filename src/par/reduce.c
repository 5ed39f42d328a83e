#include "par/reduce.h"

#include "base/err.h"
#include "base/fault.h"
#include "par/agree.h"
#include "par/buckets.h"

#include <string.h>

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
    r->sum = place_sum(r);
    buckets_begin(r);
    r->rc = OK;
    return r->mine;
}

float *reducer_slab(struct reducer *r)
{
    if (r->n_done >= r->mine.n)
        fatal(E_BUG, "reduce: a micro-batch beyond this rank's %zu", r->mine.n);
    return r->slab[r->top];
}

void reducer_ready(void *reducer, size_t first, size_t n)
{
    struct reducer *r = reducer;
    fold_down(r->slab, r->top, r->merges, first, n);
    if (r->n_done + 1 == r->mine.n && r->shard.size > 1 && r->rc == OK)
        r->rc = buckets_advance(r, first);
    if (first == 0) {
        r->n_done++;
        stack_next(r);
    }
}

int reducer_finish(struct reducer *r, float *out)
{
    if (r->n_done != r->mine.n)
        fatal(E_BUG, "reduce: %zu of %zu micro-batches are done", r->n_done, r->mine.n);
    r->wait_s = 0;
    if (r->rc == OK && fault_hit("reduce"))
        r->rc = ERR(E_RANK, "fault reduce");
    if (r->rc == OK)
        r->rc = buckets_drain(r);
    /* The others wait for this rank's messages, so there is no way to tell them. */
    if (r->rc != OK)
        fatal(r->rc, "the gradient's sum: %s", err_message());
    size_t n = shard_count(&r->shard, r->shard.rank);
    if (out != NULL && n > 0)
        memcpy(out, r->sum, n * sizeof *out);
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
