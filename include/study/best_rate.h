/* The best of the learning rates that were tried, and how well it is known. Pure functions. */
#ifndef CARAT_STUDY_BEST_RATE_H
#define CARAT_STUDY_BEST_RATE_H

/* A trial at a rate. score: what is to be little, a loss or the tokens to one; INFINITY where it
 * never arrived, was given up or diverged. */
struct rate_score {
    double lr, score;
};

enum best_kind {
    BEST_WITHIN,  /* worse ones on either side */
    BEST_LOWEST,  /* the lowest tried: the true one may be lower */
    BEST_HIGHEST, /* the highest tried */
    BEST_FEW,     /* fewer than three rates */
    BEST_NONE     /* no score is finite */
};

struct best_rate {
    enum best_kind kind;
    double lr;    /* of BEST_WITHIN where a parabola through it and its neighbours in log lr is
                     least, else the rate that did best */
    double score; /* of the rate that did best: its mean over seeds */
    double error; /* standard error of log lr by the grid's spacing; 0 unless BEST_WITHIN */
    int n_rates;
};

/* Scores of one rate, from several seeds, count as their mean. Sorts x[n]. */
struct best_rate best_rate_of(struct rate_score *x, int n);
/* "the best rate is the highest tried"; NULL for BEST_WITHIN. */
const char *best_rate_why(enum best_kind kind);

#endif
