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

static void print_optimizers(FILE *f)
{
    for (int i = 0; optim_row(i) != NULL; i++)
        print_row(f, optim_row(i)->name, optim_row(i)->note);
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
