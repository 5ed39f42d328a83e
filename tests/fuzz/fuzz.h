/* What the fuzzers share. Each fuzz_<name>.c is a target of libFuzzer: it gives bytes to the
 * function that reads such a file, and then asks for what must hold of all that the function
 * accepts. */
#ifndef CARAT_FUZZ_H
#define CARAT_FUZZ_H

#include "par/comm.h"

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

/* libFuzzer's names. */
int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

/* Ends the process when the condition does not hold: libFuzzer then keeps the input. */
#define MUST(condition)                                                                            \
    ((condition) ? (void)0                                                                         \
                 : (fprintf(stderr, "%s:%d: does not hold: %s (%s)\n", __FILE__, __LINE__,         \
                            #condition, fuzz_error()),                                             \
                    abort()))
/* The last error's message. */
const char *fuzz_error(void);

/* MPI's single rank, begun at the first call. */
const struct comm *fuzz_alone(void);

/* This process's own folder in $TMPDIR; the runner takes one in memory and removes it. */
const char *fuzz_dir(void);
/* Writes "<folder>/<name>", whose folders are made, and returns its path; four are kept. */
const char *fuzz_file(const char *name, const void *data, size_t n);
/* The bytes with a NUL behind them, good until the next call. */
char *fuzz_text(const uint8_t *data, size_t n);

#endif
