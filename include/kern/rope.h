/* Angles of the rotary position embedding; heads.h turns by them.
 * Source: Su et al. 2021, eq. 15. */
#ifndef CARAT_KERN_ROPE_H
#define CARAT_KERN_ROPE_H

#include <stddef.h>

/* cos_sin[T, 2, Hd/2]: of each position the cosines, then the sines of its angles
 * p / (base^(2i/Hd) · factor), computed in double. */
void rope_table(float *cos_sin, size_t T, size_t Hd, double base, double factor);

#endif
