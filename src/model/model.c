#include "model/model.h"

#include "base/err.h"
#include "model/head.h"

#include <string.h>

struct model {
    struct net net;
    bool training;
};

/* Positions of one pass: far more than fit into any memory, and few enough that no size overflows.
 */
enum { MAX_POSITIONS = 1 << 28 };

static bool possible(int B, int T)
{
    return B >= 1 && T >= 1 && (int64_t)B * T <= MAX_POSITIONS;
}

int model_new(struct model **m, const struct model_spec *s, int B, int T, bool training)
{
    struct model *new;
    *m = NULL;
    if (!possible(B, T))
        return ERR(E_CONFIG,
                   "a batch of %d sequences of %d positions: both must be 1 or more, and %d "
                   "in all at most",
                   B, T, MAX_POSITIONS);
    TRY(mem_alloc(&new, 1, sizeof *new, "model"));
    int rc =
        net_init(&new->net, s, (size_t)B * (size_t)T, (size_t)T, training ? USE_TRAIN : USE_LOSS);
    new->training = training;
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

size_t model_bytes(const struct model_spec *s, int B, int T, bool training)
{
    if (!possible(B, T))
        return SIZE_MAX;
    return sizeof(struct model) +
           net_bytes(s, (size_t)B * (size_t)T, (size_t)T, training ? USE_TRAIN : USE_LOSS);
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
    struct pass p = {.B = (size_t)b->B, .T = (size_t)b->T, .start = b->start};
    p.N = p.B * p.T;
    if (b->B < 1 || b->T < 1 || p.N > n->acts.n_rows || p.T > n->acts.n_positions)
        fatal(E_BUG,
              "a batch of %d x %d was given to a model made for %zu positions in sequences "
              "of at most %zu",
              b->B, b->T, n->acts.n_rows, n->acts.n_positions);
    return p;
}

/* Embedding and all layers. */
static void run_layers(const struct net *n, const struct pass *p, const float *params,
                       const int32_t *token)
{
    block_embed(n, p, params, token);
    for (int l = 0; l < n->spec.L; l++)
        block_fwd(n, p, l, params);
}

void model_loss(struct model *m, const float *params, const struct batch_view *b,
                struct pass_result *out, float *token_loss)
{
    struct pass p = pass_of(&m->net, b);
    run_layers(&m->net, &p, params, b->token);
    head_loss(&m->net, &p, params, b, NULL, out);
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
    size_t end;
};

static void hand_over(struct handover *h, size_t first)
{
    if (h->ready != NULL)
        h->ready(h->ctx, first, h->end - first);
    h->end = first;
}

void model_grad(struct model *m, const float *params, const struct batch_view *b, float *grads,
                struct pass_result *out, grad_ready_fn ready, void *ctx)
{
    const struct net *n = &m->net;
    struct pass p = pass_of(n, b);
    struct handover h = {ready, ctx, n->table.n_elems};
    if (!m->training)
        fatal(E_BUG, "a model made without training memory was asked for gradients");
    clear_grads(&n->table, grads);
    net_lap_pass(n, PROF_EMBED_BWD, 0);
    run_layers(n, &p, params, b->token);
    head_loss(n, &p, params, b, grads, out);
    hand_over(&h, net_at(n, TENSOR_FINAL_NORM, 0));
    for (int l = n->spec.L - 1; l >= 0; l--) {
        block_bwd(n, &p, l, params, grads);
        hand_over(&h, net_at(n, TENSOR_INPUT_NORM, l));
    }
    block_embed_bwd(n, &p, b->token, grads);
    hand_over(&h, 0);
}
