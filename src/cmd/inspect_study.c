#include "cmd/inspect_study.h"

#include "base/err.h"
#include "base/plain.h"
#include "study/study.h"

#include <math.h>
#include <stdio.h>

static void add_trials(json_t *o, const struct history *h)
{
    int n[TRIAL_FAILED + 1] = {0};
    double tokens = 0, train_s = 0;
    for (int i = 0; i < h->n; i++) {
        const struct trial *t = &h->trial[i];
        n[t->state]++;
        tokens += isfinite(t->tokens) ? t->tokens : 0;
        train_s += isfinite(t->train_s * t->ranks) ? t->train_s * t->ranks : 0;
    }
    json_object_set_new(o, "trials", json_integer(h->n));
    for (int k = 0; k <= TRIAL_FAILED; k++)
        if (n[k] > 0)
            json_object_set_new(o, trial_state_name((enum trial_state)k), json_integer(n[k]));
    json_object_set_new(o, "tokens", json_integer((json_int_t)tokens));
    json_object_set_new(o, "core_hours", json_real(train_s / 3600));
}

static void add_best(json_t *o, const struct trial *t)
{
    struct str text = {0};
    if (t == NULL)
        return;
    for (int i = 0; i < t->plan.n_set; i++)
        str_addf(&text, "%s%s=%s", i > 0 ? " " : "", t->plan.set[i].key, t->plan.set[i].value);
    json_object_set_new(o, "best_trial", json_integer(t->number));
    json_object_set_new(o, "best_loss", json_real(t->value));
    if (text.len > 0)
        json_object_set_new(o, "best_settings", json_string(text.s));
    str_release(&text);
}

int inspect_study(json_t *o, const char *path, bool with_config)
{
    struct study s;
    struct history h;
    TRY(study_read(&s, path));
    int rc = study_history(&s, &h);
    if (rc == OK) {
        json_object_set_new(o, "study", json_string(s.kind));
        add_trials(o, &h);
        add_best(o, history_best(&h));
        if (with_config)
            json_object_set_new(o, "config", json_string(s.job));
    }
    study_close(&s);
    return rc;
}

int inspect_study_csv(const char *path)
{
    struct study s;
    struct history h;
    struct str text = {0};
    TRY(study_read(&s, path));
    int rc = study_history(&s, &h);
    if (rc == OK)
        rc = study_csv(&text, &h);
    if (rc == OK)
        plain_put(stdout, text.s);
    str_release(&text);
    study_close(&s);
    return rc;
}
