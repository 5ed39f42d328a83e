/* Grids that are centred by what past studies found. */
#include "base/err.h"
#include "study/critical_plan.h"
#include "study/past.h"

#include <math.h>

static struct prior_guess guess(const struct critical_plan *p, int batch)
{
    const double at[PRIOR_N] = {p->batch[batch] * (double)p->job.batch.seq_len, p->run_tokens,
                                p->params};
    return prior_guess(&p->law, at);
}

int critical_centre_by_past(struct critical_plan *p, const struct study *s)
{
    struct past past;
    TRY(past_of_study(&past, s, &p->job));
    int rc = past_law(&p->law, &past, &p->job) ? OK : past_without(&past, &p->job);
    past_release(&past);
    TRY(rc);
    TRY(past_params(&p->params, &p->job));
    for (int b = 0; b < p->n_batches; b++)
        p->centre[b] = guess(p, b).lr;
    return OK;
}

void critical_say_past(const struct critical_plan *p, struct str *lines)
{
    if (p->law.n == 0)
        return;
    str_addf(lines, "rates are centred by what is known from %s:\n", p->job.study.past);
    prior_show(lines, &p->law, 0);
    str_add(lines, "centres:");
    for (int b = 0; b < p->n_batches; b++) {
        struct prior_guess g = guess(p, b);
        str_addf(lines, "%s %.3g (× or / %.2f%s) at %.0f", b > 0 ? "," : "", g.lr, g.factor,
                 g.outside ? ", outside of the data" : "", p->batch[b]);
    }
    str_add(lines, "\n");
}
