/* The page of a study. */
#include "page_parts.h"
#include "study_parts.h"

#include "base/err.h"
#include "base/mem.h"
#include "conf/config_table.h"
#include "report/html.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TRIALS_LISTED = 500, MOST_KEYS = 12 };

/* A paragraph a line, the first of a kind of its own. */
static void add_paragraphs(struct str *out, const char *kind, const char *text)
{
    while (*text != '\0') {
        size_t n = strcspn(text, "\n");
        struct str line = {0};
        str_addn(&line, text, n);
        str_addf(out, "<p class=\"%s\">", kind);
        html_text(out, line.s);
        str_add(out, "</p>\n");
        str_release(&line);
        text += n + (text[n] == '\n');
        kind = "soft";
    }
}

/* ---- trials ---- */

struct keys {
    const char *key[MOST_KEYS]; /* borrowed from the history */
    int n;
};

static int find_key(const struct keys *k, const char *key)
{
    int i = 0;
    while (i < k->n && strcmp(k->key[i], key) != 0)
        i++;
    return i;
}

static bool is_same(const struct history *h, const char *key)
{
    const char *first = trial_setting(&h->trial[0].plan, key);
    for (int i = 1; i < h->n; i++) {
        const char *other = trial_setting(&h->trial[i].plan, key);
        if (first == NULL || other == NULL || strcmp(first, other) != 0)
            return false;
    }
    return h->n > 1;
}

/* The keys in which trials differ, in the order in which they come. */
static void find_keys(struct keys *k, const struct history *h)
{
    *k = (struct keys){.n = 0};
    for (int i = 0; i < h->n; i++)
        for (int j = 0; j < h->trial[i].plan.n_set && k->n < MOST_KEYS; j++) {
            const char *key = h->trial[i].plan.set[j].key;
            if (find_key(k, key) == k->n && !is_same(h, key))
                k->key[k->n++] = key;
        }
}

static int rank_of(enum trial_state state)
{
    static const int ranks[] = {[TRIAL_DONE] = 0,   [TRIAL_RUNNING] = 1,  [TRIAL_WAITING] = 1,
                                [TRIAL_PRUNED] = 2, [TRIAL_DIVERGED] = 3, [TRIAL_FAILED] = 4};
    return ranks[state];
}

static int by_merit(const void *a, const void *b)
{
    const struct trial *x = *(const struct trial *const *)a, *y = *(const struct trial *const *)b;
    double u = isfinite(x->value) ? x->value : INFINITY;
    double v = isfinite(y->value) ? y->value : INFINITY;
    if (rank_of(x->state) != rank_of(y->state))
        return rank_of(x->state) - rank_of(y->state);
    return u != v ? (u < v ? -1 : 1) : x->number - y->number;
}

static void add_setting(struct str *out, const char *value)
{
    char text[32];
    double v;
    if (value != NULL && parse_f64(value, &v) && v != floor(v)) {
        snprintf(text, sizeof text, "%.5g", v);
        value = text;
    }
    str_add(out, "<td class=\"n\">");
    html_text(out, value != NULL ? value : "–");
    str_add(out, "</td>");
}

static void add_trial(struct str *out, const struct trial *t, const struct keys *k, bool best)
{
    row_begin(out, best);
    cell_number(out, "%.0f", t->number);
    cell_text(out, t->plan.role);
    cell_text(out, trial_state_name(t->state));
    for (int i = 0; i < k->n; i++)
        add_setting(out, trial_setting(&t->plan, k->key[i]));
    cell_number(out, "%.4f", t->value);
    cell_number(out, "%.0f", t->steps > 0 ? t->steps : NAN);
    cell_si(out, t->tokens > 0 ? t->tokens : NAN);
    cell_seconds(out, t->train_s > 0 ? t->train_s : NAN);
    cell_number(out, "%.0f", t->ranks > 0 ? t->ranks : NAN);
    cell_number(out, "%.3g", t->noise_scale);
    cell_words(out, t->why);
    row_end(out);
}

static void add_head(struct str *out, const struct keys *k)
{
    static const char *const before[] = {"trial", "role", "state"};
    static const char *const behind[] = {"loss",  "steps",       "tokens", "time",
                                         "ranks", "noise scale", "why"};
    const char *head[MOST_KEYS + 10];
    int n = 0;
    for (size_t i = 0; i < sizeof before / sizeof *before; i++)
        head[n++] = before[i];
    for (int i = 0; i < k->n; i++)
        head[n++] = k->key[i];
    for (size_t i = 0; i < sizeof behind / sizeof *behind; i++)
        head[n++] = behind[i];
    table_begin(out, head, n);
}

static int add_trials(struct str *out, const struct report_study *s)
{
    const struct history *h = &s->history;
    const struct trial **order;
    struct keys k;
    str_add(out, "<h2>Trials</h2>\n");
    if (h->n == 0) {
        str_add(out, "<p>There are none yet.</p>\n");
        return OK;
    }
    find_keys(&k, h);
    TRY(mem_alloc(&order, (size_t)h->n, sizeof *order, "an order of trials"));
    for (int i = 0; i < h->n; i++)
        order[i] = &h->trial[i];
    qsort(order, (size_t)h->n, sizeof *order, by_merit);
    add_head(out, &k);
    for (int i = 0; i < h->n && i < TRIALS_LISTED; i++)
        add_trial(out, order[i], &k, s->best >= 0 && order[i] == &h->trial[s->best]);
    table_end(out);
    mem_free(order);
    if (h->n > TRIALS_LISTED)
        str_addf(out, "<p>And %d more: results.csv in the study's folder has all.</p>\n",
                 h->n - TRIALS_LISTED);
    return OK;
}

/* ---- to repeat it ---- */

static void add_shell_word(struct str *text, const char *value)
{
    if (strpbrk(value, " ;|()*?&<>[]{}~!#$\"\\'`\t\n") == NULL && *value != '\0') {
        str_add(text, value);
        return;
    }
    str_add(text, "'");
    for (; *value != '\0'; value++)
        if (*value == '\'')
            str_add(text, "'\\''");
        else
            str_addn(text, value, 1);
    str_add(text, "'");
}

static void add_command(struct str *out, const char *what, const char *command)
{
    str_addf(out, "<p>%s</p>\n<pre>", what);
    html_text(out, command);
    str_add(out, "</pre>\n");
}

static void add_best_command(struct str *out, const struct report_study *s)
{
    struct str line = {0};
    if (s->best < 0)
        return;
    const struct trial_plan *p = &s->history.trial[s->best].plan;
    str_add(&line, "carat train job.yaml run.dir=runs/again");
    for (int i = 0; i < p->n_set; i++) {
        str_addf(&line, " %s=", p->set[i].key);
        add_shell_word(&line, p->set[i].value);
    }
    add_command(out,
                "The settings of its best trial, for a run of the job's whole length:", line.s);
    str_release(&line);
}

static void add_seeds(struct str *out, const struct report_study *s)
{
    str_addf(out,
             "<p>Seeds: run.seed=%lld, search.seed=%lld; a trial that sets its own is listed "
             "with it.",
             (long long)s->conf.run.seed, (long long)s->conf.search.seed);
    if (s->has_run && s->run.has_meta) {
        str_add(out, " Data: SHA-256 ");
        html_text(out, s->run.meta.data_hash);
        str_add(out, "; tokenizer: SHA-256 ");
        html_text(out, s->run.meta.tokenizer_hash);
        str_add(out, ".");
    }
    str_add(out, "</p>\n");
}

static int add_repeat(struct str *out, const struct report_study *s)
{
    struct str line = {0};
    str_add(out, "<h2>To repeat it</h2>\n");
    str_addf(&line, "%s study.dir=runs/again", s->kind->command);
    add_command(out, "With the job below as job.yaml:", line.s);
    str_release(&line);
    add_best_command(out, s);
    add_seeds(out, s);
    str_add(out, "<p>Trial N lies in <code>");
    html_text(out, s->path);
    str_add(out,
            "/trials/00000N</code>, its run with metrics and log in <code>run</code> there.</p>\n"
            "<details><summary>The study's job</summary><pre>");
    html_text(out, s->study.job);
    str_add(out, "</pre></details>\n");
    return s->has_run ? page_facts(out, "Set-up of the best trial", facts_setup, &s->run, 1) : OK;
}

/* ---- head ---- */

static void add_title(struct str *out, const struct report_study *s)
{
    str_addf(out, "%s: ", s->kind->title);
    html_text(out, s->name);
}

static void add_overview(struct str *out, const struct report_study *s)
{
    struct str text = {0};
    study_counts(&text, s);
    add_paragraphs(out, "soft", text.s);
    str_release(&text);
    if (s->trouble.len > 0)
        add_paragraphs(out, "note", s->trouble.s);
    if (s->found != NULL && s->history.n > 0) {
        s->kind->advise(&text, s);
        if (text.len > 0)
            add_paragraphs(out, "advice", text.s);
    }
    str_release(&text);
}

int study_page_write(struct str *out, const struct report_study *s, const struct figures *f,
                     const struct str *svg, const char *why)
{
    page_begin(out);
    add_title(out, s);
    str_add(out, " – carat</title>\n</head>\n<body>\n<main>\n<h1>");
    add_title(out, s);
    str_add(out, "</h1>\n");
    add_overview(out, s);
    if (f->n > 0 || svg == NULL)
        page_figures(out, f, svg, why);
    if (s->found != NULL)
        s->kind->tables(out, s);
    TRY(add_trials(out, s));
    TRY(add_repeat(out, s));
    page_end(out);
    return OK;
}
