#include "cmd/step_model.h"

#include <math.h>

static const double FLOAT_BYTES = 4;

static int64_t divide_up(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}

static double least(double a, double b)
{
    return a < b ? a : b;
}

/* The ranks of a job that take part in a node's work. */
static double node_ranks(const struct step_model *m, const struct step_time *t)
{
    return (double)(t->ranks < m->ranks_a_node ? t->ranks : m->ranks_a_node);
}

static void count_passes(const struct step_model *m, struct step_time *t)
{
    int64_t n_micro = divide_up(m->global, m->micro);
    t->per_rank = divide_up(n_micro, t->ranks);
    /* The only micro-batch of a step may be a short one. */
    double full = least((double)t->per_rank, (double)m->global / (double)m->micro);
    t->passes_s = full * m->micro_s;
    /* Each further micro-batch is added to a sum: two reads and a write. */
    t->sum_s = (double)(t->per_rank - 1) * 3 * FLOAT_BYTES * m->n_params / m->rank_bytes_per_s;
}

/* A rank's piece is read from every rank of its node and written once. */
static void sum_in_node(const struct step_model *m, struct step_time *t)
{
    double ranks = node_ranks(m, t);
    if (ranks > 1)
        t->sum_s += (ranks + 1) / ranks * FLOAT_BYTES * m->n_params / m->rank_bytes_per_s;
}

/* What a node sends to all others, in so many buckets. */
static double exchange_s(const struct step_model *m, const struct step_time *t, double buckets,
                         double float_bytes)
{
    double others = (double)(t->nodes - 1);
    return buckets * others * m->latency_s +
           others / (double)t->nodes * m->n_params * float_bytes / m->link_bytes_per_s;
}

static void send_gradients(const struct step_model *m, struct step_time *t, double buckets)
{
    double all = exchange_s(m, t, buckets, m->wire_bytes);
    double early = all * (buckets - 1) / buckets;
    double window = m->micro_s * m->backward_share * (buckets - 1) / buckets;
    t->hidden_s = t->nodes > 1 ? least(early, window) : 0;
    t->exposed_s = t->nodes > 1 ? all - t->hidden_s : 0;
}

static void update(const struct step_model *m, struct step_time *t, double buckets)
{
    double bytes = FLOAT_BYTES * m->n_trained * m->moves;
    double ranks = node_ranks(m, t);
    t->optim_s = bytes / m->rank_bytes_per_s / (m->sharded ? (double)t->ranks : 1);
    double flops = m->sharded ? m->update_flops / (double)t->ranks : m->update_flops;
    if (m->update_flops > 0)
        t->optim_s += fmax(flops, m->most_flops) / m->rank_flops_per_s;
    if (t->nodes > 1)
        t->gather_s = exchange_s(m, t, buckets, FLOAT_BYTES);
    if (!m->shared)
        t->gather_s += 2 * FLOAT_BYTES * m->n_params * (ranks - 1) / ranks / m->rank_bytes_per_s;
}

struct step_time step_model_time(const struct step_model *m, int64_t ranks)
{
    struct step_time t = {.ranks = ranks, .nodes = divide_up(ranks, m->ranks_a_node)};
    double buckets = ceil(m->n_params * FLOAT_BYTES / m->bucket_bytes);
    count_passes(m, &t);
    sum_in_node(m, &t);
    send_gradients(m, &t, buckets);
    update(m, &t, buckets);
    t.agree_s = 2 * ceil(log2((double)t.nodes)) * m->latency_s;
    t.pack_s = m->pack_s / (m->shared ? node_ranks(m, &t) : 1);
    t.step_s = t.passes_s + t.sum_s + t.exposed_s + t.optim_s + t.gather_s + t.pack_s + t.agree_s;
    t.tokens_per_s = (double)m->global * m->seq_len / t.step_s;
    return t;
}

/* Tokens/s a rank of the job on one node. */
static double rate_of_one_node(const struct step_model *m, int64_t ranks)
{
    int64_t one = ranks < m->ranks_a_node ? ranks : m->ranks_a_node;
    return step_model_time(m, one).tokens_per_s / (double)one;
}

double step_model_efficiency(const struct step_model *m, int64_t ranks)
{
    return step_model_time(m, ranks).tokens_per_s / (double)ranks / rate_of_one_node(m, ranks);
}

/* The rate a rank grows with the micro-batches it takes, since all else stays as it is. */
int64_t step_model_batch_for(const struct step_model *m, int64_t ranks, double efficiency)
{
    struct step_model other = *m;
    double wanted = efficiency * rate_of_one_node(m, ranks) * (double)ranks;
    int64_t low = 0, high = 1, unit = ranks * m->micro;
    for (;; low = high, high *= 2) {
        if (high > ((int64_t)1 << 40) / unit)
            return 0;
        other.global = high * unit;
        if (step_model_time(&other, ranks).tokens_per_s >= wanted)
            break;
    }
    while (high - low > 1) {
        int64_t mid = low + (high - low) / 2;
        other.global = mid * unit;
        *(step_model_time(&other, ranks).tokens_per_s >= wanted ? &high : &low) = mid;
    }
    return high * unit;
}
