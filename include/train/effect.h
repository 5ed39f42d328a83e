/* What changing a key means for a run that is resumed, and what tells two states apart:
 * measurements decide nothing, unless the run's settings act on them. */
#ifndef CARAT_TRAIN_EFFECT_H
#define CARAT_TRAIN_EFFECT_H

#include "base/hash.h"
#include "conf/config_table.h"
#include <stdbool.h>

/* The key's effect on a run with these settings: the table's, or that on its path where something
 * else goes by what the key measures or keeps. Local. */
enum conf_effect effect_of(const struct conf_key *k, const struct config *c);
/* When a key that is safe in the table is not: "schedule.name is reduce_on_plateau"; NULL: never.
 */
const char *effect_unless(const struct conf_key *k);
/* A hash of all settings that decide the path of a run: those whose change is not safe. Local. */
void effect_path(struct sha256 *s, const struct config *c);
/* Whether a row of the state (train/state.h), its name n bytes long, decides later steps. */
bool effect_row_decides(const char *name, size_t n, const struct config *c);

#endif
