#include "model/convert.h"

#include "base/err.h"
#include "base/fs.h"
#include "base/half.h"
#include "base/mem.h"
#include "base/str.h"
#include "io/safetensors.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { NAMES_SHOWN = 4, NAME_SHOWN = 120, CHUNK = 1 << 16 /* numbers */ };
#define HEAD "lm_head.weight"

/* ---- names ---- */

/* Models that also see pictures keep their text part under a prefix, which has changed over time.
 * What becomes NULL is no part of the text model. */
static const struct {
    const char *prefix, *becomes;
} prefixes[] = {
    {"language_model.model.", "model."},    {"language_model.lm_head.", "lm_head."},
    {"model.language_model.", "model."},    {"vision_tower.", NULL},
    {"model.vision_tower.", NULL},          {"multi_modal_projector.", NULL},
    {"model.multi_modal_projector.", NULL},
};

/* A file's name as the table has it, in buf or name itself; NULL when it is no part of the text
 * model. */
static const char *text_name(const char *name, char *buf, size_t n)
{
    for (size_t i = 0; i < sizeof prefixes / sizeof prefixes[0]; i++) {
        size_t len = strlen(prefixes[i].prefix);
        if (strncmp(name, prefixes[i].prefix, len) != 0)
            continue;
        if (prefixes[i].becomes == NULL)
            return NULL;
        snprintf(buf, n, "%s%s", prefixes[i].becomes, name + len);
        return buf;
    }
    return name;
}

/* Names for a message: the first few, and how many more. */
struct names {
    struct str text;
    size_t n;
};

static void names_add(struct names *l, const char *name)
{
    if (l->n++ < NAMES_SHOWN)
        str_addf(&l->text, "%s%.*s", l->n > 1 ? ", " : "", NAME_SHOWN, name);
}

/* An error that lists them, when there are any. Releases the list. */
static int names_refuse(struct names *l, const char *folder, const char *what)
{
    int rc = OK;
    if (l->n > NAMES_SHOWN)
        str_addf(&l->text, " and %zu more", l->n - NAMES_SHOWN);
    if (l->n > 0)
        rc = ERR(E_DATA, "%s: %s: %s", folder, what, l->text.s);
    str_release(&l->text);
    return rc;
}

/* ---- reading ---- */

/* Where a tensor's numbers are in the file; NULL: not found so far. */
struct place {
    const struct st_row *row;
};

struct reading {
    const char *folder;
    const struct tensor_table *t;
    struct st st;
    struct place *from; /* [t->n] */
    struct place head;  /* of lm_head.weight, where the file has one */
};

/* The place that a row of the file fills, or NULL: the model has no such tensor. */
static struct place *place_of(struct reading *r, const char *name)
{
    if (strcmp(name, HEAD) == 0)
        return &r->head;
    const struct tensor *t = tensors_find(r->t, name);
    return t == NULL ? NULL : &r->from[t - r->t->row];
}

/* Gives each row of the file its place. */
static int match_rows(struct reading *r)
{
    char buf[256];
    struct names extra = {0};
    for (size_t i = 0; i < r->st.n_rows; i++) {
        const struct st_row *row = &r->st.rows[i];
        const char *name = text_name(row->name, buf, sizeof buf);
        if (name == NULL)
            continue;
        struct place *place = place_of(r, name);
        if (place == NULL) {
            names_add(&extra, row->name);
        } else if (place->row != NULL) {
            str_release(&extra.text);
            return ERR(E_DATA, "%s: %.*s and %.*s are the same tensor", r->folder, NAME_SHOWN,
                       place->row->name, NAME_SHOWN, row->name);
        } else {
            place->row = row;
        }
    }
    return names_refuse(&extra, r->folder, "holds tensors that its config.json's model has not");
}

static int check_missing(const struct reading *r)
{
    struct names missing = {0};
    for (int i = 0; i < r->t->n; i++)
        if (r->from[i].row == NULL)
            names_add(&missing, r->t->row[i].name);
    return names_refuse(&missing, r->folder, "lacks tensors that its config.json's model has");
}

/* A tensor of the table as a file would describe it. */
static struct st_row as_row(const struct tensor *t)
{
    return (struct st_row){.name = t->name, .n_dims = t->n_dims, .shape = {t->dims[0], t->dims[1]}};
}

static bool same_shape(const struct st_row *a, const struct st_row *b)
{
    return a->n_dims == b->n_dims &&
           memcmp(a->shape, b->shape, (size_t)a->n_dims * sizeof a->shape[0]) == 0;
}

static void add_shape(struct str *b, const struct st_row *row)
{
    str_add(b, "[");
    for (int i = 0; i < row->n_dims; i++)
        str_addf(b, "%s%llu", i > 0 ? "," : "", (unsigned long long)row->shape[i]);
    str_add(b, "]");
}

static int check_shape(const struct reading *r, const struct tensor *t, const struct st_row *row)
{
    const struct st_row want = as_row(t);
    if (same_shape(row, &want))
        return OK;
    struct str b = {0};
    add_shape(&b, row);
    str_add(&b, "; its config.json's model has ");
    add_shape(&b, &want);
    int rc = ERR(E_DATA, "%s: tensor %.*s is %s", r->folder, NAME_SHOWN, row->name, b.s);
    str_release(&b);
    return rc;
}

static int check_shapes(const struct reading *r)
{
    for (int i = 0; i < r->t->n; i++)
        TRY(check_shape(r, &r->t->row[i], r->from[i].row));
    return r->head.row == NULL ? OK
                               : check_shape(r, tensors_get(r->t, TENSOR_EMBED, -1), r->head.row);
}

static int read_values(const struct reading *r, float *slab)
{
    size_t end = 0;
    for (int i = 0; i < r->t->n; i++) {
        const struct tensor *t = &r->t->row[i];
        memset(slab + end, 0, (t->offset - end) * sizeof *slab);
        TRY(st_read_f32(&r->st, r->from[i].row, 0, t->n, slab + t->offset));
        end = t->offset + t->n;
    }
    return OK;
}

/* An output projection of its own is another architecture; a copy of the embedding is not. */
static int check_head(const struct reading *r, const float *embedding)
{
    float *part;
    int rc = OK;
    if (r->head.row == NULL)
        return OK;
    TRY(mem_alloc(&part, CHUNK, sizeof *part, "numbers of lm_head.weight"));
    for (uint64_t done = 0; done < r->head.row->n && rc == OK; done += CHUNK) {
        uint64_t n = r->head.row->n - done < CHUNK ? r->head.row->n - done : CHUNK;
        rc = st_read_f32(&r->st, r->head.row, done, n, part);
        if (rc == OK && memcmp(part, embedding + done, (size_t)n * sizeof *part) != 0)
            rc = ERR(E_DATA,
                     "%s: %.*s differs from the embedding; carat's models use the embedding as "
                     "their output projection",
                     r->folder, NAME_SHOWN, r->head.row->name);
    }
    mem_free(part);
    return rc;
}

static int read_folder(struct reading *r, float *slab)
{
    TRY(match_rows(r));
    TRY(check_missing(r));
    TRY(check_shapes(r));
    TRY(read_values(r, slab));
    return check_head(r, slab + tensors_get(r->t, TENSOR_EMBED, -1)->offset);
}

int convert_read(const char *folder, const struct tensor_table *t, float *slab)
{
    struct reading r = {.folder = folder, .t = t};
    int rc;
    TRY(st_open_folder(&r.st, folder));
    TRY_OUT(mem_alloc(&r.from, (size_t)t->n, sizeof *r.from, "tensors of a folder"));
    TRY_OUT(read_folder(&r, slab));
out:
    mem_free(r.from);
    st_close(&r.st);
    return rc;
}

/* ---- writing ---- */

static const struct {
    enum st_dtype dtype;
    const char *torch;
} dtypes[] = {
    [CONVERT_F32] = {ST_F32, "float32"},
    [CONVERT_BF16] = {ST_BF16, "bfloat16"},
    [CONVERT_F16] = {ST_F16, "float16"},
};

struct writing {
    const struct model_spec *s;
    const struct tensor_table *t;
    const float *slab;
    enum convert_dtype dtype;
    bool exact; /* so far */
};

static bool kept_by_bf16(const float *x, size_t n)
{
    uint32_t lost = 0;
    for (size_t i = 0; i < n; i++)
        lost |= f32_bits(x[i]) & 0xffffu;
    return lost == 0;
}

static bool kept_by_f16(const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (f32_bits(f16_to_f32(f32_to_f16(x[i]))) != f32_bits(x[i]))
            return false;
    return true;
}

/* What a muP model computes with other constants, in its weights instead: logits are divided by the
 * final norm; a stream that begins √m times as large gains what is added to it by as much. Factors
 * of a tensor's values, norms taken as 1 + w; 1: none. */
static double plain_factor(const struct model_spec *s, enum tensor_kind k)
{
    double m = spec_width_ratio(s);
    bool branch = s->post_norms ? k == TENSOR_POST_ATTN_NORM || k == TENSOR_POST_FFN_NORM
                                : k == TENSOR_O || k == TENSOR_DOWN;
    return k == TENSOR_FINAL_NORM ? 1 / m : branch ? sqrt(m) : 1;
}

static void write_plain(struct writing *w, const struct tensor *t, size_t count, float *out)
{
    double factor = plain_factor(w->s, t->kind), one = t->n_dims == 1 ? 1 : 0;
    if (factor == 1)
        return;
    for (size_t i = 0; i < count; i++)
        out[i] = (float)((out[i] + one) * factor - one);
    w->exact = false;
}

static int fill(void *ctx, size_t row, uint64_t first, size_t count, float *out)
{
    struct writing *w = ctx;
    const struct tensor *t = &w->t->row[row];
    const float *x = w->slab + t->offset + first;
    if (w->exact && w->dtype == CONVERT_BF16)
        w->exact = kept_by_bf16(x, count);
    if (w->exact && w->dtype == CONVERT_F16)
        w->exact = kept_by_f16(x, count);
    memcpy(out, x, count * sizeof *out);
    write_plain(w, t, count, out);
    return OK;
}

static int make_rows(struct st_row **rows, const struct tensor_table *t, enum convert_dtype dtype)
{
    TRY(mem_alloc(rows, (size_t)t->n, sizeof **rows, "tensors of a folder"));
    for (int i = 0; i < t->n; i++) {
        (*rows)[i] = as_row(&t->row[i]);
        (*rows)[i].dtype = dtypes[dtype].dtype;
    }
    return OK;
}

/* config.json with the dtype that the weights are stored in; the rest stays as spec_to_json put it,
 * digit for digit. */
static int write_config(const char *folder, const struct model_spec *s, enum convert_dtype dtype)
{
    static const char key[] = "\"torch_dtype\": \"";
    char path[FS_PATH_MAX], *text;
    struct str b = {0};
    TRY(fs_join(path, folder, "config.json"));
    TRY(spec_to_json(s, &text));
    char *value = strstr(text, key);
    if (value == NULL) {
        mem_free(text);
        return ERR(E_BUG, "config.json's text names no torch_dtype");
    }
    value += strlen(key);
    str_addn(&b, text, (size_t)(value - text));
    str_add(&b, dtypes[dtype].torch);
    str_add(&b, value + strcspn(value, "\""));
    mem_free(text);
    int rc = fs_write_file(path, b.s, b.len);
    str_release(&b);
    return rc;
}

/* config.json comes last: until then the folder is no model. */
int convert_write(const char *folder, const struct model_spec *s, const struct tensor_table *t,
                  const float *slab, enum convert_dtype dtype, size_t max_shard_bytes, int *exact)
{
    struct writing w = {.s = s, .t = t, .slab = slab, .dtype = dtype, .exact = true};
    struct st_row *rows;
    TRY(make_rows(&rows, t, dtype));
    int rc =
        st_write_folder(folder, rows, (size_t)t->n, max_shard_bytes, (struct st_source){fill, &w});
    mem_free(rows);
    TRY(rc);
    if (exact != NULL)
        *exact = w.exact;
    struct model_spec plain = *s;
    plain.mup_base = 0;
    return write_config(folder, &plain, dtype);
}
