/* Watching a run: what detectors see is told in a sentence, recorded as an event, and acted on.
 *
 * All decisions come from values that are the same on all ranks, so every rank takes them alike. */
#ifndef CARAT_TRAIN_MONITOR_H
#define CARAT_TRAIN_MONITOR_H

#include "conf/config.h"
#include "train/detect.h"
#include "train/metrics.h"
#include "train/state.h"
#include "train/sums.h"
#include "train/vitals.h"

struct event;
struct trainer;
struct step_result;

struct monitor {
    struct detect_limits limits;
    struct detect detect;
    struct vitals vitals;
    bool vitals_due, noise_due; /* in this step */
    bool repeats;               /* monitor.repeat */
    bool confirmed;             /* a repeat gave this step's bits again */
    bool told_of_noise;         /* that the batch is above the noise scale that was measured */
    /* The run's: how often it went back, and the factor of the rate that this left. */
    struct monitor_back {
        double times, rate;
    } back;
    /* What is to follow this step: the trainer ends, or goes back to before a step. */
    bool stops, goes_back;
    bool sound; /* it ends with weights that are worth a checkpoint */
    int64_t before;
    char text[512]; /* why */
    char row_name[2][32];
};

/* Begins with nothing seen and adds its rows to the state; the shard says who sums which part of
 * the gradient. E_MEM. */
int monitor_init(struct monitor *m, const struct config *c, const struct tensor_table *t,
                 const struct shard *s, struct state *state);
void monitor_release(struct monitor *m);

/* Completes the event with the attempt and the training order and appends it to the run's, by root,
 * while the folder is this trainer's; one without a run folder keeps none. What fails is left in
 * t->pending. Local. */
void monitor_record(struct trainer *t, struct event *e);

/* A step begins: what is measured in it. Local. */
void monitor_begin(struct trainer *t);
/* A micro-batch is done: its part in the step's sums. Local. */
void monitor_pass(struct trainer *t, struct sums *s, const struct pass_result *p);
/* The gradient's sums are known: whether they are not finite or far out, and worth computing again.
 * Local, as are all here. */
bool monitor_suspects(const struct trainer *t, const struct step_result *r);
/* That was done, and two results agree: what is told of the step says so. */
void monitor_confirm(struct trainer *t);
/* The gradient's sums are known: whether the update is to be made. Local. */
bool monitor_allows(struct trainer *t, struct step_result *r, const struct sums *s);
/* Around the update of the parameters. Local. */
void monitor_before(struct trainer *t);
void monitor_after(struct trainer *t);
/* The update was made, or not: the averages and the detectors of many steps. What stops the run is
 * E_DIVERGED. Collective where the step is measured. */
int monitor_conclude(struct trainer *t, const struct step_result *r, bool updated);
/* After a validation. E_DIVERGED. Local. */
int monitor_validated(struct trainer *t, double valid_loss);

/* What the last step's row says beside its loss. Local. */
void monitor_fill(const struct trainer *t, double row[M_N]);
/* Its rows by layer; NULL when they were not measured. Local. */
const double *monitor_by_layer(const struct trainer *t);

/* Whether the run is to go back now, and going back: to the newest checkpoint before the trouble,
 * with a lower rate and past the samples. Collective. E_DIVERGED where there is no checkpoint. */
bool monitor_wants_back(const struct trainer *t);
int monitor_go_back(struct trainer *t);
/* The step in which a trouble began that may yet make the run go back before it; 0: there is none.
 * The newest checkpoint before it has to stay. Local. */
int64_t monitor_trouble_since(const struct trainer *t);
/* Says so where that may be a checkpoint more than checkpoint.keep. Local. */
void monitor_say_kept(const struct config *c);
/* Whether any detector may make a run go back: it then needs a checkpoint from the start. */
bool monitor_may_go_back(const struct config *c);

/* Turns all detectors off but that of values that are not finite: for trainings that are not a run.
 */
void monitor_quiet(struct config *c);

#endif
