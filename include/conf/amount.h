/* Amounts with units: "500 steps", "20Mtok", "2 epochs", "100 samples", "5%". What they
 * come to in a run: train/derive.h. */
#ifndef CARAT_CONF_AMOUNT_H
#define CARAT_CONF_AMOUNT_H

#include "conf/config.h"

#include <stdbool.h>
#include <stddef.h>

/* Parses text; a plain number takes the unit `natural`. False: no number, an unknown unit, or a
 * fraction of a step, token or sample. */
bool amount_parse(const char *text, enum unit natural, struct amount *out);
/* The amount as amount_parse reads it, exactly; "" when not set. Returns buf. */
char *amount_text(const struct amount *a, char *buf, size_t n);
/* "steps"; "" for UNIT_NONE. */
const char *unit_name(enum unit u);

#endif
