#include "train/feed.h"

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static void take_step(struct feed *f)
{
    f->batch = ramp_batch(&f->ramp, f->at);
    f->mine = split_even((size_t)((f->batch + f->micro - 1) / f->micro), f->size, f->rank);
    f->next = 0;
}

static void advance(struct feed *f, int64_t n_steps)
{
    f->passes -= n_steps;
    if (f->passes == 0)
        return;
    f->samples += (uint64_t)(n_steps * f->batch);
    f->at = ramp_walk(&f->ramp, f->at, n_steps);
    take_step(f);
}

static void request(struct feed *f)
{
    /* Small batches may leave this rank without a micro-batch for some time. */
    while (f->passes > 0 && f->mine.n == 0)
        advance(f, least(ramp_left(&f->ramp, f->at), f->passes));
    if (f->passes == 0)
        return;
    int64_t first = (int64_t)(f->mine.first + f->next) * f->micro;
    int64_t n = least(f->micro, f->batch - first);
    loader_want(f->loader, f->samples + (uint64_t)first, (int)n);
    if (++f->next == f->mine.n)
        advance(f, 1);
}

void feed_begin(struct feed *f, struct loader *l, const struct feed_order *order)
{
    *f = (struct feed){.loader = l,
                       .ramp = order->ramp,
                       .size = order->size,
                       .rank = order->rank,
                       .micro = order->micro,
                       .at = order->at,
                       .samples = order->samples,
                       .passes = order->passes};
    take_step(f);
    request(f);
    request(f);
}

void feed_restart(struct trainer *t)
{
    const struct feed_order order = {.ramp = t->course.ramp,
                                     .at = trainer_at(t),
                                     .samples = t->at.samples,
                                     .size = t->comm->size,
                                     .rank = t->comm->rank,
                                     .micro = t->conf->batch.micro,
                                     /* Whose last step is not known reads a little too far. */
                                     .passes = t->scaling.rule->per_step ? INT64_MAX
                                                                         : t->n_steps - t->at.step};
    loader_drop(t->feed.loader);
    feed_begin(&t->feed, t->feed.loader, &order);
}

int feed_next(struct feed *f, struct batch_view *b, int T)
{
    struct sample_block s;
    int rc = loader_next(f->loader, &s);
    if (rc != 0)
        return rc;
    request(f);
    *b = (struct batch_view){.B = s.n,
                             .T = T,
                             .token = s.token,
                             .target = s.target,
                             .weight = s.weight,
                             .start = s.start,
                             .first = s.first};
    return 0;
}
