#include "model/model.h"

#include "base/err.h"
#include "base/watch.h"
#include "model/head.h"

#include <math.h>
#include <string.h>

struct model {
    struct net net;
    bool training;
    float most_logit; /* of the present pass */
};

/* Positions of one pass: far more than fit into any memory, and few enough that no size overflows.
 */
enum { MAX_POSITIONS = 1 << 28 };

static bool possible(int B, int T)
{
    return B >= 1 && T >= 1 && (int64_t)B * T <= MAX_POSITIONS;
}

static struct act_plan plan_of(int B, int T, const struct model_options *o)
{
    return (struct act_plan){.n_rows = (size_t)B * (size_t)T,
                             .T = (size_t)T,
                             .use = o->training ? USE_TRAIN : USE_LOSS,
                             .products = o->products,
                             .recompute = o->recompute,
                             .dropout = o->training && o->dropout > 0};
}

int model_new(struct model **m, const struct model_spec *s, int B, int T,
              const struct model_options *o)
{
    struct model *new;
    *m = NULL;
    if (!possible(B, T))
        return ERR(E_CONFIG,
                   "a batch of %d sequences of %d positions: both must be 1 or more, and %d "
                   "in all at most",
                   B, T, MAX_POSITIONS);
    TRY(mem_alloc(&new, 1, sizeof *new, "model"));
    struct act_plan plan = plan_of(B, T, o);
    int rc = net_init(&new->net, s, &plan);
    new->training = o->training;
    new->net.also = o->also;
    new->net.dropout = o->dropout;
    new->net.dropout_seed = o->seed;
    new->net.most_logit = &new->most_logit;
    if (rc != OK)
        mem_free(new);
    else
        *m = new;
    return rc;
}

void model_free(struct model *m)
{
    if (m != NULL)
        net_release(&m->net);
    mem_free(m);
}

size_t model_bytes(const struct model_spec *s, int B, int T, const struct model_options *o)
{
    if (!possible(B, T))
        return SIZE_MAX;
    struct act_plan plan = plan_of(B, T, o);
    return sizeof(struct model) + net_bytes(s, &plan);
}

size_t model_forms_bytes(const struct model_spec *s, enum dtype products)
{
    struct forms f;
    if (products == F32)
        return 0;
    forms_plan(&f, s);
    return f.bytes;
}

int model_set_forms(struct model *m, void *memory)
{
    struct net *n = &m->net;
    if (n->products == NULL)
        return OK;
    if (n->owns_packed)
        mem_free(n->packed);
    n->packed = memory;
    n->owns_packed = memory == NULL;
    return memory == NULL ? mem_alloc(&n->packed, n->forms.bytes, 1, "packed weights") : OK;
}

void model_pack(struct model *m, const float *params, int part, int n_parts)
{
    const struct net *n = &m->net;
    if (n->products == NULL)
        return;
    linear_pack(n, params, part, n_parts);
    double weights = (double)n->table.n_params / n_parts;
    prof_lap(n->prof, PROF_PACK, 0, weights * (double)(sizeof(float) + N_FORMS * sizeof(uint16_t)));
}

void model_set_frozen(struct model *m, const bool *frozen)
{
    net_set_frozen(&m->net, frozen);
}

void model_set_prof(struct model *m, struct prof *p)
{
    m->net.prof = p;
}

const struct model_spec *model_get_spec(const struct model *m)
{
    return &m->net.spec;
}

const struct tensor_table *model_tensors(const struct model *m)
{
    return &m->net.table;
}

/* The pass that a batch asks for; one that does not fit would write past the end. */
static struct pass pass_of(const struct net *n, const struct batch_view *b)
{
    struct pass p = {.B = (size_t)b->B, .T = (size_t)b->T, .start = b->start, .sample = b->first};
    p.N = p.B * p.T;
    if (b->B < 1 || b->T < 1 || p.N > n->acts.plan.n_rows || p.T > n->acts.plan.T)
        fatal(E_BUG,
              "a batch of %d x %d was given to a model made for %zu positions in sequences "
              "of at most %zu",
              b->B, b->T, n->acts.plan.n_rows, n->acts.plan.T);
    return p;
}

/* Embedding and all layers. */
static void run_layers(const struct net *n, const struct pass *p, const float *params,
                       const int32_t *token)
{
    *n->most_logit = -INFINITY;
    block_embed(n, p, params, token);
    for (int l = 0; l < n->spec.L; l++) {
        block_fwd(n, p, l, params);
        watch_beat();
    }
}

void model_loss(struct model *m, const float *params, const struct batch_view *b,
                struct pass_result *out, float *token_loss)
{
    struct pass p = pass_of(&m->net, b);
    run_layers(&m->net, &p, params, b->token);
    head_loss(&m->net, &p, params, b, NULL, out);
    out->most_logit = m->most_logit;
    if (token_loss != NULL)
        memcpy(token_loss, act(&m->net.acts, ACT_LOSS, 0), p.N * sizeof *token_loss);
}

void model_logits(struct model *m, const float *params, const struct batch_view *b, float *logits)
{
    struct pass p = pass_of(&m->net, b);
    run_layers(&m->net, &p, params, b->token);
    head_logits(&m->net, params, 0, p.N, logits);
}

/* Norms add up over rows, so they start from zero; the gaps stay zero. Products overwrite theirs.
 */
static void clear_grads(const struct tensor_table *t, float *grads)
{
    size_t end = 0;
    for (int i = 0; i < t->n; i++) {
        const struct tensor *r = &t->row[i];
        memset(grads + end, 0, (r->offset - end) * sizeof *grads);
        if (r->n_dims == 1)
            memset(grads + r->offset, 0, r->n * sizeof *grads);
        end = r->offset + r->n;
    }
}

/* Hands over the gradients from an offset up to what was handed over before. */
struct handover {
    grad_ready_fn ready;
    void *ctx;
    const struct tensor_table *table;
    int row; /* the next tensor to hand over */
    float *grads;
    size_t end;
};

/* A frozen tensor's place holds what a product with its neighbours or a norm left there, or nothing
 * of this pass. */
static void hand_over(struct handover *h, size_t first)
{
    const struct tensor *t = h->table->row;
    for (; h->row >= 0 && t[h->row].offset >= first; h->row--)
        if (t[h->row].frozen)
            memset(h->grads + t[h->row].offset, 0, t[h->row].n * sizeof *h->grads);
    if (h->ready != NULL)
        h->ready(h->ctx, first, h->end - first);
    h->end = first;
}

void model_grad(struct model *m, const float *params, const struct batch_view *b, float *grads,
                struct pass_result *out, grad_ready_fn ready, void *ctx)
{
    const struct net *n = &m->net;
    struct pass p = pass_of(n, b);
    struct handover h = {ready, ctx, &n->table, n->table.n - 1, grads, n->table.n_elems};
    if (!m->training)
        fatal(E_BUG, "a model made without training memory was asked for gradients");
    p.drops = n->dropout > 0;
    run_layers(n, &p, params, b->token);
    head_loss(n, &p, params, b, grads, out);
    out->most_logit = m->most_logit;
    clear_grads(&n->table, grads);
    prof_lap(n->prof, PROF_EMBED_BWD, 0, 0);
    block_between_bwd(n, &p, n->spec.L, params, grads, true);
    hand_over(&h, net_at(n, TENSOR_FINAL_NORM, 0));
    for (int l = n->spec.L - 1; l >= 0; l--) {
        block_bwd(n, &p, l, params, grads);
        block_between_bwd(n, &p, l, params, grads, false);
        hand_over(&h, net_at(n, TENSOR_INPUT_NORM, l));
        watch_beat();
    }
    if (net_reaches(n, TENSOR_EMBED, 0))
        block_embed_bwd(n, &p, b->token, grads);
    hand_over(&h, 0);
}
