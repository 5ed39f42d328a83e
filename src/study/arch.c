#include "study/arch.h"

#include "base/err.h"
#include "base/str.h"
#include "study/length.h"
#include "train/shape.h"

#include <math.h>
#include <string.h>

static bool varies(const struct space *s, const char *key)
{
    return space_find(s, key) >= 0;
}

static bool varies_width(const struct space *s)
{
    return varies(s, "model.width") || varies(s, "model.heads");
}

static bool varies_shape(const struct space *s)
{
    for (int i = 0; i < s->n; i++)
        if (strncmp(s->axis[i].key->name, "model.", strlen("model.")) == 0)
            return true;
    return false;
}

static int check(const struct space *s, const struct config *job)
{
    if (!varies_shape(s))
        return ERR(E_CONFIG, "search.equal_flops compares models, and search.space varies none; "
                             "add a row such as \"model.heads int 2 8\", or set "
                             "search.equal_flops=off");
    if (varies_width(s) && job->rates.mup_base == 0)
        return ERR(E_CONFIG, "search.equal_flops compares widths at one optimizer.lr, which does "
                             "for all of them with muP's rates alone; set rates.mup_base to the "
                             "width at which optimizer.lr was tuned");
    if (job->study.budget.unit != UNIT_NONE)
        return ERR(E_CONFIG, "search.equal_flops: models differ in what a token costs, so that "
                             "study.budget cannot limit them; set study.core_hours instead");
    return OK;
}

static int find_shape(struct model_spec *spec, const struct config *c)
{
    return c->model.vocab >= 0 ? shape_of_job(spec, c) : shape_with_data(spec, c);
}

int arch_open(struct arch *a, const struct space *s, const struct config *job)
{
    a->conf = *job;
    TRY(check(s, job));
    TRY(find_shape(&a->spec, job));
    a->flops = spec_flops_per_token(&a->spec, (int)job->batch.seq_len);
    return OK;
}

static double whole(double v)
{
    return fmax(nearbyint(v), 1);
}

/* As many key/value heads for the query heads as the job has, at most so many that divide them. */
static double kv_heads(const struct model_spec *s, double heads)
{
    double k = whole(s->K * heads / s->H);
    while (fmod(heads, k) != 0)
        k--;
    return k;
}

/* The sizes of the plan's model that the space says nothing of. */
static int set_sizes(const struct arch *a, const struct space *s, struct trial_plan *plan)
{
    const struct model_spec *own = &a->spec;
    double width, heads, share;
    const char *w = trial_setting(plan, "model.width"), *h = trial_setting(plan, "model.heads");
    if (w == NULL && h == NULL)
        return OK;
    if (w == NULL || !parse_f64(w, &width))
        width = NAN;
    if (h == NULL || !parse_f64(h, &heads))
        heads = NAN;
    share = !isnan(width) ? width / own->D : heads / own->H;
    heads = isnan(heads) ? whole(own->H * share) : heads;
    const struct {
        const char *key;
        double value;
    } size[] = {{"model.width", whole(own->D * share)},
                {"model.heads", heads},
                {"model.kv_heads", kv_heads(own, heads)},
                {"model.ffn", whole(own->F * share)},
                {"model.head_dim", own->Hd}};
    for (size_t i = 0; i < sizeof size / sizeof size[0]; i++)
        if (!varies(s, size[i].key) && trial_setting(plan, size[i].key) == NULL)
            TRY(plan_set_number(plan, size[i].key, size[i].value));
    return OK;
}

int arch_complete(const struct arch *a, const struct space *s, double run_tokens,
                  struct trial_plan *plan)
{
    struct config c = a->conf;
    struct model_spec spec;
    TRY(set_sizes(a, s, plan));
    for (int i = 0; i < plan->n_set; i++)
        TRY(conf_set_text(conf_find(plan->set[i].key), &c, plan->set[i].value));
    c.model.vocab = a->spec.V;
    double share = 1;
    if (shape_of_job(&spec, &c) == OK)
        share = a->flops / spec_flops_per_token(&spec, (int)c.batch.seq_len);
    err_clear(); /* a model that cannot be ends its own trial, with the reason */
    for (int k = 0; k < plan->n_milestones; k++)
        plan->milestones[k] = floor(plan->milestones[k] * share);
    return plan_set_number(plan, "train.tokens", floor(run_tokens * share));
}
