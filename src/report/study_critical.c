#include "study_critical.h"

#include "base/err.h"
#include "study/result_text.h"

static int find(struct report_study *s)
{
    struct study_result *r = s->found;
    TRY(study_result(r, &s->history, &s->conf));
    int cell = r->advice.batch >= 0 ? r->batch[r->advice.batch].best[r->main].cell : -1;
    s->best = cell >= 0 ? r->trial[r->cell[cell].first].number : -1;
    return OK;
}

static void forget(void *found)
{
    study_result_release(found);
}

static void say(struct str *text, const struct report_study *s)
{
    result_text(text, critical_result(s));
}

static void advise(struct str *text, const struct report_study *s)
{
    const struct study_result *r = critical_result(s);
    if (r->sentence.len > 0)
        str_addf(text, "%s\n", r->sentence.s);
    if (r->notes.len > 0)
        str_add(text, r->notes.s);
}

const struct study_kind KIND_OF_STUDY = {.name = "study",
                                         .title = "Large-batch study",
                                         .command = "carat study job.yaml",
                                         .size = sizeof(struct study_result),
                                         .find = find,
                                         .forget = forget,
                                         .say = say,
                                         .advise = advise,
                                         .figures = critical_figures,
                                         .tables = critical_tables};
