/* `carat inspect RUN --follow`: a run's steps as they come. */
#ifndef CARAT_CMD_INSPECT_FOLLOW_H
#define CARAT_CMD_INSPECT_FOLLOW_H

#include <stdbool.h>

/* Prints the last rows, then each new one, until nobody is at work in the run folder or Ctrl-C; as
 * JSON all rows, one object a line. Local. E_IO, E_DATA, E_MEM. */
int inspect_follow(const char *run, bool json);

#endif
