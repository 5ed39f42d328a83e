/* What an optimizer's update is set to; a step may have settings of its own. */
#ifndef CARAT_OPTIM_SETTINGS_H
#define CARAT_OPTIM_SETTINGS_H

struct optim_settings {
    double lr;
    double beta1, beta2, eps;
    double momentum;
    double weight_decay;
};

#endif
