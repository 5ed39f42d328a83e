/* `carat help KEY`: every key is explained, and its example is one that a job file takes. */
#include "base/err.h"
#include "check_main.h"
#include "cmd/topics.h"
#include "conf/config_file.h"

#include <stdlib.h>
#include <string.h>

static char *help_of(const char *name, bool *known)
{
    char *text = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&text, &n);
    *known = key_print(f, name);
    fclose(f);
    return text;
}

START_TEST(every_key_has_a_page)
{
    for (int i = 0; i < CONF_N_KEYS; i++) {
        const struct conf_key *k = &CONF_KEYS[i];
        bool known;
        char *text = help_of(k->name, &known);
        ck_assert(known);
        ck_assert_int_eq(strncmp(text, k->name, strlen(k->name)), 0);
        ck_assert_ptr_nonnull(strstr(text, "\n  default    "));
        ck_assert_ptr_nonnull(strstr(text, "\n  values     "));
        ck_assert_ptr_nonnull(strstr(text, "\n  resume     "));
        ck_assert_ptr_nonnull(strstr(text, "\n  unit       "));
        ck_assert_ptr_nonnull(strstr(text, "\n  source     "));
        ck_assert_msg(k->kind != CONF_TEXT || *k->unit != '\0', "%s: text of what form?", k->name);
        for (const char *line = text; *line != '\0'; line += strcspn(line, "\n") + 1)
            ck_assert_msg(strcspn(line, "\n") <= 100, "%s: %s", k->name, line);
        free(text);
    }
}
END_TEST

START_TEST(every_example_can_be_read)
{
    struct config c;
    struct conf_origins o;
    char example[2 * CONF_STR];
    for (int i = 0; i < CONF_N_KEYS; i++) {
        const struct conf_key *k = &CONF_KEYS[i];
        key_example(k, example, sizeof example);
        ck_assert_msg(conf_load_text(&c, &o, example, "example") == OK, "%s", err_message());
        char value[CONF_STR + 64];
        conf_value_text(k, &c, value, sizeof value);
        ck_assert_msg(value[0] != '\0' && strcmp(value, "-1") != 0, "%s says nothing", example);
    }
}
END_TEST

START_TEST(sections_list_their_keys)
{
    bool known;
    char *text = help_of("schedule", &known);
    ck_assert(known);
    ck_assert_ptr_nonnull(strstr(text, "\nschedule.warmup "));
    ck_assert_ptr_null(strstr(text, "\noptimizer."));
    free(text);
    static const char *const none[] = {"", "sched", "schedule.", "schedule.none", "."};
    for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
        free(help_of(none[i], &known));
        ck_assert_msg(!known, "\"%s\"", none[i]);
    }
}
END_TEST

/* Limits of carat's own detectors, and its caps. */
static const char *const OF_ITS_OWN[] = {
    "optimizer.hyper_cap",
    "monitor.spike_sigma",
    "monitor.spike_window",
    "monitor.margin",
    "monitor.diverged_steps",
    "monitor.oscillation",
    "monitor.oscillation_limit",
    "monitor.plateau",
    "monitor.back_most",
    "monitor.replicas_every",
    "monitor.repeat",
};

static bool is_of_its_own(const char *name)
{
    for (size_t i = 0; i < sizeof OF_ITS_OWN / sizeof *OF_ITS_OWN; i++)
        if (strcmp(name, OF_ITS_OWN[i]) == 0)
            return true;
    return false;
}

START_TEST(rules_have_sources)
{
    static const char *const sections[] = {"schedule.", "optimizer.", "scaling.", "regularize.",
                                           "rates.",    "noise.",     "monitor."};
    size_t n_own = 0;
    for (int i = 0; i < CONF_N_KEYS; i++) {
        const struct conf_key *k = &CONF_KEYS[i];
        n_own += is_of_its_own(k->name);
        ck_assert_msg(!is_of_its_own(k->name) || k->source == NULL, "%s has a source", k->name);
        for (size_t s = 0; s < sizeof sections / sizeof *sections; s++)
            if (strncmp(k->name, sections[s], strlen(sections[s])) == 0)
                ck_assert_msg(k->source != NULL || is_of_its_own(k->name), "%s has no source",
                              k->name);
    }
    ck_assert_uint_eq(n_own, sizeof OF_ITS_OWN / sizeof *OF_ITS_OWN);
}
END_TEST

START_TEST(units_stand_apart)
{
    bool known;
    char *text = help_of("schedule.warmup", &known);
    ck_assert_ptr_nonnull(strstr(text, "\n  values     an amount, at least 0\n"));
    ck_assert_ptr_nonnull(strstr(text,
                                 "\n  unit       steps, tokens, samples, epochs or %; a plain "
                                 "number is in steps\n"));
    free(text);
}
END_TEST

static void add(TCase *t)
{
    tcase_add_test(t, every_key_has_a_page);
    tcase_add_test(t, every_example_can_be_read);
    tcase_add_test(t, sections_list_their_keys);
    tcase_add_test(t, rules_have_sources);
    tcase_add_test(t, units_stand_apart);
}

int main(void)
{
    return run_suite("cmd/key_help", add);
}
