#include "cmd/topics.h"

#include "conf/config_file.h"
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

static void print_schedules(FILE *f)
{
    for (int i = 0; schedule_row(i) != NULL; i++)
        print_row(f, schedule_row(i)->name, schedule_row(i)->note);
}

static void print_scaling(FILE *f)
{
    for (int i = 0; lrscale_row(i) != NULL; i++)
        print_row(f, lrscale_row(i)->name, lrscale_row(i)->note);
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
