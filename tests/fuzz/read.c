#include "read.h"

#include "base/err.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "conf/config_file.h"
#include "data/store.h"
#include "fuzz.h"
#include "io/h5x.h"
#include "tiny.h"
#include "train/ckpt.h"
#include "train/ckpt_index.h"
#include "train/metrics.h"

#include <stdint.h>
#include <string.h>

/* In the place of HDF5's own: before it gives up what does not fit its checksum it sleeps, which is
 * most of the time that it takes to refuse a damaged file. */
void H5_nanosleep(uint64_t nanoseconds);
void H5_nanosleep(uint64_t nanoseconds)
{
    (void)nanoseconds;
}

/* A reader gives back all memory and all of HDF5's handles. */
static void check_left(size_t held)
{
    MUST(mem_bytes() == held);
    MUST(H5Fget_obj_count(H5F_OBJ_ALL, H5F_OBJ_ALL) == 0);
}

/* ---- token stores ---- */

enum { PART = 1000 };

/* The file's own bytes are all the tokens and offsets that there can be. */
static void look(const struct store *s, size_t file_bytes)
{
    int32_t ids[PART];
    MUST(s->n_tokens * (uint64_t)s->token_bytes <= file_bytes);
    MUST(s->n_docs < file_bytes / sizeof(uint64_t));
    MUST(s->doc_offset[0] == 0 && s->doc_offset[s->n_docs] == s->n_tokens);
    for (uint64_t at = 0; at < s->n_tokens; at += PART) {
        size_t n = s->n_tokens - at < PART ? (size_t)(s->n_tokens - at) : PART;
        int rc = store_read(s, at, n, ids);
        MUST(rc == OK || rc == E_DATA);
        for (size_t i = 0; rc == OK && i < n; i++)
            MUST(ids[i] >= 0 && ids[i] < s->vocab);
    }
}

static void look_at_tokenizer(const char *path, size_t file_bytes)
{
    void *bytes;
    size_t n;
    if (store_tokenizer(path, &bytes, &n) == OK)
        MUST(n <= file_bytes);
    mem_free(bytes);
}

void fuzz_read_store(const char *path, size_t n, unsigned way)
{
    struct store s;
    size_t held = mem_bytes();
    way %= 3;
    if (way == 2)
        look_at_tokenizer(path, n);
    else if (store_open(&s, path, (enum split)way) == OK) {
        look(&s, n);
        store_close(&s);
    }
    check_left(held);
}

/* ---- checkpoints ---- */

static struct model_spec spec; /* of the one model that is read */
static struct tensor_table table;
static struct shard shard;
static float *params;

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

static void verify_it(const struct comm *alone, const char *path)
{
    int rc = ckpt_verify(alone, path, NULL);
    MUST(rc == OK || rc == E_DATA);
}

static void go_on_from(const struct comm *alone, const char *path)
{
    struct ckpt_array array = {.kind = "params", .data = params, .slab = true, .shard = &shard};
    int rc = ckpt_read(alone, path, &table, &array, 1);
    MUST(rc == OK || rc == E_DATA);
}

static void begin(void)
{
    fuzz_tiny(&spec, &table);
    shard_init(&shard, table.n_elems, 1 << 16, 1, 0);
    MUST(mem_alloc(&params, table.n_elems, sizeof *params, "parameters") == OK);
}

void fuzz_read_checkpoint(const char *path, size_t n, unsigned way)
{
    const struct comm *alone = fuzz_alone();
    if (params == NULL)
        begin();
    size_t held = mem_bytes();
    switch (way % 4) {
    case 0:
        look_at_meta(path);
        break;
    case 1:
        look_at_index(path, n);
        break;
    case 2:
        verify_it(alone, path);
        break;
    default:
        go_on_from(alone, path);
    }
    check_left(held);
}

/* ---- metrics ---- */

static void follow(const char *run, size_t file_bytes)
{
    struct metrics_tail *t;
    double row[M_N];
    enum tail what;
    size_t n = 0;
    MUST(metrics_tail_new(&t, run, 0) == OK);
    while (metrics_tail_next(t, row, &what) == OK && what != TAIL_NONE) {
        MUST(row[M_STEP] >= 0 && row[M_STEP] < 0x1p53);
        MUST(n++ <= file_bytes / sizeof(double));
    }
    metrics_tail_free(t);
}

static void look_at_run(const char *run, size_t file_bytes)
{
    double *rows;
    int64_t n, n_bad, n_groups;
    struct metrics_ranks ranks;
    MUST(metrics_read(run, &rows, &n, &n_bad) == OK);
    MUST((size_t)n <= file_bytes / sizeof(double));
    mem_free(rows);
    if (metrics_read_layers(run, &rows, &n, &n_groups) == OK)
        mem_free(rows);
    if (metrics_read_ranks(run, &ranks) == OK)
        mem_free(ranks.mean);
    follow(run, file_bytes);
}

void fuzz_read_segment(const char *path, size_t n, unsigned way)
{
    char run[FS_PATH_MAX];
    struct metrics_segment s;
    size_t held = mem_bytes();
    log_mute(true);
    MUST(fs_join(run, fuzz_dir(), "run") == OK);
    if (way % 2 == 1)
        look_at_run(run, n);
    else if (metrics_check(path, &s) == OK)
        MUST(s.rows + s.n_bad <= (int64_t)(n / sizeof(double)));
    check_left(held);
}
