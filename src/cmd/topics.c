#include "cmd/topics.h"

#include "conf/config_file.h"
#include "conf/value.h"
#include "model/spec.h"
#include "optim/lrscale.h"
#include "optim/optim.h"
#include "optim/schedule.h"

#include <string.h>

static void print_row(FILE *f, const char *name, const char *note)
{
    fprintf(f, "%-14s %s\n", name, note);
}

static void print_presets(FILE *f)
{
    for (int i = 0; spec_preset_name(i) != NULL; i++)
        print_row(f, spec_preset_name(i), spec_preset_note(i));
}

static void print_setting(FILE *f, const struct optim_rule *r, unsigned bit, const char *name,
                          double own)
{
    if ((r->reads & bit) != 0)
        fprintf(f, "; %s %g", name, own);
}

static void print_names(FILE *f, const struct optim_rule *r, unsigned bit, const char *names)
{
    if ((r->reads & bit) != 0)
        fprintf(f, "; %s", names);
}

static void print_optimizer(FILE *f, const struct optim_rule *r)
{
    print_row(f, r->name, r->note);
    fprintf(f, "%-14s [%s%d%s", "", r->last_is_momentum ? "with momentum " : "", r->n_slots,
            r->not_in_hidden != 0 ? ", in layers' matrices 1" : "");
    print_setting(f, r, OPTIM_BETA1, "beta1", r->beta1);
    print_setting(f, r, OPTIM_BETA2, "beta2", r->beta2);
    print_setting(f, r, OPTIM_EPS, "eps", r->eps);
    print_setting(f, r, OPTIM_MOMENTUM, "momentum", r->momentum);
    print_names(f, r, OPTIM_DAMPENING, "dampening");
    print_names(f, r, OPTIM_NESTEROV, "nesterov");
    print_names(f, r, OPTIM_TRUST, "trust");
    print_names(f, r, OPTIM_DISTANCE, "d0, d_growth");
    print_names(f, r, OPTIM_HYPER, "hyper_lr, hyper_cap");
    fprintf(f, "]\n");
}

static void print_optimizers(FILE *f)
{
    for (int i = 0; optim_row(i) != NULL; i++)
        print_optimizer(f, optim_row(i));
    fprintf(f,
            "\nIn brackets: floats of state that a parameter takes, and the settings under "
            "optimizer.* that\nthe rule reads beside lr and weight_decay, with its own values.\n");
}

/* What a rule takes for schedule.<key> where the job sets nothing. */
static const char *default_of(const struct schedule_rule *r, const char *key, char *buf, size_t n)
{
    const struct {
        const char *key;
        double own;
    } rows[] = {{"final", r->own.final},
                {"base", r->own.base},
                {"rise", r->own.rise},
                {"power", r->own.power}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (strcmp(rows[i].key, key) == 0)
            return f64_text(rows[i].own, buf, n);
    char name[64];
    snprintf(name, sizeof name, "schedule.%s", key);
    const struct conf_key *k = conf_find(name);
    return k != NULL ? k->def : "";
}

static void print_reads(FILE *f, const struct schedule_rule *r)
{
    const char *sign = "    reads ";
    for (const char *at = r->keys; *at != '\0';) {
        char key[48], value[40];
        int n = (int)strcspn(at, " ");
        snprintf(key, sizeof key, "%.*s", n, at);
        const char *def = default_of(r, key, value, sizeof value);
        fprintf(f, "%s%s%s%s", sign, key, *def != '\0' ? " " : "", def);
        sign = ", ";
        at += n + (at[n] == ' ');
    }
    fputs(*r->keys != '\0' ? "\n" : "", f);
}

static void print_schedules(FILE *f)
{
    for (int i = 0; schedule_row(i) != NULL; i++) {
        const struct schedule_rule *r = schedule_row(i);
        fprintf(f, "%-20s %s%s%s\n", r->name, r->note, r->alias != NULL ? "; also: " : "",
                r->alias != NULL ? r->alias : "");
        print_reads(f, r);
    }
    fputs(
        "\n"
        "Keys are those of schedule.* in `carat help keys`, with what a rule takes where the job\n"
        "sets none. All rules read clock, warmup, warmup_shape and warmup_start, but those that\n"
        "rise by themselves have no warmup. `carat plan JOB --lr-curve` prints each step's rate.\n",
        f);
}

static void print_scaling(FILE *f)
{
    fputs("From scaling.base_batch to a batch κ times as large, by the global batch alone; for "
          "Adam:\n\n",
          f);
    for (int i = 0; lrscale_row(i) != NULL; i++) {
        const struct lrscale_rule *r = lrscale_row(i);
        struct str formulas = {0};
        lrscale_formulas(&formulas, r);
        print_row(f, r->name, formulas.s);
        fprintf(f, "%-14s %s (%s)\n", "", r->note, r->source);
        str_release(&formulas);
    }
    fputs("\n", f);
    key_print(f, "scaling"); /* the section of this name */
}

static const struct {
    const char *name, *help;
    void (*print)(FILE *f);
} topics[] = {
    {"keys", "the settings of a job, with their defaults", conf_print_keys},
    {"presets", "model.preset: shapes by name", print_presets},
    {"optimizers", "optimizer.name: update rules", print_optimizers},
    {"schedules", "schedule.name: how the learning rate goes", print_schedules},
    {"scaling", "scaling.rule: how the learning rate follows the batch", print_scaling},
};
enum { N_TOPICS = sizeof topics / sizeof *topics };

bool topic_print(FILE *f, const char *name)
{
    for (int i = 0; i < N_TOPICS; i++)
        if (strcmp(topics[i].name, name) == 0) {
            topics[i].print(f);
            return true;
        }
    return false;
}

const char *topic_name(int i)
{
    return i >= 0 && i < N_TOPICS ? topics[i].name : NULL;
}

const char *topic_help(int i)
{
    return i >= 0 && i < N_TOPICS ? topics[i].help : NULL;
}
