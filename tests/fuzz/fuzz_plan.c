/* What follows from a job before anything runs: model, batches, rates, schedule. The input is a job
 * file; what would read other files is left out. */
#include "base/err.h"
#include "base/log.h"
#include "conf/config_file.h"
#include "fuzz.h"
#include "train/derive.h"
#include "train/rates.h"
#include "train/shape.h"

enum { SAMPLES = 1000, LOOKS = 64, RANKS = 7, MOST_LAYERS = 64 };

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc, (void)argv;
    log_mute(true);
    log_quiet(true);
    return 0;
}

static void look_at_rates(const struct config *c, const struct course *k, const struct scaling *g,
                          struct str *text)
{
    struct schedule s;
    if (derive_schedule(&s, c, k, g, text) != OK)
        return;
    for (int64_t i = 0; i < LOOKS; i++)
        MUST(derive_rate(&s, c, k, g, k->n_steps / LOOKS * i) >= 0);
    course_describe(k, c, g, text);
    course_warn(k, c, text);
    course_warn_idle(k, c, RANKS, text);
}

static void look(const struct config *c)
{
    struct course k;
    struct scaling g;
    struct model_spec spec;
    struct str text = {0};
    if (shape_of_job(&spec, c) == OK && spec.L <= MOST_LAYERS && rates_plan(c, &spec, &text) == OK)
        MUST(spec_check(&spec) == OK);
    if (derive_course(&k, c, SAMPLES, (struct ramp_at){0, 0}) == OK && k.n_steps > 0 &&
        derive_scaling(&g, c) == OK) {
        scaling_describe(&g, &text);
        scaling_warn(&g, c, &text);
        look_at_rates(c, &k, &g, &text);
    }
    str_release(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static struct config c;
    static struct conf_origins o;
    if (conf_load_text(&c, &o, fuzz_text(data, n), "job.yaml") == OK) {
        *c.model.path = *c.model.init = '\0';
        if (conf_check(&c) == OK)
            look(&c);
    }
    err_clear();
    return 0;
}
