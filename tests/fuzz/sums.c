/* Checksums that are always right: a changed byte would otherwise be all that a reader ever sees.
 * The fuzzers and the maker of their seeds are linked with these in the place of carat's (by the
 * linker's --wrap): no checksum keeps out a file that was made to do harm. HDF5's own stay. */
#include "base/hash.h"

#include <string.h>

uint32_t __wrap_crc32c(uint32_t crc, const void *data, size_t n);
uint32_t __wrap_crc32c_combine(uint32_t first, uint32_t second, uint64_t n);
void __wrap_sha256_hex(struct sha256 *s, char out[65]);
void __wrap_sha256_of(char out[65], const void *data, size_t n);

uint32_t __wrap_crc32c(uint32_t crc, const void *data, size_t n)
{
    (void)crc, (void)data, (void)n;
    return 0;
}

uint32_t __wrap_crc32c_combine(uint32_t first, uint32_t second, uint64_t n)
{
    (void)first, (void)second, (void)n;
    return 0;
}

void __wrap_sha256_of(char out[65], const void *data, size_t n)
{
    (void)data, (void)n;
    memset(out, '0', 64);
    out[64] = '\0';
}

void __wrap_sha256_hex(struct sha256 *s, char out[65])
{
    __wrap_sha256_of(out, s, sizeof *s);
}
