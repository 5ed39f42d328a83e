/* Values as text that reads back exactly: numbers, and text as YAML takes it. */
#ifndef CARAT_CONF_VALUE_H
#define CARAT_CONF_VALUE_H

#include "base/str.h"

/* The shortest decimal form that parses to the same double; returns buf. */
char *f64_text(double v, char *buf, size_t n);
/* Appends text (valid UTF-8) as a double-quoted YAML scalar on one line. */
void yaml_quote(struct str *out, const char *text);

#endif
