/* Small HDF5 files of each kind, written as carat writes them, with the checksums of sums.c. */
#ifndef CARAT_FUZZ_FILES_H
#define CARAT_FUZZ_FILES_H

#include "par/comm.h"

void fuzz_write_store(const char *path, int vocab);
/* Of tiny.h's model. */
void fuzz_write_checkpoint(const struct comm *alone, const char *path);
/* With two steps in room for three. */
void fuzz_write_segment(const struct comm *alone, const char *path);

#endif
