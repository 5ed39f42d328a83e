/* Names, order, alignment and initial values of the slab. */
#include "model/tensors.h"

#include "base/err.h"
#include "tiny.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const struct tensor *must(const struct tensor_table *t, const char *name)
{
    const struct tensor *r = tensors_find(t, name);
    ck_assert_msg(r != NULL, "no tensor %s", name);
    return r;
}

START_TEST(names_follow_the_family)
{
    static const char *const names[3][15] = {
        {"model.embed_tokens", "model.layers.1.input_layernorm", "model.layers.1.self_attn.q_proj",
         "model.layers.1.self_attn.k_proj", "model.layers.1.self_attn.v_proj",
         "model.layers.1.self_attn.o_proj", "model.layers.1.post_attention_layernorm",
         "model.layers.1.mlp.gate_proj", "model.layers.1.mlp.up_proj",
         "model.layers.1.mlp.down_proj", "model.norm"},
        {"model.layers.1.pre_feedforward_layernorm", "model.layers.1.post_feedforward_layernorm",
         "model.layers.1.post_attention_layernorm"},
        {"model.layers.1.self_attn.q_norm", "model.layers.1.self_attn.k_norm",
         "model.layers.1.pre_feedforward_layernorm"},
    };
    static const int per_layer[] = {9, 11, 13};
    for (int family = 1; family <= 3; family++) {
        struct model_spec s = tiny_spec(family);
        struct tensor_table t;
        ck_assert_int_eq(tensors_init(&t, &s), OK);
        for (int i = 0; i < 15 && names[family - 1][i] != NULL; i++) {
            char name[128];
            snprintf(name, sizeof name, "%s.weight", names[family - 1][i]);
            must(&t, name);
        }
        ck_assert_int_eq(t.n, 2 + s.L * per_layer[family - 1]);
        ck_assert_uint_eq(tensors_count(&s), (size_t)t.n);
        ck_assert_ptr_null(tensors_find(&t, "lm_head.weight"));
        tensors_release(&t);
    }
}
END_TEST

/* In family 1 the published name "post_attention" is the norm before the MLP. */
START_TEST(family_1s_post_attention_norm_is_the_mlps)
{
    struct model_spec s = tiny_spec(1);
    struct tensor_table t;
    ck_assert_int_eq(tensors_init(&t, &s), OK);
    ck_assert_ptr_eq(tensors_get(&t, TENSOR_PRE_FFN_NORM, 1),
                     must(&t, "model.layers.1.post_attention_layernorm.weight"));
    ck_assert_ptr_null(tensors_get(&t, TENSOR_POST_ATTN_NORM, 1));
    ck_assert_ptr_null(tensors_get(&t, TENSOR_Q, s.L));
    ck_assert_ptr_eq(tensors_get(&t, TENSOR_EMBED, -1), &t.row[0]);
    tensors_release(&t);
}
END_TEST

static void check_layout(const struct model_spec *s, const struct tensor_table *t)
{
    size_t end = 0, n = 0;
    for (int i = 0; i < t->n; i++) {
        const struct tensor *r = &t->row[i];
        bool joined = r->kind == TENSOR_K || r->kind == TENSOR_V || r->kind == TENSOR_UP;
        ck_assert_uint_ge(r->offset, end);
        ck_assert_uint_lt(r->offset - end, 16);
        if (joined)
            ck_assert_uint_eq(r->offset, end);
        else
            ck_assert_uint_eq(r->offset % 16, 0);
        ck_assert_uint_eq(r->n, r->dims[0] * r->dims[1]);
        ck_assert_int_eq(r->decay, r->n_dims == 2);
        end = r->offset + r->n;
        n += r->n;
    }
    ck_assert_uint_eq(t->n_elems, end);
    ck_assert_uint_eq(t->n_params, n);
    ck_assert_double_eq((double)n, spec_n_params(s));
    ck_assert_uint_eq(t->row[0].offset, 0);
    ck_assert_int_eq(t->row[0].kind, TENSOR_EMBED);
    ck_assert_int_eq(t->row[t->n - 1].kind, TENSOR_FINAL_NORM);
}

START_TEST(products_are_joined_and_groups_aligned)
{
    for (int family = 1; family <= 3; family++) {
        struct model_spec s = tiny_spec(family);
        struct tensor_table t;
        ck_assert_int_eq(tensors_init(&t, &s), OK);
        check_layout(&s, &t);
        /* Layers repeat at one distance. */
        size_t stride = tensors_get(&t, TENSOR_Q, 1)->offset - tensors_get(&t, TENSOR_Q, 0)->offset;
        for (int k = TENSOR_INPUT_NORM; k < TENSOR_FINAL_NORM; k++) {
            const struct tensor *a = tensors_get(&t, (enum tensor_kind)k, 0),
                                *b = tensors_get(&t, (enum tensor_kind)k, s.L - 1);
            ck_assert((a == NULL) == (b == NULL));
            if (a != NULL)
                ck_assert_uint_eq(b->offset - a->offset, stride * (size_t)(s.L - 1));
        }
        tensors_release(&t);
    }
}
END_TEST

START_TEST(presets_have_consistent_tables)
{
    for (int i = 0; spec_preset_name(i) != NULL; i++) {
        struct model_spec s;
        struct tensor_table t;
        ck_assert_int_eq(spec_preset(&s, spec_preset_name(i)), OK);
        ck_assert_int_eq(tensors_init(&t, &s), OK);
        check_layout(&s, &t);
        tensors_release(&t);
    }
}
END_TEST

/* Mean and deviation of n numbers N(0, std²): five standard errors. */
static void hold_normal(const float *w, size_t n, double std)
{
    double sum = 0, sum2 = 0, beyond = 0;
    for (size_t i = 0; i < n; i++) {
        sum += w[i];
        sum2 += (double)w[i] * w[i];
        beyond += fabs(w[i]) > std;
    }
    double N = (double)n, found = sqrt(sum2 / N);
    ck_assert_double_eq_tol(sum / N, 0, 5 * std / sqrt(N));
    ck_assert_double_eq_tol(found, std, 5 * std / sqrt(2 * N));
    ck_assert_double_eq_tol(beyond / N, 0.3173, 5 * sqrt(0.3173 * 0.6827 / N));
}

START_TEST(initial_values_are_normal_and_repeat)
{
    struct model_spec s;
    struct tensor_table t;
    ck_assert_int_eq(spec_preset(&s, "gemma3-nano"), OK);
    ck_assert_int_eq(spec_set(&s, "vocab", 1000), OK);
    ck_assert_int_eq(tensors_init(&t, &s), OK);
    float *a = malloc(t.n_elems * sizeof *a), *b = malloc(t.n_elems * sizeof *b);
    memset(a, 0xff, t.n_elems * sizeof *a);
    tensors_init_values(&t, &s, 5, a);
    tensors_init_values(&t, &s, 5, b);
    ck_assert_mem_eq(a, b, t.n_elems * sizeof *a);
    for (int i = 0; i < t.n; i++) {
        const struct tensor *r = &t.row[i];
        bool out = r->kind == TENSOR_O || r->kind == TENSOR_DOWN;
        if (r->n_dims == 2)
            hold_normal(a + r->offset, r->n, out ? s.init_std / sqrt(2.0 * s.L) : s.init_std);
        for (size_t j = 0; r->n_dims == 1 && j < r->n; j++)
            ck_assert_float_eq(a[r->offset + j], 0);
    }
    tensors_init_values(&t, &s, 6, b);
    ck_assert_mem_ne(a, b, 64);
    /* Two tensors of one shape differ. */
    ck_assert_mem_ne(a + tensors_get(&t, TENSOR_Q, 0)->offset,
                     a + tensors_get(&t, TENSOR_Q, 1)->offset, 64);
    free(a);
    free(b);
    tensors_release(&t);
}
END_TEST

/* A value hangs on seed, row and index alone: a larger vocabulary continues the smaller one. */
START_TEST(initial_values_do_not_hang_on_sizes)
{
    struct model_spec s[2] = {tiny_spec(3), tiny_spec(3)};
    struct tensor_table t[2];
    float *w[2];
    ck_assert_int_eq(spec_set(&s[1], "vocab", 60), OK);
    for (int i = 0; i < 2; i++) {
        ck_assert_int_eq(tensors_init(&t[i], &s[i]), OK);
        w[i] = malloc(t[i].n_elems * sizeof *w[i]);
        tensors_init_values(&t[i], &s[i], 5, w[i]);
    }
    for (int i = 0; i < t[0].n; i++)
        ck_assert_mem_eq(w[0] + t[0].row[i].offset, w[1] + t[1].row[i].offset,
                         t[0].row[i].n * sizeof(float));
    for (int i = 0; i < 2; i++) {
        free(w[i]);
        tensors_release(&t[i]);
    }
}
END_TEST

static void add(TCase *t)
{
    tcase_add_test(t, names_follow_the_family);
    tcase_add_test(t, family_1s_post_attention_norm_is_the_mlps);
    tcase_add_test(t, products_are_joined_and_groups_aligned);
    tcase_add_test(t, presets_have_consistent_tables);
    tcase_add_test(t, initial_values_are_normal_and_repeat);
    tcase_add_test(t, initial_values_do_not_hang_on_sizes);
}

int main(void)
{
    return run_suite("model/tensors", add);
}
