#include "ref/gemma_ref.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One sequence on its way through the model. */
struct seq {
    const struct model_spec *s;
    const struct tensor_table *t;
    const double *w;
    int T;
    const int32_t *start; /* of this sequence; NULL: 0 */
    uint64_t sample;
};

static void *zeros(size_t n)
{
    void *p = calloc(n, sizeof(double));
    if (p == NULL)
        abort();
    return p;
}

static const double *named(const struct seq *q, const char *name)
{
    const struct tensor *t = tensors_find(q->t, name);
    if (t == NULL) {
        fprintf(stderr, "no tensor is called %s\n", name);
        abort();
    }
    return q->w + t->offset;
}

static const double *of_layer(const struct seq *q, int layer, const char *what)
{
    char name[128];
    snprintf(name, sizeof name, "model.layers.%d.%s.weight", layer, what);
    return named(q, name);
}

/* y = x / sqrt(mean(x²) + eps) · (1 + w). */
static void norm(double *y, const double *x, const double *w, int d, double eps)
{
    double sum = 0;
    for (int i = 0; i < d; i++)
        sum += x[i] * x[i];
    double r = 1 / sqrt(sum / d + eps);
    for (int i = 0; i < d; i++)
        y[i] = x[i] * r * (1 + w[i]);
}

/* y[n] = W[n,d] x[d]. */
static void apply(double *y, const double *W, const double *x, int n, int d)
{
    for (int i = 0; i < n; i++) {
        y[i] = 0;
        for (int j = 0; j < d; j++)
            y[i] += W[i * d + j] * x[j];
    }
}

static double capped(double z, double cap)
{
    return cap > 0 ? cap * tanh(z / cap) : z;
}

static double gelu_tanh(double x)
{
    return 0.5 * x * (1 + tanh(sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
}

/* Element i and element i + Hd/2 are one point in the plane. */
static void rotate(double *x, int p, int Hd, double base, double factor)
{
    for (int i = 0; i < Hd / 2; i++) {
        double angle = p / (pow(base, 2.0 * i / Hd) * factor);
        double a = x[i], b = x[i + Hd / 2];
        x[i] = a * cos(angle) - b * sin(angle);
        x[i + Hd / 2] = b * cos(angle) + a * sin(angle);
    }
}

/* Heads of one kind at every position: out[T, n_heads, Hd]; norm and rotation where they apply. */
static double *project(const struct seq *q, int layer, const double *x, const char *what,
                       int n_heads, const char *norm_name, int turn)
{
    const struct model_spec *s = q->s;
    double *out = zeros((size_t)(q->T * n_heads * s->Hd));
    bool local = s->local[layer];
    for (int p = 0; p < q->T; p++) {
        double *row = out + p * n_heads * s->Hd;
        apply(row, of_layer(q, layer, what), x + p * s->D, n_heads * s->Hd, s->D);
        for (int h = 0; h < n_heads; h++) {
            double *head = row + h * s->Hd;
            if (s->qk_norm && norm_name != NULL)
                norm(head, head, of_layer(q, layer, norm_name), s->Hd, s->eps);
            if (turn)
                rotate(head, p, s->Hd, local ? s->rope_theta_local : s->rope_theta,
                       local ? 1 : s->rope_factor);
        }
    }
    return out;
}

static bool sees(const struct seq *q, int layer, int i, int j)
{
    return j <= i && (!q->s->local[layer] || j > i - q->s->window) &&
           (q->start == NULL || j >= q->start[i]);
}

/* out[Hd]: what query head h at position i gathers. */
static void gather(const struct seq *q, int layer, double *out, const double *query,
                   const double *keys, const double *values, int i, int h)
{
    const struct model_spec *s = q->s;
    int kv = h / (s->H / s->K);
    double sum = 0;
    double *e = zeros((size_t)q->T);
    for (int j = 0; j < q->T; j++) {
        double score = 0;
        for (int c = 0; c < s->Hd; c++)
            score += query[c] * keys[(j * s->K + kv) * s->Hd + c];
        e[j] = sees(q, layer, i, j) ? exp(capped(score / sqrt(s->query_scalar), s->attn_cap)) : 0;
        sum += e[j];
    }
    for (int c = 0; c < s->Hd; c++) {
        out[c] = 0;
        for (int j = 0; j < q->T; j++)
            out[c] += e[j] / sum * values[(j * s->K + kv) * s->Hd + c];
    }
    free(e);
}

const struct dropout *gemma_ref_dropout;

static void mask(const struct seq *q, double *branch, int place, int p)
{
    struct dropout o = *gemma_ref_dropout;
    float *factor = malloc((size_t)q->s->D * sizeof *factor);
    if (factor == NULL)
        abort();
    for (int i = 0; i < q->s->D; i++)
        factor[i] = 1;
    /* Row p of a place's mask is the only one of a mask that is a row long. */
    o.sample = q->sample;
    o.place = (uint64_t)(place * q->T + p);
    dropout(factor, factor, &o, 1, 1, (size_t)q->s->D);
    for (int i = 0; i < q->s->D; i++)
        branch[i] *= factor[i];
    free(factor);
}

/* x += norm(branch) or branch, after its mask, which has a place. */
static void add(const struct seq *q, double *x, double *branch, int layer, const char *norm_name,
                int place, int p)
{
    if (q->s->post_norms)
        norm(branch, branch, of_layer(q, layer, norm_name), q->s->D, q->s->eps);
    if (gemma_ref_dropout != NULL)
        mask(q, branch, place, p);
    for (int i = 0; i < q->s->D; i++)
        x[i] += branch[i];
}

static void attention(const struct seq *q, int layer, double *x)
{
    const struct model_spec *s = q->s;
    int D = s->D, Q = s->H * s->Hd;
    double *in = zeros((size_t)(q->T * D)), *heads = zeros((size_t)Q), *out = zeros((size_t)D);
    for (int p = 0; p < q->T; p++)
        norm(in + p * D, x + p * D, of_layer(q, layer, "input_layernorm"), D, s->eps);
    double *query = project(q, layer, in, "self_attn.q_proj", s->H, "self_attn.q_norm", 1);
    double *key = project(q, layer, in, "self_attn.k_proj", s->K, "self_attn.k_norm", 1);
    double *value = project(q, layer, in, "self_attn.v_proj", s->K, NULL, 0);
    for (int p = 0; p < q->T; p++) {
        for (int h = 0; h < s->H; h++)
            gather(q, layer, heads + h * s->Hd, query + p * Q + h * s->Hd, key, value, p, h);
        apply(out, of_layer(q, layer, "self_attn.o_proj"), heads, D, Q);
        add(q, x + p * D, out, layer, "post_attention_layernorm", 2 * layer, p);
    }
    free(in);
    free(heads);
    free(out);
    free(query);
    free(key);
    free(value);
}

static void mlp(const struct seq *q, int layer, double *x)
{
    const struct model_spec *s = q->s;
    const char *pre = s->family == 1 ? "post_attention_layernorm" : "pre_feedforward_layernorm";
    double *in = zeros((size_t)s->D), *out = zeros((size_t)s->D);
    double *gate = zeros((size_t)s->F), *up = zeros((size_t)s->F);
    for (int p = 0; p < q->T; p++) {
        norm(in, x + p * s->D, of_layer(q, layer, pre), s->D, s->eps);
        apply(gate, of_layer(q, layer, "mlp.gate_proj"), in, s->F, s->D);
        apply(up, of_layer(q, layer, "mlp.up_proj"), in, s->F, s->D);
        for (int i = 0; i < s->F; i++)
            gate[i] = gelu_tanh(gate[i]) * up[i];
        apply(out, of_layer(q, layer, "mlp.down_proj"), gate, s->D, s->F);
        add(q, x + p * s->D, out, layer, "post_feedforward_layernorm", 2 * layer + 1, p);
    }
    free(in);
    free(out);
    free(gate);
    free(up);
}

/* -log softmax(z)[target]. */
static double cross_entropy(const double *z, int V, int target)
{
    double top = z[0], sum = 0;
    for (int v = 1; v < V; v++)
        top = fmax(top, z[v]);
    for (int v = 0; v < V; v++)
        sum += exp(z[v] - top);
    return log(sum) + top - z[target];
}

/* Fills z[T,V] with the logits of one sequence. */
static void sequence_logits(const struct seq *q, const int32_t *token, double *z)
{
    const struct model_spec *s = q->s;
    const double *table = named(q, "model.embed_tokens.weight");
    double *x = zeros((size_t)(q->T * s->D));
    for (int i = 0; i < q->T * s->D; i++)
        x[i] = table[token[i / s->D] * s->D + i % s->D] * sqrt(s->mup_base ? s->mup_base : s->D);
    for (int l = 0; l < s->L; l++) {
        attention(q, l, x);
        mlp(q, l, x);
    }
    for (int p = 0; p < q->T; p++) {
        norm(x + p * s->D, x + p * s->D, named(q, "model.norm.weight"), s->D, s->eps);
        apply(z + (size_t)p * (size_t)s->V, table, x + p * s->D, s->V, s->D);
    }
    for (size_t i = 0; i < (size_t)q->T * (size_t)s->V; i++)
        z[i] = capped(s->mup_base ? z[i] * s->mup_base / s->D : z[i], s->final_cap);
    free(x);
}

double gemma_ref_loss(const struct model_spec *s, const struct tensor_table *t, const double *w,
                      const struct batch_view *b, double *logits, double *token_loss)
{
    size_t per_seq = (size_t)b->T * (size_t)s->V;
    double *z = zeros(per_seq), sum = 0;
    for (int i = 0; i < b->B; i++) {
        struct seq q = {
            s, t, w, b->T, b->start == NULL ? NULL : b->start + i * b->T, b->first + (uint64_t)i};
        sequence_logits(&q, b->token + i * b->T, z);
        if (logits != NULL)
            memcpy(logits + (size_t)i * per_seq, z, per_seq * sizeof *z);
        for (int p = 0; p < b->T; p++) {
            int at = i * b->T + p;
            double loss = cross_entropy(z + (size_t)p * (size_t)s->V, s->V, b->target[at]);
            if (token_loss != NULL)
                token_loss[at] = loss;
            sum += b->weight == NULL ? loss : b->weight[at] * loss;
        }
    }
    free(z);
    return sum;
}
