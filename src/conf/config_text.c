/* A whole configuration as text, and what differs between two. */
#include "base/err.h"
#include "base/mem.h"
#include "conf/config_file.h"
#include "conf/value.h"

#include <ctype.h>
#include <string.h>

enum { COMMENT_COLUMN = 44 };

/* Whether YAML takes the text for itself without quotes. */
static bool is_word(const char *text)
{
    if ((!isalpha((unsigned char)text[0]) && text[0] != '/') || strcasecmp(text, "null") == 0)
        return false;
    for (const char *s = text; *s != '\0'; s++)
        if (!isalnum((unsigned char)*s) && strchr("_-./", *s) == NULL)
            return false;
    return true;
}

static void add_line(struct str *out, const struct conf_key *k, const char *value,
                     const char *origin)
{
    size_t start = out->len;
    str_addf(out, "%s: ", k->name);
    if (k->kind == CONF_TEXT && !is_word(value))
        yaml_quote(out, value);
    else
        str_add(out, value);
    if (origin != NULL) {
        size_t width = out->len - start;
        str_addf(out, "%*s # %s", width < COMMENT_COLUMN ? (int)(COMMENT_COLUMN - width) : 0, "",
                 origin);
    }
    str_add(out, "\n");
}

int conf_text(const struct config *c, const struct conf_origins *o, char **text)
{
    struct str out = {0};
    char value[CONF_VALUE_MAX];
    str_add(&out, "");
    for (int i = 0; i < CONF_N_KEYS; i++) {
        const struct conf_key *k = &CONF_KEYS[i];
        conf_value_text(k, c, value, sizeof value);
        /* Of the keys that share a member only the one that was used is there. */
        if (k->kind == CONF_AMOUNT && *value == '\0')
            continue;
        add_line(&out, k, value, o != NULL ? o->text[i] : NULL);
    }
    int rc = mem_alloc(text, out.len + 1, 1, "configuration text");
    if (rc == OK && out.s != NULL)
        memcpy(*text, out.s, out.len + 1);
    str_release(&out);
    return rc;
}

void conf_diff(const struct config *before, const struct config *now,
               void (*visit)(void *ctx, const struct conf_key *k, const char *before_text,
                             const char *now_text),
               void *ctx)
{
    char a[CONF_VALUE_MAX], b[CONF_VALUE_MAX];
    for (int i = 0; i < CONF_N_KEYS; i++) {
        conf_value_text(&CONF_KEYS[i], before, a, sizeof a);
        conf_value_text(&CONF_KEYS[i], now, b, sizeof b);
        if (strcmp(a, b) != 0)
            visit(ctx, &CONF_KEYS[i], a, b);
    }
}

void conf_print_keys(FILE *f)
{
    for (int i = 0; i < CONF_N_KEYS; i++) {
        const struct conf_key *k = &CONF_KEYS[i];
        fprintf(f, "%-24s %-8s %s", k->name, *k->def != '\0' ? k->def : "-", k->help);
        if (k->kind == CONF_CHOICE)
            fprintf(f, " [%s]", k->choices);
        else if (*k->unit != '\0')
            fprintf(f, " [%s]", k->unit);
        putc('\n', f);
    }
}
