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
    float *stat[OPTIM_MAX_STATS];
    double lr;    /* of the optimizer's last step */
    double *rows; /* the state's rows, one after the other */
};

static size_t n_kept(const struct optim *o, int slot)
{
    return shard_count(&o->slot_shard[slot], o->slot_shard[slot].rank);
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
    for (int i = 0; i < t->optim.n_slots; i++)
        TRY(mem_alloc(&m->slot[i], n_kept(&t->optim, i), sizeof(float), "a mark"));
    for (int i = 0; i < t->rule->n_stats; i++)
        TRY(mem_alloc(&m->stat[i], t->optim.stat_n[i], sizeof(float), "a mark"));
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

static void copy_floats(float *mark, float *own, size_t n, bool keep)
{
    if (n > 0)
        memcpy(keep ? mark : own, keep ? own : mark, n * sizeof(float));
}

/* What the optimizer keeps; its scalars are rows of the trainer's state. */
static void copy_optim(struct mark *m, struct optim *o, bool keep)
{
    for (int i = 0; i < o->n_slots; i++)
        copy_floats(m->slot[i], o->slot[i], n_kept(o, i), keep);
    for (int i = 0; i < o->rule->n_stats; i++)
        copy_floats(m->stat[i], o->stat[i], o->stat_n[i], keep);
    *(keep ? &m->lr : &o->lr) = keep ? o->lr : m->lr;
}

int mark_take(struct mark **out, struct trainer *t)
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
    copy_optim(m, &t->optim, true);
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

int mark_return(struct mark *m, struct trainer *t)
{
    TRY(return_params(m, t));
    copy_optim(m, &t->optim, false);
    copy_rows(m->rows, &t->state_rows, false);
    t->at = m->at;
    t->n_steps = m->n_steps;
    t->pending = m->pending;
    t->failed_saves = m->failed_saves;
    feed_restart(t);
    return OK;
}

void mark_free(struct mark *m)
{
    if (m == NULL)
        return;
    mem_free(m->params);
    for (int i = 0; i < OPTIM_MAX_SLOTS; i++)
        mem_free(m->slot[i]);
    for (int i = 0; i < OPTIM_MAX_STATS; i++)
        mem_free(m->stat[i]);
    mem_free(m->rows);
    mem_free(m);
}
