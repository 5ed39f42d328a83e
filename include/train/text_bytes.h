/* Bytes of text behind tokens: what makes losses comparable between tokenizers. */
#ifndef CARAT_TRAIN_TEXT_BYTES_H
#define CARAT_TRAIN_TEXT_BYTES_H

#include "data/store.h"
#include "par/comm.h"
#include "text/tokenizer.h"

#include <stdbool.h>

/* Bytes of the text that tokens first … end-1 of a store's stream decode to, shared over the ranks
 * by documents. inner: without the first token of each document. Collective. */
int text_bytes(const struct comm *c, const struct store *s, const struct tokenizer *t,
               uint64_t first, uint64_t end, bool inner, int64_t *bytes);

#endif
