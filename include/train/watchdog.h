/* Ends this process when its main thread gets no further: a rank that is stopped, gone or in an
 * endless loop must not keep the others for ever.
 *
 * A thread looks at the marks of base/watch.h, at this rank's and at those of the ranks that share
 * memory with it. A rank that has made none for too long says so in one line, with its phase and
 * the ranks that are behind, and where its main thread is; writes FAILED; and exits with 69, which
 * ends the whole job. The first one speaks for all. */
#ifndef CARAT_TRAIN_WATCHDOG_H
#define CARAT_TRAIN_WATCHDOG_H

#include "par/comm.h"

/* Where nobody has said another limit. */
enum { WATCHDOG_FIRST_S = 120 };

/* Watches this process from here on, or by this limit from here on: base_s seconds without a mark,
 * or 10 times what a phase usually takes (0: not at all). key (a literal, or NULL) is what sets
 * that limit. Without room for shared memory or a thread it does without. No FAILED is written yet.
 * Collective. */
void watchdog_begin(const struct comm *c, double base_s, const char *key);
/* Has FAILED written in the run's folder from here on, which the job must hold: in another's it
 * would speak of the other's run. Local. */
void watchdog_keep_record(const char *run_dir);
/* Lets go of the memory that it shares; phases that follow are watched by this rank alone. Before
 * c ends. Collective. */
void watchdog_end(void);

/* The line that a rank says, without an end: shown for tests. */
struct watchdog_report {
    int rank;
    const char *host;
    int phase;
    long step;
    double still_s, limit_s;
    const char *key;    /* NULL: nothing sets the limit */
    const char *behind; /* "rank 1 (compute of step 3)"; "": none that this rank sees */
    bool sees_all;      /* it sees all ranks */
};
/* At most n bytes. */
void watchdog_text(const struct watchdog_report *r, char *text, size_t n);

#endif
