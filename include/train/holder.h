/* Who holds a lock or a claim, as one line of text: "<host> <pid> <Slurm job or -> <restarts>
 * <start of the process>". All local. */
#ifndef CARAT_TRAIN_HOLDER_H
#define CARAT_TRAIN_HOLDER_H

#include <stdbool.h>
#include <stddef.h>

struct holder {
    char host[64];
    long pid;
    char job[32];
    long restart;
    unsigned long long start; /* of the process, in ticks since the host's start; 0: not known */
};

/* This process. */
void holder_this(struct holder *h);
/* The line with its end; returns its length. */
int holder_text(const struct holder *h, char *buf, size_t n);
/* False when the text is no such line. Lines without a start are read too. */
bool holder_parse(const char *text, struct holder *h);
bool holder_same(const struct holder *a, const struct holder *b);
/* It cannot be alive: an earlier start of the same Slurm job, or a process of this host that is
 * gone, whoever has its number now. */
bool holder_is_gone(const struct holder *old, const struct holder *me);

#endif
