#include "model/spec.h"

#include "base/err.h"
#include "base/str.h"

#include <math.h>
#include <string.h>

/* The fields that a job file or config.json may set, and the range in which each makes sense. */
enum field_type { COUNT, REAL };
static const struct field {
    const char *name;
    size_t at;
    enum field_type type;
    double min, max;
} fields[] = {
#define F(name, member, type, min, max)                                                            \
    {                                                                                              \
        name, offsetof(struct model_spec, member), type, min, max                                  \
    }
    F("vocab", V, COUNT, 2, 1 << 24),
    F("width", D, COUNT, 1, 1 << 20),
    F("layers", L, COUNT, 1, SPEC_MAX_LAYERS),
    F("heads", H, COUNT, 1, 1 << 14),
    F("kv_heads", K, COUNT, 1, 1 << 14),
    F("head_dim", Hd, COUNT, 2, 1 << 14),
    F("ffn", F, COUNT, 1, 1 << 22),
    F("max_positions", max_positions, COUNT, 1, 1 << 30),
    F("window", window, COUNT, 0, 1 << 30),
    F("pattern", pattern, COUNT, 0, 1 << 30),
    F("eps", eps, REAL, 0, 1),
    F("rope_theta", rope_theta, REAL, 1e-3, 1e15),
    F("rope_theta_local", rope_theta_local, REAL, 1e-3, 1e15),
    F("rope_factor", rope_factor, REAL, 1e-6, 1e6),
    F("query_scalar", query_scalar, REAL, 1e-6, 1e9),
    F("attn_cap", attn_cap, REAL, 0, 1e9),
    F("final_cap", final_cap, REAL, 0, 1e9),
    F("init_std", init_std, REAL, 0, 1e3),
#undef F
};
enum { N_FIELDS = sizeof fields / sizeof *fields };

static double get(const struct model_spec *s, const struct field *f)
{
    const char *at = (const char *)s + f->at;
    return f->type == COUNT ? *(const int *)(const void *)at : *(const double *)(const void *)at;
}

static void put(struct model_spec *s, const struct field *f, double v)
{
    char *at = (char *)s + f->at;
    if (f->type == COUNT)
        *(int *)(void *)at = (int)v;
    else
        *(double *)(void *)at = v;
}

const char *spec_field_name(int i)
{
    return i >= 0 && i < N_FIELDS ? fields[i].name : NULL;
}

static const struct field *find(const char *name)
{
    for (int i = 0; i < N_FIELDS; i++)
        if (strcmp(fields[i].name, name) == 0)
            return &fields[i];
    return NULL;
}

static int unknown_field(const char *name)
{
    const char *names[N_FIELDS];
    for (int i = 0; i < N_FIELDS; i++)
        names[i] = fields[i].name;
    const char *near = str_nearest(name, names, N_FIELDS);
    if (near == NULL)
        return ERR(E_CONFIG, "a model has no field \"%s\"", name);
    return ERR(E_CONFIG, "a model has no field \"%s\": did you mean \"%s\"?", name, near);
}

/* What the family ties to other fields. */
static void settle(struct model_spec *s)
{
    if (s->family < 3)
        s->rope_theta_local = s->rope_theta;
    if (s->family == 1)
        s->query_scalar = s->Hd;
}

/* Local and global layers; a list without a pattern is repeated for layers that it does not name.
 */
static void fill_layers(struct model_spec *s, int n_before)
{
    for (int l = 0; l < s->L && l < SPEC_MAX_LAYERS; l++)
        if (s->pattern > 0)
            s->local[l] = (l + 1) % s->pattern != 0;
        else if (l >= n_before && n_before > 0)
            s->local[l] = s->local[l % n_before];
    for (int l = s->L < 0 ? 0 : s->L; l < SPEC_MAX_LAYERS; l++)
        s->local[l] = 0;
}

int spec_set(struct model_spec *s, const char *field, double value)
{
    const struct field *f = find(field);
    if (f == NULL)
        return unknown_field(field);
    if (!(value >= f->min && value <= f->max))
        return ERR(E_CONFIG, "model.%s = %g is not within %g … %g", field, value, f->min, f->max);
    if (f->type == COUNT && value != floor(value))
        return ERR(E_CONFIG, "model.%s = %g: a count has no fraction", field, value);
    int n_layers = s->L, head_dim = s->Hd;
    put(s, f, value);
    if (s->query_scalar == head_dim)
        s->query_scalar = s->Hd;
    settle(s);
    fill_layers(s, n_layers);
    if (get(s, f) != value)
        return ERR(E_CONFIG, "model.%s cannot be set: Gemma %d ties it to another field", field,
                   s->family);
    return OK;
}

void spec_defaults(struct model_spec *s, int family)
{
    static const struct model_spec base[] = {
        {.family = 1,
         .V = 256000,
         .D = 3072,
         .L = 28,
         .H = 16,
         .K = 16,
         .Hd = 256,
         .F = 24576,
         .max_positions = 8192,
         .rope_theta = 10000,
         .pattern = 1},
        {.family = 2,
         .V = 256000,
         .D = 2304,
         .L = 26,
         .H = 8,
         .K = 4,
         .Hd = 256,
         .F = 9216,
         .max_positions = 8192,
         .rope_theta = 10000,
         .pattern = 2,
         .window = 4096,
         .query_scalar = 256,
         .attn_cap = 50,
         .final_cap = 30,
         .post_norms = true},
        {.family = 3,
         .V = 262208,
         .D = 2304,
         .L = 26,
         .H = 8,
         .K = 4,
         .Hd = 256,
         .F = 9216,
         .max_positions = 131072,
         .rope_theta = 1e6,
         .rope_theta_local = 10000,
         .pattern = 6,
         .window = 4096,
         .query_scalar = 256,
         .post_norms = true,
         .qk_norm = true},
    };
    *s = base[family - 1];
    s->eps = 1e-6;
    s->rope_factor = 1;
    s->init_std = 0.02;
    settle(s);
    fill_layers(s, s->L);
}

static int check_ranges(const struct model_spec *s)
{
    for (int i = 0; i < N_FIELDS; i++) {
        double v = get(s, &fields[i]);
        if (!(v >= fields[i].min && v <= fields[i].max))
            return ERR(E_CONFIG, "model.%s = %g is not within %g … %g", fields[i].name, v,
                       fields[i].min, fields[i].max);
    }
    return OK;
}

static bool any_local(const struct model_spec *s)
{
    for (int l = 0; l < s->L; l++)
        if (s->local[l])
            return true;
    return false;
}

/* What the family's config.json cannot say must not be trained: the result could not be shared.
 * (mup_base goes into the weights when they are exported.) */
static int check_family(const struct model_spec *s)
{
    struct model_spec tied = *s;
    settle(&tied);
    const char *field = NULL;
    if (s->qk_norm != (s->family == 3))
        field = "qk_norm";
    else if (s->post_norms != (s->family > 1))
        field = "post_norms";
    else if (s->family == 1 && any_local(s))
        field = "pattern";
    else if (s->family == 1 && (s->attn_cap != 0 || s->final_cap != 0))
        field = s->attn_cap != 0 ? "attn_cap" : "final_cap";
    else if (s->family < 3 && s->rope_factor != 1)
        field = "rope_factor";
    else if (tied.query_scalar != s->query_scalar)
        field = "query_scalar";
    else if (tied.rope_theta_local != s->rope_theta_local)
        field = "rope_theta_local";
    return field == NULL
               ? OK
               : ERR(E_CONFIG, "model.%s: a Gemma %d model has no such setting", field, s->family);
}

int spec_check(const struct model_spec *s)
{
    if (s->family < 1 || s->family > 3)
        return ERR(E_CONFIG, "model family %d: carat knows Gemma 1, 2 and 3", s->family);
    TRY(check_ranges(s));
    if (s->H % s->K != 0)
        return ERR(E_CONFIG, "model.heads = %d is no multiple of model.kv_heads = %d", s->H, s->K);
    if (s->Hd % 2 != 0)
        return ERR(E_CONFIG, "model.head_dim = %d: rotary positions need an even size", s->Hd);
    if (any_local(s) && s->window < 1)
        return ERR(E_CONFIG, "model.window = 0: local layers need at least 1");
    TRY(check_family(s));
    if (s->mup_base < 0)
        return ERR(E_CONFIG, "mup_base is %d: it is a width, or 0 for none", s->mup_base);
    if (spec_n_params(s) > 1e13)
        return ERR(E_CONFIG, "the model would have %.3g parameters: a size is wrong",
                   spec_n_params(s));
    return OK;
}

double spec_width_ratio(const struct model_spec *s)
{
    return s->mup_base > 0 ? (double)s->D / s->mup_base : 1;
}

/* Weights of one layer that are used in matrix products. */
static double layer_matrices(const struct model_spec *s)
{
    double D = s->D, heads = 2.0 * s->H + 2.0 * s->K;
    return D * heads * s->Hd + 3 * D * s->F;
}

double spec_n_params(const struct model_spec *s)
{
    double norms = (s->post_norms ? 4.0 : 2.0) * s->D + (s->qk_norm ? 2.0 * s->Hd : 0);
    return (double)s->V * s->D + s->L * (layer_matrices(s) + norms) + s->D;
}

double spec_keys_kept(const struct model_spec *s, int layer, int T)
{
    double W = s->local[layer] && s->window < T ? s->window : T;
    return W * (2 - W / T);
}

double spec_flops_per_token(const struct model_spec *s, int T)
{
    double kept = 0;
    for (int l = 0; l < s->L; l++)
        kept += spec_keys_kept(s, l, T);
    double n_matmul = (double)s->V * s->D + s->L * layer_matrices(s);
    return 6 * n_matmul + 6.0 * s->H * s->Hd * kept;
}
