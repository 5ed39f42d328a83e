/* UTF-8 as Unicode defines it: no overlong forms, no surrogates, nothing above U+10FFFF.
 * Source: The Unicode Standard 15.0, table 3-7. */
#ifndef CARAT_TEXT_UTF8_H
#define CARAT_TEXT_UTF8_H

#include <stddef.h>

/* Bytes from the start of text that are whole characters: n when all of it is valid. A character
 * that n cuts short counts as invalid. */
size_t utf8_valid(const char *text, size_t n);

/* The greatest place at or below `at` that is not inside a character of valid text. */
size_t utf8_boundary(const char *text, size_t at);

#endif
