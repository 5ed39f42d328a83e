/* What `carat help` tells of the settings of a job. */
#include "cmd/opts.h"
#include "cmd/topics.h"
#include "conf/value.h"
#include "train/effect.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

enum { LABEL = 11, COUNT_MAX = 1000000000 };

/* Values for examples, where the default says little: empty, off, or "the rule's own". */
static const struct {
    const char *key, *value;
} EXAMPLES[] = {
    {"run.dir", "runs/mine"},
    {"model.preset", "gemma3-270m"},
    {"model.path", "gemma-3-270m/config.json"},
    {"model.init", "runs/base"},
    {"model.vocab", "32000"},
    {"model.width", "256"},
    {"model.layers", "6"},
    {"model.heads", "4"},
    {"model.kv_heads", "2"},
    {"model.head_dim", "64"},
    {"model.ffn", "1024"},
    {"model.window", "512"},
    {"model.window_pattern", "6"},
    {"data.train", "tokens.h5"},
    {"data.valid", "held-out.h5"},
    {"batch.global", "64"},
    {"batch.micro", "8"},
    {"batch.ramp", "0:64 2Mtok:128 20Mtok:256"},
    {"train.steps", "2000"},
    {"train.tokens", "20Mtok"},
    {"train.epochs", "2"},
    {"train.time_limit", "4h"},
    {"optimizer.name", "muon"},
    {"noise.every", "10"},
    {"optimizer.beta1", "0.9"},
    {"optimizer.beta2", "0.95"},
    {"optimizer.eps", "1e-8"},
    {"optimizer.momentum", "0.9"},
    {"optimizer.dampening", "0.1"},
    {"optimizer.clip_value", "0.5"},
    {"optimizer.clip_adaptive", "0.01"},
    {"optimizer.d_growth", "1.02"},
    {"regularize.l1", "1e-6"},
    {"regularize.l2", "1e-4"},
    {"regularize.dropout", "0.1"},
    {"regularize.label_smoothing", "0.1"},
    {"regularize.z_loss", "1e-4"},
    {"rates.layer_decay", "0.9"},
    {"rates.layers", "0-3:0.1 4-11:0.5"},
    {"rates.tensors", "*.mlp.*:0.5"},
    {"rates.embed", "0.1"},
    {"rates.norms", "0.5"},
    {"rates.freeze", "embed 0-5 *norm*"},
    {"rates.mup_base", "256"},
    {"study.dir", "studies/nano"},
    {"study.ranks", "2"},
    {"study.budget", "200Mtok"},
    {"study.core_hours", "12"},
    {"study.batches", "8,16,32,64"},
    {"study.targets", "2.5,2.3,2.1"},
    {"study.rank_counts", "1,2,4"},
    {"study.from", "1000,2000,4000"},
    {"study.branch", "10%"},
    {"study.past", "runs"},
    {"search.space", "optimizer.lr log 1e-4 1e-1; optimizer.beta2 uniform 0.9 0.999"},
    {"schedule.name", "one_cycle"},
    {"schedule.warmup", "500 steps"},
    {"schedule.final", "0.01"},
    {"schedule.power", "2"},
    {"schedule.cycle_mult", "2"},
    {"schedule.rise", "0.4"},
    {"schedule.base", "0.1"},
    {"schedule.phases", "3"},
    {"schedule.milestones", "50% 75%"},
    {"schedule.pieces", "constant 1000 steps, cosine 50%, exponential"},
    {"schedule.timescale", "1000 steps"},
    {"scaling.rule", "sqrt"},
    {"scaling.base_batch", "16"},
    {"scaling.noise_scale", "500"},
    {"monitor.spike", "skip"},
    {"monitor.diverged", "back"},
    {"monitor.oscillation", "stop"},
    {"monitor.plateau", "stop"},
    {"monitor.overfit", "stop"},
    {"monitor.back_skip", "100"},
    {"checkpoint.keep_every", "5000"},
    {"sample.every", "500"},
    {"sample.prompt", "Once upon a time"},
};

/* Of choices, another than the default. */
static void other_choice(const struct conf_key *k, char *buf, size_t n)
{
    const char *at = k->choices;
    size_t len = strcspn(at, "|");
    if (strlen(k->def) == len && strncmp(at, k->def, len) == 0 && at[len] == '|') {
        at += len + 1;
        len = strcspn(at, "|");
    }
    snprintf(buf, n, "%.*s", (int)len, at);
}

static void example_value(const struct conf_key *k, char *buf, size_t n)
{
    for (size_t i = 0; i < sizeof EXAMPLES / sizeof *EXAMPLES; i++)
        if (strcmp(EXAMPLES[i].key, k->name) == 0) {
            snprintf(buf, n, "%s", EXAMPLES[i].value);
            return;
        }
    if (k->kind == CONF_CHOICE)
        other_choice(k, buf, n);
    else
        snprintf(buf, n, "%s", k->def);
}

char *key_example(const struct conf_key *k, char *buf, size_t n)
{
    char value[CONF_VALUE_MAX];
    struct str quoted = {0};
    example_value(k, value, sizeof value);
    bool plain = k->kind != CONF_TEXT ||
                 (isalpha((unsigned char)value[0]) && strpbrk(value, ":#,\"'{}[]&*!|>%@`") == NULL);
    if (plain)
        str_add(&quoted, value);
    else
        yaml_quote(&quoted, value);
    snprintf(buf, n, "%s: %s", k->name, quoted.s);
    str_release(&quoted);
    return buf;
}

static void put(FILE *f, const char *label, const char *text)
{
    fprintf(f, "  %-*s", LABEL, label);
    text_wrap(f, text, LABEL + 2, LABEL + 2);
}

static char *number_text(double v, char *buf, size_t n)
{
    return v == (double)(long)v && v < COUNT_MAX ? (snprintf(buf, n, "%ld", (long)v), buf)
                                                 : f64_text(v, buf, n);
}

/* "0 to 1", "at least 0"; bounds that only keep numbers exact are none. */
static char *range_text(const struct conf_key *k, char *buf, size_t n)
{
    char lo[40], hi[40];
    number_text(k->min, lo, sizeof lo);
    if (k->max >= COUNT_MAX)
        snprintf(buf, n, "at least %s", lo);
    else
        snprintf(buf, n, "%s to %s", lo, number_text(k->max, hi, sizeof hi));
    return buf;
}

/* "a|b|c" as "a, b or c". */
static void list_choices(struct str *out, const char *choices)
{
    for (const char *at = choices; *at != '\0';) {
        size_t len = strcspn(at, "|");
        bool last = at[len] == '\0' || strchr(at + len + 1, '|') == NULL;
        str_addn(out, at, len);
        if (at[len] != '\0')
            str_add(out, last ? " or " : ", ");
        at += len + (at[len] == '|');
    }
}

static void put_values(FILE *f, const struct conf_key *k)
{
    char range[96];
    struct str out = {0};
    range_text(k, range, sizeof range);
    switch (k->kind) {
    case CONF_INT:
        str_addf(&out, "a whole number, %s", range);
        break;
    case CONF_F64:
        str_addf(&out, "a number, %s", range);
        break;
    case CONF_TEXT:
        str_addf(&out, "text: %s", k->unit);
        break;
    case CONF_CHOICE:
        list_choices(&out, k->choices);
        break;
    case CONF_AMOUNT:
        str_addf(&out, "an amount, %s", range);
        break;
    case CONF_DURATION:
        str_addf(&out, "a time, %s", range);
        break;
    }
    put(f, "values", out.s);
    str_release(&out);
}

static void put_unit(FILE *f, const struct conf_key *k)
{
    struct str out = {0};
    bool is_number = k->kind == CONF_INT || k->kind == CONF_F64;
    if (k->kind == CONF_AMOUNT) {
        list_choices(&out, k->choices);
        if (strchr(k->choices, '|') != NULL)
            str_addf(&out, "; a plain number is in %s", k->unit);
    } else if (k->kind == CONF_DURATION) {
        str_add(&out, "s, m or h, as in 90s, 30m, 4h or 1:30:00; a plain number is in s");
    } else {
        str_add(&out, is_number && *k->unit != '\0' ? k->unit : "none");
    }
    put(f, "unit", out.s);
    str_release(&out);
}

static const char *effect_text(enum conf_effect effect)
{
    switch (effect) {
    case EFFECT_SAFE:
        return "may be changed when the run is resumed; the weights come out the same";
    case EFFECT_TRAJECTORY:
        return "may be changed when the run is resumed, which then goes on by another path, and "
               "says so";
    case EFFECT_IMPOSSIBLE:
        return "cannot be changed when the run is resumed: it would be another run; give that one "
               "a run.dir of its own";
    }
    return "";
}

static void put_effect(FILE *f, const struct conf_key *k)
{
    struct str text = {0};
    str_add(&text, effect_text(k->effect));
    if (effect_unless(k) != NULL)
        str_addf(&text, ", unless %s", effect_unless(k));
    put(f, "resume", text.s);
    str_release(&text);
}

static void print_key(FILE *f, const struct conf_key *k)
{
    char example[CONF_VALUE_MAX];
    fprintf(f, "%s\n\n", k->name);
    text_wrap(f, k->help, 0, 0);
    fputs("\n", f);
    put(f, "default", *k->def != '\0' ? k->def : k->kind == CONF_TEXT ? "empty" : "not set");
    put_values(f, k);
    put_unit(f, k);
    put_effect(f, k);
    put(f, "source", k->source != NULL ? k->source : "carat's own");
    fputs("\nexample, in a job file or behind it as key=value:\n", f);
    fprintf(f, "  %s\n", key_example(k, example, sizeof example));
}

static bool in_section(const struct conf_key *k, const char *section)
{
    size_t n = strlen(section);
    return n > 0 && strncmp(k->name, section, n) == 0 && k->name[n] == '.';
}

static bool print_section(FILE *f, const char *section)
{
    bool any = false;
    for (int i = 0; i < CONF_N_KEYS; i++) {
        const struct conf_key *k = &CONF_KEYS[i];
        if (!in_section(k, section))
            continue;
        if (!any)
            fprintf(f, "%s: keys, defaults, meaning; more of each by `carat help %s`\n\n", section,
                    k->name);
        any = true;
        int at = fprintf(f, "%-24s %-8s ", k->name, *k->def != '\0' ? k->def : "-");
        text_wrap(f, k->help, at, 34);
    }
    return any;
}

bool key_print(FILE *f, const char *name)
{
    const struct conf_key *k = conf_find(name);
    if (k == NULL)
        return print_section(f, name);
    print_key(f, k);
    return true;
}
