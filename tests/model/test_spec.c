/* Presets, config.json in both directions, overrides, counts of parameters and operations. */
#include "model/spec.h"

#include "base/err.h"
#include "base/fs.h"
#include "base/mem.h"
#include "check_main.h"

#include <math.h>
#include <string.h>
#include <unistd.h>

static struct model_spec preset(const char *name)
{
    struct model_spec s;
    ck_assert_msg(spec_preset(&s, name) == OK, "%s", err_message());
    return s;
}

static void same(const struct model_spec *a, const struct model_spec *b)
{
    ck_assert_int_eq(a->family, b->family);
    ck_assert_int_eq(a->V, b->V);
    ck_assert_int_eq(a->D, b->D);
    ck_assert_int_eq(a->L, b->L);
    ck_assert_int_eq(a->H, b->H);
    ck_assert_int_eq(a->K, b->K);
    ck_assert_int_eq(a->Hd, b->Hd);
    ck_assert_int_eq(a->F, b->F);
    ck_assert_int_eq(a->max_positions, b->max_positions);
    ck_assert_double_eq(a->eps, b->eps);
    ck_assert_double_eq(a->rope_theta, b->rope_theta);
    ck_assert_double_eq(a->rope_theta_local, b->rope_theta_local);
    ck_assert_double_eq(a->rope_factor, b->rope_factor);
    ck_assert_int_eq(a->window, b->window);
    ck_assert_double_eq(a->query_scalar, b->query_scalar);
    ck_assert_double_eq(a->attn_cap, b->attn_cap);
    ck_assert_double_eq(a->final_cap, b->final_cap);
    ck_assert_int_eq(a->qk_norm, b->qk_norm);
    ck_assert_int_eq(a->post_norms, b->post_norms);
    ck_assert_double_eq(a->init_std, b->init_std);
    ck_assert_int_eq(a->pattern, b->pattern);
    ck_assert_mem_eq(a->local, b->local, sizeof a->local);
}

static void holds(int rc, int want, const char *word)
{
    ck_assert_msg(rc == want, "code %d, not %d: %s", rc, want, err_message());
    ck_assert_msg(strstr(err_message(), word) != NULL, "\"%s\" does not name %s", err_message(),
                  word);
}

/* ---- presets ---- */

START_TEST(presets_have_the_published_sizes)
{
    static const struct {
        const char *name;
        double n;
    } published[] = {
        {"gemma-2b", 2506172416.0},  {"gemma-7b", 8537680896.0},    {"gemma2-2b", 2614341888.0},
        {"gemma2-9b", 9241705984.0}, {"gemma2-27b", 27227128320.0}, {"gemma3-270m", 268098176.0},
        {"gemma3-1b", 999885952.0},
    };
    for (size_t i = 0; i < sizeof published / sizeof *published; i++) {
        struct model_spec s = preset(published[i].name);
        ck_assert_msg(spec_n_params(&s) == published[i].n, "%s: %.0f", published[i].name,
                      spec_n_params(&s));
    }
}
END_TEST

START_TEST(every_preset_is_whole)
{
    int n = 0;
    for (; spec_preset_name(n) != NULL; n++) {
        struct model_spec s = preset(spec_preset_name(n));
        ck_assert_int_eq(spec_check(&s), OK);
        ck_assert_ptr_nonnull(spec_preset_note(n));
        /* Both kinds of layers occur where the family has both. */
        int n_local = 0;
        for (int l = 0; l < s.L; l++)
            n_local += s.local[l];
        ck_assert((n_local == 0) == (s.family == 1));
        ck_assert_int_lt(n_local, s.L);
    }
    ck_assert_int_ge(n, 14);
    ck_assert_ptr_null(spec_preset_note(n));
    ck_assert_ptr_null(spec_preset_name(-1));
}
END_TEST

START_TEST(unknown_preset_gets_a_suggestion)
{
    struct model_spec s;
    holds(spec_preset(&s, "gemma3-270"), E_CONFIG, "gemma3-270m");
    holds(spec_preset(&s, "zzzzzzzzzzzzzzzz"), E_CONFIG, "zzzz");
}
END_TEST

/* ---- overrides ---- */

START_TEST(overrides_carry_their_dependents)
{
    struct model_spec s = preset("gemma3-270m");
    ck_assert_int_eq(spec_set(&s, "layers", 13), OK);
    for (int l = 0; l < SPEC_MAX_LAYERS; l++)
        ck_assert_int_eq(s.local[l], l < 13 && l != 5 && l != 11);
    ck_assert_int_eq(spec_set(&s, "pattern", 3), OK);
    for (int l = 0; l < 13; l++)
        ck_assert_int_eq(s.local[l], (l + 1) % 3 != 0);
    ck_assert_int_eq(spec_set(&s, "head_dim", 64), OK);
    ck_assert_double_eq(s.query_scalar, 64);
    ck_assert_int_eq(spec_set(&s, "query_scalar", 50), OK);
    ck_assert_int_eq(spec_set(&s, "head_dim", 32), OK);
    ck_assert_double_eq(s.query_scalar, 50);
    s = preset("gemma2-2b");
    ck_assert_int_eq(spec_set(&s, "rope_theta", 500), OK);
    ck_assert_double_eq(s.rope_theta_local, 500);
    ck_assert_int_eq(spec_check(&s), OK);
}
END_TEST

START_TEST(every_field_can_be_set_or_says_why_not)
{
    struct model_spec s = preset("gemma3-nano");
    int n = 0;
    for (; spec_field_name(n) != NULL; n++) {
        bool is_eps = strcmp(spec_field_name(n), "eps") == 0;
        ck_assert_int_eq(spec_set(&s, spec_field_name(n), is_eps ? 0.5 : 2), OK);
    }
    ck_assert_int_eq(s.V, 2);
    ck_assert_int_eq(s.K, 2);
    ck_assert_double_eq(s.eps, 0.5);
    ck_assert_double_eq(s.final_cap, 2);
    ck_assert_int_ge(n, 18);
    holds(spec_set(&s, "layer", 3), E_CONFIG, "layers");
    holds(spec_set(&s, "layers", 2.5), E_CONFIG, "layers");
    holds(spec_set(&s, "layers", 0), E_CONFIG, "layers");
    holds(spec_set(&s, "layers", 257), E_CONFIG, "layers");
    holds(spec_set(&s, "vocab", NAN), E_CONFIG, "vocab");
    s = preset("gemma1-nano");
    holds(spec_set(&s, "query_scalar", 5), E_CONFIG, "query_scalar");
    s = preset("gemma2-nano");
    holds(spec_set(&s, "rope_theta_local", 5), E_CONFIG, "rope_theta_local");
}
END_TEST

START_TEST(check_names_the_field)
{
    static const struct {
        const char *preset, *field, *named;
        double value;
    } rows[] = {
        {"gemma3-nano", "heads", "heads", 3},
        {"gemma3-nano", "head_dim", "head_dim", 7},
        {"gemma3-nano", "window", "window", 0},
        {"gemma1-nano", "pattern", "pattern", 2},
        {"gemma1-nano", "attn_cap", "attn_cap", 50},
        {"gemma1-nano", "final_cap", "final_cap", 30},
        {"gemma2-nano", "rope_factor", "rope_factor", 8},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct model_spec s = preset(rows[i].preset);
        if (strcmp(rows[i].field, "heads") == 0)
            s.K = 2;
        if (strcmp(rows[i].field, "pattern") == 0)
            s.window = 8;
        ck_assert_int_eq(spec_set(&s, rows[i].field, rows[i].value), OK);
        holds(spec_check(&s), E_CONFIG, rows[i].named);
    }
    struct model_spec s = preset("gemma3-nano");
    s.qk_norm = false;
    holds(spec_check(&s), E_CONFIG, "qk_norm");
    s = preset("gemma3-nano");
    s.family = 4;
    holds(spec_check(&s), E_CONFIG, "family 4");
    s = preset("gemma3-nano");
    s.eps = NAN;
    holds(spec_check(&s), E_CONFIG, "eps");
}
END_TEST

/* ---- config.json ---- */

static void round_trip(const struct model_spec *s)
{
    struct model_spec back;
    char *text;
    ck_assert_msg(spec_to_json(s, &text) == OK, "%s", err_message());
    ck_assert_msg(spec_from_json(&back, text, "config.json") == OK, "%s in %s", err_message(),
                  text);
    same(s, &back);
    mem_free(text);
}

START_TEST(json_reads_back_exactly)
{
    for (int i = 0; spec_preset_name(i) != NULL; i++) {
        struct model_spec s = preset(spec_preset_name(i));
        round_trip(&s);
        s.eps = 1.0 / 3e5;
        s.init_std = 0.1 + 0.2;
        ck_assert_int_eq(spec_set(&s, "rope_theta", 12345.678), OK);
        round_trip(&s);
        if (s.family > 1) {
            s.attn_cap = 0;
            s.final_cap = 7.25;
            ck_assert_int_eq(spec_set(&s, "query_scalar", 5.5), OK);
            ck_assert_int_eq(spec_set(&s, "pattern", 5), OK);
            round_trip(&s);
            s.local[0] ^= 1;
            s.pattern = 0;
            round_trip(&s);
        }
    }
}
END_TEST

static struct model_spec parse(const char *text)
{
    struct model_spec s;
    ck_assert_msg(spec_from_json(&s, text, "test") == OK, "%s", err_message());
    return s;
}

#define SIZES "\"hidden_size\": 8, \"num_hidden_layers\": 7, \"intermediate_size\": 16"

START_TEST(absent_keys_have_their_familys_defaults)
{
    struct model_spec s = parse("{\"model_type\": \"gemma\", " SIZES "}");
    ck_assert_int_eq(s.Hd, 256);
    ck_assert_double_eq(s.query_scalar, 256);
    ck_assert_double_eq(s.eps, 1e-6);
    ck_assert_double_eq(s.rope_theta, 10000);
    ck_assert(!s.post_norms && !s.qk_norm && s.attn_cap == 0 && s.local[0] == 0);
    s = parse("{\"model_type\": \"gemma2\", " SIZES "}");
    ck_assert_double_eq(s.query_scalar, 256);
    ck_assert_int_eq(s.window, 4096);
    ck_assert_double_eq(s.attn_cap, 50);
    ck_assert_double_eq(s.final_cap, 30);
    ck_assert(s.post_norms && !s.qk_norm && s.local[0] == 1 && s.local[1] == 0 && s.local[6] == 1);
    s = parse("{\"model_type\": \"gemma3_text\", " SIZES "}");
    ck_assert_double_eq(s.rope_theta, 1e6);
    ck_assert_double_eq(s.rope_theta_local, 1e4);
    ck_assert_double_eq(s.rope_factor, 1);
    ck_assert_int_eq(s.window, 4096);
    ck_assert_double_eq(s.attn_cap, 0);
    ck_assert(s.qk_norm && s.local[4] == 1 && s.local[5] == 0 && s.local[6] == 1);
}
END_TEST

START_TEST(null_is_no_cap_but_a_default_elsewhere)
{
    struct model_spec s = parse("{\"model_type\": \"gemma2\", " SIZES
                                ", \"attn_logit_softcapping\": null, \"head_dim\": null}");
    ck_assert_double_eq(s.attn_cap, 0);
    ck_assert_double_eq(s.final_cap, 30);
    ck_assert_int_eq(s.Hd, 256);
}
END_TEST

START_TEST(layer_types_decide)
{
    struct model_spec s =
        parse("{\"model_type\": \"gemma3_text\", \"hidden_size\": 8, \"num_hidden_layers\": 3, "
              "\"intermediate_size\": 16, \"sliding_window_pattern\": 2, \"layer_types\": "
              "[\"full_attention\", \"sliding_attention\", \"sliding_attention\"]}");
    ck_assert(s.local[0] == 0 && s.local[1] == 1 && s.local[2] == 1);
    ck_assert_int_eq(s.pattern, 0);
    /* More layers repeat the list. */
    ck_assert_int_eq(spec_set(&s, "layers", 5), OK);
    ck_assert(s.local[2] == 1 && s.local[3] == 0 && s.local[4] == 1);
    /* A list of the family's pattern beside a pattern that is another one's. */
    s = parse("{\"model_type\": \"gemma2\", \"hidden_size\": 8, \"num_hidden_layers\": 2, "
              "\"intermediate_size\": 16, \"sliding_window_pattern\": 1, \"layer_types\": "
              "[\"sliding_attention\", \"full_attention\"]}");
    ck_assert_int_eq(s.pattern, 2);
    round_trip(&s);
}
END_TEST

START_TEST(rope_is_read_in_all_its_forms)
{
    struct model_spec s = parse("{\"model_type\": \"gemma3_text\", " SIZES
                                ", \"rope_scaling\": {\"type\": \"linear\", \"factor\": 8}}");
    ck_assert_double_eq(s.rope_factor, 8);
    s = parse(
        "{\"model_type\": \"gemma3_text\", " SIZES ", \"rope_parameters\": "
        "{\"full_attention\": {\"rope_type\": \"linear\", \"factor\": 4, \"rope_theta\": 7e5},"
        " \"sliding_attention\": {\"rope_type\": \"default\", \"rope_theta\": 9e3}}}");
    ck_assert_double_eq(s.rope_factor, 4);
    ck_assert_double_eq(s.rope_theta, 7e5);
    ck_assert_double_eq(s.rope_theta_local, 9e3);
    s = parse("{\"model_type\": \"gemma2\", " SIZES ", \"rope_parameters\": "
              "{\"rope_type\": \"default\", \"rope_theta\": 2e4}}");
    ck_assert_double_eq(s.rope_theta, 2e4);
    ck_assert_double_eq(s.rope_theta_local, 2e4);
}
END_TEST

/* As published for the 4B: nearly everything is a default. */
START_TEST(text_part_of_a_model_with_vision_is_read)
{
    struct model_spec want = preset("gemma3-4b");
    struct model_spec s = parse(
        "{\"architectures\": [\"Gemma3ForConditionalGeneration\"], \"model_type\": \"gemma3\", "
        "\"vision_config\": {\"hidden_size\": 1152}, \"text_config\": {\"hidden_size\": 2560, "
        "\"intermediate_size\": 10240, \"model_type\": \"gemma3_text\", \"num_hidden_layers\": 34, "
        "\"rope_scaling\": {\"factor\": 8.0, \"rope_type\": \"linear\"}, "
        "\"sliding_window\": 1024}}");
    same(&s, &want);
}
END_TEST

START_TEST(what_is_unsupported_is_named)
{
    static const char *const keys[] = {
        "\"attention_bias\": true",
        "\"tie_word_embeddings\": false",
        "\"use_bidirectional_attention\": true",
        "\"attention_dropout\": 0.1",
        "\"hidden_activation\": \"silu\"",
        "\"rope_scaling\": {\"rope_type\": \"yarn\", \"factor\": 8}",
    };
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        char text[512], name[64];
        struct model_spec s;
        snprintf(text, sizeof text, "{\"model_type\": \"gemma3_text\", " SIZES ", %s}", keys[i]);
        snprintf(name, sizeof name, "%.*s", (int)strcspn(keys[i] + 1, "\""), keys[i] + 1);
        holds(spec_from_json(&s, text, "here.json"), E_CONFIG, name);
        ck_assert_ptr_nonnull(strstr(err_message(), "here.json"));
    }
}
END_TEST

START_TEST(broken_files_are_refused)
{
    static const struct {
        const char *text, *word;
        int code;
    } rows[] = {
        {"", "JSON", E_DATA},
        {"[1, 2]", "object", E_DATA},
        {"{\"model_type\": \"gemma\", ", "JSON", E_DATA},
        {"{}", "model_type", E_DATA},
        {"{\"model_type\": 3}", "model_type", E_DATA},
        {"{\"model_type\": \"llama\"}", "llama", E_CONFIG},
        {"{\"model_type\": \"gemma\", \"hidden_size\": 8}", "intermediate_size", E_DATA},
        {"{\"model_type\": \"gemma\", " SIZES ", \"head_dim\": \"x\"}", "head_dim", E_DATA},
        {"{\"model_type\": \"gemma\", " SIZES ", \"head_dim\": -4}", "head_dim", E_DATA},
        {"{\"model_type\": \"gemma\", " SIZES ", \"head_dim\": 99999999999}", "head_dim", E_DATA},
        {"{\"model_type\": \"gemma\", " SIZES ", \"head_dim\": 7}", "head_dim", E_CONFIG},
        {"{\"model_type\": \"gemma\", \"hidden_size\": 8, \"num_hidden_layers\": 100000, "
         "\"intermediate_size\": 1}",
         "num_hidden_layers", E_CONFIG},
        {"{\"model_type\": \"gemma2\", " SIZES ", \"layer_types\": [\"full_attention\"]}",
         "layer_types", E_DATA},
        {"{\"model_type\": \"gemma3_text\", " SIZES ", \"sliding_window_pattern\": 0}",
         "sliding_window_pattern", E_DATA},
        {"{\"text_config\": 4}", "text_config", E_DATA},
        {"{\"model_type\": \"gemma3_text\", " SIZES ", \"rope_scaling\": 8}", "rope_scaling",
         E_DATA},
        {"{\"model_type\": \"gemma3_text\", " SIZES
         ", \"rope_scaling\": {\"rope_type\": \"linear\"}}",
         "factor", E_DATA},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct model_spec s;
        holds(spec_from_json(&s, rows[i].text, "here.json"), rows[i].code, rows[i].word);
        ck_assert_ptr_nonnull(strstr(err_message(), "here.json"));
    }
}
END_TEST

START_TEST(files_and_folders_are_read)
{
    char folder[] = "/tmp/carat-spec-XXXXXX", path[FS_PATH_MAX], *text;
    struct model_spec s = preset("gemma3-nano"), back;
    ck_assert_ptr_nonnull(mkdtemp(folder));
    ck_assert_int_eq(fs_join(path, folder, "config.json"), OK);
    ck_assert_int_ne(spec_from_file(&back, folder), OK);
    ck_assert_int_eq(spec_to_json(&s, &text), OK);
    ck_assert_int_eq(fs_write_file(path, text, strlen(text)), OK);
    ck_assert_int_eq(spec_from_file(&back, folder), OK);
    same(&s, &back);
    ck_assert_int_eq(spec_from_file(&back, path), OK);
    same(&s, &back);
    mem_free(text);
    unlink(path);
    rmdir(folder);
}
END_TEST

/* ---- operations ---- */

/* The benchmark's shapes, counted by hand: 6·(weights in products) + 6·L·H·T·Hd. */
START_TEST(operations_of_the_benchmark_shapes)
{
    struct model_spec s = preset("gemma3-mini");
    double layer = 256 * 256 * 2 + 2 * 256 * 64 + 3 * 256 * 1024.0;
    ck_assert_double_eq(spec_flops_per_token(&s, 256),
                        6 * (4096 * 256.0 + 6 * layer) + 6 * 6 * 4 * 256.0 * 64);
    s = preset("gemma3-270m");
    layer = 640 * 1024 * 2 + 2 * 640 * 256 + 3 * 640 * 2048.0;
    ck_assert_double_eq(spec_flops_per_token(&s, 512),
                        6 * (262144 * 640.0 + 18 * layer) + 6 * 18 * 4 * 512.0 * 256);
}
END_TEST

/* A window counts the keys that it keeps: of each pair (query, key) within it half a position is
 * dropped, as the causal half of a square drops half its diagonal. */
START_TEST(windows_count_what_they_keep)
{
    struct model_spec s = preset("gemma3-nano"), none = s;
    const int T = 700;
    ck_assert_int_eq(spec_set(&none, "pattern", 1), OK);
    double kept = 0;
    for (int i = 0; i < T; i++)
        for (int j = 0; j <= i; j++)
            kept += i - j < s.window ? (i == j || i - j == s.window ? 0.5 : 1) : 0;
    double full = T * (double)T / 2, saved = 3 * 12.0 * s.H * s.Hd * (full - kept) / T;
    double diff = spec_flops_per_token(&none, T) - spec_flops_per_token(&s, T);
    /* Half a position at the window's edge is the formula's to round. */
    ck_assert_double_eq_tol(diff, saved, 3 * 12.0 * s.H * s.Hd);
    ck_assert_double_eq(spec_flops_per_token(&none, s.window), spec_flops_per_token(&s, s.window));
}
END_TEST

static void add(TCase *t)
{
    tcase_add_test(t, presets_have_the_published_sizes);
    tcase_add_test(t, every_preset_is_whole);
    tcase_add_test(t, unknown_preset_gets_a_suggestion);
    tcase_add_test(t, overrides_carry_their_dependents);
    tcase_add_test(t, every_field_can_be_set_or_says_why_not);
    tcase_add_test(t, check_names_the_field);
    tcase_add_test(t, json_reads_back_exactly);
    tcase_add_test(t, absent_keys_have_their_familys_defaults);
    tcase_add_test(t, null_is_no_cap_but_a_default_elsewhere);
    tcase_add_test(t, layer_types_decide);
    tcase_add_test(t, rope_is_read_in_all_its_forms);
    tcase_add_test(t, text_part_of_a_model_with_vision_is_read);
    tcase_add_test(t, what_is_unsupported_is_named);
    tcase_add_test(t, broken_files_are_refused);
    tcase_add_test(t, files_and_folders_are_read);
    tcase_add_test(t, operations_of_the_benchmark_shapes);
    tcase_add_test(t, windows_count_what_they_keep);
}

int main(void)
{
    return run_suite("model/spec", add);
}
