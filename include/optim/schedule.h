/* Learning-rate schedules: the rate as a function of a clock that counts tokens, samples or steps.
 * A rule is a table row. A schedule is a warmup and one piece or several, each a rule with its
 * numbers and its own time from where it begins. Lengths are in units of the clock, rates are
 * shares of the peak. */
#ifndef CARAT_OPTIM_SCHEDULE_H
#define CARAT_OPTIM_SCHEDULE_H

#include <stdbool.h>
#include <stddef.h>

#define SCHEDULE_MAX_PIECES     16
#define SCHEDULE_MAX_MILESTONES 32

struct schedule_piece;

struct schedule_rule {
    const char *name;  /* "restarts" */
    const char *alias; /* "sgdr"; NULL: none */
    const char
        *keys; /* "cycle cycle_mult final": what it reads of schedule.*, but for the warmup */
    /* The rate at time u of its own, in a step that takes b. NULL: made of pieces. */
    double (*share)(const struct schedule_piece *p, double u, double b);
    /* Momentum, or beta1, likewise. NULL: the optimizer's own. */
    double (*momentum)(const struct schedule_piece *p, double u, double b);
    bool rises;    /* begins low by itself: without a warmup */
    bool jumps;    /* at its end its rate is the one just before */
    bool observes; /* validation losses decide its rate */
    struct {
        double final, base, rise, power;
    } own; /* where the job does not set them */
    const char *note;
};

struct schedule_piece {
    const struct schedule_rule *rule;
    double start, length; /* of its own time; the first begins after the warmup */
    double top, final;    /* where it begins (where its cycles are highest), where it ends */
    double gamma, every;
    double power, timescale;
    double cycle, cycle_mult, rise, base;
    double momentum_low, momentum_high;
    int phases;
    double decay;
    double (*decay_shape)(double x); /* from 1 to 0 over x in [0,1] */
    double milestone[SCHEDULE_MAX_MILESTONES];
    int n_milestones;
    bool follows_plateau; /* its rate is multiplied by what plateaus have left of it */
};

enum warmup_shape {
    WARMUP_LINEAR,
    WARMUP_CONSTANT,
    WARMUP_GRADUAL,
    WARMUP_EXPONENTIAL,
    WARMUP_NONE
};

struct schedule_warmup {
    enum warmup_shape shape;
    double length; /* W */
    double start;  /* constant: its share of the rate; gradual: the first */
    double tau;    /* exponential: time constant */
};

/* What reduce_on_plateau carries from one validation to the next. */
enum plateau_number { PLATEAU_BEST, PLATEAU_BAD, PLATEAU_LEFT, PLATEAU_N };

struct schedule {
    double peak;  /* rate after the warmup */
    double total; /* length of the run */
    struct schedule_warmup warmup;
    struct schedule_piece piece[SCHEDULE_MAX_PIECES];
    int n;
    double factor, threshold; /* of reduce_on_plateau */
    double patience;
    double plateau[PLATEAU_N]; /* best loss, validations without a better one, share left */
};

struct schedule_point {
    double rate;
    double momentum; /* or beta1; NAN: the optimizer's own */
};

int schedule_find(const struct schedule_rule **rule, const char *name); /* E_CONFIG, suggestion */
/* Whether a name, be it a second one, is that of the rule that the table calls `rule`. */
bool schedule_is(const char *name, const char *rule);
const struct schedule_rule *schedule_row(int i);
/* Whether the rule reads schedule.<key>. */
bool schedule_reads(const struct schedule_rule *rule, const char *key);

/* The shape of a name; linear when there is no such. */
enum warmup_shape warmup_find(const char *name);
const char *warmup_name(enum warmup_shape shape);
/* 1 - sqrt(x), 1 - x, 1 - x², half a cosine by "sqrt", "linear", "square", "cosine"; NULL: there is
 * no such. */
double (*schedule_decay_shape(const char *name))(double x);

/* The rate of a step that begins at c and takes b: the warmup's share, linear min(1, (c+b)/W) and
 * never 0, of the rule's. */
struct schedule_point schedule_at(const struct schedule *s, double c, double b);
/* The rate that a piece ends with. */
double schedule_piece_end(const struct schedule_piece *p);

/* Forgets what plateaus have done. */
void schedule_reset(struct schedule *s);
/* Tells a validation loss at c; true when it lowered the rate, which it does only in a piece of
 * reduce_on_plateau: when more than `patience` losses in a row were not below best·(1 - threshold).
 * Source: torch.optim.lr_scheduler.ReduceLROnPlateau (mode min, relative threshold, no cooldown).
 */
bool schedule_observe(struct schedule *s, double c, double loss);
/* Whether a piece waits for validation losses. */
bool schedule_has_plateau(const struct schedule *s);

#endif
