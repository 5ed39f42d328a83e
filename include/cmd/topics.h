/* What `carat help` tells beside the commands: the values that settings take. A topic is a row. */
#ifndef CARAT_CMD_TOPICS_H
#define CARAT_CMD_TOPICS_H

#include <stdbool.h>
#include <stdio.h>

/* Prints the topic; false when there is none of that name. */
bool topic_print(FILE *f, const char *name);
/* Names of all topics; NULL past the last. */
const char *topic_name(int i);
const char *topic_help(int i);

#endif
