#include "optim/rules.h"

#include "base/err.h"
#include "base/mem.h"

#include <string.h>

static bool stays_whole(const struct optim_rule *rule, const struct optim_group *g)
{
    return rule->cut == OPTIM_CUT_HIDDEN_WHOLE && g->hidden;
}

static bool has_rows(const struct optim_rule *rule, const struct optim_group *g)
{
    return rule->cut == OPTIM_CUT_ROWS && g->cols > 1;
}

static size_t unit_of(const struct optim_rule *rule, const struct optim_group *g)
{
    if (stays_whole(rule, g))
        return 0;
    return has_rows(rule, g) ? adafactor_unit(g->cols) : SHARD_BLOCK;
}

/* Neighbours that may be cut anywhere are one zone; what lies between them belongs to it. */
static int find_zones(struct shard_zone *z, const struct optim_rule *rule,
                      const struct optim_group *groups, int n_groups)
{
    int n = 0;
    bool joins = false;
    for (int i = 0; i < n_groups; i++) {
        const struct optim_group *g = &groups[i];
        bool has_owner = !g->frozen && g->at.n > 0;
        bool plain = has_owner && !stays_whole(rule, g) && !has_rows(rule, g);
        if (plain && joins)
            z[n - 1].n = g->at.first + g->at.n - z[n - 1].first;
        else if (has_owner)
            z[n++] =
                (struct shard_zone){.first = g->at.first, .n = g->at.n, .unit = unit_of(rule, g)};
        joins = plain;
    }
    return n;
}

int optim_layout_init(struct optim_layout *l, const struct optim_rule *rule,
                      const struct optim_group *groups, int n_groups, size_t n_elems,
                      size_t bucket_bytes, int size)
{
    *l = (struct optim_layout){.n = n_elems};
    TRY(mem_alloc(&l->zones, (size_t)n_groups, sizeof *l->zones, "division of tensors"));
    TRY(mem_alloc(&l->few, (size_t)n_groups, sizeof *l->few, "division of tensors"));
    l->n_zones = find_zones(l->zones, rule, groups, n_groups);
    TRY(shard_deal(l->zones, l->n_zones, bucket_bytes, size));
    int at = 0;
    for (int i = 0; i < l->n_zones; i++) {
        const struct shard_zone *z = &l->zones[i];
        int end = i + 1 < l->n_zones ? z[1].at_bucket
                                     : z->at_bucket + (int)((z->n + z->bucket - 1) / z->bucket);
        if (z->unit == 0)
            continue;
        l->few[l->n_few] = *z;
        l->few[l->n_few++].at_bucket = at;
        at += end - z->at_bucket;
    }
    return OK;
}

void optim_layout_release(struct optim_layout *l)
{
    mem_free(l->zones);
    mem_free(l->few);
    memset(l, 0, sizeof *l);
}

struct shard optim_layout_shard(const struct optim_layout *l, int size, int rank)
{
    struct shard s;
    shard_init_zones(&s, l->n, l->zones, l->n_zones, size, rank);
    return s;
}

struct shard optim_layout_slot(const struct optim_layout *l, const struct optim_rule *rule,
                               int slot, int size, int rank)
{
    struct shard s;
    if ((rule->not_in_hidden >> slot & 1) == 0)
        return optim_layout_shard(l, size, rank);
    shard_init_zones(&s, l->n, l->few, l->n_few, size, rank);
    return s;
}
