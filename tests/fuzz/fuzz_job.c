/* A job file. */
#include "base/err.h"
#include "fuzz.h"
#include "job.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static struct config c;
    static struct conf_origins o;
    if (conf_load_text(&c, &o, fuzz_text(data, n), "job.yaml") == OK)
        fuzz_config(&c, &o);
    err_clear();
    return 0;
}
