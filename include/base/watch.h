/* Where this process stands in its work, for whoever watches that it gets on (train/watchdog.h).
 *
 * The main thread marks each phase as it enters it, and within long phases that it still moves; a
 * mark is a few stores. Marks may lie in memory that other processes see. Each phase is a fault
 * point as well: CARAT_FAULT=phase.compute:1:7:hang. */
#ifndef CARAT_BASE_WATCH_H
#define CARAT_BASE_WATCH_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum phase {
    PHASE_OFF, /* nobody is to watch */
    PHASE_JOB,
    PHASE_START,
    PHASE_LOAD,
    PHASE_DATA,
    PHASE_COMPUTE,
    PHASE_REDUCE,
    PHASE_AGREE,
    PHASE_OPTIM,
    PHASE_GATHER,
    PHASE_METRICS,
    PHASE_VALIDATE,
    PHASE_SAMPLE,
    PHASE_SAVE,
    PHASE_CLOSE,
    N_PHASES
};

struct phase_kind {
    const char *point; /* the fault point, "phase." and the name */
    const char *help;  /* what is done in it */
    bool waits;        /* it may wait for other ranks */
};
extern const struct phase_kind PHASES[N_PHASES];
/* "compute". */
const char *phase_name(enum phase p);

/* One process's, read by any thread and, where it is shared, by other processes. */
struct watch_mark {
    _Atomic int64_t at_ns; /* clock of the last mark */
    _Atomic int64_t step;  /* the step at hand, counted from 1; 0: none yet */
    _Atomic int phase;
    _Atomic int spoken; /* for the watchdogs: one of them speaks for all */
};

/* The main thread enters p; returns the phase that it leaves, to be entered again where p was only
 * an interlude. */
enum phase watch_phase(enum phase p);
/* It still moves: for every piece of a long phase. In other threads it does nothing, so that what
 * both use may call it. */
void watch_beat(void);
/* The step at hand. */
void watch_step(int64_t step);

/* Marks are made in *m from here on (NULL: in memory of this process). */
void watch_share(struct watch_mark *m);
/* Where they are made. */
struct watch_mark *watch_here(void);

/* Seconds without a mark in phase p that are too many: least_s, or 10 times the median of what the
 * phase's last visits took from mark to mark, or of what a forward and backward pass takes, for
 * ranks may wait that long for each other. Any thread. */
double watch_limit(enum phase p, double least_s);
/* The same of given seconds; n may be 0. They are sorted. */
double watch_limit_of(double least_s, double *last_s, int n);
/* Forgets what phases took. */
void watch_forget(void);

/* What a watcher knows of a mark between two looks: its last clock and for how long it stood. */
struct watch_seen {
    int64_t at_ns;
    double still_s;
};
/* A look at a mark of the given clock, dt_s after the last; a look that comes late counts no more
 * than most_s, for the watcher may have been stopped with all others. */
void watch_look(struct watch_seen *w, int64_t at_ns, double dt_s, double most_s);

#endif
