#include "model/acts.h"

#include "base/err.h"
#include "base/mem.h"
#include "kern/attention.h"
#include "kern/gemm.h"
#include "kern/gemm16.h"
#include "kern/rope.h"

/* Of logits in memory of their own: floats that exist at a time, and the fewest rows that keep the
 * products of a huge vocabulary efficient. A loss alone, for which training pauses, may take longer
 * rather than more memory. */
enum { CHUNK_FLOATS = 1 << 23, CHUNK_MIN_ROWS = 192, LOSS_MIN_ROWS = 64 };

enum { LOSS_UP = USE_LOSS | USE_TRAIN, ALL_USES = USE_DECODE | LOSS_UP };
enum needs { ALWAYS, QK_NORM, POST_NORMS, HALF, DROPOUT };

/* The strongest recomputation under which every layer keeps its own for the backward pass. The
 * *_WITHOUT_* ones are rebuilt by a cheap pass where a norm follows. */
enum keep {
    SHARED, /* never */
    NONE,
    NONE_WITHOUT_QK_NORM,
    SELECTIVE,
    SELECTIVE_WITH_POST_NORMS,
    SELECTIVE_WITHOUT_POST_NORMS,
    FULL
};

/* PLAIN: dense floats. OPERAND: of the products' type. In single precision all but PLAIN ones have
 * their rows where products read them best; so have WIDE ones in bfloat16, which products read
 * transposed, and which they write or read whole. */
enum layout { PLAIN, OPERAND, RESULT, WIDE_OPERAND, WIDE_RESULT };

/* Elements per position of each buffer, as multiples of the model's sizes. */
static const struct row {
    enum act id;
    int uses;
    enum needs needs;
    enum keep keep;
    enum layout layout;
    unsigned char D, Q, KV, F, H, K, one;
} table[] = {
    {ACT_X, ALL_USES, ALWAYS, FULL, PLAIN, .D = 1},
    {ACT_X_MID, ALL_USES, ALWAYS, SELECTIVE_WITHOUT_POST_NORMS, PLAIN, .D = 1},
    {ACT_XN, ALL_USES, ALWAYS, SHARED, OPERAND, .D = 1},
    {ACT_RSTD, ALL_USES, ALWAYS, FULL, PLAIN, .one = 1},
    {ACT_MID_RSTD, ALL_USES, ALWAYS, SELECTIVE, PLAIN, .one = 1},
    {ACT_RAW, ALL_USES, QK_NORM, NONE, WIDE_RESULT, .Q = 1, .KV = 2},
    {ACT_RAW_RSTD, ALL_USES, QK_NORM, NONE, PLAIN, .H = 1, .K = 1},
    {ACT_QKV, ALL_USES, ALWAYS, NONE_WITHOUT_QK_NORM, WIDE_RESULT, .Q = 1, .KV = 2},
    {ACT_ATT, ALL_USES, ALWAYS, SELECTIVE, OPERAND, .Q = 1},
    {ACT_LSE, USE_TRAIN, ALWAYS, SELECTIVE, PLAIN, .H = 1},
    {ACT_O, ALL_USES, ALWAYS, SELECTIVE_WITH_POST_NORMS, PLAIN, .D = 1},
    {ACT_O_RSTD, ALL_USES, POST_NORMS, SELECTIVE, PLAIN, .one = 1},
    {ACT_GU, ALL_USES, ALWAYS, NONE, WIDE_OPERAND, .F = 2},
    {ACT_H, ALL_USES, ALWAYS, SHARED, OPERAND, .F = 1},
    {ACT_Y, ALL_USES, ALWAYS, SELECTIVE_WITH_POST_NORMS, PLAIN, .D = 1},
    {ACT_Y_RSTD, ALL_USES, POST_NORMS, FULL, PLAIN, .one = 1},
    {ACT_DX, USE_TRAIN, ALWAYS, SHARED, PLAIN, .D = 1},
    {ACT_DXN, USE_TRAIN, ALWAYS, SHARED, PLAIN, .D = 1},
    {ACT_DBRANCH, USE_TRAIN, ALWAYS, SHARED, OPERAND, .D = 1},
    {ACT_DATT, USE_TRAIN, ALWAYS, SHARED, RESULT, .Q = 1},
    {ACT_DQKV, USE_TRAIN, ALWAYS, SHARED, WIDE_RESULT, .Q = 1, .KV = 2},
    {ACT_DRAW, USE_TRAIN, HALF, SHARED, WIDE_OPERAND, .Q = 1, .KV = 2},
    {ACT_DROP, USE_TRAIN, DROPOUT, SHARED, PLAIN, .D = 1},
    {ACT_LOSS, LOSS_UP, ALWAYS, SHARED, PLAIN, .one = 1},
    {ACT_CORRECT, LOSS_UP, ALWAYS, SHARED, PLAIN, .one = 1},
};
enum { N_ROWS = sizeof table / sizeof *table };

static size_t per_position(const struct row *r, const struct model_spec *s)
{
    size_t D = (size_t)s->D, H = (size_t)s->H, K = (size_t)s->K, Hd = (size_t)s->Hd;
    return r->D * D + r->Q * H * Hd + r->KV * K * Hd + r->F * (size_t)s->F + r->H * H + r->K * K +
           r->one;
}

static bool needed(const struct row *r, const struct model_spec *s, const struct act_plan *p)
{
    const bool has[] = {[ALWAYS] = true,
                        [QK_NORM] = s->qk_norm,
                        [POST_NORMS] = s->post_norms,
                        [HALF] = p->products == BF16,
                        [DROPOUT] = p->dropout};
    return (r->uses & (int)p->use) != 0 && has[r->needs];
}

static bool keeps(const struct row *r, const struct model_spec *s, const struct act_plan *p)
{
    const struct {
        enum recompute strongest;
        bool holds;
    } rule[] = {
        [SHARED] = {RECOMPUTE_NONE, false},
        [NONE] = {RECOMPUTE_NONE, true},
        [NONE_WITHOUT_QK_NORM] = {RECOMPUTE_NONE, !s->qk_norm},
        [SELECTIVE] = {RECOMPUTE_SELECTIVE, true},
        [SELECTIVE_WITH_POST_NORMS] = {RECOMPUTE_SELECTIVE, s->post_norms},
        [SELECTIVE_WITHOUT_POST_NORMS] = {RECOMPUTE_SELECTIVE, !s->post_norms},
        [FULL] = {RECOMPUTE_FULL, true},
    };
    return p->use == USE_TRAIN && rule[r->keep].holds && p->recompute <= rule[r->keep].strongest;
}

static size_t row_distance(enum layout layout, enum dtype products, size_t n)
{
    if (layout == PLAIN)
        return n;
    if (products == F32)
        return gemm_ld(n);
    return layout == WIDE_OPERAND || layout == WIDE_RESULT ? gemm16_ld(n) : n;
}

/* Cuts so many bytes for each of n_layers from the end of what is planned. */
static void cut(struct acts *a, size_t *end, enum act id, size_t bytes, size_t n_layers)
{
    size_t each = (bytes + MEM_ALIGN - 1) / MEM_ALIGN * MEM_ALIGN;
    a->at[id] = *end;
    a->stride[id] = n_layers > 1 ? each : 0;
    *end += each * n_layers;
}

static void cut_row(struct acts *a, size_t *end, const struct row *r, const struct model_spec *s)
{
    const struct act_plan *p = &a->plan;
    bool operand = r->layout == OPERAND || r->layout == WIDE_OPERAND;
    /* The stream behind the last layer is kept as well. */
    size_t L = (size_t)s->L + (r->id == ACT_X || r->id == ACT_RSTD);
    a->kept[r->id] = keeps(r, s, p);
    a->type[r->id] = operand ? p->products : F32;
    a->ld[r->id] = row_distance(r->layout, p->products, per_position(r, s));
    cut(a, end, r->id, p->n_rows * a->ld[r->id] * dtype_size(a->type[r->id]),
        a->kept[r->id] ? L : 1);
}

static void same_memory(struct acts *a, enum act id, enum act as)
{
    a->at[id] = a->at[as];
    a->stride[id] = a->stride[as];
    a->ld[id] = a->ld[as];
    a->type[id] = a->type[as];
    a->kept[id] = a->kept[as];
}

size_t acts_logits_ld(const struct model_spec *s, enum dtype products)
{
    return products == BF16 ? gemm16_ld((size_t)s->V) : gemm_ld((size_t)s->V);
}

size_t acts_chunk_rows(size_t n, size_t ld, size_t room)
{
    size_t most = room / ld;
    /* Equal chunks: a short last one would run at a lower rate. */
    size_t n_chunks = (n + most - 1) / most;
    return n_chunks == 0 ? 0 : (n + n_chunks - 1) / n_chunks;
}

/* Logits of training lie in the layers' gradients, which are not computed yet, and those of a loss
 * alone, in a model for training, in what the layers would keep. Only where one of these is too
 * small they have memory of their own. The rows of a chunk do not hang on what is kept: the
 * embedding's gradient adds up chunk by chunk, and its bits are to be the same. */
static void cut_logits(struct acts *a, size_t *end, const struct model_spec *s)
{
    size_t ld = acts_logits_ld(s, a->plan.products), N = a->plan.n_rows, L = (size_t)s->L;
    size_t D = (size_t)s->D, Q = (size_t)(s->H * s->Hd), KV = (size_t)(s->K * s->Hd);
    size_t most = CHUNK_FLOATS / ld, in_grads = L * D * (2 * Q + 2 * KV + 3 * (size_t)s->F);
    size_t few = N < CHUNK_MIN_ROWS ? N : CHUNK_MIN_ROWS;
    bool elsewhere = a->plan.use == USE_TRAIN && in_grads >= few * ld;
    size_t least = elsewhere ? LOSS_MIN_ROWS : CHUNK_MIN_ROWS, rows = most > least ? most : least;
    a->n_logits = (rows < N ? rows : N) * ld;
    a->n_grad_logits = elsewhere ? in_grads : 0;
    if (elsewhere && a->stride[ACT_GU] * L >= a->n_logits * sizeof(float))
        a->at[ACT_LOGITS] = a->at[ACT_GU];
    else
        cut(a, end, ACT_LOGITS, a->n_logits * sizeof(float), 1);
}

static size_t scratch_floats(const struct acts *a, const struct model_spec *s)
{
    struct attention_shape shape = {.B = a->plan.n_rows / a->plan.T,
                                    .T = a->plan.T,
                                    .H = (size_t)s->H,
                                    .K = (size_t)s->K,
                                    .Hd = (size_t)s->Hd,
                                    .ldqkv = a->ld[ACT_QKV],
                                    .ldout = a->ld[ACT_ATT],
                                    .products = a->plan.products,
                                    .scale = 1};
    size_t global = attention_scratch(&shape);
    shape.window = (size_t)s->window;
    size_t local = attention_scratch(&shape);
    return global > local ? global : local;
}

size_t acts_plan(struct acts *a, const struct model_spec *s, const struct act_plan *p)
{
    size_t end = 0, angles = p->T * (size_t)s->Hd * sizeof(float);
    *a = (struct acts){.plan = *p};
    for (int i = 0; i < N_ROWS; i++)
        if (needed(&table[i], s, p))
            cut_row(a, &end, &table[i], s);
    if (!s->qk_norm)
        same_memory(a, ACT_RAW, ACT_QKV);
    if (p->products == F32)
        same_memory(a, ACT_DRAW, ACT_DQKV);
    if (spec_width_ratio(s) != 1)
        cut(a, &end, ACT_FINAL_NORM, (size_t)s->D * sizeof(float), 1);
    cut(a, &end, ACT_ROPE, angles, 1);
    cut(a, &end, ACT_ROPE_LOCAL, angles, 1);
    if (p->use != USE_DECODE) {
        cut(a, &end, ACT_SCRATCH, scratch_floats(a, s) * sizeof(float), 1);
        cut_logits(a, &end, s);
    }
    return end;
}

int acts_init(struct acts *a, const struct model_spec *s, const struct act_plan *p)
{
    size_t bytes = acts_plan(a, s, p);
    TRY(mem_alloc(&a->base, bytes, 1, "activations"));
    rope_table(act(a, ACT_ROPE, 0), p->T, (size_t)s->Hd, s->rope_theta, s->rope_factor);
    rope_table(act(a, ACT_ROPE_LOCAL, 0), p->T, (size_t)s->Hd, s->rope_theta_local, 1);
    return OK;
}

void acts_release(struct acts *a)
{
    mem_free(a->base);
    *a = (struct acts){0};
}
