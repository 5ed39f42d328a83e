#include "kern/rope.h"

#include <math.h>

void rope_table(float *cos_sin, size_t T, size_t Hd, double base, double factor)
{
    size_t half = Hd / 2;
    for (size_t i = 0; i < half; i++) {
        double freq = 1.0 / (pow(base, 2.0 * (double)i / (double)Hd) * factor);
        for (size_t p = 0; p < T; p++) {
            cos_sin[p * Hd + i] = (float)cos((double)p * freq);
            cos_sin[p * Hd + half + i] = (float)sin((double)p * freq);
        }
    }
}
