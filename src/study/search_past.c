/* Where a search begins that past studies know something of. */
#include "base/err.h"
#include "base/str.h"
#include "study/past.h"
#include "study/search.h"

#include <math.h>
#include <string.h>

static int rate_axis(const struct search *q)
{
    int i = space_find(&q->space, "optimizer.lr");
    return i >= 0 && !q->space.axis[i].choice ? i : -1;
}

int search_find_past(struct search *q, const struct study *s)
{
    struct past p;
    bool learns = q->rule->learns && !q->rule->makes_plans;
    if (*q->conf.study.past == '\0' || !learns || rate_axis(q) < 0)
        return OK;
    TRY(past_of_study(&p, s, &q->conf));
    q->has_past = past_law(&q->law, &p, &q->conf);
    past_release(&p);
    return q->has_past ? past_params(&q->params, &q->conf) : OK;
}

/* The law's rate at the point's batch. */
static struct prior_guess guess(const struct search *q, const double *point)
{
    int i = space_find(&q->space, "batch.global");
    double batch = (double)q->conf.batch.global;
    if (i >= 0 && point != NULL && !q->space.axis[i].choice)
        batch = point[i];
    const double at[PRIOR_N] = {batch * (double)q->conf.batch.seq_len, q->run_tokens, q->params};
    return prior_guess(&q->law, at);
}

int choose_startup(const struct search *q, int number, double *point)
{
    TRY(choose_random(q, number, NULL, 0, point));
    int i = rate_axis(q);
    if (!q->has_past || number % 2 != 0 || isnan(point[i]))
        return OK;
    struct dice d = search_dice(q, FOR_PAST, number);
    double z = number > 0 ? dice_normal(&d) : 0;
    struct prior_guess g = guess(q, point);
    const struct axis *a = &q->space.axis[i];
    point[i] = fmin(fmax(g.lr * pow(g.factor, z), a->low), a->high);
    return OK;
}

void search_say_past(const void *self, struct str *text)
{
    const struct search *q = self;
    if (*q->conf.study.past == '\0')
        return;
    if (!q->has_past) {
        str_addf(text, "the past in %s says nothing of the rate here, and is not used\n",
                 q->conf.study.past);
        return;
    }
    struct prior_guess g = guess(q, NULL);
    str_addf(text,
             "the past in %s: lr* about %.3g here (× or / %.2f%s); every other of the first "
             "%d trials looks around it\n",
             q->conf.study.past, g.lr, g.factor, g.outside ? ", outside of its data" : "",
             (int)q->conf.search.startup);
    prior_show(text, &q->law, 0);
}
