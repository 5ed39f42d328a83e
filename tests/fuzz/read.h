/* Reads of the HDF5 files of n bytes, and what must hold of what was read. HDF5 takes most of the
 * time to open a file, so it is read in one of several ways. */
#ifndef CARAT_FUZZ_READ_H
#define CARAT_FUZZ_READ_H

#include <stddef.h>

#define FUZZ_SEGMENT "run/metrics/seg-0000-0000.h5" /* its name in the fuzzer's folder */

void fuzz_read_store(const char *path, size_t n, unsigned way);
void fuzz_read_checkpoint(const char *path, size_t n, unsigned way);
/* Also as the only segment of a run. */
void fuzz_read_segment(const char *path, size_t n, unsigned way);

#endif
