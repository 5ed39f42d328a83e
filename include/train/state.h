/* What a run carries from step to step beside its slabs: few named numbers, the same on every rank
 * (an optimizer's distance, a detector's window). A module adds a row; checkpoints keep it. Rows
 * whose name begins with "watch" are measurements: unless the run acts on them, the weights go on
 * without them as they do with them. */
#ifndef CARAT_TRAIN_STATE_H
#define CARAT_TRAIN_STATE_H

#include "conf/config.h"
#include <stdbool.h>

#define STATE_MAX_ROWS 32

struct state_row {
    const char *name; /* "spike.loss": no blanks */
    double *v;        /* borrowed */
    int n;
};

struct state {
    struct state_row row[STATE_MAX_ROWS];
    int n;
};

/* E_BUG when there is no room or the name is taken. Local. */
int state_add(struct state *s, const char *name, double *v, int n);
/* One line a row: the name and its numbers in decimals that give the same bits back. mem_free. */
int state_text(const struct state *s, char **text);
/* Whether two texts have the same rows, but for those that decide nothing in a run with these
 * settings (train/effect.h). */
bool state_same(const char *a, const char *b, const struct config *c);
/* Fills the rows that the text has; others keep their values, and lines of unknown rows are passed
 * over: a run may go on with another detector. E_DATA when a line is none or has another count,
 * naming row and `from`. Local. */
int state_take(const struct state *s, const char *text, const char *from);

#endif
