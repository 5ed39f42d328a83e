/* What asks a run to save and end before its last step. Signals only set a flag; all ranks learn of
 * it in the step's packed reduction. */
#ifndef CARAT_TRAIN_STOP_H
#define CARAT_TRAIN_STOP_H

enum stop_cause {
    STOP_SIGNAL, /* to any rank */
    STOP_FILE,   /* `stop` in the run folder */
    STOP_TIME    /* the slice is up (train/slice.h) */
};

/* SIGUSR1 and SIGTERM (and SIGINT once; a second ends at once) set the flag, in a thread of its
 * own; the caller and threads that begin later block them. Call before MPI_Init: launchers forward
 * signals early. */
void stop_install(void);
/* The signal that came, or 0. */
int stop_signal(void);

#endif
