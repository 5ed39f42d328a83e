#include "results.h"

#include "base/err.h"
#include "base/mem.h"
#include "base/str.h"

#include <math.h>
#include <string.h>

static const char *state_text(const struct trial *t)
{
    return trial_state_name(t->state);
}

static const char *role_text(const struct trial *t)
{
    return t->plan.role;
}

static const char *origin_text(const struct trial *t)
{
    return t->plan.origin;
}

static const char *why_text(const struct trial *t)
{
    return t->why;
}

#define COUNT(name, member, help)                                                                  \
    {                                                                                              \
        name, CELL_COUNT, offsetof(struct trial, member), NULL, false, "", help                    \
    }
#define NUMBER(name, member, unit, help)                                                           \
    {                                                                                              \
        name, CELL_NUMBER, offsetof(struct trial, member), NULL, false, unit, help                 \
    }
#define WORDS(name, get, help)                                                                     \
    {                                                                                              \
        name, CELL_TEXT, 0, get, false, "", help                                                   \
    }

/* Before the settings, and behind them; times and what depends on workers come last. */
static const struct column BEFORE[] = {
    COUNT("trial", number, "Number of the trial, from 0; its folder is trials/ and six digits."),
    WORDS("state", state_text, "waiting, running, done, pruned, diverged or failed."),
    WORDS("role", role_text, "What the trial is for."),
    COUNT("parent", plan.parent, "The trial from whose checkpoint it starts; -1: none."),
    WORDS("origin", origin_text, "The run or checkpoint from which it starts; empty: none."),
};
static const struct column BEHIND[] = {
    NUMBER("value", value, "nats", "Loss of the last validation."),
    NUMBER("steps", steps, "steps", "Optimizer steps made."),
    NUMBER("tokens", tokens, "tokens", "Tokens trained on."),
    NUMBER("target", plan.target, "nats", "It ends once the loss is no more than this; 0: none."),
    COUNT("milestones", n_reached, "Milestones reached."),
    NUMBER("noise_scale", noise_scale, "sequences",
           "Gradient noise scale in the last tenth of the run."),
    NUMBER("spikes", spikes, "spikes", "Spikes of the loss."),
    WORDS("why", why_text, "Why it ended before its end."),
    NUMBER("ranks", ranks, "ranks", "Ranks it ran on."),
    NUMBER("train_s", train_s, "s", "Time in steps."),
    NUMBER("step_s", step_s, "s", "Median time of a step."),
    COUNT("claims", claims, "How often a worker took it."),
    COUNT("deaths", deaths, "How many of the last ones died without a checkpoint."),
};
enum { N_BEFORE = sizeof BEFORE / sizeof *BEFORE, N_BEHIND = sizeof BEHIND / sizeof *BEHIND };

int column_count(const struct column *c, const struct trial *t)
{
    int v;
    memcpy(&v, (const char *)t + c->offset, sizeof v);
    return v;
}

const char *column_text(const struct column *c, const struct trial *t)
{
    const char *text = c->is_setting ? trial_setting(&t->plan, c->name) : c->text(t);
    return text != NULL ? text : "";
}

double column_number(const struct column *c, const struct trial *t)
{
    double v;
    if (!c->is_setting) {
        memcpy(&v, (const char *)t + c->offset, sizeof v);
        return v;
    }
    return parse_f64(column_text(c, t), &v) ? v : NAN;
}

/* The column of a key, begun when it is new. */
static struct column *setting_column(struct column *columns, int *n, const char *key)
{
    for (int i = N_BEFORE; i < *n; i++)
        if (strcmp(columns[i].name, key) == 0)
            return &columns[i];
    struct column *c = &columns[(*n)++];
    *c = (struct column){.cell = CELL_NUMBER,
                         .is_setting = true,
                         .unit = "",
                         .help = "Setting over the study's job; empty: the job's own."};
    memcpy(c->name, key, strlen(key) + 1);
    return c;
}

static int n_settings(const struct history *h)
{
    int n = 0;
    for (int i = 0; i < h->n; i++)
        n += h->trial[i].plan.n_set;
    return n;
}

int results_columns(struct column **columns, int *n, const struct history *h)
{
    TRY(mem_alloc(columns, (size_t)(N_BEFORE + n_settings(h) + N_BEHIND), sizeof **columns,
                  "columns of a study's tables"));
    memcpy(*columns, BEFORE, sizeof BEFORE);
    *n = N_BEFORE;
    for (int i = 0; i < h->n; i++)
        for (int k = 0; k < h->trial[i].plan.n_set; k++) {
            const struct setting *s = &h->trial[i].plan.set[k];
            struct column *c = setting_column(*columns, n, s->key);
            double v;
            if (!parse_f64(s->value, &v))
                c->cell = CELL_TEXT;
        }
    memcpy(*columns + *n, BEHIND, sizeof BEHIND);
    *n += N_BEHIND;
    return OK;
}

int study_tabulate(const struct study *s, const struct history *h)
{
    struct column *columns = NULL;
    char path[FS_PATH_MAX];
    int n, rc = OK;
    TRY_OUT(results_columns(&columns, &n, h));
    TRY_OUT(fs_join(path, s->dir, "results.csv"));
    TRY_OUT(results_write_csv(path, h, columns, n));
    TRY_OUT(fs_join(path, s->dir, "results.h5"));
    TRY_OUT(results_write_h5(path, s, h, columns, n));
out:
    mem_free(columns);
    return rc;
}
