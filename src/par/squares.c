#include "par/squares.h"

#include "par/fold.h"

/* The part that holds an element. */
static int part_of(const struct squares *q, size_t at)
{
    int low = 0, high = q->n_parts - 1;
    while (low < high) {
        int mid = low + (high - low) / 2;
        if (q->part[mid].end <= at)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* The next place behind `at` where a block that is counted from `origin` ends. */
static size_t next_block(size_t origin, size_t at)
{
    return origin + ((at - origin) / SHARD_BLOCK + 1) * SHARD_BLOCK;
}

void squares_add(const struct squares *q, struct exactsum *sum, const float *x, size_t first,
                 size_t n)
{
    size_t at = first, end = first + n;
    for (int i = part_of(q, first); at < end;) {
        size_t stop = least(next_block(0, at), next_block(q->part[i].origin, at));
        stop = least(stop, least(end, q->part[i].end));
        exactsum_add(&sum[q->part[i].group], fold_sumsq(x + (at - first), stop - at));
        at = stop;
        i += i + 1 < q->n_parts && at == q->part[i].end;
    }
}
