/* `carat inspect RUN --events`: what a run's monitoring saw and did, with the ids of the samples.
 */
#ifndef CARAT_CMD_INSPECT_EVENTS_H
#define CARAT_CMD_INSPECT_EVENTS_H

#include <stdbool.h>

/* Prints them in the order of their writing, for people or as one JSON list. Local. E_IO, E_MEM. */
int inspect_events(const char *run, bool json);

#endif
