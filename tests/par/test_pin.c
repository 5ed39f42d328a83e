/* Binding real ranks to real processors. ranks: 1 2 3, alone: 1 */
#include "mpi_main.h"
#include "par/pin.h"

#include <string.h>
#include <unistd.h>

/* All that the system lets this process have. */
static struct cpuset widen(void)
{
    struct cpuset all;
    memset(&all, 0xff, sizeof all);
    cpuset_bind(&all);
    cpuset_of_process(&all, 0);
    return all;
}

static struct cpuset now(void)
{
    struct cpuset s;
    cpuset_of_process(&s, 0);
    return s;
}

static struct cpuset first_of(const struct cpuset *s)
{
    struct cpuset one = {0};
    for (int cpu = 0; cpuset_count(&one) == 0; cpu++)
        if (cpuset_has(s, cpu))
            cpuset_add(&one, cpu);
    return one;
}

/* True on every rank when no processor is some other rank's as well. */
static bool disjoint(const struct cpuset *mine)
{
    static struct cpuset all[16];
    MPI_Allgather(mine, sizeof *mine, MPI_BYTE, all, sizeof *mine, MPI_BYTE, ck_world.world);
    for (int r = 0; r < ck_world.size; r++)
        if (r != ck_world.rank && cpuset_meets(mine, &all[r]))
            return false;
    return true;
}

START_TEST(ranks_get_their_share)
{
    struct pin p;
    struct cpuset before = widen();
    ck_all(&ck_world, pin_ranks(&p, &ck_world, 1, true) == OK);
    struct cpuset after = now();
    ck_all(&ck_world, p.worst >= p.place.kind);
    if (ck_world.size <= cpuset_count(&before)) {
        ck_all(&ck_world, p.place.kind <= PLACE_SIBLINGS && cpuset_count(&after) >= 1);
        ck_all(&ck_world, cpuset_equal(&after, &p.place.cpus) && disjoint(&after));
        ck_all(&ck_world, p.bound == (ck_world.size > 1));
    } else {
        ck_all(&ck_world, p.place.kind >= PLACE_NARROW && !p.bound);
        ck_all(&ck_world, cpuset_equal(&after, &before));
    }
    widen();
}
END_TEST

START_TEST(looking_binds_nothing)
{
    struct pin p;
    struct cpuset before = widen();
    ck_all(&ck_world, pin_ranks(&p, &ck_world, 1, false) == OK);
    struct cpuset after = now();
    ck_all(&ck_world, !p.bound && cpuset_equal(&after, &before));
}
END_TEST

START_TEST(too_many_threads_are_noticed)
{
    struct pin p;
    struct cpuset before = widen();
    ck_all(&ck_world, pin_ranks(&p, &ck_world, 2 * CPUS_MAX, true) == OK);
    struct cpuset after = now();
    ck_all(&ck_world, p.worst == PLACE_CROWDED && cpuset_equal(&after, &before));
    ck_all(&ck_world, p.place.usable <= cpuset_count(&before));
}
END_TEST

/* As Open MPI leaves one or two ranks: on a core each. */
static void bind_by_default(const struct cpuset *all, const char *policy)
{
    struct cpuset one = first_of(all);
    ck_all(&ck_world, cpuset_bind(&one));
    setenv("OMPI_MCA_orte_bound_at_launch", "1", 1);
    unsetenv("OMPI_MCA_rmaps_base_mapping_policy");
    unsetenv("OMPI_MCA_hwloc_base_binding_policy");
    if (policy != NULL)
        setenv("OMPI_MCA_hwloc_base_binding_policy", policy, 1);
}

START_TEST(a_default_binding_gives_way_to_threads)
{
    struct pin p;
    struct cpuset all = widen(), parent;
    cpuset_of_process(&parent, getppid());
    if (!ck_everywhere(&ck_world, cpuset_count(&parent) >= 2 * ck_world.size)) {
        printf("SKIP: two threads a rank take %d processors\n", 2 * ck_world.size);
        return;
    }
    bind_by_default(&all, NULL);
    ck_all(&ck_world, pin_ranks(&p, &ck_world, 2, true) == OK);
    struct cpuset after = now();
    ck_all(&ck_world, p.bound && cpuset_count(&after) >= 2 && disjoint(&after));
    bind_by_default(&all, "core"); /* asked for: it stays */
    ck_all(&ck_world, pin_ranks(&p, &ck_world, 2, true) == OK);
    after = now();
    ck_all(&ck_world, p.place.kind == PLACE_NARROW && !p.bound && cpuset_count(&after) == 1);
    widen();
}
END_TEST

static void add(TCase *t)
{
    tcase_add_test(t, ranks_get_their_share);
    tcase_add_test(t, looking_binds_nothing);
    tcase_add_test(t, too_many_threads_are_noticed);
    tcase_add_test(t, a_default_binding_gives_way_to_threads);
}

int main(int argc, char **argv)
{
    return run_suite_mpi(&argc, &argv, "par/pin", add);
}
