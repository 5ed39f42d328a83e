/* What a Gemma model is made of: Gemma 1, 2 and 3 (text) as values of the same features, so that
 * the code has one path. Source: google/gemma_pytorch and the published config.json files. */
#ifndef CARAT_MODEL_SPEC_H
#define CARAT_MODEL_SPEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SPEC_MAX_LAYERS 256

struct model_spec {
    int family;                 /* 1, 2, 3: decides names and defaults of config.json only */
    int V, D, L, H, K, Hd, F;   /* see DESIGN: vocabulary, width, layers, heads, kv heads, … */
    int max_positions;          /* what config.json says; training may use any length */
    double eps;                 /* of RMSNorm */
    double rope_theta;          /* base of global layers */
    double rope_theta_local;    /* base of local layers */
    double rope_factor;         /* linear scaling of positions, global layers only; 1: none */
    int window;                 /* keys that a local layer sees, the query's own included */
    double query_scalar;        /* scores are q·k / sqrt(query_scalar) */
    double attn_cap, final_cap; /* soft caps; 0: none */
    bool qk_norm;               /* RMSNorm per head on queries and keys, before RoPE */
    bool post_norms;            /* RMSNorm on the outputs of attention and MLP too */
    double init_std;            /* initializer_range */
    int mup_base;               /* width that a wider model's first values, logits and rates go by
                                   (muP); 0: none. Source: Yang et al. 2022, table 8 */
    int pattern; /* layers pattern-1, 2·pattern-1, … are global, all others local; 0: an own list */
    uint8_t local[SPEC_MAX_LAYERS]; /* 1: sliding window and local base */
};

/* A family's defaults (1, 2, 3): what an absent key of config.json means. */
void spec_defaults(struct model_spec *s, int family);

/* A preset by name ("gemma3-270m"); E_CONFIG with a suggestion for an unknown one. */
int spec_preset(struct model_spec *s, const char *name);
/* Names and one-line descriptions of all presets; NULL past the last. */
const char *spec_preset_name(int i);
const char *spec_preset_note(int i);

/* Overrides one field by its name in job files (vocab, width, layers, heads, kv_heads, head_dim,
 * ffn, window, pattern, …). What hangs on it follows: the local and global layers on layers and
 * pattern; query_scalar on head_dim where the two were equal. Ranges are spec_check's to judge.
 * E_CONFIG for an unknown name (with a suggestion), a fraction where a count belongs, and a field
 * that the family fixes. */
int spec_set(struct model_spec *s, const char *field, double value);
/* Names of the fields; NULL past the last. */
const char *spec_field_name(int i);

/* From a Hugging Face config.json (or a folder that holds one). Absent keys take their family's
 * defaults; what carat does not support (attention_bias, untied embeddings, another rope type) is
 * E_CONFIG naming the key; a broken file is E_DATA. */
int spec_from_file(struct model_spec *s, const char *path);
/* The same from text; `from` is named in errors. */
int spec_from_json(struct model_spec *s, const char *text, const char *from);
/* config.json's text in the family's own form (mem_free); spec_from_json reads it back exactly. */
int spec_to_json(const struct model_spec *s, char **text);

/* Checks ranges, divisibility (H by K, Hd even, …) and that the family can express it: E_CONFIG
 * naming the field. */
int spec_check(const struct model_spec *s);

/* Width over mup_base, 1 without: logits are divided by it, and embedded tokens are multiplied by
 * sqrt(mup_base) rather than by the width's root. */
double spec_width_ratio(const struct model_spec *s);

/* Parameters; and model FLOPs per token forward + backward at sequence length T:
 * 6·N_matmul + 6·H·Hd·(keys kept, summed over layers: T for global, W·(2 - W/T) for a window W <
 * T). */
double spec_n_params(const struct model_spec *s);
double spec_flops_per_token(const struct model_spec *s, int T);
/* Keys kept in a layer, as above. */
double spec_keys_kept(const struct model_spec *s, int layer, int T);

#endif
