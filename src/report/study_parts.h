/* What the files about studies share: a kind of study is a row. */
#ifndef CARAT_REPORT_STUDY_PARTS_H
#define CARAT_REPORT_STUDY_PARTS_H

#include "report/study.h"

#include <stddef.h>

struct study_kind {
    const char *name;    /* study.kind */
    const char *title;   /* for people */
    const char *command; /* that makes such a study, JOB in the place of its job */
    size_t size;         /* of what `find` fills in */
    /* Fills in zeroed s->found, and s->best where it knows better than the least loss. E_CONFIG,
     * E_DATA, E_MEM. */
    int (*find)(struct report_study *s);
    void (*forget)(void *found);                                    /* may be NULL */
    void (*say)(struct str *text, const struct report_study *s);    /* lines for a terminal */
    void (*advise)(struct str *text, const struct report_study *s); /* a sentence, plain text */
    void (*figures)(struct figures *f, const struct report_study *s);
    void (*tables)(struct str *out, const struct report_study *s); /* HTML */
};
extern const struct study_kind KIND_OF_STUDY, KIND_OF_SEARCH, KIND_OF_RULES, KIND_OF_BRANCH;

/* "Trials: 12: 10 done, …; spent: 3M tokens, …." */
void study_counts(struct str *text, const struct report_study *s);

/* The next figure of f, labelled; NULL when f is full. figure_keep takes it in, unless it shows
 * nothing. */
struct plot *figure_begin(struct figures *f, const char *title, const char *x_label,
                          const char *y_label, const char *caption);
void figure_keep(struct figures *f);
/* Ticks at these values, as long as they are few. */
void figure_ticks(struct plot *p, const double *at, int n);

/* A curve of its own for one point. */
void figure_point(struct plot *p, enum curve_kind kind, int look, double x, double y,
                  const char *hint);
/* Losses of a trial's validations against its tokens or its seconds in steps. */
enum trial_x { TRIAL_TOKENS, TRIAL_TIME };
struct curve *figure_trial(struct plot *p, int look, const struct trial *t, enum trial_x x,
                           const char *title);
/* All trials that `wanted` takes as one curve with gaps. */
void figure_trials(struct plot *p, int look, const struct history *h, enum trial_x x,
                   bool (*wanted)(const struct report_study *s, int i, double of),
                   const struct report_study *s, double of, const char *title);

/* Tables of a page. */
void table_begin(struct str *out, const char *const *head, int n);
void table_end(struct str *out);
void row_begin(struct str *out, bool marked);
void row_end(struct str *out);
void cell_text(struct str *out, const char *text);
/* A number, "–" when it is not known or never came. */
void cell_number(struct str *out, const char *form, double v);
void cell_si(struct str *out, double v);
void cell_seconds(struct str *out, double s);
/* A sentence, in a column that is wide enough to read it. */
void cell_words(struct str *out, const char *text);

#endif
