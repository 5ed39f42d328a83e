/* The past in folders: studies that are found, what is left out, and what a study keeps of it. */
#include "base/err.h"
#include "base/mem.h"
#include "base/str.h"
#include "check_main.h"
#include "conf/config_file.h"
#include "study/past.h"
#include "study/search.h"
#include "study/space.h"

#include <math.h>
#include <string.h>
#include <unistd.h>

static char top[] = "/tmp/carat-test-XXXXXX";
static struct config job;

/* A job as studies keep it. */
static void make_job(struct config *c, const char *optimizer)
{
    static const char text[] =
        "run.dir: x\ndata.train: a.h5\nbatch: {global: 8, seq_len: 10}\ntrain.tokens: 100000\n"
        "model: {preset: gemma3-270m, vocab: 100, width: 64, layers: 2, heads: 4, kv_heads: 2, "
        "head_dim: 16, ffn: 256}\n";
    struct conf_origins o;
    ck_assert_msg(conf_load_text(c, &o, text, "job.yaml") == OK, "%s", err_message());
    snprintf(c->optimizer.name, sizeof c->optimizer.name, "%s", optimizer);
    snprintf(c->study.past, sizeof c->study.past, "%s", top);
}

static void open_study(struct study *s, const char *name, const struct config *c)
{
    char dir[FS_PATH_MAX], *text;
    ck_assert_int_eq(conf_text(c, NULL, &text), OK);
    ck_assert_int_eq(fs_join(dir, top, name), OK);
    ck_assert_msg(study_open(s, dir, "search", text, 60, 3) == OK, "%s", err_message());
    mem_free(text);
}

/* Trial i ends at a rate with a loss. */
static void add_trial(struct study *s, int i, int batch, double lr, double loss,
                      enum trial_state state)
{
    struct trial_plan plan = {.parent = -1};
    struct history h;
    struct claim claim;
    char text[64];
    bool taken, got;
    snprintf(text, sizeof text, "%.8g", lr);
    ck_assert_int_eq(plan_set(&plan, "optimizer.lr", text), OK);
    snprintf(text, sizeof text, "%d", batch);
    ck_assert_int_eq(plan_set(&plan, "batch.global", text), OK);
    ck_assert_msg(study_add(s, i, &plan, &taken) == OK, "%s", err_message());
    ck_assert_int_eq(study_history(s, &h), OK);
    ck_assert_int_eq(claim_take(s, &h.trial[i], &claim, &got), OK);
    ck_assert(got);
    struct trial t = h.trial[i];
    t.state = state;
    t.value = loss;
    t.tokens = 100000;
    ck_assert_msg(study_end(s, &claim, &t) == OK, "%s", err_message());
    claim_give_back(&claim);
    mem_free(plan.set);
}

/* Three rates around 2^k · 1e-3 at each of two batches, and one that diverged. */
static void make_study(const char *name, const struct config *c)
{
    struct study s;
    open_study(&s, name, c);
    for (int b = 0; b < 2; b++)
        for (int i = 0; i < 4; i++)
            add_trial(&s, 4 * b + i, b == 0 ? 8 : 128, 1e-3 * pow(2, i - 1 + 2 * b),
                      i == 3 ? NAN : 2 + fabs(i - 1.0), i == 3 ? TRIAL_DIVERGED : TRIAL_DONE);
    study_close(&s);
}

START_TEST(studies_are_found_and_others_left_out_by_name)
{
    struct config sgd, mup;
    struct past p;
    struct prior_guess g;
    struct prior law;
    struct str text = {0};
    double params;
    make_job(&job, "adamw");
    make_job(&sgd, "sgd");
    make_job(&mup, "adamw");
    mup.rates.mup_base = 32;
    make_study("deeper/a", &job);
    make_study("b-sgd", &sgd);
    make_study("c-mup", &mup);
    ck_assert_msg(past_gather(&p, &job, NULL) == OK, "%s", err_message());
    past_show(&text, &p, &job);
    ck_assert_msg(p.n == 2 && p.n_skip == 2, "%s", text.s);
    ck_assert_ptr_nonnull(strstr(text.s, "deeper/a, batch 8 "));
    ck_assert_ptr_nonnull(strstr(text.s, "deeper/a, batch 128 "));
    ck_assert_ptr_nonnull(strstr(text.s, "left out: its optimizer is sgd"));
    ck_assert_ptr_nonnull(strstr(text.s, "left out: its rates are muP's"));
    ck_assert_int_eq(past_params(&params, &job), OK);
    ck_assert_double_eq(p.find[0].point.at[PRIOR_PARAMS], params);
    ck_assert_double_eq(p.find[0].point.at[PRIOR_BATCH] + p.find[1].point.at[PRIOR_BATCH], 1360);
    ck_assert_double_eq(p.find[0].point.at[PRIOR_TOKENS], 100000);
    /* 1e-3 at 8 and 4e-3 at 128: between them 2e-3. */
    const double at[PRIOR_N] = {320, 100000, params};
    ck_assert(past_law(&law, &p, &job));
    g = prior_guess(&law, at);
    ck_assert_double_eq_tol(g.lr / 2e-3, 1, 1e-6); /* rates are written with eight digits */
    str_release(&text);
    past_release(&p);
}
END_TEST

START_TEST(a_study_keeps_what_it_saw)
{
    struct study s;
    struct past first, second;
    make_job(&job, "adamw");
    open_study(&s, "own", &job);
    ck_assert_msg(past_of_study(&first, &s, &job) == OK, "%s", err_message());
    make_study("later", &job);
    ck_assert_msg(past_of_study(&second, &s, &job) == OK, "%s", err_message());
    ck_assert_int_eq(first.n, 2);
    ck_assert_int_eq(second.n, 2);
    ck_assert_int_eq(second.n_skip, first.n_skip);
    for (int i = 0; i < 2; i++) {
        ck_assert_str_eq(first.find[i].from, second.find[i].from);
        ck_assert_double_eq(first.find[i].point.lr, second.find[i].point.lr);
        ck_assert_double_eq(first.find[i].point.error, second.find[i].point.error);
    }
    past_release(&first);
    past_release(&second);
    /* A new look sees more: at the same places, each twice. */
    ck_assert_int_eq(past_gather(&first, &job, s.dir), OK);
    ck_assert_int_ge(first.n, 2);
    past_release(&first);
    study_close(&s);
}
END_TEST

/* A search that learns looks there first, and around it in every other of its first trials. */
START_TEST(a_search_begins_where_the_past_was_best)
{
    struct trial before[8] = {{0}};
    struct study s;
    struct str text = {0};
    void *self;
    make_job(&job, "adamw");
    job.batch.global = 32;
    snprintf(job.search.space, sizeof job.search.space, "optimizer.lr log 1e-5 1");
    open_study(&s, "search", &job);
    ck_assert_msg(PLANNER_SEARCH.open(&self, &s, &job) == OK, "%s", err_message());
    for (int i = 0; i < 8; i++) {
        struct history h = {before, i};
        struct trial_plan plan = {0};
        enum answer answer;
        double lr;
        ck_assert_int_eq(PLANNER_SEARCH.propose(self, &h, &plan, &answer), OK);
        if (answer == ANSWER_GO) {
            ck_assert(parse_f64(trial_setting(&plan, "optimizer.lr"), &lr));
            if (i == 0)
                ck_assert_double_eq_tol(lr / 2e-3, 1, 1e-6);
            else if (i % 2 == 0) /* a few standard errors of some tens of percent */
                ck_assert_double_le(fabs(log(lr / 2e-3)), log(16));
        }
        mem_free(plan.set);
        mem_free(plan.milestones);
    }
    search_say_past(self, &text);
    ck_assert_msg(strstr(text.s, "lr* about 0.002 here") != NULL, "%s", text.s);
    ck_assert_ptr_nonnull(strstr(text.s, "assumed"));
    str_release(&text);
    PLANNER_SEARCH.close(self);
    study_close(&s);
}
END_TEST

START_TEST(damage_is_told)
{
    struct study s;
    struct past p;
    char path[FS_PATH_MAX];
    make_job(&job, "adamw");
    open_study(&s, "own", &job);
    ck_assert_int_eq(fs_join(path, s.dir, "prior.json"), OK);
    ck_assert_int_eq(fs_write_file(path, "{\"format\": 99}", 14), OK);
    ck_assert_int_eq(past_of_study(&p, &s, &job), E_DATA);
    ck_assert_ptr_nonnull(strstr(err_message(), "prior.json"));
    ck_assert_int_eq(unlink(path), 0);
    study_close(&s);
    job.study.past[0] = '\0';
    ck_assert_int_eq(past_gather(&p, &job, NULL), E_CONFIG);
    ck_assert_ptr_nonnull(strstr(err_message(), "study.past"));
    err_clear();
}
END_TEST

static void add(TCase *t)
{
    tcase_add_test(t, studies_are_found_and_others_left_out_by_name);
    tcase_add_test(t, a_study_keeps_what_it_saw);
    tcase_add_test(t, a_search_begins_where_the_past_was_best);
    tcase_add_test(t, damage_is_told);
}

int main(void)
{
    if (mkdtemp(top) == NULL)
        return EXIT_FAILURE;
    int rc = run_suite("study/past_folder", add);
    char command[64];
    snprintf(command, sizeof command, "rm -rf %s", top);
    return system(command) == 0 ? rc : EXIT_FAILURE;
}
