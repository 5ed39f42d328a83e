/* The noisy quadratic model, whose steps are known in closed form: curvatures h_i = 1/i, gradient
 * noise of variance h_i/B. Source: SCIENCE, section 8; Zhang et al. 2019. */
#ifndef CARAT_STUDY_QUADRATIC_H
#define CARAT_STUDY_QUADRATIC_H

#include <math.h>

enum { QUADRATIC_N = 10000, QUADRATIC_RATES = 160 };

/* ½ Σ h_i E[θ_i²] after t steps at rate eta, given up beyond `enough`. */
static inline double quadratic_risk(double t, double eta, double batch, double enough)
{
    double sum = 0;
    for (int i = 1; i <= QUADRATIC_N && sum <= enough; i++) {
        double h = 1.0 / i, keep = (1 - eta * h) * (1 - eta * h), left = pow(keep, t);
        sum += 0.5 * h * (left + eta * eta * h / batch * (1 - left) / (1 - keep));
    }
    return sum;
}

/* The fewest steps to the target, none more than `most`. */
static inline double quadratic_steps(double eta, double batch, double target, double most)
{
    double low = 0, high = most;
    if (quadratic_risk(most, eta, batch, target) > target)
        return INFINITY;
    while (high - low > 1) {
        double middle = floor((low + high) / 2);
        if (quadratic_risk(middle, eta, batch, target) > target)
            low = middle;
        else
            high = middle;
    }
    return high;
}

/* Rate k of geomspace(1e-4, 1.99, 160). */
static inline double quadratic_rate(int k)
{
    return 1e-4 * pow(1.99 / 1e-4, (double)k / (QUADRATIC_RATES - 1));
}

/* Steps with the best of these rates. */
static inline double quadratic_best(double batch, double target)
{
    double best = 1e7;
    for (int k = QUADRATIC_RATES - 1; k >= 0; k--)
        best = fmin(best, quadratic_steps(quadratic_rate(k), batch, target, best));
    return best;
}

#endif
