#include "ref/fixture.h"

#include "base/err.h"
#include "base/fs.h"
#include "base/mem.h"
#include "io/safetensors.h"
#include "optim/optim.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What a float32 implementation should reach, whatever its order of summation: the table at the end
 * of the fixtures' own README. */
#define TOL_LOGITS         3e-4
#define TOL_LOSS           2e-5
#define TOL_GRADS          1e-4
#define TOL_GRAD_NORM      2e-5
#define TOL_ADAM_LOSS      1e-4
#define TOL_ADAM_NORM      5e-4
#define TOL_ADAM_ALL       1e-3
#define ADAM_NEAR          1e-5
#define TOL_ADAM_FAR_SHARE 5e-4

enum { MAX_ELEMENTS = 1 << 28 };

/* ---- expected.h5 ---- */

static int open_dataset(hid_t file, const char *name, hid_t *set, int *n_dims, hsize_t dims[4])
{
    *set = H5Dopen2(file, name, H5P_DEFAULT);
    if (*set < 0)
        return ERR(E_DATA, "expected.h5 has no dataset \"%s\"", name);
    hid_t space = H5Dget_space(*set);
    *n_dims = H5Sget_simple_extent_ndims(space);
    if (*n_dims >= 0 && *n_dims <= 4)
        H5Sget_simple_extent_dims(space, dims, NULL);
    H5Sclose(space);
    if (*n_dims < 0 || *n_dims > 4) {
        H5Dclose(*set);
        return ERR(E_DATA, "expected.h5: \"%s\" has %d dimensions", name, *n_dims);
    }
    return OK;
}

/* Reads exactly n values in memory type `type`. */
static int read_values(hid_t file, const char *name, hid_t type, size_t n, void *out)
{
    hid_t set;
    int n_dims, rc = OK;
    hsize_t dims[4], have = 1;
    TRY(open_dataset(file, name, &set, &n_dims, dims));
    for (int i = 0; i < n_dims; i++)
        have *= dims[i];
    if (have != n)
        rc = ERR(E_DATA, "expected.h5: \"%s\" has %llu values, not %zu", name,
                 (unsigned long long)have, n);
    else if (H5Dread(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, out) < 0)
        rc = ERR(E_DATA, "expected.h5: \"%s\" cannot be read", name);
    H5Dclose(set);
    return rc;
}

/* The 64-bit values of a quantity where the file has them, else the others. */
static int read_expected(hid_t file, const char *name, size_t n, double *out)
{
    char wide[256];
    snprintf(wide, sizeof wide, "%s64", name);
    bool has_wide = H5Lexists(file, wide, H5P_DEFAULT) > 0;
    return read_values(file, has_wide ? wide : name, H5T_NATIVE_DOUBLE, n, out);
}

static int read_attribute(hid_t file, const char *object, const char *name, double *out)
{
    hid_t a = H5Aopen_by_name(file, object, name, H5P_DEFAULT, H5P_DEFAULT);
    if (a < 0)
        return ERR(E_DATA, "expected.h5: \"%s\" has no attribute \"%s\"", object, name);
    herr_t bad = H5Aread(a, H5T_NATIVE_DOUBLE, out);
    H5Aclose(a);
    return bad < 0
               ? ERR(E_DATA, "expected.h5: attribute \"%s\" of \"%s\" cannot be read", name, object)
               : OK;
}

/* ---- loading ---- */

static int split_tokens(struct fixture *f, const int32_t *all)
{
    size_t B = (size_t)f->batch.B, T = (size_t)f->batch.T;
    for (size_t i = 0; i < B * (T + 1); i++)
        if (all[i] < 0 || all[i] >= f->spec.V)
            return ERR(E_DATA, "expected.h5: token %d is not in the vocabulary of %d", all[i],
                       f->spec.V);
    for (size_t b = 0; b < B; b++) {
        memcpy(f->token + b * T, all + b * (T + 1), T * sizeof *all);
        memcpy(f->target + b * T, all + b * (T + 1) + 1, T * sizeof *all);
    }
    return OK;
}

static int read_mask(struct fixture *f, size_t n)
{
    double sum = 0;
    TRY(read_values(f->file, "loss_mask", H5T_NATIVE_FLOAT, n, f->mask));
    for (size_t i = 0; i < n; i++) {
        if (!(f->mask[i] >= 0 && f->mask[i] <= 1))
            return ERR(E_DATA, "expected.h5: loss_mask has the value %g", (double)f->mask[i]);
        sum += f->mask[i];
    }
    return sum > 0 ? OK : ERR(E_DATA, "expected.h5: loss_mask counts no target");
}

static int load_batch(struct fixture *f)
{
    hid_t set;
    int n_dims, rc;
    hsize_t dims[4];
    int32_t *all = NULL;
    TRY(open_dataset(f->file, "tokens", &set, &n_dims, dims));
    H5Dclose(set);
    if (n_dims != 2 || dims[0] < 1 || dims[1] < 2 || dims[0] * dims[1] > MAX_ELEMENTS)
        return ERR(E_DATA, "expected.h5: \"tokens\" is not [batch, seq+1]");
    size_t n = (size_t)(dims[0] * (dims[1] - 1));
    f->batch.B = (int)dims[0];
    f->batch.T = (int)dims[1] - 1;
    TRY_OUT(mem_alloc(&all, dims[0] * dims[1], sizeof *all, "tokens"));
    TRY_OUT(mem_alloc(&f->token, n, sizeof *f->token, "inputs"));
    TRY_OUT(mem_alloc(&f->target, n, sizeof *f->target, "targets"));
    TRY_OUT(mem_alloc(&f->mask, n, sizeof *f->mask, "mask"));
    TRY_OUT(read_values(f->file, "tokens", H5T_NATIVE_INT32, dims[0] * dims[1], all));
    TRY_OUT(split_tokens(f, all));
    TRY_OUT(read_mask(f, n));
    f->batch.token = f->token;
    f->batch.target = f->target;
    f->batch.weight = f->mask;
out:
    mem_free(all);
    return rc;
}

static int load_tensor(const struct st *st, const struct tensor *t, float *slab)
{
    const struct st_row *row = st_find(st, t->name);
    if (row == NULL)
        return ERR(E_DATA, "the weights have no tensor \"%s\"", t->name);
    bool same = row->n_dims == t->n_dims;
    for (int d = 0; same && d < t->n_dims; d++)
        same = row->shape[d] == t->dims[d];
    if (!same)
        return ERR(E_DATA, "the weights' \"%s\" has not the shape [%zu%s%.0zu]", t->name,
                   t->dims[0], t->n_dims == 2 ? ", " : "", t->n_dims == 2 ? t->dims[1] : 0);
    return st_read_f32(st, row, 0, t->n, slab + t->offset);
}

static int load_weights(struct fixture *f)
{
    struct st st;
    int rc = OK;
    TRY(tensors_init(&f->table, &f->spec));
    TRY(mem_alloc(&f->params, f->table.n_elems, sizeof *f->params, "weights"));
    TRY(st_open_folder(&st, f->folder));
    for (int i = 0; rc == OK && i < f->table.n; i++)
        rc = load_tensor(&st, &f->table.row[i], f->params);
    for (size_t i = 0; rc == OK && i < st.n_rows; i++)
        if (tensors_find(&f->table, st.rows[i].name) == NULL)
            rc = ERR(E_DATA, "the weights have a tensor \"%s\" that the model has not",
                     st.rows[i].name);
    st_close(&st);
    return rc;
}

/* Most messages begin with a file in the folder. */
static int name_folder(int rc, const char *folder)
{
    bool named = strncmp(err_message(), folder, strlen(folder)) == 0;
    return named ? rc : err_context(rc, "%s", folder);
}

int fixture_load(struct fixture *f, const char *folder)
{
    char path[FS_PATH_MAX];
    int rc;
    *f = (struct fixture){.folder = folder, .file = -1};
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    TRY(fs_join(path, folder, "expected.h5"));
    TRY_OUT(spec_from_file(&f->spec, folder));
    if (spec_n_params(&f->spec) > MAX_ELEMENTS)
        TRY_OUT(ERR(E_DATA, "config.json describes a model too large for a fixture"));
    TRY_OUT(load_weights(f));
    f->file = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT);
    if (f->file < 0)
        TRY_OUT(ERR(E_DATA, "%s is missing or no HDF5 file", path));
    TRY_OUT(load_batch(f));
    return OK;
out:
    fixture_release(f);
    return name_folder(rc, folder);
}

void fixture_release(struct fixture *f)
{
    if (f->file >= 0)
        H5Fclose(f->file);
    mem_free(f->params);
    mem_free(f->token);
    mem_free(f->target);
    mem_free(f->mask);
    tensors_release(&f->table);
    *f = (struct fixture){.file = -1};
}

/* ---- comparing ---- */

/* A comparison on its way: the model, its gradients, room for expected values. */
struct run {
    const struct fixture *f;
    struct model *m;
    float *params, *grads, *got;
    double *want;
    size_t n; /* positions */
    fixture_row_fn row;
    void *ctx;
};

/* The larger of two errors, where a NaN is larger than all. */
static double worse(double a, double b)
{
    return isnan(b) || b > a ? (isnan(b) ? INFINITY : b) : a;
}

static double max_error(const float *got, const double *want, size_t n)
{
    double e = 0;
    for (size_t i = 0; i < n; i++)
        e = worse(e, fabs(got[i] - want[i]));
    return e;
}

static double relative(double got, double want)
{
    return worse(0, fabs(got - want) / fabs(want));
}

static int compare_array(struct run *r, const char *name, size_t n, double tolerance)
{
    TRY(read_expected(r->f->file, name, n, r->want));
    r->row(r->ctx, name, "", max_error(r->got, r->want, n), tolerance);
    return OK;
}

static int compare_forward(struct run *r)
{
    struct pass_result result;
    double want;
    model_logits(r->m, r->params, &r->f->batch, r->got);
    TRY(compare_array(r, "logits", r->n * (size_t)r->f->spec.V, TOL_LOGITS));
    model_loss(r->m, r->params, &r->f->batch, &result, r->got);
    TRY(compare_array(r, "token_loss", r->n, TOL_LOGITS));
    TRY(read_expected(r->f->file, "loss", 1, &want));
    double loss = result.loss_sum / result.n_targets;
    r->row(r->ctx, "loss", "", worse(0, fabs(loss - want)), TOL_LOSS);
    return OK;
}

/* Loss and gradients of the mean over counted targets; the norm of all. */
static double mean_grads(struct run *r, double *norm)
{
    struct pass_result result;
    double sum = 0;
    model_grad(r->m, r->params, &r->f->batch, r->grads, &result, NULL, NULL);
    float scale = (float)(1 / result.n_targets);
    for (size_t i = 0; i < r->f->table.n_elems; i++) {
        r->grads[i] *= scale;
        sum += (double)r->grads[i] * r->grads[i];
    }
    *norm = sqrt(sum);
    return result.loss_sum / result.n_targets;
}

static int compare_grad_tensor(struct run *r, const struct tensor *t, double *error)
{
    char name[128];
    double largest = 0;
    snprintf(name, sizeof name, "grads/%s", t->name);
    TRY(read_expected(r->f->file, name, t->n, r->want));
    for (size_t i = 0; i < t->n; i++)
        largest = worse(largest, fabs(r->want[i]));
    double e = max_error(r->grads + t->offset, r->want, t->n);
    *error = e == 0 ? 0 : worse(0, e / largest);
    return OK;
}

static int compare_grads(struct run *r)
{
    double norm, want, error, worst = -1;
    const char *where = "";
    mean_grads(r, &norm);
    for (int i = 0; i < r->f->table.n; i++) {
        const struct tensor *t = &r->f->table.row[i];
        TRY(compare_grad_tensor(r, t, &error));
        if (error > worst) {
            worst = error;
            where = t->name;
        }
    }
    r->row(r->ctx, "grads", where, worst, TOL_GRADS);
    TRY(read_expected(r->f->file, "grad_norm", 1, &want));
    r->row(r->ctx, "grad_norm", "", relative(norm, want), TOL_GRAD_NORM);
    return OK;
}

/* ---- AdamW, plainly, as the fixtures' README words it ---- */

struct adamw {
    double lr, beta1, beta2, eps, decay, clip, steps;
    struct optim_group *groups;
    struct optim_layout layout;
    struct optim o;
};

static int read_settings(hid_t file, struct adamw *o)
{
    const struct {
        const char *name;
        double *to;
    } settings[] = {{"lr", &o->lr},      {"beta1", &o->beta1},        {"beta2", &o->beta2},
                    {"eps", &o->eps},    {"weight_decay", &o->decay}, {"clip", &o->clip},
                    {"steps", &o->steps}};
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++)
        TRY(read_attribute(file, "adamw", settings[i].name, settings[i].to));
    if (!(o->steps >= 1 && o->steps <= 1000))
        return ERR(E_DATA, "expected.h5: adamw has %g steps", o->steps);
    return OK;
}

/* The program's own update rule and decay groups. */
static int prepare_adamw(struct adamw *o, const struct tensor_table *t)
{
    const struct optim_rule *rule;
    const struct comm alone = {.size = 1};
    TRY(optim_find(&rule, "adamw"));
    TRY(mem_alloc(&o->groups, (size_t)t->n, sizeof *o->groups, "groups"));
    for (int i = 0; i < t->n; i++)
        o->groups[i] = (struct optim_group){
            .at = {t->row[i].offset, t->row[i].n}, .decay = t->row[i].decay, .rate = 1};
    TRY(optim_layout_init(&o->layout, rule, o->groups, t->n, t->n_elems, 1 << 20, 1));
    return optim_init(&o->o, rule, &o->layout, o->groups, t->n, 0, &alone);
}

static void adamw_step(struct adamw *o, int step, double norm, float *g, float *w)
{
    const struct optim_step how = {.lr = o->lr,
                                   .beta1 = o->beta1,
                                   .beta2 = o->beta2,
                                   .eps = o->eps,
                                   .weight_decay = o->decay,
                                   .grad_scale = clip_scale(norm, o->clip),
                                   .t = step};
    optim_update(&o->o, &how, w, g);
}

static int adamw_steps(struct run *r, struct adamw *o)
{
    int n = (int)o->steps;
    double loss[1000], norm[1000], e_loss = 0, e_norm = 0;
    TRY(read_expected(r->f->file, "adamw/loss", (size_t)n, loss));
    TRY(read_expected(r->f->file, "adamw/grad_norm", (size_t)n, norm));
    for (int s = 0; s < n; s++) {
        double got_norm, got_loss = mean_grads(r, &got_norm);
        e_loss = worse(e_loss, fabs(got_loss - loss[s]));
        e_norm = worse(e_norm, relative(got_norm, norm[s]));
        adamw_step(o, s + 1, got_norm, r->grads, r->params);
    }
    r->row(r->ctx, "adamw/loss", "", e_loss, TOL_ADAM_LOSS);
    r->row(r->ctx, "adamw/grad_norm", "", e_norm, TOL_ADAM_NORM);
    return OK;
}

static int compare_stepped_params(struct run *r)
{
    double worst = -1, n_far = 0;
    const char *where = "";
    for (int i = 0; i < r->f->table.n; i++) {
        const struct tensor *t = &r->f->table.row[i];
        char name[128];
        snprintf(name, sizeof name, "adamw/params/%s", t->name);
        TRY(read_expected(r->f->file, name, t->n, r->want));
        double e = max_error(r->params + t->offset, r->want, t->n);
        for (size_t j = 0; j < t->n; j++)
            n_far += !(fabs(r->params[t->offset + j] - r->want[j]) <= ADAM_NEAR);
        if (e > worst) {
            worst = e;
            where = t->name;
        }
    }
    r->row(r->ctx, "adamw/params", where, worst, TOL_ADAM_ALL);
    r->row(r->ctx, "adamw/params, share off by > 1e-5", "", n_far / (double)r->f->table.n_params,
           TOL_ADAM_FAR_SHARE);
    return OK;
}

static int compare_adamw(struct run *r)
{
    struct adamw o = {0};
    struct pass_result result;
    double want;
    int rc;
    TRY(read_settings(r->f->file, &o));
    TRY_OUT(prepare_adamw(&o, &r->f->table));
    TRY_OUT(adamw_steps(r, &o));
    TRY_OUT(read_expected(r->f->file, "adamw/loss_after", 1, &want));
    model_loss(r->m, r->params, &r->f->batch, &result, NULL);
    double loss = result.loss_sum / result.n_targets;
    r->row(r->ctx, "adamw/loss_after", "", worse(0, fabs(loss - want)), TOL_ADAM_LOSS);
    TRY_OUT(compare_stepped_params(r));
out:
    optim_release(&o.o);
    optim_layout_release(&o.layout);
    mem_free(o.groups);
    return rc;
}

int fixture_compare(const struct fixture *f, fixture_row_fn row, void *ctx)
{
    struct run r = {.f = f, .row = row, .ctx = ctx};
    size_t n_elems = f->table.n_elems, n_logits;
    int rc;
    r.n = (size_t)f->batch.B * (size_t)f->batch.T;
    n_logits = r.n * (size_t)f->spec.V;
    if (n_logits > MAX_ELEMENTS)
        return ERR(E_DATA, "%s: the logits are too many for a fixture", f->folder);
    TRY_OUT(model_new(&r.m, &f->spec, f->batch.B, f->batch.T,
                      &(struct model_options){.training = true}));
    TRY_OUT(mem_alloc(&r.params, n_elems, sizeof *r.params, "stepped weights"));
    TRY_OUT(mem_alloc(&r.grads, n_elems, sizeof *r.grads, "gradients"));
    TRY_OUT(mem_alloc(&r.got, n_logits, sizeof *r.got, "logits"));
    TRY_OUT(
        mem_alloc(&r.want, n_logits > n_elems ? n_logits : n_elems, sizeof *r.want, "expected"));
    memcpy(r.params, f->params, n_elems * sizeof *r.params);
    TRY_OUT(compare_forward(&r));
    TRY_OUT(compare_grads(&r));
    TRY_OUT(compare_adamw(&r));
out:
    model_free(r.m);
    mem_free(r.params);
    mem_free(r.grads);
    mem_free(r.got);
    mem_free(r.want);
    return rc == OK ? OK : name_folder(rc, f->folder);
}

int fixture_each(void (*use)(const char *folder))
{
    static const char *const names[] = {"gemma1-mqa", "gemma2-gqa", "gemma3-text",
                                        "gemma3-masked-bf16"};
    const char *shared = getenv("CARAT_SHARED");
    int n = 0;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char path[FS_PATH_MAX];
        snprintf(path, sizeof path, "%s/fixtures/%s", shared != NULL ? shared : "../shared",
                 names[i]);
        if (!fs_is_dir(path))
            continue;
        use(path);
        n++;
    }
    return n;
}
