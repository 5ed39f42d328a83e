/* Hugging Face folders: config.json and safetensors, read and written exactly. */
#ifndef CARAT_MODEL_CONVERT_H
#define CARAT_MODEL_CONVERT_H

#include "model/tensors.h"

/* All tensors of the table from model.safetensors or its sharded form into the slab (gaps zeroed);
 * F32, BF16 and F16 are widened exactly. E_DATA names tensors that are missing, unknown or of
 * another shape. Models that also see pictures are read as their text part: their prefixes
 * ("language_model.model.", "model.language_model.") are taken off and their vision tower is left
 * out. An lm_head.weight may be there when it is a copy of the embedding, bit for bit. Local. */
int convert_read(const char *folder, const struct tensor_table *t, float *slab);

enum convert_dtype { CONVERT_F32, CONVERT_BF16, CONVERT_F16 };

/* Writes folder/config.json and folder/model.safetensors (sharded with an index above
 * max_shard_bytes). BF16 and F16 round to nearest even; *exact (may be NULL) tells whether every
 * value was kept; a value too large for F16 is E_DATA. The folder is made when missing; config.json
 * is written last. A muP model (mup_base) is written as the plain one that computes the same, its
 * constants in its norms' weights. Local. */
int convert_write(const char *folder, const struct model_spec *s, const struct tensor_table *t,
                  const float *slab, enum convert_dtype dtype, size_t max_shard_bytes, int *exact);

#endif
