#include "optim/rules.h"

#include "base/err.h"
#include "optim/names.h"

static const struct optim_rule *const rules[] = {&optim_adamw, &optim_adam, &optim_sgd};

enum { N_RULES = sizeof rules / sizeof rules[0] };

const struct optim_rule *optim_row(int i)
{
    return i >= 0 && i < N_RULES ? rules[i] : NULL;
}

int optim_find(const struct optim_rule **rule, const char *name)
{
    const char *names[N_RULES];
    int at;
    for (int i = 0; i < N_RULES; i++)
        names[i] = rules[i]->name;
    TRY(names_find(&at, "optimizer", name, names, N_RULES));
    *rule = rules[at];
    return OK;
}

struct update {
    const struct optim_rule *rule;
    const struct optim_step *step;
    const struct optim_group *groups;
    int n_groups, at_group; /* groups before at_group end below every piece to come */
    float *params;
    const float *g;
    float *const *slots;
};

static void update_part(const struct update *u, const struct optim_group *group, size_t first,
                        size_t end, size_t at)
{
    float *slot[OPTIM_MAX_SLOTS] = {NULL};
    struct optim_step s = *u->step;
    s.lr *= group->rate;
    s.weight_decay *= group->decay_factor > 0 ? group->decay_factor : 1;
    for (int i = 0; i < u->rule->n_slots; i++)
        slot[i] = u->slots[i] + at;
    u->rule->update(u->params + first, u->g + first, slot, end - first, group->decay, &s);
}

/* A piece may hold parts of many groups, and a group may be cut by many pieces. */
static void update_piece(void *ctx, struct range piece, size_t at)
{
    struct update *u = ctx;
    size_t piece_end = piece.first + piece.n;
    for (; u->at_group < u->n_groups; u->at_group++) {
        const struct optim_group *group = &u->groups[u->at_group];
        size_t first = group->at.first, end = first + group->at.n;
        if (first >= piece_end)
            return;
        first = first > piece.first ? first : piece.first;
        end = end < piece_end ? end : piece_end;
        if (first < end)
            update_part(u, group, first, end, at + first - piece.first);
        if (group->at.first + group->at.n > piece_end)
            return;
    }
}

void optim_update(const struct optim_rule *rule, const struct optim_step *s, const struct shard *sh,
                  const struct optim_group *groups, int n_groups, float *params_slab,
                  const float *g_slab, float *const slot_shards[])
{
    struct update u = {.rule = rule,
                       .step = s,
                       .groups = groups,
                       .n_groups = n_groups,
                       .params = params_slab,
                       .g = g_slab,
                       .slots = slot_shards};
    shard_each(sh, update_piece, &u);
}
