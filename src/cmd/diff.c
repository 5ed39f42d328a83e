#include "base/err.h"
#include "base/fs.h"
#include "base/half.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/plain.h"
#include "base/str.h"
#include "cmd/cmd.h"
#include "cmd/kind.h"
#include "cmd/opts.h"
#include "conf/config_file.h"
#include "train/ckpt.h"
#include "train/ckpt_index.h"
#include "train/state.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* As diff(1) says it. */
enum { DIFFERENT = 1 };

/* One of the two. */
struct side {
    char path[FS_PATH_MAX]; /* the checkpoint */
    struct ckpt_meta meta;
    struct ckpt_index x;
    struct config conf; /* stored in it; cleared where there is none that this carat reads */
    bool has_conf;
    int fd;
    float *block; /* [CKPT_BLOCK] bytes */
};

struct comparison {
    struct side a, b;
    json_t *values, *other; /* arrays: datasets that differ; facts and settings that do */
    size_t n_datasets, n_same;
};

/* ---- the two files ---- */

static int newest_of_run(char *path, const char *run)
{
    int64_t *step;
    size_t n;
    TRY(ckpt_list(run, &step, &n, NULL));
    int rc = n > 0 ? ckpt_path(path, run, step[0])
                   : ERR(E_DATA, "%s: no checkpoint in this run folder", run);
    mem_free(step);
    return rc;
}

static int resolve(char *path, const char *from)
{
    enum kind kind;
    TRY(kind_of(&kind, from));
    if (kind == KIND_RUN)
        return newest_of_run(path, from);
    if (kind != KIND_CHECKPOINT)
        return ERR(E_DATA, "%s: a %s; carat diff compares checkpoints and run folders", from,
                   kind_name(kind));
    if (snprintf(path, FS_PATH_MAX, "%s", from) >= FS_PATH_MAX)
        return ERR(E_DATA, "%.60s...: the path is too long", from);
    return OK;
}

static void read_settings(struct side *s)
{
    struct conf_origins origins;
    s->has_conf = s->meta.config_text[0] != '\0' &&
                  conf_load_text(&s->conf, &origins, s->meta.config_text, s->path) == OK;
    if (!s->has_conf)
        memset(&s->conf, 0, sizeof s->conf);
    err_clear();
}

static int side_open(struct side *s, const char *from)
{
    TRY(resolve(s->path, from));
    TRY(ckpt_read_meta(s->path, &s->meta));
    read_settings(s);
    TRY(ckpt_index_load(&s->x, s->path));
    TRY(mem_alloc(&s->block, CKPT_BLOCK, 1, "block of a checkpoint"));
    s->fd = open(s->path, O_RDONLY | O_CLOEXEC);
    return s->fd >= 0 ? OK : ERR(E_IO, "%s: cannot open: %s", s->path, strerror(errno));
}

static void side_close(struct side *s)
{
    if (s->fd >= 0)
        close(s->fd);
    mem_free(s->block);
    ckpt_index_release(&s->x);
    ckpt_meta_release(&s->meta);
}

/* ---- values ---- */

struct change {
    uint64_t n;     /* values with other bits */
    double largest; /* difference; infinite where one is no number */
    uint64_t at;    /* the place of it in the dataset */
};

static void compare_block(struct change *ch, const float *a, const float *b, size_t n,
                          uint64_t first)
{
    for (size_t i = 0; i < n; i++) {
        if (f32_bits(a[i]) == f32_bits(b[i]))
            continue;
        double d = fabs((double)a[i] - (double)b[i]);
        d = isnan(d) ? INFINITY : d;
        if (ch->n++ == 0 || d > ch->largest) {
            ch->largest = d;
            ch->at = first + i;
        }
    }
}

static int compare_dataset(struct comparison *k, const struct ckpt_dataset *a,
                           const struct ckpt_dataset *b, struct change *ch)
{
    *ch = (struct change){0};
    for (uint64_t i = 0; i < ckpt_n_blocks(a->bytes); i++) {
        uint64_t at;
        size_t n;
        ckpt_block(&k->a.x, a->first_block + i, &at, &n);
        TRY(ckpt_block_check(&k->a.x, a->first_block + i, k->a.fd, k->a.block, k->a.path, E_DATA));
        TRY(ckpt_block_check(&k->b.x, b->first_block + i, k->b.fd, k->b.block, k->b.path, E_DATA));
        if (memcmp(k->a.block, k->b.block, n) != 0)
            compare_block(ch, k->a.block, k->b.block, n / sizeof(float), at / sizeof(float));
    }
    return OK;
}

static void note_values(struct comparison *k, const char *name, const char *what,
                        const struct change *ch)
{
    json_t *o = json_pack("{s:s, s:s}", "dataset", name, "what", what);
    if (ch != NULL) {
        json_object_set_new(o, "values", json_integer((json_int_t)ch->n));
        json_object_set_new(o, "largest",
                            isfinite(ch->largest) ? json_real(ch->largest) : json_null());
        json_object_set_new(o, "at", json_integer((json_int_t)ch->at));
    }
    json_array_append_new(k->values, o);
}

static bool same_shape(const struct ckpt_dataset *a, const struct ckpt_dataset *b)
{
    return a->is_f32 && b->is_f32 && a->n_dims == b->n_dims && a->bytes == b->bytes &&
           memcmp(a->dims, b->dims, sizeof a->dims) == 0;
}

static int compare_pair(struct comparison *k, const struct ckpt_dataset *a)
{
    struct change ch;
    int64_t i = ckpt_index_find(&k->b.x, a->name);
    if (i < 0) {
        note_values(k, a->name, "only in the first", NULL);
        return OK;
    }
    const struct ckpt_dataset *b = &k->b.x.dataset[i];
    if (!same_shape(a, b)) {
        note_values(k, a->name, "another shape", NULL);
        return OK;
    }
    TRY(compare_dataset(k, a, b, &ch));
    if (ch.n > 0)
        note_values(k, a->name, "other values", &ch);
    k->n_same += ch.n == 0;
    return OK;
}

/* Weights and optimizer state lie in groups; what lies beside them does not decide. */
static bool is_state(const struct ckpt_dataset *d)
{
    return strchr(d->name + 1, '/') != NULL;
}

static int compare_values(struct comparison *k)
{
    for (size_t i = 0; i < k->a.x.n; i++)
        if (is_state(&k->a.x.dataset[i])) {
            k->n_datasets++;
            TRY(compare_pair(k, &k->a.x.dataset[i]));
        }
    for (size_t i = 0; i < k->b.x.n; i++) {
        const struct ckpt_dataset *d = &k->b.x.dataset[i];
        if (is_state(d) && ckpt_index_find(&k->a.x, d->name) < 0)
            note_values(k, d->name, "only in the second", NULL);
    }
    return OK;
}

/* ---- facts and settings ---- */

static void note_other(struct comparison *k, const char *key, const char *a, const char *b)
{
    if (strcmp(a, b) != 0)
        json_array_append_new(k->other, json_pack("{s:s, s:s, s:s}", "key", key, "a", a, "b", b));
}

static void note_setting(void *ctx, const struct conf_key *key, const char *a, const char *b)
{
    note_other(ctx, key->name, a, b);
}

static void compare_settings(struct comparison *k)
{
    const char *text_a = k->a.meta.config_text, *text_b = k->b.meta.config_text;
    if (k->a.has_conf && k->b.has_conf)
        conf_diff(&k->a.conf, &k->b.conf, note_setting, k);
    else if (strcmp(text_a, text_b) != 0)
        note_other(k, "config", text_a[0] != '\0' ? "one" : "none",
                   text_b[0] != '\0' ? "another" : "none");
}

static void compare_facts(struct comparison *k)
{
    struct ckpt_fact a, b;
    for (int i = 0; ckpt_meta_fact(&k->a.meta, i, &a) && ckpt_meta_fact(&k->b.meta, i, &b); i++)
        note_other(k, a.name, a.text, b.text);
    if (strcmp(k->a.meta.spec_json, k->b.meta.spec_json) != 0)
        note_other(k, "model", "one", "another");
    bool same = k->a.meta.n_tokenizer == k->b.meta.n_tokenizer &&
                (k->a.meta.n_tokenizer == 0 ||
                 memcmp(k->a.meta.tokenizer, k->b.meta.tokenizer, k->a.meta.n_tokenizer) == 0);
    if (!same)
        note_other(k, "tokenizer", "one", "another");
    compare_settings(k);
}

/* Decides like a dataset, but for measurements that neither run acts on. */
static int compare_state(struct comparison *k)
{
    k->n_datasets++;
    const char *a = k->a.meta.state, *b = k->b.meta.state;
    if (state_same(a, b, &k->a.conf) && state_same(a, b, &k->b.conf)) {
        k->n_same++;
        if (strcmp(a, b) != 0)
            note_other(k, "measurements", "one", "another");
        return OK;
    }
    json_t *o = json_pack("{s:s, s:s}", "dataset", "state", "what",
                          "the numbers that a run carries beside its tensors differ");
    return o != NULL && json_array_append_new(k->values, o) == 0 ? OK : ERR(E_MEM, "no memory");
}

/* ---- result ---- */

static int print_json(const struct comparison *k)
{
    json_t *o = json_pack("{s:s, s:s, s:b, s:I, s:I, s:O, s:O}", "a", k->a.path, "b", k->b.path,
                          "identical", json_array_size(k->values) == 0, "datasets",
                          (json_int_t)k->n_datasets, "same", (json_int_t)k->n_same, "different",
                          k->values, "other", k->other);
    char *text = o != NULL ? json_dumps(o, JSON_INDENT(2)) : NULL;
    json_decref(o);
    if (text == NULL)
        return ERR(E_MEM, "no memory for the figures");
    plain_print(stdout, "%s\n", text);
    free(text);
    return OK;
}

static const char *text_of(const json_t *o, const char *key)
{
    return json_string_value(json_object_get(o, key));
}

static void print_values(const json_t *o)
{
    const json_t *n = json_object_get(o, "values");
    if (n == NULL) {
        plain_print(stdout, "  %-60s %s\n", text_of(o, "dataset"), text_of(o, "what"));
        return;
    }
    const json_t *largest = json_object_get(o, "largest");
    plain_print(stdout,
                "  %-60s %" JSON_INTEGER_FORMAT
                " values differ, by at most %.3g (at %" JSON_INTEGER_FORMAT ")\n",
                text_of(o, "dataset"), json_integer_value(n),
                json_is_real(largest) ? json_real_value(largest) : INFINITY,
                json_integer_value(json_object_get(o, "at")));
}

static void print_text(const struct comparison *k)
{
    size_t i, n = json_array_size(k->values);
    json_t *o;
    plain_print(stdout, "a               %s\nb               %s\n", k->a.path, k->b.path);
    json_array_foreach(k->other, i, o) plain_print(stdout, "%-15s %s -> %s\n", text_of(o, "key"),
                                                   text_of(o, "a"), text_of(o, "b"));
    if (n == 0) {
        plain_print(stdout,
                    "identical       weights and optimizer state: all %zu datasets, bit for bit\n",
                    k->n_datasets);
        return;
    }
    plain_print(stdout,
                "different       %zu datasets; %zu of %zu of a's are the same bit for bit\n", n,
                k->n_same, k->n_datasets);
    json_array_foreach(k->values, i, o) print_values(o);
}

static int compare(struct comparison *k, const char *a, const char *b, bool json)
{
    TRY(side_open(&k->a, a));
    TRY(side_open(&k->b, b));
    TRY(compare_values(k));
    TRY(compare_state(k));
    compare_facts(k);
    if (json)
        TRY(print_json(k));
    else
        print_text(k);
    size_t n = json_array_size(k->values);
    return n == 0 ? OK
                  : ERR(DIFFERENT, "%s and %s differ in %zu datasets", k->a.path, k->b.path, n);
}

static int run(const char *a, const char *b, bool json)
{
    struct comparison k = {.a.fd = -1, .b.fd = -1, .values = json_array(), .other = json_array()};
    int rc = compare(&k, a, b, json);
    side_close(&k.a);
    side_close(&k.b);
    json_decref(k.values);
    json_decref(k.other);
    return rc;
}

int cmd_diff(int argc, char **argv)
{
    bool help = false, json = false;
    const struct opt table[] = {{"json", 0, OPT_FLAG, &json, NULL, "one JSON object"},
                                {"help", 'h', OPT_FLAG, &help, NULL, "this text"}};
    enum { N = sizeof table / sizeof *table };
    TRY(opts_parse(table, N, &argc, argv));
    if (help) {
        opts_help(
            stdout, "carat diff A B",
            "How two checkpoints differ; a run folder stands for its newest. Exits 0 only "
            "when weights and optimizer state are the same bit for bit, else 1, with the "
            "largest difference in each tensor; 65 when a file is damaged. Facts and settings "
            "that differ are listed but do not decide.",
            table, N, "carat diff runs/a runs/b/checkpoints/step-000001000.h5");
        return OK;
    }
    if (argc != 3)
        return ERR(E_USAGE, "carat diff takes two checkpoints or run folders");
    return run(argv[1], argv[2], json);
}
