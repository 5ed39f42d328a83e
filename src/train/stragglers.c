#include "train/stragglers.h"

#include "base/err.h"
#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>

static const double SLOW = 1.3;
/* Seconds lost in a look's steps that are worth a line: less is noise, or hurts nobody. */
static const double LOSS_S = 1;

int stragglers_init(struct stragglers *s, const struct comm *c)
{
    *s = (struct stragglers){0};
    snprintf(s->mine.host, sizeof s->mine.host, "%s", c->host);
    if (c->rank != 0)
        return OK;
    TRY(mem_alloc(&s->all, (size_t)c->size, sizeof *s->all, "ranks' work"));
    TRY(mem_alloc(&s->factor, (size_t)c->size, 2 * sizeof *s->factor, "ranks' work"));
    return mem_alloc(&s->told, (size_t)c->size, sizeof *s->told, "ranks' work");
}

void stragglers_release(struct stragglers *s)
{
    mem_free(s->all);
    mem_free(s->factor);
    mem_free(s->told);
    *s = (struct stragglers){0};
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

void stragglers_factors(double *by, double *room, const struct rank_work *work, int n)
{
    int k = 0;
    for (int i = 0; i < n; i++) {
        by[i] = work[i].micros > 0 ? work[i].s / work[i].micros : 0;
        if (by[i] > 0)
            room[k++] = by[i];
    }
    if (k == 0)
        return;
    qsort(room, (size_t)k, sizeof *room, by_size);
    for (int i = 0; i < n; i++)
        by[i] /= room[(k - 1) / 2];
}

bool stragglers_is_slow(double factor, const struct rank_work *work)
{
    return factor > SLOW && work->s * (1 - 1 / factor) > LOSS_S;
}

int stragglers_step(struct stragglers *s, const struct comm *c, double compute_s, int64_t micros,
                    bool *looked)
{
    s->mine.s += compute_s;
    s->mine.micros += (double)micros;
    *looked = ++s->steps == STRAGGLER_STEPS && c->size > 1;
    if (s->steps < STRAGGLER_STEPS)
        return OK;
    const struct rank_work sent = s->mine;
    s->steps = 0;
    s->mine.s = s->mine.micros = 0;
    if (!*looked)
        return OK;
    MPI_TRY(MPI_Gather(&sent, sizeof sent, MPI_BYTE, s->all, sizeof sent, MPI_BYTE, 0, c->world));
    if (c->rank == 0)
        stragglers_factors(s->factor, s->factor + c->size, s->all, c->size);
    return OK;
}

int stragglers_next(struct stragglers *s, const struct comm *c, int from)
{
    for (int i = from; i < c->size; i++) {
        bool slow = stragglers_is_slow(s->factor[i], &s->all[i]), told = s->told[i];
        s->told[i] = slow;
        if (slow && !told)
            return i;
    }
    return -1;
}
