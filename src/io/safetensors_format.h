/* What the reader and the writer of safetensors share. */
#ifndef CARAT_IO_SAFETENSORS_FORMAT_H
#define CARAT_IO_SAFETENSORS_FORMAT_H

#include "io/safetensors.h"

#define ST_METADATA "__metadata__"
#define ST_SINGLE   "model.safetensors"
#define ST_INDEX    "model.safetensors.index.json"

/* Fills row->n from its shape, and the bytes of its data; E_DATA when they overflow. */
int st_count_row(struct st_row *row, uint64_t *bytes);

#endif
