/* Reasons to stop before the end: signals, a file, a time limit. Signals only set a flag; all ranks
 * learn of it in the step's packed reduction. */
#ifndef CARAT_TRAIN_STOP_H
#define CARAT_TRAIN_STOP_H

#include <stdbool.h>

/* SIGUSR1 and SIGTERM (and SIGINT once; a second ends at once) set the flag, in a thread of its
 * own; the caller and threads that begin later block them. Call before MPI_Init: launchers forward
 * signals early. */
void stop_install(void);
/* The signal that came, or 0. */
int stop_signal(void);

/* Time left for training: begun_s is the clock at the start of the process, limit_s 0 for none.
 * True when what remains is less than twice a save plus a step and 10 s. */
bool stop_time_is_up(double begun_s, double limit_s, double save_s, double step_s);

#endif
