/* Who holds a lock or a claim, as one line of text: "<host> <pid> <Slurm job or -> <restarts>
 * <start of the process> <boot of the host> <space of process numbers> <Slurm cluster or ->". All
 * local. */
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
    char boot[40];            /* differs between hosts of one name; "-": not known */
    unsigned long long pids;  /* the pid namespace: a container counts anew; 0: not known */
    char cluster[40];         /* clusters may share a file system and count jobs alike */
    bool says_all;            /* a line with all of these, by who keeps a heartbeat as well */
};

/* This process. */
void holder_this(struct holder *h);
/* The line with its end; returns its length. */
int holder_text(const struct holder *h, char *buf, size_t n);
/* False when the text is no such line. Lines that end before the start or the boot are read too. */
bool holder_parse(const char *text, struct holder *h);
bool holder_same(const struct holder *a, const struct holder *b);
/* An earlier start of the same Slurm job. */
bool holder_was_requeued(const struct holder *old, const struct holder *me);
/* A process of this host that is gone, whoever has its number now. */
bool holder_has_ended(const struct holder *old, const struct holder *me);
/* It cannot be alive: one of the two. */
bool holder_is_gone(const struct holder *old, const struct holder *me);

#endif
