#include "study/range_curve.h"

#include "base/err.h"
#include "base/mem.h"

#include <math.h>
#include <string.h>

const struct range_ramp RANGE_DEFAULT = {1e-5, 10, 100, false};

static const double SMOOTHING = 0.98;
/* What is left out at the start, as a share of the ramp, and at the end, in points. */
enum { SKIPPED_SHARE = 10, SKIPPED_AT_END = 5 };
/* A fall that shows is greater than so many standard deviations of the loss. */
static const double NOISE_IN_FALL = 2;
/* The rate of the least loss is this many times too high. */
static const double MINIMUM_OVER = 10;

int range_curve_init(struct range_curve *c, const struct range_ramp *ramp)
{
    *c = (struct range_curve){.ramp = *ramp, .best = INFINITY};
    double **column[] = {&c->lr, &c->loss, &c->smooth};
    for (int i = 0; i < 3; i++)
        TRY(mem_alloc(column[i], (size_t)ramp->steps, sizeof(double), "a range test's curve"));
    return mem_alloc(&c->fall, (size_t)ramp->steps, sizeof *c->fall, "a range test's curve");
}

void range_curve_release(struct range_curve *c)
{
    mem_free(c->lr);
    mem_free(c->loss);
    mem_free(c->smooth);
    mem_free(c->fall);
    memset(c, 0, sizeof *c);
}

double range_rate(const struct range_ramp *r, int64_t i)
{
    double x = (double)i / (double)r->steps;
    return r->linear ? r->from + (r->to - r->from) * x : r->from * pow(r->to / r->from, x);
}

bool range_add(struct range_curve *c, double lr, double loss)
{
    int64_t i = c->n++;
    c->lr[i] = lr;
    c->loss[i] = loss;
    c->average = SMOOTHING * c->average + (1 - SMOOTHING) * loss;
    double smooth = c->smooth[i] = c->average / (1 - pow(SMOOTHING, (double)c->n));
    c->best = fmin(c->best, smooth);
    if (!isfinite(loss))
        c->end = RANGE_NONFINITE;
    else if (smooth > RANGE_STOP * c->best)
        c->end = RANGE_DIVERGED;
    return c->end == RANGE_WHOLE && c->n < c->ramp.steps;
}

/* The points that suggestions are taken from. */
static void choose_points(struct range_suggestion *s, const struct range_curve *c)
{
    s->first = c->ramp.steps / SKIPPED_SHARE;
    int64_t end = c->n - SKIPPED_AT_END;
    while (s->first + s->n < end && isfinite(c->smooth[s->first + s->n]))
        s->n++;
}

/* Points of the longest falling subsequence of y that ends at i, given those that end before. */
static int64_t fall_to(const double *y, const int64_t *length, int64_t i)
{
    int64_t most = 0;
    for (int64_t j = 0; j < i; j++)
        if (y[j] > y[i] && length[j] > most)
            most = length[j];
    return most + 1;
}

/* Halfway into the second third of the longest fall, of several the first; -1 when there is none.
 * Its begin is taken as its length before its end, and a fall over all points as one that began a
 * point earlier. */
static int64_t find_valley(const double *y, int64_t *length, int64_t n)
{
    int64_t end = 0;
    for (int64_t i = 0; i < n; i++) {
        length[i] = fall_to(y, length, i);
        if (length[i] > length[end])
            end = i;
    }
    if (length[end] < 2)
        return -1;
    double third = (double)length[end] / 3;
    int64_t at = end - length[end] + (int64_t)third + (int64_t)(third / 2);
    return at < 0 ? 0 : at;
}

static int64_t find_least(const double *y, int64_t n)
{
    int64_t least = 0;
    for (int64_t i = 1; i < n; i++)
        least = y[i] < y[least] ? i : least;
    return least;
}

/* Standard deviation of a batch's loss, from differences of neighbours: a slow fall adds little. */
static double noise_of(const double *loss, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i + 1 < n; i++)
        sum += (loss[i + 1] - loss[i]) * (loss[i + 1] - loss[i]);
    return n > 1 ? sqrt(sum / (double)(n - 1) / 2) : 0;
}

/* The point before the steepest fall; -1 when the loss never falls. */
static int64_t find_steepest(const double *y, const double *lr, int64_t n)
{
    int64_t at = -1;
    double least = 0;
    for (int64_t i = 0; i + 1 < n; i++) {
        double slope = (y[i + 1] - y[i]) / (log(lr[i + 1]) - log(lr[i]));
        if (slope < least) {
            least = slope;
            at = i;
        }
    }
    return at;
}

void range_suggest(struct range_suggestion *s, const struct range_curve *c)
{
    *s = (struct range_suggestion){.valley = NAN, .steepest = NAN, .minimum = NAN};
    choose_points(s, c);
    const double *y = c->smooth + s->first, *lr = c->lr + s->first;
    if (s->n < 2)
        return;
    int64_t valley = find_valley(y, c->fall, s->n), steepest = find_steepest(y, lr, s->n);
    int64_t least = find_least(y, s->n);
    /* What a rise at the end adds is no noise. */
    double noise = noise_of(c->loss + s->first, least >= s->n / 2 ? least + 1 : s->n / 2);
    s->weak = y[0] - y[least] <= NOISE_IN_FALL * noise;
    /* The last points are dropped, and a rise among them ends the fall as well. */
    s->falling = least == s->n - 1 && c->end == RANGE_WHOLE && c->smooth[c->n - 1] <= y[least];
    if (valley < 0)
        return; /* nowhere lower than before: the least loss is the first, and says nothing */
    s->valley = lr[valley];
    s->steepest = steepest < 0 ? NAN : lr[steepest];
    s->minimum = lr[least] / MINIMUM_OVER;
}

double range_exponent(const double *batch, const double *lr, int n)
{
    double m = 0, x = 0, y = 0, xx = 0, xy = 0;
    for (int i = 0; i < n; i++) {
        if (!isfinite(lr[i]))
            continue;
        double u = log(batch[i]), v = log(lr[i]);
        m++;
        x += u;
        y += v;
        xx += u * u;
        xy += u * v;
    }
    double spread = m * xx - x * x;
    return m >= 2 && spread > 0 ? (m * xy - x * y) / spread : NAN;
}
