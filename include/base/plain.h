/* Text that others wrote (names in a file, events, settings, what a model says), safe to show:
 * control characters could move a terminal's cursor, rewrite lines that stand already, or set its
 * title, and marks of the writing direction could make text read as what it is not. They are
 * written as \u001b, which is valid within a JSON string too; bytes that are no UTF-8 as \xff.
 * Line ends and tabs stay. What is safe stays as it is, so text may be passed through twice. */
#ifndef CARAT_BASE_PLAIN_H
#define CARAT_BASE_PLAIN_H

#include "base/str.h"

#include <stdarg.h>
#include <stdio.h>

/* Into buf of n bytes (at least 1), cut at a whole character where it does not fit; returns buf. */
char *plain_copy(char *buf, size_t n, const char *text);
void plain_add(struct str *out, const char *text);
/* To a stream. */
void plain_put(FILE *f, const char *text);
void plain_print(FILE *f, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void plain_vprint(FILE *f, const char *fmt, va_list ap);

#endif
