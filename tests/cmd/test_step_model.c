/* The model of a step against closed forms, one term at a time, and what it must keep to. */
#include "base/err.h"
#include "check_main.h"
#include "cmd/net.h"
#include "cmd/step_model.h"

#include <math.h>

static const double TOL = 1e-12; /* relative: a few operations in double */

/* A job whose terms can be switched off: passes alone. */
static struct step_model passes_only(void)
{
    return (struct step_model){.n_params = 1e6,
                               .n_trained = 1e6,
                               .global = 64,
                               .micro = 2,
                               .seq_len = 128,
                               .moves = 7,
                               .sharded = true,
                               .shared = true,
                               .bucket_bytes = 1e6,
                               .wire_bytes = 4,
                               .ranks_a_node = 4,
                               .micro_s = 0.25,
                               .backward_share = 0.5,
                               .rank_bytes_per_s = INFINITY,
                               .latency_s = 0,
                               .link_bytes_per_s = INFINITY};
}

static void same(double a, double b)
{
    ck_assert_double_le(fabs(a - b), TOL * fmax(fabs(a), fabs(b)));
}

/* 32 micro-batches: as many passes as the busiest rank has, whatever the others do. */
START_TEST(passes)
{
    struct step_model m = passes_only();
    const int64_t ranks[] = {1, 3, 4, 5, 32, 33, 4096}, most[] = {32, 11, 8, 7, 1, 1, 1};
    for (int i = 0; i < 7; i++) {
        struct step_time t = step_model_time(&m, ranks[i]);
        ck_assert_int_eq(t.per_rank, most[i]);
        ck_assert_int_eq(t.nodes, (ranks[i] + 3) / 4);
        same(t.passes_s, 0.25 * (double)most[i]);
        same(t.step_s, t.passes_s);
        same(t.tokens_per_s, 64 * 128 / t.step_s);
    }
    m.global = 1; /* half a micro-batch */
    same(step_model_time(&m, 2).passes_s, 0.125);
}
END_TEST

/* Two more micro-batches are added (12 bytes each), four ranks' pieces read and one written. */
START_TEST(sums_in_memory)
{
    struct step_model m = passes_only();
    m.rank_bytes_per_s = 1e9;
    m.moves = 3;
    m.global = 24;
    same(step_model_time(&m, 4).sum_s, 2 * 12e6 / 1e9 + 5.0 / 4 * 4e6 / 1e9);
    m.global = 6;
    same(step_model_time(&m, 1).sum_s, 2 * 12e6 / 1e9);
    m.ranks_a_node = 1;
    m.global = 8;
    same(step_model_time(&m, 4).sum_s, 0);
}
END_TEST

/* AdamW: parameter and two moments read and written, gradient read: 28 bytes. */
START_TEST(optimizer)
{
    struct step_model m = passes_only();
    m.rank_bytes_per_s = 1e9;
    same(step_model_time(&m, 1).optim_s, 28e6 / 1e9);
    same(step_model_time(&m, 8).optim_s, 28e6 / 1e9 / 8);
    m.sharded = false;
    same(step_model_time(&m, 8).optim_s, 28e6 / 1e9);
    m.moves = 3;
    same(step_model_time(&m, 8).optim_s, 12e6 / 1e9);
}
END_TEST

/* Ten products, the largest a fifth of them: more than five ranks do not make it faster. */
START_TEST(products_of_the_optimizer)
{
    struct step_model m = passes_only();
    m.update_flops = 10e9;
    m.most_flops = 2e9;
    m.rank_flops_per_s = 1e10;
    same(step_model_time(&m, 1).optim_s, 1);
    same(step_model_time(&m, 4).optim_s, 0.25);
    same(step_model_time(&m, 8).optim_s, 0.2);
    m.sharded = false;
    same(step_model_time(&m, 4).optim_s, 1);
}
END_TEST

/* Four buckets to three other nodes: 12 latencies, and three quarters of 4 MB. */
START_TEST(messages)
{
    struct step_model m = passes_only();
    m.latency_s = 1e-3;
    m.link_bytes_per_s = 1e8;
    double all = 4 * 3 * 1e-3 + 0.75 * 4e6 / 1e8;
    struct step_time t = step_model_time(&m, 16);
    same(t.hidden_s, all * 3 / 4); /* the backward pass is long enough */
    same(t.exposed_s, all / 4);
    same(t.gather_s, all);
    same(t.agree_s, 2 * 2 * 1e-3);
    m.micro_s = 0.01; /* now it is not: 0.01 · 0.5 · 3/4 */
    t = step_model_time(&m, 16);
    same(t.hidden_s, 0.00375);
    same(t.exposed_s, all - 0.00375);
    m.wire_bytes = 2; /* gradients alone shrink */
    t = step_model_time(&m, 16);
    same(t.hidden_s + t.exposed_s, 4 * 3 * 1e-3 + 0.75 * 2e6 / 1e8);
    same(t.gather_s, all);
}
END_TEST

START_TEST(one_node_sends_nothing)
{
    struct step_model m = passes_only();
    m.latency_s = 1;
    m.link_bytes_per_s = 1;
    struct step_time t = step_model_time(&m, 4);
    same(t.step_s, t.passes_s);
    m.shared = false; /* each rank copies the three quarters that are not its own */
    m.rank_bytes_per_s = 1e9;
    same(step_model_time(&m, 4).gather_s, 2 * 0.75 * 4e6 / 1e9);
    m.rank_bytes_per_s = INFINITY;
    m.pack_s = 0.125;
    t = step_model_time(&m, 4);
    same(t.step_s, t.passes_s + 0.125);
    m.shared = true; /* each packs a quarter for all */
    t = step_model_time(&m, 4);
    same(t.step_s, t.passes_s + 0.03125);
}
END_TEST

START_TEST(efficiency)
{
    struct step_model m = passes_only();
    same(step_model_efficiency(&m, 4), 1);
    same(step_model_efficiency(&m, 32), 1);
    same(step_model_efficiency(&m, 64), 0.5); /* half of the ranks are idle */
    m.latency_s = 1e-5;
    m.link_bytes_per_s = 1e9;
    for (int64_t ranks = 8; ranks <= 4096; ranks *= 2)
        ck_assert_double_lt(step_model_efficiency(&m, ranks), 1);
}
END_TEST

/* The batch it names has the efficiency, and one micro-batch a rank less has not. */
START_TEST(batch_for_an_efficiency)
{
    struct step_model m = passes_only();
    m.rank_bytes_per_s = 1e10;
    m.latency_s = 5e-5;
    m.link_bytes_per_s = 1e8;
    double one = step_model_time(&m, 4).tokens_per_s / 4;
    for (int64_t ranks = 4; ranks <= 4096; ranks *= 4)
        for (double e = 0.5; e < 0.95; e += 0.2) {
            int64_t batch = step_model_batch_for(&m, ranks, e), unit = ranks * m.micro;
            struct step_model with = m;
            ck_assert_int_gt(batch, 0);
            ck_assert_int_eq(batch % unit, 0);
            with.global = batch;
            ck_assert_double_ge(step_model_time(&with, ranks).tokens_per_s / (double)ranks,
                                e * one);
            with.global = batch - unit;
            if (with.global > 0)
                ck_assert_double_lt(step_model_time(&with, ranks).tokens_per_s / (double)ranks,
                                    e * one);
        }
    ck_assert_int_eq(step_model_batch_for(&m, 4096, 1.5), 0);
}
END_TEST

START_TEST(network_text)
{
    double latency, bandwidth;
    const struct {
        const char *text;
        double latency, bandwidth;
    } good[] = {
        {"2us,25GB/s", 2e-6, 25e9}, {"0.5ms,1MB/s", 5e-4, 1e6}, {"800ns,200Gbit/s", 8e-7, 25e9},
        {"1s,4kB/s", 1, 4e3},       {"0us,1B/s", 0, 1},         {"1.5µs,12.5GB/s", 1.5e-6, 12.5e9}};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        ck_assert_msg(net_parse(good[i].text, &latency, &bandwidth) == OK, "%s", good[i].text);
        same(latency, good[i].latency);
        same(bandwidth, good[i].bandwidth);
    }
    const char *const bad[] = {
        "",
        "2us",
        "2us,",
        ",25GB/s",
        "2,25GB/s",
        "2us,25G",
        "2us,25GB",
        "-2us,25GB/s",
        "2us,0B/s",
        "2us,-1B/s",
        "us,1B/s",
        "2us;25GB/s",
        "2us,25GB/s,",
        "nanus,1GB/s",
        "2us,25GB/s or thereabouts, which is longer than anybody would type"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        ck_assert_msg(net_parse(bad[i], &latency, &bandwidth) == E_USAGE, "\"%s\"", bad[i]);
}
END_TEST

static void add(TCase *t)
{
    tcase_add_test(t, passes);
    tcase_add_test(t, sums_in_memory);
    tcase_add_test(t, optimizer);
    tcase_add_test(t, products_of_the_optimizer);
    tcase_add_test(t, messages);
    tcase_add_test(t, one_node_sends_nothing);
    tcase_add_test(t, efficiency);
    tcase_add_test(t, batch_for_an_efficiency);
    tcase_add_test(t, network_text);
}

int main(void)
{
    return run_suite("cmd/step_model", add);
}
