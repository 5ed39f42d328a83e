/* The rows of the optimizers' table; each is defined in the file of its rule. */
#ifndef CARAT_OPTIM_RULES_H
#define CARAT_OPTIM_RULES_H

#include "optim/optim.h"

extern const struct optim_rule optim_adamw, optim_adam, optim_sgd;

#endif
