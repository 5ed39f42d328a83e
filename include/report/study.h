/* A study as a report sees it: its trials, and what its kind makes of them. Studies under way, and
 * those whose workers died, can be read as well. All functions are local. */
#ifndef CARAT_REPORT_STUDY_H
#define CARAT_REPORT_STUDY_H

#include "base/str.h"
#include "report/figures.h"
#include "report/run.h"
#include "study/study.h"

struct study_kind;

struct report_study {
    const char *path; /* borrowed */
    char name[RUN_NAME];
    struct study study;
    struct history history;
    struct config conf; /* the study's job */
    const struct study_kind *kind;
    void *found;           /* the kind's; NULL: `trouble` says why */
    struct str trouble;    /* an error's sentence; it costs the figures, not the table of trials */
    int best;              /* the trial that did best; -1: none yet */
    struct report_run run; /* of that trial, where its folder is still there */
    char run_path[FS_PATH_MAX];
    bool has_run;
};

/* E_DATA when it is no study's folder, or a file of it is damaged. */
int report_study_load(struct report_study *s, const char *path);
void report_study_release(struct report_study *s);

/* Adds what the study is and came to, in lines for a terminal. */
void study_summary(struct str *text, const struct report_study *s);
/* The figures of its kind; s has to outlive them. */
void study_figures(struct figures *f, const struct report_study *s);
/* Appends the page, as page_write does. E_MEM. */
int study_page_write(struct str *out, const struct report_study *s, const struct figures *f,
                     const struct str *svg, const char *why);

#endif
