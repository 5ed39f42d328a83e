/* Checksums: CRC-32C for blocks of data, SHA-256 for identity.
 * Source: RFC 3720 appendix B.4 (Castagnoli polynomial); FIPS 180-4. */
#ifndef CARAT_BASE_HASH_H
#define CARAT_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

/* CRC-32C of n bytes, continuing from crc (0 at the start). SSE4.2 where the CPU has it. */
uint32_t crc32c(uint32_t crc, const void *data, size_t n);
/* The portable twin, for the test and for other CPUs. */
uint32_t crc32c_portable(uint32_t crc, const void *data, size_t n);
/* The CRC of A followed by B, from crc(A), crc(B) and B's length in bytes. */
uint32_t crc32c_combine(uint32_t crc_a, uint32_t crc_b, uint64_t len_b);

struct sha256 {
    uint32_t h[8];
    uint64_t n_bytes;
    unsigned char block[64];
};
void sha256_init(struct sha256 *s);
void sha256_add(struct sha256 *s, const void *data, size_t n);
/* 64 hexadecimal digits and a NUL. */
void sha256_hex(struct sha256 *s, char out[65]);
/* All at once. */
void sha256_of(char out[65], const void *data, size_t n);

#endif
