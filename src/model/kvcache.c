#include "model/kvcache.h"

#include "base/err.h"
#include "base/watch.h"
#include "kern/attention.h"
#include "kern/embed.h"
#include "model/head.h"

#include <math.h>
#include <string.h>

/* Tokens that go through the layers at a time: enough for efficient products. */
enum { FEED_ROWS = 128 };

struct kvcache {
    struct net net;
    int length, max_T;
    size_t n_rows;  /* of the working memory */
    float *kv;      /* [L][2][max_T, K·Hd]: keys, then values */
    float *scratch; /* [max_T] */
};

int kvcache_new(struct kvcache **out, const struct model_spec *s, int max_T)
{
    struct kvcache *c;
    int rc;
    *out = NULL;
    if (max_T < 1)
        return ERR(E_CONFIG, "a cache for %d positions: it needs at least 1", max_T);
    TRY(spec_check(s));
    TRY(mem_alloc(&c, 1, sizeof *c, "key/value cache"));
    c->max_T = max_T;
    c->n_rows = max_T < FEED_ROWS ? (size_t)max_T : FEED_ROWS;
    size_t row = (size_t)s->K * (size_t)s->Hd * 2 * (size_t)s->L;
    /* The working memory holds few rows, the tables of angles all positions. */
    const struct act_plan plan = {.n_rows = c->n_rows, .T = (size_t)max_T, .use = USE_DECODE};
    TRY_OUT(net_init(&c->net, s, &plan));
    TRY_OUT(mem_alloc(&c->kv, (size_t)max_T, row * sizeof *c->kv, "keys and values"));
    TRY_OUT(mem_alloc(&c->scratch, (size_t)max_T, sizeof *c->scratch, "attention weights"));
    *out = c;
    return OK;
out:
    kvcache_free(c);
    return rc;
}

void kvcache_free(struct kvcache *c)
{
    if (c == NULL)
        return;
    net_release(&c->net);
    mem_free(c->kv);
    mem_free(c->scratch);
    mem_free(c);
}

void kvcache_reset(struct kvcache *c)
{
    c->length = 0;
}

int kvcache_length(const struct kvcache *c)
{
    return c->length;
}

/* Keys (which 0) or values (1) of a layer: [max_T, K·Hd]. */
static float *stored(const struct kvcache *c, int layer, int which)
{
    size_t row = (size_t)c->net.spec.K * (size_t)c->net.spec.Hd;
    return c->kv + ((size_t)layer * 2 + (size_t)which) * (size_t)c->max_T * row;
}

/* Stores each new position's key and value, then lets it look at all up to itself. */
static void attend(struct kvcache *c, const struct pass *p, int layer)
{
    const struct model_spec *s = &c->net.spec;
    struct attention_shape shape = block_attention(&c->net, p, layer);
    size_t row = (size_t)s->K * (size_t)s->Hd, Q = (size_t)s->H * (size_t)s->Hd;
    float *keys = stored(c, layer, 0), *values = stored(c, layer, 1);
    for (size_t i = 0; i < p->N; i++) {
        const float *q = act(&c->net.acts, ACT_QKV, layer) + i * shape.ldqkv;
        size_t at = p->first + i;
        memcpy(keys + at * row, q + Q, row * sizeof *keys);
        memcpy(values + at * row, q + Q + row, row * sizeof *values);
        attention_decode(act(&c->net.acts, ACT_ATT, layer) + i * shape.ldout, q, keys, values, row,
                         at + 1, &shape, c->scratch);
    }
}

static void feed_rows(struct kvcache *c, const float *params, const int32_t *token, size_t n)
{
    const struct net *net = &c->net;
    struct pass p = {.B = 1, .T = n, .N = n, .first = (size_t)c->length};
    block_embed(net, &p, params, token);
    for (int l = 0; l < net->spec.L; l++) {
        watch_beat();
        block_qkv(net, &p, l, params);
        attend(c, &p, l);
        block_rest(net, &p, l, params);
    }
    c->length += (int)n;
}

int kvcache_feed(struct kvcache *c, const float *params, const int32_t *token, int n, float *logits)
{
    if (n < 1 || n > c->max_T - c->length)
        return ERR(E_DATA, "%d tokens do not fit: the cache holds %d of %d positions", n, c->length,
                   c->max_T);
    for (int i = 0; i < n; i++)
        if (token[i] < 0 || token[i] >= c->net.spec.V)
            return ERR(E_DATA, "token %d is not in the vocabulary of %d", token[i], c->net.spec.V);
    size_t rows = 0;
    for (size_t done = 0; done < (size_t)n; done += rows) {
        rows = (size_t)n - done < c->n_rows ? (size_t)n - done : c->n_rows;
        feed_rows(c, params, token + done, rows);
    }
    head_logits(&c->net, params, rows - 1, 1, logits);
    return OK;
}
