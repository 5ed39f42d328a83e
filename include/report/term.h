/* The report for a terminal of 80 columns, and as CSV. */
#ifndef CARAT_REPORT_TERM_H
#define CARAT_REPORT_TERM_H

#include "report/run.h"

#include <stdbool.h>
#include <stdio.h>

/* Results, differences, events, and the curves of loss and rate: in Braille dots where `unicode`
 * allows and one run has the figure to itself, in letters otherwise. E_MEM. */
int term_write(FILE *out, const struct report_run *runs, int n, bool unicode);

/* One row a step with every column, all digits, empty where nothing was measured; the run's name
 * first when there are several. */
void csv_write(FILE *out, const struct report_run *runs, int n);

#endif
