/* What Slurm says of a job, where there is a Slurm. */
#ifndef CARAT_TRAIN_SLURM_JOB_H
#define CARAT_TRAIN_SLURM_JOB_H

#include <stdbool.h>

/* True when squeue says that this job (its number, "123" or "123_4") has ended. False also when
 * there is no squeue, when it fails, takes more than 10 s or no longer knows the job, and when the
 * text is no number. No shell is involved. Waits for squeue. Local. */
bool slurm_job_has_ended(const char *job);
/* When squeue says that a running job will end, in seconds since 1970; 0 when it tells no such time
 * or, likewise, nothing. Local. */
double slurm_job_end_s(const char *job);

#endif
