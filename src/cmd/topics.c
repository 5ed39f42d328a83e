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

/* "gamma every" as "gamma, every". */
static void print_keys(FILE *f, const char *keys)
{
    for (; *keys != '\0'; keys++)
        fputs(*keys == ' ' ? ", " : (const char[]){*keys, '\0'}, f);
}

static void print_schedules(FILE *f)
{
    for (int i = 0; schedule_row(i) != NULL; i++) {
        const struct schedule_rule *r = schedule_row(i);
        fprintf(f, "%-20s %s%s%s\n", r->name, r->note, r->alias != NULL ? "; also: " : "",
                r->alias != NULL ? r->alias : "");
        if (*r->keys == '\0')
            continue;
        fprintf(f, "%-20s   reads ", "");
        print_keys(f, r->keys);
        fputc('\n', f);
    }
    fputs("\n"
          "The keys are those of schedule.* in `carat help keys`; all rules read clock, warmup,\n"
          "warmup_shape and warmup_start, but those that rise by themselves have no warmup.\n"
          "`carat plan JOB --lr-curve` prints the rate of each step.\n",
          f);
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
