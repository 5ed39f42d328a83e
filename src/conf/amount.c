#include "conf/amount.h"

#include "base/str.h"
#include "conf/value.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { NUMBER_MAX = 64 };
static const double LARGEST = 9007199254740992.0; /* 2^53: above it counts would not be exact */

static const struct {
    const char *name;
    enum unit unit;
} unit_names[] = {
    /* A name that ends in another one stands before it; the first of a unit is what is printed. */
    {"steps", UNIT_STEPS},    {"step", UNIT_STEPS},        {"tokens", UNIT_TOKENS},
    {"token", UNIT_TOKENS},   {"tok", UNIT_TOKENS},        {"samples", UNIT_SAMPLES},
    {"sample", UNIT_SAMPLES}, {"sequences", UNIT_SAMPLES}, {"sequence", UNIT_SAMPLES},
    {"seq", UNIT_SAMPLES},    {"epochs", UNIT_EPOCHS},     {"epoch", UNIT_EPOCHS},
    {"%", UNIT_PERCENT},      {"percent", UNIT_PERCENT},
};

const char *unit_name(enum unit u)
{
    for (size_t i = 0; i < sizeof unit_names / sizeof unit_names[0]; i++)
        if (unit_names[i].unit == u)
            return unit_names[i].name;
    return "";
}

static bool is_whole(enum unit u)
{
    return u == UNIT_STEPS || u == UNIT_TOKENS || u == UNIT_SAMPLES;
}

/* Takes the unit's name off the end of text[*n]; `natural` when there is none. */
static enum unit cut_unit(const char *text, size_t *n, enum unit natural)
{
    for (size_t i = 0; i < sizeof unit_names / sizeof unit_names[0]; i++) {
        size_t k = strlen(unit_names[i].name);
        if (k < *n && memcmp(text + *n - k, unit_names[i].name, k) == 0) {
            *n -= k;
            while (*n > 0 && text[*n - 1] == ' ')
                --*n;
            return unit_names[i].unit;
        }
    }
    return natural;
}

bool amount_parse(const char *text, enum unit natural, struct amount *out)
{
    char number[NUMBER_MAX];
    size_t n = strlen(text);
    struct amount a = {.unit = cut_unit(text, &n, natural)};
    if (n >= sizeof number)
        return false;
    memcpy(number, text, n);
    number[n] = '\0';
    if (!parse_si(number, &a.value) || a.value < 0 || a.value > LARGEST)
        return false;
    if (is_whole(a.unit) && a.value != floor(a.value))
        return false;
    *out = a;
    return true;
}

char *amount_text(const struct amount *a, char *buf, size_t n)
{
    char number[NUMBER_MAX];
    if (a->unit == UNIT_NONE) {
        buf[0] = '\0';
        return buf;
    }
    snprintf(buf, n, "%s%s%s", f64_text(a->value, number, sizeof number),
             a->unit == UNIT_PERCENT ? "" : " ", unit_name(a->unit));
    return buf;
}
