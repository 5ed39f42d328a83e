#include "train/budget.h"

#include "base/err.h"
#include "model/model.h"
#include "optim/optim.h"
#include "par/reduce.h"
#include "train/derive.h"

#include <string.h>

/* A process that has started MPI and HDF5 holds about 22 MB before it allocates anything itself
 * (measured on one node; buffers of a network add to it), and OpenBLAS packs matrices into up to 32
 * MiB a thread. */
static const double PROGRAM_BYTES = 32 << 20, BLAS_BYTES_A_THREAD = 32 << 20;
/* Of a position that the loader keeps: token, target, weight and start, and the raw token. */
static const double LOADER_BYTES = 4 * 4 + 4;
/* One block is used, two are requested. */
static const double LOADER_BLOCKS = 3;

static void add(struct budget *b, const char *label, double bytes)
{
    if (bytes > 0 && b->n < BUDGET_MAX_ROWS)
        b->row[b->n++] = (struct budget_row){label, bytes};
}

/* Floats in the largest shard. */
static double largest_shard(const struct shard *s)
{
    size_t most = 0;
    for (int r = 0; r < s->size; r++) {
        size_t n = shard_count(s, r);
        most = n > most ? n : most;
    }
    return (double)most;
}

/* Ranks whose micro-batches begin inside a pair keep more partial sums than others. */
static double largest_reducer(struct shard s, const struct reduce_options *o)
{
    size_t most = 0;
    for (s.rank = 0; s.rank < s.size; s.rank++) {
        size_t n = reducer_bytes(&s, o);
        most = n > most ? n : most;
    }
    return (double)most;
}

static double loader_bytes(const struct config *c)
{
    return LOADER_BLOCKS * LOADER_BYTES * (double)c->batch.micro * (double)(c->batch.seq_len + 1);
}

static void count(struct budget *b, const struct config *c, const struct model_spec *s,
                  const struct optim_rule *rule, size_t n, int ranks)
{
    bool sharded = strcmp(c->parallel.shard, "none") != 0;
    size_t bucket = (size_t)c->parallel.bucket_mib << 20;
    struct shard shard, state;
    shard_init(&shard, n, bucket, ranks, 0);
    shard_init(&state, n, bucket, sharded ? ranks : 1, 0);
    const struct reduce_options reduce = {.exact = strcmp(c->parallel.reduce, "exact") == 0,
                                          .max_micro = derive_n_micro(c)};
    const struct model_options model = derive_model(c);
    double floats = (double)n, slots = rule->n_slots;
    add(b, "parameters", sizeof(float) * floats);
    add(b, "whole gradient", sharded ? 0 : sizeof(float) * floats);
    add(b, "optimizer state", sizeof(float) * slots * largest_shard(&state));
    add(b, "gradients", largest_reducer(shard, &reduce));
    add(b, "bf16 weights", (double)model_forms_bytes(s, model.products));
    add(b, "activations",
        (double)model_bytes(s, (int)c->batch.micro, (int)c->batch.seq_len, &model));
    add(b, "loader", loader_bytes(c));
    add(b, "program", PROGRAM_BYTES + BLAS_BYTES_A_THREAD * (double)c->parallel.threads);
    b->checkpoint_bytes = sizeof(float) * floats * (1 + slots);
}

int budget_of(struct budget *b, const struct config *c, const struct model_spec *s, int ranks)
{
    const struct optim_rule *rule;
    struct tensor_table tensors;
    memset(b, 0, sizeof *b);
    TRY(optim_find(&rule, c->optimizer.name));
    TRY(tensors_init(&tensors, s));
    count(b, c, s, rule, tensors.n_elems, ranks);
    tensors_release(&tensors);
    return OK;
}

double budget_total(const struct budget *b)
{
    double sum = 0;
    for (int i = 0; i < b->n; i++)
        sum += b->row[i].bytes;
    return sum;
}
