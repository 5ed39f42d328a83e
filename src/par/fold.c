#include "par/fold.h"

#include "par/sumtree.h"

#include <math.h>
#include <string.h>

/* Independent partial sums, so that additions need not wait for each other. */
enum { LANES = 16 };

/* out may be a or b itself, which the compiler cannot know. */
static void add(float *out, const float *a, const float *b, size_t n)
{
#pragma GCC ivdep
    for (size_t i = 0; i < n; i++)
        out[i] = a[i] + b[i];
}

/* A term's elements as floats: where they lie, or widened into the tile of their place. */
static const float *values(const struct fold_term *t, size_t first, size_t n, float *tile)
{
    if (t->type == F32)
        return (const float *)t->x + first;
    bf16_widen(tile, (const uint16_t *)t->x + first, n);
    return tile;
}

void fold_terms(float *out, const struct fold_term *term, int n_terms, size_t first, size_t n,
                float *tiles)
{
    const float *stack[SUMTREE_DEPTH + 1] = {NULL};
    int top = -1;
    for (int i = 0; i < n_terms; i++) {
        top++;
        stack[top] = values(&term[i], first, n, tiles + (size_t)top * FOLD_TILE);
        for (int m = 0; m < term[i].merges; m++) {
            top--;
            float *sum = top > 0 || i + 1 < n_terms ? tiles + (size_t)top * FOLD_TILE : out;
            add(sum, stack[top], stack[top + 1], n);
            stack[top] = sum;
        }
    }
    if (n_terms < 1)
        memset(out, 0, n * sizeof *out);
    else if (stack[0] != out)
        memcpy(out, stack[0], n * sizeof *out);
}

double fold_sumsq(const float *x, size_t n)
{
    double lane[LANES] = {0};
    size_t body = n / LANES * LANES;
    for (size_t i = 0; i < body; i += LANES)
        for (int l = 0; l < LANES; l++)
            lane[l] += (double)x[i + (size_t)l] * (double)x[i + (size_t)l];
    for (size_t i = body; i < n; i++)
        lane[i - body] += (double)x[i] * (double)x[i];
    for (int half = LANES / 2; half > 0; half /= 2)
        for (int l = 0; l < half; l++)
            lane[l] += lane[l + half];
    return lane[0];
}

/* More of them hide the additions' latency altogether. */
enum { MANY = 32 };

static double add_many(double lane[MANY])
{
    for (int half = MANY / 2; half > 0; half /= 2)
        for (int l = 0; l < half; l++)
            lane[l] += lane[l + half];
    return lane[0];
}

double fold_dot(const float *x, const float *y, size_t n)
{
    double lane[MANY] = {0};
    size_t body = n / MANY * MANY;
    for (size_t i = 0; i < body; i += MANY)
        for (int l = 0; l < MANY; l++)
            lane[l] += (double)x[i + (size_t)l] * (double)y[i + (size_t)l];
    for (size_t i = body; i < n; i++)
        lane[i - body] += (double)x[i] * (double)y[i];
    return add_many(lane);
}

double fold_abs(const float *x, size_t n)
{
    double lane[MANY] = {0};
    size_t body = n / MANY * MANY;
    for (size_t i = 0; i < body; i += MANY)
        for (int l = 0; l < MANY; l++)
            lane[l] += fabs((double)x[i + (size_t)l]);
    for (size_t i = body; i < n; i++)
        lane[i - body] += fabs((double)x[i]);
    return add_many(lane);
}

double fold_down(float *const *slab, int top, int merges, size_t first, size_t n, bool squares)
{
    size_t end = first + n;
    double sum = 0;
    for (size_t at = first; (squares || merges > 0) && at < end; at += FOLD_TILE) {
        size_t part = end - at < FOLD_TILE ? end - at : FOLD_TILE;
        float *newest = slab[top] + at; /* just written, so in the cache: sums pass through it */
        if (squares)
            sum += fold_sumsq(newest, part);
        for (int m = 1; m < merges; m++)
            add(newest, slab[top - m] + at, newest, part);
        float *last = slab[top - merges] + at;
        if (merges > 0)
            add(last, last, newest, part);
    }
    return sum;
}
