#include "conf/config_file.h"

#include "base/err.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/utf8.h"
#include "conf/value.h"

#include <libfyaml.h>
#include <string.h>

enum { FILE_MAX_BYTES = 1 << 20, NAME_MAX_BYTES = 128 };
#define COMMAND_LINE "command line"

/* One file on its way into a configuration. */
struct source {
    struct config *c;
    struct conf_origins *o;
    const char *from;                /* as errors name it */
    int key_line[CONF_MAX_KEYS];     /* where the file set a key; 0: nowhere */
    int section_line[CONF_MAX_KEYS]; /* the same of a section, by its first key */
};

struct place {
    int line, column; /* from 1 */
};

static int index_of(const struct conf_key *k)
{
    return (int)(k - CONF_KEYS);
}

static bool same_member(const struct conf_key *a, const struct conf_key *b)
{
    return a->offset == b->offset;
}

static void set_origin(struct conf_origins *o, const struct conf_key *k, const char *from, int line)
{
    /* Keys of one member (the run's length) have one origin among them. */
    for (int i = 0; i < CONF_N_KEYS; i++)
        if (same_member(&CONF_KEYS[i], k))
            snprintf(o->text[i], sizeof o->text[i], "default");
    char *text = o->text[index_of(k)];
    size_t n = sizeof o->text[0];
    if (line == 0) {
        snprintf(text, n, "%s", from);
        return;
    }
    const char *slash = strrchr(from, '/'), *base = slash != NULL ? slash + 1 : from;
    snprintf(text, n, "%.48s:%d", base, line);
    for (char *s = text; *s != '\0'; s++)
        if ((unsigned char)*s < ' ')
            *s = '?'; /* it is printed inside a comment */
}

static int set_defaults(struct config *c, struct conf_origins *o)
{
    memset(c, 0, sizeof *c);
    memset(o, 0, sizeof *o);
    for (int i = 0; i < CONF_N_KEYS; i++) {
        const struct conf_key *k = &CONF_KEYS[i];
        snprintf(o->text[i], sizeof o->text[i], "default");
        if (k->kind == CONF_AMOUNT && *k->def == '\0')
            continue;
        if (conf_set_text(k, c, k->def) != OK)
            return err_context(E_BUG, "the default");
    }
    return OK;
}

/* The index of the first key in section `name`, or -1. */
static int find_section(const char *name)
{
    size_t n = strlen(name);
    for (int i = 0; i < CONF_N_KEYS; i++)
        if (strncmp(CONF_KEYS[i].name, name, n) == 0 && CONF_KEYS[i].name[n] == '.')
            return i;
    return -1;
}

/* The key whose last part is that of name, if there is exactly one: "lr" is optimizer.lr. */
static const char *find_by_last_part(const char *name)
{
    const char *dot = strrchr(name, '.'), *last = dot != NULL ? dot + 1 : name, *found = NULL;
    for (int i = 0; i < CONF_N_KEYS; i++) {
        const char *key = CONF_KEYS[i].name;
        if (strcmp(strrchr(key, '.') + 1, last) != 0)
            continue;
        if (found != NULL)
            return NULL;
        found = key;
    }
    return found;
}

const char *conf_nearest(const char *name)
{
    const char *names[CONF_MAX_KEYS];
    for (int i = 0; i < CONF_N_KEYS; i++)
        names[i] = CONF_KEYS[i].name;
    const char *near = str_nearest(name, names, (size_t)CONF_N_KEYS);
    return near != NULL ? near : find_by_last_part(name);
}

static int unknown_key(const char *name)
{
    const char *near = conf_nearest(name);
    if (near != NULL)
        return ERR(E_CONFIG, "%.80s: no such key; did you mean %s?", name, near);
    return ERR(E_CONFIG, "%.80s: no such key; `carat help keys` lists them", name);
}

static struct place place_of(struct fy_node *n, struct place otherwise)
{
    struct fy_token *t = n != NULL ? fy_node_get_scalar_token(n) : NULL;
    const struct fy_mark *m = t != NULL ? fy_token_start_mark(t) : NULL;
    if (m == NULL || m->line < 0)
        return otherwise;
    return (struct place){m->line + 1, m->column + 1};
}

static int at(const struct source *s, struct place p, int rc)
{
    return err_context(rc, "%s:%d:%d", s->from, p.line, p.column);
}

static bool is_null(struct fy_node *n)
{
    static const char *const nulls[] = {"", "~", "null", "Null", "NULL"};
    size_t len = 0;
    if (n == NULL)
        return true;
    const char *text = fy_node_get_scalar(n, &len);
    if (!fy_node_is_scalar(n) || fy_node_get_style(n) != FYNS_PLAIN)
        return false;
    for (size_t i = 0; i < sizeof nulls / sizeof nulls[0]; i++)
        if (strlen(nulls[i]) == len && (len == 0 || memcmp(text, nulls[i], len) == 0))
            return true;
    return false;
}

/* The text of a scalar as a C string, borrowed from the document. */
static int scalar_text(struct fy_node *n, const char **out)
{
    size_t len = 0;
    if (n == NULL || !fy_node_is_scalar(n))
        return ERR(E_CONFIG, "one value is expected here, not a %s",
                   n != NULL && fy_node_is_mapping(n) ? "map" : "list");
    if (fy_node_is_alias(n))
        return ERR(E_CONFIG, "aliases (*name) are not read; write the value");
    fy_node_get_scalar(n, &len);
    const char *text = fy_node_get_scalar0(n);
    if (text == NULL)
        text = "";
    if (strlen(text) != len)
        return ERR(E_CONFIG, "the text holds a NUL character");
    *out = text;
    return OK;
}

/* Refuses a key that this file has set before, under this name or one of the same member. */
static int check_unset(const struct source *s, const struct conf_key *k)
{
    for (int i = 0; i < CONF_N_KEYS; i++) {
        if (!same_member(&CONF_KEYS[i], k) || s->key_line[i] == 0)
            continue;
        if (&CONF_KEYS[i] == k)
            return ERR(E_CONFIG, "%s is set twice; first in line %d", k->name, s->key_line[i]);
        return ERR(E_CONFIG, "%s: only one of %s and %s may be set; the other is in line %d",
                   k->name, k->name, CONF_KEYS[i].name, s->key_line[i]);
    }
    return OK;
}

static int add_rows(const struct source *s, struct str *rows, struct fy_node *map,
                    const char *prefix);

/* A row: the key, in full, and its text. */
static int add_row(const struct source *s, struct str *rows, struct fy_node_pair *pair,
                   const char *prefix)
{
    struct fy_node *key = fy_node_pair_key(pair), *value = fy_node_pair_value(pair);
    struct place key_at = place_of(key, (struct place){1, 1});
    char name[NAME_MAX_BYTES];
    const char *last, *text;
    int rc = scalar_text(key, &last);
    if (rc != OK)
        return at(s, key_at, err_context(rc, "a key"));
    snprintf(name, sizeof name, "%s%s%s", prefix, *prefix != '\0' ? "." : "", last);
    if (conf_find(name) == NULL && find_section(name) >= 0 && value != NULL &&
        fy_node_is_mapping(value))
        return add_rows(s, rows, value, name);
    if (conf_find(name) == NULL)
        return at(s, key_at, unknown_key(name));
    rc = scalar_text(value, &text);
    if (rc != OK)
        return at(s, place_of(value, key_at), err_context(rc, "%s", name));
    str_addf(rows, "%s%s %s", rows->len > 0 ? "; " : "", name, text);
    return OK;
}

static int add_rows(const struct source *s, struct str *rows, struct fy_node *map,
                    const char *prefix)
{
    void *iterator = NULL;
    struct fy_node_pair *pair;
    while ((pair = fy_node_mapping_iterate(map, &iterator)) != NULL)
        TRY(add_row(s, rows, pair, prefix));
    return OK;
}

/* Sets a text of rows from a map. */
static int read_rows(struct source *s, const struct conf_key *k, struct fy_node *map,
                     struct place key_at)
{
    struct str rows = {0};
    str_add(&rows, "");
    int rc = add_rows(s, &rows, map, "");
    if (rc == OK) {
        rc = conf_set_text(k, s->c, rows.s);
        rc = rc != OK ? at(s, key_at, rc) : OK;
    }
    str_release(&rows);
    return rc;
}

static int set_from(struct source *s, const struct conf_key *k, struct fy_node *value,
                    struct place key_at)
{
    const char *text;
    struct place value_at = place_of(value, key_at);
    if (k->rows && fy_node_is_mapping(value))
        return read_rows(s, k, value, key_at);
    int rc = scalar_text(value, &text);
    if (rc != OK)
        return at(s, value_at, err_context(rc, "%s", k->name));
    rc = conf_set_text(k, s->c, text);
    return rc != OK ? at(s, value_at, rc) : OK;
}

static int read_key(struct source *s, const struct conf_key *k, struct fy_node *value,
                    struct place key_at)
{
    int rc = check_unset(s, k);
    if (rc != OK)
        return at(s, key_at, rc);
    if (is_null(value))
        return at(s, key_at,
                  ERR(E_CONFIG,
                      "%s has no value; take the line out for the default, or write \"\" "
                      "for an empty text",
                      k->name));
    TRY(set_from(s, k, value, key_at));
    s->key_line[index_of(k)] = key_at.line;
    set_origin(s->o, k, s->from, key_at.line);
    return OK;
}

static int read_map(struct source *s, struct fy_node *map, const char *prefix);

static int read_section(struct source *s, int section, const char *name, struct fy_node *value,
                        struct place key_at)
{
    if (s->section_line[section] != 0)
        return at(
            s, key_at,
            ERR(E_CONFIG, "%s is there twice; first in line %d", name, s->section_line[section]));
    s->section_line[section] = key_at.line;
    if (is_null(value))
        return OK; /* all its lines are comments */
    if (!fy_node_is_mapping(value))
        return at(s, place_of(value, key_at),
                  ERR(E_CONFIG, "%s holds keys (such as %s), it takes no value itself", name,
                      CONF_KEYS[section].name));
    return read_map(s, value, name);
}

static int read_pair(struct source *s, struct fy_node_pair *pair, const char *prefix)
{
    struct fy_node *key = fy_node_pair_key(pair), *value = fy_node_pair_value(pair);
    struct place key_at = place_of(key, (struct place){1, 1});
    char name[NAME_MAX_BYTES];
    const char *last;
    int rc = scalar_text(key, &last);
    if (rc != OK)
        return at(s, key_at, err_context(rc, "a key"));
    snprintf(name, sizeof name, "%s%s%s", prefix, *prefix != '\0' ? "." : "", last);
    const struct conf_key *k = conf_find(name);
    if (k != NULL)
        return read_key(s, k, value, key_at);
    int section = find_section(name);
    if (section >= 0)
        return read_section(s, section, name, value, key_at);
    return at(s, key_at, unknown_key(name));
}

static int read_map(struct source *s, struct fy_node *map, const char *prefix)
{
    void *iterator = NULL;
    struct fy_node_pair *pair;
    while ((pair = fy_node_mapping_iterate(map, &iterator)) != NULL)
        TRY(read_pair(s, pair, prefix));
    return OK;
}

/* What the YAML parser found wrong first. */
static int syntax_error(const struct source *s, struct fy_diag *diag)
{
    void *iterator = NULL;
    struct fy_diag_error *e = fy_diag_errors_iterate(diag, &iterator);
    if (e == NULL)
        return ERR(E_CONFIG, "%s: not valid YAML", s->from);
    return ERR(E_CONFIG, "%s:%d:%d: not valid YAML: %s", s->from, e->line, e->column, e->msg);
}

static int read_document(struct source *s, struct fy_parser *parser, struct fy_diag *diag)
{
    struct fy_document *doc = fy_parse_load_document(parser), *second = NULL;
    int rc = OK;
    if (doc == NULL)
        return fy_parser_get_stream_error(parser) ? syntax_error(s, diag) : OK;
    struct fy_node *root = fy_document_root(doc);
    if (root != NULL && fy_node_is_mapping(root))
        rc = read_map(s, root, "");
    else if (!is_null(root))
        rc = ERR(E_CONFIG, "%s: lines of the form \"key: value\" are expected", s->from);
    if (rc == OK)
        second = fy_parse_load_document(parser);
    if (second != NULL)
        rc = ERR(E_CONFIG, "%s: it holds more than one YAML document (a line \"---\")", s->from);
    else if (rc == OK && fy_parser_get_stream_error(parser))
        rc = syntax_error(s, diag);
    fy_parse_document_destroy(parser, second);
    fy_parse_document_destroy(parser, doc);
    return rc;
}

static int parse(struct source *s, const char *text, size_t n)
{
    struct fy_diag_cfg diag_cfg;
    fy_diag_cfg_default(&diag_cfg);
    diag_cfg.fp = NULL;
    struct fy_diag *diag = fy_diag_create(&diag_cfg);
    if (diag == NULL)
        return ERR(E_MEM, "%s: no memory for the YAML parser", s->from);
    fy_diag_set_collect_errors(diag, true);
    /* Twice the same key is found here, where both lines are known. */
    struct fy_parse_cfg cfg = {
        .flags = FYPCF_QUIET | FYPCF_ALLOW_DUPLICATE_KEYS | FYPCF_DISABLE_ACCELERATORS,
        .diag = diag,
    };
    struct fy_parser *parser = fy_parser_create(&cfg);
    int rc;
    if (parser == NULL || fy_parser_set_string(parser, text, n) != 0)
        rc = ERR(E_MEM, "%s: no memory for the YAML parser", s->from);
    else
        rc = read_document(s, parser, diag);
    if (parser != NULL)
        fy_parser_destroy(parser);
    fy_diag_destroy(diag);
    return rc;
}

static int read_text(struct config *c, struct conf_origins *o, const char *text, size_t n,
                     const char *from)
{
    struct source s = {.c = c, .o = o, .from = from};
    size_t valid = utf8_valid(text, strnlen(text, n)); /* nor is NUL text */
    if (n > FILE_MAX_BYTES)
        return ERR(E_CONFIG, "%s: a configuration of %zu bytes is too long", from, n);
    if (valid < n) {
        int line = 1;
        for (size_t i = 0; i < valid; i++)
            line += text[i] == '\n';
        return ERR(E_CONFIG, "%s:%d: byte 0x%02x is no UTF-8 text", from, line,
                   (unsigned char)text[valid]);
    }
    /* The parser takes an empty string for a missing one. */
    return n == 0 ? OK : parse(&s, text, n);
}

static int read_file(struct config *c, struct conf_origins *o, const char *file)
{
    char *text;
    size_t n;
    int rc = fs_read_file(file, FILE_MAX_BYTES, &text, &n);
    if (rc == E_IO)
        return err_context(E_DATA, "job file");
    TRY(rc);
    rc = read_text(c, o, text, n, file);
    mem_free(text);
    return rc;
}

/* Two different names for one member on the command line leave open which is meant. */
static int check_rival(const struct conf_origins *o, const struct conf_key *k)
{
    for (int i = 0; i < CONF_N_KEYS; i++)
        if (same_member(&CONF_KEYS[i], k) && &CONF_KEYS[i] != k &&
            strcmp(o->text[i], COMMAND_LINE) == 0)
            return ERR(E_CONFIG, "%s: only one of %s and %s may be set", k->name, CONF_KEYS[i].name,
                       k->name);
    return OK;
}

static int set_override(struct config *c, struct conf_origins *o, const char *pair)
{
    char name[NAME_MAX_BYTES];
    const char *equals = strchr(pair, '=');
    if (equals == NULL)
        return ERR(E_USAGE, "\"%.80s\": settings are written key=value", pair);
    snprintf(name, sizeof name, "%.*s", (int)(equals - pair), pair);
    const struct conf_key *k = conf_find(name);
    if (k == NULL)
        return unknown_key(name);
    TRY(check_rival(o, k));
    TRY(conf_set_text(k, c, equals + 1));
    set_origin(o, k, COMMAND_LINE, 0);
    return OK;
}

/* "runs/" and the job file's name without its folder and ending. */
static int default_run_dir(struct config *c, struct conf_origins *o, const char *file)
{
    const struct conf_key *k = conf_find("run.dir");
    char dir[CONF_STR];
    if (strcmp(o->text[index_of(k)], "default") != 0)
        return OK;
    const char *slash = strrchr(file, '/'), *base = slash != NULL ? slash + 1 : file;
    const char *dot = strrchr(base, '.');
    size_t n = dot != NULL && dot > base ? (size_t)(dot - base) : strlen(base);
    snprintf(dir, sizeof dir, "runs/%.*s", (int)n, base);
    return conf_set_text(k, c, dir);
}

int conf_override(struct config *c, struct conf_origins *o, char **overrides, int n)
{
    for (int i = 0; i < n; i++) {
        int rc = set_override(c, o, overrides[i]);
        if (rc != OK)
            return err_context(rc, COMMAND_LINE);
    }
    return OK;
}

int conf_load(struct config *c, struct conf_origins *o, const char *file, char **overrides, int n)
{
    TRY(set_defaults(c, o));
    if (file != NULL)
        TRY(read_file(c, o, file));
    TRY(conf_override(c, o, overrides, n));
    return file != NULL ? default_run_dir(c, o, file) : OK;
}

int conf_load_text(struct config *c, struct conf_origins *o, const char *text, const char *from)
{
    TRY(set_defaults(c, o));
    return read_text(c, o, text, strlen(text), from);
}
