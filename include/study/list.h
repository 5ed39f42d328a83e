/* Keys that hold a list of numbers, such as study.batches "8,16,32". */
#ifndef CARAT_STUDY_LIST_H
#define CARAT_STUDY_LIST_H

#include "conf/config.h"

/* Reads numbers apart by commas or blanks into out[most], rising. E_CONFIG, naming the key, for
 * what is no number from low to high, stands there twice, is not whole where that is asked for, or
 * is more than `most`. An empty text gives *n 0. */
int study_list(double *out, int *n, int most, const char *key, const char *text, double low,
               double high, bool whole);
/* study.batches, rising; where it is empty, batch.global times 1/4, 1/2, 1, 2 and 4, as far as
 * these are whole and at least batch.micro. */
int study_batches(double *out, int *n, int most, const struct config *job);

#endif
