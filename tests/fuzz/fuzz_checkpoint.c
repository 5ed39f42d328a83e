/* A checkpoint, as inspect, verify and a run that goes on read it. */
#include "base/err.h"
#include "base/mem.h"
#include "conf/config_file.h"
#include "fuzz.h"
#include "par/comm.h"
#include "tiny.h"
#include "train/ckpt.h"
#include "train/ckpt_index.h"

#include <string.h>

static struct comm alone;
static struct model_spec spec;
static struct tensor_table table;
static struct shard shard;
static float *params;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc, (void)argv;
    MUST(comm_init(&alone, NULL, NULL) == OK);
    fuzz_begin();
    fuzz_tiny(&spec, &table);
    shard_init(&shard, table.n_elems, 1 << 16, 1, 0);
    MUST(mem_alloc(&params, table.n_elems, sizeof *params, "parameters") == OK);
    return 0;
}

static void look_at_meta(const char *path)
{
    static struct config c;
    static struct conf_origins o;
    struct model_spec other;
    struct ckpt_fact fact;
    struct ckpt_meta m;
    if (ckpt_read_meta(path, &m) != OK)
        return;
    for (int i = 0; ckpt_meta_fact(&m, i, &fact); i++)
        MUST(strlen(fact.text) < sizeof fact.text);
    MUST(m.config_text != NULL && m.spec_json != NULL && m.state != NULL);
    if (conf_load_text(&c, &o, m.config_text, "its configuration") != OK ||
        spec_from_json(&other, m.spec_json, "its model") != OK)
        err_clear();
    ckpt_meta_release(&m);
}

static void look_at_index(const char *path, size_t file_bytes)
{
    struct ckpt_index x;
    if (ckpt_index_load(&x, path) != OK)
        return;
    for (size_t i = 0; i < x.n; i++) {
        const struct ckpt_dataset *d = &x.dataset[i];
        MUST(d->bytes > 0 && d->bytes <= file_bytes);
        MUST(d->offset >= 0 && (uint64_t)d->offset <= file_bytes - d->bytes);
        MUST(ckpt_index_find(&x, d->name) == (int64_t)i);
    }
    ckpt_index_release(&x);
}

static void verify_it(const char *path)
{
    int rc = ckpt_verify(&alone, path, NULL);
    MUST(rc == OK || rc == E_DATA);
}

static void go_on_from(const char *path)
{
    struct ckpt_array array = {.kind = "params", .data = params, .slab = true, .shard = &shard};
    int rc = ckpt_read(&alone, path, &table, &array, 1);
    MUST(rc == OK || rc == E_DATA);
}

/* HDF5 takes most of the time to open a file, so each input is looked at in one way. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    const char *path = fuzz_file("step-000000001.h5", data, n);
    switch (n % 4) {
    case 0:
        look_at_meta(path);
        break;
    case 1:
        look_at_index(path, n);
        break;
    case 2:
        verify_it(path);
        break;
    default:
        go_on_from(path);
    }
    err_clear();
    return 0;
}
