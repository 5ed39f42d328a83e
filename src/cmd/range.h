/* What the files of `carat range` share. */
#ifndef CARAT_CMD_RANGE_PARTS_H
#define CARAT_CMD_RANGE_PARTS_H

#include "cmd/job.h"
#include "study/range_test.h"

#include <stdbool.h>
#include <stdint.h>

enum { RANGE_MAX_BATCHES = 16 };

struct range_request {
    struct range_ramp ramp;
    const char *shape, *batches; /* "linear", "16,64,256" */
    const char *figure, *write;  /* files; NULL: none */
    bool force, resume, json, help;
};

/* One batch's test. */
struct range_row {
    int64_t batch;
    struct range_curve curve;
    struct range_suggestion says;
};

struct range_results {
    int n;
    struct range_row row[RANGE_MAX_BATCHES];
    int chosen;      /* the row nearest to batch.global that has a suggestion; -1: none has */
    double exponent; /* x in lr ~ B^x; NaN: fewer than two batches with a suggestion */
};

/* The suggestion as a job file takes it, into buf; returns buf. */
char *range_lr_text(char *buf, size_t n, double lr);

/* The greatest loss that a figure shows: a divergence would press the rest flat. */
double range_top(const struct range_curve *c);

/* A table, a figure of each curve and the suggestion. Root. */
void range_print(const struct range_results *r, const struct job *j);
/* E_BUG, E_IO. Root. */
int range_print_json(const struct range_results *r);
/* Why no batch has a suggestion, as an error; OK when one has. */
int range_verdict(const struct range_results *r);

/* Whether --figure and --write can be had: gnuplot, the folders, a file that is there already, a
 * job file that can be edited. E_USAGE, E_CONFIG. Root. */
int range_check_figure(const struct range_request *q);
int range_check_write(const struct job *j, const struct range_request *q);
/* E_IO. Root. */
int range_draw(const struct range_results *r, const struct job *j, const char *path);
/* The job file with the chosen suggestion and the command line's settings. E_CONFIG, E_IO. Root. */
int range_write_job(const struct range_results *r, const struct job *j, const char *path);

#endif
