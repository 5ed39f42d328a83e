#include "results.h"

#include "base/err.h"
#include "base/mem.h"
#include "io/h5x.h"

#include <math.h>
#include <string.h>
#include <unistd.h>

/* ---- /trials: one dataset a column ---- */

static int put_column(hid_t file, const struct column *c, hid_t type, int n, const void *data)
{
    char name[sizeof c->name + 16];
    const hsize_t dims[1] = {(hsize_t)n};
    snprintf(name, sizeof name, "/trials/%s", c->name);
    TRY(h5x_put_array(file, name, type, 1, dims, data, c->help));
    if (*c->unit == '\0')
        return OK;
    hid_t d = H5Dopen2(file, name, H5P_DEFAULT);
    int rc = d < 0 ? h5x_error(E_IO, "cannot open the column %s", name)
                   : h5x_put_text(d, "unit", c->unit);
    if (d >= 0)
        H5Dclose(d);
    return rc;
}

static int put_counts(hid_t file, const struct column *c, const struct history *h)
{
    int *v;
    TRY(mem_alloc(&v, (size_t)h->n, sizeof *v, "column"));
    for (int i = 0; i < h->n; i++)
        v[i] = column_count(c, &h->trial[i]);
    int rc = put_column(file, c, H5T_NATIVE_INT, h->n, v);
    mem_free(v);
    return rc;
}

static int put_numbers(hid_t file, const struct column *c, const struct history *h)
{
    double *v;
    TRY(mem_alloc(&v, (size_t)h->n, sizeof *v, "column"));
    for (int i = 0; i < h->n; i++)
        v[i] = column_number(c, &h->trial[i]);
    int rc = put_column(file, c, H5T_NATIVE_DOUBLE, h->n, v);
    mem_free(v);
    return rc;
}

/* Of one length, which any reader takes. */
static int put_texts(hid_t file, const struct column *c, const struct history *h)
{
    size_t size = 1;
    char *v;
    for (int i = 0; i < h->n; i++) {
        size_t n = strlen(column_text(c, &h->trial[i])) + 1;
        size = n > size ? n : size;
    }
    TRY(mem_alloc(&v, (size_t)h->n, size, "column"));
    for (int i = 0; i < h->n; i++)
        strcpy(v + (size_t)i * size, column_text(c, &h->trial[i]));
    hid_t type = H5Tcopy(H5T_C_S1);
    int rc = type < 0 || H5Tset_size(type, size) < 0 || H5Tset_cset(type, H5T_CSET_UTF8) < 0
                 ? h5x_error(E_IO, "cannot make a type of text")
                 : put_column(file, c, type, h->n, v);
    if (type >= 0)
        H5Tclose(type);
    mem_free(v);
    return rc;
}

static int put_trials(hid_t file, const struct history *h, const struct column *c, int n)
{
    static int (*const PUT[])(hid_t, const struct column *, const struct history *) = {
        [CELL_COUNT] = put_counts, [CELL_NUMBER] = put_numbers, [CELL_TEXT] = put_texts};
    for (int k = 0; k < n; k++)
        TRY(PUT[c[k].cell](file, &c[k], h));
    return OK;
}

/* ---- /curves: all validations, one trial behind the other ---- */

static const struct {
    const char *name, *help;
    size_t offset;
} CURVE[] = {
    {"/curves/step", "Steps made at this validation.", offsetof(struct curve_point, step)},
    {"/curves/tokens", "Tokens trained on.", offsetof(struct curve_point, tokens)},
    {"/curves/loss", "Validation loss, nats.", offsetof(struct curve_point, loss)},
    {"/curves/train_s", "Time in steps, s.", offsetof(struct curve_point, train_s)},
};

static int put_first(hid_t file, const struct history *h, int64_t *n_points)
{
    const hsize_t dims[1] = {(hsize_t)h->n + 1};
    int64_t *first;
    TRY(mem_alloc(&first, (size_t)h->n + 1, sizeof *first, "curves"));
    for (int i = 0; i < h->n; i++)
        first[i + 1] = first[i] + h->trial[i].n_curve;
    *n_points = first[h->n];
    int rc = h5x_put_array(file, "/curves/first", H5T_NATIVE_INT64, 1, dims, first,
                           "Trial i's points are those from first[i] to first[i + 1].");
    mem_free(first);
    return rc;
}

static int put_curves(hid_t file, const struct history *h)
{
    int64_t n;
    double *v;
    TRY(put_first(file, h, &n));
    TRY(mem_alloc(&v, (size_t)n, sizeof *v, "curves"));
    int rc = OK;
    for (size_t k = 0; k < sizeof CURVE / sizeof *CURVE && rc == OK; k++) {
        const hsize_t dims[1] = {(hsize_t)n};
        double *to = v;
        for (int i = 0; i < h->n; i++)
            for (int p = 0; p < h->trial[i].n_curve; p++)
                memcpy(to++, (const char *)&h->trial[i].curve[p] + CURVE[k].offset, sizeof *to);
        rc = h5x_put_array(file, CURVE[k].name, H5T_NATIVE_DOUBLE, 1, dims, v, CURVE[k].help);
    }
    mem_free(v);
    return rc;
}

/* ---- the file ---- */

static int put_all(hid_t file, const struct study *s, const struct history *h,
                   const struct column *c, int n)
{
    TRY(h5x_put_i64(file, "format", STUDY_FORMAT));
    TRY(h5x_put_text(file, "kind", s->kind));
    TRY(h5x_put_text(file, "job", s->job));
    TRY(put_trials(file, h, c, n));
    return put_curves(file, h);
}

static int write_file(const char *path, const struct study *s, const struct history *h,
                      const struct column *c, int n)
{
    hid_t file;
    TRY(h5x_create(&file, path));
    int rc = put_all(file, s, h, c, n);
    int closed = h5x_close(&file);
    TRY(rc);
    TRY(closed);
    return fs_fsync(path);
}

int results_write_h5(const char *path, const struct study *s, const struct history *h,
                     const struct column *c, int n)
{
    char temp[FS_PATH_MAX];
    TRY(fs_temp_name(temp, path));
    unlink(temp);
    int rc = write_file(temp, s, h, c, n);
    if (rc == OK)
        rc = fs_rename(temp, path);
    if (rc != OK)
        unlink(temp);
    return rc;
}
