/* The report as one HTML page that needs nothing else: no scripts, no other files. */
#ifndef CARAT_REPORT_PAGE_H
#define CARAT_REPORT_PAGE_H

#include "base/str.h"
#include "report/figures.h"
#include "report/run.h"

/* Appends the page. svg[f->n]: the drawn figures; NULL: there are none, and the page says why. */
int page_write(struct str *out, const struct report_run *runs, int n, const struct figures *f,
               const struct str *svg, const char *why);

#endif
