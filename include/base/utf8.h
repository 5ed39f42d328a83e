/* UTF-8 as Unicode defines it: no overlong forms, no surrogates, nothing above U+10FFFF.
 * Source: The Unicode Standard 15.0, table 3-7. */
#ifndef CARAT_BASE_UTF8_H
#define CARAT_BASE_UTF8_H

#include <stddef.h>
#include <stdint.h>

/* The character at the start of text[n]: its bytes, 0 when it is no valid one; its code point in
 * *point. */
size_t utf8_decode(const char *text, size_t n, uint32_t *point);

/* Bytes from the start of text that are whole characters: n when all of it is valid. A character
 * that n cuts short counts as invalid. */
size_t utf8_valid(const char *text, size_t n);

/* The greatest place at or below `at` that is not inside a character of valid text. */
size_t utf8_boundary(const char *text, size_t at);

#endif
