/* An index of safetensors beside three files "a", "b" and "c" that hold one tensor each. No path in
 * it leaves the folder. */
#include "base/err.h"
#include "base/fs.h"
#include "fuzz.h"
#include "weights.h"

#include <string.h>

enum { SHARD_BYTES = 4 };

static void put_shard(const char *name)
{
    char file[128] = {0};
    uint64_t n = (uint64_t)snprintf(
        file + 8, sizeof file - 8,
        "{\"t.%s\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", name);
    memcpy(file, &n, sizeof n);
    fuzz_file(name, file, 8 + n + SHARD_BYTES);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc, (void)argv;
    put_shard("a");
    put_shard("b");
    put_shard("c");
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct st st;
    fuzz_file("model.safetensors.index.json", data, n);
    if (st_open_folder(&st, fuzz_dir()) == OK) {
        MUST(st.n_shards <= 3);
        fuzz_weights(&st, SHARD_BYTES);
        st_close(&st);
    }
    err_clear();
    return 0;
}
