#include "cmd/opts.h"

#include "base/err.h"
#include "base/plain.h"
#include "base/str.h"

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

enum { HELP_WIDTH = 80, LEFT_MAX = 26, NAMES_MAX = 64 };

static const struct opt *find_long(const struct opt *table, int n, const char *name, size_t len)
{
    for (int i = 0; i < n; i++)
        if (strlen(table[i].name) == len && memcmp(table[i].name, name, len) == 0)
            return &table[i];
    return NULL;
}

static const struct opt *find_letter(const struct opt *table, int n, char letter)
{
    for (int i = 0; i < n; i++)
        if (table[i].letter != 0 && table[i].letter == letter)
            return &table[i];
    return NULL;
}

static int unknown(const struct opt *table, int n, const char *arg, const char *command)
{
    char name[64];
    const char *names[NAMES_MAX];
    int k = 0;
    snprintf(name, sizeof name, "%.*s", (int)strcspn(arg, "="), arg);
    if (strncmp(name, "--", 2) == 0 && strchr(name, '.') != NULL)
        return ERR(E_USAGE, "%s: no such option; settings are written without dashes: %s=VALUE",
                   name, name + 2);
    for (; k < n && k < NAMES_MAX; k++)
        names[k] = table[k].name;
    const char *near = name[1] == '-' ? str_nearest(name + 2, names, (size_t)k) : NULL;
    if (near != NULL)
        return ERR(E_USAGE, "%s: no such option; did you mean --%s?", name, near);
    return ERR(E_USAGE, "%s: no such option; `carat %s --help` lists them", name, command);
}

static int store_int(const struct opt *o, const char *text)
{
    int64_t v;
    double si;
    if (!parse_i64(text, &v)) {
        if (!parse_si(text, &si) || si != floor(si) || fabs(si) > 0x1p62)
            return ERR(E_USAGE, "--%s takes a whole number, not \"%s\"", o->name, text);
        v = (int64_t)si;
    }
    *(int64_t *)o->out = v;
    return OK;
}

static int store(const struct opt *o, const char *text)
{
    switch (o->kind) {
    case OPT_FLAG:
        *(bool *)o->out = true;
        return OK;
    case OPT_STR:
    case OPT_FLAG_STR:
        *(const char **)o->out = text;
        return OK;
    case OPT_INT:
        return store_int(o, text);
    case OPT_F64:
        if (!parse_si(text, o->out))
            return ERR(E_USAGE, "--%s takes a number, not \"%s\"", o->name, text);
        return OK;
    }
    return ERR(E_BUG, "option --%s has no kind", o->name);
}

/* Takes the option at argv[*i] and, when it stands apart, its value; *i moves behind both. */
static int take(const struct opt *table, int n, int argc, char **argv, int *i)
{
    const char *arg = argv[(*i)++], *value = NULL;
    const struct opt *o;
    if (arg[1] == '-') {
        size_t len = strcspn(arg + 2, "=");
        o = find_long(table, n, arg + 2, len);
        value = arg[2 + len] == '=' ? arg + 2 + len + 1 : NULL;
    } else {
        o = find_letter(table, n, arg[1]);
        value = arg[2] != '\0' ? arg + 2 : NULL;
    }
    if (o == NULL || (o->kind == OPT_FLAG && arg[1] != '-' && value != NULL))
        return unknown(table, n, arg, argv[0]);
    if (o->kind == OPT_FLAG) {
        if (value != NULL)
            return ERR(E_USAGE, "--%s takes no value", o->name);
        return store(o, NULL);
    }
    if (value == NULL && o->kind == OPT_FLAG_STR)
        return store(o, "");
    if (value == NULL) {
        if (*i >= argc)
            return ERR(E_USAGE, "--%s needs a value: --%s %s", o->name, o->name, o->arg);
        value = argv[(*i)++];
    }
    return store(o, value);
}

int opts_parse(const struct opt *table, int n, int *argc, char **argv)
{
    int kept = 1, i = 1;
    while (i < *argc) {
        char *arg = argv[i];
        if (arg[0] != '-' || arg[1] == '\0') {
            argv[kept++] = arg;
            i++;
            continue;
        }
        if (strcmp(arg, "--") == 0) {
            for (i++; i < *argc; i++)
                argv[kept++] = argv[i];
            break;
        }
        TRY(take(table, n, *argc, argv, &i));
    }
    if (*argc > 0) {
        argv[kept] = NULL;
        *argc = kept;
    }
    return OK;
}

/* Columns that n bytes of UTF-8 take. */
static int columns(const char *s, size_t n)
{
    int k = 0;
    for (size_t i = 0; i < n; i++)
        k += ((unsigned char)s[i] & 0xc0) != 0x80;
    return k;
}

void text_wrap(FILE *f, const char *text, int at, int indent)
{
    bool fresh = true;
    while (*text != '\0') {
        size_t n = strcspn(text, " \n");
        int width = columns(text, n);
        if (!fresh && at + 1 + width > HELP_WIDTH) {
            fprintf(f, "\n%*s", indent, "");
            at = indent;
            fresh = true;
        }
        if (!fresh)
            putc(' ', f);
        plain_print(f, "%.*s", (int)n, text);
        at += width + !fresh;
        fresh = false;
        text += n;
        if (*text == '\n') {
            fprintf(f, "\n%*s", text[1] == '\n' ? 0 : indent, "");
            at = indent;
            fresh = true;
        }
        text += *text != '\0';
    }
    putc('\n', f);
}

/* "-o, --output FILE" into buf; its columns. */
static int left_of(const struct opt *o, char *buf, size_t n)
{
    char letter[8] = "    ";
    if (o->letter != 0)
        snprintf(letter, sizeof letter, "-%c, ", o->letter);
    if (o->kind == OPT_FLAG_STR)
        snprintf(buf, n, "%s--%s[=%s]", letter, o->name, o->arg);
    else
        snprintf(buf, n, "%s--%s%s%s", letter, o->name, o->arg ? " " : "", o->arg ? o->arg : "");
    return columns(buf, strlen(buf));
}

static void help_options(FILE *f, const struct opt *table, int n)
{
    char left[128];
    int room = 0;
    for (int i = 0; i < n; i++) {
        int width = left_of(&table[i], left, sizeof left);
        if (width > room && width <= LEFT_MAX)
            room = width;
    }
    for (int i = 0; i < n; i++) {
        int width = left_of(&table[i], left, sizeof left), indent = room + 4;
        fprintf(f, "  %s", left);
        if (width > room)
            fprintf(f, "\n%*s", indent, "");
        else
            fprintf(f, "%*s", room - width + 2, "");
        text_wrap(f, table[i].help, indent, indent);
    }
}

void opts_help(FILE *f, const char *usage, const char *what, const struct opt *table, int n,
               const char *example)
{
    fprintf(f, "usage: %s\n\n", usage);
    text_wrap(f, what, 0, 0);
    if (n > 0) {
        fprintf(f, "\noptions:\n");
        help_options(f, table, n);
    }
    fprintf(f, "\nexample:\n");
    for (const char *line = example; line != NULL && *line != '\0';) {
        size_t len = strcspn(line, "\n");
        fprintf(f, "  %.*s\n", (int)len, line);
        line += len + (line[len] == '\n');
    }
}
