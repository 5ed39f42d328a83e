/* A safetensors file. Its tensors cover its data once, without holes. */
#include "base/err.h"
#include "fuzz.h"
#include "weights.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct st st;
    uint64_t header, bytes = 0;
    if (st_open(&st, fuzz_file("model.safetensors", data, n)) == OK) {
        fuzz_weights(&st, n);
        for (size_t i = 0; i < st.n_rows; i++)
            bytes += st.rows[i].n * st_dtype_bytes(st.rows[i].dtype);
        memcpy(&header, data, sizeof header);
        MUST(sizeof header + header + bytes == n);
        st_close(&st);
    }
    err_clear();
    return 0;
}
