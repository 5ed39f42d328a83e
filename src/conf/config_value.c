/* One key's value, from text and to text. */
#include "base/err.h"
#include "base/str.h"
#include "base/utf8.h"
#include "conf/amount.h"
#include "conf/config_table.h"
#include "conf/value.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* Says what a key takes; the text it was given comes first. */
static int refuse(const struct conf_key *k, const char *text, const char *takes)
{
    const char *def = *k->def != '\0' ? k->def : "none";
    return ERR(E_CONFIG, "%s: \"%.80s\" is not %s (default: %s)", k->name, text, takes, def);
}

static int refuse_range(const struct conf_key *k, const char *text)
{
    char lo[40], hi[40];
    return ERR(E_CONFIG, "%s: %.80s is out of range: it may be from %s to %s%s%s", k->name, text,
               f64_text(k->min, lo, sizeof lo), f64_text(k->max, hi, sizeof hi),
               *k->unit != '\0' ? " " : "", k->unit);
}

static bool in_range(const struct conf_key *k, double v)
{
    return v >= k->min && v <= k->max;
}

static int set_int(const struct conf_key *k, int64_t *out, const char *text)
{
    int64_t v;
    double si;
    if (!parse_i64(text, &v)) {
        if (!parse_si(text, &si) || si != floor(si))
            return refuse(k, text, "a whole number");
        if (!in_range(k, si))
            return refuse_range(k, text);
        v = (int64_t)si;
    }
    if (!in_range(k, (double)v))
        return refuse_range(k, text);
    *out = v;
    return OK;
}

/* -0 is 0: printed with its sign it would be another text, and of a time none. */
static double unsigned_zero(double v)
{
    return v == 0 ? 0 : v;
}

static int set_f64(const struct conf_key *k, double *out, const char *text)
{
    double v;
    if (!parse_f64(text, &v))
        return refuse(k, text, "a number");
    if (!in_range(k, v))
        return refuse_range(k, text);
    *out = unsigned_zero(v);
    return OK;
}

static int set_duration(const struct conf_key *k, double *out, const char *text)
{
    double v;
    if (!parse_duration_s(text, &v))
        return refuse(k, text, "a time such as 4h, 30m, 90s or 1:30:00");
    if (!in_range(k, v))
        return refuse_range(k, text);
    *out = unsigned_zero(v);
    return OK;
}

static int set_string(const struct conf_key *k, char *out, const char *text)
{
    size_t n = strlen(text);
    if (n >= k->size)
        return ERR(E_CONFIG, "%s: a text of %zu bytes is too long; at most %zu fit", k->name, n,
                   k->size - 1);
    if (utf8_valid(text, n) != n)
        return ERR(E_CONFIG, "%s: the text is not valid UTF-8", k->name);
    /* The tail is cleared, so that equal settings are equal bytes. */
    memset(out + n, 0, k->size - n);
    memcpy(out, text, n + 1);
    return OK;
}

/* Whether word is one of "a|b|c". */
static bool is_choice(const char *choices, const char *word)
{
    size_t n = strlen(word);
    for (const char *at = choices; *at != '\0';) {
        size_t len = strcspn(at, "|");
        if (len == n && memcmp(at, word, n) == 0)
            return true;
        at += len + (at[len] == '|');
    }
    return false;
}

static int set_choice(const struct conf_key *k, char *out, const char *text)
{
    char takes[128];
    if (!is_choice(k->choices, text)) {
        snprintf(takes, sizeof takes, "one of %s", k->choices);
        return refuse(k, text, takes);
    }
    return set_string(k, out, text);
}

/* The unit of a plain number: the first of the key's. */
static enum unit natural_unit(const struct conf_key *k)
{
    for (enum unit u = UNIT_STEPS; u <= UNIT_PERCENT; u++) {
        size_t n = strlen(unit_name(u));
        if (strncmp(k->choices, unit_name(u), n) == 0)
            return u;
    }
    return UNIT_NONE;
}

static int set_amount(const struct conf_key *k, struct amount *out, const char *text)
{
    char takes[128];
    struct amount a;
    bool parsed = amount_parse(text, natural_unit(k), &a);
    if (!parsed && text[strspn(text, " ")] == '-')
        return ERR(E_CONFIG, "%s: %.80s is below 0; give %g or more, in %s", k->name, text, k->min,
                   k->choices);
    if (!parsed || !is_choice(k->choices, unit_name(a.unit))) {
        snprintf(takes, sizeof takes, "an amount in %s", k->choices);
        return refuse(k, text, takes);
    }
    if (!in_range(k, a.value) || (a.unit == UNIT_PERCENT && a.value > 100))
        return refuse_range(k, text);
    a.value = unsigned_zero(a.value);
    *out = a;
    return OK;
}

int conf_set_text(const struct conf_key *k, struct config *c, const char *text)
{
    void *member = conf_member(k, c);
    switch (k->kind) {
    case CONF_INT:
        return set_int(k, member, text);
    case CONF_F64:
        return set_f64(k, member, text);
    case CONF_TEXT:
        return set_string(k, member, text);
    case CONF_CHOICE:
        return set_choice(k, member, text);
    case CONF_AMOUNT:
        return set_amount(k, member, text);
    case CONF_DURATION:
        return set_duration(k, member, text);
    }
    return ERR(E_BUG, "%s: the key has no kind", k->name);
}

/* A key that shares its member shows the amount only when the unit is one of its own. */
static char *amount_of(const struct conf_key *k, const struct amount *a, char *buf, size_t n)
{
    struct amount none = {0};
    return amount_text(is_choice(k->choices, unit_name(a->unit)) ? a : &none, buf, n);
}

char *conf_value_text(const struct conf_key *k, const struct config *c, char *buf, size_t n)
{
    const void *member = (const char *)c + k->offset;
    char number[40];
    switch (k->kind) {
    case CONF_INT:
        snprintf(buf, n, "%" PRId64, *(const int64_t *)member);
        return buf;
    case CONF_F64:
        return f64_text(*(const double *)member, buf, n);
    case CONF_TEXT:
    case CONF_CHOICE:
        snprintf(buf, n, "%s", (const char *)member);
        return buf;
    case CONF_AMOUNT:
        return amount_of(k, member, buf, n);
    case CONF_DURATION:
        snprintf(buf, n, "%ss", f64_text(*(const double *)member, number, sizeof number));
        return buf;
    }
    buf[0] = '\0';
    return buf;
}
