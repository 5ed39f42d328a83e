#include "base/err.h"
#include "base/log.h"
#include "base/str.h"
#include "cmd/cmd.h"
#include "study/critical_plan.h"
#include "study/result_text.h"
#include "study_modes.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static void foresee(const struct study_view *v, struct foresight *f)
{
    const struct critical_plan *p = v->self;
    const struct config *c = &v->job->conf;
    struct critical_facts facts;
    critical_foresee(p, &v->history, &facts);
    f->trials = facts.n_trials;
    f->tokens = facts.tokens;
    f->most_tokens = facts.most_tokens;
    snprintf(f->what, sizeof f->what,
             "%d batches from %.0f to %.0f, %d rates each (factor %.3g, up to %d more on either "
             "side), seeds %d, targets %.80s",
             p->n_batches, p->batch[0], p->batch[p->n_batches - 1], (int)c->study.rates,
             c->study.rate_step, (int)c->study.extend, (int)c->study.seeds, c->study.targets);
}

static void describe(const struct study_view *v, struct str *lines)
{
    critical_describe(v->self, lines);
}

/* No trial came to any target: which it may be is the job's to say. */
static int verdict(const struct study_result *r)
{
    if (r->main >= 0 || r->n_trials == 0 || r->n_waiting > 0)
        return OK;
    int diverged = 0;
    for (int i = 0; i < r->n_batches; i++)
        diverged += r->batch[i].n_diverged;
    if (diverged == r->n_trials)
        return ERR(E_DIVERGED,
                   "all %d trials diverged: lower optimizer.lr, or set study.center "
                   "range",
                   r->n_trials);
    return ERR(E_CONFIG,
               "study.targets %.4g: no %s reached it; set a higher loss, or make the run "
               "longer",
               r->target[0].loss,
               result_seeds_reached(r, 0) > 0 ? "rate with all of its seeds" : "trial");
}

/* The settings of a trial of the advised batch and rate. */
static const struct trial_plan *plan_of(const struct study_view *v, const struct study_result *r)
{
    if (r->advice.batch < 0)
        return NULL;
    const struct result_cell *c = &r->cell[r->batch[r->advice.batch].best[r->main].cell];
    return &v->history.trial[r->trial[c->first].number].plan;
}

static int conclude(const struct study_view *v)
{
    struct study_result r;
    struct str text = {0};
    TRY(study_result(&r, &v->history, &v->job->conf));
    result_text(&text, &r);
    log_info("\n%.*s", (int)text.len - 1, text.s);
    str_release(&text);
    if (r.advice.batch >= 0) {
        const struct trial_plan *p = plan_of(v, &r);
        study_add_settings(&text, v->job, p);
        log_info("next            carat train %s%s", v->job->from_study ? "JOB" : v->job->file,
                 text.s);
        str_release(&text);
    }
    int rc = verdict(&r);
    study_result_release(&r);
    return rc;
}

static int add_json(const struct study_view *v, json_t *root)
{
    struct study_result r;
    TRY(study_result(&r, &v->history, &v->job->conf));
    json_object_set_new(root, "result", result_json(&r));
    int rc = verdict(&r);
    study_result_release(&r);
    return rc;
}

static const struct trial_plan *choice(const struct study_view *v)
{
    struct study_result r;
    if (study_result(&r, &v->history, &v->job->conf) != OK)
        return NULL;
    const struct trial_plan *p = plan_of(v, &r);
    study_result_release(&r);
    return p;
}

int cmd_study(int argc, char **argv)
{
    static const struct study_command command = {.name = "study",
                                                 .planner = &PLANNER_STUDY,
                                                 .foresee = foresee,
                                                 .describe = describe,
                                                 .conclude = conclude,
                                                 .json = add_json,
                                                 .choice = choice};
    struct study_request q = STUDY_REQUEST;
    bool rules = false, branch = false, past = false;
    const struct opt table[] = {
        {"rules", 0, OPT_FLAG, &rules, NULL,
         "put study.rules to test at study.batches, against a tuned rate of each"},
        {"branch", 0, OPT_FLAG, &branch, NULL,
         "JOB is a run: branch off from its checkpoints, to find the largest harmless batch"},
        {"past", 0, OPT_FLAG, &past, NULL,
         "show what runs and studies in study.past say of the rate"},
        STUDY_OPTIONS(q)};
    enum { N = sizeof table / sizeof *table };
    TRY(opts_parse(table, N, &argc, argv));
    if (q.help) {
        opts_help(stdout, "carat study JOB [key=value …] [options]",
                  "Large-batch study: trains the job at each of study.batches, with the rate tuned "
                  "at each, until the losses in study.targets are reached; fits steps against the "
                  "batch (S = Smin + Emin/B) and says which batch, rate and number of ranks to "
                  "use. Results are in study.dir, or run.dir with -study (-rules, -branch) behind "
                  "it: the same "
                  "command goes on with what is missing, from any number of jobs at a time. "
                  "study.ranks below the number of ranks runs trials side by side. Exit 75: "
                  "stopped before the end, run it again; 78: no trial reached a target.",
                  table, N, "mpirun -n 2 carat study jobs/study-small.yaml study.ranks=1");
        return OK;
    }
    if (rules + branch + past > 1)
        return ERR(E_USAGE, "--rules, --branch and --past are three things; choose one");
    if (past)
        return study_past(&q, argc, argv);
    return study_frame(rules ? &STUDY_RULES : branch ? &STUDY_BRANCH : &command, &q, argc, argv);
}
