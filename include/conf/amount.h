/* Amounts with units: "500 steps", "20Mtok", "2 epochs", "100 samples", "5%"; and what they come to
 * in a run. */
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

/* Tokens that an amount comes to in this run: a step is batch.global × batch.seq_len tokens, an
 * epoch is `epoch_samples` samples of the training split, a percentage is taken of total_tokens. */
double amount_tokens(const struct amount *a, const struct config *c, double epoch_samples,
                     double total_tokens);
/* Optimizer steps of the whole run (train.length), rounded up; 0 when it is an epoch's share and
 * epoch_samples is 0. */
int64_t conf_total_steps(const struct config *c, double epoch_samples);
/* Tokens of one step, of the whole run, and of the warmup: what a schedule is built from. */
double conf_step_tokens(const struct config *c);
double conf_total_tokens(const struct config *c, double epoch_samples);
double conf_warmup_tokens(const struct config *c, double epoch_samples);

#endif
