/* What a SentencePiece model file says about itself that the library does not pass on. */
#ifndef CARAT_TEXT_SPM_PROTO_H
#define CARAT_TEXT_SPM_PROTO_H

#include <stdbool.h>
#include <stddef.h>

/* True for a BPE model that takes text as it stands: no normalisation table, no dummy prefix, white
 * space kept and escaped. What such a model makes of a piece of text then depends on the text
 * around it through merges alone. False for every other model and for bytes that are none. */
bool spm_takes_text_as_is(const void *bytes, size_t n);

#endif
