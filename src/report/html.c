#include "report/html.h"

#include "base/utf8.h"

#include <string.h>

static const char *entity(uint32_t point)
{
    switch (point) {
    case '&':
        return "&amp;";
    case '<':
        return "&lt;";
    case '>':
        return "&gt;";
    case '"':
        return "&quot;";
    case '\'':
        return "&#39;";
    default:
        return NULL;
    }
}

void html_text(struct str *out, const char *text)
{
    size_t n = strlen(text);
    while (n > 0) {
        uint32_t point = 0;
        size_t k = utf8_decode(text, n, &point);
        const char *name = entity(point);
        bool control = (point < ' ' && point != '\n' && point != '\t') || point == 0x7f ||
                       (point >= 0x80 && point < 0xa0);
        if (k == 0 || control)
            str_add(out, "\xef\xbf\xbd");
        else if (name != NULL)
            str_add(out, name);
        else
            str_addn(out, text, k);
        k = k == 0 ? 1 : k;
        text += k;
        n -= k;
    }
}
