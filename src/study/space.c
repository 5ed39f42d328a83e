/* Values of axes: places in [0, 1], scales, text. */
#include "study/space.h"

#include "base/err.h"
#include "base/mem.h"
#include "conf/value.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DIGITS = 8 };

static double clamp(double v, double low, double high)
{
    return v < low ? low : v > high ? high : v;
}

/* Whether word is one of "a|b|c". */
static bool is_among(const char *list, const char *word)
{
    size_t n = strlen(word);
    for (const char *at = list; *at != '\0';) {
        size_t len = strcspn(at, "|");
        if (len == n && memcmp(at, word, n) == 0)
            return true;
        at += len + (at[len] == '|');
    }
    return false;
}

bool space_applies(const struct space *s, int i, const double *point)
{
    char text[128];
    const struct axis *a = &s->axis[i];
    if (a->parent < 0)
        return true;
    double v = point[a->parent];
    return !isnan(v) && is_among(a->wanted, axis_text(&s->axis[a->parent], v, text, sizeof text));
}

void space_at(const struct space *s, const double *u, double *point)
{
    for (int i = 0; i < s->n; i++)
        point[i] = space_applies(s, i, point) ? axis_at(&s->axis[i], u[i]) : NAN;
}

double axis_scale(const struct axis *a, double value)
{
    return a->log ? log(value) : value;
}

void axis_ends(const struct axis *a, double *low, double *high)
{
    double half = a->whole ? 0.5 : 0;
    *low = axis_scale(a, a->low - half);
    *high = axis_scale(a, a->high + half);
}

/* To as many digits as a search needs and people like to read. */
static double round_digits(double v)
{
    char text[40];
    snprintf(text, sizeof text, "%.*g", DIGITS, v);
    return strtod(text, NULL);
}

double axis_unscale(const struct axis *a, double scaled)
{
    double v = a->log ? exp(scaled) : scaled;
    return clamp(a->whole ? nearbyint(v) : round_digits(v), a->low, a->high);
}

double axis_at(const struct axis *a, double u)
{
    double low, high;
    if (a->choice)
        return clamp(floor(u * a->n_values), 0, a->n_values - 1);
    axis_ends(a, &low, &high);
    return axis_unscale(a, low + u * (high - low));
}

double axis_place(const struct axis *a, double value)
{
    double low, high;
    if (a->choice)
        return (value + 0.5) / a->n_values;
    axis_ends(a, &low, &high);
    return clamp((axis_scale(a, value) - low) / (high - low), 0, 1);
}

char *axis_text(const struct axis *a, double value, char *buf, size_t n)
{
    char number[40];
    if (a->choice)
        snprintf(buf, n, "%s", a->value[(int)value]);
    else
        snprintf(buf, n, "%s%s", f64_text(value, number, sizeof number), a->unit);
    return buf;
}

static bool axis_read(const struct axis *a, const char *text, double *value)
{
    char *end;
    for (int i = 0; i < a->n_values; i++)
        if (strcmp(a->value[i], text) == 0) {
            *value = i;
            return true;
        }
    if (a->choice)
        return false;
    *value = strtod(text, &end);
    return end != text && strcmp(end, a->unit) == 0 && *value >= a->low && *value <= a->high;
}

bool space_read(const struct space *s, const struct trial_plan *plan, double *point)
{
    for (int i = 0; i < s->n; i++) {
        const char *text = trial_setting(plan, s->axis[i].key->name);
        point[i] = NAN;
        if (text != NULL && !axis_read(&s->axis[i], text, &point[i]))
            return false;
    }
    return true;
}

int plan_set(struct trial_plan *plan, const char *key, const char *value)
{
    struct setting *more;
    TRY(mem_alloc(&more, (size_t)plan->n_set + 1, sizeof *more, "a trial's settings"));
    if (plan->n_set > 0)
        memcpy(more, plan->set, (size_t)plan->n_set * sizeof *more);
    struct setting *last = &more[plan->n_set];
    snprintf(last->key, sizeof last->key, "%s", key);
    snprintf(last->value, sizeof last->value, "%s", value);
    mem_free(plan->set);
    plan->set = more;
    plan->n_set++;
    return OK;
}

int space_write(const struct space *s, const double *point, struct trial_plan *plan)
{
    char text[128];
    for (int i = 0; i < s->n; i++)
        if (!isnan(point[i]))
            TRY(plan_set(plan, s->axis[i].key->name,
                         axis_text(&s->axis[i], point[i], text, sizeof text)));
    return OK;
}

int space_find(const struct space *s, const char *key)
{
    for (int i = 0; i < s->n; i++)
        if (strcmp(s->axis[i].key->name, key) == 0)
            return i;
    return -1;
}

void space_release(struct space *s)
{
    mem_free(s->text);
    memset(s, 0, sizeof *s);
}
