/* Tables of what runs are and came to: a row a fact, a column a run. */
#ifndef CARAT_REPORT_FACTS_H
#define CARAT_REPORT_FACTS_H

#include "report/run.h"

enum { FACT_CELL = 256, FACT_LABEL = 40 };

struct fact {
    char label[FACT_LABEL];
    char (*cell)[FACT_CELL]; /* [n_runs], "": unknown; owned */
    bool same;               /* in all runs */
};
struct facts {
    int n_runs, n, room;
    struct fact *row;
};
void facts_release(struct facts *f);

/* How far the runs are and what they reached; where the time of their steps goes; what they are
 * made of and run on; and the keys of the job in which they differ. Rows that no run has are left
 * out. E_MEM. */
int facts_results(struct facts *f, const struct report_run *runs, int n);
int facts_times(struct facts *f, const struct report_run *runs, int n);
int facts_setup(struct facts *f, const struct report_run *runs, int n);
int facts_differences(struct facts *f, const struct report_run *runs, int n);

/* Values over which the report smooths a curve of n of them: a fiftieth. */
double smoothing_of(int64_t n);

/* "1,234,567" into buf; returns buf. */
char *count_text(char *buf, size_t n, double count);

#endif
