#include "train/optimizer.h"

#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "conf/config_file.h"
#include "conf/config_table.h"
#include "par/zero.h"
#include "train/trainer.h"

#include <stdio.h>
#include <string.h>

int optimizer_groups(struct optim_group **groups, const struct tensor_table *t)
{
    TRY(mem_alloc(groups, (size_t)t->n, sizeof **groups, "optimizer groups"));
    for (int i = 0; i < t->n; i++) {
        const struct tensor *row = &t->row[i];
        (*groups)[i] = (struct optim_group){.at = {row->offset, row->n},
                                            .decay = row->decay,
                                            .rate = 1,
                                            .rows = row->dims[0],
                                            .cols = row->n / row->dims[0],
                                            .hidden = row->n_dims == 2 && row->layer >= 0};
    }
    return OK;
}

/* ---- settings ---- */

/* A setting of -1 stands for the rule's own. */
static double own(double set, double rules)
{
    return set >= 0 ? set : rules;
}

double optimizer_momentum(const struct config *c, const struct optim_rule *rule)
{
    return own(c->optimizer.momentum, rule->momentum);
}

struct optim_settings optimizer_base(const struct config *c, const struct optim_rule *rule)
{
    return (struct optim_settings){.lr = c->optimizer.lr,
                                   .beta1 = own(c->optimizer.beta1, rule->beta1),
                                   .beta2 = own(c->optimizer.beta2, rule->beta2),
                                   .eps = own(c->optimizer.eps, rule->eps),
                                   .momentum = optimizer_momentum(c, rule),
                                   .weight_decay = c->optimizer.weight_decay};
}

struct optim_step optimizer_settings(const struct config *c, const struct optim_settings *now)
{
    return (struct optim_step){.lr = now->lr,
                               .beta1 = now->beta1,
                               .beta2 = now->beta2,
                               .eps = now->eps,
                               .momentum = now->momentum,
                               .weight_decay = now->weight_decay,
                               .dampening = c->optimizer.dampening,
                               .nesterov = strcmp(c->optimizer.nesterov, "on") == 0,
                               .trust = c->optimizer.trust,
                               .d0 = c->optimizer.d0,
                               .d_growth = c->optimizer.d_growth,
                               .hyper_lr = c->optimizer.hyper_lr,
                               .hyper_cap = c->optimizer.hyper_cap};
}

static const struct {
    const char *key;
    unsigned bit;
} readable[] = {
    {"optimizer.beta1", OPTIM_BETA1},
    {"optimizer.beta2", OPTIM_BETA2},
    {"optimizer.eps", OPTIM_EPS},
    {"optimizer.momentum", OPTIM_MOMENTUM},
    {"optimizer.dampening", OPTIM_DAMPENING},
    {"optimizer.nesterov", OPTIM_NESTEROV},
    {"optimizer.trust", OPTIM_TRUST},
    {"optimizer.d0", OPTIM_DISTANCE},
    {"optimizer.d_growth", OPTIM_DISTANCE},
    {"optimizer.hyper_lr", OPTIM_HYPER},
    {"optimizer.hyper_cap", OPTIM_HYPER},
};

/* Factors of a rate that a rule finds by itself are near 1; what is below this was meant as a rate.
 */
static const double SMALL_FACTOR = 0.1;

/* A key whose value is not the default. */
static void warn_of(void *ctx, const struct conf_key *k, const char *before, const char *now)
{
    const struct optim_rule *rule = *(const struct optim_rule *const *)ctx;
    (void)before;
    for (size_t i = 0; i < sizeof readable / sizeof *readable; i++)
        if (strcmp(k->name, readable[i].key) == 0 && (rule->reads & readable[i].bit) == 0)
            log_warn("%s is set to %s, and optimizer.name %s does not read it; leave it out",
                     k->name, now, rule->name);
}

int optimizer_warn(const struct config *c, const struct optim_rule *rule)
{
    struct config defaults;
    struct conf_origins origins;
    TRY(conf_load(&defaults, &origins, NULL, NULL, 0));
    conf_diff(&defaults, c, warn_of, &rule);
    if (rule->show != NULL && strcmp(c->schedule.name, "constant") != 0)
        log_warn("optimizer.name %s averages the weights in place of a decay, and schedule.name %s "
                 "may decay the rate as well; set schedule.name=constant",
                 rule->name, c->schedule.name);
    if ((rule->reads & OPTIM_DISTANCE) != 0 && c->optimizer.lr < SMALL_FACTOR)
        log_warn("optimizer.name %s finds its own rate, which optimizer.lr %g multiplies; set "
                 "optimizer.lr=1",
                 rule->name, c->optimizer.lr);
    return OK;
}

/* ---- memory ---- */

static struct comm holders_of_state(const struct trainer *t)
{
    struct comm c = *t->comm;
    if (strcmp(t->conf->parallel.shard, "none") == 0) {
        c.size = 1;
        c.rank = 0;
    }
    return c;
}

static size_t bucket_bytes(const struct config *c)
{
    return (size_t)c->parallel.bucket_mib << 20;
}

/* The tensors whose statistics checkpoints hold, one dimension each. */
static int tabulate_stat(struct trainer *t, int i)
{
    struct tensor_table *tab = &t->stat_table[i];
    TRY(mem_alloc(&tab->row, (size_t)t->n_groups, sizeof *tab->row, "optimizer state"));
    for (int k = 0; k < t->n_groups; k++) {
        size_t n = t->groups[k].frozen ? 0 : t->rule->stat_n(&t->groups[k], i);
        if (n == 0)
            continue;
        struct tensor *row = &tab->row[tab->n++];
        *row = t->tensors->row[k];
        row->n_dims = 1;
        row->dims[0] = row->n = n;
        row->dims[1] = 1;
        row->offset = tab->n_elems;
        tab->n_elems += n;
    }
    shard_init(&t->stat_shard[i], tab->n_elems, bucket_bytes(t->conf), 1, 0);
    return OK;
}

int optimizer_init(struct trainer *t)
{
    const struct comm holders = holders_of_state(t);
    size_t n = t->tensors->n_elems;
    struct optim *o = &t->optim;
    TRY(optim_layout_init(&t->layout, t->rule, t->groups, t->n_groups, n, bucket_bytes(t->conf),
                          t->comm->size));
    t->shard = optim_layout_shard(&t->layout, t->comm->size, t->comm->rank);
    t->state = optim_layout_shard(&t->layout, holders.size, holders.rank);
    shard_init(&t->whole, n, bucket_bytes(t->conf), t->comm->size, t->comm->rank);
    TRY(optim_init(o, t->rule, &t->layout, t->groups, t->n_groups,
                   optimizer_momentum(t->conf, t->rule), &holders));
    for (int i = 0; i < t->rule->n_stats; i++)
        TRY(tabulate_stat(t, i));
    for (int i = 0; i < t->rule->n_scalars; i++)
        TRY(state_add(&t->state_rows, t->rule->scalar[i], &o->scalar[i], 1));
    return state_add(&t->state_rows, "updates", &o->past.updates, OPTIM_PAST_N);
}

void optimizer_release(struct trainer *t)
{
    optim_release(&t->optim);
    optim_layout_release(&t->layout);
    for (int i = 0; i < OPTIM_MAX_STATS; i++)
        tensors_release(&t->stat_table[i]);
}

void optimizer_arrays(struct trainer *t, struct ckpt_array *a, int *n)
{
    struct optim *o = &t->optim;
    int saved = o->n_slots < t->rule->n_saved ? o->n_slots : t->rule->n_saved;
    for (int i = 0; i < saved; i++)
        a[(*n)++] = (struct ckpt_array){
            .kind = t->rule->slot[i], .data = o->slot[i], .shard = &o->slot_shard[i]};
    for (int i = 0; i < t->rule->n_stats; i++)
        a[(*n)++] = (struct ckpt_array){.kind = t->rule->stat[i],
                                        .data = o->stat[i],
                                        .slab = true,
                                        .tensors = &t->stat_table[i],
                                        .shard = &t->stat_shard[i]};
}

struct optimizer_size optimizer_size(const struct config *c, const struct optim_rule *rule,
                                     const struct optim_layout *l, const struct optim_group *groups,
                                     int n_groups, int ranks, int rank)
{
    double momentum = optimizer_momentum(c, rule);
    int n_slots = optim_n_slots(rule, momentum);
    size_t stats = optim_stat_floats(rule, groups, n_groups), saved = stats;
    for (int i = 0; i < n_slots && i < rule->n_saved; i++) {
        struct shard slot = optim_layout_slot(l, rule, i, 1, 0);
        saved += shard_total(&slot);
    }
    return (struct optimizer_size){
        .state = (double)(optim_slot_bytes(rule, l, momentum, ranks, rank) + stats * sizeof(float)),
        .scratch = (double)optim_scratch_bytes(rule, groups, n_groups, ranks),
        .saved = (double)(saved * sizeof(float))};
}

int optimizer_work(struct optimizer_work *w, const struct optim_rule *rule, const struct config *c,
                   const struct model_spec *s)
{
    struct rates rates = {0};
    struct tensor_table tensors = {0};
    struct optim_group *groups = NULL;
    int rc;
    *w = (struct optimizer_work){0};
    TRY_OUT(tensors_init(&tensors, s));
    TRY_OUT(optimizer_groups(&groups, &tensors));
    TRY_OUT(rates_init(&rates, c, s, &tensors));
    rates_apply(&rates, groups);
    for (int i = 0; i < tensors.n && rule->flops != NULL; i++) {
        double flops = groups[i].frozen ? 0 : rule->flops(&groups[i]);
        w->all += flops;
        w->most = flops > w->most ? flops : w->most;
    }
out:
    rates_release(&rates);
    mem_free(groups);
    tensors_release(&tensors);
    return rc;
}

/* ---- which weights are in the slab ---- */

/* This rank's pieces of the parameters have changed: all ranks get all of them. */
static int spread(struct trainer *t)
{
    if (t->state.size > 1)
        TRY(zero_allgather(&t->holders, &t->shard, t->params));
    return trainer_pack(t);
}

int optimizer_begin(struct trainer *t, bool resumed)
{
    optim_begin(&t->optim, t->params, resumed);
    return optimizer_hide(t);
}

/* Ranks that share the slab have all read what is about to change. */
static int before_change(struct trainer *t)
{
    return t->rule->show != NULL && t->holders.team.per > 1 ? window_meet(&t->holders) : OK;
}

int optimizer_show(struct trainer *t)
{
    TRY(before_change(t));
    return optim_show(&t->optim, t->params) ? spread(t) : OK;
}

int optimizer_hide(struct trainer *t)
{
    TRY(before_change(t));
    return optim_hide(&t->optim, t->params) ? spread(t) : OK;
}
