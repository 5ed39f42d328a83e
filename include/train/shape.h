/* The model's shape as a job gives it. */
#ifndef CARAT_TRAIN_SHAPE_H
#define CARAT_TRAIN_SHAPE_H

#include "conf/config.h"
#include "data/store.h"
#include "model/spec.h"

/* From the preset, config.json or weights, with the model.* settings. The vocabulary is theirs
 * unless model.vocab is set. E_CONFIG. Local. */
int shape_of_job(struct model_spec *s, const struct config *c);
/* The store's vocabulary where the job sets none; a model that starts from other weights keeps
 * theirs. E_CONFIG. Local. */
int shape_take_vocab(struct model_spec *s, const struct config *c, const struct store *store);
/* Both, with the job's training data. E_CONFIG, E_DATA. Local. */
int shape_with_data(struct model_spec *s, const struct config *c);

#endif
