#include "base/err.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/utf8.h"
#include "prepare.h"

#include <jansson.h>
#include <string.h>

struct documents {
    const struct source_list *list;
    const struct documents_options *o;
    size_t source;  /* being read, or next when no input is open */
    int64_t before; /* bytes of the files before it */
    struct input in;
    bool open;
    struct piece last; /* handed out, not used up yet */
    size_t pending;    /* bytes of the input that it was made of */
    uint64_t begun;    /* bytes of the current document handed out so far */
    json_t *json;      /* the line whose text is being handed out, or NULL */
    const char *text;
    size_t text_n;
};

int documents_new(struct documents **d, const struct source_list *l,
                  const struct documents_options *o)
{
    TRY(mem_alloc(d, 1, sizeof **d, "documents"));
    (*d)->list = l;
    (*d)->o = o;
    return OK;
}

void documents_free(struct documents *d)
{
    if (d == NULL)
        return;
    input_close(&d->in);
    json_decref(d->json);
    mem_free(d);
}

int64_t documents_position(const struct documents *d)
{
    return d->before + (d->open ? input_file_position(&d->in) : 0);
}

/* ---- plain text ---- */

static int check_text(const struct input *in, const char *text, size_t n)
{
    const char *nul = memchr(text, 0, n);
    size_t good = nul != NULL ? (size_t)(nul - text) : n;
    size_t valid = utf8_valid(text, good);
    if (valid == n)
        return OK;
    unsigned long long line = in->line;
    for (size_t i = 0; i < valid; i++)
        line += text[i] == '\n';
    if (valid == good)
        return ERR(E_DATA,
                   "%s:%llu: byte %llu is 0: this is no UTF-8 text (UTF-16? `iconv -t utf-8`)",
                   in->name, line, (unsigned long long)in->offset + valid);
    return ERR(E_DATA,
               "%s:%llu: byte %llu (0x%02X) is no valid UTF-8: convert the file (`iconv -f "
               "latin1 -t utf-8`) or leave it out",
               in->name, line, (unsigned long long)in->offset + valid, (unsigned char)text[valid]);
}

static int next_text_piece(struct documents *d, struct piece *p)
{
    struct input *in = &d->in;
    struct cut cut;
    while (!document_cut(&d->o->rule, in->at, in->n, in->ended, d->begun, &cut))
        TRY(input_more(in));
    TRY(check_text(in, in->at, cut.text));
    *p = (struct piece){in->at, cut.text, cut.ends};
    d->pending = cut.all;
    return OK;
}

/* ---- JSON lines ---- */

static void name_fields(const json_t *object, struct str *names)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)object, key, value)
    {
        if (json_is_string(value) && names->len < 200)
            str_addf(names, "%s%s", names->len > 0 ? ", " : "", key);
    }
}

static int field_error(const struct documents *d)
{
    const char *field = d->o->field;
    unsigned long long line = d->in.line;
    if (!json_is_object(d->json))
        return ERR(E_DATA, "%s:%llu: is no JSON object", d->in.name, line);
    if (json_object_get(d->json, field) != NULL)
        return ERR(E_DATA, "%s:%llu: the field \"%s\" is no text", d->in.name, line, field);
    struct str names = {0};
    name_fields(d->json, &names);
    int rc =
        ERR(E_DATA, "%s:%llu: has no field \"%s\"; --field NAME chooses another%s%s", d->in.name,
            line, field, names.len > 0 ? ": it has " : "", names.len > 0 ? names.s : "");
    str_release(&names);
    return rc;
}

static int parse_line(struct documents *d, const char *line, size_t n)
{
    json_error_t error;
    d->json = json_loadb(line, n, JSON_ALLOW_NUL, &error);
    if (d->json == NULL)
        return ERR(E_DATA, "%s:%llu: bad JSON in column %d: %s", d->in.name,
                   (unsigned long long)d->in.line, error.column, error.text);
    json_t *text = json_object_get(d->json, d->o->field);
    if (!json_is_string(text))
        return field_error(d);
    d->text = json_string_value(text);
    d->text_n = json_string_length(text);
    return OK;
}

/* The text of the next line that is not blank; d->json stays NULL at the file's end. */
static int next_line(struct documents *d)
{
    struct input *in = &d->in;
    while (d->json == NULL) {
        const char *end = memchr(in->at, '\n', in->n);
        if (end == NULL && !in->ended) {
            TRY(input_more(in));
            continue;
        }
        size_t n = end != NULL ? (size_t)(end - in->at) : in->n;
        if (n == 0 && end == NULL)
            return OK;
        if (!text_is_blank(in->at, n))
            TRY(parse_line(d, in->at, n));
        input_consume(in, n + (end != NULL));
    }
    return OK;
}

static int next_json_piece(struct documents *d, struct piece *p)
{
    static const struct document_rule whole_text = {.kind = DOCUMENT_FILE};
    struct cut cut;
    if (d->json == NULL)
        TRY(next_line(d));
    if (d->json == NULL) {
        *p = (struct piece){"", 0, true};
        return OK;
    }
    document_cut(&whole_text, d->text, d->text_n, true, d->begun, &cut);
    *p = (struct piece){d->text, cut.text, cut.ends};
    d->text += cut.all;
    d->text_n -= cut.all;
    return OK;
}

/* ---- both ---- */

static int open_next(struct documents *d)
{
    const struct source *s = &d->list->item[d->source];
    d->open = true;
    TRY(input_open(&d->in, s));
    if (d->in.n == 0)
        return ERR(E_DATA, "%s: holds no text", d->in.name);
    return OK;
}

static void close_file(struct documents *d)
{
    int64_t bytes = d->list->item[d->source].bytes;
    d->before += bytes >= 0 ? bytes : input_file_position(&d->in);
    input_close(&d->in);
    d->open = false;
    d->source++;
}

/* Uses up what the last piece was made of. */
static void move_on(struct documents *d)
{
    d->begun = d->last.ends ? 0 : d->begun + d->last.n;
    if (d->json != NULL && d->last.ends) {
        json_decref(d->json);
        d->json = NULL;
    }
    input_consume(&d->in, d->pending);
    d->pending = 0;
    d->last = (struct piece){0};
}

static bool file_is_done(const struct documents *d)
{
    return d->json == NULL && d->begun == 0 && d->in.n == 0 && d->in.ended;
}

int documents_next(struct documents *d, struct piece *p)
{
    *p = (struct piece){0};
    for (;;) {
        if (stop_requested())
            return ERR(E_STOPPED, STOP_MESSAGE);
        if (d->open) {
            move_on(d);
            if (file_is_done(d))
                close_file(d);
        }
        if (!d->open) {
            if (d->source == d->list->n)
                return OK;
            TRY(open_next(d));
        }
        bool jsonl = d->list->item[d->source].jsonl;
        TRY(jsonl ? next_json_piece(d, &d->last) : next_text_piece(d, &d->last));
        if (d->last.n == 0 && d->begun == 0)
            continue; /* an empty document is none */
        *p = d->last;
        return OK;
    }
}
