/* What a search varies: an axis for each configuration key, numbers between two ends or one of
 * several values, perhaps only where another axis has a certain value. Pure functions.
 *
 *     optimizer.lr log 1e-4 1e-1
 *     optimizer.beta2 uniform 0.9 0.999
 *     batch.global int 8 256 log
 *     schedule.name choice cosine linear wsd
 *     schedule.final uniform 0 0.2 if schedule.name=cosine|linear
 *
 * A row an axis, rows apart by line ends or semicolons; values with blanks stand in double quotes;
 * numbers may carry a unit, the same at both ends ("uniform 1% 10%"). */
#ifndef CARAT_STUDY_SPACE_H
#define CARAT_STUDY_SPACE_H

#include "conf/config_table.h"
#include "study/study.h"

#include <stdbool.h>

enum { SPACE_MAX_AXES = 64, SPACE_MAX_CHOICES = 32 };

struct axis {
    const struct conf_key *key;
    bool choice, whole, log;
    double low, high;                     /* of numbers, both within */
    const char *unit;                     /* written behind a number: "%"; "" */
    const char *value[SPACE_MAX_CHOICES]; /* of a choice */
    int n_values;
    int parent;         /* it applies only where this axis ... */
    const char *wanted; /* ... has one of these values, "cosine|linear"; parent -1: everywhere */
};

/* Parents come before the axes that depend on them. */
struct space {
    struct axis axis[SPACE_MAX_AXES];
    int n;
    char *text; /* what the axes' texts point into */
};

/* A point has a number for each axis: the value, the place of a choice's value from 0, or NaN where
 * the axis does not apply. */

/* E_CONFIG, naming the row and what to change, for what no trial could use: unknown keys, values
 * that the key does not take, ends in the wrong order, conditions that cannot hold. */
int space_parse(struct space *s, const char *text);
void space_release(struct space *s);

/* Whether axis i applies, given the values of those before it. */
bool space_applies(const struct space *s, int i, const double *point);
/* The point whose coordinates, as far as they apply, are u[n] in [0, 1]. */
void space_at(const struct space *s, const double *u, double *point);
/* The value at u in [0, 1] of the axis, which every value shares evenly (of log axes: its
 * logarithm); and where in [0, 1] a value lies: a whole number or choice in the middle of its
 * share. */
double axis_at(const struct axis *a, double u);
double axis_place(const struct axis *a, double value);
/* Where samplers work: the logarithm on log axes, else the value; its ends, for whole numbers half
 * a unit further out. */
double axis_scale(const struct axis *a, double value);
void axis_ends(const struct axis *a, double *low, double *high);
/* The value nearest to what axis_scale gave; numbers that are not whole have 8 digits at most. */
double axis_unscale(const struct axis *a, double scaled);

/* The value as the key takes it, in the shortest form that reads back; returns buf. */
char *axis_text(const struct axis *a, double value, char *buf, size_t n);
/* The point that a plan's settings stand for; false when one of them is no value of its axis. */
bool space_read(const struct space *s, const struct trial_plan *plan, double *point);
/* Adds the point's settings to the plan. E_MEM. */
int space_write(const struct space *s, const double *point, struct trial_plan *plan);
/* Adds one setting. E_MEM. */
int plan_set(struct trial_plan *plan, const char *key, const char *value);
/* The axis of a key, -1: none. */
int space_find(const struct space *s, const char *key);

#endif
