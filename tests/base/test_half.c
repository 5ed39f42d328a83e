/* 16-bit floats: every pattern comes back, every tie goes to even, the compiler's own agree. */
#include "base/half.h"
#include "base/rng.h"
#include "check_main.h"

#include <math.h>

enum { PATTERNS = 1 << 16 };

START_TEST(every_pattern_comes_back)
{
    static float wide[PATTERNS];
    static uint16_t in[PATTERNS], out[PATTERNS];
    for (uint32_t i = 0; i < PATTERNS; i++)
        in[i] = (uint16_t)i;
    bf16_widen(wide, in, PATTERNS);
    bf16_narrow(out, wide, PATTERNS);
    ck_assert_mem_eq(in, out, sizeof in);
    f16_widen(wide, in, PATTERNS);
    f16_narrow(out, wide, PATTERNS);
    ck_assert_mem_eq(in, out, sizeof in);
}
END_TEST

/* The value of a pattern by the definition: (-1)^s · 2^(e-bias) · 1.f, in double. */
static double value(uint32_t h, int fraction_bits, int bias)
{
    uint32_t f = h & ((1u << fraction_bits) - 1), e = (h & 0x7fffu) >> fraction_bits;
    double one = e == 0 ? 0 : 1;
    double m = ldexp(one + ldexp(f, -fraction_bits), (int)(e == 0 ? 1 : e) - bias);
    return h & 0x8000u ? -m : m;
}

START_TEST(widening_is_the_definition)
{
    for (uint32_t h = 0; h < PATTERNS; h++) {
        if ((h & 0x7f80) != 0x7f80)
            ck_assert(bf16_to_f32((uint16_t)h) == value(h, 7, 127));
        if ((h & 0x7c00) != 0x7c00)
            ck_assert(f16_to_f32((uint16_t)h) == value(h, 10, 15));
    }
    ck_assert(isinf(f16_to_f32(0x7c00)) && f16_to_f32(0xfc00) < 0 && isnan(f16_to_f32(0x7c01)));
    ck_assert(isinf(bf16_to_f32(0x7f80)) && bf16_to_f32(0xff80) < 0 && isnan(bf16_to_f32(0x7f81)));
    ck_assert(signbit(f16_to_f32(0x8000)) && signbit(bf16_to_f32(0x8000)));
}
END_TEST

/* Between neighbours a and a+1 (patterns of one sign): below, on and above the midpoint. */
static void ties(uint16_t narrow(float), float widen(uint16_t), uint32_t a, double top)
{
    uint32_t b = a + 1, even = a & 1 ? b : a;
    double high =
        isinf(widen((uint16_t)b)) ? copysign(top, widen((uint16_t)b)) : widen((uint16_t)b);
    float middle = (float)(((double)widen((uint16_t)a) + high) / 2);
    float below = nextafterf(middle, widen((uint16_t)a));
    float above = nextafterf(middle, widen((uint16_t)b));
    ck_assert_msg(narrow(middle) == even, "tie above %#x", a);
    ck_assert_msg(narrow(below) == a, "below the tie above %#x", a);
    ck_assert_msg(narrow(above) == b, "above the tie above %#x", a);
}

START_TEST(ties_go_to_even)
{
    for (uint32_t sign = 0; sign <= 0x8000; sign += 0x8000) {
        for (uint32_t h = 0; h < 0x7f80; h++)
            ties(f32_to_bf16, bf16_to_f32, sign | h, 0x1p128);
        for (uint32_t h = 0; h < 0x7c00; h++)
            ties(f32_to_f16, f16_to_f32, sign | h, 0x1p16);
    }
}
END_TEST

START_TEST(edges_of_the_range)
{
    static const struct {
        float x;
        uint16_t f16, bf16;
    } rows[] = {{0.0f, 0, 0},
                {-0.0f, 0x8000, 0x8000},
                {1.0f, 0x3c00, 0x3f80},
                {65504.0f, 0x7bff, 0x4780},
                {65519.996f, 0x7bff, 0x4780},
                {65520.0f, 0x7c00, 0x4780},
                {0x1p-24f, 1, 0x3380},
                {0x1p-25f, 0, 0x3300},
                {0x1.000002p-25f, 1, 0x3300},
                {0x1p-149f, 0, 0},
                {0x1.fffffep127f, 0x7c00, 0x7f80},
                {INFINITY, 0x7c00, 0x7f80},
                {-INFINITY, 0xfc00, 0xff80}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        ck_assert_uint_eq(f32_to_f16(rows[i].x), rows[i].f16);
        ck_assert_uint_eq(f32_to_bf16(rows[i].x), rows[i].bf16);
    }
    /* A NaN whose payload lies in the lost bits alone. */
    ck_assert_uint_eq(f32_to_f16(f32_of_bits(0x7f800001)), 0x7e00);
    ck_assert_uint_eq(f32_to_bf16(f32_of_bits(0xff800001)), 0xffc0);
    ck_assert_uint_eq(f32_to_bf16(f32_of_bits(0x7fffffff)), 0x7fff);
}
END_TEST

#ifdef __FLT16_MAX__
START_TEST(the_compiler_agrees)
{
    for (uint64_t i = 0; i < 1 << 20; i++) {
        uint32_t w[4];
        rng_philox(w, 1, 0, i);
        for (int k = 0; k < 4; k++) {
            /* Half of them with exponents where binary16 has values. */
            uint32_t u = k & 1 ? w[k] : (w[k] & 0x80ffffffu) | (100 + (w[k] >> 24 & 31)) << 23;
            float x = f32_of_bits(u);
            if (isnan(x))
                continue;
            _Float16 h = (_Float16)x;
            uint16_t bits;
            memcpy(&bits, &h, sizeof bits);
            ck_assert_uint_eq(f32_to_f16(x), bits);
        }
    }
}
END_TEST
#endif

static void add(TCase *t)
{
    tcase_add_test(t, every_pattern_comes_back);
    tcase_add_test(t, widening_is_the_definition);
    tcase_add_test(t, ties_go_to_even);
    tcase_add_test(t, edges_of_the_range);
#ifdef __FLT16_MAX__
    tcase_add_test(t, the_compiler_agrees);
#endif
}

int main(void)
{
    return run_suite("base/half", add);
}
