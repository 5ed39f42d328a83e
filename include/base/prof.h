/* Where the time of a step goes: seconds, floating-point operations and bytes by phase.
 *
 * The profile is one running stopwatch: prof_lap charges the time since the last lap to a phase, so
 * that every second between prof_start and the last lap is in exactly one phase. Operations and
 * bytes are what the phase cannot do without (each array read or written once), so that they give
 * the floor that its time is held against. */
#ifndef CARAT_BASE_PROF_H
#define CARAT_BASE_PROF_H

#include "base/clock.h"

enum prof_phase {
    PROF_LOAD,
    PROF_EMBED,
    PROF_NORM,
    PROF_QKV,
    PROF_HEADS,
    PROF_ATTENTION,
    PROF_O,
    PROF_GATE_UP,
    PROF_GEGLU,
    PROF_DOWN,
    PROF_HEAD,
    PROF_LOSS,
    PROF_HEAD_BWD,
    PROF_DOWN_BWD,
    PROF_GEGLU_BWD,
    PROF_GATE_UP_BWD,
    PROF_O_BWD,
    PROF_ATTENTION_BWD,
    PROF_HEADS_BWD,
    PROF_QKV_BWD,
    PROF_NORM_BWD,
    PROF_EMBED_BWD,
    PROF_RECOMPUTE,
    PROF_REDUCE_HIDDEN,
    PROF_REDUCE,
    PROF_AGREE,
    PROF_OPTIM,
    PROF_GATHER,
    PROF_PACK,
    PROF_MONITOR,
    PROF_METRICS,
    PROF_REST,
    PROF_N
};

/* Which part of the step a phase belongs to. */
enum prof_part { PART_FORWARD, PART_BACKWARD, PART_REDUCE, PART_UPDATE, PART_IO, PART_N };

struct prof_name {
    enum prof_part part;
    const char *name; /* "gate, up" */
    const char *what; /* one line of help */
};
extern const struct prof_name PROF_NAMES[PROF_N];
extern const char *const PROF_PARTS[PART_N];

struct prof {
    double mark; /* of the last lap */
    struct prof_row {
        double s, flops, bytes;
        long n; /* laps */
    } row[PROF_N];
};

/* Clears nothing: starts the stopwatch. NULL is allowed in both, and measures nothing. */
static inline void prof_start(struct prof *p)
{
    if (p)
        p->mark = clock_now_s();
}

static inline void prof_lap(struct prof *p, enum prof_phase phase, double flops, double bytes)
{
    if (!p)
        return;
    double now = clock_now_s();
    struct prof_row *r = &p->row[phase];
    r->s += now - p->mark;
    r->flops += flops;
    r->bytes += bytes;
    r->n++;
    p->mark = now;
}

#endif
