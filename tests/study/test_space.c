/* Spaces of search: what is read and what is refused, places and values. */
#include "base/err.h"
#include "base/mem.h"
#include "base/rng.h"
#include "check_main.h"
#include "conf/config_file.h"
#include "study/space.h"

#include <math.h>
#include <string.h>

/* Values are rounded to 8 digits; the place then moves by this, times the range's share of the
 * value. */
#define PLACE_TOLERANCE 1e-6

static struct space s;

static void parse(const char *text)
{
    ck_assert_msg(space_parse(&s, text) == OK, "%s: %s", text, err_message());
}

START_TEST(reads_every_kind)
{
    parse("optimizer.lr log 1e-4 1e-1; optimizer.beta2 uniform .9 .999\n"
          "model.layers int 2 8;; batch.global int 8 256 log\n\n"
          "schedule.final uniform 0 .2 if schedule.name=cosine|linear\n"
          "  schedule.name choice cosine linear wsd;"
          "schedule.warmup uniform 1% 10% ; batch.ramp choice \"\" \"0:4; 1k:8\"");
    ck_assert_int_eq(s.n, 8);
    const struct axis *a = &s.axis[space_find(&s, "optimizer.lr")];
    ck_assert(a->log && !a->whole && !a->choice);
    ck_assert_double_eq(a->low, 1e-4);
    ck_assert_double_eq(a->high, 0.1);
    a = &s.axis[space_find(&s, "batch.global")];
    ck_assert(a->log && a->whole);
    a = &s.axis[space_find(&s, "schedule.warmup")];
    ck_assert_str_eq(a->unit, "%");
    a = &s.axis[space_find(&s, "batch.ramp")];
    ck_assert_int_eq(a->n_values, 2);
    ck_assert_str_eq(a->value[1], "0:4; 1k:8");
    /* The condition's axis comes first, wherever its row is. */
    int final = space_find(&s, "schedule.final"), name = space_find(&s, "schedule.name");
    ck_assert_int_lt(name, final);
    ck_assert_int_eq(s.axis[final].parent, name);
    space_release(&s);
    ck_assert_int_eq(s.n, 0);
}
END_TEST

START_TEST(refuses_what_no_trial_could_use)
{
    static const struct {
        const char *text, *part;
    } rows[] = {
        {"", "search.space is empty"},
        {" ;\n ; ", "search.space is empty"},
        {"optimizer.lr", "uniform, log, int or choice"},
        {"optimizer.lr between 1 2", "not between"},
        {"optimizer.rl log 1e-4 1e-1", "did you mean optimizer.lr"},
        {"optimizer.lr log 1e-4", "two ends"},
        {"optimizer.lr log 1e-4 1e-1 1", "two ends"},
        {"optimizer.lr log 1e-1 1e-4", "below its second"},
        {"optimizer.lr log 1e-1 1e-1", "set it in the job"},
        {"optimizer.lr log 0 1e-1", "above 0"},
        {"optimizer.lr log x 1e-1", "\"x\" is no number"},
        {"optimizer.lr log 1e-4 1e9", "out of range"},
        {"optimizer.lr log 1e-4 inf", "no number"},
        {"model.layers uniform 2 8", "whole numbers"},
        {"model.layers int 2 8.5", "whole numbers"},
        {"model.layers int 2 1000", "out of range"},
        {"schedule.name uniform 0 1", "takes no numbers"},
        {"numerics.precision choice fp32 fp64", "fp64"},
        {"schedule.name choice cosine", "two or more values"},
        {"schedule.name choice cosine linear cosine", "twice"},
        {"schedule.name choice cosine \"linear", "not closed"},
        {"schedule.warmup uniform 1% 10", "different units"},
        {"schedule.warmup uniform 1 10", "write `int`"}, /* a fraction of a step is none */
        {"optimizer.lr log 1e-4 1e-1; optimizer.lr log 1e-3 1e-2", "row 1 has optimizer.lr"},
        {"train.steps int 10 20", "equal lengths"},
        {"run.dir choice a b", "belongs to the search"},
        {"study.ahead int 1 4", "belongs to the search"},
        {"search.eta int 2 4", "belongs to the search"},
        {"optimizer.lr log 1e-4 1e-1 if", "if key=value"},
        {"optimizer.lr log 1e-4 1e-1 if schedule.name = cosine", "if key=value"},
        {"optimizer.lr log 1e-4 1e-1 if schedule.name=cosine", "no row has"},
        {"optimizer.lr log 1e-4 1e-1 if optimizer.beta2=0.9; optimizer.beta2 uniform .9 .99",
         "never exactly met"},
        {"schedule.name choice cosine wsd; schedule.final uniform 0 1 if schedule.name=linear",
         "it never applies: row 1"},
        {"model.layers int 2 4; optimizer.lr log 1e-4 1e-1 if model.layers=5", "it never applies"},
        {"model.layers int 2 4 if model.heads=2; model.heads int 2 4 if model.layers=2",
         "hangs on itself, by way of row 2"},
        {"model.layers int 2 4 if model.layers=2", "hangs on itself"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        int rc = space_parse(&s, rows[i].text);
        ck_assert_msg(rc == E_CONFIG, "\"%s\" is taken", rows[i].text);
        ck_assert_msg(strstr(err_message(), rows[i].part) != NULL, "\"%s\": %s", rows[i].text,
                      err_message());
        ck_assert_msg(strstr(err_message(), "search.space") != NULL, "%s", err_message());
        ck_assert_ptr_null(s.text);
    }
    ck_assert_int_eq(space_parse(&s, "optimizer.lr log 1e-4 1e-1\nmodel.layers int 8 2"), E_CONFIG);
    ck_assert_ptr_nonnull(strstr(err_message(), "row 2 (model.layers int 8 2): "));
}
END_TEST

/* Any text leaves it whole and answers. */
START_TEST(damaged_text_does_no_harm)
{
    static const char good[] =
        "optimizer.lr log 1e-4 1e-1; model.layers int 2 8 log; schedule.name "
        "choice cosine \"wsd\"; schedule.final uniform 0 1 if "
        "schedule.name=cosine|wsd";
    static const char bytes[] = " ;\n\"=|.-+e0%if\t";
    for (uint64_t i = 0; i < 20000; i++) {
        char text[sizeof good];
        memcpy(text, good, sizeof good);
        for (uint64_t k = 0; k < 1 + i % 3; k++)
            text[rng_u64(i, 1, k) % (sizeof good - 1)] = bytes[rng_u64(i, 2, k) % sizeof bytes];
        if (space_parse(&s, text) == OK)
            space_release(&s);
    }
}
END_TEST

START_TEST(places_and_values_agree)
{
    parse("optimizer.lr log 1e-4 1e-1; optimizer.weight_decay uniform 0.1 0.3; model.layers int 2 "
          "8; batch.global int 8 256 log; schedule.name choice cosine linear wsd");
    for (int i = 0; i < s.n; i++) {
        const struct axis *a = &s.axis[i];
        double last = -1;
        for (int k = 0; k <= 1000; k++) {
            double u = k / 1000.0, v = axis_at(a, u), at = axis_place(a, v);
            ck_assert_double_ge(v, a->choice ? 0 : a->low);
            ck_assert_double_le(v, a->choice ? a->n_values - 1 : a->high);
            ck_assert_double_ge(v, last);
            last = v;
            if (!a->choice && !a->whole)
                ck_assert_double_eq_tol(at, u, PLACE_TOLERANCE);
            ck_assert_double_eq(axis_at(a, at), v);
        }
        ck_assert_double_eq(axis_at(a, 1), a->choice ? a->n_values - 1 : a->high);
        ck_assert_double_eq(axis_at(a, 0), a->choice ? 0 : a->low);
    }
    space_release(&s);
}
END_TEST

/* Both ends of whole numbers are as likely as those between. */
START_TEST(whole_numbers_share_evenly)
{
    enum { N = 7000 };
    int count[9] = {0};
    parse("model.layers int 2 8");
    for (int k = 0; k < N; k++)
        count[(int)axis_at(&s.axis[0], (k + 0.5) / N)]++;
    for (int v = 2; v <= 8; v++)
        ck_assert_int_eq(count[v], N / 7);
    space_release(&s);
}
END_TEST

START_TEST(settings_read_back)
{
    double u[SPACE_MAX_AXES], point[SPACE_MAX_AXES], back[SPACE_MAX_AXES];
    parse("optimizer.lr log 1e-4 1e-1; schedule.warmup uniform 1% 10%; batch.global int 8 256 log; "
          "schedule.name choice cosine linear wsd; schedule.final uniform 0 0.2 if "
          "schedule.name=linear; schedule.power uniform 1 2 if batch.global=64");
    int without = 0;
    for (uint64_t t = 0; t < 200; t++) {
        struct config c;
        struct trial_plan plan = {0};
        for (int i = 0; i < s.n; i++)
            u[i] = rng_uniform(1, t, (uint64_t)i);
        space_at(&s, u, point);
        ck_assert_int_eq(space_write(&s, point, &plan), OK);
        ck_assert(space_read(&s, &plan, back));
        for (int i = 0; i < s.n; i++) {
            ck_assert(isnan(point[i]) ? isnan(back[i]) : point[i] == back[i]);
            bool wanted = i < s.n && strcmp(s.axis[i].key->name, "schedule.final") == 0;
            if (wanted)
                ck_assert_int_eq(!isnan(point[i]), point[space_find(&s, "schedule.name")] == 1);
            without += wanted && isnan(point[i]);
        }
        for (int i = 0; i < plan.n_set; i++)
            ck_assert_int_eq(conf_set_text(conf_find(plan.set[i].key), &c, plan.set[i].value), OK);
        mem_free(plan.set);
    }
    ck_assert(without > 50 && without < 200);
    space_release(&s);
}
END_TEST

/* A job file may give the space as a map; it is stored as one text, which reads back. */
START_TEST(maps_become_rows)
{
    static const char *const same[] = {
        "search: {space: {optimizer.lr: log 1e-4 1e-1, schedule.name: choice cosine wsd}}\n",
        "search:\n  space:\n    optimizer: {lr: log 1e-4 1e-1}\n    schedule.name: choice cosine "
        "wsd\n",
        "search.space: \"optimizer.lr log 1e-4 1e-1; schedule.name choice cosine wsd\"\n"};
    struct config c;
    struct conf_origins o;
    char *text;
    for (size_t i = 0; i < sizeof same / sizeof same[0]; i++) {
        ck_assert_msg(conf_load_text(&c, &o, same[i], "j.yaml") == OK, "%s", err_message());
        ck_assert_str_eq(c.search.space,
                         "optimizer.lr log 1e-4 1e-1; schedule.name choice cosine wsd");
        ck_assert_int_eq(conf_text(&c, NULL, &text), OK);
        struct config again;
        ck_assert_int_eq(conf_load_text(&again, &o, text, "j.yaml"), OK);
        ck_assert_str_eq(again.search.space, c.search.space);
        mem_free(text);
    }
    static const struct {
        const char *text, *message;
    } bad[] = {
        {"search:\n  space:\n    optimizer.rl: log 1 2\n",
         "j.yaml:3:5: optimizer.rl: no such key; did you mean optimizer.lr?"},
        {"search:\n  space:\n    optimizer.lr: [1, 2]\n", "j.yaml:3:"},
        {"run: {dir: {a: b}}\n", "j.yaml:1:"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        ck_assert_int_eq(conf_load_text(&c, &o, bad[i].text, "j.yaml"), E_CONFIG);
        ck_assert_msg(strncmp(err_message(), bad[i].message, strlen(bad[i].message)) == 0, "%s",
                      err_message());
    }
}
END_TEST

static void add(TCase *t)
{
    tcase_add_test(t, reads_every_kind);
    tcase_add_test(t, refuses_what_no_trial_could_use);
    tcase_add_test(t, damaged_text_does_no_harm);
    tcase_add_test(t, places_and_values_agree);
    tcase_add_test(t, whole_numbers_share_evenly);
    tcase_add_test(t, settings_read_back);
    tcase_add_test(t, maps_become_rows);
}

int main(void)
{
    return run_suite("study/space", add);
}
