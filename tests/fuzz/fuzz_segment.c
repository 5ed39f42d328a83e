/* A segment of metrics, alone and as a run's only one. */
#include "base/err.h"
#include "fuzz.h"
#include "read.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    fuzz_read_segment(fuzz_file(FUZZ_SEGMENT, data, n), n, (unsigned)n);
    err_clear();
    return 0;
}
