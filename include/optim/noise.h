/* The gradient noise scale: how many sequences a batch may have before its gradient's noise is no
 * longer what limits a step. Measured from the contributions (micro-batches) of each step.
 *
 * Contribution i is a sum S_i over t_i counted targets. With T = Σ t_i targets and N contributions
 * in a batch of B sequences, p = Σ ‖S_i‖²/t_i / T and q = ‖Σ S_i‖²/T² give
 * tr Σ = (p - q)·B/(N - 1), the variance of one sequence's gradient, and
 * |G|² = (N·q - p)/(N - 1), the squared norm of the true gradient: unbiased whatever the t_i, for a
 * contribution counts as B·t_i/T sequences. B_simple = tr Σ/|G|², from averages of the two.
 * Source: McCandlish et al. 2018, section 2.2 and appendix A.1. */
#ifndef CARAT_OPTIM_NOISE_H
#define CARAT_OPTIM_NOISE_H

#include <stdbool.h>
#include <stdint.h>

/* One step's sums over all ranks. */
struct noise_sums {
    double each_sq;  /* Σ ‖S_i‖²/t_i */
    double total_sq; /* ‖Σ S_i‖² */
    double targets;  /* Σ t_i */
    int64_t n;       /* contributions with targets */
    double batch;    /* B, sequences */
};

/* What is carried from step to step: doubles alone, so that they are a row of the run's state. */
struct noise {
    double weight, weight_sq;           /* Σ of the averages' weights, and of their squares */
    double trace, signal;               /* weighted sums of tr Σ and |G|² */
    double trace_sq, signal_sq, both;   /* and of their squares and product */
    double steps_least, examples_least; /* S_min and E_min of the run so far */
    double last_trace, last_signal;     /* of the last step that was measured */
};
enum { NOISE_N = sizeof(struct noise) / sizeof(double) };

/* tr Σ and |G|² of one step; false when there are not two contributions or a value is not finite.
 */
bool noise_of_step(double *trace, double *signal, const struct noise_sums *s);
/* Takes a step into the averages; decay as in an exponential average. What cannot be measured
 * changes nothing. A trainer takes no step whose loss or gradient is a spike (monitor.spike_sigma),
 * whatever monitor.spike does about it: its square would fill the averages for long. */
void noise_take(struct noise *n, const struct noise_sums *s, double decay);

/* The debiased averages; 0 before the first step that was measured. */
double noise_trace(const struct noise *n);
double noise_signal(const struct noise *n);
/* B_simple in sequences, the ratio of the debiased averages; NaN while either is not positive. */
double noise_scale(const struct noise *n);
/* Its standard error, by the delta method for a ratio of two averages: their variances and
 * covariance are those of the steps in the averages, which also hold what has drifted meanwhile.
 * NaN before the second step. */
double noise_error(const struct noise *n);
/* Critical batch of the run so far, E_min/S_min: a step of batch B makes 1/(1 + B_simple/B) of the
 * progress of a step without noise, and as much as B_simple/(1 + B_simple/B) sequences one at a
 * time. Source: McCandlish et al. 2018, section 2.3. */
double noise_critical(const struct noise *n);

#endif
