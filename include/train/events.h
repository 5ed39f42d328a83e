/* What a run's monitoring saw and did: metrics/events.jsonl, one line of JSON an event with a
 * CRC-32C, appended and synced before the run goes on. metrics.h5 has them as /events. */
#ifndef CARAT_TRAIN_EVENTS_H
#define CARAT_TRAIN_EVENTS_H

#include <stddef.h>
#include <stdint.h>

struct event {
    int64_t step, attempt; /* where it was seen: the step in which, counted from 1 */
    char kind[32];         /* the detector: "spike" */
    char action[16];       /* "warn", "skip", "stop", "back" */
    double value;          /* what it judged by */
    /* Places in the training order: the step's batch, or what going back leaves out. */
    uint64_t sample_first, sample_n;
    char text[512]; /* a sentence */
};

/* Root. Local. E_IO. */
int events_append(const char *run_dir, const struct event *e);
/* All of a run in the order of their writing, also on branches that were left; *list is mem_free'd.
 * Lines that are torn or have a wrong sum are left out and counted in *n_bad (may be NULL). Works
 * on a running or killed job; a run without events has none. Local. E_IO. */
int events_read(const char *run_dir, struct event **list, size_t *n, size_t *n_bad);

#endif
