/* The columns of a study's tables: what a trial is, what it sets, what came of it. src/study alone.
 */
#ifndef CARAT_STUDY_RESULTS_H
#define CARAT_STUDY_RESULTS_H

#include "study/study.h"

#include <stddef.h>

enum cell { CELL_COUNT, CELL_NUMBER, CELL_TEXT };

struct column {
    char name[64];
    enum cell cell;
    size_t offset; /* in struct trial, of an int or a double */
    const char *(*text)(const struct trial *t);
    bool is_setting; /* then its key is the name, and nothing above but cell counts */
    const char *unit, *help;
};

/* All columns for a history, the settings in the order of their first use (mem_free). A setting is
 * a number where it is one in each trial that has it. E_MEM. */
int results_columns(struct column **columns, int *n, const struct history *h);

int column_count(const struct column *c, const struct trial *t);
double column_number(const struct column *c, const struct trial *t);    /* NaN: none */
const char *column_text(const struct column *c, const struct trial *t); /* "": none */

int results_write_csv(const char *path, const struct history *h, const struct column *c, int n);
int results_write_h5(const char *path, const struct study *s, const struct history *h,
                     const struct column *c, int n);

#endif
