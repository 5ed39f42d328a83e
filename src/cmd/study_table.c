#include "study_parts.h"

#include "base/err.h"
#include "base/mem.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_COLUMNS = 6, KEY_BYTES = 64 };

void study_counts_text(struct str *text, const struct study_counts *c)
{
    for (int i = TRIAL_FAILED; i >= 0; i--)
        if (c->n[i] > 0)
            str_addf(text, "%s%d %s", text->len > 0 ? ", " : "", c->n[i], trial_state_name(i));
}

/* ---- order ---- */

struct place {
    int group, trial;
    double value;
};

static int group_of(const struct trial *t)
{
    static const int of[] = {[TRIAL_DONE] = 0,   [TRIAL_RUNNING] = 1,  [TRIAL_WAITING] = 1,
                             [TRIAL_PRUNED] = 2, [TRIAL_DIVERGED] = 3, [TRIAL_FAILED] = 4};
    return of[t->state];
}

static int by_place(const void *a, const void *b)
{
    const struct place *x = a, *y = b;
    if (x->group != y->group)
        return x->group - y->group;
    if (x->value != y->value)
        return x->value < y->value ? -1 : 1;
    return x->trial - y->trial;
}

int study_order(int **order, const struct history *h)
{
    struct place *p;
    TRY(mem_alloc(order, (size_t)h->n, sizeof **order, "an order of trials"));
    int rc = mem_alloc(&p, (size_t)h->n, sizeof *p, "an order of trials");
    if (rc != OK)
        MEM_FREE(*order);
    TRY(rc);
    for (int i = 0; i < h->n; i++) {
        double v = h->trial[i].value;
        p[i] = (struct place){group_of(&h->trial[i]), i, isfinite(v) ? v : INFINITY};
    }
    if (h->n > 0)
        qsort(p, (size_t)h->n, sizeof *p, by_place);
    for (int i = 0; i < h->n; i++)
        (*order)[i] = p[i].trial;
    mem_free(p);
    return OK;
}

/* ---- the table ---- */

/* The keys that trials set, in the order in which they come. */
struct columns {
    char key[MOST_COLUMNS][KEY_BYTES];
    int width[MOST_COLUMNS], n;
};

static int column_of(const struct columns *c, const char *key)
{
    for (int i = 0; i < c->n; i++)
        if (strcmp(c->key[i], key) == 0)
            return i;
    return -1;
}

/* A number in as many digits as tell trials apart; text as it is. */
static const char *short_value(char *buf, size_t n, const char *value)
{
    double v;
    if (value == NULL)
        return "-";
    if (!parse_f64(value, &v) || v == floor(v))
        return value;
    snprintf(buf, n, "%.4g", v);
    return buf;
}

/* Whether trials differ in a key: one that all of them set alike tells nothing. */
static bool varies(const struct history *h, const char *key)
{
    const char *first = trial_setting(&h->trial[0].plan, key);
    for (int i = 1; i < h->n; i++) {
        const char *other = trial_setting(&h->trial[i].plan, key);
        if ((first == NULL) != (other == NULL) || (first != NULL && strcmp(first, other) != 0))
            return true;
    }
    return h->n == 1;
}

static void fit_column(struct columns *c, const struct history *h, const struct setting *s)
{
    char buf[32];
    int at = column_of(c, s->key);
    if (at < 0 && c->n < MOST_COLUMNS && varies(h, s->key)) {
        at = c->n++;
        snprintf(c->key[at], KEY_BYTES, "%s", s->key);
        c->width[at] = (int)strlen(c->key[at]);
    }
    int width = (int)strlen(short_value(buf, sizeof buf, s->value));
    if (at >= 0 && width > c->width[at])
        c->width[at] = width;
}

static void find_columns(struct columns *c, const struct history *h)
{
    *c = (struct columns){0};
    for (int i = 0; i < h->n; i++)
        for (int k = 0; k < h->trial[i].plan.n_set; k++)
            fit_column(c, h, &h->trial[i].plan.set[k]);
}

static void add_number(struct str *text, const char *fmt, double v)
{
    if (isfinite(v))
        str_addf(text, fmt, v);
    else
        str_addf(text, "%8s", "-");
}

static void add_row(struct str *text, const struct columns *c, const struct trial *t)
{
    char tokens[32] = "-", time[32] = "-", buf[32];
    if (t->tokens > 0)
        fmt_si(tokens, sizeof tokens, t->tokens);
    if (t->train_s > 0)
        fmt_duration(time, sizeof time, t->train_s);
    str_addf(text, "%5d  %-8s ", t->number, trial_state_name(t->state));
    add_number(text, "%8.4f", t->value);
    str_addf(text, "  %7s  %7s", tokens, time);
    for (int i = 0; i < c->n; i++)
        str_addf(text, "  %-*s", c->width[i],
                 short_value(buf, sizeof buf, trial_setting(&t->plan, c->key[i])));
    while (text->len > 0 && text->s[text->len - 1] == ' ')
        text->s[--text->len] = '\0';
    str_add(text, "\n");
}

static void add_head(struct str *text, const struct columns *c)
{
    str_addf(text, "trial  %-8s %8s  %7s  %7s", "state", "loss", "tokens", "time");
    for (int i = 0; i < c->n; i++)
        str_addf(text, "  %-*s", i + 1 < c->n ? c->width[i] : 0, c->key[i]);
    str_add(text, "\n");
}

int study_table(struct str *text, const struct history *h, int64_t show, const struct trial *now)
{
    struct columns c;
    int *order;
    find_columns(&c, h);
    TRY(study_order(&order, h));
    add_head(text, &c);
    for (int i = 0; i < h->n && i < show; i++) {
        const struct trial *t = &h->trial[order[i]];
        add_row(text, &c, now != NULL && now->number == t->number ? now : t);
    }
    if (h->n > show)
        str_addf(text, "       and %lld more\n", (long long)(h->n - show));
    mem_free(order);
    return OK;
}

void study_trial_line(struct str *text, const struct trial *t)
{
    char tokens[32], time[32], buf[32];
    str_addf(text, "trial %-4d %-9s", t->number, trial_state_name(t->state));
    if (isfinite(t->value))
        str_addf(text, " loss %.4f", t->value);
    if (t->tokens > 0 && t->train_s > 0)
        str_addf(text, "  %s tokens in %s", fmt_si(tokens, sizeof tokens, t->tokens),
                 fmt_duration(time, sizeof time, t->train_s));
    for (int i = 0; i < t->plan.n_set; i++)
        str_addf(text, "  %s %s", t->plan.set[i].key,
                 short_value(buf, sizeof buf, t->plan.set[i].value));
    if (t->state > TRIAL_DONE && *t->why != '\0')
        str_addf(text, "\n           %s", t->why);
}

static void add_setting(struct str *text, const char *key, const char *value)
{
    const char *quote = strpbrk(value, " ;|()*&<>$\"") != NULL || *value == '\0' ? "'" : "";
    str_addf(text, " %s=%s%s%s", key, quote, value, quote);
}

void study_add_settings(struct str *text, const struct job *j, const struct trial_plan *p)
{
    char value[CONF_VALUE_MAX];
    for (int i = 0; i < CONF_N_KEYS; i++) {
        const struct conf_key *k = &CONF_KEYS[i];
        bool of_study = strncmp(k->name, "study.", 6) == 0 || strncmp(k->name, "search.", 7) == 0;
        if (strcmp(j->origins.text[i], "command line") == 0 && !of_study &&
            strcmp(k->name, "run.dir") != 0 && trial_setting(p, k->name) == NULL)
            add_setting(text, k->name, conf_value_text(k, &j->conf, value, sizeof value));
    }
    for (int i = 0; i < p->n_set; i++)
        add_setting(text, p->set[i].key, p->set[i].value);
}

static json_t *number(double v)
{
    return isfinite(v) ? json_real(v) : json_null();
}

static json_t *json_trial(const struct trial *t)
{
    json_t *o = json_object(), *set = json_object();
    for (int i = 0; i < t->plan.n_set; i++)
        json_object_set_new(set, t->plan.set[i].key, json_string(t->plan.set[i].value));
    json_object_set_new(o, "number", json_integer(t->number));
    json_object_set_new(o, "state", json_string(trial_state_name(t->state)));
    json_object_set_new(o, "settings", set);
    json_object_set_new(o, "parent",
                        t->plan.parent < 0 ? json_null() : json_integer(t->plan.parent));
    json_object_set_new(o, "loss", number(t->value));
    json_object_set_new(o, "steps", number(t->steps));
    json_object_set_new(o, "tokens", number(t->tokens));
    json_object_set_new(o, "train_s", number(t->train_s));
    json_object_set_new(o, "step_s", number(t->step_s));
    json_object_set_new(o, "noise_scale", number(t->noise_scale));
    json_object_set_new(o, "spikes", number(t->spikes));
    json_object_set_new(o, "ranks", number(t->ranks));
    json_object_set_new(o, "why", json_string(t->why));
    return o;
}

json_t *study_json_trials(const struct history *h)
{
    json_t *list = json_array();
    for (int i = 0; i < h->n; i++)
        json_array_append_new(list, json_trial(&h->trial[i]));
    return list;
}
