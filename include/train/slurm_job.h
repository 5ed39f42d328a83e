/* What Slurm says of a job, where there is a Slurm. */
#ifndef CARAT_TRAIN_SLURM_JOB_H
#define CARAT_TRAIN_SLURM_JOB_H

#include <stdbool.h>

/* True when squeue says that this job (its number, "123" or "123_4") has ended. False also when
 * there is no squeue, when it fails, takes more than 10 s or no longer knows the job, and when the
 * text is no number. No shell is involved. Waits for squeue. Local. */
bool slurm_job_has_ended(const char *job);
/* When the running job that this process belongs to will end, by squeue: seconds since 1970,
 * INFINITY when it has no limit, 0 when that is not known: there is no job or, likewise, no answer
 * in so many seconds. Of an array it is this task's, of a heterogeneous job the soonest. Local. */
double slurm_job_end_s(double patience_s);

#endif
