#include "train/feed.h"

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static void request(struct feed *f)
{
    if (f->mine.n == 0 || f->passes == 0)
        return;
    int64_t first = (int64_t)(f->mine.first + f->next) * f->micro;
    int64_t n = least(f->micro, f->global - first);
    loader_want(f->loader, f->samples + (uint64_t)first, (int)n);
    f->outstanding++;
    if (++f->next == f->mine.n) {
        f->next = 0;
        f->samples += (uint64_t)f->global;
        f->passes--;
    }
}

void feed_begin(struct feed *f, struct loader *l, struct range mine, uint64_t samples,
                int64_t global, int64_t micro, int64_t passes)
{
    *f = (struct feed){.loader = l,
                       .mine = mine,
                       .samples = samples,
                       .global = global,
                       .micro = micro,
                       .passes = passes};
    request(f);
    request(f);
}

int feed_next(struct feed *f, struct batch_view *b, int T)
{
    struct sample_block s;
    int rc = loader_next(f->loader, &s);
    f->outstanding--;
    if (rc != 0)
        return rc;
    request(f);
    *b = (struct batch_view){.B = s.n,
                             .T = T,
                             .token = s.token,
                             .target = s.target,
                             .weight = s.weight,
                             .start = s.start};
    return 0;
}

int feed_drain(struct feed *f)
{
    struct sample_block s;
    int rc = 0;
    for (; f->outstanding > 0; f->outstanding--) {
        int taken = loader_next(f->loader, &s);
        rc = rc != 0 ? rc : taken;
    }
    return rc;
}
