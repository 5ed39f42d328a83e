/* What the page of a large-batch study consists of; src/report alone. */
#ifndef CARAT_REPORT_STUDY_CRITICAL_H
#define CARAT_REPORT_STUDY_CRITICAL_H

#include "study/result.h"
#include "study_parts.h"

static inline const struct study_result *critical_result(const struct report_study *s)
{
    return s->found;
}

/* The target that figures and tables of one target show: the lowest that was reached. */
static inline int critical_target(const struct study_result *r)
{
    return r->main >= 0 ? r->main : r->n_targets - 1;
}

void critical_figures(struct figures *f, const struct report_study *s);
void critical_tables(struct str *out, const struct report_study *s);

#endif
