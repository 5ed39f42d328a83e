#include "base/hash.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

/* CRC-32C. Polynomials are kept reflected: bit 31 is x^0. */
#define POLY 0x82F63B78u

/* The product of two polynomials modulo POLY. */
static uint32_t mul_mod(uint32_t a, uint32_t b)
{
    uint32_t p = 0;
    for (int i = 31; i >= 0; i--) {
        p ^= b & (0u - (a >> i & 1u));
        b = b >> 1 ^ (POLY & (0u - (b & 1u)));
    }
    return p;
}

uint32_t crc32c_combine(uint32_t crc_a, uint32_t crc_b, uint64_t len_b)
{
    /* A's remainder moves up by 8·len_b bits: times x^(8·len_b), by repeated squaring. */
    uint32_t power = 1u << 23; /* x^8 */
    for (; len_b > 0; len_b >>= 1) {
        if (len_b & 1)
            crc_a = mul_mod(crc_a, power);
        power = mul_mod(power, power);
    }
    return crc_a ^ crc_b;
}

static uint32_t slice[8][256];
static pthread_once_t slice_once = PTHREAD_ONCE_INIT;

static void slice_fill(void)
{
    for (uint32_t b = 0; b < 256; b++) {
        uint32_t c = b;
        for (int i = 0; i < 8; i++)
            c = c >> 1 ^ (POLY & (0u - (c & 1u)));
        slice[0][b] = c;
    }
    for (int k = 1; k < 8; k++)
        for (int b = 0; b < 256; b++)
            slice[k][b] = slice[k - 1][b] >> 8 ^ slice[0][slice[k - 1][b] & 255];
}

static uint64_t load_le64(const unsigned char *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof v);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    v = __builtin_bswap64(v);
#endif
    return v;
}

uint32_t crc32c_portable(uint32_t crc, const void *data, size_t n)
{
    pthread_once(&slice_once, slice_fill);
    const unsigned char *p = data;
    uint32_t c = ~crc;
    for (; n >= 8; n -= 8, p += 8) {
        uint64_t v = load_le64(p) ^ c;
        c = 0;
        for (int k = 0; k < 8; k++)
            c ^= slice[7 - k][v >> (8 * k) & 255];
    }
    for (; n > 0; n--, p++)
        c = c >> 8 ^ slice[0][(c ^ *p) & 255];
    return ~c;
}

#ifdef __x86_64__
#include <nmmintrin.h>

/* The instruction takes 3 cycles but one can start every cycle: three lanes, joined by
 * multiplying with LANE_SHIFT = x^(8·LANE) mod POLY. */
enum { LANE = 8192 };
#define LANE_SHIFT 0x28461564u

__attribute__((target("sse4.2"))) static uint32_t crc_three_lanes(uint32_t c,
                                                                  const unsigned char *p)
{
    uint64_t a = c, b = 0, d = 0;
    for (size_t i = 0; i < LANE; i += 8) {
        a = _mm_crc32_u64(a, load_le64(p + i));
        b = _mm_crc32_u64(b, load_le64(p + LANE + i));
        d = _mm_crc32_u64(d, load_le64(p + 2 * LANE + i));
    }
    c = mul_mod((uint32_t)a, LANE_SHIFT) ^ (uint32_t)b;
    return mul_mod(c, LANE_SHIFT) ^ (uint32_t)d;
}

__attribute__((target("sse4.2"))) static uint32_t crc32c_sse42(uint32_t crc, const void *data,
                                                               size_t n)
{
    const unsigned char *p = data;
    uint32_t c = ~crc;
    for (; n >= 3 * LANE; n -= 3 * LANE, p += 3 * LANE)
        c = crc_three_lanes(c, p);
    for (; n >= 8; n -= 8, p += 8)
        c = (uint32_t)_mm_crc32_u64(c, load_le64(p));
    for (; n > 0; n--, p++)
        c = _mm_crc32_u8(c, *p);
    return ~c;
}
#endif

uint32_t crc32c(uint32_t crc, const void *data, size_t n)
{
#ifdef __x86_64__
    if (__builtin_cpu_supports("sse4.2"))
        return crc32c_sse42(crc, data, n);
#endif
    return crc32c_portable(crc, data, n);
}

/* SHA-256: FIPS 180-4, section 6.2. */
static const uint32_t sha_k[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

static uint32_t rotr(uint32_t x, int n)
{
    return x >> n | x << (32 - n);
}

/* The message schedule W of one 64-byte block. */
static void sha_schedule(uint32_t w[64], const unsigned char *p)
{
    for (int t = 0; t < 16; t++, p += 4)
        w[t] = (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
    for (int t = 16; t < 64; t++) {
        uint32_t s0 = rotr(w[t - 15], 7) ^ rotr(w[t - 15], 18) ^ w[t - 15] >> 3;
        uint32_t s1 = rotr(w[t - 2], 17) ^ rotr(w[t - 2], 19) ^ w[t - 2] >> 10;
        w[t] = w[t - 16] + s0 + w[t - 7] + s1;
    }
}

/* One round on the eight working variables; the caller rotates their names instead of the data. */
static inline void sha_round(uint32_t a, uint32_t b, uint32_t c, uint32_t *d, uint32_t e,
                             uint32_t f, uint32_t g, uint32_t *h, uint32_t kw)
{
    uint32_t t1 = *h + (rotr(e, 6) ^ rotr(e, 11) ^ rotr(e, 25)) + ((e & f) ^ (~e & g)) + kw;
    uint32_t t2 = (rotr(a, 2) ^ rotr(a, 13) ^ rotr(a, 22)) + ((a & b) ^ (a & c) ^ (b & c));
    *d += t1;
    *h = t1 + t2;
}

static void sha_block(uint32_t h[8], const unsigned char *block)
{
    uint32_t w[64];
    sha_schedule(w, block);
    uint32_t a = h[0], b = h[1], c = h[2], d = h[3], e = h[4], f = h[5], g = h[6], i = h[7];
    for (int t = 0; t < 64; t += 8) {
        sha_round(a, b, c, &d, e, f, g, &i, sha_k[t] + w[t]);
        sha_round(i, a, b, &c, d, e, f, &g, sha_k[t + 1] + w[t + 1]);
        sha_round(g, i, a, &b, c, d, e, &f, sha_k[t + 2] + w[t + 2]);
        sha_round(f, g, i, &a, b, c, d, &e, sha_k[t + 3] + w[t + 3]);
        sha_round(e, f, g, &i, a, b, c, &d, sha_k[t + 4] + w[t + 4]);
        sha_round(d, e, f, &g, i, a, b, &c, sha_k[t + 5] + w[t + 5]);
        sha_round(c, d, e, &f, g, i, a, &b, sha_k[t + 6] + w[t + 6]);
        sha_round(b, c, d, &e, f, g, i, &a, sha_k[t + 7] + w[t + 7]);
    }
    h[0] += a;
    h[1] += b;
    h[2] += c;
    h[3] += d;
    h[4] += e;
    h[5] += f;
    h[6] += g;
    h[7] += i;
}

void sha256_init(struct sha256 *s)
{
    static const uint32_t start[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                      0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    memset(s, 0, sizeof *s);
    memcpy(s->h, start, sizeof start);
}

void sha256_add(struct sha256 *s, const void *data, size_t n)
{
    const unsigned char *p = data;
    size_t held = s->n_bytes % 64;
    s->n_bytes += n;
    if (held > 0) {
        size_t take = n < 64 - held ? n : 64 - held;
        memcpy(s->block + held, p, take);
        if (held + take < 64)
            return;
        sha_block(s->h, s->block);
        p += take;
        n -= take;
    }
    for (; n >= 64; n -= 64, p += 64)
        sha_block(s->h, p);
    if (n > 0)
        memcpy(s->block, p, n);
}

void sha256_hex(struct sha256 *s, char out[65])
{
    uint64_t bits = s->n_bytes * 8;
    unsigned char tail[72] = {0x80};
    size_t pad = 64 - (s->n_bytes + 8) % 64; /* 1..64 bytes from the 1 bit to the length */
    for (int i = 0; i < 8; i++)
        tail[pad + (size_t)i] = (unsigned char)(bits >> (56 - 8 * i));
    sha256_add(s, tail, pad + 8);
    for (int i = 0; i < 8; i++)
        snprintf(out + (ptrdiff_t)8 * i, 9, "%08x", s->h[i]);
}

void sha256_of(char out[65], const void *data, size_t n)
{
    struct sha256 s;
    sha256_init(&s);
    sha256_add(&s, data, n);
    sha256_hex(&s, out);
}
