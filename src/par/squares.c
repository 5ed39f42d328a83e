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

/* The next place behind `at` where the part's zone may be cut, or a block of it ends. */
static size_t next_cut(const struct squares_of *part, size_t at)
{
    size_t unit = part->unit, here = at - part->origin;
    size_t begin = unit > 0 ? here / unit * unit : 0;
    size_t block = begin + ((here - begin) / SHARD_BLOCK + 1) * SHARD_BLOCK;
    return part->origin + (unit > 0 ? least(block, begin + unit) : block);
}

void squares_add(const struct squares *q, struct exactsum *sum, const float *x, size_t first,
                 size_t n)
{
    size_t at = first, end = first + n;
    for (int i = part_of(q, first); at < end;) {
        size_t stop = least((at / SHARD_BLOCK + 1) * SHARD_BLOCK, least(end, q->part[i].end));
        stop = least(stop, next_cut(&q->part[i], at));
        exactsum_add(&sum[q->part[i].group], fold_sumsq(x + (at - first), stop - at));
        at = stop;
        i += i + 1 < q->n_parts && at == q->part[i].end;
    }
}
