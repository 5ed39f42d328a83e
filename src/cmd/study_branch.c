/* carat study RUN --branch */
#include "study_modes.h"

#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "conf/config_file.h"
#include "study/branch.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* A study that is there says itself where its branches start, whatever checkpoints have come or
 * gone since. */
static int prepare(struct job *j, const char *dir)
{
    struct study s;
    struct config stored;
    struct conf_origins origins;
    if (*j->conf.study.from == '\0' && study_is_folder(dir)) {
        TRY(study_read(&s, dir));
        int rc = conf_load_text(&stored, &origins, s.job, dir);
        study_close(&s);
        TRY(rc);
        memcpy(j->conf.study.from, stored.study.from, sizeof j->conf.study.from);
    }
    return branch_resolve(&j->conf);
}

static void foresee(const struct study_view *v, struct foresight *f)
{
    const struct branch_setup *b = v->self;
    f->trials = b->n_points * b->n_factors;
    f->tokens = f->most_tokens = f->trials * b->length;
    snprintf(f->what, sizeof f->what, "%d batches from each of %d checkpoint%s of %.180s",
             b->n_factors, b->n_points, b->n_points == 1 ? "" : "s", b->conf.run.dir);
}

static int conclude(const struct study_view *v)
{
    struct branch_result r;
    struct str text = {0};
    branch_judge(&r, v->self, &v->history);
    branch_show(&text, &r);
    log_info("\n%.*s", (int)text.len - 1, text.s);
    str_release(&text);
    return OK;
}

static json_t *number(double v)
{
    return isfinite(v) ? json_real(v) : json_null();
}

static json_t *row_json(const struct branch_row *row, const struct branch_setup *b)
{
    static const char *const verdict[] = {"open", "harmless", "at least", "unknown"};
    json_t *loss = json_array();
    for (int j = 0; j < b->n_factors; j++)
        json_array_append_new(
            loss, json_pack("{s:f, s:o}", "factor", b->factor[j], "loss", number(row->loss[j])));
    return json_pack("{s:I, s:f, s:I, s:o, s:s, s:o, s:o}", "step", (json_int_t)row->point.step,
                     "tokens", row->point.tokens, "batch", (json_int_t)row->point.batch, "losses",
                     loss, "verdict", verdict[row->verdict], "harmless_batch",
                     row->batch > 0 ? json_real(row->batch) : json_null(), "noise_scale",
                     number(row->noise_scale));
}

static int add_json(const struct study_view *v, json_t *root)
{
    struct branch_result r;
    struct str ramp = {0};
    int64_t batch;
    json_t *rows = json_array();
    branch_judge(&r, v->self, &v->history);
    for (int i = 0; i < r.n; i++)
        json_array_append_new(rows, row_json(&r.row[i], r.setup));
    json_object_set_new(root, "checkpoints", rows);
    bool known = branch_ramp(&ramp, &r, &batch);
    json_object_set_new(root, "batch_ramp", known ? json_string(ramp.s) : json_null());
    json_object_set_new(root, "batch_global", known ? json_integer(batch) : json_null());
    str_release(&ramp);
    return OK;
}

/* The ramp that follows, with the rule by which the branches' rates followed. */
static const struct trial_plan *choice(const struct study_view *v)
{
    static struct setting set[4];
    static struct trial_plan plan = {.set = set};
    static struct branch_result r;
    struct str ramp = {0};
    const struct trial_plan *first = v->history.n > 0 ? &v->history.trial[0].plan : NULL;
    int64_t batch;
    branch_judge(&r, v->self, &v->history);
    if (first == NULL || !branch_ramp(&ramp, &r, &batch))
        return NULL;
    bool stays = strchr(ramp.s, ' ') == NULL, fits = ramp.len < sizeof set->value;
    set[0] = (struct setting){.key = "batch.ramp"};
    snprintf(set[0].value, sizeof set[0].value, "%s", stays ? "" : ramp.s);
    set[1] = (struct setting){.key = "batch.global"};
    snprintf(set[1].value, sizeof set[1].value, "%" PRId64, batch);
    set[2] = (struct setting){.key = "scaling.rule"};
    snprintf(set[2].value, sizeof set[2].value, "%s", trial_setting(first, "scaling.rule"));
    set[3] = (struct setting){.key = "scaling.base_batch"};
    snprintf(set[3].value, sizeof set[3].value, "%s", trial_setting(first, "scaling.base_batch"));
    plan.n_set = 4;
    str_release(&ramp);
    return fits ? &plan : NULL;
}

const struct study_command STUDY_BRANCH = {.name = "branch",
                                           .planner = &PLANNER_BRANCH,
                                           .prepare = prepare,
                                           .foresee = foresee,
                                           .conclude = conclude,
                                           .json = add_json,
                                           .choice = choice};
