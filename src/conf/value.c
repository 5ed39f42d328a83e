#include "conf/value.h"

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

char *f64_text(double v, char *buf, size_t n)
{
    /* Counts are easier to read with all their digits than as 2e+07. */
    if (v == floor(v) && fabs(v) < 1e15) {
        snprintf(buf, n, "%.0f", v);
        return buf;
    }
    for (int digits = 1; digits <= 17; digits++) {
        snprintf(buf, n, "%.*g", digits, v);
        if (strtod(buf, NULL) == v)
            break;
    }
    return buf;
}

/* The code point at s and its length in bytes; 0 when it is none. */
static size_t decode(const char *s, size_t n, uint32_t *point)
{
    static const struct {
        unsigned char mask, lead;
        uint32_t least;
    } form[] = {{0x80, 0x00, 1}, {0xe0, 0xc0, 0x80}, {0xf0, 0xe0, 0x800}, {0xf8, 0xf0, 0x10000}};
    unsigned char first = (unsigned char)s[0];
    for (size_t len = 1; len <= 4 && len <= n; len++) {
        if ((first & form[len - 1].mask) != form[len - 1].lead)
            continue;
        uint32_t v = first & (unsigned char)~form[len - 1].mask;
        for (size_t i = 1; i < len; i++) {
            if (((unsigned char)s[i] & 0xc0) != 0x80)
                return 0;
            v = v << 6 | ((unsigned char)s[i] & 0x3f);
        }
        *point = v;
        return v >= form[len - 1].least && v <= 0x10ffff && (v < 0xd800 || v > 0xdfff) ? len : 0;
    }
    return 0;
}

size_t text_valid_bytes(const char *s, size_t n)
{
    size_t at = 0, len;
    uint32_t point;
    while (at < n && (len = decode(s + at, n - at, &point)) > 0)
        at += len;
    return at;
}

/* YAML wants these escaped, or an editor would not show them. */
static bool is_plain(uint32_t v)
{
    if (v < 0x20 || v == '"' || v == '\\' || (v >= 0x7f && v < 0xa0))
        return false;
    return v != 0x2028 && v != 0x2029 && v != 0xfeff && (v & 0xfffe) != 0xfffe;
}

void yaml_quote(struct str *out, const char *text)
{
    size_t n = strlen(text), len;
    str_add(out, "\"");
    for (uint32_t v = 0; n > 0; text += len, n -= len) {
        len = decode(text, n, &v);
        if (len == 0)
            break;
        if (is_plain(v))
            str_addn(out, text, len);
        else if (v == '\n')
            str_add(out, "\\n");
        else if (v == '"' || v == '\\')
            str_addf(out, "\\%c", (char)v);
        else
            str_addf(out, "\\U%08x", v);
    }
    str_add(out, "\"");
}
