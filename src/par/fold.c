#include "par/fold.h"

#include "par/sumtree.h"

#include <string.h>

/* out may be a or b itself, which the compiler cannot know. */
static void add(float *out, const float *a, const float *b, size_t n)
{
#pragma GCC ivdep
    for (size_t i = 0; i < n; i++)
        out[i] = a[i] + b[i];
}

/* One tile: n <= FOLD_TILE floats of every term, from `first` on. */
static void fold_tile(float *out, const struct fold_term *term, int n_terms, size_t first, size_t n,
                      float *tiles)
{
    const float *stack[SUMTREE_DEPTH] = {NULL};
    int top = -1;
    for (int i = 0; i < n_terms; i++) {
        stack[++top] = term[i].x + first;
        for (int m = 0; m < term[i].merges; m++) {
            top--;
            float *sum = top > 0 || i + 1 < n_terms ? tiles + (size_t)top * FOLD_TILE : out + first;
            add(sum, stack[top], stack[top + 1], n);
            stack[top] = sum;
        }
    }
    if (stack[0] != out + first)
        memcpy(out + first, stack[0], n * sizeof *out);
}

void fold_terms(float *out, const struct fold_term *term, int n_terms, size_t n, float *tiles)
{
    if (n_terms == 0 && n > 0)
        memset(out, 0, n * sizeof *out);
    /* From the end, so that an overlapping term is read before it is written over. */
    for (size_t end = n_terms > 0 ? n : 0, at; end > 0; end = at) {
        at = (end - 1) / FOLD_TILE * FOLD_TILE;
        fold_tile(out, term, n_terms, at, end - at, tiles);
    }
}

void fold_down(float *const *slab, int top, int merges, size_t first, size_t n)
{
    size_t end = first + n;
    for (size_t at = first; merges > 0 && at < end; at += FOLD_TILE) {
        size_t part = end - at < FOLD_TILE ? end - at : FOLD_TILE;
        float *newest = slab[top] + at; /* just written, so in the cache: sums pass through it */
        for (int m = 1; m < merges; m++)
            add(newest, slab[top - m] + at, newest, part);
        float *last = slab[top - merges] + at;
        add(last, last, newest, part);
    }
}
