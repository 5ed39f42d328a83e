/* Checkpoints: whole or absent, the same for any number of ranks, every damage named.
 * ranks: 1 2 3 4 */
#include "base/fault.h"
#include "base/fs.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/rng.h"
#include "io/h5x.h"
#include "mpi_main.h"
#include "train/ckpt.h"

#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#define BLOCK ((size_t)4 << 20)

enum { N_KINDS = 3, N_TENSORS = 7, SMALL_BUCKET = 64 << 10, META_FLIPS = 400 };
static const char *const kinds[N_KINDS] = {"params", "exp_avg", "exp_avg_sq"};

static char dir[256], self[FS_PATH_MAX];
static struct tensor rows[N_TENSORS];
static struct tensor_table table;

/* ---- a model that is none ---- */

static void add_row(int i, const char *name, size_t a, size_t b)
{
    struct tensor *t = &rows[i];
    *t = (struct tensor){.n_dims = b > 0 ? 2 : 1, .dims = {a, b}, .n = b > 0 ? a * b : a};
    snprintf(t->name, sizeof t->name, "%s", name);
    t->offset = table.n_elems;
    table.n_elems += (t->n + 15) / 16 * 16; /* gaps, as in a real slab */
    table.n_params += t->n;
    table.n = i + 1;
}

/* With `large` the first tensor takes several blocks. */
static void make_table(bool large)
{
    table = (struct tensor_table){.row = rows};
    add_row(0, "model.embed_tokens.weight", large ? 2300 : 23, 1001);
    add_row(1, "model.layers.0.input_layernorm.weight", 7, 0);
    add_row(2, "model.layers.0.self_attn.q_proj.weight", 33, 17);
    add_row(3, "model.layers.0.self_attn.k_proj.weight", 1, 1);
    add_row(4, "model.layers.0.mlp.up_proj.weight", large ? 1024 : 16, large ? 1024 : 16);
    add_row(5, "model.layers.0.mlp.down_proj.weight", 129, 65);
    add_row(6, "model.norm.weight", 1001, 0);
}

static float value(int kind, int64_t step, size_t i)
{
    return (float)rng_uniform(77, (uint64_t)kind * 1000 + (uint64_t)step, i);
}

/* ---- some of the ranks ---- */

static struct comm first_ranks(int n)
{
    struct comm c = ck_world;
    MPI_Comm_split(ck_world.world, ck_world.rank < n ? 0 : MPI_UNDEFINED, ck_world.rank, &c.world);
    c.size = c.node_size = n;
    c.n_nodes = 1;
    return c;
}

static void release_ranks(struct comm *c)
{
    if (c->world != MPI_COMM_NULL)
        MPI_Comm_free(&c->world);
}

/* ---- a state ---- */

struct state {
    struct shard shard[N_KINDS];
    float *data[N_KINDS];
    struct ckpt_array array[N_KINDS];
    size_t n[N_KINDS];
};

/* params is a slab, the others are shards; `whole`: every rank holds all of them. */
static void state_init(struct state *s, const struct comm *c, bool whole)
{
    for (int k = 0; k < N_KINDS; k++) {
        bool alone = whole && k > 0;
        shard_init(&s->shard[k], table.n_elems, SMALL_BUCKET, alone ? 1 : c->size,
                   alone ? 0 : c->rank);
        s->n[k] = k == 0 ? table.n_elems : shard_count(&s->shard[k], s->shard[k].rank);
        if (mem_alloc(&s->data[k], s->n[k], sizeof(float), "state") != OK)
            abort();
        s->array[k] = (struct ckpt_array){
            .kind = kinds[k], .data = s->data[k], .slab = k == 0, .shard = &s->shard[k]};
    }
}

static void state_release(struct state *s)
{
    for (int k = 0; k < N_KINDS; k++)
        mem_free(s->data[k]);
}

/* The slab index of a rank's float, or of a slab's; calls visit for the owned ones. */
static void state_each(struct state *s, int k, void (*visit)(float *at, int k, size_t i, void *ctx),
                       void *ctx)
{
    const struct shard *sh = &s->shard[k];
    for (int b = 0; b < sh->n_buckets; b++) {
        struct range p = shard_piece(sh, b, sh->rank);
        float *from = s->data[k] + (k == 0 ? p.first : shard_offset(sh, b, sh->rank));
        for (size_t i = 0; i < p.n; i++)
            visit(from + i, k, p.first + i, ctx);
    }
}

static bool in_gap(size_t i)
{
    for (int t = 0; t < table.n; t++)
        if (i >= rows[t].offset && i < rows[t].offset + rows[t].n)
            return false;
    return true;
}

static void put_value(float *at, int k, size_t i, void *step)
{
    *at = value(k, *(int64_t *)step, i);
}

struct tally {
    int64_t step;
    size_t wrong;
};

static void count_wrong(float *at, int k, size_t i, void *ctx)
{
    struct tally *t = ctx;
    if (*at != value(k, t->step, i) && !in_gap(i))
        t->wrong++;
}

static void state_fill(struct state *s, int64_t step)
{
    for (int k = 0; k < N_KINDS; k++)
        state_each(s, k, put_value, &step);
}

static size_t state_wrong(struct state *s, int64_t step)
{
    struct tally t = {step, 0};
    for (int k = 0; k < N_KINDS; k++)
        state_each(s, k, count_wrong, &t);
    return t.wrong;
}

static struct ckpt_meta some_meta(int64_t step)
{
    struct ckpt_meta m = {.step = step,
                          .samples = 12345678901u,
                          .tokens = 1e9 + 0.5,
                          .sched_tokens = 2e9,
                          .attempt = 3,
                          .train_s = 0.1,
                          .skipped = 1,
                          .run_id = "01234567-89ab-cdef-0123-456789abcdef",
                          .created = "2026-11-24T02:30:01Z",
                          .blas = "Haswell",
                          .ranks = 4,
                          .micro = 2,
                          .threads = 1,
                          .config_text = "run:\n  seed: 1\n",
                          .spec_json = "{\"model_type\": \"gemma3_text\"}",
                          .state = "spike.loss 1 2\n",
                          .history = "[1, 2, 3]",
                          .tokenizer = "some\0bytes",
                          .n_tokenizer = 10};
    return m;
}

/* By a thread, from a copy of what is then no longer there. */
static int write_aside(const struct comm *c, const char *path, const struct ckpt_set *set,
                       struct state *s, struct ckpt_cost *cost)
{
    struct ckpt_save *save;
    void *staging;
    size_t bytes = 0;
    for (int k = 0; k < N_KINDS; k++)
        bytes += ckpt_staging_bytes(&s->shard[k], c->rank);
    if (mem_alloc(&staging, bytes, 1, "staging") != OK)
        abort();
    int rc = ckpt_save_begin(&save, c, path, set, true, staging, bytes);
    for (int k = 0; k < N_KINDS && rc == OK; k++)
        if (s->n[k] > 0)
            memset(s->data[k], 0, s->n[k] * sizeof(float));
    if (rc == OK)
        rc = ckpt_save_finish(save);
    if (rc == OK)
        *cost = ckpt_save_cost(save);
    ckpt_save_free(save);
    mem_free(staging);
    return rc;
}

static int save_how(const struct comm *c, const char *path, int64_t step, bool whole, bool aside)
{
    struct state s;
    struct ckpt_set set = {.meta = some_meta(step), .tensors = &table, .n_arrays = N_KINDS};
    struct ckpt_cost cost;
    state_init(&s, c, whole);
    state_fill(&s, step);
    memcpy(set.array, s.array, sizeof s.array);
    int rc = aside ? write_aside(c, path, &set, &s, &cost) : ckpt_write(c, path, &set, &cost);
    if (rc == OK &&
        (cost.seconds <= 0 || cost.bytes != (double)(table.n_params * 4 * N_KINDS + 10 + 9)))
        rc = ERR(E_BUG, "%.0f bytes in %g s are not the file's", cost.bytes, cost.seconds);
    state_release(&s);
    return rc;
}

static int save(const struct comm *c, const char *path, int64_t step, bool whole)
{
    return save_how(c, path, step, whole, false);
}

static int load(const struct comm *c, const char *path, int64_t step, bool whole)
{
    struct state s;
    state_init(&s, c, whole);
    int rc = ckpt_read(c, path, &table, s.array, N_KINDS);
    if (rc == OK)
        ck_all(c, state_wrong(&s, step) == 0);
    state_release(&s);
    return rc;
}

/* ---- files ---- */

static const char *path_of(const char *name)
{
    static char path[8][FS_PATH_MAX];
    static int turn;
    char *p = path[turn = (turn + 1) % 8];
    snprintf(p, FS_PATH_MAX, "%s/%s", dir, name);
    return p;
}

static void barrier(void)
{
    MPI_Barrier(ck_world.world);
}

/* Names in a folder that contain `part`. */
static int count_names(const char *folder, const char *part)
{
    int n = 0;
    DIR *d = opendir(folder);
    for (const struct dirent *e; d != NULL && (e = readdir(d)) != NULL;)
        n += strstr(e->d_name, part) != NULL;
    if (d != NULL)
        closedir(d);
    return n;
}

static void flip(const char *path, int64_t at, int bit)
{
    int fd = open(path, O_RDWR);
    unsigned char byte;
    ck_assert_int_eq(fs_pread(fd, &byte, 1, at, path), OK);
    byte ^= (unsigned char)(1u << bit);
    ck_assert_int_eq(fs_pwrite(fd, &byte, 1, at, path), OK);
    close(fd);
}

static struct comm alone(void)
{
    struct comm c = ck_world;
    c.world = MPI_COMM_SELF;
    c.rank = 0;
    c.size = c.node_size = c.n_nodes = 1;
    return c;
}

static int64_t offset_of(const char *path, const char *dataset)
{
    hid_t f;
    struct h5x_array a;
    ck_assert_int_eq(h5x_open(&f, path, false), OK);
    ck_assert_int_eq(h5x_describe(f, dataset, &a), OK);
    h5x_close(&f);
    return a.offset;
}

/* ---- tests ---- */

static void check_datasets(const char *path, int64_t step)
{
    hid_t f;
    ck_assert_int_eq(h5x_open(&f, path, false), OK);
    for (int k = 0; k < N_KINDS; k++)
        for (int t = 0; t < table.n; t++) {
            char name[1024];
            void *data;
            size_t n, wrong = 0;
            snprintf(name, sizeof name, "/%s/%s", kinds[k], rows[t].name);
            ck_assert_int_eq(h5x_get_array(f, name, H5T_NATIVE_FLOAT, rows[t].n, &data, &n), OK);
            ck_assert_uint_eq(n, rows[t].n);
            for (size_t i = 0; i < n; i++)
                wrong += ((float *)data)[i] != value(k, step, rows[t].offset + i);
            mem_free(data);
            ck_assert_msg(wrong == 0, "%s: %zu of %zu values are wrong", name, wrong, n);
        }
    h5x_close(&f);
}

static void save_on(int n, const char *path, bool whole)
{
    struct comm c = first_ranks(n);
    if (c.world != MPI_COMM_NULL)
        ck_all(&c, save(&c, path, n, whole) == OK);
    release_ranks(&c);
    barrier();
}

static void load_on(int m, const char *path, int64_t step, bool whole)
{
    struct comm c = first_ranks(m);
    if (c.world != MPI_COMM_NULL) {
        ck_all(&c, load(&c, path, step, whole) == OK);
        ck_all(&c, ckpt_verify(&c, path, NULL) == OK);
    }
    release_ranks(&c);
    barrier();
}

START_TEST(written_by_n_read_by_m)
{
    make_table(true);
    for (int n = 1; n <= ck_world.size; n++) {
        const char *path = path_of("n.h5");
        save_on(n, path, n % 2 == 0);
        if (ck_world.rank == 0)
            check_datasets(path, n);
        for (int m = 1; m <= ck_world.size; m++)
            load_on(m, path, n, m % 2 == 1);
    }
    if (ck_world.rank == 0)
        ck_assert_int_eq(count_names(dir, "tmp"), 0);
}
END_TEST

static void compare_files(const char *a, const char *b)
{
    char *x, *y;
    size_t n, m;
    ck_assert_int_eq(fs_read_file(a, 0, &x, &n), OK);
    ck_assert_int_eq(fs_read_file(b, 0, &y, &m), OK);
    ck_assert(n == m && memcmp(x, y, n) == 0);
    mem_free(x);
    mem_free(y);
}

START_TEST(a_copy_is_written_as_what_it_was)
{
    make_table(true);
    for (int i = 0; i < 2 * ck_world.size; i++) {
        const char *now = path_of("now.h5"), *aside = path_of("aside.h5");
        struct comm c = first_ranks(1 + i / 2);
        if (c.world != MPI_COMM_NULL) {
            ck_all(&c, save_how(&c, now, i, i % 2, false) == OK);
            ck_all(&c, save_how(&c, aside, i, i % 2, true) == OK);
        }
        release_ranks(&c);
        barrier();
        if (ck_world.rank == 0)
            compare_files(now, aside);
        barrier();
    }
}
END_TEST

/* A slot of the first tensors and of the last, and statistics with a layout of their own. */
struct partial {
    struct shard_zone zones[2];
    struct shard shard, small;
    struct tensor stat_rows[2];
    struct tensor_table stats;
    float *slot, stat[2 * 33];
    struct ckpt_array array[2];
};

static void partial_init(struct partial *p, const struct comm *c)
{
    size_t first_end = rows[1].offset + rows[1].n;
    *p = (struct partial){
        .zones = {{.n = first_end, .unit = SHARD_BLOCK}, {.first = rows[5].offset, .n = rows[5].n}},
        .stats = {.row = p->stat_rows, .n = 2, .n_elems = 2 * 33}};
    ck_assert_int_eq(shard_deal(p->zones, 2, SMALL_BUCKET, c->size), OK);
    shard_init_zones(&p->shard, table.n_elems, p->zones, 2, c->size, c->rank);
    shard_init(&p->small, 2 * 33, SMALL_BUCKET, 1, 0);
    for (int i = 0; i < 2; i++) {
        p->stat_rows[i] = rows[i == 0 ? 2 : 4];
        p->stat_rows[i].n_dims = 1;
        p->stat_rows[i].n = p->stat_rows[i].dims[0] = 33;
        p->stat_rows[i].offset = (size_t)i * 33;
    }
    ck_assert_int_eq(mem_alloc(&p->slot, shard_count(&p->shard, c->rank), sizeof(float), "slot"),
                     OK);
    p->array[0] = (struct ckpt_array){.kind = "exp_avg", .data = p->slot, .shard = &p->shard};
    p->array[1] = (struct ckpt_array){.kind = "exp_avg_sq_row",
                                      .data = p->stat,
                                      .slab = true,
                                      .tensors = &p->stats,
                                      .shard = &p->small};
}

struct filling {
    float *to;
    size_t wrong;
};

static void fill_piece(void *ctx, struct range slab, size_t at)
{
    struct filling *f = ctx;
    for (size_t i = 0; i < slab.n; i++)
        f->to[at + i] = value(1, 5, slab.first + i);
}

static void check_piece(void *ctx, struct range slab, size_t at)
{
    struct filling *f = ctx;
    for (size_t i = 0; i < slab.n; i++)
        f->wrong += f->to[at + i] != value(1, 5, slab.first + i) && !in_gap(slab.first + i);
}

static void check_partial(const struct comm *c, const char *path)
{
    struct partial p;
    partial_init(&p, c);
    struct filling f = {.to = p.slot};
    ck_all(c, ckpt_read(c, path, &table, p.array, 2) == OK);
    shard_each(&p.shard, check_piece, &f);
    for (size_t i = 0; i < 2 * 33; i++)
        f.wrong += p.stat[i] != value(2, 5, i);
    ck_all(c, f.wrong == 0);
    mem_free(p.slot);
}

START_TEST(what_nobody_has_is_not_in_the_file)
{
    struct partial p;
    struct ckpt_set set = {.meta = some_meta(5), .tensors = &table, .n_arrays = 2};
    const char *path = path_of("partial.h5");
    struct comm one = first_ranks(1);
    hid_t f;
    struct h5x_array a;
    make_table(false);
    partial_init(&p, &ck_world);
    struct filling fill = {.to = p.slot};
    shard_each(&p.shard, fill_piece, &fill);
    for (size_t i = 0; i < 2 * 33; i++)
        p.stat[i] = value(2, 5, i);
    memcpy(set.array, p.array, sizeof p.array);
    ck_all(&ck_world, ckpt_write(&ck_world, path, &set, NULL) == OK);
    mem_free(p.slot);
    check_partial(&ck_world, path);
    if (ck_world.rank == 0) {
        check_partial(&one, path);
        ck_assert_int_eq(h5x_open(&f, path, false), OK);
        ck_assert_int_eq(h5x_describe(f, "/exp_avg/model.layers.0.mlp.down_proj.weight", &a), OK);
        ck_assert_int_ne(h5x_describe(f, "/exp_avg/model.norm.weight", &a), OK);
        ck_assert_int_eq(h5x_describe(f, "/exp_avg_sq_row/model.layers.0.mlp.up_proj.weight", &a),
                         OK);
        h5x_close(&f);
        err_clear();
    }
    release_ranks(&one);
}
END_TEST

START_TEST(meta_round_trips)
{
    make_table(false);
    const char *path = path_of("meta.h5");
    ck_all(&ck_world, save(&ck_world, path, 1000, false) == OK);
    struct ckpt_meta m, want = some_meta(1000);
    ck_all(&ck_world, ckpt_read_meta(path, &m) == OK);
    ck_all(&ck_world, m.step == 1000 && m.samples == want.samples && m.tokens == want.tokens &&
                          m.sched_tokens == want.sched_tokens && m.attempt == 3 &&
                          m.train_s == want.train_s && m.skipped == 1);
    ck_all(&ck_world, strcmp(m.run_id, want.run_id) == 0 && strcmp(m.created, want.created) == 0 &&
                          m.parent_id[0] == '\0' && strcmp(m.blas, "Haswell") == 0);
    ck_all(&ck_world, m.ranks == 4 && m.micro == 2 && m.threads == 1);
    ck_all(&ck_world, strcmp(m.config_text, want.config_text) == 0 &&
                          strcmp(m.spec_json, want.spec_json) == 0 &&
                          strcmp(m.history, want.history) == 0);
    ck_all(&ck_world, m.n_tokenizer == 10 && memcmp(m.tokenizer, "some\0bytes", 10) == 0);
    ckpt_meta_release(&m);
}
END_TEST

START_TEST(another_model_is_refused_by_name)
{
    make_table(false);
    const char *path = path_of("other.h5");
    ck_all(&ck_world, save(&ck_world, path, 1, false) == OK);
    rows[2].dims[0] = 17;
    rows[2].dims[1] = 33;
    ck_all(&ck_world, load(&ck_world, path, 1, false) == E_DATA);
    ck_all(&ck_world, strstr(err_message(), "/params/model.layers.0.self_attn.q_proj.weight") &&
                          strstr(err_message(), "[33,17]"));
    make_table(false);
    snprintf(rows[6].name, sizeof rows[6].name, "model.other.weight");
    ck_all(&ck_world, load(&ck_world, path, 1, false) == E_DATA);
    ck_all(&ck_world, strstr(err_message(), "/params/model.other.weight") != NULL);
}
END_TEST

/* Every dataset, first and last byte, and a byte of each block of the large one. */
START_TEST(a_flipped_payload_bit_is_named)
{
    make_table(true);
    const char *path = path_of("flip.h5");
    ck_all(&ck_world, save(&ck_world, path, 5, false) == OK);
    for (int t = 0; t < table.n; t++) {
        char name[1024], place[32];
        snprintf(name, sizeof name, "/exp_avg/%s", rows[t].name);
        size_t bytes = rows[t].n * 4;
        for (size_t at = t % 2 ? bytes - 1 : 0; at < bytes; at += BLOCK) {
            int64_t where = offset_of(path, name) + (int64_t)at;
            barrier();
            if (ck_world.rank == 0)
                flip(path, where, (int)(at % 8));
            barrier();
            snprintf(place, sizeof place, "block %zu", at / BLOCK);
            ck_all(&ck_world, ckpt_verify(&ck_world, path, NULL) == E_DATA);
            ck_all(&ck_world, strstr(err_message(), name) && strstr(err_message(), place));
            ck_all(&ck_world, load(&ck_world, path, 5, false) == E_DATA);
            ck_all(&ck_world, strstr(err_message(), name) && strstr(err_message(), place));
            barrier();
            if (ck_world.rank == 0)
                flip(path, where, (int)(at % 8));
            barrier();
        }
    }
    ck_all(&ck_world, ckpt_verify(&ck_world, path, NULL) == OK);
}
END_TEST

static bool same_meta(const char *path)
{
    struct ckpt_meta m, want = some_meta(9);
    if (ckpt_read_meta(path, &m) != OK)
        return false;
    bool same = m.step == 9 && m.samples == want.samples && m.tokens == want.tokens &&
                m.train_s == want.train_s && strcmp(m.run_id, want.run_id) == 0 &&
                strcmp(m.config_text, want.config_text) == 0 &&
                memcmp(m.tokenizer, "some\0bytes", 10) == 0;
    ckpt_meta_release(&m);
    return same;
}

/* Anywhere outside large payloads: refused, or everything reads as before. */
START_TEST(flipped_metadata_is_refused_or_without_effect)
{
    if (ck_world.rank != 0)
        return;
    make_table(false);
    struct comm c = alone();
    const char *path = path_of("metaflip.h5");
    ck_assert_int_eq(save(&c, path, 9, false), OK);
    int64_t size = fs_size(path), payload = offset_of(path, "/params/model.embed_tokens.weight");
    int refused = 0;
    for (uint64_t i = 0; i < META_FLIPS; i++) {
        /* Half of them in the first and in the last kilobytes, where HDF5's structures lie. */
        int64_t range = i % 2 ? size : 8192;
        int64_t at = (int64_t)(rng_u64(5, i % 4, i) % (uint64_t)range);
        at = i % 4 == 2 ? size - 1 - at : at;
        int bit = (int)(rng_u64(6, 0, i) % 8);
        flip(path, at, bit);
        int rc = ckpt_verify(&c, path, NULL);
        ck_assert_msg(rc == OK || rc == E_DATA, "byte %ld bit %d: %d %s", (long)at, bit, rc,
                      err_message());
        if (rc == OK) {
            ck_assert_msg(same_meta(path), "byte %ld bit %d changed the meta", (long)at, bit);
            ck_assert_int_eq(load(&c, path, 9, false), OK);
        }
        refused += rc != OK;
        flip(path, at, bit);
    }
    ck_assert_msg(refused > META_FLIPS / 20, "only %d flips were refused", refused);
    ck_assert_int_gt(payload, 0);
    ck_assert_int_eq(ckpt_verify(&c, path, NULL), OK);
}
END_TEST

START_TEST(a_file_cut_short_is_refused)
{
    if (ck_world.rank != 0)
        return;
    make_table(false);
    struct comm c = alone();
    const char *path = path_of("cut.h5"), *part = path_of("part.h5");
    ck_assert_int_eq(save(&c, path, 9, false), OK);
    char *data;
    size_t size;
    ck_assert_int_eq(fs_read_file(path, 0, &data, &size), OK);
    for (size_t n = 0; n < size; n += size / 40 + 1) {
        ck_assert_int_eq(fs_write_file(part, data, n), OK);
        ck_assert_msg(ckpt_verify(&c, part, NULL) == E_DATA, "%zu of %zu bytes", n, size);
    }
    ck_assert_int_eq(fs_write_file(part, data, size - 1), OK);
    ck_assert_int_eq(ckpt_verify(&c, part, NULL), E_DATA);
    mem_free(data);
}
END_TEST

static const struct {
    const char *name;
    bool root_alone; /* other ranks never come there */
    int nth;         /* visit that fails */
} points[] = {{"ckpt.create", false, 1}, {"h5x.reserve", true, 1},    {"h5x.reserve", true, 2},
              {"h5x.reserve", true, 3},  {"h5x.reserve", true, 4},    {"ckpt.reserve", true, 1},
              {"ckpt.pwrite", false, 1}, {"fs.pwrite", false, 1},     {"ckpt.fsync", false, 1},
              {"ckpt.close", false, 1},  {"ckpt.readback", false, 1}, {"fs.pread", false, 1},
              {"ckpt.commit", true, 1},  {"h5x.write", true, 1},      {"fs.fsync", true, 1},
              {"ckpt.rename", true, 1}};
enum { N_POINTS = sizeof points / sizeof points[0] };

static void arm(const char *point, int rank, const char *rest)
{
    char spec[128];
    snprintf(spec, sizeof spec, "%s:%d%s", point, rank, rest);
    setenv("CARAT_FAULT", spec, 1);
    fault_rearm();
}

static void disarm(void)
{
    unsetenv("CARAT_FAULT");
    fault_rearm();
}

static void fail_at(const char *path, int point, int rank, bool aside)
{
    char nth[16];
    snprintf(nth, sizeof nth, ":%d", points[point].nth);
    arm(points[point].name, rank, nth);
    int rc = save_how(&ck_world, path, 2, false, aside);
    disarm();
    ck_all(&ck_world, rc == E_IO);
    barrier();
    ck_all(&ck_world, !fs_exists(path));
    ck_all(&ck_world, count_names(dir, "tmp") == 0);
    barrier();
}

START_TEST(a_failure_anywhere_leaves_nothing)
{
    make_table(false);
    const char *before = path_of("before.h5"), *path = path_of("failed.h5");
    ck_all(&ck_world, save(&ck_world, before, 1, false) == OK);
    for (int p = 0; p < N_POINTS; p++) {
        int last = points[p].root_alone ? 0 : ck_world.size - 1;
        for (int rank = 0; rank <= last; rank++)
            fail_at(path, p, rank, false);
        fail_at(path, p, last, true);
    }
    ck_all(&ck_world, load(&ck_world, before, 1, false) == OK);
    ck_all(&ck_world, save(&ck_world, path, 2, false) == OK);
    ck_all(&ck_world, load(&ck_world, path, 2, false) == OK);
}
END_TEST

/* Nobody knows whether the name will last, but what it replaced is gone already. */
START_TEST(a_file_stays_though_its_folder_cannot_be_synced)
{
    make_table(false);
    const char *path = path_of("unsynced.h5");
    for (int64_t step = 1; step <= 2; step++) {
        arm("ckpt.folder", 0, "");
        int rc = save(&ck_world, path, step, false);
        disarm();
        ck_all(&ck_world, rc == E_IO);
        barrier();
        ck_all(&ck_world, load(&ck_world, path, step, false) == OK);
        ck_all(&ck_world, ckpt_verify(&ck_world, path, NULL) == OK);
        ck_all(&ck_world, count_names(dir, "tmp") == 0);
        barrier();
    }
}
END_TEST

START_TEST(whether_a_kind_is_there_is_known_or_an_error)
{
    make_table(false);
    const char *path = path_of("kinds.h5");
    bool has;
    ck_all(&ck_world, save(&ck_world, path, 1, false) == OK);
    ck_all(&ck_world, ckpt_has_kind(&ck_world, path, "exp_avg", &has) == OK && has);
    ck_all(&ck_world, ckpt_has_kind(&ck_world, path, "exp", &has) == OK && !has);
    arm("mem", 0, "");
    int rc = ckpt_has_kind(&ck_world, path, "exp_avg", &has);
    disarm();
    ck_all(&ck_world, rc == E_MEM);
}
END_TEST

START_TEST(where_no_thread_can_be_had_it_is_written_all_the_same)
{
    make_table(false);
    const char *path = path_of("alone.h5");
    for (int nth = 1; nth <= 2; nth++) {
        arm("ckpt.thread", 0, nth == 1 ? ":1" : ":2");
        ck_all(&ck_world, save_how(&ck_world, path, nth, false, true) == OK);
        disarm();
        ck_all(&ck_world, load(&ck_world, path, nth, false) == OK);
    }
}
END_TEST

START_TEST(a_save_that_is_given_up_leaves_nothing)
{
    struct state s;
    struct ckpt_set set = {.meta = some_meta(1), .tensors = &table, .n_arrays = N_KINDS};
    const char *path = path_of("given-up.h5");
    make_table(true);
    state_init(&s, &ck_world, false);
    state_fill(&s, 1);
    memcpy(set.array, s.array, sizeof s.array);
    void *staging;
    size_t bytes = 3 * table.n_elems * sizeof(float);
    ck_assert_int_eq(mem_alloc(&staging, bytes, 1, "staging"), OK);
    for (int advances = 0; advances < 2; advances++) {
        struct ckpt_save *save;
        ck_all(&ck_world,
               ckpt_save_begin(&save, &ck_world, path, &set, true, staging, bytes) == OK);
        ck_all(&ck_world, count_names(dir, "given-up.h5.tmp") == 1);
        for (int i = 0; i < advances; i++)
            ck_all(&ck_world, ckpt_save_advance(save) == OK && !ckpt_save_done(save));
        barrier();
        ckpt_save_free(save);
        barrier();
        ck_all(&ck_world, count_names(dir, "given-up") == 0);
        barrier();
    }
    mem_free(staging);
    state_release(&s);
}
END_TEST

/* Root's: fills a small file system but for `pages` pages. */
static void fill_up(const char *folder, int pages)
{
    char path[FS_PATH_MAX + 8];
    snprintf(path, sizeof path, "%s/filler", folder);
    unlink(path);
    int fd = open(path, O_WRONLY | O_CREAT, 0600);
    int64_t size = fs_free_bytes(folder) - (int64_t)pages * 4096;
    ck_assert_int_eq(fallocate(fd, 0, 0, size), 0);
    close(fd);
}

/* Whatever the first thing is that no longer fits: metadata of parallel HDF5, attributes, the
 * extent. MPI-IO reports a write that was cut short as done, so some is only seen on reading. */
static void save_on_full(const char *folder, const char *path, int pages, int *n_saved)
{
    if (ck_world.rank == 0)
        fill_up(folder, pages);
    barrier();
    int rc = save(&ck_world, path, pages, false);
    ck_all(&ck_world, rc == OK || rc == E_IO);
    ck_all(&ck_world, fs_exists(path) == (rc == OK) && count_names(folder, "tmp") == 0);
    ck_all(&ck_world, rc != OK || load(&ck_world, path, pages, false) == OK);
    *n_saved += rc == OK;
    barrier();
    if (ck_world.rank == 0)
        unlink(path);
}

START_TEST(a_disk_may_be_full_at_any_place)
{
    make_table(false);
    const char *folder = path_of("small"), *path = path_of("small/x.h5");
    int mounted = 0, n_saved = 0;
    if (ck_world.rank == 0)
        mounted = mkdir(folder, 0700) == 0 && mount("none", folder, "tmpfs", 0, "size=4m") == 0;
    MPI_Bcast(&mounted, 1, MPI_INT, 0, ck_world.world);
    if (!mounted) {
        if (ck_world.rank == 0)
            printf("SKIP: no small file system can be mounted here\n");
        return;
    }
    for (int pages = 0; pages < 200; pages += pages < 20 ? 1 : 9)
        save_on_full(folder, path, pages, &n_saved);
    ck_all(&ck_world, n_saved > 2);
    ck_all(&ck_world, n_saved < 20);
    if (ck_world.rank == 0)
        ck_assert_int_eq(umount(folder), 0);
}
END_TEST

static int refuse(void *why)
{
    return ERR(E_IO, "%s", (const char *)why);
}

START_TEST(who_lost_the_folder_publishes_nothing)
{
    make_table(false);
    struct state s;
    char why[] = "another job took it";
    const char *path = path_of("lost.h5");
    struct ckpt_set set = {.meta = some_meta(1),
                           .tensors = &table,
                           .n_arrays = N_KINDS,
                           .may_publish = refuse,
                           .may_publish_ctx = why};
    state_init(&s, &ck_world, false);
    memcpy(set.array, s.array, sizeof s.array);
    ck_all(&ck_world, ckpt_write(&ck_world, path, &set, NULL) == E_IO);
    ck_all(&ck_world, strstr(err_message(), why) != NULL);
    ck_all(&ck_world, !fs_exists(path) && count_names(dir, "tmp") == 0);
    state_release(&s);
}
END_TEST

START_TEST(what_cannot_be_read_back_is_named)
{
    make_table(true);
    const char *path = path_of("lost.h5");
    arm("fs.pread", ck_world.size - 1, "");
    int rc = save(&ck_world, path, 3, false);
    disarm();
    ck_all(&ck_world, rc == E_IO);
    ck_all(&ck_world, strstr(err_message(), "block") && strstr(err_message(), "model."));
    ck_all(&ck_world, !fs_exists(path));
}
END_TEST

START_TEST(a_path_that_cannot_be_is_refused_at_once)
{
    make_table(false);
    ck_all(&ck_world, save(&ck_world, path_of("no/such/folder/x.h5"), 1, false) == E_IO);
    if (ck_world.rank == 0)
        ck_assert_int_eq(fs_write_file(path_of("plain"), "x", 1), OK);
    barrier();
    ck_all(&ck_world, save(&ck_world, path_of("plain/x.h5"), 1, false) == E_IO);
    ck_all(&ck_world, save(&ck_world, "/proc/x.h5", 1, false) == E_IO);
}
END_TEST

/* ---- the run folder ---- */

static const char *fresh_run(const char *name)
{
    const char *run = path_of(name);
    char folder[FS_PATH_MAX];
    ck_assert_int_eq(fs_join(folder, run, "checkpoints"), OK);
    ck_assert_int_eq(fs_mkdirs(folder), OK);
    barrier();
    return run;
}

static void save_step(const char *run, int64_t step)
{
    char path[FS_PATH_MAX];
    ck_assert_int_eq(ckpt_path(path, run, step), OK);
    ck_all(&ck_world, save(&ck_world, path, step, false) == OK);
}

static bool has_step(const char *run, int64_t step)
{
    char path[FS_PATH_MAX];
    ck_assert_int_eq(ckpt_path(path, run, step), OK);
    return fs_exists(path);
}

static int retain(const char *run, int64_t newest, int64_t n, int64_t every, int64_t before)
{
    const struct ckpt_keep keep = {.newest = n, .every = every, .before = before};
    return ckpt_retain(&ck_world, run, newest, &keep);
}

static bool latest_is(const char *run, int64_t step)
{
    char path[FS_PATH_MAX], want[64], *text;
    size_t n;
    snprintf(want, sizeof want, "step-%09lld.h5\n", (long long)step);
    if (fs_join(path, run, "checkpoints/latest") != OK || fs_read_file(path, 100, &text, &n) != OK)
        return false;
    bool same = strcmp(text, want) == 0;
    mem_free(text);
    return same;
}

START_TEST(retention_keeps_what_it_should)
{
    make_table(false);
    const char *run = fresh_run("keep");
    for (int64_t step = 100; step <= 700; step += 100) {
        save_step(run, step);
        ck_all(&ck_world, retain(run, step, 1, 300, 0) == OK);
    }
    barrier();
    for (int64_t step = 100; step <= 700; step += 100)
        ck_all(&ck_world, has_step(run, step) == (step % 300 == 0 || step >= 600));
    ck_all(&ck_world, latest_is(run, 700));
    /* A newest that is not there deletes nothing. */
    ck_all(&ck_world, retain(run, 800, 1, 0, 0) == E_BUG);
    ck_all(&ck_world, has_step(run, 600) && has_step(run, 700));
    /* The hint is none that a save or the room for the next depends on. */
    save_step(run, 800);
    arm("ckpt.latest", 0, "");
    int rc = retain(run, 800, 2, 0, 0);
    disarm();
    barrier();
    ck_all(&ck_world, rc == OK && latest_is(run, 700));
    ck_all(&ck_world, !has_step(run, 300) && !has_step(run, 600) && has_step(run, 700));
    ck_all(&ck_world, retain(run, 800, 2, 0, 0) == OK);
    barrier();
    ck_all(&ck_world, latest_is(run, 800));
    /* Who has lost the folder meanwhile removes and replaces nothing. */
    char why[] = "another job took it";
    const struct ckpt_keep lost = {.newest = 2, .may_publish = refuse, .may_publish_ctx = why};
    save_step(run, 900);
    ck_all(&ck_world, ckpt_retain(&ck_world, run, 900, &lost) == E_IO);
    barrier();
    ck_all(&ck_world, has_step(run, 700) && latest_is(run, 800));
}
END_TEST

/* Of what came before a trouble that goes on the newest file stays, however many follow. */
START_TEST(the_newest_from_before_a_trouble_stays)
{
    make_table(false);
    const char *run = fresh_run("trouble");
    for (int64_t step = 10; step <= 90; step += 10) {
        save_step(run, step);
        ck_all(&ck_world, retain(run, step, 2, 0, step > 35 ? 36 : 0) == OK);
    }
    barrier();
    for (int64_t step = 10; step <= 90; step += 10)
        ck_all(&ck_world, has_step(run, step) == (step == 30 || step >= 80));
    ck_all(&ck_world, retain(run, 90, 2, 0, 0) == OK); /* it is over */
    barrier();
    ck_all(&ck_world, !has_step(run, 30) && has_step(run, 80));
}
END_TEST

START_TEST(a_branch_is_left)
{
    make_table(false);
    const char *run = fresh_run("left");
    char path[FS_PATH_MAX], left[FS_PATH_MAX + 8];
    ck_all(&ck_world, ckpt_leave(&ck_world, run, 5) == E_DATA); /* nothing to go back to */
    for (int64_t step = 2; step <= 8; step += 2)
        save_step(run, step);
    barrier();
    ck_all(&ck_world, ckpt_leave(&ck_world, run, 6) == OK);
    barrier();
    ck_all(&ck_world, has_step(run, 2) && has_step(run, 4) && !has_step(run, 6));
    ck_assert_int_eq(ckpt_path(path, run, 8), OK);
    snprintf(left, sizeof left, "%s.left", path);
    ck_all(&ck_world, fs_exists(left));
    ck_all(&ck_world, ckpt_newest(&ck_world, run, true, path) == OK);
    ck_all(&ck_world, strstr(path, "step-000000004.h5") != NULL);
    barrier();
    /* Where all are of the branch, the oldest stays. */
    ck_all(&ck_world, ckpt_leave(&ck_world, run, 1) == OK);
    barrier();
    ck_all(&ck_world, has_step(run, 2) && !has_step(run, 4));
}
END_TEST

START_TEST(the_newest_whole_file_is_found)
{
    make_table(false);
    const char *run = fresh_run("newest");
    char path[FS_PATH_MAX], damaged[FS_PATH_MAX + 16];
    ck_all(&ck_world, ckpt_newest(&ck_world, run, true, path) == OK);
    ck_all(&ck_world, path[0] == '\0');
    for (int64_t step = 1; step <= 3; step++)
        save_step(run, step);
    ck_all(&ck_world, ckpt_newest(&ck_world, run, true, path) == OK);
    ck_all(&ck_world, strstr(path, "step-000000003.h5") != NULL);
    snprintf(damaged, sizeof damaged, "%s.damaged", path);
    barrier();
    if (ck_world.rank == 0) {
        flip(path, offset_of(path, "/exp_avg_sq/model.norm.weight") + 17, 3);
        char cut[FS_PATH_MAX];
        ck_assert_int_eq(ckpt_path(cut, run, 2), OK);
        ck_assert_int_eq(truncate(cut, 5000), 0);
    }
    barrier();
    for (int ours = 0; ours <= 1; ours++) {
        ck_all(&ck_world, has_step(run, 3) && has_step(run, 2)); /* a reader has left them */
        barrier();
        ck_all(&ck_world, ckpt_newest(&ck_world, run, ours, path) == OK);
        ck_all(&ck_world, strstr(path, "step-000000001.h5") != NULL);
        ck_all(&ck_world, latest_is(run, 1) == ours);
    }
    ck_all(&ck_world, load(&ck_world, path, 1, false) == OK);
    ck_all(&ck_world, fs_exists(damaged) && !has_step(run, 3) && !has_step(run, 2));
    barrier();
    if (ck_world.rank == 0)
        flip(path, offset_of(path, "/params/model.norm.weight"), 0);
    barrier();
    /* Twice: the marked files must not be taken for an empty folder. */
    for (int i = 0; i < 2; i++)
        ck_all(&ck_world, ckpt_newest(&ck_world, run, true, path) == E_DATA);
}
END_TEST

/* The newest of two; its name stays whatever a reader is told. */
static int find_newest(const char *run, const char *fault, const char *nth, char *path)
{
    arm(fault, 0, nth);
    int rc = ckpt_newest(&ck_world, run, true, path);
    disarm();
    barrier();
    ck_all(&ck_world, has_step(run, 2) && has_step(run, 1));
    barrier();
    return rc;
}

START_TEST(a_file_that_cannot_be_read_is_not_damaged)
{
    make_table(false);
    const char *run = fresh_run("unread");
    char path[FS_PATH_MAX];
    save_step(run, 1);
    save_step(run, 2);
    /* HDF5 fails once: to tell the format, or to open the index. */
    for (int nth = 1; nth <= 2; nth++) {
        ck_all(&ck_world, find_newest(run, "h5x.open", nth == 1 ? ":1" : ":2", path) == OK);
        ck_all(&ck_world, strstr(path, "step-000000002.h5") != NULL);
    }
    ck_all(&ck_world, find_newest(run, "fs.pread", "", path) == E_IO); /* a block */
    ck_assert_int_eq(ckpt_path(path, run, 2), OK);
    if (ck_world.rank == 0)
        ck_assert_int_eq(truncate(path, 5000), 0);
    barrier();
    ck_all(&ck_world, find_newest(run, "fs.pread", "", path) == E_IO); /* what may be damage */
    ck_all(&ck_world, strstr(err_message(), "cannot read") != NULL);
}
END_TEST

START_TEST(another_format_is_refused_and_left_alone)
{
    make_table(false);
    const char *run = fresh_run("format");
    char path[FS_PATH_MAX];
    save_step(run, 1);
    save_step(run, 2);
    ck_assert_int_eq(ckpt_path(path, run, 2), OK);
    if (ck_world.rank == 0) {
        hid_t f;
        ck_assert_int_eq(h5x_open(&f, path, true), OK);
        ck_assert_int_eq(h5x_put_i64(f, "format", CKPT_FORMAT + 1), OK);
        ck_assert_int_eq(h5x_close(&f), OK);
    }
    barrier();
    ck_all(&ck_world, ckpt_newest(&ck_world, run, true, path) == E_DATA);
    ck_all(&ck_world, strstr(err_message(), "format 2") != NULL);
    ck_all(&ck_world, has_step(run, 2) && has_step(run, 1));
}
END_TEST

START_TEST(an_unfinished_file_is_refused)
{
    make_table(false);
    const char *path = path_of("unfinished.h5");
    ck_all(&ck_world, save(&ck_world, path, 1, false) == OK);
    if (ck_world.rank == 0) {
        hid_t f;
        ck_assert_int_eq(h5x_open(&f, path, true), OK);
        ck_assert_int_eq(h5x_put_i64(f, "committed", 0), OK);
        ck_assert_int_eq(h5x_close(&f), OK);
    }
    barrier();
    ck_all(&ck_world, ckpt_verify(&ck_world, path, NULL) == E_DATA);
    ck_all(&ck_world, strstr(err_message(), "commit") != NULL);
}
END_TEST

/* The sums of the first dataset under the second one's name, with a hash that fits. All have one
 * block. */
static void forge_sums(const char *path)
{
    struct h5x_array a;
    char *name, hash[65];
    uint32_t *block, *crc;
    size_t n, m;
    struct sha256 s;
    hid_t f;
    ck_assert_int_eq(h5x_open(&f, path, true), OK);
    ck_assert_int_eq(h5x_describe(f, "/sums/dataset", &a), OK);
    hid_t type = H5Tcopy(H5T_C_S1);
    H5Tset_size(type, a.elem_bytes);
    H5Tset_cset(type, H5T_CSET_UTF8);
    H5Tset_strpad(type, H5T_STR_NULLPAD);
    ck_assert_int_eq(h5x_get_array(f, "/sums/dataset", type, a.n, (void **)&name, &n), OK);
    ck_assert_int_eq(h5x_get_array(f, "/sums/block", H5T_NATIVE_UINT32, a.n, (void **)&block, &m),
                     OK);
    ck_assert_int_eq(h5x_get_array(f, "/sums/crc32c", H5T_NATIVE_UINT32, a.n, (void **)&crc, &m),
                     OK);
    memcpy(name, name + a.elem_bytes, a.elem_bytes);
    sha256_init(&s);
    sha256_add(&s, name, n * a.elem_bytes);
    sha256_add(&s, block, n * sizeof *block);
    sha256_add(&s, crc, n * sizeof *crc);
    sha256_hex(&s, hash);
    ck_assert_int_eq(h5x_write_array(f, "/sums/dataset", type, name), OK);
    ck_assert_int_eq(h5x_put_text(f, "sums_sha256", hash), OK);
    H5Tclose(type);
    ck_assert_int_eq(h5x_close(&f), OK);
    mem_free(name);
    mem_free(block);
    mem_free(crc);
}

START_TEST(a_dataset_without_sums_is_refused)
{
    make_table(false);
    const char *path = path_of("twice.h5");
    ck_all(&ck_world, save(&ck_world, path, 1, false) == OK);
    if (ck_world.rank == 0)
        forge_sums(path);
    barrier();
    ck_all(&ck_world, ckpt_verify(&ck_world, path, NULL) == E_DATA);
    ck_all(&ck_world, strstr(err_message(), "is there twice") != NULL);
}
END_TEST

/* What pwrite at H5Dget_offset makes is what a collective H5Dwrite makes. */
static int make_twin(void *ctx, hid_t file)
{
    const struct tensor *t = ctx;
    const hsize_t dims[2] = {t->dims[0], t->dims[1]};
    return h5x_make_dataset(file, "/x", H5T_IEEE_F32LE, 2, dims, NULL);
}

static hid_t open_together(const char *path)
{
    hid_t how = H5Pcreate(H5P_FILE_ACCESS);
    H5Pset_fapl_mpio(how, ck_world.world, MPI_INFO_NULL);
    hid_t file = H5Fopen(path, H5F_ACC_RDWR, how);
    H5Pclose(how);
    return file;
}

static bool fill_twin(const char *path, const struct tensor *t)
{
    struct range mine = split_even(t->dims[0], ck_world.size, ck_world.rank);
    hsize_t start[2] = {mine.first, 0}, count[2] = {mine.n, t->dims[1]};
    float *part;
    ck_assert_int_eq(mem_alloc(&part, mine.n * t->dims[1] + 1, sizeof *part, "part"), OK);
    for (size_t i = 0; i < mine.n * t->dims[1]; i++)
        part[i] = value(0, 4, t->offset + mine.first * t->dims[1] + i);
    hid_t file = open_together(path), d = H5Dopen2(file, "/x", H5P_DEFAULT), to = H5Dget_space(d);
    hid_t from = H5Screate_simple(2, count, NULL), how = H5Pcreate(H5P_DATASET_XFER);
    H5Sselect_hyperslab(to, H5S_SELECT_SET, start, NULL, count, NULL);
    H5Pset_dxpl_mpio(how, H5FD_MPIO_COLLECTIVE);
    bool written = H5Dwrite(d, H5T_NATIVE_FLOAT, from, to, how, part) >= 0;
    H5Pclose(how);
    H5Sclose(from);
    H5Sclose(to);
    H5Dclose(d);
    mem_free(part);
    return H5Fclose(file) >= 0 && written;
}

START_TEST(a_collective_write_gives_the_same_dataset)
{
    make_table(true);
    const char *twin = path_of("twin.h5"), *path = path_of("own.h5");
    ck_all(&ck_world, h5x_build(&ck_world, twin, 1, make_twin, &rows[4], "none") == OK);
    ck_all(&ck_world, fill_twin(twin, &rows[4]));
    ck_all(&ck_world, save(&ck_world, path, 4, false) == OK);
    if (ck_world.rank == 0) {
        char name[1024];
        void *a, *b;
        size_t n, m;
        hid_t f;
        snprintf(name, sizeof name, "/params/%s", rows[4].name);
        ck_assert_int_eq(h5x_open(&f, twin, false), OK);
        ck_assert_int_eq(h5x_get_array(f, "/x", H5T_NATIVE_FLOAT, rows[4].n, &a, &n), OK);
        h5x_close(&f);
        ck_assert_int_eq(h5x_open(&f, path, false), OK);
        ck_assert_int_eq(h5x_get_array(f, name, H5T_NATIVE_FLOAT, rows[4].n, &b, &m), OK);
        h5x_close(&f);
        ck_assert(n == m && memcmp(a, b, n * sizeof(float)) == 0);
        mem_free(a);
        mem_free(b);
    }
    barrier();
}
END_TEST

/* ---- killed ---- */

/* Two ranks that save step 2 into the run folder and are killed on the way: another program, since
 * mpirun ends all of a job. */
static int child(int argc, char **argv)
{
    if (comm_init(&ck_world, &argc, &argv) != OK)
        return E_RANK;
    char path[FS_PATH_MAX];
    make_table(true);
    int rc = ckpt_path(path, argv[2], 2);
    if (rc == OK)
        rc = save_how(&ck_world, path, 2, false, strcmp(argv[3], "aside") == 0);
    if (rc == OK)
        rc = retain(argv[2], 2, 2, 0, 0);
    comm_end(&ck_world);
    return rc;
}

static int run_child(const char *run, const char *fault, bool aside)
{
    char command[3 * FS_PATH_MAX];
    snprintf(command, sizeof command,
             "env -i PATH=\"$PATH\" HOME=\"$HOME\" OMPI_ALLOW_RUN_AS_ROOT=1 "
             "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1 "
             "OMPI_MCA_mpi_yield_when_idle=1 OMPI_MCA_btl_vader_single_copy_mechanism=none "
             "CARAT_FAULT=%s timeout 60 mpirun -n 2 %s child %s %s >/dev/null 2>&1",
             fault, self, run, aside ? "aside" : "now");
    int status = system(command);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

START_TEST(killed_anywhere_the_older_file_stands)
{
    static const struct {
        const char *fault;
        int step; /* which checkpoint must be found then */
        bool aside;
    } kill[] = {{"ckpt.create:1:1:kill", 1, false},  {"ckpt.pwrite:1:3:kill", 1, false},
                {"ckpt.pwrite:0:3:kill", 1, true},   {"ckpt.fsync:0:1:kill", 1, false},
                {"ckpt.fsync:1:1:kill", 1, true},    {"ckpt.readback:1:2:kill", 1, false},
                {"ckpt.readback:0:2:kill", 1, true}, {"ckpt.commit:0:1:kill", 1, false},
                {"ckpt.rename:0:1:kill", 1, false},  {"ckpt.folder:0:1:kill", 2, false},
                {"ckpt.latest:0:1:kill", 2, false}};
    if (ck_world.size > 1)
        return;
    make_table(true);
    char want[64], path[FS_PATH_MAX], folder[FS_PATH_MAX];
    for (size_t i = 0; i < sizeof kill / sizeof kill[0]; i++) {
        char name[32];
        snprintf(name, sizeof name, "killed-%zu", i);
        const char *run = fresh_run(name);
        save_step(run, 1);
        int status = run_child(run, kill[i].fault, kill[i].aside);
        ck_assert_msg(status == 137, "%s: exit %d", kill[i].fault, status);
        snprintf(want, sizeof want, "step-%09d.h5", kill[i].step);
        ck_assert_int_eq(ckpt_newest(&ck_world, run, true, path), OK);
        ck_assert_msg(strstr(path, want) != NULL, "%s: %s", kill[i].fault, path);
        ck_assert_int_eq(load(&ck_world, path, kill[i].step, false), OK);
        ck_assert_int_eq(ckpt_clean_temporaries(run), OK);
        ck_assert_int_eq(fs_join(folder, run, "checkpoints"), OK);
        ck_assert_int_eq(count_names(folder, "tmp"), 0);
        ck_assert_int_eq(count_names(folder, "damaged"), 0);
        ck_assert_msg(has_step(run, 1), "%s: step 1 is gone", kill[i].fault);
    }
}
END_TEST

static void add(TCase *t)
{
    snprintf(dir, sizeof dir, "%s", ck_folder());
    tcase_add_test(t, written_by_n_read_by_m);
    tcase_add_test(t, a_copy_is_written_as_what_it_was);
    tcase_add_test(t, what_nobody_has_is_not_in_the_file);
    tcase_add_test(t, meta_round_trips);
    tcase_add_test(t, another_model_is_refused_by_name);
    tcase_add_test(t, a_flipped_payload_bit_is_named);
    tcase_add_test(t, flipped_metadata_is_refused_or_without_effect);
    tcase_add_test(t, a_file_cut_short_is_refused);
    tcase_add_test(t, a_failure_anywhere_leaves_nothing);
    tcase_add_test(t, a_file_stays_though_its_folder_cannot_be_synced);
    tcase_add_test(t, whether_a_kind_is_there_is_known_or_an_error);
    tcase_add_test(t, where_no_thread_can_be_had_it_is_written_all_the_same);
    tcase_add_test(t, a_save_that_is_given_up_leaves_nothing);
    tcase_add_test(t, a_disk_may_be_full_at_any_place);
    tcase_add_test(t, who_lost_the_folder_publishes_nothing);
    tcase_add_test(t, what_cannot_be_read_back_is_named);
    tcase_add_test(t, a_path_that_cannot_be_is_refused_at_once);
    tcase_add_test(t, retention_keeps_what_it_should);
    tcase_add_test(t, the_newest_from_before_a_trouble_stays);
    tcase_add_test(t, a_branch_is_left);
    tcase_add_test(t, the_newest_whole_file_is_found);
    tcase_add_test(t, a_file_that_cannot_be_read_is_not_damaged);
    tcase_add_test(t, another_format_is_refused_and_left_alone);
    tcase_add_test(t, an_unfinished_file_is_refused);
    tcase_add_test(t, a_dataset_without_sums_is_refused);
    tcase_add_test(t, a_collective_write_gives_the_same_dataset);
    tcase_add_test(t, killed_anywhere_the_older_file_stands);
}

int main(int argc, char **argv)
{
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    if (n < 0)
        return EXIT_FAILURE;
    if (argc > 3 && strcmp(argv[1], "child") == 0)
        return child(argc, argv);
    return run_suite_mpi(&argc, &argv, "train/ckpt", add);
}
