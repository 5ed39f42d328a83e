/* How the rows of a table of facts are made. */
#ifndef CARAT_REPORT_FACTS_PARTS_H
#define CARAT_REPORT_FACTS_PARTS_H

#include "report/facts.h"

struct fact_maker {
    const char *label;
    /* The run's cell, empty before; left so when there is nothing to say. */
    void (*make)(const struct report_run *r, char *cell, size_t n);
};

/* One row a maker, without those that are empty for all runs. *f is new. E_MEM. */
int facts_fill(struct facts *f, const struct fact_maker *maker, int n_makers,
               const struct report_run *runs, int n);

/* A row of empty cells behind the last of the table, row[n], which facts_keep_row then takes in, or
 * gives up when it is not wanted. E_MEM. */
int facts_next_row(struct facts *f, const char *label);
void facts_keep_row(struct facts *f, bool wanted);
/* Whether that row says anything. */
bool facts_any_cell(const struct facts *f);

#endif
