/* What `carat study` does beside the large-batch study itself. */
#ifndef CARAT_CMD_STUDY_MODES_H
#define CARAT_CMD_STUDY_MODES_H

#include "study_frame.h"

extern const struct study_command STUDY_BRANCH, STUDY_RULES;
/* Prints the law of study/prior.h with its data, and what it gives the job; from what opts_parse
 * left. */
int study_past(const struct study_request *q, int argc, char **argv);

#endif
