/* What the files that derive a schedule share. */
#ifndef CARAT_TRAIN_SCHEDULE_PARTS_H
#define CARAT_TRAIN_SCHEDULE_PARTS_H

#include "base/str.h"
#include "conf/config.h"
#include "optim/schedule.h"
#include "train/derive.h"

#include <stdint.h>

/* A schedule that is being made of a job. */
struct making {
    struct schedule *s;
    const struct config *job;
    const struct course *course;
    const struct scaling *scaling;
    double begin;     /* where the next piece begins */
    struct str lines; /* what is said of the pieces */
};

/* A piece that a job asks for. */
struct wanted {
    const struct schedule_rule *rule;
    struct config conf; /* the job's, with the piece's own settings */
    double length;      /* in units of the clock; of the first with the warmup */
    double from;        /* share of the peak; below 0: where the piece before ended */
};

/* An amount in units of the clock; percent is of `whole`. E_DATA for epochs without data. */
int schedule_units(double *out, const struct making *m, struct amount a, double whole,
                   const char *key);
/* The first step, counted from 0, that begins at `at` or later. */
int64_t schedule_step(const struct making *m, double at);
/* Appends a piece. E_CONFIG, naming the key. */
int schedule_add(struct making *m, struct wanted *w);
/* Appends those of schedule.pieces. */
int schedule_add_pieces(struct making *m);

/* The line of a piece, added to m->lines. */
void schedule_say_piece(struct making *m, const struct schedule_piece *p, const struct wanted *w);
/* The lines of the schedule; of one piece, w is what was asked for. */
void schedule_say(const struct making *m, const struct wanted *w, struct str *text);
/* Warns of a rate of zero, and of settings that the rule does not read. */
int schedule_warn(const struct making *m, const struct schedule_rule *rule);

#endif
