/* The training loop: steps, and what is due between them. */
#ifndef CARAT_TRAIN_LOOP_H
#define CARAT_TRAIN_LOOP_H

#include "train/trainer.h"

/* Trains to the end: metrics, progress, validation, samples, checkpoints. OK at the end or where
 * t->watcher has seen enough, E_STOPPED after a save that a signal, a file or the time limit asked
 * for. Collective. */
int train_loop(struct trainer *t);

/* What follows every step: its rows of the metrics and its line; row gets what was written. Leaves
 * an error in t->pending. Collective when a segment of metrics is full,
 * and in every 20th step. */
void loop_report(struct trainer *t, const struct step_result *r, double row[M_N]);

#endif
