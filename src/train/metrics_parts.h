/* What the parts of the metrics share: the layout of a segment and the coding of its rows.
 *
 * A segment holds /step [S][STEP_WIDTH]: the columns of enum metric, then the CRC-32C of their
 * bytes as a number; and /ranks [S][ranks][RANK_WIDTH]: step, attempt, the columns of enum
 * rank_metric, CRC-32C. A row that was never written is all NaN. */
#ifndef CARAT_TRAIN_METRICS_PARTS_H
#define CARAT_TRAIN_METRICS_PARTS_H

#include "base/fs.h"
#include "train/metrics.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define METRICS_KIND   "carat metrics"
#define METRICS_FORMAT 1

enum { STEP_WIDTH = M_N + 1, RANK_HEAD = 2, RANK_WIDTH = RANK_HEAD + R_N + 1 };

struct segment {
    int64_t attempt, n; /* of its name */
    char path[FS_PATH_MAX];
    int64_t rows, ranks;      /* room for rows; ranks that write */
    int64_t step_at, rank_at; /* where the arrays lie in the file */
};

static inline int64_t segment_step_at(const struct segment *s, int64_t row)
{
    return s->step_at + row * STEP_WIDTH * (int64_t)sizeof(double);
}

static inline int64_t segment_rank_at(const struct segment *s, int64_t row, int64_t rank)
{
    return s->rank_at + (row * s->ranks + rank) * RANK_WIDTH * (int64_t)sizeof(double);
}

/* Puts the CRC of row[0 … width-2] into its last place; tells whether it fits what is before it. */
void metrics_seal(double *row, int width);
bool metrics_is_sealed(const double *row, int width);
/* Never written. */
bool metrics_is_empty(const double *row, int width);

/* "<run_dir>/metrics". */
int segment_folder(char *path, const char *run_dir);
int segment_path(char *path, const char *run_dir, int64_t attempt, int64_t n);
/* All segments of a run by (attempt, n), names alone; *list is mem_free'd. Local. */
int segment_list(const char *run_dir, struct segment **list, size_t *n);
/* Fills the rest from the file, which is untrusted. E_DATA. Local. */
int segment_open(struct segment *s);
/* Creates, fills with NaN and publishes the segment of this attempt and number for `rows` rows.
 * Collective. E_IO. */
int segment_create(const struct comm *c, struct segment *s, const char *run_dir, int64_t rows);
/* Removes what a killed start left half made. Root. */
int segment_clean(const char *run_dir);

/* A row of the run's history and where it was found. */
struct history_row {
    double v[M_N];
    int64_t segment, at;
};
struct history {
    struct segment *segment;
    size_t n_segments;
    struct history_row *row; /* one a step, in step order */
    int64_t n, n_bad; /* rows; rows left out for a wrong CRC, and segments that cannot be read */
};
int history_read(struct history *h, const char *run_dir);
void history_release(struct history *h);

#endif
