/* The topology and the quota, read from trees of files as the kernel writes them. */
#include "base/err.h"
#include "base/fs.h"
#include "base/topology.h"
#include "check_main.h"

#include <stdarg.h>
#include <string.h>
#include <unistd.h>

static char root[64];

static void begin_tree(void)
{
    snprintf(root, sizeof root, "/tmp/carat-topology-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(root));
}

static void end_tree(void)
{
    char command[96];
    snprintf(command, sizeof command, "rm -rf '%s'", root);
    ck_assert_int_eq(system(command), 0);
}

/* Makes root/<path of the format> with this content. */
static void put(const char *content, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void put(const char *content, const char *fmt, ...)
{
    char path[512], folder[512];
    size_t n = (size_t)snprintf(path, sizeof path, "%s/", root);
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(path + n, sizeof path - n, fmt, ap);
    va_end(ap);
    snprintf(folder, sizeof folder, "%.*s", (int)(strrchr(path, '/') - path), path);
    ck_assert_int_eq(fs_mkdirs(folder), OK);
    FILE *f = fopen(path, "w");
    ck_assert_ptr_nonnull(f);
    fputs(content, f);
    fclose(f);
}

#define CPU  "sys/devices/system/cpu/"
#define NODE "sys/devices/system/node/"

/* Two sockets of 4 cores with two threads each; siblings are 8 apart, as on most machines. A
 * socket is a NUMA node; a third node has memory alone. */
static void put_two_sockets(const char *siblings_file)
{
    char text[32];
    put("0-15\n", CPU "online");
    for (int cpu = 0; cpu < 16; cpu++) {
        snprintf(text, sizeof text, "%d,%d\n", cpu % 8, cpu % 8 + 8);
        put(text, CPU "cpu%d/topology/%s", cpu, siblings_file);
        snprintf(text, sizeof text, "%d\n", cpu % 8 / 4);
        put(text, CPU "cpu%d/topology/physical_package_id", cpu);
    }
    put("0-2\n", NODE "online");
    put("0-3,8-11\n", NODE "node0/cpulist");
    put("4-7,12-15\n", NODE "node1/cpulist");
    put("\n", NODE "node2/cpulist");
}

START_TEST(two_sockets_with_siblings)
{
    static const char *const names[] = {"core_cpus_list", "thread_siblings_list"};
    static struct topology t;
    for (int i = 0; i < 2; i++) {
        begin_tree();
        put_two_sockets(names[i]);
        topology_read(&t, root);
        ck_assert_int_eq(t.n_cpus, 16);
        ck_assert_int_eq(t.n_cores, 8);
        ck_assert_int_eq(t.n_sockets, 2);
        ck_assert_int_eq(t.n_numa, 2);
        for (int cpu = 0; cpu < 16; cpu++) {
            ck_assert_int_eq(t.cpu[cpu].core, cpu % 8);
            ck_assert_int_eq(t.cpu[cpu].socket, cpu % 8 / 4);
            ck_assert_int_eq(t.cpu[cpu].numa, cpu % 8 / 4);
        }
        ck_assert_int_eq(t.cpu[16].core, -1);
        end_tree();
    }
}
END_TEST

START_TEST(numbers_that_alternate_between_nodes_are_put_in_order)
{
    static struct topology t;
    begin_tree();
    put("0-2,4-7\n", CPU "online"); /* processor 3 is switched off */
    put("0-1\n", NODE "online");
    put("0,2,4,6\n", NODE "node0/cpulist");
    put("1,3,5,7\n", NODE "node1/cpulist");
    topology_read(&t, root);
    static const int core[] = {0, 4, 1, -1, 2, 5, 3, 6};
    ck_assert_int_eq(t.n_cores, 7);
    for (int cpu = 0; cpu < 8; cpu++)
        ck_assert_int_eq(t.cpu[cpu].core, core[cpu]);
    end_tree();
}
END_TEST

START_TEST(without_files_every_processor_is_a_core)
{
    static struct topology t;
    begin_tree();
    topology_read(&t, root);
    ck_assert_int_eq(t.n_cpus, (int)sysconf(_SC_NPROCESSORS_ONLN));
    ck_assert_int_eq(t.n_cores, t.n_cpus);
    ck_assert_int_eq(t.n_sockets, 1);
    ck_assert_int_eq(t.n_numa, 1);
    ck_assert(topology_quota(root) == 0);
    end_tree();
}
END_TEST

static double quota(void)
{
    double q = topology_quota(root);
    end_tree();
    return q;
}

START_TEST(quota_of_version_2)
{
    begin_tree();
    put("0::/a/b\n", "proc/self/cgroup");
    put("max 100000\n", "sys/fs/cgroup/a/b/cpu.max");
    ck_assert(quota() == 0);
    begin_tree();
    put("0::/a/b\n", "proc/self/cgroup");
    put("400000 100000\n", "sys/fs/cgroup/a/b/cpu.max");
    put("150000 100000\n", "sys/fs/cgroup/a/cpu.max"); /* the group around it grants less */
    ck_assert_double_eq_tol(quota(), 1.5, 1e-9);
    begin_tree(); /* a container that sees its own group as the top */
    put("0::/\n", "proc/self/cgroup");
    put("200000 100000\n", "sys/fs/cgroup/cpu.max");
    ck_assert_double_eq_tol(quota(), 2, 1e-9);
}
END_TEST

START_TEST(quota_of_version_1)
{
    begin_tree();
    put("7:cpuset:/x\n4:cpu,cpuacct:/job\n", "proc/self/cgroup");
    put("250000\n", "sys/fs/cgroup/cpu/job/cpu.cfs_quota_us");
    put("100000\n", "sys/fs/cgroup/cpu/job/cpu.cfs_period_us");
    put("-1\n", "sys/fs/cgroup/cpu/cpu.cfs_quota_us");
    put("100000\n", "sys/fs/cgroup/cpu/cpu.cfs_period_us");
    ck_assert_double_eq_tol(quota(), 2.5, 1e-9);
    begin_tree();
    put("4:cpuacct:/job\n", "proc/self/cgroup"); /* not the controller that limits */
    put("250000\n", "sys/fs/cgroup/cpu/job/cpu.cfs_quota_us");
    put("100000\n", "sys/fs/cgroup/cpu/job/cpu.cfs_period_us");
    ck_assert(quota() == 0);
}
END_TEST

static void add(TCase *t)
{
    tcase_add_test(t, two_sockets_with_siblings);
    tcase_add_test(t, numbers_that_alternate_between_nodes_are_put_in_order);
    tcase_add_test(t, without_files_every_processor_is_a_core);
    tcase_add_test(t, quota_of_version_2);
    tcase_add_test(t, quota_of_version_1);
}

int main(void)
{
    return run_suite("base/topology", add);
}
