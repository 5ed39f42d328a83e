/* Searches over the model's shape: what follows from a point, equal FLOPs, what is asked for. */
#include "base/err.h"
#include "base/mem.h"
#include "base/str.h"
#include "check_main.h"
#include "conf/config_file.h"
#include "study/search.h"
#include "train/shape.h"

#include <math.h>
#include <string.h>

/* A trial's tokens are whole: its FLOPs are the job's but for a token's. */
#define A_TOKEN 1.0

enum { RUN_TOKENS = 81000 };

static const char job[] =
    "run.dir: x\ndata.train: a.h5\nbatch: {global: 4, seq_len: 10}\ntrain.tokens: 81000\n"
    "model: {preset: gemma3-270m, vocab: 100, width: 64, layers: 2, heads: 4, kv_heads: 2, "
    "head_dim: 16, ffn: 256}\nrates.mup_base: 64\n";

static void *self;
static struct config conf;

static int open_with(const char *more)
{
    struct conf_origins o;
    struct str text = {0};
    str_addf(&text, "%ssearch:\n  equal_flops: on\n%s\n", job, more);
    int rc = conf_load_text(&conf, &o, text.s, "job.yaml");
    ck_assert_msg(rc == OK, "%s", err_message());
    str_release(&text);
    return PLANNER_SEARCH.open(&self, NULL, &conf);
}

/* The plan of trial i; the caller frees its arrays. */
static struct trial_plan propose(int i)
{
    static struct trial before[64];
    struct history h = {before, i};
    struct trial_plan plan = {0};
    enum answer answer;
    ck_assert_msg(PLANNER_SEARCH.propose(self, &h, &plan, &answer) == OK, "%s", err_message());
    ck_assert_int_eq(answer, ANSWER_GO);
    return plan;
}

static void end_plan(struct trial_plan *plan)
{
    mem_free(plan->set);
    mem_free(plan->milestones);
}

static double number(const struct trial_plan *plan, const char *key)
{
    double v;
    const char *text = trial_setting(plan, key);
    ck_assert_msg(text != NULL && parse_f64(text, &v), "%s is not set", key);
    return v;
}

static double flops(const struct trial_plan *plan)
{
    struct config c = conf;
    struct model_spec s;
    for (int i = 0; plan != NULL && i < plan->n_set; i++)
        ck_assert_int_eq(conf_set_text(conf_find(plan->set[i].key), &c, plan->set[i].value), OK);
    ck_assert_msg(shape_of_job(&s, &c) == OK, "%s", err_message());
    return spec_flops_per_token(&s, 10);
}

START_TEST(heads_bring_their_width)
{
    static const struct {
        double heads, width, kv, ffn;
    } rows[] = {{2, 32, 1, 128}, {4, 64, 2, 256}, {6, 96, 3, 384}, {7, 112, 1, 448}};
    ck_assert_msg(open_with("  rule: grid\n  space: model.heads choice 2 4 6 7") == OK, "%s",
                  err_message());
    for (int i = 0; i < 4; i++) {
        struct trial_plan plan = propose(i);
        ck_assert_double_eq(number(&plan, "model.heads"), rows[i].heads);
        ck_assert_double_eq(number(&plan, "model.width"), rows[i].width);
        ck_assert_double_eq(number(&plan, "model.kv_heads"), rows[i].kv);
        ck_assert_double_eq(number(&plan, "model.ffn"), rows[i].ffn);
        ck_assert_double_eq(number(&plan, "model.head_dim"), 16);
        end_plan(&plan);
    }
    PLANNER_SEARCH.close(self);
}
END_TEST

START_TEST(all_trials_take_the_same_flops)
{
    ck_assert_msg(open_with("  rule: random\n  prune: asha\n  space: model.width int 16 200; "
                            "model.layers int 1 6; model.ffn int 32 512 log") == OK,
                  "%s", err_message());
    for (int i = 0; i < 10; i++) {
        struct trial_plan plan = propose(i);
        double own = flops(&plan), tokens = number(&plan, "train.tokens");
        ck_assert_double_eq_tol(tokens, RUN_TOKENS * flops(NULL) / own, A_TOKEN);
        /* Rungs are at equal shares of the FLOPs. */
        ck_assert_double_eq_tol(plan.milestones[plan.n_milestones - 1] * 3, tokens, 4 * A_TOKEN);
        end_plan(&plan);
    }
    PLANNER_SEARCH.close(self);
}
END_TEST

/* Seven heads with two for keys cannot be: the trial fails, not the search. */
START_TEST(a_model_that_cannot_be_is_a_trial_too)
{
    ck_assert_msg(
        open_with("  rule: grid\n  space: model.heads choice 5 7; model.kv_heads choice 2 4") == OK,
        "%s", err_message());
    struct trial_plan plan = propose(0);
    ck_assert_double_eq(number(&plan, "train.tokens"), RUN_TOKENS);
    end_plan(&plan);
    PLANNER_SEARCH.close(self);
}
END_TEST

START_TEST(errors_name_the_key)
{
    static const struct {
        const char *more, *part;
    } bad[] = {
        {"  space: model.heads int 2 8\nrates.mup_base: 0", "rates.mup_base"},
        {"  space: optimizer.lr log 1e-4 1e-1", "varies none"},
        {"  space: model.heads int 2 8\nstudy.budget: 1Mtok", "study.core_hours"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct conf_origins o;
        struct str text = {0};
        /* The job's own line of muP goes where the row has another. */
        int n = (int)(strstr(job, "rates.mup_base") - job);
        str_addf(&text, "%.*ssearch:\n  equal_flops: on\n%s\n", i == 0 ? n : (int)strlen(job), job,
                 bad[i].more);
        ck_assert_msg(conf_load_text(&conf, &o, text.s, "job.yaml") == OK, "%s", err_message());
        str_release(&text);
        ck_assert_int_eq(PLANNER_SEARCH.open(&self, NULL, &conf), E_CONFIG);
        ck_assert_msg(strstr(err_message(), bad[i].part) != NULL, "%s", err_message());
    }
    err_clear();
}
END_TEST

static void add(TCase *t)
{
    tcase_add_test(t, heads_bring_their_width);
    tcase_add_test(t, all_trials_take_the_same_flops);
    tcase_add_test(t, a_model_that_cannot_be_is_a_trial_too);
    tcase_add_test(t, errors_name_the_key);
}

int main(void)
{
    return run_suite("study/arch", add);
}
