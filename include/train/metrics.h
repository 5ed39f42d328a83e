/* Per-step metrics in HDF5, written so that a killed process loses no acknowledged row.
 *
 * metrics/seg-<attempt>-<n>.h5: preallocated /step [S][G], /ranks [S][ranks][K] and
 * /layers [S][layers + 2][K'], float64 and NaN-filled, named by the attribute `columns`; each row
 * carries step, attempt and CRC-32C. A step writes raw data only (pwrite into the preallocated
 * extent). Columns are found by their names, so segments with fewer of them are read as well.
 * metrics.h5 presents the whole run, one dataset a column, with its events (train/events.h).
 *
 * Where attempts overlap every reader takes the highest attempt of each step: steps that are redone
 * after a kill come to the same bits, so what was written before stays true until then. Only what
 * lies behind the point where an attempt took another path is of a branch that was left; no reader
 * shows it, though it stays in its segment. */
#ifndef CARAT_TRAIN_METRICS_H
#define CARAT_TRAIN_METRICS_H

#include "par/comm.h"
#include <stdbool.h>
#include <stdint.h>

/* The columns of a step's row, the same on every rank: name, unit, meaning in one table (.c). */
enum metric {
    M_STEP,
    M_ATTEMPT,
    M_SAMPLES,
    M_TOKENS,
    M_LOSS,
    M_ACCURACY,
    M_LR,
    M_GRAD_NORM,
    M_CLIP,
    M_STEP_S,
    M_TOKENS_PER_S,
    M_PEAK_FRACTION,
    M_VALID_LOSS,
    M_VALID_ACCURACY,
    M_PERPLEXITY,
    M_LOSS_SMOOTH,
    M_BATCH,
    M_UPDATE_RATIO,
    M_CLIP_RATE,
    M_ATTENTION_LOGIT,
    M_NOISE_SCALE,
    M_NOISE_ERROR,
    M_CRITICAL_BATCH,
    M_NOISE_TRACE,
    M_NOISE_SIGNAL,
    M_N
};
/* Per-rank columns, seconds of the step and bytes. */
enum rank_metric {
    R_LOAD_S,
    R_COMPUTE_S,
    R_REDUCE_S,
    R_OPTIM_S,
    R_GATHER_S,
    R_SAVE_S,
    R_MEM_BYTES,
    R_N
};

/* Columns by layer: a row for the embedding, one a layer, and one for the final norm. */
enum layer_metric { L_GRAD_NORM, L_UPDATE_RATIO, L_N };

struct metric_column {
    const char *name, *unit, *help;
};
extern const struct metric_column METRIC_COLUMNS[M_N];
extern const struct metric_column RANK_COLUMNS[R_N];
extern const struct metric_column LAYER_COLUMNS[L_N];

/* An attempt as its segments name it. path: a hash of all that decides the bits of its steps (""
 * where that is not known, as in older files: then it is taken to be that of the others). */
struct metrics_attempt {
    int64_t number;
    int64_t after; /* the step behind which it begins */
    char path[65];
};

struct metrics;

/* The attempt that follows all those of which the run folder holds metrics; 0 when it holds none.
 * Local. */
int metrics_next_attempt(const char *run_dir, int64_t *attempt);

/* Opens a new segment for an attempt of the run in run_dir. n_groups: rows by layer, 0 for none.
 * Collective. E_IO. */
int metrics_open(struct metrics **m, const struct comm *c, const char *run_dir,
                 const struct metrics_attempt *attempt, int64_t n_groups);
/* Root asks before a further segment is begun and before metrics.h5 is written (may_write's error
 * ends either on all ranks): is the run folder still ours? Local. */
void metrics_ask(struct metrics *m, int (*may_write)(void *ctx), void *ctx);
/* Goes on in a new segment as another attempt. Collective. E_IO. */
int metrics_renew(struct metrics *m, const struct metrics_attempt *attempt);
/* One step's rows: root writes row[M_N] (NaN where not measured) and by_layer[n_groups][L_N] (NULL:
 * not measured in this step), every rank its rank_row[R_N].
 * A full segment is closed and the next begun (collective then: all ranks call it at the same
 * step). Returns the code of this rank's write; the caller agrees on it in the step's packed
 * reduction.
 * A row is acknowledged twice. Once this has returned, it survives the death of every process. A
 * thread of each rank fdatasyncs the file every 30 s, and once all ranks have done so root
 * publishes the step up to which their rows survive the loss of a node (metrics_settle). A sync
 * that failed is not tried again: the next step's call returns E_IO. */
int metrics_step(struct metrics *m, const double row[M_N], const double rank_row[R_N],
                 const double *by_layer);
/* Whether this rank has yet to sync its rows up to the step that was asked for last. Local. */
bool metrics_owes(const struct metrics *m);
/* No rank owes any (which the step's packed reduction tells all of them alike): root publishes that
 * step, and the newest is asked for next. By all ranks. E_IO. Local. */
int metrics_settle(struct metrics *m);
/* The last step's row once more, now with its validation figures: a further row, which counts in
 * place of the first, whose rows by rank and by layer stay its own; what was acknowledged is not
 * overwritten. On all ranks as metrics_step, and collective when that is. */
int metrics_amend(struct metrics *m, const double row[M_N]);
/* fsync, close, and metrics.h5 written anew by root (temporary name, rename). Collective. */
int metrics_close(struct metrics *m);
/* For leaving after an error: closes this rank's file and frees. What was written stays. Local. */
void metrics_free(struct metrics *m);

/* The newest step, and its attempt, up to which the rows of all ranks are known to be on the disk;
 * step -1: none is. Local. */
int metrics_durable(const char *run_dir, int64_t *step, int64_t *attempt);

/* The rows of a run in the order of their writing, as they come: of all attempts and segments,
 * those of a branch that was left among them, also while a job writes them. Local. */
struct metrics_tail;
enum tail { TAIL_NONE, TAIL_ROW, TAIL_AMENDED };
/* from: the first attempt of interest. E_MEM. */
int metrics_tail_new(struct metrics_tail **t, const char *run_dir, int64_t from);
void metrics_tail_free(struct metrics_tail *t);
/* *what: a new row, which is whole; the last row once more, now with its validation figures; or
 * nothing new for now. E_IO, E_DATA, E_MEM. */
int metrics_tail_next(struct metrics_tail *t, double row[M_N], enum tail *what);

/* Merges the segments of a run folder into metrics.h5. Local, serial. E_DATA, E_IO. */
int metrics_merge(const char *run_dir);
/* All rows of a run in step order, one a step: rows[n][M_N] (mem_free). Reads the
 * segments themselves, so it works on a running or killed job. Rows with a wrong CRC are left out
 * and counted. Local. */
int metrics_read(const char *run_dir, double **rows, int64_t *n, int64_t *n_bad);
/* What the ranks spend on average in a step, over the rows written by as many ranks as the newest
 * one; of a long run, over some thousands of them, evenly. */
struct metrics_ranks {
    int64_t ranks, rows; /* 0: there are no rows */
    double *mean;        /* [ranks][R_N], NaN where nothing was measured (mem_free) */
};
int metrics_read_ranks(const char *run_dir, struct metrics_ranks *r);
/* The rows by layer of the same steps: rows[n][n_groups][L_N], NaN where not measured (mem_free);
 * n_groups 0 and rows NULL when no segment has them. Local. */
int metrics_read_layers(const char *run_dir, double **rows, int64_t *n, int64_t *n_groups);
/* One segment: its attempt, ranks, whole rows and rows with a wrong CRC (those by rank and by
 * layer counted too). E_DATA when it is none or damaged beyond that. Local. */
struct metrics_segment {
    int64_t attempt, ranks, room, rows, n_bad, last_step, durable_step;
};
int metrics_check(const char *path, struct metrics_segment *s);

#endif
