/* The trainer: everything that a run owns between its first and last step. */
#ifndef CARAT_TRAIN_TRAINER_H
#define CARAT_TRAIN_TRAINER_H

#include "conf/config.h"
#include "data/loader.h"
#include "model/model.h"
#include "optim/noise.h"
#include "optim/optim.h"
#include "optim/schedule.h"
#include "par/pin.h"
#include "par/reduce.h"
#include "par/window.h"
#include "train/ckpt.h"
#include "train/cut.h"
#include "train/derive.h"
#include "train/metrics.h"
#include "train/monitor.h"
#include "train/optimizer.h"
#include "train/pace.h"
#include "train/rates.h"
#include "train/regularize.h"
#include "train/replicas.h"
#include "train/run.h"
#include "train/save.h"
#include "train/slice.h"
#include "train/state.h"
#include "train/stop.h"
#include "train/stragglers.h"

/* Where a run stands; what a checkpoint keeps of it. */
struct progress {
    int64_t step;          /* completed */
    uint64_t samples;      /* the position in the training order */
    int64_t sched_samples; /* consumed, all ranks: what schedule and ramp count */
    double targets;        /* counted targets */
    double train_s;        /* seconds in steps */
    int64_t attempt;
    int64_t skipped; /* updates left out in a row by the monitor */
};

/* What one step yields; the same on all ranks but for the times. */
struct step_result {
    double loss, accuracy, lr, grad_norm, clip; /* per target; norm of the mean gradient */
    struct optim_settings set;                  /* of this step */
    int64_t batch;                              /* its sequences */
    double gain;                                /* AdaScale's; 1 with other rules */
    double targets;
    bool finite;      /* false: the update was left out */
    bool stop, save;  /* asked for by a signal, a file or the time limit */
    bool saving;      /* a rank still writes a checkpoint */
    bool settled;     /* no rank owes rows of metrics to the disk */
    double time[R_N]; /* this rank's seconds by part */
    int64_t micros;   /* that this rank computed */
    double step_s;
};

/* Micro-batches in the order in which this rank needs them, requested ahead of the computation. */
struct feed {
    struct loader *loader;
    struct ramp ramp;
    int size, rank;
    int64_t micro;
    /* The step of the next request. */
    struct ramp_at at;
    uint64_t samples;  /* where in the training order it begins */
    int64_t batch;     /* its sequences */
    struct range mine; /* this rank's micro-batches of it */
    size_t next;       /* the next of them */
    int64_t passes;    /* steps that are still to be requested, this one included */
};

/* Which state a trainer begins with, and whether it keeps a run. */
enum trainer_start {
    START_RUN,    /* takes the run folder; goes on from its newest checkpoint, else anew */
    START_ANEW,   /* without a run folder: no file is written; model.init or random weights */
    START_NEWEST, /* without a run folder, from the newest checkpoint that lies in it */
};

struct trainer;

/* Who looks on while a run trains, and may end it: a study's trial. Both functions see the same on
 * every rank and answer alike. */
struct watcher {
    void *ctx;
    /* Whether the run is validated after this step, whatever validate.every says. */
    bool (*wants_loss)(void *ctx, const struct trainer *t, const struct step_result *r);
    /* Before the first step and after each; loss: of its validation, NaN where there was none.
     * True: the run is saved here and train_loop returns OK. */
    bool (*has_seen)(void *ctx, struct trainer *t, double loss);
};

struct trainer {
    const struct config *conf;
    enum trainer_start start;
    const struct comm *comm;
    struct pin pin; /* where this rank runs */
    struct model_spec spec;
    struct model *model;
    const struct tensor_table *tensors;

    struct optim_layout layout;
    struct shard shard; /* who sums and, when sharded, updates what */
    struct shard state; /* who keeps optimizer state: shard, or all of it on every rank */
    struct shard whole; /* who writes and reads which parameters, trained or not */
    struct reducer *reducer;
    struct comm holders;   /* the ranks as teams of those that hold parameters together */
    struct window *shared; /* where a team does */
    float *params;         /* slab */
    struct comm packers;   /* teams of those that hold the bf16 forms of weights together */
    struct window *forms;  /* NULL in fp32 */
    const struct optim_rule *rule;
    struct optim optim;
    struct tensor_table stat_table[OPTIM_MAX_STATS];
    struct shard stat_shard[OPTIM_MAX_STATS];
    struct rates rates;
    struct regularizer regularizer;
    struct optim_group *groups;
    int n_groups; /* of tensors: all */
    struct course course;
    struct scaling scaling;
    struct gain gain; /* what AdaScale measures */
    struct schedule schedule;
    double forced_lr; /* the rate of the steps that follow, which going back lowers all the same;
                         0: the schedule's */
    struct str lr_derivation, lr_warnings;

    struct store train_store, valid_store;
    struct loader *valid_loader;
    struct feed feed;

    int64_t n_steps; /* of the whole run; AdaScale estimates it anew in each step */
    int64_t n_micro; /* micro-batches of a step of batch.global */
    struct progress at;
    struct state state_rows; /* of whoever keeps numbers from step to step */
    struct noise noise;      /* the gradient's, up to the last step */
    struct monitor monitor;
    struct replicas replicas;
    struct pace pace;
    char run_id[37], parent_id[37];
    struct run_lock lock;
    struct metrics *metrics;
    struct stragglers stragglers;
    double init_s;                 /* clock at the start of this trainer */
    struct slice slice;            /* root's counts */
    struct slice_times times;      /* of this start */
    struct cut_watch cut;          /* until this start has gained a step */
    enum stop_cause stop_cause;    /* root's, once a step has ended the run before its time */
    int64_t first_step;            /* where the loop began */
    bool loaded;                   /* a checkpoint, whole and into place */
    double save_s;                 /* the last save's seconds, all of them, of this attempt or an
                                      earlier one; 0: none was measured */
    double save_held_s;            /* those that training waited for it */
    double unreported_save_s;      /* seconds spent saving since the last metrics row */
    int64_t saved_step;            /* step of the newest checkpoint, -1 when there is none */
    double peak_flops;             /* measured, all ranks together */
    double flops_token;            /* of a step, forward + backward, without what is frozen */
    struct prof *prof;             /* of this rank's steps; NULL: not measured */
    const struct watcher *watcher; /* borrowed; NULL: nobody looks on */
    int pending;      /* this rank's error since the last step: all learn of it in the next */
    int failed_saves; /* in a row */
    struct saving saving;
};

/* Opens the data, builds the model, takes the run folder, and starts from random weights, from
 * model.init, or from the run's newest whole checkpoint. Prints what is resumed and why. Whether
 * the slice has a limit must be the same on all ranks. Collective. On error everything is released.
 */
int trainer_init(struct trainer *t, const struct config *conf, const struct model_spec *spec,
                 const struct comm *comm, struct slice slice);
/* The same without a run folder (START_ANEW, START_NEWEST): reads at most, so that a live run is
 * not disturbed; such a trainer has no metrics and cannot save. E_DATA where START_NEWEST finds no
 * checkpoint. Collective. */
int trainer_init_apart(struct trainer *t, const struct config *conf, const struct model_spec *spec,
                       const struct comm *comm, enum trainer_start start);
/* Whether the run folder is still this trainer's: before whatever is published or removed there.
 * Collective. E_IO where another job took it. */
int trainer_may_write(struct trainer *t);
/* The run ended with this code: says so in the file FAILED, unless it was only stopped or the run
 * folder is another's by now. trainer_init does so itself. Local, root. */
void trainer_failed(struct trainer *t, int rc);
void trainer_release(struct trainer *t);

/* Charges the phases of the steps that follow to p (borrowed; NULL: to none). Local. */
void trainer_set_prof(struct trainer *t, struct prof *p);

/* This attempt, as it goes on from where the trainer is: what follows is on the path that settings,
 * data and times of going back decide. Local. */
struct metrics_attempt trainer_attempt(const struct trainer *t);

/* What schedule and ramp have counted. */
struct ramp_at trainer_at(const struct trainer *t);
/* Course, scaling and schedule from the configuration and what is done (t->at). E_CONFIG. Local. */
int trainer_derive(struct trainer *t);

/* The parameters have changed: packs them anew for bf16 products, each rank of a team its part.
 * Collective over the team. E_RANK. */
int trainer_pack(struct trainer *t);

/* One optimizer step. Collective: every rank returns the same code. */
int trainer_step(struct trainer *t, struct step_result *r);

#endif
