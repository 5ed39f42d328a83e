/* Text from a model: prompt in, continuation out. */
#ifndef CARAT_TRAIN_GENERATE_H
#define CARAT_TRAIN_GENERATE_H

#include "model/kvcache.h"
#include "model/sample.h"
#include "text/tokenizer.h"

struct generator;

/* Room for max_T positions. Borrows spec, params and tokenizer. E_MEM. */
int generator_new(struct generator **out, const struct model_spec *s, const float *params,
                  const struct tokenizer *tok, int max_T);
void generator_free(struct generator *g);

/* Continues the prompt by at most n tokens, ending at eos. emit (may be NULL) receives each piece
 * of text as it is drawn; *text (may be NULL; mem_free) the whole continuation without the prompt.
 * The result depends on (sampling, stream, prompt, weights) alone. */
int generate(struct generator *g, const struct sampling *how, uint64_t stream, const char *prompt,
             int n, void (*emit)(void *ctx, const char *piece), void *ctx, char **text);

/* Tokens that the last call drew, eos not counted. */
int generator_drawn(const struct generator *g);

#endif
