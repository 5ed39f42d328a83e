/* A checkpoint, as inspect, verify and a run that goes on read it. */
#include "base/err.h"
#include "fuzz.h"
#include "read.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    fuzz_read_checkpoint(fuzz_file("step-000000001.h5", data, n), n, (unsigned)n);
    err_clear();
    return 0;
}
