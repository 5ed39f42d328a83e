#include "train/generate.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/str.h"
#include <string.h>

struct generator {
    const struct model_spec *spec;
    const float *params;
    const struct tokenizer *tok;
    struct kvcache *cache;
    int max_T, drawn;
    float *logits, *scratch_p;
    int32_t *scratch_id, *prompt;
    size_t prompt_cap;
};

int generator_new(struct generator **out, const struct model_spec *s, const float *params,
                  const struct tokenizer *tok, int max_T)
{
    struct generator *g;
    int rc;
    TRY(mem_alloc(&g, 1, sizeof *g, "generator"));
    *g = (struct generator){.spec = s, .params = params, .tok = tok, .max_T = max_T};
    TRY_OUT(kvcache_new(&g->cache, s, max_T));
    TRY_OUT(mem_alloc(&g->logits, (size_t)s->V, sizeof(float), "logits"));
    TRY_OUT(mem_alloc(&g->scratch_p, (size_t)s->V, sizeof(float), "probabilities"));
    TRY_OUT(mem_alloc(&g->scratch_id, (size_t)s->V, sizeof(int32_t), "candidates"));
out:
    if (rc != OK) {
        generator_free(g);
        g = NULL;
    }
    *out = g;
    return rc;
}

void generator_free(struct generator *g)
{
    if (!g)
        return;
    kvcache_free(g->cache);
    mem_free(g->logits);
    mem_free(g->scratch_p);
    mem_free(g->scratch_id);
    mem_free(g->prompt);
    mem_free(g);
}

/* bos and the prompt; an over-long prompt keeps its end. */
static int read_prompt(struct generator *g, const char *prompt, int n_new)
{
    size_t n;
    int32_t bos = tokenizer_bos(g->tok);
    kvcache_reset(g->cache);
    TRY(tokenizer_encode(g->tok, prompt, strlen(prompt), &g->prompt, &g->prompt_cap, &n));
    size_t room = (size_t)g->max_T > (size_t)n_new + 1 ? (size_t)(g->max_T - n_new - 1) : 0;
    if (n > room)
        return ERR(E_DATA,
                   "the prompt has %zu tokens and %d are to follow, but there is room for "
                   "%d; shorten the prompt or ask for fewer tokens",
                   n, n_new, g->max_T);
    if (bos < 0 && n == 0)
        return ERR(E_DATA, "the prompt is empty and the tokenizer has no bos; give a prompt");
    if (bos >= 0)
        TRY(kvcache_feed(g->cache, g->params, &bos, 1, g->logits));
    return n ? kvcache_feed(g->cache, g->params, g->prompt, (int)n, g->logits) : OK;
}

/* True when the text ends inside a UTF-8 sequence or holds a replacement for one. */
static bool ends_inside(const char *s, size_t n)
{
    return n >= 3 && memcmp(s + n - 3, "\xef\xbf\xbd", 3) == 0;
}

/* What has been shown: tokens before `read`. Those from `prefix` on are decoded again as context of
 * the next, because a decoder may treat the first piece of a text in its own way. */
struct shown {
    int prefix, read;
};

/* Emits what tokens read … n-1 add to the text; bytes of an unfinished character wait. */
static int emit_new(struct generator *g, const int32_t *ids, int n, struct shown *s, bool last,
                    void (*emit)(void *ctx, const char *piece), void *ctx)
{
    char *before = NULL, *now = NULL;
    int rc;
    TRY_OUT(tokenizer_decode(g->tok, ids + s->prefix, (size_t)(s->read - s->prefix), &before));
    TRY_OUT(tokenizer_decode(g->tok, ids + s->prefix, (size_t)(n - s->prefix), &now));
    size_t old = strlen(before), len = strlen(now);
    if (len > old && (last || !ends_inside(now, len))) {
        emit(ctx, now + old);
        *s = (struct shown){s->read, n};
    }
out:
    mem_free(before);
    mem_free(now);
    return rc;
}

int generate(struct generator *g, const struct sampling *how, uint64_t stream, const char *prompt,
             int n, void (*emit)(void *ctx, const char *piece), void *ctx, char **text)
{
    int32_t *ids = NULL;
    int drawn = 0, rc;
    struct shown shown = {0};
    TRY_OUT(read_prompt(g, prompt, n));
    TRY_OUT(mem_alloc(&ids, (size_t)n, sizeof *ids, "drawn tokens"));
    while (drawn < n) {
        int32_t id = sample_token(how, g->logits, (size_t)g->spec->V, stream, (uint64_t)drawn,
                                  g->scratch_p, g->scratch_id);
        if (id == tokenizer_eos(g->tok))
            break;
        ids[drawn++] = id;
        if (emit)
            TRY_OUT(emit_new(g, ids, drawn, &shown, false, emit, ctx));
        if (drawn < n)
            TRY_OUT(kvcache_feed(g->cache, g->params, &id, 1, g->logits));
    }
    if (emit && drawn > 0)
        TRY_OUT(emit_new(g, ids, drawn, &shown, true, emit, ctx));
    if (text)
        rc = tokenizer_decode(g->tok, ids, (size_t)drawn, text);
out:
    g->drawn = drawn;
    mem_free(ids);
    return rc;
}

int generator_drawn(const struct generator *g)
{
    return g->drawn;
}
