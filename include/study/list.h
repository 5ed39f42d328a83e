/* Keys that hold a list of numbers, such as study.batches "8,16,32". */
#ifndef CARAT_STUDY_LIST_H
#define CARAT_STUDY_LIST_H

#include <stdbool.h>

/* Reads numbers apart by commas or blanks into out[most], rising. E_CONFIG, naming the key, for
 * what is no number from low to high, stands there twice, is not whole where that is asked for, or
 * is more than `most`. An empty text gives *n 0. */
int study_list(double *out, int *n, int most, const char *key, const char *text, double low,
               double high, bool whole);

#endif
