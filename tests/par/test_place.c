/* Where ranks go, on machines of many shapes. */
#include "check_main.h"
#include "par/place.h"

#include <string.h>

static struct topology machine;

/* sockets × NUMA nodes in each × cores in each × hardware threads of each. Processors are numbered
 * as Linux does on most machines: the first threads of all cores, then the second ones. */
static void build(int sockets, int nodes, int cores, int siblings)
{
    int n_cores = sockets * nodes * cores;
    machine = (struct topology){.n_cpus = n_cores * siblings,
                                .n_cores = n_cores,
                                .n_sockets = sockets,
                                .n_numa = sockets * nodes};
    for (int cpu = 0; cpu < CPUS_MAX; cpu++) {
        int core = cpu % n_cores;
        machine.cpu[cpu].core = cpu < machine.n_cpus ? core : -1;
        machine.cpu[cpu].numa = core / cores;
        machine.cpu[cpu].socket = core / (cores * nodes);
    }
}

static struct cpuset set(const char *list)
{
    struct cpuset s;
    ck_assert_msg(cpuset_parse(&s, list), "%s", list);
    return s;
}

/* Ranks that all see the same list; checks the kind, and each rank's processors when they are
 * given. */
static void expect(const char *seen, int ranks, int threads, double quota, enum place_kind kind,
                   const char *const *want)
{
    struct cpuset all[64];
    struct place p;
    char got[256];
    for (int r = 0; r < ranks; r++)
        all[r] = set(seen);
    for (int r = 0; r < ranks; r++) {
        place_rank(&p, &machine, all, ranks, r, threads, quota);
        ck_assert_msg(p.kind == kind, "rank %d of %d: kind %d, not %d", r, ranks, p.kind, kind);
        ck_assert_int_eq(p.threads, ranks * threads);
        cpuset_text(got, sizeof got, &p.cpus);
        ck_assert_msg(want == NULL || strcmp(got, want[r]) == 0, "rank %d of %d: %s, not %s", r,
                      ranks, got, want != NULL ? want[r] : "");
    }
}
#define LISTS(...) ((const char *const[]){__VA_ARGS__})

START_TEST(one_socket)
{
    build(1, 1, 8, 1);
    expect("0-7", 1, 1, 0, PLACE_KEPT, LISTS("0-7"));
    expect("0-7", 1, 8, 0, PLACE_KEPT, LISTS("0-7"));
    expect("0-7", 2, 1, 0, PLACE_SHARED, LISTS("0-3", "4-7"));
    expect("0-7", 2, 4, 0, PLACE_SHARED, LISTS("0-3", "4-7"));
    expect("0-7", 3, 2, 0, PLACE_SHARED, LISTS("0-1", "2-4", "5-7"));
    expect("0-7", 8, 1, 0, PLACE_SHARED, LISTS("0", "1", "2", "3", "4", "5", "6", "7"));
    expect("2-3,6", 3, 1, 0, PLACE_SHARED, LISTS("2", "3", "6"));
}
END_TEST

START_TEST(siblings_stay_together_while_cores_last)
{
    build(1, 1, 4, 2);
    expect("0-7", 2, 2, 0, PLACE_SHARED, LISTS("0-1,4-5", "2-3,6-7"));
    expect("0-7", 4, 1, 0, PLACE_SHARED, LISTS("0,4", "1,5", "2,6", "3,7"));
    expect("0-7", 8, 1, 0, PLACE_SIBLINGS, LISTS("0", "4", "1", "5", "2", "6", "3", "7"));
    expect("0-7", 2, 4, 0, PLACE_SIBLINGS, LISTS("0-1,4-5", "2-3,6-7"));
    expect("0-7", 1, 8, 0, PLACE_SIBLINGS, LISTS("0-7"));
    expect("0-3", 2, 2, 0, PLACE_SHARED, LISTS("0-1", "2-3")); /* one thread of each core */
}
END_TEST

START_TEST(ranks_stay_inside_numa_nodes)
{
    build(2, 1, 8, 1);
    expect("0-15", 2, 8, 0, PLACE_SHARED, LISTS("0-7", "8-15"));
    expect("0-15", 2, 1, 0, PLACE_SHARED, LISTS("0-7", "8-15"));
    expect("0-15", 3, 4, 0, PLACE_SHARED, LISTS("0-3", "4-7", "8-15"));
    expect("0-15", 4, 3, 0, PLACE_SHARED, LISTS("0-3", "4-7", "8-11", "12-15"));
    /* Five threads fit once into a node: the third rank cannot but span. */
    expect("0-15", 3, 5, 0, PLACE_SHARED, LISTS("0-4", "5-9", "10-15"));
    /* Nodes of which the job has unequal parts. */
    expect("0-7,8-9", 5, 2, 0, PLACE_SHARED, LISTS("0-1", "2-3", "4-5", "6-7", "8-9"));
    expect("0-5,8-9", 3, 2, 0, PLACE_SHARED, LISTS("0-2", "3-5", "8-9"));
}
END_TEST

START_TEST(sockets_are_filled_evenly)
{
    build(2, 2, 4, 1);
    expect("0-15", 2, 4, 0, PLACE_SHARED, LISTS("0-3", "8-11"));
    expect("0-15", 4, 4, 0, PLACE_SHARED, LISTS("0-3", "4-7", "8-11", "12-15"));
    expect("0-15", 2, 8, 0, PLACE_SHARED, LISTS("0-7", "8-15"));
    build(2, 4, 16, 2);
    expect("0-255", 8, 16, 0, PLACE_SHARED,
           LISTS("0-15,128-143", "16-31,144-159", "32-47,160-175", "48-63,176-191", "64-79,192-207",
                 "80-95,208-223", "96-111,224-239", "112-127,240-255"));
}
END_TEST

/* Whatever the shape: shares are disjoint, large enough, whole cores where cores suffice, and in
 * one node when every node has room for its part of the ranks. */
static void check_shares(const struct place *p, int ranks, int threads, int siblings, int per_node)
{
    struct cpuset all = {0};
    int total = 0;
    for (int r = 0; r < ranks; r++) {
        int n = cpuset_count(&p[r].cpus);
        ck_assert_int_ge(n, threads * (p[r].kind == PLACE_SHARED ? siblings : 1));
        ck_assert(!cpuset_meets(&all, &p[r].cpus));
        cpuset_unite(&all, &p[r].cpus);
        total += n;
        if (p[r].kind == PLACE_SHARED && ranks % machine.n_numa == 0 &&
            ranks / machine.n_numa * threads <= per_node)
            ck_assert_int_eq(p[r].n_numa, 1);
    }
    ck_assert_int_le(total, machine.n_cpus);
}

START_TEST(shares_are_disjoint_and_large_enough_at_any_shape)
{
    static struct cpuset seen[64];
    static struct place p[64];
    for (int shape = 0; shape < 36; shape++) {
        int sockets = shape % 2 + 1, nodes = shape / 2 % 3 + 1, cores = shape / 6 % 3 * 2 + 1;
        int siblings = shape / 18 + 1;
        build(sockets, nodes, cores, siblings);
        for (int ranks = 2; ranks <= machine.n_cpus && ranks <= 64; ranks++)
            for (int threads = 1; threads * ranks <= machine.n_cpus; threads++) {
                for (int r = 0; r < ranks; r++) {
                    seen[r] = (struct cpuset){0};
                    for (int cpu = 0; cpu < machine.n_cpus; cpu++)
                        cpuset_add(&seen[r], cpu);
                }
                for (int r = 0; r < ranks; r++)
                    place_rank(&p[r], &machine, seen, ranks, r, threads, 0);
                check_shares(p, ranks, threads, siblings, cores);
            }
    }
}
END_TEST

START_TEST(too_many_threads_change_nothing)
{
    build(1, 1, 4, 1);
    expect("0-3", 5, 1, 0, PLACE_CROWDED, LISTS("0-3", "0-3", "0-3", "0-3", "0-3"));
    expect("0-3", 2, 3, 0, PLACE_CROWDED, LISTS("0-3", "0-3"));
    expect("0-3", 1, 5, 0, PLACE_CROWDED, LISTS("0-3"));
}
END_TEST

START_TEST(a_quota_counts_as_processors)
{
    struct place p;
    build(1, 1, 8, 1);
    struct cpuset seen[2] = {set("0-7"), set("0-7")};
    expect("0-7", 2, 1, 2.0, PLACE_SHARED, LISTS("0-3", "4-7"));
    expect("0-7", 2, 1, 1.5, PLACE_CROWDED, LISTS("0-7", "0-7"));
    expect("0-7", 1, 4, 2.0, PLACE_CROWDED, LISTS("0-7"));
    place_rank(&p, &machine, seen, 2, 0, 1, 1.5);
    ck_assert_double_eq_tol(p.usable, 1.5, 1e-9);
    place_rank(&p, &machine, seen, 2, 0, 1, 100);
    ck_assert_double_eq_tol(p.usable, 8, 1e-9);
}
END_TEST

/* Each rank's kind and processors when ranks see the lists of `seen`. */
static void expect_seen(const char *const *seen, int ranks, int threads,
                        const enum place_kind *kind, const char *const *want)
{
    struct cpuset all[8];
    struct place p;
    char got[64];
    for (int r = 0; r < ranks; r++)
        all[r] = set(seen[r]);
    for (int r = 0; r < ranks; r++) {
        place_rank(&p, &machine, all, ranks, r, threads, 0);
        ck_assert_int_eq(p.kind, kind[r]);
        ck_assert_str_eq(cpuset_text(got, sizeof got, &p.cpus), want[r]);
    }
}
#define KINDS(...) ((const enum place_kind[]){__VA_ARGS__})

START_TEST(what_a_launcher_bound_is_kept)
{
    build(2, 1, 4, 1);
    expect_seen(LISTS("0", "4"), 2, 1, KINDS(PLACE_KEPT, PLACE_KEPT), LISTS("0", "4"));
    expect_seen(LISTS("4-7", "0-3"), 2, 4, KINDS(PLACE_KEPT, PLACE_KEPT), LISTS("4-7", "0-3"));
    /* Bound to sockets: the ranks of one socket share it. */
    expect_seen(LISTS("0-3", "4-7", "0-3", "4-7"), 4, 2,
                KINDS(PLACE_SHARED, PLACE_SHARED, PLACE_SHARED, PLACE_SHARED),
                LISTS("0-1", "4-5", "2-3", "6-7"));
    expect_seen(LISTS("0-3", "4-7", "0-3"), 3, 2, KINDS(PLACE_SHARED, PLACE_KEPT, PLACE_SHARED),
                LISTS("0-1", "4-7", "2-3"));
}
END_TEST

START_TEST(bad_bindings_are_named_and_left)
{
    build(1, 1, 8, 1);
    expect_seen(LISTS("0", "1"), 2, 2, KINDS(PLACE_NARROW, PLACE_NARROW), LISTS("0", "1"));
    expect_seen(LISTS("0", "0"), 2, 1, KINDS(PLACE_NARROW, PLACE_NARROW), LISTS("0", "0"));
    expect_seen(LISTS("0-3", "4"), 2, 2, KINDS(PLACE_KEPT, PLACE_NARROW), LISTS("0-3", "4"));
    expect_seen(LISTS("0-3", "3-6", "7"), 3, 1, KINDS(PLACE_OVERLAP, PLACE_OVERLAP, PLACE_KEPT),
                LISTS("0-3", "3-6", "7"));
    expect_seen(LISTS("0-7", "0-7", "3"), 3, 1, KINDS(PLACE_OVERLAP, PLACE_OVERLAP, PLACE_OVERLAP),
                LISTS("0-7", "0-7", "3"));
}
END_TEST

START_TEST(troubles_have_a_fix)
{
    for (int k = 0; k < PLACE_N; k++) {
        bool well = k == PLACE_KEPT || k == PLACE_SHARED;
        ck_assert((place_trouble((enum place_kind)k) == NULL) == well);
        ck_assert((place_fix((enum place_kind)k) == NULL) == well);
    }
}
END_TEST

/* As Slurm deals out a task a hardware thread. */
START_TEST(ranks_on_one_core_are_noticed)
{
    build(1, 1, 4, 2);
    expect_seen(LISTS("0", "4"), 2, 1, KINDS(PLACE_SIBLINGS, PLACE_SIBLINGS), LISTS("0", "4"));
    expect_seen(LISTS("0", "1", "4-5", "2-3"), 4, 1,
                KINDS(PLACE_SIBLINGS, PLACE_SIBLINGS, PLACE_SIBLINGS, PLACE_KEPT),
                LISTS("0", "1", "4-5", "2-3"));
    /* Two that share the other threads of two cores take one core each all the same. */
    expect_seen(LISTS("0-1", "4-5", "4-5"), 3, 1,
                KINDS(PLACE_SIBLINGS, PLACE_SIBLINGS, PLACE_SIBLINGS), LISTS("0-1", "4", "5"));
}
END_TEST

static void add(TCase *t)
{
    tcase_add_test(t, one_socket);
    tcase_add_test(t, siblings_stay_together_while_cores_last);
    tcase_add_test(t, ranks_stay_inside_numa_nodes);
    tcase_add_test(t, sockets_are_filled_evenly);
    tcase_add_test(t, shares_are_disjoint_and_large_enough_at_any_shape);
    tcase_add_test(t, too_many_threads_change_nothing);
    tcase_add_test(t, a_quota_counts_as_processors);
    tcase_add_test(t, what_a_launcher_bound_is_kept);
    tcase_add_test(t, bad_bindings_are_named_and_left);
    tcase_add_test(t, ranks_on_one_core_are_noticed);
    tcase_add_test(t, troubles_have_a_fix);
}

int main(void)
{
    return run_suite("par/place", add);
}
