/* Detectors of trouble: what a run's losses and gradient norms say. Arithmetic on values that are
 * the same on all ranks; what is done about it is the monitor's.
 *
 * Each detector is on from when its condition is met until it clears, so that it speaks once. */
#ifndef CARAT_TRAIN_DETECT_H
#define CARAT_TRAIN_DETECT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum detector {
    DETECT_NONFINITE,
    DETECT_SPIKE,
    DETECT_DIVERGED,
    DETECT_OSCILLATION,
    DETECT_PLATEAU,
    DETECT_OVERFIT,
    DETECT_CLIP,
    N_DETECTORS
};

enum { DETECT_WINDOW_MAX = 1024, DETECT_BINS = 64, DETECT_TEXT = 256 };

/* Where each begins; keys monitor.*. */
struct detect_limits {
    double spike_sigma, margin, oscillation, clip_rate;
    int64_t window, diverged_steps, overfit_times;
};

/* Sums of the steps in an interval of tokens: x tokens, y loss. */
struct detect_bin {
    double n, x, y, xx, xy, yy;
};
enum { DETECT_BIN_N = sizeof(struct detect_bin) / sizeof(double) };

/* What is carried from step to step; doubles alone, so that parts are rows of the run's state. */
struct detect {
    struct detect_scalars {
        double on[N_DETECTORS];
        double seen;                       /* finite steps so far */
        double loss_sum, clip_sum, weight; /* of exponential averages */
        double start, best;                /* the first loss; the lowest smoothed one */
        double above, above_since;         /* steps in a row that it was too high; the first */
        double valid, valid_smooth, rises; /* the last validation, and rises in a row */
        double bin_width;                  /* tokens; 0 before the first step */
        double next_look;                  /* tokens at which a plateau is looked for again */
    } s;
    double loss[DETECT_WINDOW_MAX], grad[DETECT_WINDOW_MAX]; /* rings of the last `window` */
    struct detect_bin bin[DETECT_BINS];
};

/* A step's values. */
struct detect_step {
    int64_t step; /* its number, from 1 */
    double loss, grad_norm;
    double tokens; /* consumed with it */
    bool clipped;
};

/* What a detector saw; zeroed before each call. */
struct sight {
    bool is_new;            /* the condition is met and was not */
    double value;           /* what it judged by */
    int64_t since;          /* the step in which it began */
    char text[DETECT_TEXT]; /* "the loss of 7.2 is ..." */
};

/* Whether either of the next two will find the step, which changes nothing yet. */
bool detect_suspects(const struct detect *d, const struct detect_limits *l,
                     const struct detect_step *v);
/* Before a step's update: is the loss or the gradient not finite, or far above those before it? On
 * return the values are in the windows. Returns whether the condition is met, new or not. */
bool detect_nonfinite(struct detect *d, const struct detect_step *v, struct sight *out);
bool detect_spike(struct detect *d, const struct detect_limits *l, const struct detect_step *v,
                  struct sight *out);
/* After a finite step. detect_average comes first. */
void detect_average(struct detect *d, const struct detect_step *v);
bool detect_diverged(struct detect *d, const struct detect_limits *l, const struct detect_step *v,
                     struct sight *out);
bool detect_oscillation(struct detect *d, const struct detect_limits *l,
                        const struct detect_step *v, struct sight *out);
bool detect_plateau(struct detect *d, const struct detect_limits *l, const struct detect_step *v,
                    struct sight *out);
bool detect_clip(struct detect *d, const struct detect_limits *l, const struct detect_step *v,
                 struct sight *out);
/* After a validation. */
bool detect_overfit(struct detect *d, const struct detect_limits *l, int64_t step,
                    double valid_loss, struct sight *out);

/* The averages, debiased; NaN before the first step. */
double detect_smooth_loss(const struct detect *d);
double detect_clip_rate(const struct detect *d);

/* Correlation of each of v[n] with the one before it, about their straight line. */
double detect_autocorrelation(const double *v, int n);
/* Slope of y over x in the sums, and half of its 95 % confidence interval. */
void detect_slope(const struct detect_bin *sums, double *slope, double *half);

#endif
