/* From text to axes, with every fault named by its row. */
#include "base/err.h"
#include "base/mem.h"
#include "base/str.h"
#include "conf/config_file.h"
#include "conf/value.h"
#include "study/space.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_WORDS = SPACE_MAX_CHOICES + 8, ROW_SHOWN = 80 };
#define INSIDE 0.31415926 /* a place between the ends that no grid of numbers has */

/* A row on its way to an axis. */
struct row {
    struct axis axis;
    int number; /* from 1 */
    char text[ROW_SHOWN + 1];
    char *word[MAX_WORDS];
    int n_words;
    char *if_key, *if_value; /* NULL: no condition */
};

static int in_row(const struct row *r, int rc)
{
    return err_context(rc, "search.space, row %d (%s)", r->number, r->text);
}

/* The first byte past the row: a line end or semicolon outside quotes, or the end. */
static char *row_end(char *at)
{
    bool quoted = false;
    for (; *at != '\0' && (quoted || (*at != ';' && *at != '\n')); at++)
        quoted ^= *at == '"';
    return at;
}

/* Cuts text, which it writes into, at blanks and takes quotes away. */
static int split_words(struct row *r, char *text)
{
    r->n_words = 0;
    for (char *at = text; *(at += strspn(at, " \t\r")) != '\0';) {
        if (r->n_words == MAX_WORDS)
            return ERR(E_CONFIG, "it has more than %d values; take some out", SPACE_MAX_CHOICES);
        bool quoted = *at == '"';
        char *end = quoted ? strchr(at + 1, '"') : at + strcspn(at, " \t\r");
        if (end == NULL)
            return ERR(E_CONFIG, "a quote is not closed");
        r->word[r->n_words++] = at + quoted;
        at = end + (*end != '\0');
        *end = '\0';
    }
    return OK;
}

static int find_key(struct row *r, const char *name)
{
    static const char *const kept[] = {"study.", "search.", "run.dir"};
    r->axis.key = conf_find(name);
    if (r->axis.key == NULL) {
        const char *near = conf_nearest(name);
        if (near == NULL)
            return ERR(E_CONFIG, "%.80s: no such key; `carat help keys` lists them", name);
        return ERR(E_CONFIG, "%.80s: no such key; did you mean %s?", name, near);
    }
    for (size_t i = 0; i < sizeof kept / sizeof kept[0]; i++)
        if (strncmp(name, kept[i], strlen(kept[i])) == 0)
            return ERR(E_CONFIG, "%s belongs to the search, it is no trial's; take the row out",
                       name);
    if (r->axis.key->offset == conf_find("train.steps")->offset)
        return ERR(E_CONFIG,
                   "trials are compared at equal lengths; set %s in the job and take the row out",
                   name);
    return OK;
}

/* Splits "if key=value", also with blanks around the sign, off the row's end. */
static int split_condition(struct row *r)
{
    static char nothing[] = "";
    int at = 2;
    while (at < r->n_words && strcmp(r->word[at], "if") != 0)
        at++;
    if (at >= r->n_words)
        return OK;
    char *key = at + 1 < r->n_words ? r->word[at + 1] : nothing, *equals = strchr(key, '=');
    if (r->n_words != at + 2 || equals == NULL || equals == key || equals[1] == '\0')
        return ERR(E_CONFIG, "a condition is written `if key=value`, without blanks around the =");
    *equals = '\0';
    r->if_key = key;
    r->if_value = equals + 1;
    r->n_words = at;
    return OK;
}

/* The number that text begins with, and what follows it. */
static int read_end(const char *text, double *v, const char **unit)
{
    char *end;
    *v = strtod(text, &end);
    *unit = end;
    if (end == text || !isfinite(*v))
        return ERR(E_CONFIG, "\"%.40s\" is no number", text);
    return OK;
}

/* Whether the key takes a value of the axis. */
static int try_value(const struct axis *a, double value)
{
    struct config scratch;
    char text[128];
    memset(&scratch, 0, sizeof scratch);
    return conf_set_text(a->key, &scratch, axis_text(a, value, text, sizeof text));
}

static int check_range(const struct axis *a)
{
    if (a->key->kind == CONF_TEXT || a->key->kind == CONF_CHOICE)
        return ERR(E_CONFIG, "%s takes no numbers; write `choice` and its values", a->key->name);
    if (a->low >= a->high)
        return ERR(E_CONFIG,
                   "its first end has to be below its second; to hold a key at one value, set it "
                   "in the job");
    if (a->log && a->low <= 0)
        return ERR(E_CONFIG, "a logarithm needs ends above 0; raise the first, or write `%s`",
                   a->whole ? "int without log" : "uniform");
    if (a->whole && (a->low != floor(a->low) || a->high != floor(a->high)))
        return ERR(E_CONFIG, "the ends of `int` have to be whole numbers");
    TRY(try_value(a, a->low));
    TRY(try_value(a, a->high));
    if (try_value(a, axis_at(a, INSIDE)) != OK)
        return ERR(E_CONFIG, "%s takes whole numbers; write `int`%s", a->key->name,
                   a->log ? " and, behind the ends, `log`" : "");
    return OK;
}

static int read_range(struct row *r, bool whole, bool log)
{
    struct axis *a = &r->axis;
    const char *unit;
    a->whole = whole;
    a->log = log;
    if (whole && r->n_words == 5 && strcmp(r->word[4], "log") == 0) {
        a->log = true;
        r->n_words--;
    }
    if (r->n_words != 4)
        return ERR(E_CONFIG, "`%s` takes two ends: %s %s LOW HIGH%s", r->word[1], a->key->name,
                   r->word[1], whole ? " [log]" : "");
    TRY(read_end(r->word[2], &a->low, &a->unit));
    TRY(read_end(r->word[3], &a->high, &unit));
    if (strcmp(a->unit, unit) != 0)
        return ERR(E_CONFIG, "its ends have different units (\"%.20s\", \"%.20s\")", a->unit, unit);
    return check_range(a);
}

static int read_choice(struct row *r)
{
    struct axis *a = &r->axis;
    a->choice = true;
    a->unit = "";
    if (r->n_words < 4)
        return ERR(E_CONFIG, "a choice takes two or more values; to hold a key at one value, set "
                             "it in the job");
    if (r->n_words - 2 > SPACE_MAX_CHOICES)
        return ERR(E_CONFIG, "it has more than %d values; take some out", SPACE_MAX_CHOICES);
    for (int i = 2; i < r->n_words; i++) {
        for (int j = 0; j < a->n_values; j++)
            if (strcmp(a->value[j], r->word[i]) == 0)
                return ERR(E_CONFIG, "%s is there twice; take one out", r->word[i]);
        if (strlen(r->word[i]) >= sizeof((struct setting *)0)->value)
            return ERR(E_CONFIG, "a value of %zu bytes is too long", strlen(r->word[i]));
        a->value[a->n_values++] = r->word[i];
        TRY(try_value(a, a->n_values - 1));
    }
    return OK;
}

static int read_axis(struct row *r, char *text)
{
    TRY(split_words(r, text));
    TRY(find_key(r, r->word[0]));
    TRY(split_condition(r));
    const char *kind = r->n_words > 1 ? r->word[1] : "";
    if (strcmp(kind, "uniform") == 0 || strcmp(kind, "log") == 0)
        return read_range(r, false, *kind == 'l');
    if (strcmp(kind, "int") == 0)
        return read_range(r, true, false);
    if (strcmp(kind, "choice") == 0)
        return read_choice(r);
    return ERR(E_CONFIG, "behind the key comes uniform, log, int or choice%s%.20s",
               *kind != '\0' ? ", not " : "", kind);
}

static int read_rows(struct row *row, int *n, char *text)
{
    for (char *at = text, *end; *at != '\0'; at = end) {
        end = row_end(at);
        if (*end != '\0')
            *end++ = '\0';
        at += strspn(at, " \t\r");
        if (*at == '\0')
            continue;
        if (*n == SPACE_MAX_AXES)
            return ERR(E_CONFIG, "search.space has more than %d rows", SPACE_MAX_AXES);
        struct row *r = &row[(*n)++];
        r->number = *n;
        r->axis.parent = -1;
        snprintf(r->text, sizeof r->text, "%s", at);
        int rc = read_axis(r, at);
        if (rc != OK)
            return in_row(r, rc);
    }
    if (*n == 0)
        return ERR(E_CONFIG, "search.space is empty: there is nothing to search; give a row for "
                             "each key, such as \"optimizer.lr log 1e-4 1e-1\"");
    return OK;
}

static int check_double(const struct row *row, int n)
{
    for (int i = 0; i < n; i++)
        for (int j = 0; j < i; j++)
            if (row[i].axis.key->offset == row[j].axis.key->offset)
                return in_row(&row[i],
                              ERR(E_CONFIG, "row %d has %s already; take one of the two out",
                                  row[j].number, row[j].axis.key->name));
    return OK;
}

/* Whether the axis can have the value, which is `len` bytes of text, in this very form. */
static bool has_value(const struct axis *a, const char *text, size_t len)
{
    char word[128], number[128];
    double v;
    snprintf(word, sizeof word, "%.*s", (int)len, text);
    for (int i = 0; i < a->n_values; i++)
        if (strcmp(a->value[i], word) == 0)
            return true;
    return a->whole && parse_f64(word, &v) && v == floor(v) && v >= a->low && v <= a->high &&
           strcmp(axis_text(a, v, number, sizeof number), word) == 0;
}

/* Finds the row that a condition names and sees whether it can hold. */
static int find_parent(struct row *row, int n, struct row *r)
{
    int p = 0;
    while (p < n && strcmp(row[p].axis.key->name, r->if_key) != 0)
        p++;
    if (p == n)
        return ERR(E_CONFIG,
                   "its condition asks for %.64s, which no row has; add one, or take the "
                   "condition out",
                   r->if_key);
    const struct axis *a = &row[p].axis;
    if (!a->choice && !a->whole)
        return ERR(E_CONFIG,
                   "its condition asks for one value of %s, which is never exactly met; "
                   "only `choice` and `int` can be asked for",
                   r->if_key);
    for (const char *at = r->if_value; *at != '\0';) {
        size_t len = strcspn(at, "|");
        if (!has_value(a, at, len))
            return ERR(E_CONFIG, "it never applies: row %d gives %s no value %.*s", row[p].number,
                       r->if_key, (int)len, at);
        at += len + (at[len] == '|');
    }
    r->axis.parent = p;
    r->axis.wanted = r->if_value;
    return OK;
}

/* Copies axes so that each comes behind the one it depends on. */
static int place_axes(struct space *s, struct row *row, int n)
{
    int place[SPACE_MAX_AXES];
    memset(place, -1, sizeof place);
    while (s->n < n) {
        int i = 0;
        while (i < n &&
               (place[i] >= 0 || (row[i].axis.parent >= 0 && place[row[i].axis.parent] < 0)))
            i++;
        if (i == n)
            break;
        place[i] = s->n;
        s->axis[s->n] = row[i].axis;
        if (row[i].axis.parent >= 0)
            s->axis[s->n].parent = place[row[i].axis.parent];
        s->n++;
    }
    for (int i = 0; i < n; i++)
        if (place[i] < 0)
            return in_row(&row[i], ERR(E_CONFIG,
                                       "its condition hangs on itself, by way of row %d; "
                                       "take one of the conditions out",
                                       row[row[i].axis.parent].number));
    return OK;
}

static int parse_rows(struct space *s, struct row *row)
{
    int n = 0;
    TRY(read_rows(row, &n, s->text));
    TRY(check_double(row, n));
    for (int i = 0; i < n; i++)
        if (row[i].if_key != NULL) {
            int rc = find_parent(row, n, &row[i]);
            if (rc != OK)
                return in_row(&row[i], rc);
        }
    return place_axes(s, row, n);
}

int space_parse(struct space *s, const char *text)
{
    struct row *row = NULL;
    size_t n = strlen(text) + 1;
    memset(s, 0, sizeof *s);
    int rc;
    TRY_OUT(mem_alloc(&s->text, n, 1, "a search space's text"));
    memcpy(s->text, text, n);
    TRY_OUT(mem_alloc(&row, SPACE_MAX_AXES, sizeof *row, "a search space's rows"));
    rc = parse_rows(s, row);
out:
    mem_free(row);
    if (rc != OK)
        space_release(s);
    return rc;
}
