#include "par/reduce.h"

#include "base/err.h"
#include "base/fault.h"
#include "par/agree.h"
#include "par/buckets.h"

#include <string.h>

static int own_team(const struct team *t)
{
    return team_of(t, t->rank);
}

/* Messages of a bucket that come and go. */
static int n_requests(const struct team *t, const struct sumplan *p)
{
    int n = p->n_received;
    for (int q = 0; q < t->size; q++)
        n += team_deals_with(t, q) ? p->n_roots : 0;
    return n;
}

static size_t received_bytes(const struct shard *s, const struct sumplan *p, enum dtype wire)
{
    return (size_t)p->n_received * shard_piece_most(s) * dtype_size(wire);
}

static int n_slots(const struct shard *s)
{
    return s->n_buckets < N_SLOTS ? s->n_buckets : N_SLOTS;
}

static size_t arena_bytes(const struct team *t, const struct shard *s, const struct sumplan *p,
                          enum dtype wire)
{
    size_t blocks = (size_t)p->n_blocks, terms = blocks + (size_t)p->n_received;
    size_t ranks = (size_t)team_size(t, own_team(t));
    size_t slot = arena_need((size_t)n_requests(t, p), sizeof(MPI_Request)) +
                  arena_need(received_bytes(s, p, wire), 1);
    return arena_need(ranks + 1, sizeof(int)) + arena_need(blocks + 1, sizeof(int)) +
           arena_need(blocks, sizeof(struct fold_term)) +
           arena_need((size_t)team_count(t) + 1, sizeof(int)) +
           arena_need(terms, sizeof(struct fold_term)) +
           arena_need((size_t)p->n_tiles + 1, FOLD_TILE * sizeof(float)) +
           arena_need(ranks, sizeof(struct board *)) + arena_need(blocks, sizeof(float *)) +
           (size_t)n_slots(s) * slot;
}

static void cut_slots(struct reducer *r)
{
    for (int i = 0; i < n_slots(&r->shard); i++) {
        struct slot *s = &r->slot[i];
        s->request = arena_push(&r->arena, (size_t)r->n_requests, sizeof *s->request);
        s->received = arena_push(&r->arena, received_bytes(&r->shard, &r->plan, r->wire), 1);
        for (int j = 0; j < r->n_requests; j++)
            s->request[j] = MPI_REQUEST_NULL;
    }
}

/* The same order as in arena_bytes. */
static void cut_arena(struct reducer *r)
{
    struct arena *a = &r->arena;
    struct sumlists *l = &r->lists;
    size_t blocks = (size_t)r->plan.n_blocks, terms = blocks + (size_t)r->plan.n_received;
    l->rank_block = arena_push(a, (size_t)r->n_team + 1, sizeof *l->rank_block);
    l->root_block = arena_push(a, blocks + 1, sizeof *l->root_block);
    l->part = arena_push(a, blocks, sizeof *l->part);
    l->team_root = arena_push(a, (size_t)team_count(&r->comm.team) + 1, sizeof *l->team_root);
    l->whole = arena_push(a, terms, sizeof *l->whole);
    r->tiles = arena_push(a, (size_t)r->plan.n_tiles + 1, FOLD_TILE * sizeof *r->tiles);
    r->board = arena_push(a, (size_t)r->n_team, sizeof *r->board);
    r->block = arena_push(a, blocks, sizeof *r->block);
    cut_slots(r);
}

/* A rank's part of the window: its board, then its slabs. */
static size_t slab_bytes(const struct shard *s)
{
    return arena_need(s->n, sizeof(float));
}

static size_t part_bytes(const struct shard *s, const struct sumplan *p)
{
    return sizeof(struct board) + (size_t)p->n_slabs * slab_bytes(s);
}

static float *slab_in(char *part, const struct shard *s, int i)
{
    return (float *)(void *)(part + sizeof(struct board) + (size_t)i * slab_bytes(s));
}

/* What the step that needs most of it needs. */
struct room {
    size_t arena, part;
};

static void make_room(struct room *room, const struct team *t, const struct shard *s,
                      const struct reduce_options *o, int64_t n_micro)
{
    struct sumplan p = sumplan_of(t, o->exact, n_micro, NULL);
    size_t arena = arena_bytes(t, s, &p, o->wire), part = part_bytes(s, &p);
    room->arena = arena > room->arena ? arena : room->arena;
    room->part = part > room->part ? part : room->part;
}

static struct room room_of(const struct team *t, const struct shard *s,
                           const struct reduce_options *o)
{
    struct room room = {0, 0};
    make_room(&room, t, s, o, o->n_micro);
    for (int i = 0; i < o->n_other; i++)
        make_room(&room, t, s, o, o->other[i]);
    return room;
}

size_t reducer_bytes(const struct team *t, const struct shard *s, const struct reduce_options *o)
{
    struct room room = room_of(t, s, o);
    return sizeof(struct reducer) + room.arena + window_bytes(t, room.part);
}

/* The values that a fold reads are known beforehand, but for those that come. */
static void find_blocks(struct reducer *r)
{
    int own = r->lists.team_root[own_team(&r->comm.team)];
    for (int i = 0; i < r->n_team; i++) {
        char *part = window_part(r->window, i);
        r->board[i] = (struct board *)(void *)part;
        for (int b = r->lists.rank_block[i]; b < r->lists.rank_block[i + 1]; b++) {
            r->block[b] = slab_in(part, &r->shard, b - r->lists.rank_block[i]);
            r->lists.part[b].x = r->block[b];
            r->lists.part[b].type = F32;
        }
    }
    for (int i = 0; i < r->plan.n_blocks + r->plan.n_received; i++)
        r->lists.whole[i].type = i < own || i >= own + r->plan.n_blocks ? r->wire : F32;
    for (int i = 0; i < r->plan.n_slabs; i++)
        r->slab[i] = slab_in(window_part(r->window, r->me), &r->shard, i);
}

/* The arena's room is that of all plans. */
static void plan_steps(struct reducer *r)
{
    const struct team *t = &r->comm.team;
    r->plan = sumplan_of(t, r->exact, r->n_micro, NULL);
    r->n_requests = n_requests(t, &r->plan);
    arena_pop(&r->arena, 0);
    cut_arena(r);
    sumplan_of(t, r->exact, r->n_micro, &r->lists);
}

static int check_micros(int64_t n_micro)
{
    if (n_micro < 0 || n_micro > SUMTREE_MAX)
        return ERR(E_CONFIG, "a step of %lld micro-batches; 1 to 2^40 can be reduced",
                   (long long)n_micro);
    return OK;
}

static int check(const struct reduce_options *o)
{
    TRY(check_micros(o->n_micro));
    for (int i = 0; i < o->n_other; i++)
        TRY(check_micros(o->other[i]));
    if (o->exact && o->wire != F32)
        return ERR(E_CONFIG, "what is rounded between nodes depends on the nodes: an exact sum "
                             "needs a wire of fp32");
    return OK;
}

/* Teams as they are, or of one where shared memory has no room. */
static int choose_teams(struct reducer *r, const struct comm *c, const struct reduce_options *o)
{
    bool fits;
    TRY(window_fits(&fits, c, room_of(&c->team, &r->shard, o).part, "gradients"));
    r->comm = fits ? *c : comm_without_teams(c);
    r->comm.world = MPI_COMM_NULL;
    return OK;
}

static int set_up(struct reducer *r, const struct comm *c, const struct shard *s,
                  const struct reduce_options *o)
{
    r->shard = *s;
    r->exact = o->exact;
    r->wire = o->wire;
    r->n_micro = o->n_micro;
    TRY(choose_teams(r, c, o));
    MPI_TRY(MPI_Comm_dup(c->world, &r->comm.world));
    const struct team *t = &r->comm.team;
    const struct room room = room_of(t, s, o);
    r->n_team = team_size(t, own_team(t));
    r->me = t->rank - team_first(t, own_team(t));
    TRY(agree(c, arena_init(&r->arena, room.arena, "gradient reduction")));
    TRY(window_new(&r->window, &r->comm, room.part, "gradients"));
    plan_steps(r);
    find_blocks(r);
    /* This rank is the first to write its part, so that it lies near. */
    memset(window_part(r->window, r->me), 0, room.part);
    return agree(c, window_meet(&r->comm));
}

int reducer_new(struct reducer **out, const struct comm *c, const struct shard *s,
                const struct reduce_options *o)
{
    struct reducer *r;
    int rc = mem_alloc(&r, 1, sizeof *r, "gradient reduction");
    if (rc == OK) {
        r->comm.world = MPI_COMM_NULL;
        rc = check(o);
    }
    rc = agree(c, rc);
    if (rc == OK)
        rc = set_up(r, c, s, o);
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
    window_free(r->window);
    if (r->comm.world != MPI_COMM_NULL)
        MPI_Comm_free(&r->comm.world);
    arena_release(&r->arena);
    mem_free(r);
}

void reducer_set_prof(struct reducer *r, struct prof *p)
{
    r->prof = p;
}

void reducer_set_groups(struct reducer *r, const struct squares *by, struct exactsum *sum)
{
    r->by_group = *by;
    r->group_sum = sum;
}

void reducer_measure(struct reducer *r, bool yes)
{
    r->measures = yes;
}

double reducer_last_squares(const struct reducer *r)
{
    return r->last_squares;
}

/* Takes the next micro-batch onto the stack before it is computed: where its gradient goes, and
 * what is added to it, is known then. */
static void stack_next(struct reducer *r)
{
    r->top = r->tree.n;
    r->merges = 0;
    if (r->n_done < r->mine.n)
        r->merges = sumplan_stack(&r->tree, r->mine, r->n_done);
}

void reducer_set_micros(struct reducer *r, int64_t n_micro)
{
    if (n_micro == r->n_micro)
        return;
    r->n_micro = n_micro;
    plan_steps(r);
    find_blocks(r);
}

struct range reducer_begin(struct reducer *r)
{
    r->step++;
    r->mine = split_even((size_t)r->n_micro, r->shard.size, r->shard.rank);
    r->n_done = 0;
    sumtree_begin(&r->tree, r->exact, r->n_micro);
    stack_next(r);
    r->rc = buckets_begin(r);
    if (r->mine.n == 0)
        buckets_publish(r, 0);
    return r->mine;
}

float *reducer_slab(struct reducer *r)
{
    if (r->n_done >= r->mine.n)
        fatal(E_BUG, "reduce: a micro-batch beyond this rank's %zu", r->mine.n);
    int rc = buckets_reclaim(r);
    if (r->rc == OK)
        r->rc = rc;
    return r->slab[r->top];
}

static void lap(struct reducer *r, enum prof_phase phase)
{
    prof_lap(r->prof, phase, 0, r->bytes);
    r->bytes = 0;
}

void reducer_ready(void *reducer, size_t first, size_t n)
{
    struct reducer *r = reducer;
    r->squares_here += fold_down(r->slab, r->top, r->merges, first, n, r->measures);
    r->bytes += (double)(n * sizeof(float)) * (r->merges > 0 ? r->merges + 2 : r->measures);
    if (r->n_done + 1 == r->mine.n) {
        bool moved;
        buckets_publish(r, first);
        if (r->rc == OK)
            r->rc = buckets_advance(r, &moved);
    }
    if (first == 0) {
        r->n_done++;
        r->last_squares = r->squares_here;
        r->squares_here = 0;
        stack_next(r);
    }
    lap(r, PROF_REDUCE_HIDDEN);
}

int reducer_finish(struct reducer *r)
{
    if (r->n_done != r->mine.n)
        fatal(E_BUG, "reduce: %zu of %zu micro-batches are done", r->n_done, r->mine.n);
    if (r->rc == OK && fault_hit("reduce"))
        r->rc = ERR(E_RANK, "fault reduce");
    if (r->rc == OK)
        r->rc = buckets_drain(r);
    /* The others wait for this rank, so there is no way to tell them. */
    if (r->rc != OK)
        fatal(r->rc, "the gradient's sum: %s", err_message());
    lap(r, PROF_REDUCE);
    return OK;
}

float *reducer_sum(struct reducer *r)
{
    return r->slab[0];
}

const struct exactsum *reducer_sumsq(const struct reducer *r)
{
    return &r->sumsq;
}
