#include "par/exactsum.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

/* Limb i weighs 2^(32·i - 1074): bit 0 of limb 0 is the least positive double. The greatest double
 * reaches into limb 65; two more limbs hold the carries of 2^63 of those. */
#define LEAST_EXPONENT (-1074)
#define MANTISSA_BITS  53
#define LIMB_MASK      0xffffffff

/* An addition moves a limb by less than 2^32, so this many stay within 2^62. */
#define PENDING_MAX ((int64_t)1 << 30)

/* Fields of `special`, which add up over ranks; NaN is both. */
#define POSITIVE_INF ((int64_t)1)
#define NEGATIVE_INF ((int64_t)1 << 31)

void exactsum_clear(struct exactsum *a)
{
    memset(a, 0, sizeof *a);
}

/* Brings every limb but the top one into [0, 2^32). */
static void carry(struct exactsum *a)
{
    int64_t over = 0;
    for (int i = 0; i < EXACT_LIMBS - 1; i++) {
        int64_t v = a->limb[i] + over;
        a->limb[i] = v & LIMB_MASK;
        over = (v - a->limb[i]) / ((int64_t)1 << 32);
    }
    a->limb[EXACT_LIMBS - 1] += over;
    a->n_pending = 1;
}

static void count(struct exactsum *a, int64_t n)
{
    a->n_pending += n;
    if (a->n_pending >= PENDING_MAX)
        carry(a);
}

static int64_t special_of(double x)
{
    if (isnan(x))
        return POSITIVE_INF | NEGATIVE_INF;
    return x > 0 ? POSITIVE_INF : NEGATIVE_INF;
}

void exactsum_add(struct exactsum *a, double x)
{
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    int exponent = (int)(bits >> 52) & 0x7ff;
    uint64_t mantissa = bits & (((uint64_t)1 << 52) - 1);
    if (exponent == 0x7ff) {
        a->special |= special_of(x);
        return;
    }
    if (exponent > 0) {
        mantissa |= (uint64_t)1 << 52;
        exponent--; /* subnormal numbers have the exponent of the least normal ones */
    }
    int64_t sign = x < 0 ? -1 : 1, *limb = a->limb + exponent / 32;
    int shift = exponent % 32;
    uint64_t low = mantissa << shift, high = shift > 0 ? mantissa >> (64 - shift) : 0;
    limb[0] += sign * (int64_t)(low & LIMB_MASK);
    limb[1] += sign * (int64_t)(low >> 32);
    limb[2] += sign * (int64_t)high;
    count(a, 1);
}

void exactsum_merge(struct exactsum *a, const struct exactsum *b)
{
    for (int i = 0; i < EXACT_LIMBS; i++)
        a->limb[i] += b->limb[i];
    a->special |= b->special;
    count(a, b->n_pending);
}

static double special_value(int64_t special)
{
    if ((special & POSITIVE_INF) != 0 && (special & NEGATIVE_INF) != 0)
        return NAN;
    return (special & POSITIVE_INF) != 0 ? INFINITY : -INFINITY;
}

/* Bit `at` of carried limbs that are not negative. */
static uint64_t bit(const struct exactsum *a, int at)
{
    return (uint64_t)a->limb[at / 32] >> (at % 32) & 1;
}

static bool any_bit_below(const struct exactsum *a, int at)
{
    for (int i = 0; i < at / 32; i++)
        if (a->limb[i] != 0)
            return true;
    return ((uint64_t)a->limb[at / 32] & (((uint64_t)1 << (at % 32)) - 1)) != 0;
}

/* The highest bit that is set, or -1. The top limb is small: it only holds carries. */
static int highest_bit(const struct exactsum *a)
{
    for (int i = EXACT_LIMBS - 1; i >= 0; i--)
        if (a->limb[i] != 0)
            return 32 * i + 63 - __builtin_clzll((uint64_t)a->limb[i]);
    return -1;
}

/* The value of carried limbs that are not negative, rounded to nearest, ties to even. */
static double round_limbs(const struct exactsum *a)
{
    int top = highest_bit(a), lowest = top - MANTISSA_BITS + 1;
    if (lowest < 0)
        lowest = 0;
    uint64_t mantissa = 0;
    for (int i = top; i >= lowest; i--)
        mantissa = mantissa << 1 | bit(a, i);
    if (lowest > 0 && bit(a, lowest - 1) != 0)
        mantissa += any_bit_below(a, lowest - 1) ? 1 : mantissa & 1;
    return ldexp((double)mantissa, lowest + LEAST_EXPONENT);
}

double exactsum_value(const struct exactsum *a)
{
    if (a->special != 0)
        return special_value(a->special);
    struct exactsum x = *a;
    carry(&x);
    bool negative = x.limb[EXACT_LIMBS - 1] < 0;
    if (negative) {
        for (int i = 0; i < EXACT_LIMBS; i++)
            x.limb[i] = -x.limb[i];
        carry(&x);
    }
    double v = round_limbs(&x);
    return negative ? -v : v;
}

void exactsum_pack(const struct exactsum *a, int64_t out[EXACT_LIMBS + 1])
{
    struct exactsum x = *a;
    carry(&x);
    memcpy(out, x.limb, sizeof x.limb);
    out[EXACT_LIMBS] = a->special;
}

void exactsum_unpack(struct exactsum *a, const int64_t in[EXACT_LIMBS + 1])
{
    memcpy(a->limb, in, sizeof a->limb);
    int64_t positive = in[EXACT_LIMBS] % NEGATIVE_INF, negative = in[EXACT_LIMBS] / NEGATIVE_INF;
    a->special = (positive != 0 ? POSITIVE_INF : 0) | (negative != 0 ? NEGATIVE_INF : 0);
    carry(a);
}
