/* The model of the checkpoints that are fuzzed. */
#ifndef CARAT_FUZZ_TINY_H
#define CARAT_FUZZ_TINY_H

#include "model/tensors.h"

/* A few hundred parameters. */
void fuzz_tiny(struct model_spec *spec, struct tensor_table *table);

#endif
