/* schedule.pieces: "constant 1000 steps, cosine 50% final=0.3, exponential". */
#include "base/err.h"
#include "conf/amount.h"
#include "conf/config_table.h"
#include "schedule_parts.h"

#include <stdio.h>
#include <string.h>

/* Lengths that are shares may add up to a little more than the whole. */
static const double ROUNDING = 1e-9;

static int take_setting(struct wanted *w, const char *word)
{
    char key[64];
    const char *value = strchr(word, '=') + 1;
    snprintf(key, sizeof key, "schedule.%.*s", (int)(value - word - 1), word);
    if (strcmp(key, "schedule.from") == 0) {
        if (!parse_f64(value, &w->from) || w->from < 0 || w->from > 1)
            return ERR(E_CONFIG, "from=%.40s: it is a share of the peak, from 0 to 1", value);
        return OK;
    }
    const struct conf_key *k = conf_find(key);
    if (k == NULL || !schedule_reads(w->rule, key + strlen("schedule.")))
        return ERR(E_CONFIG, "%s does not read \"%.40s\"; it reads: from %s", w->rule->name, word,
                   w->rule->keys);
    return conf_set_text(k, &w->conf, value);
}

static int take_length(const struct making *m, struct wanted *w, const char *text, bool last)
{
    struct amount a;
    double left = m->s->total - m->begin;
    w->length = left;
    if (*text == '\0' && !last)
        return ERR(E_CONFIG, "%s has no length, and is not the last; give it one, such as 20%%",
                   w->rule->name);
    if (*text != '\0') {
        if (!amount_parse(text, UNIT_STEPS, &a) || a.value == 0)
            return ERR(E_CONFIG, "\"%.40s\" is no length; write \"1000 steps\", \"4Mtok\" or 50%%",
                       text);
        TRY(schedule_units(&w->length, m, a, m->s->total, "schedule.pieces"));
    }
    if (w->length > left + ROUNDING * m->s->total || left <= ROUNDING * m->s->total)
        return ERR(E_CONFIG,
                   "with %s%s%s the pieces take more than the run's %lld steps (%.0f %s); shorten "
                   "one or lengthen train.steps",
                   w->rule->name, *text ? " " : "", text, (long long)m->course->n_steps,
                   m->s->total, unit_name(derive_clock_unit(m->job)));
    w->length = w->length < left ? w->length : left;
    return OK;
}

/* Name, length and settings, between blanks; a length may be two words. */
static int add_piece(struct making *m, char *text, bool last)
{
    char length[CONF_STR] = "", *rest = NULL, *word = strtok_r(text, " \t", &rest);
    struct wanted w = {.conf = *m->job, .from = -1};
    if (word == NULL)
        return ERR(E_CONFIG, "a piece is empty; write a rule's name and its length");
    TRY(schedule_find(&w.rule, word));
    while ((word = strtok_r(NULL, " \t", &rest)) != NULL) {
        size_t n = strlen(length);
        if (strchr(word, '=') != NULL)
            TRY(take_setting(&w, word));
        else
            snprintf(length + n, sizeof length - n, "%s%s", n > 0 ? " " : "", word);
    }
    TRY(take_length(m, &w, length, last));
    return schedule_add(m, &w);
}

int schedule_add_pieces(struct making *m)
{
    char buf[CONF_STR], *at = buf;
    snprintf(buf, sizeof buf, "%s", m->job->schedule.pieces);
    if (buf[strspn(buf, " \t")] == '\0')
        return ERR(E_CONFIG, "schedule.pieces is empty, and schedule.name piecewise is made of "
                             "them; set it, for instance to \"constant 50%%, cosine\"");
    for (int i = 1; at != NULL; i++) {
        char *comma = strchr(at, ',');
        if (comma != NULL)
            *comma = '\0';
        int rc = add_piece(m, at, comma == NULL);
        if (rc != OK)
            return err_context(rc, "schedule.pieces, piece %d", i);
        at = comma != NULL ? comma + 1 : NULL;
    }
    return OK;
}
