#include "conf/value.h"

#include "base/utf8.h"

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
        len = utf8_decode(text, n, &v);
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
