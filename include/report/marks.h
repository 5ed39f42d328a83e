/* What happened in a run, from its rows and its record of events. */
#ifndef CARAT_REPORT_MARKS_H
#define CARAT_REPORT_MARKS_H

#include "report/run.h"

/* Fills r->mark and r->n_marks, by step: resumes, and what the run recorded. E_MEM. */
int report_marks(struct report_run *r);

#endif
