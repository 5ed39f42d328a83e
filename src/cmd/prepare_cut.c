#include "base/str.h"
#include "base/utf8.h"
#include "prepare.h"

#include <string.h>

/* A document's own size limit: below it the pieces between two tokens' worth of text make no
 * sense, above it the whole file is meant. */
#define BYTES_LEAST 64
#define BYTES_MOST  ((double)(1ull << 40))

bool document_rule_parse(struct document_rule *r, const char *text)
{
    static const struct {
        const char *name;
        enum document_kind kind;
    } rows[] = {{"file", DOCUMENT_FILE}, {"line", DOCUMENT_LINE}, {"blank", DOCUMENT_BLANK}};
    double bytes;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (strcmp(text, rows[i].name) == 0) {
            *r = (struct document_rule){.kind = rows[i].kind};
            return true;
        }
    if (!parse_si(text, &bytes) || bytes < BYTES_LEAST || bytes > BYTES_MOST)
        return false;
    *r = (struct document_rule){DOCUMENT_BYTES, (uint64_t)bytes};
    return true;
}

/* The greatest place up to `limit` that is behind a line break and before no other (a run of
 * breaks may be one token); 0 when there is none. */
static size_t last_line_end(const char *text, size_t limit)
{
    for (size_t i = limit; i > 0; i--)
        if (text[i - 1] == '\n' && text[i] != '\n')
            return i;
    return 0;
}

/* A piece of a document that goes on: to a line's end if there is one. limit < n. */
static struct cut piece_below(const char *text, size_t limit)
{
    size_t k = last_line_end(text, limit);
    if (k == 0)
        k = utf8_boundary(text, limit);
    if (k == 0) /* no character is that long: the check of the text will say so */
        k = limit;
    return (struct cut){k, k, false};
}

static struct cut whole(size_t n, bool ends)
{
    return (struct cut){n, n, ends};
}

static bool cut_file(const struct document_rule *r, const char *text, size_t n, bool ended,
                     uint64_t begun, struct cut *out)
{
    (void)r;
    (void)begun;
    if (n <= INPUT_PIECE_MAX) {
        *out = whole(n, true);
        return ended;
    }
    *out = piece_below(text, INPUT_PIECE_MAX);
    return true;
}

bool text_is_blank(const char *line, size_t n)
{
    size_t i = 0;
    while (i < n && strchr(" \t\r\n", line[i]) != NULL && line[i] != '\0')
        i++;
    return i == n;
}

/* Bytes of the line at the start of text with its break; 0 when its end is not in sight. */
static size_t line_length(const char *text, size_t n, bool ended)
{
    const char *end = memchr(text, '\n', n);
    if (end != NULL)
        return (size_t)(end - text) + 1;
    return ended ? n : 0;
}

static bool cut_line(const struct document_rule *r, const char *text, size_t n, bool ended,
                     uint64_t begun, struct cut *out)
{
    (void)r;
    size_t k =
        line_length(text, n < INPUT_PIECE_MAX ? n : INPUT_PIECE_MAX, ended && n <= INPUT_PIECE_MAX);
    if (k == 0 && n <= INPUT_PIECE_MAX)
        return false;
    if (k == 0) {
        *out = piece_below(text, INPUT_PIECE_MAX);
        return true;
    }
    bool broken = text[k - 1] == '\n';
    *out = (struct cut){k - broken, k, true};
    if (begun == 0 && text_is_blank(text, k))
        out->text = 0;
    return true;
}

/* The document's lines up to the first blank one, which belongs to no document. */
static bool cut_blank(const struct document_rule *r, const char *text, size_t n, bool ended,
                      uint64_t begun, struct cut *out)
{
    (void)r;
    for (size_t at = 0, k; at <= INPUT_PIECE_MAX; at += k) {
        if (at == n && ended) {
            bool broken = n > 0 && text[n - 1] == '\n';
            *out = (struct cut){n - broken, n, true};
            return true;
        }
        k = line_length(text + at, n - at, ended);
        if (k == 0)
            break;
        if (!text_is_blank(text + at, k))
            continue;
        bool break_before = at > 0; /* the last line's own break ends the document, too */
        *out = (struct cut){at - break_before, at + k, at > 0 || begun > 0};
        return true;
    }
    if (n <= INPUT_PIECE_MAX)
        return false;
    *out = piece_below(text, INPUT_PIECE_MAX);
    return true;
}

/* The document's last piece: at most `left` bytes in whole lines; a longer line is a document of
 * its own. left < n. */
static bool cut_last_lines(const char *text, size_t n, bool ended, size_t left, uint64_t begun,
                           struct cut *out)
{
    const char *end = memrchr(text, '\n', left);
    if (end != NULL || begun > 0) {
        *out = whole(end != NULL ? (size_t)(end - text) + 1 : 0, true);
        return true;
    }
    size_t k =
        line_length(text, n < INPUT_PIECE_MAX ? n : INPUT_PIECE_MAX, ended && n <= INPUT_PIECE_MAX);
    if (k == 0 && n <= INPUT_PIECE_MAX)
        return false;
    *out = k > 0 ? whole(k, true) : piece_below(text, INPUT_PIECE_MAX);
    return true;
}

static bool cut_bytes(const struct document_rule *r, const char *text, size_t n, bool ended,
                      uint64_t begun, struct cut *out)
{
    uint64_t left = begun < r->bytes ? r->bytes - begun : 0;
    if (n <= left && n <= INPUT_PIECE_MAX) {
        *out = whole(n, true);
        return ended;
    }
    if (left <= INPUT_PIECE_MAX)
        return cut_last_lines(text, n, ended, (size_t)left, begun, out);
    *out = piece_below(text, INPUT_PIECE_MAX);
    return true;
}

bool document_cut(const struct document_rule *r, const char *text, size_t n, bool ended,
                  uint64_t begun, struct cut *out)
{
    static bool (*const cuts[])(const struct document_rule *, const char *, size_t, bool, uint64_t,
                                struct cut *) = {[DOCUMENT_FILE] = cut_file,
                                                 [DOCUMENT_LINE] = cut_line,
                                                 [DOCUMENT_BLANK] = cut_blank,
                                                 [DOCUMENT_BYTES] = cut_bytes};
    return cuts[r->kind](r, text, n, ended, begun, out);
}
