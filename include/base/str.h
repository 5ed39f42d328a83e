/* Text: a growing string, strict number parsing, and figures as people write them. */
#ifndef CARAT_BASE_STR_H
#define CARAT_BASE_STR_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A growing string, always NUL-terminated once something was added. Zero-initialise; release with
 * str_release. Appending aborts through fatal(E_MEM) when memory is out. */
struct str {
    char *s;
    size_t len, cap;
};
void str_add(struct str *b, const char *text);
void str_addn(struct str *b, const char *text, size_t n);
void str_addf(struct str *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void str_addv(struct str *b, const char *fmt, va_list ap);
/* A field of CSV: in quotes where it holds a comma, a quote or a line's end (Source: RFC 4180).
 * Behind an apostrophe where spreadsheets would take a text for a formula; numbers stay as they
 * are. */
void str_add_csv(struct str *b, const char *text);
void str_release(struct str *b);

/* Whole-string parsing: false when anything is left over, empty, out of range or not finite. */
bool parse_i64(const char *s, int64_t *out);
bool parse_f64(const char *s, double *out);
/* A number with an SI suffix k, M, G, T, B (=G), decimal: "20M" is 2e7; "16KiB" forms too. */
bool parse_si(const char *s, double *out);
/* Seconds from "4h", "30m", "90s", "1:30:00", "2-00:00:00" (Slurm's form) or a plain number. */
bool parse_duration_s(const char *s, double *out);

/* Figures for people, into buf of n bytes; each returns buf.
 * si: "1.23M"; bytes: "1.2 GiB"; duration: "1h 02m", "3m 05s", "12.3s". */
char *fmt_si(char *buf, size_t n, double v);
char *fmt_bytes(char *buf, size_t n, double bytes);
char *fmt_duration(char *buf, size_t n, double s);

/* The candidate nearest to word by edit distance, or NULL when none is near enough to suggest. */
const char *str_nearest(const char *word, const char *const *candidates, size_t n);

/* True when path ends in suffix. */
bool str_ends(const char *s, const char *suffix);

#endif
