/* What `carat inspect` says of a study's folder. */
#ifndef CARAT_CMD_INSPECT_STUDY_H
#define CARAT_CMD_INSPECT_STUDY_H

#include <jansson.h>
#include <stdbool.h>

/* Adds its kind, its trials by state, what they took and the best of them; its job too on demand.
 * E_DATA. Local. */
int inspect_study(json_t *o, const char *path, bool with_config);
/* Prints its trials as CSV. E_DATA. Local. */
int inspect_study_csv(const char *path);

#endif
