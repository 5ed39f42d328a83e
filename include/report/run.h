/* One run as a report sees it: its rows, what it was set to, and how it stands. Runs that are being
 * written, or were killed, can be read as well. */
#ifndef CARAT_REPORT_RUN_H
#define CARAT_REPORT_RUN_H

#include "base/str.h"
#include "conf/config.h"
#include "train/ckpt.h"
#include "train/metrics.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { RUN_NAME = 64 };

/* Something that happened, in the order of the rows. */
struct run_mark {
    int64_t step;
    int64_t row;    /* the row that it comes with, or after */
    int order;      /* among those of one row */
    char kind[56];  /* "resumed"; "spike: skip" */
    char text[640]; /* one sentence */
};

struct report_run {
    const char *path;    /* borrowed */
    char name[RUN_NAME]; /* its folder's; the whole path where several have that name */
    double *rows;        /* [n][M_N], by step */
    int64_t n, n_bad;    /* rows; rows and segments that are damaged and left out */
    double *time_s;      /* [n]: seconds in steps since the run began */
    struct metrics_ranks ranks;
    double *layers; /* [n][n_groups][L_N]: embedding, layers, final norm; NULL: not measured */
    int64_t n_groups;
    struct config conf;
    bool has_conf;
    struct ckpt_meta meta; /* of the newest checkpoint that can be read */
    bool has_meta;
    char model[192];   /* "Gemma 3, 4 layers, …"; "" unknown */
    size_t n_params;   /* 0: unknown */
    char standing[96]; /* "killed: process 12 on node7"; "" when nothing is to be said */
    char failed[320];  /* the error that ended it; "" */
    struct run_mark *mark;
    int n_marks;
};

/* Reads the folder. E_DATA when it is no run folder or holds no metrics. Local. */
int report_run_load(struct report_run *r, const char *path);
void report_run_release(struct report_run *r);
/* Names that differ, for runs that stand side by side. */
void report_run_names(struct report_run *runs, int n);

/* The number of a column by its name, -1 when this build has none of that name. */
int metric_find(const char *name);
/* A column's values into v[n]; NaN where column is -1. */
void report_column(const struct report_run *r, int column, double *v);
/* Whether any row has a finite value there. */
bool report_has(const struct report_run *r, int column);

#endif
