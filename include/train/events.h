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
    /* That order (perm.h): its seed and how many samples the training split has; 0: not known. */
    uint64_t order_seed, order_n;
    char text[512]; /* a sentence */
};

/* A line has the ids of its samples where they are no more than this; inspect lists any number. */
enum { EVENT_IDS_MAX = 4096 };

/* Of a known order, the id of the event's sample i: of T tokens, id k is tokens k·T … k·T+T. */
uint64_t event_sample_id(const struct event *e, uint64_t i);
/* How many ids a line has: 0 where the order is not known or there are too many. */
size_t event_n_ids(const struct event *e);

/* Root. Cuts off what a killed process left unfinished at the end. Local. E_IO, E_MEM. */
int events_append(const char *run_dir, const struct event *e);
/* All of a run in the order of their writing, also on branches that were left; *list is mem_free'd.
 * Lines that have not all their fields or a wrong sum are left out and counted in *n_bad (may be
 * NULL); a last line that was not finished is left out alone. Works on a running or killed job; a
 * run without events has none. Local. E_IO. */
int events_read(const char *run_dir, struct event **list, size_t *n, size_t *n_bad);
/* The same of the file itself. */
int events_read_file(const char *path, struct event **list, size_t *n, size_t *n_bad);

#endif
