#include "base/plain.h"

#include "base/utf8.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

enum { ESCAPE = 8, MOST_LINES = 2048 };

static bool is_safe(uint32_t point)
{
    bool control =
        (point < 0x20 && point != '\n' && point != '\t') || (point >= 0x7f && point < 0xa0);
    bool direction = (point >= 0x202a && point <= 0x202e) || (point >= 0x2066 && point <= 0x2069);
    return !control && !direction;
}

/* Bytes from the start of text[n] that need no escape. */
static size_t safe_length(const char *text, size_t n)
{
    size_t at = 0, k;
    uint32_t point;
    while (at < n && (k = utf8_decode(text + at, n - at, &point)) > 0 && is_safe(point))
        at += k;
    return at;
}

/* The escape of what begins text[n], which is not safe; returns how many bytes it stands for. */
static size_t escape(char out[ESCAPE], const char *text, size_t n)
{
    uint32_t point;
    size_t k = utf8_decode(text, n, &point);
    if (k > 0)
        snprintf(out, ESCAPE, "\\u%04x", (unsigned)point & 0xffff);
    else
        snprintf(out, ESCAPE, "\\x%02x", (unsigned char)*text);
    return k > 0 ? k : 1;
}

/* Gives text to put in pieces that are safe, until put wants no more. */
static void each_piece(const char *text, bool (*put)(void *to, const char *piece, size_t n),
                       void *to)
{
    char word[ESCAPE];
    size_t n = strlen(text);
    bool more = true;
    while (n > 0 && more) {
        size_t k = safe_length(text, n);
        if (k > 0) {
            more = put(to, text, k);
        } else {
            k = escape(word, text, n);
            more = put(to, word, strlen(word));
        }
        text += k;
        n -= k;
    }
}

struct room {
    char *at;
    size_t left; /* with the end's NUL */
};

static bool to_room(void *to, const char *piece, size_t n)
{
    struct room *r = to;
    bool all = n < r->left;
    /* A cut escape would be one of another character. */
    size_t k = all ? n : *piece == '\\' && n < ESCAPE ? 0 : utf8_valid(piece, r->left - 1);
    memcpy(r->at, piece, k);
    r->at += k;
    r->left -= k;
    return all;
}

char *plain_copy(char *buf, size_t n, const char *text)
{
    struct room r = {buf, n};
    each_piece(text, to_room, &r);
    *r.at = '\0';
    return buf;
}

static bool to_str(void *to, const char *piece, size_t n)
{
    str_addn(to, piece, n);
    return true;
}

void plain_add(struct str *out, const char *text)
{
    each_piece(text, to_str, out);
}

static bool to_stream(void *to, const char *piece, size_t n)
{
    return fwrite(piece, 1, n, to) == n;
}

void plain_put(FILE *f, const char *text)
{
    each_piece(text, to_stream, f);
}

void plain_vprint(FILE *f, const char *fmt, va_list ap)
{
    char line[MOST_LINES];
    struct str longer = {0};
    va_list again;
    va_copy(again, ap);
    bool fits = vsnprintf(line, sizeof line, fmt, ap) < MOST_LINES;
    if (!fits)
        str_addv(&longer, fmt, again);
    plain_put(f, fits ? line : longer.s);
    va_end(again);
    str_release(&longer);
}

void plain_print(FILE *f, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    plain_vprint(f, fmt, ap);
    va_end(ap);
}
