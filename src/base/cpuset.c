#include "base/cpuset.h"

#include <ctype.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WORDS = CPUS_MAX / 64 };

void cpuset_add(struct cpuset *s, int cpu)
{
    s->bits[cpu / 64] |= 1ull << (cpu % 64);
}

bool cpuset_has(const struct cpuset *s, int cpu)
{
    return s->bits[cpu / 64] >> (cpu % 64) & 1;
}

int cpuset_count(const struct cpuset *s)
{
    int n = 0;
    for (int w = 0; w < WORDS; w++)
        n += __builtin_popcountll(s->bits[w]);
    return n;
}

bool cpuset_equal(const struct cpuset *a, const struct cpuset *b)
{
    return memcmp(a, b, sizeof *a) == 0;
}

bool cpuset_meets(const struct cpuset *a, const struct cpuset *b)
{
    for (int w = 0; w < WORDS; w++)
        if ((a->bits[w] & b->bits[w]) != 0)
            return true;
    return false;
}

void cpuset_unite(struct cpuset *s, const struct cpuset *more)
{
    for (int w = 0; w < WORDS; w++)
        s->bits[w] |= more->bits[w];
}

/* A number below CPUS_MAX; moves *at behind it. -1 when there is none. */
static int take_number(const char **at)
{
    char *end;
    if (!isdigit((unsigned char)**at))
        return -1;
    unsigned long v = strtoul(*at, &end, 10);
    *at = end;
    return v < CPUS_MAX ? (int)v : -1;
}

bool cpuset_parse(struct cpuset *s, const char *list)
{
    *s = (struct cpuset){0};
    for (;;) {
        int first = take_number(&list), last = first;
        if (*list == '-') {
            list++;
            last = take_number(&list);
        }
        if (first < 0 || last < first)
            return false;
        for (int cpu = first; cpu <= last; cpu++)
            cpuset_add(s, cpu);
        if (*list != ',')
            return *list == '\0' || *list == '\n';
        list++;
    }
}

char *cpuset_text(char *buf, size_t n, const struct cpuset *s)
{
    size_t len = 0;
    buf[0] = '\0';
    for (int cpu = 0; cpu < CPUS_MAX; cpu++) {
        int last = cpu;
        if (!cpuset_has(s, cpu))
            continue;
        while (last + 1 < CPUS_MAX && cpuset_has(s, last + 1))
            last++;
        if (len < n)
            len += (size_t)snprintf(buf + len, n - len, last > cpu ? "%s%d-%d" : "%s%d",
                                    len > 0 ? "," : "", cpu, last);
        cpu = last;
    }
    return buf;
}

void cpuset_of_process(struct cpuset *s, pid_t pid)
{
    cpu_set_t set;
    *s = (struct cpuset){0};
    if (sched_getaffinity(pid, sizeof set, &set) != 0)
        return;
    for (int cpu = 0; cpu < CPUS_MAX; cpu++)
        if (CPU_ISSET(cpu, &set))
            cpuset_add(s, cpu);
}

bool cpuset_bind(const struct cpuset *s)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    for (int cpu = 0; cpu < CPUS_MAX; cpu++)
        if (cpuset_has(s, cpu))
            CPU_SET(cpu, &set);
    return sched_setaffinity(0, sizeof set, &set) == 0;
}
