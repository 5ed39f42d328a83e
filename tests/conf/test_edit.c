/* Setting a key in a job file's text. */
#include "base/err.h"
#include "base/mem.h"
#include "check_main.h"
#include "conf/config_edit.h"

#include <string.h>

static void becomes(const char *text, const char *key, const char *value, const char *wanted)
{
    char *out = NULL;
    int rc = conf_edit(text, "job.yaml", conf_find(key), value, &out);
    ck_assert_msg(rc == OK, "%s: %s", text, err_message());
    ck_assert_str_eq(out, wanted);
    mem_free(out);
}

START_TEST(a_value_is_replaced_where_it_stands)
{
    const struct {
        const char *text, *wanted;
    } rows[] = {
        {"optimizer:\n  name: adamw  # rule\n  lr: 1e-3   # peak\n",
         "optimizer:\n  name: adamw  # rule\n  lr: 0.02   # peak\n"},
        {"# Größe über π\noptimizer: {lr: 1e-3, clip_norm: 1} # ä\n",
         "# Größe über π\noptimizer: {lr: 0.02, clip_norm: 1} # ä\n"},
        {"optimizer.lr: 1e-3\nrun.seed: 4", "optimizer.lr: 0.02\nrun.seed: 4"},
        {"optimizer:\n  lr: \"1e-3\"  # quoted\n", "optimizer:\n  lr: 0.02  # quoted\n"},
        {"optimizer:\n  lr: '1e-3'\n", "optimizer:\n  lr: 0.02\n"},
        {"{optimizer: {lr: 1e-3}}\n", "{optimizer: {lr: 0.02}}\n"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        becomes(rows[i].text, "optimizer.lr", "0.02", rows[i].wanted);
}
END_TEST

START_TEST(a_key_that_is_not_set_comes_first_in_its_section_or_file)
{
    const struct {
        const char *text, *wanted;
    } rows[] = {
        {"scaling:\n  # how\n  rule: sqrt\n",
         "scaling:\n  # how\n  base_batch: 64\n  rule: sqrt\n"},
        {"scaling: {rule: sqrt}\n", "scaling: {base_batch: 64, rule: sqrt}\n"},
        {"# head\n\nrun:\n  seed: 4\n", "# head\n\nscaling.base_batch: 64\nrun:\n  seed: 4\n"},
        {"run: {seed: 4}\nscaling:\n", "scaling.base_batch: 64\nrun: {seed: 4}\nscaling:\n"},
        {"---\n  run.seed: 4\n", "---\n  scaling.base_batch: 64\n  run.seed: 4\n"},
        {"{run: {seed: 4}}", "{scaling.base_batch: 64, run: {seed: 4}}"},
        {"# nothing\n", "# nothing\nscaling.base_batch: 64\n"},
        {"", "scaling.base_batch: 64\n"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        becomes(rows[i].text, "scaling.base_batch", "64", rows[i].wanted);
}
END_TEST

START_TEST(another_key_of_the_same_setting_gives_way)
{
    becomes("train:\n  tokens: 20Mtok # long\n  log_every: 3\n", "train.steps", "500 steps",
            "train:\n  steps: 500 steps # long\n  log_every: 3\n");
    becomes("train.epochs: 2\n", "train.steps", "500", "train.steps: 500\n");
}
END_TEST

START_TEST(text_is_quoted)
{
    becomes("batch.ramp: \"\" # none\n", "batch.ramp", "0:4 9tok:8",
            "batch.ramp: \"0:4 9tok:8\" # none\n");
    becomes("batch: {ramp: ''}\n", "batch.ramp", "0:4", "batch: {ramp: \"0:4\"}\n");
    becomes("run.dir: old\n", "run.dir", "a \"b\": # c", "run.dir: \"a \\\"b\\\": # c\"\n");
}
END_TEST

START_TEST(what_cannot_be_set_is_refused)
{
    char *out = NULL;
    const struct conf_key *lr = conf_find("optimizer.lr");
    ck_assert_int_eq(conf_edit("run.seed: 4\n", "job.yaml", lr, "fast", &out), E_CONFIG);
    ck_assert_ptr_null(strstr(err_message(), "by hand"));
    ck_assert_int_eq(conf_edit("- a list\n", "job.yaml", lr, "1e-3", &out), E_CONFIG);
    ck_assert_ptr_null(out);
}
END_TEST

static void add(TCase *t)
{
    tcase_add_test(t, a_value_is_replaced_where_it_stands);
    tcase_add_test(t, a_key_that_is_not_set_comes_first_in_its_section_or_file);
    tcase_add_test(t, another_key_of_the_same_setting_gives_way);
    tcase_add_test(t, text_is_quoted);
    tcase_add_test(t, what_cannot_be_set_is_refused);
}

int main(void)
{
    return run_suite("conf/edit", add);
}
