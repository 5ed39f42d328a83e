#include "optim/rules.h"

static void descend(float *restrict w, const float *restrict g, size_t n, float scale, float decay,
                    float lr)
{
    for (size_t i = 0; i < n; i++)
        w[i] -= lr * (g[i] * scale + decay * w[i]);
}

static void sgd_update(float *w, const float *g, float *const slot[], size_t n, bool decay,
                       const struct optim_step *s)
{
    (void)slot;
    descend(w, g, n, (float)s->grad_scale, decay ? (float)s->weight_decay : 0, (float)s->lr);
}

const struct optim_rule optim_sgd = {
    .name = "sgd",
    .update = sgd_update,
    .note = "plain stochastic gradient descent; weight decay is part of the gradient",
};
