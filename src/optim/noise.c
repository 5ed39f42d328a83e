#include "optim/noise.h"

#include <math.h>

bool noise_of_step(double *trace, double *signal, const struct noise_sums *s)
{
    double n = (double)s->n, p = s->each_sq / s->targets;
    double q = s->total_sq / (s->targets * s->targets);
    if (s->n < 2 || !isfinite(p) || !isfinite(q))
        return false;
    *trace = (p - q) * s->batch / (n - 1);
    *signal = (n * q - p) / (n - 1);
    return true;
}

/* The step's share in what an infinitely large batch, and single sequences, would have needed. */
static void add_progress(struct noise *n, double batch)
{
    double scale = noise_scale(n);
    if (isnan(scale))
        return;
    double share = 1 / (1 + scale / batch);
    n->steps_least += share;
    n->examples_least += scale * share;
}

static void average(double *sum, double x, double decay)
{
    *sum = decay * *sum + (1 - decay) * x;
}

void noise_take(struct noise *n, const struct noise_sums *s, double decay)
{
    double trace, signal;
    if (!noise_of_step(&trace, &signal, s))
        return;
    n->last_trace = trace;
    n->last_signal = signal;
    average(&n->weight, 1, decay);
    n->weight_sq = decay * decay * n->weight_sq + (1 - decay) * (1 - decay);
    average(&n->trace, trace, decay);
    average(&n->signal, signal, decay);
    average(&n->trace_sq, trace * trace, decay);
    average(&n->signal_sq, signal * signal, decay);
    average(&n->both, trace * signal, decay);
    add_progress(n, s->batch);
}

double noise_trace(const struct noise *n)
{
    return n->weight > 0 ? n->trace / n->weight : 0;
}

double noise_signal(const struct noise *n)
{
    return n->weight > 0 ? n->signal / n->weight : 0;
}

double noise_scale(const struct noise *n)
{
    return n->trace > 0 && n->signal > 0 ? n->trace / n->signal : NAN;
}

double noise_error(const struct noise *n)
{
    double w = n->weight, a = n->trace / w, b = n->signal / w;
    /* The share of the steps' variance that is left in their average. */
    double left = n->weight_sq / (w * w);
    double var_a = n->trace_sq / w - a * a, var_b = n->signal_sq / w - b * b;
    double cov = n->both / w - a * b;
    double relative = var_a / (a * a) + var_b / (b * b) - 2 * cov / (a * b);
    /* From the variance about the steps' own mean to that about the true one. */
    return left < 1 ? noise_scale(n) * sqrt(fmax(relative, 0) * left / (1 - left)) : NAN;
}

double noise_critical(const struct noise *n)
{
    return n->steps_least > 0 ? n->examples_least / n->steps_least : NAN;
}
