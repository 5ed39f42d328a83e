#include "train/budget.h"

#include "base/err.h"
#include "base/mem.h"
#include "model/model.h"
#include "train/derive.h"
#include "train/optimizer.h"
#include "train/rates.h"
#include "train/regularize.h"
#include "train/save.h"
#include "train/vitals.h"

#include <string.h>

/* A process that has started MPI and HDF5 holds about 22 MB before it allocates anything itself
 * (measured on one node; buffers of a network add to it). Libraries pack matrices into memory of
 * their own: OpenBLAS has 32 MiB for it a thread, of which products of a model touch about half. */
static const double PROGRAM_BYTES = 32 << 20, BLAS_BYTES_A_THREAD = 16 << 20;
/* Of a position that the loader keeps: token, target, weight and start, and the raw token. */
static const double LOADER_BYTES = 4 * 4 + 4;
/* One block is used, two are requested. */
static const double LOADER_BLOCKS = 3;

static void add_row(struct budget *b, const char *label, double bytes, bool shared)
{
    if (bytes > 0 && b->n < BUDGET_MAX_ROWS)
        b->row[b->n++] = (struct budget_row){label, bytes, shared};
}

static void add(struct budget *b, const char *label, double bytes)
{
    add_row(b, label, bytes, false);
}

/* More ranks than these repeat what these need, or nearly. */
enum { RANKS_TRIED = 1024 };

static double loader_bytes(const struct config *c)
{
    return LOADER_BLOCKS * LOADER_BYTES * (double)c->batch.micro * (double)(c->batch.seq_len + 1);
}

_Static_assert(RAMP_MAX - 1 <= REDUCE_MAX_OTHER, "more stages than a reducer has room for");

struct reduce_options budget_reduction(const struct config *c)
{
    struct ramp ramp;
    struct reduce_options o = {.exact = strcmp(c->parallel.reduce, "exact") == 0,
                               .wire = strcmp(c->parallel.wire, "bf16") == 0 ? BF16 : F32,
                               .n_micro = derive_n_micro(c)};
    if (ramp_init(&ramp, c) != OK) { /* told elsewhere, and no run begins */
        err_clear();
        return o;
    }
    for (int i = 0; i + 1 < ramp.n; i++)
        o.other[o.n_other++] = derive_micros(c, ramp.stage[i].batch);
    return o;
}

static bool is_sharded(const struct config *c)
{
    return strcmp(c->parallel.shard, "none") != 0;
}

/* Where every rank updates all parameters, it needs its own. */
bool budget_shares_params(const struct config *c)
{
    return strcmp(c->parallel.share_params, "on") == 0 && is_sharded(c);
}

/* What ranks have more or less of: those whose micro-batches begin inside a pair keep more partial
 * sums than others, and those that own more keep more for it. */
struct of_rank {
    struct optimizer_size optimizer;
    double gradients, monitoring, staging;
};

static double sum_of(const struct of_rank *r)
{
    return r->optimizer.state + r->optimizer.scratch + r->gradients + r->monitoring + r->staging;
}

static struct of_rank largest(const struct config *c, const struct optim_rule *rule,
                              const struct optim_layout *l, const struct optim_group *groups,
                              const struct tensor_table *tensors, struct team t)
{
    const struct reduce_options reduce = budget_reduction(c);
    int holders = is_sharded(c) ? t.size : 1;
    struct of_rank most = {0};
    for (int r = 0; r < t.size && r < RANKS_TRIED; r++) {
        struct shard s = optim_layout_shard(l, t.size, r);
        t.rank = r;
        const struct of_rank here = {
            optimizer_size(c, rule, l, groups, tensors->n, holders, r % holders),
            (double)reducer_bytes(&t, &s, &reduce), (double)vitals_bytes(tensors, &s),
            (double)save_staging_bytes(c, rule, l, groups, tensors->n, t.size, r)};
        if (r == 0 || sum_of(&here) > sum_of(&most))
            most = here;
    }
    return most;
}

static void count(struct budget *b, const struct config *c, const struct model_spec *s,
                  const struct of_rank *rank, const struct tensor_table *tensors,
                  const struct team *t)
{
    const struct optimizer_size *optimizer = &rank->optimizer;
    const struct model_options model = derive_model(c);
    double floats = (double)tensors->n_elems;
    b->ranks = team_size(t, 0);
    add_row(b, "parameters", sizeof(float) * floats, b->ranks > 1 && budget_shares_params(c));
    add(b, "optimizer state", optimizer->state);
    add(b, "optimizer scratch", optimizer->scratch);
    add(b, "gradients", rank->gradients);
    add_row(b, "bf16 weights", (double)model_forms_bytes(s, model.products),
            b->ranks > 1 && budget_shares_params(c));
    add(b, "activations",
        (double)model_bytes(s, (int)c->batch.micro, (int)c->batch.seq_len, &model));
    add(b, "row norms", regularizer_bytes(c, tensors));
    add(b, "loader", loader_bytes(c));
    add(b, "monitoring", rank->monitoring);
    add(b, "checkpoint staging", rank->staging);
    add(b, "program", PROGRAM_BYTES + BLAS_BYTES_A_THREAD * (double)c->parallel.threads);
    b->checkpoint_bytes = sizeof(float) * floats + optimizer->saved;
}

int budget_of(struct budget *b, const struct config *c, const struct model_spec *s,
              const struct team *t)
{
    const struct optim_rule *rule;
    struct tensor_table tensors = {0};
    struct optim_group *groups = NULL;
    struct optim_layout layout = {0};
    struct rates rates = {0};
    int rc;
    memset(b, 0, sizeof *b);
    TRY(optim_find(&rule, c->optimizer.name));
    TRY_OUT(tensors_init(&tensors, s));
    TRY_OUT(rates_init(&rates, c, s, &tensors));
    TRY_OUT(optimizer_groups(&groups, &tensors));
    rates_apply(&rates, groups);
    TRY_OUT(optim_layout_init(&layout, rule, groups, tensors.n, tensors.n_elems,
                              (size_t)c->parallel.bucket_mib << 20, t->size));
    const struct of_rank rank = largest(c, rule, &layout, groups, &tensors, *t);
    count(b, c, s, &rank, &tensors, t);
out:
    optim_layout_release(&layout);
    mem_free(groups);
    rates_release(&rates);
    tensors_release(&tensors);
    return rc;
}

double budget_total(const struct budget *b)
{
    return budget_node(b) / b->ranks;
}

double budget_node(const struct budget *b)
{
    double sum = 0;
    for (int i = 0; i < b->n; i++)
        sum += b->row[i].bytes * (b->row[i].shared ? 1 : b->ranks);
    return sum;
}
