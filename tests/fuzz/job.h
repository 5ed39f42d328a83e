/* A configuration that was accepted prints, and what is printed is read as the same again. */
#ifndef CARAT_FUZZ_JOB_H
#define CARAT_FUZZ_JOB_H

#include "conf/config_file.h"

void fuzz_config(const struct config *c, const struct conf_origins *o);

#endif
