#include "train/effect.h"

#include "optim/schedule.h"
#include "train/monitor.h"

#include <stdio.h>
#include <string.h>

/* ---- what acts on measurements ---- */

/* Pieces are apart by commas, each with its rule in front. */
static bool has_piece(const char *pieces, const char *rule)
{
    static const char blanks[] = " \t\n", ends[] = ", \t\n";
    for (const char *at = pieces; *at != '\0'; at += *at == ',') {
        char word[32];
        at += strspn(at, blanks);
        snprintf(word, sizeof word, "%.*s", (int)strcspn(at, ends), at);
        if (schedule_is(word, rule))
            return true;
        at += strcspn(at, ",");
    }
    return false;
}

static bool follows_plateau(const struct config *c)
{
    static const char rule[] = "reduce_on_plateau";
    return schedule_is(c->schedule.name, rule) ||
           (schedule_is(c->schedule.name, "piecewise") && has_piece(c->schedule.pieces, rule));
}

static bool follows_noise(const struct config *c)
{
    return strcmp(c->scaling.rule, "adascale") == 0;
}

static bool is_fast(const struct config *c)
{
    return strcmp(c->parallel.reduce, "fast") == 0;
}

static bool acts_on_spikes(const struct config *c)
{
    return strcmp(c->monitor.spike, "skip") == 0 || strcmp(c->monitor.spike, "back") == 0;
}

static bool acts_on_losses(const struct config *c)
{
    return acts_on_spikes(c) || strcmp(c->monitor.diverged, "back") == 0;
}

/* ---- keys ---- */

static const struct {
    const char *key;
    bool (*unless)(const struct config *c);
    const char *when;
} keys[] = {
    {"data.valid", follows_plateau, "schedule.name is reduce_on_plateau"},
    {"validate.every", follows_plateau, "schedule.name is reduce_on_plateau"},
    {"validate.samples", follows_plateau, "schedule.name is reduce_on_plateau"},
    {"noise.every", follows_noise, "scaling.rule is adascale"},
    {"noise.decay", follows_noise, "scaling.rule is adascale"},
    {"checkpoint.every", monitor_may_go_back, "a monitor.* action is back"},
    {"checkpoint.keep", monitor_may_go_back, "a monitor.* action is back"},
    {"checkpoint.keep_every", monitor_may_go_back, "a monitor.* action is back"},
    {"parallel.bucket_mib", is_fast, "parallel.reduce is fast"},
};
enum { N_KEYS = sizeof keys / sizeof *keys };

enum conf_effect effect_of(const struct conf_key *k, const struct config *c)
{
    for (int i = 0; i < N_KEYS && k->effect == EFFECT_SAFE; i++)
        if (strcmp(keys[i].key, k->name) == 0 && keys[i].unless(c))
            return EFFECT_TRAJECTORY;
    return k->effect;
}

const char *effect_unless(const struct conf_key *k)
{
    for (int i = 0; i < N_KEYS; i++)
        if (strcmp(keys[i].key, k->name) == 0)
            return keys[i].when;
    return NULL;
}

void effect_path(struct sha256 *s, const struct config *c)
{
    char text[CONF_VALUE_MAX];
    for (int i = 0; i < CONF_N_KEYS; i++) {
        const struct conf_key *k = &CONF_KEYS[i];
        if (effect_of(k, c) == EFFECT_SAFE)
            continue;
        conf_value_text(k, c, text, sizeof text);
        if (strcmp(text, k->def) == 0) /* as before there was such a key */
            continue;
        sha256_add(s, k->name, strlen(k->name) + 1);
        sha256_add(s, text, strlen(text) + 1);
    }
}

/* ---- rows ---- */

static bool never(const struct config *c)
{
    (void)c;
    return false;
}

/* The first that the name begins with counts. */
static const struct {
    const char *begin;
    bool (*decides)(const struct config *c);
} rows[] = {
    {"watch.noise", follows_noise},  {"watch.loss.", acts_on_spikes},
    {"watch.grad.", acts_on_spikes}, {"watch.bins", never},
    {"watch", acts_on_losses},
};

bool effect_row_decides(const char *name, size_t n, const struct config *c)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        size_t len = strlen(rows[i].begin);
        if (len <= n && memcmp(name, rows[i].begin, len) == 0)
            return rows[i].decides(c);
    }
    return true;
}
