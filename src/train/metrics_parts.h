/* What the parts of the metrics share: the layout of a segment and the coding of its rows.
 *
 * A segment holds /step [S][STEP_WIDTH]: the columns of enum metric, then the CRC-32C of their
 * bytes as a number; and beside it /ranks and /layers, some rows a step: step, attempt, their
 * columns, CRC-32C. A row that was never written is all NaN. A step that was validated has a second
 * row of /step, the validation's figures in it, behind its first, which alone has rows beside it.
 * /durable [1][DURABLE_WIDTH]: step and attempt up to which no lost node can take a row away,
 * CRC-32C. */
#ifndef CARAT_TRAIN_METRICS_PARTS_H
#define CARAT_TRAIN_METRICS_PARTS_H

#include "base/fs.h"
#include "train/metrics.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define METRICS_KIND   "carat metrics"
#define METRICS_FORMAT 1

/* The arrays beside /step. */
enum side { SIDE_RANKS, SIDE_LAYERS, N_SIDES };

enum { DURABLE_WIDTH = 3 };
enum { STEP_WIDTH = M_N + 1, SIDE_HEAD = 2, SIDE_MOST = SIDE_HEAD + R_N + L_N + 1 };

struct side_kind {
    const char *name; /* "ranks" */
    const struct metric_column *column;
    int n_columns, width;
};
extern const struct side_kind SIDES[N_SIDES];

struct segment {
    int64_t attempt, n; /* of its name */
    int64_t after;      /* see struct metrics_attempt, as the next */
    char path_hash[65];
    char path[FS_PATH_MAX];
    int64_t rows;                        /* room for steps */
    int64_t n_beside[N_SIDES];           /* rows a step beside it; 0: the array is not there */
    int64_t step_at, beside_at[N_SIDES]; /* where the arrays lie in the file */
    int64_t durable_at;                  /* likewise; -1: there is none, as in older files */
    int step_width;
    int column[M_N]; /* the place of each in a row of /step; -1: not there */
};

static inline int64_t segment_step_at(const struct segment *s, int64_t row)
{
    return s->step_at + row * s->step_width * (int64_t)sizeof(double);
}

static inline int64_t segment_beside_at(const struct segment *s, enum side side, int64_t row,
                                        int64_t i)
{
    return s->beside_at[side] +
           (row * s->n_beside[side] + i) * SIDES[side].width * (int64_t)sizeof(double);
}

/* Puts the CRC of row[0 … width-2] into its last place; tells whether it fits what is before it. */
void metrics_seal(double *row, int width);
bool metrics_is_sealed(const double *row, int width);
/* Whether a number of a file can be one of steps or attempts. */
bool metrics_is_count(double v);
/* Never written. */
bool metrics_is_empty(const double *row, int width);

/* Whether a row of /step is whole, with a step and an attempt. */
bool metrics_is_row(const struct segment *s, const double *v);
/* Its columns. */
void metrics_take_columns(double row[M_N], const struct segment *s, const double *v);

/* A thread that syncs a file from time to time, so that no step waits for a disk; it touches
 * neither HDF5 nor MPI. */
struct metrics_sync;
/* E_MEM where there is no thread. Local. */
int metrics_sync_new(struct metrics_sync **out, double every_s);
/* Ends the thread. NULL is allowed. */
void metrics_sync_free(struct metrics_sync *s);
/* The file whose rows are synced from here on (fd -1: none); returns when no sync of the one before
 * is under way, nor will be. */
void metrics_sync_file(struct metrics_sync *s, int fd);
/* A row was written. */
void metrics_sync_row(struct metrics_sync *s, int64_t step);
/* The step up to which this rank's rows in the file are on the disk; -1: none is. */
int64_t metrics_sync_done(struct metrics_sync *s);
/* E_IO once a sync has failed; it is not tried again on that file, for the kernel may have dropped
 * what it could not write. */
int metrics_sync_error(struct metrics_sync *s, const char *path);

/* "<run_dir>/metrics". */
int segment_folder(char *path, const char *run_dir);
int segment_path(char *path, const char *run_dir, int64_t attempt, int64_t n);
/* All segments of a run by (attempt, n), names alone; *list is mem_free'd. Local. */
int segment_list(const char *run_dir, struct segment **list, size_t *n);
/* Fills the rest from the file, which is untrusted. E_DATA. Local. */
int segment_open(struct segment *s);
/* Creates, fills with NaN and publishes the segment of this attempt and number, for its rows and
 * those beside them. Collective. E_IO. */
int segment_create(const struct comm *c, struct segment *s, const char *run_dir);
/* Removes what a killed start left half made. Root. */
int segment_clean(const char *run_dir);

/* The step and attempt that /durable tells; false where it tells none. */
bool segment_durable(const struct segment *s, int fd, int64_t *step, int64_t *attempt);
/* Says so there, for a reader. E_IO. */
int segment_put_durable(const struct segment *s, int fd, int64_t step, int64_t attempt);

/* A row of the run's history, and where its step was first written: there are the rows beside it.
 */
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
/* The most rows beside a step in any segment. */
int64_t history_most(const struct history *h, enum side side);
int history_read(struct history *h, const char *run_dir);
void history_release(struct history *h);

/* Rows beside the steps, turned over into columns: calls put for each piece of steps in turn with
 * v[columns][room][most], of which the first n steps of each column count; NaN where there is no
 * row. E_IO, E_MEM, and what put returns. */
typedef int (*history_put_fn)(void *ctx, int64_t first, int64_t n, int64_t room, const double *v);
int history_turn(const struct history *h, enum side side, history_put_fn put, void *ctx);

#endif
