/* What `carat help` tells beside the commands: the values that settings take. A topic is a row. */
#ifndef CARAT_CMD_TOPICS_H
#define CARAT_CMD_TOPICS_H

#include "conf/config_table.h"

#include <stdbool.h>
#include <stdio.h>

/* Prints the topic; false when there is none of that name. */
bool topic_print(FILE *f, const char *name);
/* Names of all topics; NULL past the last. */
const char *topic_name(int i);
const char *topic_help(int i);

/* `carat help KEY`: meaning, unit, default, range, what a change means on resume, source and an
 * example; of a section ("schedule"), its keys. False when the name is neither. */
bool key_print(FILE *f, const char *name);
/* A line of a job file that sets the key, with another value than the default where that says
 * little: into buf, which it returns. */
char *key_example(const struct conf_key *k, char *buf, size_t n);

#endif
