#include "train/evaluate.h"
#include "base/err.h"
#include "train/feed.h"
#include "train/sums.h"

/* This rank's micro-batches; a failed read ends them, for the others to learn in the reduction. */
static int run_passes(struct feed *f, struct model *m, const float *params, int T,
                      void (*progress)(double done, double all), struct sums *s)
{
    for (size_t i = 0; i < f->mine.n; i++) {
        struct batch_view b;
        struct pass_result r;
        TRY(feed_next(f, &b, T));
        model_loss(m, params, &b, &r, NULL);
        sums_add_pass(s, &r);
        if (progress)
            progress((double)(i + 1), (double)f->mine.n);
    }
    return OK;
}

int evaluate(const struct comm *c, struct model *m, const float *params, struct loader *l,
             int64_t n, int64_t micro, int T, void (*progress)(double done, double all),
             struct evaluation *out)
{
    struct sums s = {0};
    struct feed f;
    const struct feed_order all = {
        .ramp = ramp_of(n), .size = c->size, .rank = c->rank, .micro = micro, .passes = 1};
    feed_begin(&f, l, &all);
    int rc = run_passes(&f, m, params, T, c->rank == 0 ? progress : NULL, &s);
    TRY(sums_reduce(c, &s, rc));
    double targets = (double)s.targets;
    *out = (struct evaluation){.loss = exactsum_value(&s.loss) / targets,
                               .accuracy = (double)s.correct / targets,
                               .targets = targets};
    return OK;
}
