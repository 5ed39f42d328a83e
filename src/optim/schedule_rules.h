/* The rules' formulas, for the table in schedule.c. */
#ifndef CARAT_OPTIM_SCHEDULE_RULES_H
#define CARAT_OPTIM_SCHEDULE_RULES_H

#include "optim/schedule.h"

typedef double schedule_fn(const struct schedule_piece *p, double u, double b);

extern schedule_fn share_constant, share_step, share_multi_step, share_exponential,
    share_polynomial, share_linear, share_cosine, share_restarts, share_cyclical, share_cyclical2,
    share_cyclical_exp, share_one_cycle, share_inverse_sqrt, share_wsd, share_power,
    momentum_one_cycle;

#endif
