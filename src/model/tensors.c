#include "model/tensors.h"

#include "base/err.h"
#include "base/mem.h"
#include "base/rng.h"
#include "base/watch.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Groups start where a cache line does. */
enum { GROUP_ALIGN = 16 };

/* A dimension as the table below names it. */
enum dim { NO_DIM, DIM_V, DIM_D, DIM_Q, DIM_KV, DIM_HD, DIM_F };
/* Which models have the tensor. */
enum has { ALWAYS, POST_NORMS, QK_NORM };
enum place { IN_LAYER, BEFORE_LAYERS, BEHIND_LAYERS };

/* One row per kind, in slab order. joined: no gap before it. first_name: Gemma 1's, where it calls
 * the same thing by another name. */
static const struct kind_row {
    enum tensor_kind kind;
    enum place place;
    enum has has;
    bool joined, residual_out;
    enum dim dim[2];
    const char *name, *first_name;
} kinds[TENSOR_N_KINDS] = {
    {TENSOR_EMBED, BEFORE_LAYERS, ALWAYS, 0, 0, {DIM_V, DIM_D}, "embed_tokens", NULL},
    {TENSOR_INPUT_NORM, IN_LAYER, ALWAYS, 0, 0, {DIM_D, NO_DIM}, "input_layernorm", NULL},
    {TENSOR_Q, IN_LAYER, ALWAYS, 0, 0, {DIM_Q, DIM_D}, "self_attn.q_proj", NULL},
    {TENSOR_K, IN_LAYER, ALWAYS, 1, 0, {DIM_KV, DIM_D}, "self_attn.k_proj", NULL},
    {TENSOR_V, IN_LAYER, ALWAYS, 1, 0, {DIM_KV, DIM_D}, "self_attn.v_proj", NULL},
    {TENSOR_Q_NORM, IN_LAYER, QK_NORM, 0, 0, {DIM_HD, NO_DIM}, "self_attn.q_norm", NULL},
    {TENSOR_K_NORM, IN_LAYER, QK_NORM, 0, 0, {DIM_HD, NO_DIM}, "self_attn.k_norm", NULL},
    {TENSOR_O, IN_LAYER, ALWAYS, 0, 1, {DIM_D, DIM_Q}, "self_attn.o_proj", NULL},
    {TENSOR_POST_ATTN_NORM,
     IN_LAYER,
     POST_NORMS,
     0,
     0,
     {DIM_D, NO_DIM},
     "post_attention_layernorm",
     NULL},
    {TENSOR_PRE_FFN_NORM,
     IN_LAYER,
     ALWAYS,
     0,
     0,
     {DIM_D, NO_DIM},
     "pre_feedforward_layernorm",
     "post_attention_layernorm"},
    {TENSOR_GATE, IN_LAYER, ALWAYS, 0, 0, {DIM_F, DIM_D}, "mlp.gate_proj", NULL},
    {TENSOR_UP, IN_LAYER, ALWAYS, 1, 0, {DIM_F, DIM_D}, "mlp.up_proj", NULL},
    {TENSOR_DOWN, IN_LAYER, ALWAYS, 0, 1, {DIM_D, DIM_F}, "mlp.down_proj", NULL},
    {TENSOR_POST_FFN_NORM,
     IN_LAYER,
     POST_NORMS,
     0,
     0,
     {DIM_D, NO_DIM},
     "post_feedforward_layernorm",
     NULL},
    {TENSOR_FINAL_NORM, BEHIND_LAYERS, ALWAYS, 0, 0, {DIM_D, NO_DIM}, "norm", NULL},
};

static size_t dim_size(const struct model_spec *s, enum dim d)
{
    const size_t size[] = {
        [NO_DIM] = 1,
        [DIM_V] = (size_t)s->V,
        [DIM_D] = (size_t)s->D,
        [DIM_Q] = (size_t)s->H * (size_t)s->Hd,
        [DIM_KV] = (size_t)s->K * (size_t)s->Hd,
        [DIM_HD] = (size_t)s->Hd,
        [DIM_F] = (size_t)s->F,
    };
    return size[d];
}

static bool has_kind(const struct model_spec *s, const struct kind_row *k)
{
    return k->has == ALWAYS || (k->has == POST_NORMS && s->post_norms) ||
           (k->has == QK_NORM && s->qk_norm);
}

static int rows_in(const struct model_spec *s, enum place place)
{
    int n = 0;
    for (int k = 0; k < TENSOR_N_KINDS; k++)
        n += kinds[k].place == place && has_kind(s, &kinds[k]);
    return n;
}

static void name_tensor(struct tensor *t, const struct model_spec *s, const struct kind_row *k)
{
    const char *name = s->post_norms || k->first_name == NULL ? k->name : k->first_name;
    if (t->layer < 0)
        snprintf(t->name, sizeof t->name, "model.%s.weight", name);
    else
        snprintf(t->name, sizeof t->name, "model.layers.%d.%s.weight", t->layer, name);
}

static void add_place(struct tensor_table *t, const struct model_spec *s, enum place place,
                      int layer)
{
    for (int i = 0; i < TENSOR_N_KINDS; i++) {
        const struct kind_row *k = &kinds[i];
        if (k->place != place || !has_kind(s, k))
            continue;
        struct tensor *r = &t->row[t->n++];
        r->kind = k->kind;
        r->layer = layer;
        r->n_dims = k->dim[1] == NO_DIM ? 1 : 2;
        r->dims[0] = dim_size(s, k->dim[0]);
        r->dims[1] = dim_size(s, k->dim[1]);
        r->n = r->dims[0] * r->dims[1];
        r->decay = r->n_dims == 2;
        r->offset =
            k->joined ? t->n_elems : (t->n_elems + GROUP_ALIGN - 1) / GROUP_ALIGN * GROUP_ALIGN;
        name_tensor(r, s, k);
        t->n_elems = r->offset + r->n;
        t->n_params += r->n;
    }
}

size_t tensors_count(const struct model_spec *s)
{
    return (size_t)(rows_in(s, BEFORE_LAYERS) + s->L * rows_in(s, IN_LAYER) +
                    rows_in(s, BEHIND_LAYERS));
}

int tensors_init(struct tensor_table *t, const struct model_spec *s)
{
    *t = (struct tensor_table){0};
    TRY(mem_alloc(&t->row, tensors_count(s), sizeof *t->row, "tensor table"));
    add_place(t, s, BEFORE_LAYERS, -1);
    for (int l = 0; l < s->L; l++)
        add_place(t, s, IN_LAYER, l);
    add_place(t, s, BEHIND_LAYERS, -1);
    return OK;
}

void tensors_release(struct tensor_table *t)
{
    mem_free(t->row);
    *t = (struct tensor_table){0};
}

const struct tensor *tensors_get(const struct tensor_table *t, enum tensor_kind kind, int layer)
{
    for (int i = 0; i < t->n; i++)
        if (t->row[i].kind == kind && t->row[i].layer == layer)
            return &t->row[i];
    return NULL;
}

const struct tensor *tensors_find(const struct tensor_table *t, const char *name)
{
    for (int i = 0; i < t->n; i++)
        if (strcmp(t->row[i].name, name) == 0)
            return &t->row[i];
    return NULL;
}

/* ---- initial values ---- */

/* A 32-bit word as a uniform number, never 0 or 1. */
static double unit(uint32_t word)
{
    return (word + 0.5) / 4294967296.0;
}

/* Four standard normal numbers from one counter (Box-Muller twice). */
static void normal4(double out[4], uint64_t seed, uint64_t row, uint64_t counter)
{
    uint32_t word[4];
    rng_philox(word, seed, row, counter);
    for (int i = 0; i < 4; i += 2) {
        double r = sqrt(-2 * log(unit(word[i]))), a = 2 * M_PI * unit(word[i + 1]);
        out[i] = r * cos(a);
        out[i + 1] = r * sin(a);
    }
}

static void fill_normal(float *w, size_t n, uint64_t seed, uint64_t row, double std)
{
    double z[4];
    for (size_t i = 0; i < n; i++) {
        if (i % 4 == 0)
            normal4(z, seed, row, i / 4);
        w[i] = (float)(std * z[i % 4]);
    }
}

void tensors_init_values(const struct tensor_table *t, const struct model_spec *s, uint64_t seed,
                         float *slab)
{
    memset(slab, 0, t->n_elems * sizeof *slab);
    for (int i = 0; i < t->n; i++) {
        const struct tensor *r = &t->row[i];
        /* 2L branches add to the residual stream; so scaled, their sum keeps the size of one. */
        double std = kinds[r->kind].residual_out ? s->init_std / sqrt(2.0 * s->L) : s->init_std;
        if (r->layer >= 0)
            std /= sqrt(spec_width_ratio(s));
        if (r->n_dims == 2)
            fill_normal(slab + r->offset, r->n, seed, (uint64_t)i, std);
        watch_beat();
    }
}
