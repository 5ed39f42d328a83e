/* A token store. */
#include "base/err.h"
#include "fuzz.h"
#include "read.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    fuzz_read_store(fuzz_file("tokens.h5", data, n), n, (unsigned)n);
    err_clear();
    return 0;
}
