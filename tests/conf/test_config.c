/* Configuration: every key's row, precedence and origins, errors with their place, text that reads
 * back, and files that were damaged. */
#include "base/err.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/rng.h"
#include "base/str.h"
#include "check_main.h"
#include "conf/amount.h"
#include "conf/config_file.h"
#include "conf/value.h"

#include <glob.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

enum { N_MUTATIONS = 20000, N_ROUND_TRIPS = 500 };

static const char good[] = "run: {dir: runs/x}\n"
                           "model:\n"
                           "  preset: gemma3-270m\n"
                           "  layers: 4   # of 18\n"
                           "data.train: a.h5\n"
                           "batch: {global: 16, micro: 2}\n"
                           "train:\n"
                           "  tokens: 2Mtok\n"
                           "  time_limit: 1h 30m\n"
                           "optimizer:\n"
                           "  lr: 3e-4\n"
                           "schedule.warmup: 5%\n"
                           "sample:\n"
                           "  prompt: \"Once\\nupon\"\n";

static struct config conf;
static struct conf_origins origins;

static const char *origin_of(const char *key)
{
    return origins.text[conf_find(key) - CONF_KEYS];
}

static int load(const char *text)
{
    return conf_load_text(&conf, &origins, text, "dir/job.yaml");
}

/* Loading text fails with E_CONFIG and a message that begins with place and holds part. */
static void expect_error(const char *text, const char *place, const char *part)
{
    ck_assert_int_eq(load(text), E_CONFIG);
    ck_assert_msg(strncmp(err_message(), place, strlen(place)) == 0, "%s: \"%s\"", text,
                  err_message());
    ck_assert_msg(strstr(err_message(), part) != NULL, "%s: \"%s\"", text, err_message());
}

START_TEST(every_row_is_complete)
{
    struct config c;
    char text[CONF_STR + 64];
    for (int i = 0; i < CONF_N_KEYS; i++) {
        const struct conf_key *k = &CONF_KEYS[i];
        ck_assert_msg(strlen(k->help) > 10 && k->help[strlen(k->help) - 1] == '.', "%s", k->name);
        ck_assert_ptr_eq(conf_find(k->name), k);
        ck_assert_ptr_nonnull(strchr(k->name, '.'));
        ck_assert_uint_le(k->offset + k->size, sizeof c);
        if (k->kind == CONF_INT || k->kind == CONF_F64 || k->kind == CONF_DURATION) {
            ck_assert_uint_eq(k->size, 8);
            ck_assert_msg(k->min < k->max, "%s", k->name);
        }
        if (*k->def == '\0' && k->kind == CONF_AMOUNT)
            continue;
        memset(&c, 0, sizeof c);
        ck_assert_msg(conf_set_text(k, &c, k->def) == OK, "%s", err_message());
        struct config again = c;
        conf_value_text(k, &c, text, sizeof text);
        ck_assert_msg(conf_set_text(k, &again, text) == OK, "%s", err_message());
        ck_assert_mem_eq(&c, &again, sizeof c);
    }
}
END_TEST

START_TEST(members_do_not_overlap)
{
    for (int i = 0; i < CONF_N_KEYS; i++) {
        for (int j = 0; j < i; j++) {
            const struct conf_key *a = &CONF_KEYS[i], *b = &CONF_KEYS[j];
            ck_assert_str_ne(a->name, b->name);
            bool apart = a->offset + a->size <= b->offset || b->offset + b->size <= a->offset;
            bool same = a->offset == b->offset && a->kind == CONF_AMOUNT;
            ck_assert_msg(apart || same, "%s and %s", a->name, b->name);
        }
    }
}
END_TEST

START_TEST(values_and_origins_of_a_file)
{
    ck_assert_msg(load(good) == OK, "%s", err_message());
    ck_assert_str_eq(conf.model.preset, "gemma3-270m");
    ck_assert_int_eq(conf.model.layers, 4);
    ck_assert_int_eq(conf.model.heads, -1);
    ck_assert_str_eq(conf.data.train, "a.h5");
    ck_assert_int_eq(conf.batch.micro, 2);
    ck_assert_double_eq(conf.train.length.value, 2e6);
    ck_assert_int_eq(conf.train.length.unit, UNIT_TOKENS);
    ck_assert_double_eq(conf.train.time_limit_s, 5400);
    ck_assert_double_eq(conf.optimizer.lr, 3e-4);
    ck_assert_double_eq(conf.optimizer.beta2, -1);
    ck_assert_int_eq(conf.schedule.warmup.unit, UNIT_PERCENT);
    ck_assert_str_eq(conf.sample.prompt, "Once\nupon");
    ck_assert_str_eq(origin_of("model.layers"), "job.yaml:4");
    ck_assert_str_eq(origin_of("batch.micro"), "job.yaml:6");
    ck_assert_str_eq(origin_of("train.tokens"), "job.yaml:8");
    ck_assert_str_eq(origin_of("train.steps"), "default");
    ck_assert_str_eq(origin_of("optimizer.eps"), "default");
    ck_assert_int_eq(conf_check(&conf), OK);
}
END_TEST

START_TEST(command_line_wins_over_file)
{
    char path[] = "/tmp/carat-conf-XXXXXX.yaml";
    int fd = mkstemps(path, 5);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(fs_pwrite(fd, good, sizeof good - 1, 0, path), OK);
    char *overrides[] = {"optimizer.lr=0.01", "train.steps=1k", "sample.prompt=a = b",
                         "optimizer.lr=0.02", "data.valid="};
    ck_assert_msg(conf_load(&conf, &origins, path, overrides, 5) == OK, "%s", err_message());
    ck_assert_double_eq(conf.optimizer.lr, 0.02);
    ck_assert_int_eq(conf.train.length.unit, UNIT_STEPS);
    ck_assert_double_eq(conf.train.length.value, 1000);
    ck_assert_str_eq(conf.sample.prompt, "a = b");
    ck_assert_str_eq(origin_of("optimizer.lr"), "command line");
    ck_assert_str_eq(origin_of("train.steps"), "command line");
    ck_assert_str_eq(origin_of("train.tokens"), "default");
    ck_assert_str_eq(conf.run.dir, "runs/x");

    char *rivals[] = {"train.steps=5", "train.tokens=5M"};
    ck_assert_int_eq(conf_load(&conf, &origins, path, rivals, 2), E_CONFIG);
    ck_assert_ptr_nonnull(strstr(err_message(), "only one of"));
    char *wrong[] = {"optimizer.lr"};
    ck_assert_int_eq(conf_load(&conf, &origins, path, wrong, 1), E_USAGE);
    char *typo[] = {"optimiser.lr=1"};
    ck_assert_int_eq(conf_load(&conf, &origins, path, typo, 1), E_CONFIG);
    ck_assert_str_eq(err_message(),
                     "command line: optimiser.lr: no such key; did you mean optimizer.lr?");
    ck_assert_int_eq(ftruncate(fd, 0), 0);
    close(fd);
    ck_assert_int_eq(conf_load(&conf, &origins, path, NULL, 0), OK);
    ck_assert_int_eq(strncmp(conf.run.dir, "runs/carat-conf-", 16), 0);
    ck_assert_ptr_null(strstr(conf.run.dir, "yaml"));
    unlink(path);
    ck_assert_int_eq(conf_load(&conf, &origins, path, NULL, 0), E_DATA);
}
END_TEST

START_TEST(errors_name_their_place)
{
    expect_error("optimizer:\n  lr: fast\n", "dir/job.yaml:2:7: optimizer.lr", "not a number");
    expect_error("optimizer:\n  lr: -1\n", "dir/job.yaml:2:7: ", "out of range");
    expect_error("optimizer:\n  rl: 1\n", "dir/job.yaml:2:3: ", "did you mean optimizer.lr");
    expect_error("lr: 1\n", "dir/job.yaml:1:1: ", "did you mean optimizer.lr");
    expect_error("zzz: 1\n", "dir/job.yaml:1:1: ", "carat help keys");
    expect_error("optimizer:\n  lr: 1\n  lr: 2\n", "dir/job.yaml:3:3: ", "first in line 2");
    expect_error("optimizer:\n  lr: 1\noptimizer.lr: 2\n", "dir/job.yaml:3:1: ", "first in line 2");
    expect_error("optimizer:\n  lr: 1\noptimizer:\n  eps: 0\n", "dir/job.yaml:3:1: ", "twice");
    expect_error("train.steps: 4\ntrain.tokens: 1M\n", "dir/job.yaml:2:1: ", "only one of");
    expect_error("train.steps: 4 epochs\n", "dir/job.yaml:1:14: ", "an amount in steps");
    expect_error("schedule.warmup: 101%\n", "dir/job.yaml:1:18: ", "out of range");
    expect_error("optimizer: 3\n", "dir/job.yaml:1:12: ", "holds keys");
    expect_error("optimizer.lr: [1, 2]\n", "dir/job.yaml:1:1: optimizer.lr: ", "list");
    expect_error("batch.global: {a: 1}\n", "dir/job.yaml:1:1: batch.global: ", "map");
    expect_error("batch.global:\n", "dir/job.yaml:1:1: batch.global has no value", "default");
    expect_error("batch.global: null\n", "dir/job.yaml:1:1: ", "no value");
    expect_error("batch.global: 1.5\n", "dir/job.yaml:1:15: ", "whole number");
    expect_error("batch.global: true\n", "dir/job.yaml:1:15: ", "whole number");
    expect_error("parallel.reduce: quick\n", "dir/job.yaml:1:18: ", "one of exact|fast");
    expect_error("train.time_limit: soon\n", "dir/job.yaml:1:19: ", "4h");
    expect_error("run.dir: &a x\ndata.train: *a\n", "dir/job.yaml:2:14: ", "aliases");
    expect_error("run.dir: \"a\\0b\"\n", "dir/job.yaml:1:11: ", "NUL");
    expect_error("a: [1\nb: 2\n", "dir/job.yaml:", "not valid YAML");
    expect_error("\tx: 1\n", "dir/job.yaml:1:", "not valid YAML");
    expect_error("run.seed: 1\n---\nrun.seed: 2\n", "dir/job.yaml: ", "more than one");
    expect_error("- run.seed\n", "dir/job.yaml: ", "key: value");
    expect_error("run.seed\n", "dir/job.yaml: ", "key: value");
    expect_error("run.seed: 1\nrun.dir: \xff\n", "dir/job.yaml:2: ", "UTF-8");
}
END_TEST

START_TEST(empty_files_and_sections_set_nothing)
{
    struct config defaults;
    ck_assert_int_eq(load(""), OK);
    defaults = conf;
    static const char *const empty[] = {
        "\n", "# nothing\n", "---\n", "model:\n", "{}\n", "model:\n  # layers: 3\nbatch: {}\n"};
    for (size_t i = 0; i < sizeof empty / sizeof empty[0]; i++) {
        ck_assert_msg(load(empty[i]) == OK, "%s", err_message());
        ck_assert_mem_eq(&conf, &defaults, sizeof conf);
    }
    ck_assert_int_eq(load("data.valid: \"\"\n"), OK);
    ck_assert_str_eq(origin_of("data.valid"), "job.yaml:1");
}
END_TEST

START_TEST(amounts)
{
    static const struct {
        const char *text;
        double value;
        enum unit unit;
        const char *back;
    } rows[] = {
        {"5%", 5, UNIT_PERCENT, "5%"},
        {"0.5 percent", 0.5, UNIT_PERCENT, "0.5%"},
        {"500 steps", 500, UNIT_STEPS, "500 steps"},
        {"1 step", 1, UNIT_STEPS, "1 steps"},
        {"500", 500, UNIT_STEPS, "500 steps"},
        {"1.5k", 1500, UNIT_STEPS, "1500 steps"},
        {"20Mtok", 2e7, UNIT_TOKENS, "20000000 tokens"},
        {"2.5M tokens", 2.5e6, UNIT_TOKENS, "2500000 tokens"},
        {"2epochs", 2, UNIT_EPOCHS, "2 epochs"},
        {"0.1 epochs", 0.1, UNIT_EPOCHS, "0.1 epochs"},
        {"100 samples", 100, UNIT_SAMPLES, "100 samples"},
        {"7 seq", 7, UNIT_SAMPLES, "7 samples"},
    };
    static const char *const bad[] = {"",     "steps",    "%",     "1.5 steps", "-1 steps",
                                      "nan",  "1 parsec", "5 % %", "1e300 tok", "0x10",
                                      "tok5", "1..2",     "inf"};
    struct amount a;
    char back[64];
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        ck_assert_msg(amount_parse(rows[i].text, UNIT_STEPS, &a), "%s", rows[i].text);
        ck_assert_double_eq(a.value, rows[i].value);
        ck_assert_int_eq(a.unit, rows[i].unit);
        ck_assert_str_eq(amount_text(&a, back, sizeof back), rows[i].back);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        ck_assert_msg(!amount_parse(bad[i], UNIT_STEPS, &a), "%s", bad[i]);
}
END_TEST

/* A configuration with every key set to something legal. */
static void random_config(struct config *c, uint64_t seed)
{
    static const char *const texts[] = {
        "",         "x y",     "null",        "~",
        "a: b # c", "\"q\"\\", "- é\n\t\x7f", "\xe2\x80\xa8\xef\xbb\xbf\xc2\x85",
        "true",     "'",       "1e5"};
    enum { N_TEXTS = sizeof texts / sizeof texts[0] };
    for (int i = 0; i < CONF_N_KEYS; i++) {
        const struct conf_key *k = &CONF_KEYS[i];
        double u = rng_uniform(1, seed, (uint64_t)i);
        char text[64];
        if (k->kind == CONF_TEXT) {
            ck_assert_int_eq(conf_set_text(k, c, texts[(int)(u * N_TEXTS)]), OK);
            continue;
        }
        if (k->kind == CONF_CHOICE)
            continue;
        double hi = k->max < 1e6 ? k->max : 1e6, v = k->min + u * (hi - k->min);
        bool whole = k->kind == CONF_INT || (k->kind == CONF_AMOUNT && k->min >= 1);
        if (k->kind == CONF_AMOUNT && k->min == 0)
            snprintf(text, sizeof text, "%.17g%%", u * 100);
        else
            snprintf(text, sizeof text, "%.17g", whole ? floor(v) : v);
        ck_assert_msg(conf_set_text(k, c, text) == OK, "%s", err_message());
    }
}

START_TEST(text_reads_back_exactly)
{
    struct config before;
    char *text, *again;
    for (uint64_t i = 0; i < N_ROUND_TRIPS; i++) {
        ck_assert_int_eq(load(""), OK);
        random_config(&conf, i);
        before = conf;
        ck_assert_int_eq(conf_text(&conf, i % 2 ? &origins : NULL, &text), OK);
        ck_assert_msg(load(text) == OK, "%s\n%s", err_message(), text);
        ck_assert_mem_eq(&conf, &before, sizeof conf);
        ck_assert_int_eq(conf_text(&conf, NULL, &again), OK);
        if (i % 2 == 0)
            ck_assert_str_eq(text, again);
        mem_free(text);
        mem_free(again);
    }
}
END_TEST

START_TEST(zero_has_no_sign)
{
    char *text;
    ck_assert_int_eq(load("train.time_limit: -0\noptimizer.weight_decay: -0e3"), OK);
    ck_assert_int_eq(conf_text(&conf, NULL, &text), OK);
    ck_assert_ptr_nonnull(strstr(text, "time_limit: 0s"));
    ck_assert_ptr_nonnull(strstr(text, "weight_decay: 0\n"));
    ck_assert_msg(load(text) == OK, "%s", err_message());
    mem_free(text);
}
END_TEST

START_TEST(text_shows_origins)
{
    char *text;
    ck_assert_int_eq(load(good), OK);
    ck_assert_int_eq(conf_text(&conf, &origins, &text), OK);
    const char *line = strstr(text, "optimizer.lr: 0.0003 ");
    ck_assert_ptr_nonnull(line);
    ck_assert_ptr_nonnull(strstr(line, "# job.yaml:11\n"));
    ck_assert_ptr_nonnull(strstr(text, "train.tokens: 2000000 tokens"));
    ck_assert_ptr_null(strstr(text, "train.steps"));
    mem_free(text);
}
END_TEST

static void note_diff(void *ctx, const struct conf_key *k, const char *before, const char *now)
{
    str_addf(ctx, "%s[%s>%s]%d ", k->name, before, now, (int)k->effect);
}

START_TEST(diff_visits_what_differs)
{
    struct config before;
    struct str seen = {0};
    ck_assert_int_eq(load(good), OK);
    before = conf;
    conf_diff(&before, &conf, note_diff, &seen);
    ck_assert_uint_eq(seen.len, 0);
    ck_assert_int_eq(conf_set_text(conf_find("optimizer.lr"), &conf, "1"), OK);
    ck_assert_int_eq(conf_set_text(conf_find("train.epochs"), &conf, "1"), OK);
    ck_assert_int_eq(conf_set_text(conf_find("run.seed"), &conf, "3"), OK);
    conf_diff(&before, &conf, note_diff, &seen);
    ck_assert_str_eq(seen.s, "run.seed[1>3]2 train.tokens[2000000 tokens>]1 "
                             "train.epochs[>1 epochs]1 optimizer.lr[0.0003>1]1 ");
    str_release(&seen);
}
END_TEST

/* The good file with one line changed fails conf_check, saying part. */
static void expect_check(const char *key, const char *value, const char *part)
{
    ck_assert_int_eq(load(good), OK);
    ck_assert_msg(conf_set_text(conf_find(key), &conf, value) == OK, "%s", err_message());
    ck_assert_msg(conf_check(&conf) == E_CONFIG, "%s=%s", key, value);
    ck_assert_msg(strstr(err_message(), part) != NULL, "%s", err_message());
}

START_TEST(checks_between_keys)
{
    expect_check("model.preset", "", "no model is chosen");
    expect_check("model.path", "x", "both model.preset and model.path");
    expect_check("data.train", "", "data.train is not set");
    expect_check("run.dir", "", "run.dir");
    expect_check("batch.global", "0", "batch.global is not set");
    expect_check("optimizer.beta1", "-0.5", "-1 is the rule's own");
    expect_check("batch.micro", "17", "greater than batch.global");
    expect_check("model.init", "runs/x", "model.init and run.dir are the same folder");
    ck_assert_int_eq(load(good), OK);
    conf.train.length = (struct amount){0};
    ck_assert_int_eq(conf_check(&conf), E_CONFIG);
    ck_assert_ptr_nonnull(strstr(err_message(), "no length"));
}
END_TEST

/* The good file with two lines changed. */
static void expect_pair(const char *key, const char *value, const char *other,
                        const char *other_value, const char *part)
{
    ck_assert_int_eq(load(good), OK);
    ck_assert_msg(conf_set_text(conf_find(key), &conf, value) == OK, "%s", err_message());
    ck_assert_int_eq(conf_check(&conf), OK);
    ck_assert_msg(conf_set_text(conf_find(other), &conf, other_value) == OK, "%s", err_message());
    ck_assert_msg(conf_check(&conf) == E_CONFIG, "%s=%s %s=%s", key, value, other, other_value);
    ck_assert_msg(strstr(err_message(), part) != NULL, "%s", err_message());
}

START_TEST(pairs_that_contradict_each_other)
{
    expect_pair("checkpoint.every", "0", "checkpoint.keep_every", "500",
                "set checkpoint.every=500");
    expect_pair("checkpoint.every", "400", "checkpoint.keep_every", "1000",
                "set checkpoint.keep_every=1200");
    expect_pair("optimizer.momentum", "0", "optimizer.nesterov", "on", "optimizer.nesterov=off");
    expect_pair("optimizer.dampening", "0.5", "optimizer.nesterov", "on",
                "set optimizer.dampening=0");
    expect_pair("checkpoint.every", "0", "monitor.spike", "back", "monitor.spike=stop");
}
END_TEST

/* Damages text[n] in a random way; the new length. */
static size_t mutate(char *text, size_t n, size_t cap, uint64_t round)
{
    static const char pieces[][8] = {"\n",  ": ", "[",     "{", "}",    "\"",  "'",
                                     "&a ", "*a", "|\n",   "#", "- ",   "? ",  "!!",
                                     "%",   "\t", "---\n", "~", "<<: ", "\xff"};
    enum { N_PIECES = sizeof pieces / sizeof pieces[0] };
    int n_edits = 1 + (int)(rng_u64(2, round, 0) % 4);
    for (int i = 1; i <= n_edits; i++) {
        uint64_t r = rng_u64(2, round, (uint64_t)i);
        size_t at = n > 0 ? (size_t)(r >> 16) % n : 0;
        const char *piece = pieces[(r >> 8) % N_PIECES];
        size_t len = strlen(piece);
        switch (r % 4) {
        case 0:
            text[at] = (char)(r >> 48);
            break;
        case 1:
            n = at;
            break;
        case 2:
            if (at < n)
                memmove(text + at, text + at + 1, --n - at);
            break;
        default:
            if (n + len >= cap)
                break;
            memmove(text + at + len, text + at, n - at);
            memcpy(text + at, piece, len);
            n += len;
        }
        if (n == 0)
            break;
    }
    text[n] = '\0';
    return n;
}

START_TEST(damaged_files_are_refused_or_read)
{
    char text[1024];
    int64_t rounds = N_MUTATIONS, n_read = 0, n_refused = 0;
    /* CARAT_FUZZ=1000000 looks longer. */
    if (getenv("CARAT_FUZZ") != NULL)
        ck_assert(parse_i64(getenv("CARAT_FUZZ"), &rounds) && rounds > 100);
    for (uint64_t i = 0; i < (uint64_t)rounds; i++) {
        memcpy(text, good, sizeof good);
        mutate(text, sizeof good - 1, sizeof text, i);
        int rc = load(text);
        ck_assert_msg(rc == OK || rc == E_CONFIG, "%d: %s", rc, text);
        n_read += rc == OK;
        n_refused += rc != OK;
    }
    /* Both must happen, or the damage is too small or too large to test anything. */
    ck_assert_int_gt(n_read, rounds / 50);
    ck_assert_int_gt(n_refused, rounds / 50);
}
END_TEST

START_TEST(deep_and_long_files_end)
{
    struct str deep = {0}, lines = {0};
    for (int i = 0; i < 20000; i++)
        str_add(&deep, "[");
    ck_assert_int_eq(load(deep.s), E_CONFIG);
    for (int i = 0; i < 20000; i++)
        str_addf(&lines, "k%d: 1\n", i);
    ck_assert_int_eq(load(lines.s), E_CONFIG);
    str_release(&lines);
    while (lines.len < 1100000)
        str_add(&lines, "# a comment that goes on\n");
    ck_assert_int_eq(load(lines.s), E_CONFIG);
    ck_assert_ptr_nonnull(strstr(err_message(), "too long"));
    str_release(&deep);
    str_release(&lines);
}
END_TEST

START_TEST(shipped_jobs_load_and_pass)
{
    glob_t found;
    ck_assert_int_eq(glob("jobs/*.yaml", 0, NULL, &found), 0);
    ck_assert_uint_ge(found.gl_pathc, 3);
    for (size_t i = 0; i < found.gl_pathc; i++) {
        const char *path = found.gl_pathv[i];
        ck_assert_msg(conf_load(&conf, &origins, path, NULL, 0) == OK, "%s", err_message());
        ck_assert_msg(conf_check(&conf) == OK, "%s: %s", path, err_message());
    }
    globfree(&found);
}
END_TEST

static void add(TCase *t)
{
    tcase_add_test(t, every_row_is_complete);
    tcase_add_test(t, members_do_not_overlap);
    tcase_add_test(t, values_and_origins_of_a_file);
    tcase_add_test(t, command_line_wins_over_file);
    tcase_add_test(t, errors_name_their_place);
    tcase_add_test(t, empty_files_and_sections_set_nothing);
    tcase_add_test(t, amounts);
    tcase_add_test(t, text_reads_back_exactly);
    tcase_add_test(t, zero_has_no_sign);
    tcase_add_test(t, text_shows_origins);
    tcase_add_test(t, diff_visits_what_differs);
    tcase_add_test(t, checks_between_keys);
    tcase_add_test(t, pairs_that_contradict_each_other);
    tcase_add_test(t, damaged_files_are_refused_or_read);
    tcase_add_test(t, deep_and_long_files_end);
    if (access("jobs", F_OK) == 0)
        tcase_add_test(t, shipped_jobs_load_and_pass);
}

int main(void)
{
    return run_suite("conf/config", add);
}
