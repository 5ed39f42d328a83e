#include "kern/rope.h"

#include <math.h>

#include "vmath.h"

enum { PAIRS = 64 }; /* pairs turned together: their angles stay in the first cache */

void rope_table(float *cos_sin, size_t T, size_t Hd, double base, double factor)
{
    size_t half = Hd / 2;
    for (size_t i = 0; i < half; i++) {
        double freq = 1.0 / (pow(base, 2.0 * (double)i / (double)Hd) * factor);
        for (size_t p = 0; p < T; p++) {
            cos_sin[(p * half + i) * 2] = (float)cos((double)p * freq);
            cos_sin[(p * half + i) * 2 + 1] = (float)sin((double)p * freq);
        }
    }
}

/* (x1, x2) turned by the angle of (c, s), n pairs. */
static void turn(float *restrict x1, float *restrict x2, const float *restrict c,
                 const float *restrict s, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        float a = x1[i], b = x2[i];
        x1[i] = fmaf_(a, c[i], -(b * s[i]));
        x2[i] = fmaf_(b, c[i], a * s[i]);
    }
}

/* All heads of one row; sign -1 turns back. angles[Hd/2, 2]. */
static void turn_row(float *x, const float *angles, float sign, size_t n_heads, size_t Hd)
{
    size_t half = Hd / 2;
    for (size_t i = 0; i < half; i += PAIRS) {
        size_t n = half - i < PAIRS ? half - i : PAIRS;
        float c[PAIRS], s[PAIRS];
        for (size_t j = 0; j < n; j++) {
            c[j] = angles[(i + j) * 2];
            s[j] = angles[(i + j) * 2 + 1] * sign;
        }
        for (size_t h = 0; h < n_heads; h++)
            turn(x + h * Hd + i, x + h * Hd + half + i, c, s, n);
    }
}

static void turn_all(float *x, size_t ldx, const float *cos_sin, float sign, size_t B, size_t T,
                     size_t first, size_t n_heads, size_t Hd)
{
    for (size_t b = 0; b < B; b++)
        for (size_t p = 0; p < T; p++)
            turn_row(x + (b * T + p) * ldx, cos_sin + (p + first) * Hd, sign, n_heads, Hd);
}

void rope_fwd(float *x, size_t ldx, const float *cos_sin, size_t B, size_t T, size_t first,
              size_t n_heads, size_t Hd)
{
    turn_all(x, ldx, cos_sin, 1.0f, B, T, first, n_heads, Hd);
}

void rope_bwd(float *dx, size_t lddx, const float *cos_sin, size_t B, size_t T, size_t first,
              size_t n_heads, size_t Hd)
{
    turn_all(dx, lddx, cos_sin, -1.0f, B, T, first, n_heads, Hd);
}
