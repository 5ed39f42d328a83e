/* What a run says: banner, a line a step, and the end. */
#ifndef CARAT_TRAIN_PROGRESS_H
#define CARAT_TRAIN_PROGRESS_H

#include "train/trainer.h"

void progress_banner(const struct trainer *t);
void progress_step(const struct trainer *t, const struct step_result *r);
/* Accuracy, update, noise and the like from the step's row, now and then. */
void progress_vitals(const struct trainer *t, const double row[M_N]);
void progress_valid(const struct trainer *t, double loss, double accuracy, double targets);
/* Sparkline of the loss, where the files lie, the next commands. rc: OK or E_STOPPED. */
void progress_end(const struct trainer *t, int rc);

/* Eight heights of n values, resampled to at most width characters (UTF-8), added to *out. */
void progress_sparkline(struct str *out, const double *v, int64_t n, int width);

#endif
