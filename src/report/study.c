#include "report/study.h"

#include "base/err.h"
#include "base/mem.h"
#include "conf/config_file.h"
#include "study_parts.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* A study of a kind that this build does not know still has its trials. */
static const struct study_kind UNKNOWN = {
    .name = "", .title = "Study", .command = "carat study JOB"};

static const struct study_kind *kind_find(const char *name)
{
    static const struct study_kind *const kinds[] = {&KIND_OF_STUDY, &KIND_OF_SEARCH,
                                                     &KIND_OF_RULES, &KIND_OF_BRANCH};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (strcmp(kinds[i]->name, name) == 0)
            return kinds[i];
    return &UNKNOWN;
}

static int least_loss(const struct history *h)
{
    int best = -1;
    for (int i = 0; i < h->n; i++) {
        const struct trial *t = &h->trial[i];
        if (t->state == TRIAL_DONE && isfinite(t->value) &&
            (best < 0 || t->value < h->trial[best].value))
            best = i;
    }
    return best;
}

static int find(struct report_study *s)
{
    char *room;
    if (s->kind->find == NULL)
        return ERR(E_DATA, "%s: this carat knows no studies of the kind \"%s\"", s->path,
                   s->study.kind);
    TRY(mem_alloc(&room, s->kind->size, 1, "a study's results"));
    s->found = room;
    return s->kind->find(s);
}

static void load_run(struct report_study *s)
{
    char trial[FS_PATH_MAX];
    if (s->best < 0 || trial_path(trial, &s->study, s->history.trial[s->best].number) != OK ||
        fs_join(s->run_path, trial, "run") != OK)
        return;
    s->has_run = report_run_load(&s->run, s->run_path) == OK;
    err_clear(); /* not kept: then the page does without */
}

static int load(struct report_study *s)
{
    struct conf_origins origins;
    TRY(study_history(&s->study, &s->history));
    TRY(conf_load_text(&s->conf, &origins, s->study.job, s->path));
    s->best = least_loss(&s->history);
    if (find(s) != OK) {
        str_add(&s->trouble, err_message());
        if (s->kind->forget != NULL && s->found != NULL)
            s->kind->forget(s->found);
        MEM_FREE(s->found);
        err_clear();
    }
    load_run(s);
    return OK;
}

static void set_name(struct report_study *s)
{
    size_t n = strlen(s->path);
    while (n > 1 && s->path[n - 1] == '/')
        n--;
    size_t from = n;
    while (from > 0 && s->path[from - 1] != '/')
        from--;
    snprintf(s->name, sizeof s->name, "%.*s", (int)(n - from), s->path + from);
}

int report_study_load(struct report_study *s, const char *path)
{
    *s = (struct report_study){.path = path, .best = -1};
    set_name(s);
    TRY(study_read(&s->study, path));
    s->kind = kind_find(s->study.kind);
    int rc = load(s);
    if (rc != OK)
        report_study_release(s);
    return rc;
}

void report_study_release(struct report_study *s)
{
    if (s->found != NULL && s->kind->forget != NULL)
        s->kind->forget(s->found);
    mem_free(s->found);
    str_release(&s->trouble);
    if (s->has_run)
        report_run_release(&s->run);
    study_close(&s->study);
    *s = (struct report_study){0};
}

void study_figures(struct figures *f, const struct report_study *s)
{
    *f = (struct figures){0};
    if (s->found != NULL)
        s->kind->figures(f, s);
}

static void count_states(struct str *text, const struct history *h)
{
    int n[TRIAL_FAILED + 1] = {0};
    const char *between = "";
    for (int i = 0; i < h->n; i++)
        n[h->trial[i].state]++;
    str_addf(text, "%d", h->n);
    for (int k = TRIAL_FAILED; k >= 0; k--)
        if (n[k] > 0) {
            str_addf(text, "%s%d %s", *between != '\0' ? between : " (", n[k],
                     trial_state_name((enum trial_state)k));
            between = ", ";
        }
    str_add(text, *between != '\0' ? ")" : "");
}

static void add_spent(struct str *text, const struct history *h)
{
    char figure[40];
    double tokens = 0, core_s = 0;
    for (int i = 0; i < h->n; i++) {
        const struct trial *t = &h->trial[i];
        tokens += isfinite(t->tokens) ? t->tokens : 0;
        core_s += isfinite(t->train_s * t->ranks) ? t->train_s * t->ranks : 0;
    }
    str_addf(text, "%s tokens, %.3g core-hours in steps", fmt_si(figure, sizeof figure, tokens),
             core_s / 3600);
}

void study_counts(struct str *text, const struct report_study *s)
{
    str_add(text, "Trials: ");
    count_states(text, &s->history);
    str_add(text, "; spent: ");
    add_spent(text, &s->history);
    str_add(text, ".");
}

void study_summary(struct str *text, const struct report_study *s)
{
    str_addf(text, "study           %s (%s)\ntrials          ", s->path, s->study.kind);
    count_states(text, &s->history);
    str_add(text, "\nspent           ");
    add_spent(text, &s->history);
    str_add(text, "\n");
    if (s->trouble.len > 0)
        str_addf(text, "note            %s\n", s->trouble.s);
    if (s->best >= 0)
        str_addf(text, "best            trial %d, loss %.4f\n", s->history.trial[s->best].number,
                 s->history.trial[s->best].value);
    str_add(text, "\n");
    if (s->found != NULL)
        s->kind->say(text, s);
}
