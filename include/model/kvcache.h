/* Generation one position at a time: keys and values of what was read are kept. */
#ifndef CARAT_MODEL_KVCACHE_H
#define CARAT_MODEL_KVCACHE_H

#include "model/model.h"

struct kvcache;

/* Room for max_T positions of one sequence. E_MEM, E_CONFIG. */
int kvcache_new(struct kvcache **c, const struct model_spec *s, int max_T);
void kvcache_free(struct kvcache *c);
void kvcache_reset(struct kvcache *c);
int kvcache_length(const struct kvcache *c);
/* Reads n tokens (a prompt, or the one just drawn) and gives the logits [V] (final soft cap
 * included) that follow the last of them. Agrees with model_logits. E_DATA when the cache is full.
 */
int kvcache_feed(struct kvcache *c, const float *params, const int32_t *token, int n,
                 float *logits);

#endif
