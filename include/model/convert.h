/* Hugging Face folders: config.json and safetensors, read and written exactly. */
#ifndef CARAT_MODEL_CONVERT_H
#define CARAT_MODEL_CONVERT_H

#include "model/tensors.h"

/* All tensors of the table from model.safetensors or its sharded form into the slab (gaps zeroed);
 * F32, BF16 and F16 are widened exactly. Tensors of another name are E_DATA unless they are a tied
 * lm_head.weight equal to the embedding or of a vision tower; missing ones and other shapes are
 * E_DATA naming tensor and shapes. A "language_model." prefix is accepted. */
int convert_read(const char *folder, const struct tensor_table *t, float *slab);

enum convert_dtype { CONVERT_F32, CONVERT_BF16, CONVERT_F16 };

/* Writes folder/config.json and folder/model.safetensors (sharded with an index above
 * max_shard_bytes). BF16 and F16 round to nearest even; *exact (may be NULL) tells whether every
 * value was kept. */
int convert_write(const char *folder, const struct model_spec *s, const struct tensor_table *t,
                  const float *slab, enum convert_dtype dtype, size_t max_shard_bytes, int *exact);

#endif
