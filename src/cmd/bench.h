/* What the files of `carat bench` share. */
#ifndef CARAT_CMD_BENCH_PARTS_H
#define CARAT_CMD_BENCH_PARTS_H

#include "base/fs.h"
#include "base/prof.h"
#include "cmd/amdahl.h"
#include "cmd/job.h"
#include "cmd/machine_speed.h"
#include "par/comm.h"
#include "train/budget.h"

#include <stdbool.h>
#include <stdint.h>

enum { BENCH_MAX_COUNTS = AMDAHL_MAX_COUNTS };

struct bench_request {
    int64_t steps, warmup; /* steps 0: as many as fit into `seconds` */
    double seconds;
    bool json, scaling, help;
    const char *ranks; /* "1,2,4"; NULL: powers of two up to all */
};

/* A folder for what a run keeps in its own: removed at the end. */
struct bench_folder {
    char path[FS_PATH_MAX], tokens[FS_PATH_MAX];
    bool synthetic; /* the tokens are made up and lie here */
};

/* Makes the folder and, when the job's store is not there, one of made-up tokens. Collective. E_IO.
 */
int bench_folder_make(struct bench_folder *f, const struct job *j, const struct comm *c);
/* Collective. */
void bench_folder_remove(const struct bench_folder *f, const struct comm *c);

/* What steps of a job came to; the same on every rank. */
struct bench_steps {
    int ranks, nodes, cores; /* cores: ranks · threads */
    bool crowded;            /* more threads than processors on some node */
    int64_t global, n_steps; /* sequences a step, steps measured */
    double tokens, flops;    /* a step, all ranks */
    double step_s;           /* median; of the slowest rank, from step to step */
    double fastest_s, slowest_s;
    struct prof profile; /* medians of the busiest rank */
    int busiest;
    double compute_s[2];  /* forward and backward passes: of the idlest and busiest rank */
    double io_s;          /* data, metrics, progress: on the rank where they took longest */
    double all_bytes;     /* peak memory of all ranks: shared pages count once */
    double rank_bytes;    /* of the largest rank, with its part of what is shared */
    struct budget budget; /* the prediction, for a rank and a node */
    char precision[16], blas[64];
};

/* Trains for some steps in the folder and measures them. Nothing else may run on c's ranks.
 * Collective over c. */
int bench_steps(struct bench_steps *out, const struct config *conf, const struct model_spec *spec,
                const struct comm *c, const struct bench_folder *f, const struct bench_request *r);

/* FLOP/s in the job's precision of all cores. */
double bench_peak(const struct bench_steps *s, const struct machine_speed *m);
/* Model FLOP/s over that peak. */
double bench_peak_fraction(const struct bench_steps *s, const struct machine_speed *m);
/* The least time that a rank's phase can take: FLOPs / peak or bytes / bandwidth. */
double bench_floor_s(const struct prof_row *row, const struct bench_steps *s,
                     const struct machine_speed *m);
/* The share of a step that data, metrics and progress take. */
double bench_io_share(const struct bench_steps *s);

/* A batch over several rank counts. */
struct bench_scaling {
    int n, ranks[BENCH_MAX_COUNTS];
    int64_t strong_global, weak_global[BENCH_MAX_COUNTS];
    double strong_s[BENCH_MAX_COUNTS], weak_s[BENCH_MAX_COUNTS]; /* a step */
    double strong_tokens, weak_tokens[BENCH_MAX_COUNTS];
    double weak_passes_s[BENCH_MAX_COUNTS]; /* of the busiest rank: the same work at every count */
    bool crowded[BENCH_MAX_COUNTS];
    int n_fitted; /* counts with a processor for every thread */
    bool fitted;
    struct amdahl fit;
    char advice[480];
};

/* Whether `ranks` can be had. E_USAGE. Local. */
int bench_check_counts(const struct bench_request *r, const struct comm *c);
/* Collective over c. */
int bench_scaling(struct bench_scaling *out, const struct job *j, const struct comm *c,
                  const struct bench_folder *f, const struct bench_request *r);

void bench_print(const struct job *j, const struct bench_folder *f, const struct bench_steps *s,
                 const struct machine_speed *m);
void bench_print_scaling(const struct bench_scaling *s);
/* scaling may be NULL. E_BUG. */
int bench_print_json(const struct job *j, const struct bench_folder *f, const struct bench_steps *s,
                     const struct machine_speed *m, const struct bench_scaling *scaling);

#endif
