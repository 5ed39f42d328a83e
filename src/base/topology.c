#include "base/topology.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LIST_BYTES = 4096, PATH_BYTES = 4096 };

/* The first line of the file that the format names; false when there is none. */
static bool read_line(char *line, size_t n, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
static bool read_line(char *line, size_t n, const char *fmt, ...)
{
    char path[PATH_BYTES];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(path, sizeof path, fmt, ap);
    va_end(ap);
    FILE *f = fopen(path, "re");
    bool read = f != NULL && fgets(line, (int)n, f) != NULL;
    if (f != NULL)
        fclose(f);
    return read;
}

static void read_online(struct cpuset *online, const char *root)
{
    char line[LIST_BYTES];
    if (read_line(line, sizeof line, "%s/sys/devices/system/cpu/online", root) &&
        cpuset_parse(online, line))
        return;
    *online = (struct cpuset){0};
    for (long cpu = 0; cpu < sysconf(_SC_NPROCESSORS_ONLN) && cpu < CPUS_MAX; cpu++)
        cpuset_add(online, (int)cpu);
}

/* The first processor of the core that this one belongs to. */
static int first_of_core(const char *root, int cpu)
{
    static const char *const names[] = {"core_cpus_list", "thread_siblings_list"};
    char line[LIST_BYTES];
    struct cpuset core;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (read_line(line, sizeof line, "%s/sys/devices/system/cpu/cpu%d/topology/%s", root, cpu,
                      names[i]) &&
            cpuset_parse(&core, line) && cpuset_has(&core, cpu))
            return atoi(line);
    return cpu;
}

static int socket_of(const char *root, int cpu)
{
    char line[64];
    if (!read_line(line, sizeof line,
                   "%s/sys/devices/system/cpu/cpu%d/topology/physical_package_id", root, cpu))
        return 0;
    int socket = atoi(line);
    return socket > 0 && socket < CPUS_MAX ? socket : 0;
}

/* Nodes without processors (memory alone) do not count. */
static void read_numa(struct topology *t, const char *root, const struct cpuset *online)
{
    char line[LIST_BYTES];
    struct cpuset nodes, cpus;
    if (!read_line(line, sizeof line, "%s/sys/devices/system/node/online", root) ||
        !cpuset_parse(&nodes, line))
        return;
    for (int node = 0; node < CPUS_MAX; node++) {
        if (!cpuset_has(&nodes, node) ||
            !read_line(line, sizeof line, "%s/sys/devices/system/node/node%d/cpulist", root,
                       node) ||
            !cpuset_parse(&cpus, line))
            continue;
        for (int cpu = 0; cpu < CPUS_MAX; cpu++)
            if (cpuset_has(&cpus, cpu))
                t->cpu[cpu].numa = node;
        t->n_numa += cpuset_meets(&cpus, online);
    }
}

/* Cores get their numbers node by node, so that neighbours in number are neighbours in place. */
static void number_cores(struct topology *t, const char *root, const struct cpuset *online)
{
    for (int node = 0; node < CPUS_MAX; node++)
        for (int cpu = 0; cpu < CPUS_MAX; cpu++) {
            if (!cpuset_has(online, cpu) || t->cpu[cpu].numa != node)
                continue;
            int first = first_of_core(root, cpu);
            bool known = first != cpu && t->cpu[first].core >= 0;
            t->cpu[cpu].core = known ? t->cpu[first].core : t->n_cores++;
        }
}

void topology_read(struct topology *t, const char *root)
{
    struct cpuset online, sockets = {0};
    *t = (struct topology){0};
    for (int cpu = 0; cpu < CPUS_MAX; cpu++)
        t->cpu[cpu].core = -1;
    read_online(&online, root);
    t->n_cpus = cpuset_count(&online);
    for (int cpu = 0; cpu < CPUS_MAX; cpu++)
        if (cpuset_has(&online, cpu)) {
            t->cpu[cpu].socket = socket_of(root, cpu);
            cpuset_add(&sockets, t->cpu[cpu].socket);
        }
    t->n_sockets = cpuset_count(&sockets);
    read_numa(t, root, &online);
    t->n_numa += t->n_numa == 0;
    number_cores(t, root, &online);
}

/* Version 2 writes "quota period" or "max period" into one file, version 1 two numbers into two,
 * with a negative quota for none. */
static double quota_of_group(const char *folder, bool v2)
{
    char line[64];
    double quota = 0, period = 0;
    if (v2) {
        if (!read_line(line, sizeof line, "%s/cpu.max", folder) ||
            sscanf(line, "%lf %lf", &quota, &period) != 2)
            return 0;
    } else if (read_line(line, sizeof line, "%s/cpu.cfs_quota_us", folder)) {
        quota = strtod(line, NULL);
        if (read_line(line, sizeof line, "%s/cpu.cfs_period_us", folder))
            period = strtod(line, NULL);
    }
    return quota > 0 && period > 0 ? quota / period : 0;
}

/* The least quota of a group and those it lies in. A container may see its own group as the top. */
static double quota_upward(const char *base, const char *group, bool v2)
{
    char folder[PATH_BYTES];
    double least = 0;
    for (size_t n = strlen(group);; n--) {
        bool ends = n == 0 || group[n] == '/' || group[n] == '\0';
        int len = snprintf(folder, sizeof folder, "%s%.*s", base, (int)n, group);
        if (ends && len > 0 && (size_t)len < sizeof folder) {
            double quota = quota_of_group(folder, v2);
            least = quota > 0 && (least == 0 || quota < least) ? quota : least;
        }
        if (n == 0)
            return least;
    }
}

/* True when a list "cpu,cpuacct" names the processor controller. */
static bool names_cpu(const char *controllers)
{
    for (const char *at = controllers; *at != '\0'; at += *at == ',') {
        size_t n = strcspn(at, ",");
        if (n == 3 && strncmp(at, "cpu", 3) == 0)
            return true;
        at += n;
    }
    return false;
}

double topology_quota(const char *root)
{
    char line[PATH_BYTES], base[PATH_BYTES];
    double least = 0;
    snprintf(base, sizeof base, "%s/proc/self/cgroup", root);
    FILE *f = fopen(base, "re");
    while (f != NULL && fgets(line, sizeof line, f) != NULL) {
        /* "0::/group" in version 2, "4:cpu,cpuacct:/group" in version 1 */
        line[strcspn(line, "\n")] = '\0';
        char *controllers = strchr(line, ':');
        char *group = controllers != NULL ? strchr(controllers + 1, ':') : NULL;
        if (group == NULL)
            continue;
        *group++ = '\0';
        bool v2 = controllers[1] == '\0';
        if (!v2 && !names_cpu(controllers + 1))
            continue;
        snprintf(base, sizeof base, "%s/sys/fs/cgroup%s", root, v2 ? "" : "/cpu");
        double quota = quota_upward(base, group, v2);
        least = quota > 0 && (least == 0 || quota < least) ? quota : least;
    }
    if (f != NULL)
        fclose(f);
    return least;
}
