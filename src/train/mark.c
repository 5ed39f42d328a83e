#include "train/mark.h"

#include "base/err.h"
#include "base/mem.h"
#include "par/agree.h"
#include "par/zero.h"
#include "train/feed.h"

#include <string.h>

struct mark {
    struct progress at;
    int64_t n_steps;
    int pending, failed_saves;
    float *params;                /* this rank's shard of them */
    float *slot[OPTIM_MAX_SLOTS]; /* what this rank keeps of each */
    double *rows;                 /* the state's rows, one after the other */
};

static size_t n_kept(const struct trainer *t)
{
    return shard_count(&t->state, t->state.rank);
}

static size_t n_numbers(const struct state *s)
{
    size_t n = 0;
    for (int i = 0; i < s->n; i++)
        n += (size_t)s->row[i].n;
    return n;
}

static int make_room(struct mark *m, const struct trainer *t)
{
    TRY(mem_alloc(&m->params, shard_count(&t->shard, t->shard.rank), sizeof(float), "a mark"));
    for (int i = 0; i < t->rule->n_slots; i++)
        TRY(mem_alloc(&m->slot[i], n_kept(t), sizeof(float), "a mark"));
    return mem_alloc(&m->rows, n_numbers(&t->state_rows), sizeof(double), "a mark");
}

/* Pieces pass between the slab and the shard; keep: into the shard. */
struct copy {
    float *slab, *shard;
    bool keep;
};

static void copy_piece(void *ctx, struct range slab, size_t at)
{
    const struct copy *c = ctx;
    size_t bytes = slab.n * sizeof(float);
    if (c->keep)
        memcpy(c->shard + at, c->slab + slab.first, bytes);
    else
        memcpy(c->slab + slab.first, c->shard + at, bytes);
}

static void copy_rows(double *numbers, const struct state *s, bool keep)
{
    for (int i = 0; i < s->n; i++) {
        size_t n = (size_t)s->row[i].n;
        memcpy(keep ? numbers : s->row[i].v, keep ? s->row[i].v : numbers, n * sizeof(double));
        numbers += n;
    }
}

static void copy_slots(float *const to[], float *const from[], const struct trainer *t)
{
    for (int i = 0; i < t->rule->n_slots; i++)
        if (n_kept(t) > 0)
            memcpy(to[i], from[i], n_kept(t) * sizeof(float));
}

int mark_take(struct mark **out, const struct trainer *t)
{
    struct mark *m = NULL;
    *out = NULL;
    int rc = mem_alloc(&m, 1, sizeof *m, "a mark");
    if (rc == OK)
        rc = make_room(m, t);
    rc = agree(t->comm, rc);
    if (rc != OK) {
        mark_free(m);
        return rc;
    }
    struct copy c = {t->params, m->params, true};
    shard_each(&t->shard, copy_piece, &c);
    copy_slots(m->slot, t->slot, t);
    copy_rows(m->rows, &t->state_rows, true);
    m->at = t->at;
    m->n_steps = t->n_steps;
    m->pending = t->pending;
    m->failed_saves = t->failed_saves;
    *out = m;
    return OK;
}

static int return_params(const struct mark *m, struct trainer *t)
{
    struct copy c = {t->params, m->params, false};
    TRY(window_meet(&t->holders)); /* nobody reads the shared slab any more */
    shard_each(&t->shard, copy_piece, &c);
    TRY(zero_allgather(&t->holders, &t->shard, t->params));
    return trainer_pack(t);
}

int mark_return(const struct mark *m, struct trainer *t)
{
    TRY(return_params(m, t));
    copy_slots(t->slot, m->slot, t);
    copy_rows(m->rows, &t->state_rows, false);
    t->at = m->at;
    t->n_steps = m->n_steps;
    t->pending = m->pending;
    t->failed_saves = m->failed_saves;
    TRY(agree(t->comm, feed_drain(&t->feed)));
    trainer_feed(t);
    return OK;
}

void mark_free(struct mark *m)
{
    if (m == NULL)
        return;
    mem_free(m->params);
    for (int i = 0; i < OPTIM_MAX_SLOTS; i++)
        mem_free(m->slot[i]);
    mem_free(m->rows);
    mem_free(m);
}
