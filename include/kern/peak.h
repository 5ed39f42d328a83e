/* The speed of the machine that a figure is held against. */
#ifndef CARAT_KERN_PEAK_H
#define CARAT_KERN_PEAK_H

/* Single-precision fused multiply-adds a second of one core, times two (FLOP/s), measured over
 * about `seconds` with independent register chains. */
double peak_fma_flops(double seconds);

#endif
