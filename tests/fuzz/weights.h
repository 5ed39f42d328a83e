/* What must hold of safetensors that were opened: each tensor lies in its file and can be read. */
#ifndef CARAT_FUZZ_WEIGHTS_H
#define CARAT_FUZZ_WEIGHTS_H

#include "io/safetensors.h"

/* No tensor has more bytes than most. */
void fuzz_weights(const struct st *st, uint64_t most);

#endif
