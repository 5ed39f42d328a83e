/* From a job to a model's shape, and the memory that the job will hold. */
#include "base/err.h"
#include "check_main.h"
#include "cmd/job.h"
#include "model/model.h"
#include "train/budget.h"

#include <math.h>
#include <string.h>

static struct job job;

/* Loads a job of the preset with settings (ended by NULL), without data. */
static int load(const char *const *settings)
{
    static char words[32][64];
    char *argv[36] = {"plan", "/dev/null", "data.train=none.h5", "batch.global=8",
                      "train.steps=10"};
    int argc = 5;
    for (int i = 0; settings[i] != NULL; i++) {
        snprintf(words[i], sizeof words[i], "%s", settings[i]);
        argv[argc++] = words[i];
    }
    memset(&job, 0, sizeof job);
    job.without_data = true;
    return job_load(&job, argc, argv);
}
#define LOAD(...) load((const char *const[]){__VA_ARGS__, NULL})

START_TEST(a_preset_alone)
{
    struct model_spec s;
    ck_assert_msg(LOAD("model.preset=gemma3-270m") == OK, "%s", err_message());
    ck_assert_int_eq(spec_preset(&s, "gemma3-270m"), OK);
    ck_assert_mem_eq(&job.spec, &s, sizeof s);
    ck_assert(!job.has_data);
    ck_assert_str_eq(job.name, "null");
}
END_TEST

START_TEST(settings_change_the_shape)
{
    ck_assert_msg(LOAD("model.preset=gemma3-270m", "model.vocab=99", "model.width=64",
                       "model.heads=8", "model.kv_heads=2", "model.head_dim=16", "model.ffn=100",
                       "model.window=33", "model.layers=20") == OK,
                  "%s", err_message());
    const struct model_spec *s = &job.spec;
    ck_assert_int_eq(s->V, 99);
    ck_assert_int_eq(s->D, 64);
    ck_assert_int_eq(s->H, 8);
    ck_assert_int_eq(s->K, 2);
    ck_assert_int_eq(s->Hd, 16);
    ck_assert_int_eq(s->F, 100);
    ck_assert_int_eq(s->window, 33);
    ck_assert_int_eq(s->L, 20);
    ck_assert_double_eq(s->query_scalar, 16); /* it was the head size and stays that */
    for (int l = 0; l < 20; l++)
        ck_assert_int_eq(s->local[l], (l + 1) % 6 != 0); /* also in layers that were added */
}
END_TEST

START_TEST(the_pattern_of_layers_can_be_set)
{
    ck_assert_int_eq(LOAD("model.preset=gemma3-270m", "model.window_pattern=3"), OK);
    for (int l = 0; l < job.spec.L; l++)
        ck_assert_int_eq(job.spec.local[l], (l + 1) % 3 != 0);
    ck_assert_int_eq(LOAD("model.preset=gemma3-270m", "model.window_pattern=1"), OK);
    for (int l = 0; l < job.spec.L; l++)
        ck_assert_int_eq(job.spec.local[l], 0);
    ck_assert_int_eq(LOAD("model.preset=gemma3-270m", "model.window_pattern=0"), OK);
    for (int l = 0; l < job.spec.L; l++)
        ck_assert_int_eq(job.spec.local[l], 1);
}
END_TEST

START_TEST(a_scale_of_scores_by_width_follows_the_width)
{
    /* 27B scales by width / heads = 168, not by its head size of 128. */
    ck_assert_int_eq(LOAD("model.preset=gemma3-27b", "model.width=2688"), OK);
    ck_assert_double_eq(job.spec.query_scalar, 84);
}
END_TEST

START_TEST(impossible_shapes_are_refused)
{
    ck_assert_int_eq(LOAD("model.preset=gemma3-270m", "model.heads=3", "model.kv_heads=2"),
                     E_CONFIG);
    ck_assert_int_eq(LOAD("model.preset=gemma3-270m", "model.head_dim=7"), E_CONFIG);
    ck_assert_int_eq(LOAD("model.preset=gemma4-270m"), E_CONFIG);
    ck_assert_ptr_nonnull(strstr(err_message(), "model.preset (command line)"));
    ck_assert_int_eq(LOAD("model.path=/none/config.json"), E_DATA);
}
END_TEST

START_TEST(data_that_is_missing_is_an_error_unless_allowed)
{
    char *argv[] = {"train",          "/dev/null",     "model.preset=gemma3-nano",
                    "batch.global=8", "train.steps=1", "data.train=no.h5"};
    memset(&job, 0, sizeof job);
    ck_assert_int_eq(job_load(&job, 6, argv), E_DATA);
    ck_assert_ptr_nonnull(strstr(err_message(), "data.train (command line)"));
}
END_TEST

START_TEST(keys_of_a_run_are_not_asked_for_where_there_is_none)
{
    char *argv[] = {"bench", "/dev/null", "model.preset=gemma3-nano", "batch.global=8"};
    memset(&job, 0, sizeof job);
    job.without_data = true;
    ck_assert_int_eq(job_load(&job, 4, argv), E_CONFIG);
    memset(&job, 0, sizeof job);
    job.without_data = job.without_run = true;
    ck_assert_msg(job_load(&job, 4, argv) == OK, "%s", err_message());
    ck_assert(!job.has_data);
    ck_assert_int_eq(job.spec.V, 4096);
    memset(&job, 0, sizeof job);
    job.without_data = job.without_run = true;
    ck_assert_int_eq(job_load(&job, 3, argv), E_CONFIG);
    ck_assert_ptr_nonnull(strstr(err_message(), "batch.global"));
}
END_TEST

static double part(const struct budget *b, const char *label)
{
    for (int i = 0; i < b->n; i++)
        if (strcmp(b->row[i].label, label) == 0)
            return b->row[i].bytes;
    return 0;
}

/* The budget of the nano model with settings, on some ranks. */
static struct budget budget(int ranks, const char *key, const char *value)
{
    struct budget b;
    ck_assert_int_eq(LOAD("model.preset=gemma3-nano", "parallel.bucket_mib=1"), OK);
    ck_assert_int_eq(conf_set_text(conf_find(key), &job.conf, value), OK);
    const struct team nodes = {.size = ranks, .per = ranks};
    ck_assert_msg(budget_of(&b, &job.conf, &job.spec, &nodes) == OK, "%s", err_message());
    return b;
}

START_TEST(memory_adds_up)
{
    struct budget one = budget(1, "batch.micro", "2");
    struct tensor_table t;
    ck_assert_int_eq(tensors_init(&t, &job.spec), OK);
    double slab = 4.0 * (double)t.n_elems;
    tensors_release(&t);
    ck_assert_double_eq(part(&one, "parameters"), slab);
    ck_assert_double_ge(part(&one, "gradients"), slab);
    ck_assert_double_eq(part(&one, "optimizer state"), 2 * slab);
    ck_assert_double_eq(one.checkpoint_bytes, 3 * slab);
    ck_assert_double_eq(
        part(&one, "activations"),
        (double)model_bytes(&job.spec, 2, 256, &(struct model_options){.training = true}));
    double sum = 0;
    for (int i = 0; i < one.n; i++)
        sum += one.row[i].bytes;
    ck_assert_double_eq(budget_total(&one), sum);
}
END_TEST

START_TEST(memory_follows_ranks_and_settings)
{
    struct budget one = budget(1, "batch.micro", "1"), four = budget(4, "batch.micro", "1");
    double state = part(&one, "optimizer state"), block = 2 * 4.0 * 4096;
    /* A quarter, and at most a block more in each bucket. */
    ck_assert_double_ge(part(&four, "optimizer state"), state / 4);
    ck_assert_double_le(part(&four, "optimizer state"), state / 4 + 8 * block);
    struct budget whole = budget(4, "parallel.shard", "none");
    ck_assert_double_eq(part(&whole, "optimizer state"), state);
    /* Four ranks of a node hold parameters once, or each its own. */
    struct budget off = budget(4, "parallel.share_params", "off");
    double slab = part(&four, "parameters");
    ck_assert_double_eq(budget_node(&off) - budget_node(&four), 3 * slab);
    ck_assert_double_ge(budget_node(&whole) - budget_node(&four),
                        3 * slab + 3 * state - 32 * block);
    ck_assert_double_eq(budget_total(&four), budget_node(&four) / 4);
    struct budget fast = budget(2, "parallel.reduce", "fast");
    struct budget exact = budget(2, "parallel.reduce", "exact");
    ck_assert_double_lt(part(&fast, "gradients"), part(&exact, "gradients"));
    struct budget big = budget(1, "batch.micro", "4");
    ck_assert_double_gt(part(&big, "activations"), 2 * part(&one, "activations"));
}
END_TEST

static void add(TCase *t)
{
    tcase_add_test(t, a_preset_alone);
    tcase_add_test(t, settings_change_the_shape);
    tcase_add_test(t, the_pattern_of_layers_can_be_set);
    tcase_add_test(t, a_scale_of_scores_by_width_follows_the_width);
    tcase_add_test(t, impossible_shapes_are_refused);
    tcase_add_test(t, data_that_is_missing_is_an_error_unless_allowed);
    tcase_add_test(t, keys_of_a_run_are_not_asked_for_where_there_is_none);
    tcase_add_test(t, memory_adds_up);
    tcase_add_test(t, memory_follows_ranks_and_settings);
}

int main(void)
{
    return run_suite("cmd/job", add);
}
