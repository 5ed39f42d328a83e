#include "conf/config_edit.h"

#include "base/err.h"
#include "base/mem.h"
#include "conf/config_file.h"
#include "conf/value.h"

#include <libfyaml.h>
#include <string.h>

/* The part of a text that gives way to another. */
struct cut {
    size_t first, end; /* bytes; end = first: something is put in */
    struct str put;
};

/* Where a scalar stands, with its quotes. */
static bool scalar_range(struct fy_node *n, const char *text, size_t *first, size_t *end)
{
    struct fy_token *t = n != NULL && fy_node_is_scalar(n) ? fy_node_get_scalar_token(n) : NULL;
    const struct fy_mark *from = t != NULL ? fy_token_start_mark(t) : NULL;
    const struct fy_mark *to = t != NULL ? fy_token_end_mark(t) : NULL;
    if (from == NULL || to == NULL || to->input_pos > strlen(text))
        return false;
    *first = from->input_pos;
    *end = to->input_pos;
    enum fy_node_style style = fy_node_get_style(n);
    bool quoted = style == FYNS_SINGLE_QUOTED || style == FYNS_DOUBLE_QUOTED;
    /* Marks are within the quotes: of an empty text, between them. */
    if (quoted && (*end == *first || (text[*first] != '\'' && text[*first] != '"'))) {
        --*first;
        ++*end;
    }
    return true;
}

/* The pair that sets name below map: "lr", or under "optimizer" when it is "optimizer.lr". */
static struct fy_node_pair *find_pair(struct fy_node *map, const char *name)
{
    void *iterator = NULL;
    struct fy_node_pair *pair;
    while ((pair = fy_node_mapping_iterate(map, &iterator)) != NULL) {
        const char *key = fy_node_get_scalar0(fy_node_pair_key(pair));
        struct fy_node *value = fy_node_pair_value(pair);
        size_t n = key != NULL ? strlen(key) : 0;
        if (n == 0 || strncmp(name, key, n) != 0)
            continue;
        if (name[n] == '\0')
            return pair;
        if (name[n] == '.' && value != NULL && fy_node_is_mapping(value))
            return find_pair(value, name + n + 1);
    }
    return NULL;
}

/* The same under any of the names of k's member. */
static struct fy_node_pair *find_rival(struct fy_node *root, const struct conf_key *k)
{
    struct fy_node_pair *found = NULL;
    for (int i = 0; i < CONF_N_KEYS && found == NULL; i++)
        if (CONF_KEYS[i].offset == k->offset && &CONF_KEYS[i] != k)
            found = find_pair(root, CONF_KEYS[i].name);
    return found;
}

static void add_value(struct str *out, const struct conf_key *k, const char *value)
{
    if (k->kind == CONF_TEXT)
        yaml_quote(out, value);
    else
        str_add(out, value);
}

/* name: value, where name is the key's as a pair of this form has it: whole or its last part. */
static void add_pair(struct str *out, bool whole, const struct conf_key *k, const char *value)
{
    str_addf(out, "%s: ", whole ? k->name : strrchr(k->name, '.') + 1);
    add_value(out, k, value);
}

static bool cut_value(struct cut *c, struct fy_node_pair *pair, const char *text,
                      const struct conf_key *k, const char *value)
{
    add_value(&c->put, k, value);
    return scalar_range(fy_node_pair_value(pair), text, &c->first, &c->end);
}

static bool cut_rival(struct cut *c, struct fy_node_pair *pair, const char *text,
                      const struct conf_key *k, const char *value)
{
    size_t key_end, value_first;
    const char *key = fy_node_get_scalar0(fy_node_pair_key(pair));
    add_pair(&c->put, strchr(key, '.') != NULL, k, value);
    return scalar_range(fy_node_pair_key(pair), text, &c->first, &key_end) &&
           scalar_range(fy_node_pair_value(pair), text, &value_first, &c->end);
}

/* Before the first key of a map, which is not empty. */
static bool cut_before(struct cut *c, struct fy_node *map, const char *text, bool whole,
                       const struct conf_key *k, const char *value)
{
    struct fy_node *key = fy_node_pair_key(fy_node_mapping_get_by_index(map, 0));
    if (!scalar_range(key, text, &c->first, &c->end))
        return false;
    c->end = c->first;
    add_pair(&c->put, whole, k, value);
    if (fy_node_get_style(map) == FYNS_FLOW) {
        str_add(&c->put, ", ");
        return true;
    }
    int column = fy_token_start_mark(fy_node_get_scalar_token(key))->column;
    str_addf(&c->put, "\n%*s", column, "");
    return true;
}

static bool choose_cut(struct cut *c, struct fy_node *root, const char *text,
                       const struct conf_key *k, const char *value)
{
    char section[64];
    if (root == NULL || !fy_node_is_mapping(root) || fy_node_mapping_is_empty(root)) {
        c->first = c->end = strlen(text);
        add_pair(&c->put, true, k, value);
        str_add(&c->put, "\n");
        return true;
    }
    struct fy_node_pair *pair = find_pair(root, k->name), *rival = find_rival(root, k);
    if (pair != NULL || rival != NULL)
        return pair != NULL ? cut_value(c, pair, text, k, value)
                            : cut_rival(c, rival, text, k, value);
    snprintf(section, sizeof section, "%.*s", (int)(strrchr(k->name, '.') - k->name), k->name);
    pair = find_pair(root, section);
    struct fy_node *map = pair != NULL ? fy_node_pair_value(pair) : NULL;
    bool there = map != NULL && fy_node_is_mapping(map) && !fy_node_mapping_is_empty(map);
    return cut_before(c, there ? map : root, text, !there, k, value);
}

static void count_change(void *ctx, const struct conf_key *k, const char *before, const char *now)
{
    (void)k, (void)before, (void)now;
    ++*(int *)ctx;
}

/* Whether the edited text says what the first one did, but for the key. */
static int check_edit(const char *text, const char *edited, const char *from,
                      const struct conf_key *k, const char *value)
{
    struct config wanted, got;
    struct conf_origins origins;
    int changes = 0;
    TRY(conf_load_text(&wanted, &origins, text, from));
    TRY(conf_set_text(k, &wanted, value));
    int rc = conf_load_text(&got, &origins, edited, from);
    if (rc == OK)
        conf_diff(&wanted, &got, count_change, &changes);
    if (rc != OK || changes > 0)
        return ERR(E_CONFIG,
                   "%s: %s cannot be set in a text of this form; write it by hand: %s: %s", from,
                   k->name, k->name, value);
    return OK;
}

/* Fills in the cut; of a text that is no YAML, nothing: check_edit says so. Local. */
static void find_cut(struct cut *c, const char *text, const struct conf_key *k, const char *value)
{
    struct fy_diag_cfg silent;
    fy_diag_cfg_default(&silent);
    silent.fp = NULL;
    struct fy_diag *diag = fy_diag_create(&silent);
    struct fy_parse_cfg cfg = {.flags = FYPCF_QUIET | FYPCF_DISABLE_ACCELERATORS, .diag = diag};
    struct fy_document *doc = fy_document_build_from_string(&cfg, text, strlen(text));
    if (!choose_cut(c, doc != NULL ? fy_document_root(doc) : NULL, text, k, value))
        c->first = c->end = 0;
    fy_document_destroy(doc);
    fy_diag_destroy(diag);
}

int conf_edit(const char *text, const char *from, const struct conf_key *k, const char *value,
              char **out)
{
    struct cut c = {0};
    struct str whole = {0};
    *out = NULL;
    find_cut(&c, text, k, value);
    str_addn(&whole, text, c.first);
    str_add(&whole, c.put.s);
    str_add(&whole, text + c.end);
    int rc = check_edit(text, whole.s, from, k, value);
    if (rc == OK)
        rc = mem_alloc(out, whole.len + 1, 1, "a job file's text");
    if (rc == OK)
        memcpy(*out, whole.s, whole.len + 1);
    str_release(&whole);
    str_release(&c.put);
    return rc;
}
