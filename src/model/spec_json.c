#include "base/err.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"
#include "io/json.h"
#include "model/spec.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Families as bits. */
enum { G1 = 1, G2 = 2, G3 = 4, G23 = G2 | G3, ALL = G1 | G23 };
static int family_bit(const struct model_spec *s)
{
    return 1 << (s->family - 1);
}

/* WHOLE is a number that may have a fraction, but is written without one where it has none. */
enum key_type { COUNT, REAL, WHOLE, CAP };
enum { OPTIONAL, REQUIRED };

/* config.json's numbers. The size of a model is required: no released file leaves it out, and a
 * file without it is no model's. */
static const struct key {
    const char *name;
    size_t at;
    enum key_type type;
    int families;
    int required;
} keys[] = {
#define K(name, member, type, families, required)                                                  \
    {                                                                                              \
        name, offsetof(struct model_spec, member), type, families, required                        \
    }
    K("carat_mup_base", mup_base, COUNT, ALL, OPTIONAL),
    K("attn_logit_softcapping", attn_cap, CAP, G23, OPTIONAL),
    K("final_logit_softcapping", final_cap, CAP, G23, OPTIONAL),
    K("head_dim", Hd, COUNT, ALL, OPTIONAL),
    K("hidden_size", D, COUNT, ALL, REQUIRED),
    K("initializer_range", init_std, REAL, ALL, OPTIONAL),
    K("intermediate_size", F, COUNT, ALL, REQUIRED),
    K("max_position_embeddings", max_positions, COUNT, ALL, OPTIONAL),
    K("num_attention_heads", H, COUNT, ALL, OPTIONAL),
    K("num_hidden_layers", L, COUNT, ALL, REQUIRED),
    K("num_key_value_heads", K, COUNT, ALL, OPTIONAL),
    K("query_pre_attn_scalar", query_scalar, WHOLE, G23, OPTIONAL),
    K("rms_norm_eps", eps, REAL, ALL, OPTIONAL),
    K("rope_local_base_freq", rope_theta_local, REAL, G3, OPTIONAL),
    K("rope_theta", rope_theta, REAL, ALL, OPTIONAL),
    K("sliding_window", window, COUNT, G23, OPTIONAL),
    K("sliding_window_pattern", pattern, COUNT, G3, OPTIONAL),
    K("vocab_size", V, COUNT, ALL, OPTIONAL),
#undef K
};
enum { N_KEYS = sizeof keys / sizeof *keys };

static const struct family_row {
    const char *model_type, *architecture;
} families[] = {
    {"gemma", "GemmaForCausalLM"},
    {"gemma2", "Gemma2ForCausalLM"},
    {"gemma3_text", "Gemma3ForCausalLM"},
};

/* ---- reading ---- */

static int read_key(struct model_spec *s, const json_t *o, const struct key *k)
{
    char *at = (char *)s + k->at;
    int64_t count;
    if (k->required && !json_has(o, k->name))
        return ERR(E_DATA, "it has no \"%s\"", k->name);
    if (k->type == COUNT) {
        TRY(json_i64(o, k->name, *(int *)(void *)at, &count));
        if (count < 0 || count > INT_MAX)
            return ERR(E_DATA, "\"%s\" is %lld", k->name, (long long)count);
        *(int *)(void *)at = (int)count;
        return OK;
    }
    /* No cap is written as null, so null is not the same as absent here. */
    if (k->type == CAP && json_is_null(json_object_get(o, k->name))) {
        *(double *)(void *)at = 0;
        return OK;
    }
    return json_f64(o, k->name, *(double *)(void *)at, (double *)(void *)at);
}

static int read_family(const json_t *o, int *family)
{
    const char *type;
    TRY(json_str(o, "model_type", NULL, &type));
    if (type == NULL)
        return ERR(E_DATA, "it has no \"model_type\": it describes no model");
    for (int f = 0; f < 3; f++)
        if (strcmp(type, families[f].model_type) == 0) {
            *family = f + 1;
            return OK;
        }
    return ERR(E_CONFIG, "\"model_type\" is \"%s\": carat knows gemma, gemma2 and gemma3_text",
               type);
}

static int refuse_flag(const json_t *o, const char *key, bool supported)
{
    bool v;
    TRY(json_bool(o, key, supported, &v));
    if (v != supported)
        return ERR(E_CONFIG, "\"%s\" is %s: carat supports only %s", key, v ? "true" : "false",
                   supported ? "true" : "false");
    return OK;
}

/* The first Gemma 1 files say "gelu" and mean its tanh form, as their own readers correct it. */
static int check_activation(const json_t *o, int family)
{
    const char *act;
    const char *key =
        family == 1 && !json_has(o, "hidden_activation") ? "hidden_act" : "hidden_activation";
    TRY(json_str(o, key, "gelu_pytorch_tanh", &act));
    bool fine = strcmp(act, "gelu_pytorch_tanh") == 0 || (family == 1 && strcmp(act, "gelu") == 0);
    return fine
               ? OK
               : ERR(E_CONFIG, "\"%s\" is \"%s\": carat supports only gelu_pytorch_tanh", key, act);
}

static int check_unsupported(const json_t *o, int family)
{
    double dropout;
    TRY(refuse_flag(o, "attention_bias", false));
    TRY(refuse_flag(o, "tie_word_embeddings", true));
    TRY(refuse_flag(o, "use_bidirectional_attention", false));
    TRY(json_f64(o, "attention_dropout", 0, &dropout));
    if (dropout != 0)
        return ERR(E_CONFIG, "\"attention_dropout\" is %g: carat supports only 0", dropout);
    return check_activation(o, family);
}

/* One description of rotary positions: {"rope_type": "linear", "factor": 8, "rope_theta": 1e6}. */
static int read_rope(const json_t *o, const char *key, double *theta, double *factor)
{
    const char *type;
    if (!json_is_object(o))
        return ERR(E_DATA, "\"%s\" is no object", key);
    TRY(json_str(o, "type", "default", &type));
    TRY(json_str(o, "rope_type", type, &type));
    TRY(json_f64(o, "rope_theta", *theta, theta));
    *factor = 1;
    if (strcmp(type, "default") == 0)
        return OK;
    if (strcmp(type, "linear") != 0)
        return ERR(E_CONFIG, "\"%s\": rope type \"%s\" is not supported, only linear and default",
                   key, type);
    if (!json_has(o, "factor"))
        return ERR(E_DATA, "\"%s\" has no \"factor\"", key);
    return json_f64(o, "factor", 1, factor);
}

static int read_scaling(struct model_spec *s, const json_t *o)
{
    if (!json_has(o, "rope_scaling"))
        return OK;
    TRY(read_rope(json_object_get(o, "rope_scaling"), "rope_scaling", &s->rope_theta,
                  &s->rope_factor));
    if (s->family < 3 && s->rope_factor != 1)
        return ERR(E_CONFIG, "\"rope_scaling\": a Gemma %d model has none", s->family);
    return OK;
}

/* The newer form: one description, or one for each kind of layer. */
static int read_parameters(struct model_spec *s, const json_t *o)
{
    static const char key[] = "rope_parameters";
    const json_t *p = json_object_get(o, key);
    double local_factor = 1;
    if (!json_has(o, key))
        return OK;
    if (!json_has(p, "full_attention"))
        return read_rope(p, key, &s->rope_theta, &s->rope_factor);
    TRY(read_rope(json_object_get(p, "full_attention"), key, &s->rope_theta, &s->rope_factor));
    if (json_has(p, "sliding_attention"))
        TRY(read_rope(json_object_get(p, "sliding_attention"), key, &s->rope_theta_local,
                      &local_factor));
    if (local_factor != 1)
        return ERR(E_CONFIG, "\"%s\": scaled positions on local layers are not supported", key);
    return OK;
}

/* Layers as the pattern has them. */
static void pattern_layers(struct model_spec *s)
{
    for (int l = 0; l < SPEC_MAX_LAYERS; l++)
        s->local[l] = l < s->L && s->pattern > 0 && (l + 1) % s->pattern != 0;
}

static bool follows(const struct model_spec *s, int pattern)
{
    struct model_spec other = *s;
    other.pattern = pattern;
    pattern_layers(&other);
    return memcmp(s->local, other.local, sizeof s->local) == 0;
}

/* What the list follows: the pattern that was given, else the family's, which is given by leaving
 * it out; 0: none. */
static int pattern_of(const struct model_spec *s)
{
    struct model_spec usual;
    spec_defaults(&usual, s->family);
    if (follows(s, s->pattern))
        return s->pattern;
    return follows(s, usual.pattern) ? usual.pattern : 0;
}

static int read_layer_types(struct model_spec *s, const json_t *o)
{
    const json_t *list = json_object_get(o, "layer_types");
    if (!json_is_array(list) || json_array_size(list) != (size_t)s->L)
        return ERR(E_DATA, "\"layer_types\" is no list of %d names, one a layer", s->L);
    for (int l = 0; l < s->L; l++) {
        const char *type = json_string_value(json_array_get(list, (size_t)l));
        bool local = type != NULL && strcmp(type, "sliding_attention") == 0;
        if (!local && (type == NULL || strcmp(type, "full_attention") != 0))
            return ERR(E_DATA,
                       "\"layer_types\"[%d] is neither sliding_attention nor full_attention", l);
        s->local[l] = local;
    }
    s->pattern = pattern_of(s);
    return OK;
}

static int read_layers(struct model_spec *s, const json_t *o)
{
    int64_t pattern;
    if (s->L > SPEC_MAX_LAYERS)
        return ERR(E_CONFIG, "\"num_hidden_layers\" is %d: carat can hold %d", s->L,
                   SPEC_MAX_LAYERS);
    bool listed = s->family > 1 && json_has(o, "layer_types");
    /* Gemma 2 has no key for its pattern; carat writes one beside the list for its own use. */
    if (s->family == 2 && listed) {
        TRY(json_i64(o, "sliding_window_pattern", s->pattern, &pattern));
        s->pattern = pattern > 0 && pattern < INT_MAX ? (int)pattern : 0;
    }
    if (s->pattern == 0 && !listed)
        return ERR(E_DATA, "\"sliding_window_pattern\" is 0");
    pattern_layers(s);
    return listed ? read_layer_types(s, o) : OK;
}

static int read_text_config(struct model_spec *s, const json_t *o)
{
    int family;
    TRY(read_family(o, &family));
    TRY(check_unsupported(o, family));
    spec_defaults(s, family);
    for (int i = 0; i < N_KEYS; i++)
        if (keys[i].families & family_bit(s))
            TRY(read_key(s, o, &keys[i]));
    TRY(read_scaling(s, o));
    TRY(read_parameters(s, o));
    if (family < 3)
        s->rope_theta_local = s->rope_theta;
    if (family == 1)
        s->query_scalar = s->Hd;
    TRY(read_layers(s, o));
    return spec_check(s);
}

/* Gemma 3 with vision nests the text part. */
static int read_config(struct model_spec *s, const json_t *o)
{
    const json_t *text = json_object_get(o, "text_config");
    if (!json_is_object(o))
        return ERR(E_DATA, "it is no JSON object");
    if (text == NULL)
        return read_text_config(s, o);
    if (!json_is_object(text))
        return ERR(E_DATA, "\"text_config\" is no object");
    TRY(refuse_flag(o, "tie_word_embeddings", true));
    return read_text_config(s, text);
}

/* Takes the value over. */
static int from_value(struct model_spec *s, json_t *o, const char *from)
{
    struct model_spec read;
    int rc = read_config(&read, o);
    json_decref(o);
    if (rc != OK)
        return err_context(rc, "%s", from);
    *s = read;
    return OK;
}

int spec_from_json(struct model_spec *s, const char *text, const char *from)
{
    json_t *o = NULL;
    TRY(json_parse(text, strlen(text), from, &o));
    return from_value(s, o, from);
}

int spec_from_file(struct model_spec *s, const char *path)
{
    char file[FS_PATH_MAX];
    json_t *o = NULL;
    if (fs_is_dir(path)) {
        TRY(fs_join(file, path, "config.json"));
        path = file;
    }
    TRY(json_read_file(path, &o));
    return from_value(s, o, path);
}

/* ---- writing ---- */

/* The shortest decimal form that reads back as the same number. */
static void add_number(struct str *b, double v, bool fraction)
{
    char text[40];
    for (int digits = 1; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, v);
        if (strtod(text, NULL) == v)
            break;
    }
    if (v == floor(v) && fabs(v) < 1e15)
        snprintf(text, sizeof text, "%.0f%s", v, fraction ? ".0" : "");
    str_add(b, text);
}

static void add_key(struct str *b, const struct model_spec *s, const struct key *k)
{
    const char *at = (const char *)s + k->at;
    str_addf(b, "  \"%s\": ", k->name);
    double v =
        k->type == COUNT ? *(const int *)(const void *)at : *(const double *)(const void *)at;
    if (k->type == CAP && v == 0)
        str_add(b, "null");
    else
        add_number(b, v, k->type == REAL || k->type == CAP);
    str_add(b, ",\n");
}

static void add_layer_types(struct str *b, const struct model_spec *s)
{
    str_add(b, "  \"layer_types\": [\n");
    for (int l = 0; l < s->L; l++)
        str_addf(b, "    \"%s\"%s\n", s->local[l] ? "sliding_attention" : "full_attention",
                 l + 1 < s->L ? "," : "");
    str_add(b, "  ],\n");
    if (s->family == 2 && s->pattern > 0)
        str_addf(b, "  \"sliding_window_pattern\": %d,\n", s->pattern);
}

static void add_rope_scaling(struct str *b, const struct model_spec *s)
{
    if (s->rope_factor == 1) {
        str_add(b, "  \"rope_scaling\": null,\n");
        return;
    }
    str_add(b, "  \"rope_scaling\": {\n    \"factor\": ");
    add_number(b, s->rope_factor, true);
    str_add(b, ",\n    \"rope_type\": \"linear\"\n  },\n");
}

/* What other readers expect and carat does not vary. */
static const char fixed_keys[] = "  \"attention_bias\": false,\n"
                                 "  \"attention_dropout\": 0.0,\n"
                                 "  \"bos_token_id\": 2,\n"
                                 "  \"eos_token_id\": 1,\n"
                                 "  \"pad_token_id\": 0,\n"
                                 "  \"tie_word_embeddings\": true,\n"
                                 "  \"torch_dtype\": \"float32\",\n"
                                 "  \"use_cache\": true\n}\n";

/* Counts that stand for nothing when they are 0. */
static bool left_out(const struct model_spec *s, const struct key *k)
{
    return (k->at == offsetof(struct model_spec, pattern) && s->pattern == 0) ||
           (k->at == offsetof(struct model_spec, mup_base) && s->mup_base == 0);
}

int spec_to_json(const struct model_spec *s, char **text)
{
    TRY(spec_check(s));
    struct str b = {0};
    const struct family_row *row = &families[s->family - 1];
    str_addf(&b, "{\n  \"architectures\": [\n    \"%s\"\n  ],\n", row->architecture);
    str_addf(&b, "  \"model_type\": \"%s\",\n", row->model_type);
    str_addf(&b, "  \"%s\": \"gelu_pytorch_tanh\",\n",
             s->family == 1 ? "hidden_act" : "hidden_activation");
    for (int i = 0; i < N_KEYS; i++)
        if (keys[i].families & family_bit(s) && !left_out(s, &keys[i]))
            add_key(&b, s, &keys[i]);
    if (s->family > 1)
        add_layer_types(&b, s);
    add_rope_scaling(&b, s);
    str_add(&b, fixed_keys);
    int rc = mem_alloc(text, b.len + 1, 1, "config.json");
    if (rc == OK)
        memcpy(*text, b.s, b.len + 1);
    str_release(&b);
    return rc;
}
