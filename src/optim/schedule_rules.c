#include "schedule_rules.h"

#include <math.h>
#include <string.h>

/* The share of the piece that is over. Of a piece without length all is, once it has begun. */
static double over(const struct schedule_piece *p, double u)
{
    if (u <= 0)
        return 0;
    return p->length > 0 ? fmin(u, p->length) / p->length : 1;
}

static double down_to_final(const struct schedule_piece *p, double share)
{
    return p->final + (p->top - p->final) * share;
}

static double half_wave(double x)
{
    return (1 + cos(M_PI * x)) / 2;
}

double share_constant(const struct schedule_piece *p, double u, double b)
{
    (void)u;
    (void)b;
    return p->top;
}

double share_step(const struct schedule_piece *p, double u, double b)
{
    (void)b;
    return p->top * pow(p->gamma, floor(u / p->every));
}

double share_multi_step(const struct schedule_piece *p, double u, double b)
{
    int passed = 0;
    (void)b;
    while (passed < p->n_milestones && p->milestone[passed] <= u)
        passed++;
    return p->top * pow(p->gamma, passed);
}

double share_exponential(const struct schedule_piece *p, double u, double b)
{
    (void)b;
    return p->top * pow(p->gamma, u / p->every);
}

double share_polynomial(const struct schedule_piece *p, double u, double b)
{
    (void)b;
    return down_to_final(p, pow(1 - over(p, u), p->power));
}

double share_linear(const struct schedule_piece *p, double u, double b)
{
    (void)b;
    return p->top + (p->final - p->top) * over(p, u);
}

double share_cosine(const struct schedule_piece *p, double u, double b)
{
    (void)b;
    return down_to_final(p, half_wave(over(p, u)));
}

/* Loshchilov & Hutter 2017, eq. 5. */
double share_restarts(const struct schedule_piece *p, double u, double b)
{
    double cycle = p->cycle;
    (void)b;
    if (p->cycle_mult == 1)
        u = fmod(u, cycle);
    while (u >= cycle) {
        u -= cycle;
        cycle *= p->cycle_mult;
    }
    return down_to_final(p, half_wave(u / cycle));
}

/* Up from the base to 1 and down again, `rise` of a cycle being the way up. */
static double triangle(const struct schedule_piece *p, double u, double *cycle)
{
    double n = u / p->cycle;
    *cycle = floor(1 + n);
    double x = 1 + n - *cycle;
    return x < p->rise ? x / p->rise : (x - 1) / (p->rise - 1);
}

double share_cyclical(const struct schedule_piece *p, double u, double b)
{
    double cycle, height = triangle(p, u, &cycle);
    (void)b;
    return p->base + (p->top - p->base) * height;
}

double share_cyclical2(const struct schedule_piece *p, double u, double b)
{
    double cycle, height = triangle(p, u, &cycle);
    (void)b;
    return p->base + (p->top - p->base) * height * exp2(1 - cycle);
}

double share_cyclical_exp(const struct schedule_piece *p, double u, double b)
{
    double cycle, height = triangle(p, u, &cycle);
    (void)b;
    return p->base + (p->top - p->base) * height * pow(p->gamma, u / p->every);
}

enum one_cycle_value { RATE, MOMENTUM };

/* Along half waves from one corner to the next; a phase without length is over. */
static double along(const double end[], const double corner[], int n, double u)
{
    double begin = 0;
    int i = 0;
    for (; i < n - 1 && u > end[i]; i++)
        begin = fmax(end[i], 0);
    double x = end[i] > begin ? fmin((u - begin) / (end[i] - begin), 1) : 1;
    return corner[i + 1] + (corner[i] - corner[i + 1]) / 2 * (cos(M_PI * x) + 1);
}

/* Phases end one step early, so that the last step has the last value. */
static double one_cycle(const struct schedule_piece *p, double u, double b, enum one_cycle_value v)
{
    double up = p->rise * p->length - b, end = p->length - b;
    double low = v == RATE ? p->base * p->top : p->momentum_high;
    double high = v == RATE ? p->top : p->momentum_low;
    double last = v == RATE ? fmin(p->final, p->top) : p->momentum_high;
    if (p->phases == 2)
        return along((double[]){up, end}, (double[]){low, high, last}, 2, u);
    return along((double[]){up, 2 * up, end}, (double[]){low, high, low, last}, 3, u);
}

double share_one_cycle(const struct schedule_piece *p, double u, double b)
{
    return one_cycle(p, u, b, RATE);
}

double momentum_one_cycle(const struct schedule_piece *p, double u, double b)
{
    return p->momentum_low == p->momentum_high ? NAN : one_cycle(p, u, b, MOMENTUM);
}

double share_inverse_sqrt(const struct schedule_piece *p, double u, double b)
{
    (void)b;
    return p->top / sqrt((u + p->timescale) / p->timescale);
}

static double decay_sqrt(double x)
{
    return 1 - sqrt(x);
}

static double decay_linear(double x)
{
    return 1 - x;
}

static double decay_square(double x)
{
    return 1 - x * x;
}

double (*schedule_decay_shape(const char *name))(double x)
{
    static const struct {
        const char *name;
        double (*shape)(double x);
    } rows[] = {{"sqrt", decay_sqrt},
                {"linear", decay_linear},
                {"square", decay_square},
                {"cosine", half_wave}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (strcmp(rows[i].name, name) == 0)
            return rows[i].shape;
    return NULL;
}

double share_wsd(const struct schedule_piece *p, double u, double b)
{
    double into = u - (p->length - p->decay);
    (void)b;
    if (into <= 0 || p->decay <= 0)
        return p->top;
    return down_to_final(p, p->decay_shape(fmin(into / p->decay, 1)));
}

double share_power(const struct schedule_piece *p, double u, double b)
{
    (void)b;
    return p->top * pow((u + p->timescale) / p->timescale, p->power);
}
