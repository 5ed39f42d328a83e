#include "train/shape.h"

#include "base/err.h"
#include "train/weights.h"

#include <string.h>

/* Every nth layer is global: the n of a shape that has this form (0: no layer is). */
static int global_every(const struct model_spec *s)
{
    for (int l = 0; l < s->L; l++)
        if (!s->local[l])
            return l + 1;
    return 0;
}

static void set_pattern(struct model_spec *s, int from, int every)
{
    for (int l = from; l < s->L && l < SPEC_MAX_LAYERS; l++)
        s->local[l] = every == 0 || (l + 1) % every != 0;
}

static void override_int(int *out, int64_t value)
{
    if (value >= 0)
        *out = (int)value;
}

static void override_shape(struct model_spec *s, const struct config *c)
{
    int n_before = s->L, every = global_every(s);
    bool by_head = s->query_scalar == s->Hd, by_width = s->query_scalar == (double)s->D / s->H;
    override_int(&s->V, c->model.vocab);
    override_int(&s->D, c->model.width);
    override_int(&s->L, c->model.layers);
    override_int(&s->H, c->model.heads);
    override_int(&s->K, c->model.kv_heads);
    override_int(&s->Hd, c->model.head_dim);
    override_int(&s->F, c->model.ffn);
    override_int(&s->window, c->model.window);
    /* The scale of scores follows the sizes that it was made from. */
    if (by_head)
        s->query_scalar = s->Hd;
    else if (by_width && s->H > 0)
        s->query_scalar = (double)s->D / s->H;
    if (c->model.window_pattern >= 0)
        set_pattern(s, 0, (int)c->model.window_pattern);
    else
        set_pattern(s, n_before, every);
}

/* muP changes what the model computes, so weights keep what they were trained with. */
static int set_mup(struct model_spec *s, const struct config *c)
{
    bool other = c->rates.mup_base > 0 && c->rates.mup_base != s->mup_base;
    if (other && *c->model.init != '\0')
        return ERR(
            E_CONFIG,
            "rates.mup_base is %lld, and the weights of model.init were trained %s; leave it "
            "out, or start from random weights",
            (long long)c->rates.mup_base, s->mup_base > 0 ? "with another" : "without muP");
    if (other)
        s->mup_base = (int)c->rates.mup_base;
    return OK;
}

int shape_of_job(struct model_spec *s, const struct config *c)
{
    memset(s, 0, sizeof *s);
    if (*c->model.path != '\0')
        TRY(spec_from_file(s, c->model.path));
    else if (*c->model.preset != '\0')
        TRY(spec_preset(s, c->model.preset));
    if (*c->model.init != '\0') {
        struct model_spec init;
        TRY(weights_spec(&init, c->model.init));
        if (s->L == 0)
            *s = init;
        s->V = init.V;
        s->mup_base = init.mup_base;
    }
    override_shape(s, c);
    TRY(set_mup(s, c));
    return spec_check(s);
}

int shape_take_vocab(struct model_spec *s, const struct config *c, const struct store *store)
{
    if (c->model.vocab < 0 && *c->model.init == '\0')
        s->V = store->vocab;
    return spec_check(s);
}

int shape_with_data(struct model_spec *s, const struct config *c)
{
    struct store store;
    TRY(shape_of_job(s, c));
    TRY(store_open(&store, c->data.train, SPLIT_TRAIN));
    int rc = shape_take_vocab(s, c, &store);
    store_close(&store);
    return rc;
}
