/* Sets of processors, by the numbers that the kernel gives them. */
#ifndef CARAT_BASE_CPUSET_H
#define CARAT_BASE_CPUSET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum { CPUS_MAX = 1024 };

struct cpuset {
    uint64_t bits[CPUS_MAX / 64];
};

void cpuset_add(struct cpuset *s, int cpu);
bool cpuset_has(const struct cpuset *s, int cpu);
int cpuset_count(const struct cpuset *s);
bool cpuset_equal(const struct cpuset *a, const struct cpuset *b);
/* True when a processor is in both. */
bool cpuset_meets(const struct cpuset *a, const struct cpuset *b);
/* s takes in what is in more. */
void cpuset_unite(struct cpuset *s, const struct cpuset *more);

/* From the kernel's form, "0-3,8" with or without a line end; false when it is none, or names a
 * processor from CPUS_MAX on. */
bool cpuset_parse(struct cpuset *s, const char *list);
/* The same form into buf of n bytes (cut short when it is too long); returns buf. */
char *cpuset_text(char *buf, size_t n, const struct cpuset *s);

/* Where a process may run (0: the calling thread); empty when the kernel does not tell. */
void cpuset_of_process(struct cpuset *s, pid_t pid);
/* Keeps the calling thread, and the threads that it starts from now on, to s; false when the kernel
 * refuses. */
bool cpuset_bind(const struct cpuset *s);

#endif
