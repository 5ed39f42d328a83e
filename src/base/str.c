#include "base/str.h"

#include "base/err.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void str_reserve(struct str *b, size_t extra)
{
    if (extra < b->cap - b->len)
        return;
    size_t cap = b->cap < 64 ? 64 : b->cap;
    while (extra >= cap - b->len) {
        if (cap > SIZE_MAX / 2)
            fatal(E_MEM, "a text of %zu + %zu bytes is too long", b->len, extra);
        cap *= 2;
    }
    char *s = realloc(b->s, cap);
    if (s == NULL)
        fatal(E_MEM, "no memory for a text of %zu bytes", cap);
    b->s = s;
    b->cap = cap;
}

void str_addn(struct str *b, const char *text, size_t n)
{
    str_reserve(b, n);
    if (n > 0)
        memcpy(b->s + b->len, text, n);
    b->len += n;
    b->s[b->len] = '\0';
}

void str_add(struct str *b, const char *text)
{
    str_addn(b, text, strlen(text));
}

void str_addv(struct str *b, const char *fmt, va_list ap)
{
    va_list again;
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    if (n < 0)
        fatal(E_BUG, "bad text format \"%s\"", fmt);
    str_reserve(b, (size_t)n);
    vsnprintf(b->s + b->len, (size_t)n + 1, fmt, again);
    b->len += (size_t)n;
    va_end(again);
}

void str_addf(struct str *b, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    str_addv(b, fmt, ap);
    va_end(ap);
}

static bool is_formula(const char *text)
{
    double v;
    return *text != '\0' && strchr("=+-@\t\r", *text) != NULL && !parse_f64(text, &v);
}

void str_add_csv(struct str *b, const char *text)
{
    const char *guard = is_formula(text) ? "'" : "";
    if (text[strcspn(text, ",\"\r\n")] == '\0') {
        str_addf(b, "%s%s", guard, text);
        return;
    }
    str_addf(b, "\"%s", guard);
    for (; *text != '\0'; text++)
        str_addn(b, *text == '"' ? "\"\"" : text, *text == '"' ? 2 : 1);
    str_add(b, "\"");
}

void str_release(struct str *b)
{
    free(b->s);
    *b = (struct str){0};
}

bool str_ends(const char *s, const char *suffix)
{
    size_t n = strlen(s), k = strlen(suffix);
    return k <= n && memcmp(s + n - k, suffix, k) == 0;
}

bool parse_i64(const char *s, int64_t *out)
{
    const char *digits = s + (*s == '-' || *s == '+');
    if (!isdigit((unsigned char)*digits))
        return false;
    char *end;
    errno = 0;
    long long v = strtoll(s, &end, 10);
    if (*end != '\0' || errno == ERANGE)
        return false;
    *out = v;
    return true;
}

/* A finite decimal number at the start of s (no blanks, no hexadecimal); *end is behind it. */
static bool scan_f64(const char *s, double *out, const char **end)
{
    const char *digits = s + (*s == '-' || *s == '+');
    if (!isdigit((unsigned char)digits[0]) &&
        !(digits[0] == '.' && isdigit((unsigned char)digits[1])))
        return false;
    if (digits[0] == '0' && (digits[1] == 'x' || digits[1] == 'X'))
        return false;
    char *stop;
    double v = strtod(s, &stop);
    if (!isfinite(v))
        return false;
    *out = v;
    *end = stop;
    return true;
}

bool parse_f64(const char *s, double *out)
{
    const char *end;
    double v;
    if (!scan_f64(s, &v, &end) || *end != '\0')
        return false;
    *out = v;
    return true;
}

/* What a suffix multiplies by; 0 when it is none. */
static double si_factor(const char *suffix)
{
    static const struct {
        const char *name;
        double factor;
    } rows[] = {{"", 1},        {"k", 1e3},      {"K", 1e3},      {"M", 1e6},      {"G", 1e9},
                {"B", 1e9},     {"T", 1e12},     {"kB", 1e3},     {"KB", 1e3},     {"MB", 1e6},
                {"GB", 1e9},    {"TB", 1e12},    {"Ki", 0x1p10},  {"Mi", 0x1p20},  {"Gi", 0x1p30},
                {"Ti", 0x1p40}, {"KiB", 0x1p10}, {"MiB", 0x1p20}, {"GiB", 0x1p30}, {"TiB", 0x1p40}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (strcmp(suffix, rows[i].name) == 0)
            return rows[i].factor;
    return 0;
}

bool parse_si(const char *s, double *out)
{
    const char *end;
    double v;
    if (!scan_f64(s, &v, &end))
        return false;
    if (end[0] == ' ' && end[1] != '\0')
        end++;
    double factor = si_factor(end);
    if (factor == 0 || !isfinite(v * factor))
        return false;
    *out = v * factor;
    return true;
}

/* "[days-]hours[:minutes[:seconds]]", or without days "minutes:seconds" and
 * "hours:minutes:seconds".
 */
static bool parse_clock(const char *s, double *out)
{
    double days = 0, part[3] = {0};
    const char *dash = strchr(s, '-');
    int n = 0;
    if (dash != NULL) {
        char *end;
        if (!isdigit((unsigned char)*s))
            return false;
        days = (double)strtoull(s, &end, 10);
        if (end != dash)
            return false;
        s = dash + 1;
    }
    for (;; s++) {
        char *end;
        if (n == 3 || !isdigit((unsigned char)*s))
            return false;
        part[n++] = (double)strtoull(s, &end, 10);
        s = end;
        if (*s == '\0')
            break;
        if (*s != ':')
            return false;
    }
    double h = part[0], m = part[1], sec = part[2];
    if (dash == NULL && n == 2) {
        sec = m;
        m = h;
        h = 0;
    }
    if (sec >= 60 || (n > 1 && h > 0 && m >= 60) || (dash != NULL && h >= 24))
        return false;
    *out = ((days * 24 + h) * 60 + m) * 60 + sec;
    return true;
}

static double unit_s(char c)
{
    switch (c) {
    case 'd':
        return 86400;
    case 'h':
        return 3600;
    case 'm':
        return 60;
    case 's':
        return 1;
    default:
        return 0;
    }
}

bool parse_duration_s(const char *s, double *out)
{
    if (strchr(s, ':') != NULL ||
        (isdigit((unsigned char)*s) && strchr(s + 1, '-') != NULL && strpbrk(s, "eE") == NULL))
        return parse_clock(s, out);
    double sum = 0, last = INFINITY, v;
    const char *end;
    if (parse_f64(s, &v)) {
        *out = v;
        return v >= 0;
    }
    /* Numbers with units, the larger unit first: "1h 02m". */
    do {
        if (*s == '-' || !scan_f64(s, &v, &end))
            return false;
        double unit = unit_s(*end);
        if (unit == 0 || unit >= last)
            return false;
        sum += v * unit;
        last = unit;
        s = end + 1;
        if (s[0] == ' ' && s[1] != '\0')
            s++;
    } while (*s != '\0');
    *out = sum;
    return isfinite(sum);
}

char *fmt_si(char *buf, size_t n, double v)
{
    static const char suffix[] = "kMGTPE";
    double a = fabs(v);
    if (!(a >= 999.5) || !isfinite(v)) {
        snprintf(buf, n, "%.3g", v);
        return buf;
    }
    int k = 0;
    a /= 1000;
    v /= 1000;
    for (; a >= 999.5 && k < 5; k++) {
        a /= 1000;
        v /= 1000;
    }
    if (a >= 999.5)
        snprintf(buf, n, "%.3g%c", v, suffix[k]);
    else
        snprintf(buf, n, "%.*f%c", a < 9.995 ? 2 : a < 99.95 ? 1 : 0, v, suffix[k]);
    return buf;
}

char *fmt_bytes(char *buf, size_t n, double bytes)
{
    static const char *const unit[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    int k = 0;
    while (k < 6 && fabs(bytes) >= (k == 0 ? 1023.5 : 1023.95)) {
        bytes /= 1024;
        k++;
    }
    snprintf(buf, n, "%.*f %s", k == 0 ? 0 : 1, bytes, unit[k]);
    return buf;
}

char *fmt_duration(char *buf, size_t n, double s)
{
    if (!(fabs(s) < 1e15)) {
        snprintf(buf, n, "?");
        return buf;
    }
    const char *sign = s < 0 ? "-" : "";
    s = fabs(s);
    int64_t seconds = llround(s), minutes = llround(s / 60), hours = llround(s / 3600);
    if (s < 59.95)
        snprintf(buf, n, "%s%.1fs", sign, s);
    else if (seconds < 3600)
        snprintf(buf, n, "%s%dm %02ds", sign, (int)(seconds / 60), (int)(seconds % 60));
    else if (minutes < 24 * 60)
        snprintf(buf, n, "%s%dh %02dm", sign, (int)(minutes / 60), (int)(minutes % 60));
    else
        snprintf(buf, n, "%s%lldd %02dh", sign, (long long)(hours / 24), (int)(hours % 24));
    return buf;
}

enum { WORD_MAX = 64 };

static size_t min_of(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Edits (insert, delete, change, swap of neighbours) from a to b; both below WORD_MAX. */
static size_t edit_distance(const char *a, size_t n_a, const char *b, size_t n_b)
{
    size_t rows[3][WORD_MAX];
    size_t *before = rows[0], *above = rows[1], *row = rows[2];
    for (size_t j = 0; j <= n_b; j++)
        above[j] = j;
    for (size_t i = 1; i <= n_a; i++) {
        row[0] = i;
        for (size_t j = 1; j <= n_b; j++) {
            row[j] = above[j - 1] + (a[i - 1] != b[j - 1]);
            row[j] = min_of(row[j], min_of(above[j], row[j - 1]) + 1);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                row[j] = min_of(row[j], before[j - 2] + 1);
        }
        size_t *oldest = before;
        before = above;
        above = row;
        row = oldest;
    }
    return above[n_b];
}

const char *str_nearest(const char *word, const char *const *candidates, size_t n)
{
    size_t len = strlen(word);
    if (len >= WORD_MAX)
        return NULL;
    const char *best = NULL;
    size_t least = (len < 6 ? 1 : len / 3) + 1; /* a suggestion must be nearer than this */
    if (len < 2)
        return NULL;
    for (size_t i = 0; i < n; i++) {
        size_t n_b = strlen(candidates[i]), apart = len > n_b ? len - n_b : n_b - len;
        if (n_b >= WORD_MAX || apart >= least) /* the distance is no less */
            continue;
        size_t d = edit_distance(word, len, candidates[i], n_b);
        if (d < least) {
            least = d;
            best = candidates[i];
        }
    }
    return best;
}
