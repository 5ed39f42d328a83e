#include "study/search.h"

#include "base/err.h"
#include "base/log.h"
#include "base/str.h"
#include "cmd/cmd.h"
#include "study/importance.h"
#include "study_frame.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define EDGE 0.05 /* of a range, in the scale of its axis */

static void foresee(const struct study_view *v, struct foresight *f)
{
    const struct config *c = &v->job->conf;
    struct search_facts facts;
    search_facts(v->self, &facts);
    f->trials = facts.n_trials;
    f->tokens = facts.tokens;
    f->most_tokens = facts.most_tokens;
    int n = search_space(v->self)->n;
    int at = snprintf(f->what, sizeof f->what, "%s over %d key%s, %d trials", c->search.rule, n,
                      n == 1 ? "" : "s", facts.n_trials);
    if (strcmp(c->search.prune, "none") != 0)
        snprintf(f->what + at, sizeof f->what - (size_t)at, ", given up by %s at milestones",
                 c->search.prune);
}

static void describe(const struct study_view *v, struct str *lines)
{
    search_say_past(v->self, lines);
}

static const struct trial_plan *choice(const struct study_view *v)
{
    const struct trial *best = history_best(&v->history);
    return best != NULL ? &best->plan : NULL;
}

static int say_importance(const struct study_view *v)
{
    const struct space *s = search_space(v->self);
    double share[SPACE_MAX_AXES];
    struct str line = {0};
    char where[32] = "";
    int used, at = importance_milestone(&v->history);
    if (s->n < 2)
        return OK;
    TRY(importance(s, &v->history, share, &used));
    if (isnan(share[0])) {
        log_info("importance      not known: it takes %d trials that came as far as each other",
                 IMPORTANCE_LEAST);
        return OK;
    }
    for (int i = 0; i < s->n; i++)
        str_addf(&line, "%s%s %.0f%%", i > 0 ? ", " : "", s->axis[i].key->name, 100 * share[i]);
    if (at >= 0)
        snprintf(where, sizeof where, " at milestone %d", at + 1);
    log_info("importance      %s of the loss's variance%s, over %d trials", line.s, where, used);
    str_release(&line);
    return OK;
}

/* Settings that changed on the way make no job: then the run itself is what there is. */
static void say_next(const struct study_view *v, const struct trial *best)
{
    struct str next = {0};
    if (best->plan.parent >= 0)
        str_addf(&next,
                 "carat export %s/trials/%06d/run -o FOLDER: its settings changed on the "
                 "way, from those of trial %d",
                 v->study->dir, best->number, best->plan.parent);
    else {
        str_addf(&next, "carat train %s", v->job->from_study ? "JOB" : v->job->file);
        study_add_settings(&next, v->job, &best->plan);
    }
    log_info("next            %s", next.s);
    str_release(&next);
}

/* What lies at an end may have its best beyond it. */
static void say_edges(const struct study_view *v, const struct trial *best)
{
    const struct space *s = search_space(v->self);
    double point[SPACE_MAX_AXES];
    if (!space_read(s, &best->plan, point))
        return;
    for (int i = 0; i < s->n; i++) {
        const struct axis *a = &s->axis[i];
        double place = a->choice || isnan(point[i]) ? 0.5 : axis_place(a, point[i]);
        if (fabs(place - 0.5) > 0.5 - EDGE)
            log_info("                %s is near the %s end of its range: search.space may be too "
                     "narrow",
                     a->key->name, place > 0.5 ? "upper" : "lower");
    }
}

static int conclude(const struct study_view *v)
{
    char line[512];
    const struct trial *best = history_best(&v->history);
    TRY(say_importance(v));
    if (best == NULL)
        return OK;
    PLANNER_SEARCH.headline(v->self, &v->history, line, sizeof line);
    log_info("best            %s", strncmp(line, "best ", 5) == 0 ? line + 5 : line);
    say_edges(v, best);
    say_next(v, best);
    return OK;
}

static int add_json(const struct study_view *v, json_t *root)
{
    const struct space *s = search_space(v->self);
    const struct trial *best = history_best(&v->history);
    double share[SPACE_MAX_AXES];
    json_t *o = json_object();
    int used;
    int rc = importance(s, &v->history, share, &used);
    for (int i = 0; rc == OK && i < s->n; i++)
        json_object_set_new(o, s->axis[i].key->name,
                            isfinite(share[i]) ? json_real(share[i]) : json_null());
    json_object_set_new(root, "importance", o);
    json_object_set_new(root, "best", best != NULL ? json_integer(best->number) : json_null());
    return rc;
}

int cmd_search(int argc, char **argv)
{
    static const struct study_command command = {.name = "search",
                                                 .planner = &PLANNER_SEARCH,
                                                 .foresee = foresee,
                                                 .describe = describe,
                                                 .conclude = conclude,
                                                 .json = add_json,
                                                 .choice = choice};
    struct study_request q = STUDY_REQUEST;
    const struct opt table[] = {STUDY_OPTIONS(q)};
    enum { N = sizeof table / sizeof *table };
    TRY(opts_parse(table, N, &argc, argv));
    if (q.help) {
        opts_help(stdout, "carat search JOB [key=value …] [options]",
                  "Tries settings out, each in a run of its own, and says which gave the least "
                  "validation loss. search.space names the keys and their ranges; search.rule "
                  "chooses the trials, search.prune gives bad ones up (`carat help search`). "
                  "Results are in study.dir, or run.dir with -search behind it: the same command "
                  "goes on with what is missing, from any number of jobs at a time. study.ranks "
                  "below the number of ranks runs trials side by side. Exit 75: stopped before "
                  "the end, run it again.",
                  table, N,
                  "mpirun -n 2 carat search jobs/quickstart.yaml "
                  "search.space=\"optimizer.lr log 1e-4 1e-1\"");
        return OK;
    }
    return study_frame(&command, &q, argc, argv);
}
