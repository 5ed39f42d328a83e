#include "model/acts.h"

#include "base/err.h"
#include "base/mem.h"
#include "kern/attention.h"
#include "kern/rope.h"

/* Logits that exist at a time, and the fewest rows that keep the products of a huge vocabulary
 * efficient: each chunk packs the embedding and reads and writes its whole gradient. Measured at
 * V 262144: 128 rows cost a step 6 % more time than 256, and 512 save no more. */
enum { CHUNK_FLOATS = 1 << 23, CHUNK_MIN_ROWS = 192 };
/* Buffers start where a cache line does. */
enum { ALIGN_FLOATS = MEM_ALIGN / sizeof(float) };

enum { LOSS_UP = USE_LOSS | USE_TRAIN, ALL_USES = USE_DECODE | LOSS_UP };
enum needs { ALWAYS, POST_NORMS, QK_NORM };

/* SHARED: one for all layers. KEPT: the backward pass reads every layer's own. The others are kept
 * where they are a product's output, and rebuilt by a cheap pass where a norm follows it. */
enum keep { SHARED, KEPT, KEPT_WITHOUT_POST_NORMS, KEPT_WITHOUT_QK_NORM };

/* Floats per position of each buffer, as multiples of the model's sizes. */
static const struct row {
    enum act id;
    int uses;
    enum needs needs;
    enum keep keep;
    unsigned char D, Q, KV, F, H, K, one;
} table[] = {
    {ACT_X, ALL_USES, ALWAYS, KEPT, .D = 1},
    {ACT_X_MID, ALL_USES, ALWAYS, KEPT_WITHOUT_POST_NORMS, .D = 1},
    {ACT_XN, ALL_USES, ALWAYS, SHARED, .D = 1},
    {ACT_RSTD, ALL_USES, ALWAYS, SHARED, .one = 1},
    {ACT_RAW, ALL_USES, QK_NORM, KEPT, .Q = 1, .KV = 2},
    {ACT_RAW_RSTD, ALL_USES, QK_NORM, KEPT, .H = 1, .K = 1},
    {ACT_QKV, ALL_USES, ALWAYS, KEPT_WITHOUT_QK_NORM, .Q = 1, .KV = 2},
    {ACT_ATT, ALL_USES, ALWAYS, KEPT, .Q = 1},
    {ACT_LSE, USE_TRAIN, ALWAYS, KEPT, .H = 1},
    {ACT_O, ALL_USES, POST_NORMS, KEPT, .D = 1},
    {ACT_O_RSTD, ALL_USES, POST_NORMS, KEPT, .one = 1},
    {ACT_GU, ALL_USES, ALWAYS, KEPT, .F = 2},
    {ACT_H, ALL_USES, ALWAYS, SHARED, .F = 1},
    {ACT_Y, ALL_USES, POST_NORMS, KEPT, .D = 1},
    {ACT_Y_RSTD, ALL_USES, POST_NORMS, KEPT, .one = 1},
    {ACT_DX, USE_TRAIN, ALWAYS, SHARED, .D = 1},
    {ACT_DXN, USE_TRAIN, ALWAYS, SHARED, .D = 1},
    {ACT_DATT, USE_TRAIN, ALWAYS, SHARED, .Q = 1},
    {ACT_DQKV, USE_TRAIN, ALWAYS, SHARED, .Q = 1, .KV = 2},
    {ACT_LOSS, LOSS_UP, ALWAYS, SHARED, .one = 1},
    {ACT_CORRECT, LOSS_UP, ALWAYS, SHARED, .one = 1},
};
enum { N_ROWS = sizeof table / sizeof *table };

static size_t per_position(const struct row *r, const struct model_spec *s)
{
    size_t D = (size_t)s->D, H = (size_t)s->H, K = (size_t)s->K, Hd = (size_t)s->Hd;
    return r->D * D + r->Q * H * Hd + r->KV * K * Hd + r->F * (size_t)s->F + r->H * H + r->K * K +
           r->one;
}

static bool needed(const struct row *r, const struct model_spec *s, enum act_use use)
{
    return (r->uses & (int)use) != 0 && (r->needs != POST_NORMS || s->post_norms) &&
           (r->needs != QK_NORM || s->qk_norm);
}

static bool kept(const struct row *r, const struct model_spec *s)
{
    return r->keep == KEPT || (r->keep == KEPT_WITHOUT_POST_NORMS && !s->post_norms) ||
           (r->keep == KEPT_WITHOUT_QK_NORM && !s->qk_norm);
}

/* Cuts n floats for each of n_layers from the end of what is planned. */
static void cut(struct acts *a, size_t *end, enum act id, size_t n, size_t n_layers)
{
    size_t each = (n + ALIGN_FLOATS - 1) / ALIGN_FLOATS * ALIGN_FLOATS;
    a->at[id] = *end;
    a->stride[id] = n_layers > 1 ? each : 0;
    *end += each * n_layers;
}

static size_t most_rows(size_t V)
{
    size_t rows = CHUNK_FLOATS / V;
    return rows > CHUNK_MIN_ROWS ? rows : CHUNK_MIN_ROWS;
}

size_t acts_chunk_rows(size_t n, size_t V)
{
    size_t most = most_rows(V);
    /* Equal chunks: a short last one would run at a lower rate. */
    size_t n_chunks = (n + most - 1) / most;
    return n_chunks == 0 ? 0 : (n + n_chunks - 1) / n_chunks;
}

/* Room for the chunk of any batch of up to n rows. */
static size_t chunk_room(size_t n, size_t V)
{
    return (n < most_rows(V) ? n : most_rows(V)) * V;
}

static size_t scratch_floats(const struct model_spec *s, size_t B, size_t T)
{
    struct attention_shape shape = {
        .B = B, .T = T, .H = (size_t)s->H, .K = (size_t)s->K, .Hd = (size_t)s->Hd, .scale = 1};
    size_t global = attention_scratch(&shape);
    shape.window = (size_t)s->window;
    size_t local = attention_scratch(&shape);
    return global > local ? global : local;
}

size_t acts_plan(struct acts *a, const struct model_spec *s, size_t N, size_t T, enum act_use use)
{
    size_t L = (size_t)s->L, end = 0;
    *a = (struct acts){.use = use, .n_rows = N, .n_positions = T};
    for (int i = 0; i < N_ROWS; i++) {
        const struct row *r = &table[i];
        /* The stream behind the last layer is kept as well. */
        size_t n_layers = use == USE_TRAIN && kept(r, s) ? L + (r->id == ACT_X) : 1;
        if (needed(r, s, use))
            cut(a, &end, r->id, N * per_position(r, s), n_layers);
    }
    cut(a, &end, ACT_ROPE, T * (size_t)s->Hd, 1);
    cut(a, &end, ACT_ROPE_LOCAL, T * (size_t)s->Hd, 1);
    if (use != USE_DECODE) {
        a->n_scratch = scratch_floats(s, N / T, T);
        cut(a, &end, ACT_SCRATCH, a->n_scratch, 1);
        cut(a, &end, ACT_LOGITS, chunk_room(N, (size_t)s->V), 1);
    }
    return end * sizeof(float);
}

int acts_init(struct acts *a, const struct model_spec *s, size_t n_rows, size_t T, enum act_use use)
{
    size_t bytes = acts_plan(a, s, n_rows, T, use);
    TRY(mem_alloc(&a->base, bytes, 1, "activations"));
    rope_table(act(a, ACT_ROPE, 0), T, (size_t)s->Hd, s->rope_theta, s->rope_factor);
    rope_table(act(a, ACT_ROPE_LOCAL, 0), T, (size_t)s->Hd, s->rope_theta_local, 1);
    return OK;
}

void acts_release(struct acts *a)
{
    mem_free(a->base);
    *a = (struct acts){0};
}
