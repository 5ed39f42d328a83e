/* Where a text may be cut so that its parts, encoded one by one, give the whole's tokens; and a
 * memory of short parts seen before. Words repeat, so most of a text is looked up, not merged. */
#ifndef CARAT_TEXT_SEGMENTS_H
#define CARAT_TEXT_SEGMENTS_H

#include "spm_shim.h"
#include <stdbool.h>

struct segments;

/* For a model that takes text as it stands and has a piece for each byte; NULL in *out when no
 * boundary of it is safe. E_MEM. */
int segments_new(struct segments **out, const struct spm *m);
void segments_free(struct segments *s);

/* False where the text holds a character that the model confuses with a space. */
bool segments_fit(const char *text, size_t n);
/* Bytes of the first segment of a text that is not empty. */
size_t segment_length(const struct segments *s, const char *text, size_t n);

/* The ids kept for a segment, or NULL. */
const int32_t *segment_find(const struct segments *s, const char *text, size_t n, size_t *n_ids);
/* Keeps them, if they fit, in place of what had their slot. */
void segment_keep(struct segments *s, const char *text, size_t n, const int32_t *ids, size_t n_ids);

#endif
