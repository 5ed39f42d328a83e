#include "train/rates.h"
#include "base/err.h"
#include "base/mem.h"
#include "model/work.h"
#include <fnmatch.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { WORD = CONF_STR };

/* What the words of a key are taken for. */
struct reading {
    struct rates *r;
    const struct tensor_table *t;
    const char *key;
    int n_layers;
    bool named[SPEC_MAX_LAYERS]; /* layers that rates.layers has given a factor */
};

/* The next word of a list, between blanks and commas; false at the end. */
static bool next_word(const char **list, char word[WORD])
{
    const char *from = *list + strspn(*list, " \t,"), *end = from + strcspn(from, " \t,");
    size_t n = (size_t)(end - from);
    *list = end;
    if (n == 0 || n >= WORD)
        return false;
    memcpy(word, from, n);
    word[n] = '\0';
    return true;
}

/* Cuts ":FACTOR" off the word. */
static int take_factor(const struct reading *x, char *word, const char *form, double *factor)
{
    char *colon = strrchr(word, ':');
    if (colon == NULL || colon == word)
        return ERR(E_CONFIG, "%s: \"%s\" is not written %s", x->key, word, form);
    if (!parse_f64(colon + 1, factor) || *factor < 0)
        return ERR(E_CONFIG, "%s: in \"%s\" the factor is no number of 0 or more; write %s", x->key,
                   word, form);
    *colon = '\0';
    return OK;
}

/* "4" or "0-3", of the model's layers. False where it is neither; errors are the caller's. */
static bool take_layers(const char *word, int64_t *first, int64_t *last)
{
    char text[WORD], *dash;
    snprintf(text, sizeof text, "%s", word);
    dash = strchr(text, '-');
    if (dash != NULL)
        *dash = '\0';
    return parse_i64(text, first) && parse_i64(dash != NULL ? dash + 1 : text, last);
}

static int check_layers(const struct reading *x, const char *word, int64_t first, int64_t last)
{
    if (first > last)
        return ERR(E_CONFIG, "%s: %s runs backwards; write the lower layer first", x->key, word);
    if (last >= x->n_layers)
        return ERR(E_CONFIG, "%s: %s goes beyond the model, whose layers are 0 to %d", x->key, word,
                   x->n_layers - 1);
    return OK;
}

/* ---- rates.layers, rates.tensors ---- */

static int layer_factor(struct reading *x, char *word)
{
    static const char form[] = "FROM-TO:FACTOR, such as 0-3:0.1";
    int64_t first, last;
    double factor;
    TRY(take_factor(x, word, form, &factor));
    if (!take_layers(word, &first, &last) || first < 0)
        return ERR(E_CONFIG, "%s: \"%s\" are no layers; write %s", x->key, word, form);
    TRY(check_layers(x, word, first, last));
    for (int64_t l = first; l <= last; l++) {
        if (x->named[l])
            return ERR(E_CONFIG,
                       "%s: layer %lld is in two ranges, the second is %s, and ranges may not "
                       "overlap; shorten one of them",
                       x->key, (long long)l, word);
        x->named[l] = true;
    }
    for (int i = 0; i < x->t->n; i++)
        if (x->t->row[i].layer >= first && x->t->row[i].layer <= last)
            x->r->factor[i] *= factor;
    return OK;
}

static int no_match(const struct reading *x, const char *pattern)
{
    return ERR(E_CONFIG,
               "%s: no tensor's name fits \"%s\"; names are such as %s, and * stands for any part",
               x->key, pattern, x->t->row[x->t->n / 2].name);
}

/* The last that fits counts, so this comes before all that multiplies. */
static int tensor_factor(struct reading *x, char *word)
{
    double factor;
    int n = 0;
    TRY(take_factor(x, word, "PATTERN:FACTOR, such as *.mlp.*:0.5", &factor));
    for (int i = 0; i < x->t->n; i++)
        if (fnmatch(word, x->t->row[i].name, 0) == 0) {
            x->r->factor[i] = factor;
            n++;
        }
    return n > 0 ? OK : no_match(x, word);
}

/* ---- rates.freeze ---- */

/* Whether a tensor is meant by the word: "embed", layers, or a pattern. */
static bool is_meant(const struct tensor *t, const char *word, bool layers, int64_t first,
                     int64_t last)
{
    if (layers)
        return t->layer >= first && t->layer <= last;
    if (strcmp(word, "embed") == 0)
        return t->kind == TENSOR_EMBED;
    return fnmatch(word, t->name, 0) == 0;
}

static int freeze(struct reading *x, char *word)
{
    int64_t first = 0, last = 0;
    bool layers = take_layers(word, &first, &last);
    int n = 0;
    if (layers)
        TRY(check_layers(x, word, first, last));
    for (int i = 0; i < x->t->n; i++)
        if (is_meant(&x->t->row[i], word, layers, first, last)) {
            x->r->frozen[i] = true;
            n++;
        }
    return n > 0 ? OK : no_match(x, word);
}

static int check_any(const struct rates *r)
{
    bool frozen = true;
    for (int i = 0; i < r->n; i++) {
        if (!r->frozen[i] && r->factor[i] > 0)
            return OK;
        frozen = frozen && r->frozen[i];
    }
    return frozen ? ERR(E_CONFIG, "rates.freeze leaves nothing to train; name fewer layers or "
                                  "tensors")
                  : ERR(E_CONFIG, "rates.*: every tensor is frozen or its rate is 0 times "
                                  "optimizer.lr; raise a factor above 0");
}

/* ---- all of them ---- */

static int each_word(struct reading *x, const char *key, const char *list,
                     int (*take)(struct reading *, char *))
{
    char word[WORD];
    x->key = key;
    while (next_word(&list, word))
        TRY(take(x, word));
    return OK;
}

/* muP's factors are those of rules whose step has one size, whatever the gradient's and the
 * weights'. */
static int check_mup(const struct config *c, const struct model_spec *s)
{
    static const struct {
        const char *rule, *why;
    } others[] = {{"sgd", "grows with the gradient"},
                  {"sgd_hd", "grows with the gradient"},
                  {"lars", "grows with the norm of the weights"},
                  {"lamb", "grows with the norm of the weights"},
                  {"adafactor", "grows with the size of the weights"}};
    for (size_t i = 0; i < sizeof others / sizeof *others && s->mup_base > 0; i++)
        if (strcmp(c->optimizer.name, others[i].rule) == 0)
            return ERR(E_CONFIG,
                       "rates.mup_base: its factors are those of rules whose step has one size, "
                       "and that of optimizer.name %s %s; take adamw, or leave rates.mup_base out",
                       c->optimizer.name, others[i].why);
    return OK;
}

/* What does not come from a list. */
static double common_factor(const struct config *c, const struct model_spec *s,
                            const struct tensor *t)
{
    bool embed = t->kind == TENSOR_EMBED, norm = t->n_dims == 1;
    int above = embed ? s->L : t->layer < 0 ? 0 : s->L - 1 - t->layer;
    return pow(c->rates.layer_decay, above) * (embed ? c->rates.embed : 1) *
           (norm ? c->rates.norms : 1);
}

static bool is_hidden(const struct tensor *t)
{
    return t->layer >= 0 && t->n_dims == 2;
}

static int read_keys(struct reading *x, const struct config *c, const struct model_spec *s)
{
    struct rates *r = x->r;
    double ratio = spec_width_ratio(s);
    for (int i = 0; i < r->n; i++)
        r->factor[i] = 1;
    TRY(each_word(x, "rates.tensors", c->rates.tensors, tensor_factor));
    TRY(each_word(x, "rates.layers", c->rates.layers, layer_factor));
    TRY(each_word(x, "rates.freeze", c->rates.freeze, freeze));
    TRY(check_mup(c, s));
    for (int i = 0; i < r->n; i++) {
        const struct tensor *t = &x->t->row[i];
        r->factor[i] *= common_factor(c, s, t) / (is_hidden(t) ? ratio : 1);
        r->decay[i] = is_hidden(t) ? ratio : 1;
    }
    return check_any(r);
}

int rates_init(struct rates *r, const struct config *c, const struct model_spec *s,
               const struct tensor_table *t)
{
    struct reading x = {.r = r, .t = t, .n_layers = s->L};
    size_t n = (size_t)t->n;
    int rc;
    *r = (struct rates){.n = t->n};
    TRY_OUT(mem_alloc(&r->factor, n, sizeof *r->factor, "rates"));
    TRY_OUT(mem_alloc(&r->decay, n, sizeof *r->decay, "rates"));
    TRY_OUT(mem_alloc(&r->frozen, n, sizeof *r->frozen, "rates"));
    TRY_OUT(read_keys(&x, c, s));
    return OK;
out:
    rates_release(r);
    return rc;
}

void rates_release(struct rates *r)
{
    mem_free(r->factor);
    mem_free(r->decay);
    mem_free(r->frozen);
    *r = (struct rates){0};
}

void rates_apply(const struct rates *r, struct optim_group *groups)
{
    for (int i = 0; i < r->n; i++) {
        groups[i].rate = r->factor[i];
        groups[i].decay_factor = r->decay[i];
        groups[i].frozen = r->frozen[i];
    }
}

static double n_trained(const struct rates *r, const struct tensor_table *t)
{
    double n = 0;
    for (int i = 0; i < t->n; i++)
        n += r->frozen[i] ? 0 : (double)t->row[i].n;
    return n;
}

int rates_work(struct rates_work *w, const struct config *c, const struct model_spec *s)
{
    struct tensor_table t = {0};
    struct rates r = {0};
    int rc;
    *w = (struct rates_work){0};
    TRY_OUT(tensors_init(&t, s));
    TRY_OUT(rates_init(&r, c, s, &t));
    w->flops_token = work_flops_per_token(&t, s, r.frozen, (int)c->batch.seq_len);
    w->n_trained = n_trained(&r, &t);
out:
    rates_release(&r);
    tensors_release(&t);
    return rc;
}

/* ---- for people ---- */

/* The tensors of a layer, of the embedding or of the final norm. */
struct line {
    double low[2], high[2]; /* factors of those that are trained: of matrices, of norms */
    int n, n_frozen;
};

static struct line line_of(const struct rates *r, const struct tensor_table *t, int first, int end)
{
    struct line line = {.low = {INFINITY, INFINITY}, .high = {-1, -1}, .n = end - first};
    for (int i = first; i < end; i++) {
        int kind = t->row[i].n_dims == 1;
        if (r->frozen[i]) {
            line.n_frozen++;
            continue;
        }
        line.low[kind] = fmin(line.low[kind], r->factor[i]);
        line.high[kind] = fmax(line.high[kind], r->factor[i]);
    }
    return line;
}

static bool alike(const struct line *a, const struct line *b)
{
    bool same = a->n_frozen == b->n_frozen;
    for (int kind = 0; kind < 2; kind++)
        same = same && a->low[kind] == b->low[kind] && a->high[kind] == b->high[kind];
    return same;
}

static void add_factors(struct str *text, const struct line *line, int kind, const char *name)
{
    if (line->high[kind] < 0)
        return;
    str_addf(text, "  %s × %.4g", name, line->low[kind]);
    if (line->high[kind] > line->low[kind])
        str_addf(text, " to %.4g", line->high[kind]);
}

static void add_line(struct str *text, const char *what, const struct line *line)
{
    str_addf(text, "  %-14s", what);
    add_factors(text, line, 0, "matrices");
    add_factors(text, line, 1, "norms");
    if (line->n_frozen == line->n)
        str_add(text, "  frozen");
    else if (line->n_frozen > 0)
        str_addf(text, "  %d of %d tensors frozen", line->n_frozen, line->n);
    str_add(text, "\n");
}

/* The end of the tensors that are in one layer, or in none. */
static int end_of(const struct tensor_table *t, int first)
{
    int end = first + 1;
    while (end < t->n && t->row[end].layer == t->row[first].layer)
        end++;
    return end;
}

/* Layers from this tensor's on that are alike; returns where the next begin. */
static int add_layers(const struct rates *r, const struct tensor_table *t, int at, struct str *text)
{
    char what[32];
    int first = t->row[at].layer, last = first, end = end_of(t, at);
    struct line line = line_of(r, t, at, end);
    while (end < t->n && t->row[end].layer >= 0) {
        struct line next = line_of(r, t, end, end_of(t, end));
        if (!alike(&line, &next))
            break;
        last = t->row[end].layer;
        end = end_of(t, end);
    }
    if (last > first)
        snprintf(what, sizeof what, "layers %d-%d", first, last);
    else
        snprintf(what, sizeof what, "layer %d", first);
    add_line(text, what, &line);
    return end;
}

static bool all_alike(const struct rates *r)
{
    for (int i = 0; i < r->n; i++)
        if (r->factor[i] != 1 || r->frozen[i])
            return false;
    return true;
}

void rates_describe(const struct rates *r, const struct tensor_table *t, struct str *text)
{
    char n[32];
    if (all_alike(r))
        return;
    str_addf(text, "rates           of %s parameters in training, as factors of the above\n",
             fmt_si(n, sizeof n, n_trained(r, t)));
    for (int i = 0; i < t->n;) {
        if (t->row[i].layer >= 0) {
            i = add_layers(r, t, i, text);
            continue;
        }
        struct line line = line_of(r, t, i, i + 1);
        add_line(text, t->row[i].kind == TENSOR_EMBED ? "embedding" : "final norm", &line);
        i++;
    }
}

int rates_plan(const struct config *c, const struct model_spec *s, struct str *text)
{
    struct tensor_table t;
    struct rates r;
    TRY(tensors_init(&t, s));
    int rc = rates_init(&r, c, s, &t);
    if (rc == OK) {
        rates_describe(&r, &t, text);
        rates_release(&r);
    }
    tensors_release(&t);
    return rc;
}
