#include "model/sample.h"

#include "base/rng.h"

#include <math.h>
#include <stdbool.h>

/* Greater logits come first, among equals the lower id. */
static bool before(const float *logits, int32_t a, int32_t b)
{
    return logits[a] > logits[b] || (a < b && logits[a] == logits[b]);
}

static int32_t greatest(const float *logits, size_t V)
{
    int32_t best = 0;
    for (size_t i = 1; i < V; i++)
        if (before(logits, (int32_t)i, best))
            best = (int32_t)i;
    return best;
}

/* Puts the id at `at` where it belongs in a heap of n ids whose first comes before all others. */
static void sift(int32_t *heap, size_t n, size_t at, const float *logits)
{
    for (;;) {
        size_t best = at, left = 2 * at + 1;
        for (size_t child = left; child < left + 2 && child < n; child++)
            if (before(logits, heap[child], heap[best]))
                best = child;
        if (best == at)
            return;
        int32_t id = heap[at];
        heap[at] = heap[best];
        heap[best] = id;
        at = best;
    }
}

/* Sorts only as many ids as are wanted to the end of id[V], the greatest last: at most `most`, and
 * no more once they hold the mass. Returns how many; *sum is what they hold. */
static size_t take_top(int32_t *id, const float *logits, const float *p, size_t V, size_t most,
                       double mass, double *sum)
{
    for (size_t i = 0; i < V; i++)
        id[i] = (int32_t)i;
    for (size_t i = V / 2; i-- > 0;)
        sift(id, V, i, logits);
    size_t n = 0;
    for (*sum = 0; n < most && (n == 0 || *sum < mass); n++) {
        int32_t first = id[0];
        id[0] = id[V - 1 - n];
        id[V - 1 - n] = first;
        sift(id, V - 1 - n, 0, logits);
        *sum += p[first];
    }
    return n;
}

/* exp((logit - greatest) / temperature); their sum. */
static double weights(float *p, const float *logits, size_t V, int32_t best, double temperature)
{
    double sum = 0;
    for (size_t i = 0; i < V; i++) {
        p[i] = (float)exp(((double)logits[i] - logits[best]) / temperature);
        sum += p[i];
    }
    return sum;
}

/* The id at which the running sum passes `at`, walking id[] from its end; best if none does. */
static int32_t pick(const int32_t *id, const float *p, size_t V, size_t n, double at, int32_t best)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        int32_t this = id == NULL ? (int32_t)i : id[V - 1 - i];
        sum += p[this];
        if (at < sum)
            return this;
    }
    return best;
}

int32_t sample_token(const struct sampling *s, const float *logits, size_t V, uint64_t stream,
                     uint64_t position, float *scratch_p, int32_t *scratch_id)
{
    int32_t best = greatest(logits, V);
    if (!(s->temperature > 0))
        return best;
    bool all = s->top_k <= 0 || (size_t)s->top_k >= V;
    double sum = weights(scratch_p, logits, V, best, s->temperature);
    double u = rng_uniform(s->seed, stream, position);
    if (all && s->top_p >= 1)
        return pick(NULL, scratch_p, V, V, u * sum, best);
    size_t n = V;
    if (!all)
        n = take_top(scratch_id, logits, scratch_p, V, (size_t)s->top_k, INFINITY, &sum);
    /* The probability of the set is taken among what top_k left. */
    if (s->top_p < 1)
        n = take_top(scratch_id, logits, scratch_p, V, n, s->top_p * sum, &sum);
    return pick(scratch_id, scratch_p, V, n, u * sum, best);
}
