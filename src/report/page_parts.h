/* What pages of runs and of studies share. */
#ifndef CARAT_REPORT_PAGE_PARTS_H
#define CARAT_REPORT_PAGE_PARTS_H

#include "report/facts.h"
#include "report/figures.h"

/* The page up to its heading, of which what follows begins with a title; and its end. */
void page_begin(struct str *out);
void page_end(struct str *out);
/* Its figures, those of half the width in pairs; svg NULL: why there are none. */
void page_figures(struct str *out, const struct figures *f, const struct str *svg, const char *why);
/* A table of facts under a heading, nothing when it is empty. E_MEM. */
int page_facts(struct str *out, const char *heading,
               int (*make)(struct facts *f, const struct report_run *runs, int n),
               const struct report_run *runs, int n);

#endif
