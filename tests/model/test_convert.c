/* Hugging Face folders: what is written comes back bit for bit, folders by others are read, and a
 * folder whose tensors are not the model's is refused with their names. */
#include "base/err.h"
#include "base/fs.h"
#include "base/half.h"
#include "base/mem.h"
#include "check_main.h"
#include "io/json.h"
#include "io/safetensors.h"
#include "model/convert.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *const configs[] = {
    "{\"model_type\":\"gemma\",\"vocab_size\":37,\"hidden_size\":12,\"intermediate_size\":20,"
    "\"num_hidden_layers\":2,\"num_attention_heads\":3,\"num_key_value_heads\":1,\"head_dim\":6}",
    "{\"model_type\":\"gemma2\",\"vocab_size\":41,\"hidden_size\":10,\"intermediate_size\":14,"
    "\"num_hidden_layers\":3,\"num_attention_heads\":4,\"num_key_value_heads\":2,\"head_dim\":4,"
    "\"query_pre_attn_scalar\":5,\"sliding_window\":3}",
    "{\"model_type\":\"gemma3_text\",\"vocab_size\":43,\"hidden_size\":14,\"intermediate_size\":9,"
    "\"num_hidden_layers\":4,\"num_attention_heads\":2,\"num_key_value_heads\":1,\"head_dim\":8,"
    "\"rope_scaling\":{\"rope_type\":\"linear\",\"factor\":8.0},\"sliding_window\":5,"
    "\"layer_types\":[\"full_attention\",\"sliding_attention\",\"sliding_attention\","
    "\"full_attention\"]}",
};
enum { N_FAMILIES = 3, N_DTYPES = 3 };

static char dir[64];
static struct model_spec spec;
static struct tensor_table table;
static float *slab, *back;

static void take_model(const char *config)
{
    tensors_release(&table);
    MEM_FREE(slab);
    MEM_FREE(back);
    ck_assert_int_eq(spec_from_json(&spec, config, "a test's config"), OK);
    ck_assert_int_eq(tensors_init(&table, &spec), OK);
    ck_assert_int_eq(mem_alloc(&slab, table.n_elems, sizeof *slab, "slab"), OK);
    ck_assert_int_eq(mem_alloc(&back, table.n_elems, sizeof *back, "slab"), OK);
    tensors_init_values(&table, &spec, 5, slab);
    /* Norms start at 0; give each element a value of its own. */
    for (int i = 0; i < table.n; i++)
        for (size_t k = 0; k < table.row[i].n && table.row[i].n_dims == 1; k++)
            slab[table.row[i].offset + k] = 0.001f * (float)(i + 1) - 0.01f * (float)k;
}

static void enter(void)
{
    strcpy(dir, "/tmp/carat-convert-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    take_model(configs[2]);
}

static void empty_folder(void)
{
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s/*", dir);
    ck_assert_int_eq(system(command), 0);
}

static void leave(void)
{
    empty_folder();
    rmdir(dir);
    tensors_release(&table);
    MEM_FREE(slab);
    MEM_FREE(back);
}

static float stored(enum convert_dtype dtype, float x)
{
    return dtype == CONVERT_F32    ? x
           : dtype == CONVERT_BF16 ? bf16_to_f32(f32_to_bf16(x))
                                   : f16_to_f32(f32_to_f16(x));
}

/* The slab is poisoned first: gaps must be zeroed, values must come from the file. */
static void back_is_stored(enum convert_dtype dtype)
{
    memset(back, 0xff, table.n_elems * sizeof *back);
    ck_assert_int_eq(convert_read(dir, &table, back), OK);
    for (size_t i = 0; i < table.n_elems; i++)
        ck_assert_uint_eq(f32_bits(back[i]), f32_bits(stored(dtype, slab[i])));
}

static void config_is_right(enum convert_dtype dtype)
{
    static const char *const torch[] = {"float32", "bfloat16", "float16"};
    char path[FS_PATH_MAX];
    struct model_spec again;
    json_t *config;
    ck_assert_int_eq(spec_from_file(&again, dir), OK);
    ck_assert_mem_eq(&again, &spec, sizeof spec);
    ck_assert_int_eq(fs_join(path, dir, "config.json"), OK);
    ck_assert_int_eq(json_read_file(path, &config), OK);
    ck_assert_str_eq(json_string_value(json_object_get(config, "torch_dtype")), torch[dtype]);
    json_decref(config);
}

static void round_trip(enum convert_dtype dtype, size_t max_shard_bytes)
{
    int exact = -1;
    char path[FS_PATH_MAX];
    empty_folder();
    ck_assert_int_eq(convert_write(dir, &spec, &table, slab, dtype, max_shard_bytes, &exact), OK);
    ck_assert_int_eq(exact, dtype == CONVERT_F32);
    ck_assert_int_eq(fs_join(path, dir, "model.safetensors.index.json"), OK);
    ck_assert_int_eq(fs_exists(path), max_shard_bytes > 0);
    config_is_right(dtype);
    back_is_stored(dtype);
    /* What came back is of the dtype, so this time nothing is lost. */
    empty_folder();
    ck_assert_int_eq(convert_write(dir, &spec, &table, back, dtype, max_shard_bytes, &exact), OK);
    ck_assert_int_eq(exact, 1);
    back_is_stored(dtype);
}

START_TEST(folders_come_back)
{
    size_t held = mem_bytes();
    for (int family = 0; family < N_FAMILIES; family++) {
        take_model(configs[family]);
        for (int dtype = 0; dtype < N_DTYPES; dtype++) {
            round_trip((enum convert_dtype)dtype, 0);
            round_trip((enum convert_dtype)dtype, 2000);
        }
    }
    ck_assert_uint_eq(mem_bytes(), held);
}
END_TEST

START_TEST(numbers_too_large_for_f16_are_refused)
{
    char path[FS_PATH_MAX];
    slab[table.row[1].offset] = 65520;
    ck_assert_int_eq(convert_write(dir, &spec, &table, slab, CONVERT_F16, 0, NULL), E_DATA);
    ck_assert_ptr_nonnull(strstr(err_message(), table.row[1].name));
    ck_assert_int_eq(fs_join(path, dir, "config.json"), OK);
    ck_assert(!fs_exists(path));
    ck_assert_int_eq(convert_write(dir, &spec, &table, slab, CONVERT_BF16, 0, NULL), OK);
}
END_TEST

/* One lost bit in one element must be noticed, wherever it lies. */
START_TEST(a_rounded_number_is_told)
{
    for (int dtype = CONVERT_BF16; dtype <= CONVERT_F16; dtype++)
        for (int last = 0; last < 2; last++) {
            int exact = -1;
            for (size_t i = 0; i < table.n_elems; i++)
                slab[i] = 1;
            slab[last ? table.n_elems - 1 : 0] = 0x1.000002p0f;
            empty_folder();
            ck_assert_int_eq(
                convert_write(dir, &spec, &table, slab, (enum convert_dtype)dtype, 0, &exact), OK);
            ck_assert_int_eq(exact, 0);
        }
}
END_TEST

/* Folders as others write them: the table's rows under changed names, less some, plus some. */

struct entry {
    char name[128];
    const float *values;
    uint64_t shape[2];
    int n_dims;
};
static struct entry entries[128];
static size_t n_entries;

static int fill(void *ctx, size_t row, uint64_t first, size_t count, float *out)
{
    (void)ctx;
    memcpy(out, entries[row].values + first, count * sizeof *out);
    return OK;
}

static struct entry *add_entry(const char *prefix, const char *name, const struct tensor *like)
{
    struct entry *e = &entries[n_entries++];
    *e = (struct entry){.values = slab + like->offset,
                        .shape = {like->dims[0], like->dims[1]},
                        .n_dims = like->n_dims};
    snprintf(e->name, sizeof e->name, "%s%s", prefix, name);
    return e;
}

/* All tensors with `prefix` in the place of "model.". */
static void list_entries(const char *prefix)
{
    n_entries = 0;
    for (int i = 0; i < table.n; i++)
        add_entry(prefix, table.row[i].name + strlen("model."), &table.row[i]);
}

static void put_entries(void)
{
    static struct st_row rows[128];
    for (size_t i = 0; i < n_entries; i++) {
        const struct entry *e = &entries[i];
        rows[i] = (struct st_row){.name = e->name, .dtype = ST_F32, .n_dims = e->n_dims};
        memcpy(rows[i].shape, e->shape, sizeof e->shape);
    }
    empty_folder();
    ck_assert_int_eq(st_write_folder(dir, rows, n_entries, 0, (struct st_source){fill, NULL}), OK);
}

static void is_refused(const char *says)
{
    size_t held = mem_bytes();
    put_entries();
    err_clear();
    ck_assert_int_eq(convert_read(dir, &table, back), E_DATA);
    ck_assert_msg(strstr(err_message(), says) != NULL, "\"%s\" is not in: %s", says, err_message());
    ck_assert_msg(strncmp(err_message(), dir, strlen(dir)) == 0, "%s", err_message());
    ck_assert_uint_eq(mem_bytes(), held);
}

START_TEST(prefixes_and_vision_towers_are_passed_over)
{
    static const struct {
        const char *text, *head, *vision;
    } forms[] = {
        {"model.", "", "vision_tower."},
        {"language_model.model.", "language_model.", "multi_modal_projector."},
        {"model.language_model.", "", "model.vision_tower."},
        {"model.language_model.", "", "model.multi_modal_projector."},
    };
    const struct tensor *embed = tensors_get(&table, TENSOR_EMBED, -1);
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
        list_entries(forms[i].text);
        add_entry(forms[i].head, "lm_head.weight", embed);
        add_entry(forms[i].vision, "encoder.layers.0.mlp.fc1.weight", &table.row[1]);
        put_entries();
        back_is_stored(CONVERT_F32);
    }
}
END_TEST

START_TEST(an_own_lm_head_is_refused)
{
    const struct tensor *embed = tensors_get(&table, TENSOR_EMBED, -1);
    float *head;
    ck_assert_int_eq(mem_alloc(&head, embed->n, sizeof *head, "head"), OK);
    for (int last = 0; last < 2; last++) {
        memcpy(head, slab + embed->offset, embed->n * sizeof *head);
        head[last ? embed->n - 1 : 0] += 1e-3f;
        list_entries("model.");
        add_entry("", "lm_head.weight", embed)->values = head;
        is_refused("lm_head.weight differs from the embedding");
    }
    list_entries("model.");
    add_entry("", "lm_head.weight", embed)->shape[0]--;
    is_refused("tensor lm_head.weight is [42,14]; its config.json's model has [43,14]");
    mem_free(head);
}
END_TEST

START_TEST(missing_tensors_are_named)
{
    char says[512];
    for (int i = 0; i < table.n; i++) {
        list_entries("model.");
        entries[i] = entries[--n_entries];
        snprintf(says, sizeof says, "lacks tensors that its config.json's model has: %s",
                 table.row[i].name);
        is_refused(says);
    }
    n_entries = 0;
    add_entry("", table.row[0].name, &table.row[0]);
    snprintf(says, sizeof says, "%s, %s, %s, %s and %d more", table.row[1].name, table.row[2].name,
             table.row[3].name, table.row[4].name, table.n - 5);
    is_refused(says);
}
END_TEST

START_TEST(unknown_tensors_are_named)
{
    static const char *const names[] = {"model.layers.4.mlp.up_proj.weight", "extra",
                                        "model.layers.0.self_attn.q_proj.bias",
                                        "visio_tower.x.weight", "language_model.extra"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        list_entries("model.");
        add_entry("", names[i], &table.row[1]);
        is_refused(names[i]);
        is_refused("holds tensors that its config.json's model has not");
    }
}
END_TEST

START_TEST(tensors_under_two_names_are_refused)
{
    list_entries("model.");
    add_entry("model.language_model.", "norm.weight", &table.row[table.n - 1]);
    is_refused("model.norm.weight are the same tensor");
    is_refused("model.language_model.norm.weight");
}
END_TEST

START_TEST(other_shapes_are_refused)
{
    char says[512];
    for (int i = 0; i < table.n; i++) {
        const struct tensor *t = &table.row[i];
        list_entries("model.");
        entries[i].shape[0]--;
        snprintf(says, sizeof says, "tensor %s is [%zu", t->name, t->dims[0] - 1);
        is_refused(says);
    }
    /* As many elements, but not as the model has them. */
    list_entries("model.");
    entries[0].shape[0] = table.row[0].dims[1];
    entries[0].shape[1] = table.row[0].dims[0];
    is_refused("is [14,43]; its config.json's model has [43,14]");
    list_entries("model.");
    entries[0].n_dims = 1;
    entries[0].shape[0] = table.row[0].n;
    is_refused("is [602]; its config.json's model has [43,14]");
    list_entries("model.");
    entries[table.n - 1].n_dims = 2;
    is_refused("is [14,1]; its config.json's model has [14]");
}
END_TEST

START_TEST(a_folder_without_weights_is_refused)
{
    ck_assert_int_eq(convert_read(dir, &table, back), E_DATA);
    ck_assert_ptr_nonnull(strstr(err_message(), "holds neither"));
    ck_assert_int_eq(convert_read("/nonexistent", &table, back), E_DATA);
}
END_TEST

/* A folder by others, read and written again in its own dtype: each tensor has the same bytes
 * (widening loses nothing, so equal numbers of equal dtype are equal bytes). */
static void comes_back(const char *folder, enum convert_dtype dtype)
{
    struct st theirs, ours;
    int exact;
    ck_assert_int_eq(spec_from_file(&spec, folder), OK);
    tensors_release(&table);
    MEM_FREE(back);
    ck_assert_int_eq(tensors_init(&table, &spec), OK);
    ck_assert_int_eq(mem_alloc(&back, table.n_elems, sizeof *back, "slab"), OK);
    ck_assert_int_eq(convert_read(folder, &table, back), OK);
    empty_folder();
    ck_assert_int_eq(convert_write(dir, &spec, &table, back, dtype, 40000, &exact), OK);
    ck_assert_int_eq(exact, 1);
    config_is_right(dtype);
    ck_assert_int_eq(st_open_folder(&theirs, folder), OK);
    ck_assert_int_eq(st_open_folder(&ours, dir), OK);
    ck_assert_uint_eq(theirs.n_rows, ours.n_rows);
    for (size_t i = 0; i < theirs.n_rows; i++) {
        const struct st_row *a = &theirs.rows[i], *b = &ours.rows[i];
        float x[2][8192];
        ck_assert_str_eq(a->name, b->name);
        ck_assert_int_eq(a->dtype, b->dtype);
        ck_assert_uint_eq(a->n, b->n);
        ck_assert_uint_le(a->n, 8192);
        ck_assert_int_eq(st_read_f32(&theirs, a, 0, a->n, x[0]), OK);
        ck_assert_int_eq(st_read_f32(&ours, b, 0, b->n, x[1]), OK);
        ck_assert_mem_eq(x[0], x[1], a->n * sizeof x[0][0]);
    }
    st_close(&theirs);
    st_close(&ours);
}

START_TEST(folders_by_others_come_back)
{
    static const struct {
        const char *name;
        enum convert_dtype dtype;
    } fixtures[] = {{"gemma1-mqa", CONVERT_F32},
                    {"gemma2-gqa", CONVERT_F32},
                    {"gemma3-text", CONVERT_F32},
                    {"gemma3-masked-bf16", CONVERT_BF16}};
    const char *shared = getenv("CARAT_SHARED");
    for (size_t i = 0; i < sizeof fixtures / sizeof fixtures[0]; i++) {
        char folder[FS_PATH_MAX];
        snprintf(folder, sizeof folder, "%s/fixtures/%s", shared != NULL ? shared : "../shared",
                 fixtures[i].name);
        if (fs_is_dir(folder))
            comes_back(folder, fixtures[i].dtype);
        else
            printf("SKIP: no fixture at %s\n", folder);
    }
}
END_TEST

static void add(TCase *t)
{
    tcase_add_checked_fixture(t, enter, leave);
    tcase_add_test(t, folders_come_back);
    tcase_add_test(t, numbers_too_large_for_f16_are_refused);
    tcase_add_test(t, a_rounded_number_is_told);
    tcase_add_test(t, prefixes_and_vision_towers_are_passed_over);
    tcase_add_test(t, an_own_lm_head_is_refused);
    tcase_add_test(t, missing_tensors_are_named);
    tcase_add_test(t, unknown_tensors_are_named);
    tcase_add_test(t, tensors_under_two_names_are_refused);
    tcase_add_test(t, other_shapes_are_refused);
    tcase_add_test(t, a_folder_without_weights_is_refused);
    tcase_add_test(t, folders_by_others_come_back);
}

int main(void)
{
    return run_suite("model/convert", add);
}
