/* Text in HTML. */
#ifndef CARAT_REPORT_HTML_H
#define CARAT_REPORT_HTML_H

#include "base/str.h"

/* Appends text as it may stand in an element or an attribute; what is no UTF-8, and control
 * characters, become U+FFFD. */
void html_text(struct str *out, const char *text);

#endif
