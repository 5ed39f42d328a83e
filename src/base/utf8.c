#include "base/utf8.h"

#include <string.h>

/* Length of the character at p, 0 when it is no valid one. */
static size_t char_length(const unsigned char *p, size_t left)
{
    static const struct {
        unsigned char first, last, low, high, n; /* lead byte's range, second byte's range */
    } rows[] = {{0xC2, 0xDF, 0x80, 0xBF, 2}, {0xE0, 0xE0, 0xA0, 0xBF, 3},
                {0xE1, 0xEC, 0x80, 0xBF, 3}, {0xED, 0xED, 0x80, 0x9F, 3},
                {0xEE, 0xEF, 0x80, 0xBF, 3}, {0xF0, 0xF0, 0x90, 0xBF, 4},
                {0xF1, 0xF3, 0x80, 0xBF, 4}, {0xF4, 0xF4, 0x80, 0x8F, 4}};
    if (p[0] < 0x80)
        return 1;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (p[0] < rows[i].first || p[0] > rows[i].last)
            continue;
        if (left < rows[i].n || p[1] < rows[i].low || p[1] > rows[i].high)
            return 0;
        for (size_t k = 2; k < rows[i].n; k++)
            if ((p[k] & 0xC0) != 0x80)
                return 0;
        return rows[i].n;
    }
    return 0;
}

size_t utf8_decode(const char *text, size_t n, uint32_t *point)
{
    static const unsigned char lead_bits[] = {0, 0x7F, 0x1F, 0x0F, 0x07};
    const unsigned char *p = (const unsigned char *)text;
    size_t k = n > 0 ? char_length(p, n) : 0;
    *point = k > 0 ? p[0] & lead_bits[k] : 0;
    for (size_t i = 1; i < k; i++)
        *point = *point << 6 | (p[i] & 0x3F);
    return k;
}

size_t utf8_valid(const char *text, size_t n)
{
    const unsigned char *p = (const unsigned char *)text;
    size_t i = 0;
    while (i < n) {
        uint64_t eight;
        while (n - i >= sizeof eight) {
            memcpy(&eight, p + i, sizeof eight);
            if ((eight & 0x8080808080808080u) != 0)
                break;
            i += sizeof eight;
        }
        if (i == n)
            break;
        size_t k = char_length(p + i, n - i);
        if (k == 0)
            return i;
        i += k;
    }
    return n;
}

size_t utf8_boundary(const char *text, size_t at)
{
    while (at > 0 && ((unsigned char)text[at] & 0xC0) == 0x80)
        at--;
    return at;
}
