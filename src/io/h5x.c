#include "io/h5x.h"

#include "base/err.h"
#include "base/fault.h"
#include "base/fs.h"
#include "base/mem.h"
#include "h5x_parts.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    NAME_MAX_BYTES = 256,
    TEXT_MAX_BYTES = 64000, /* an object header message holds at most 64 KiB */
    COMPACT_ATTRS = 1024,   /* dense storage keeps large attributes without a checksum */
    SUPERBLOCK_BYTES = 48   /* at least: of the later versions */
};

void h5x_start(void)
{
    /* Not kept in a flag: an extension that starts HDF5 anew would bring its printing back. */
    setenv("HDF5_USE_FILE_LOCKING", "FALSE", 1);
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    H5PLset_loading_state(0);
}

static herr_t innermost(unsigned n, const H5E_error2_t *e, void *to)
{
    if (n == 0 && e->desc != NULL)
        snprintf(to, NAME_MAX_BYTES * 4, "%s", e->desc);
    return 0;
}

/* What HDF5's stack says of the call that failed. */
struct cause {
    char text[NAME_MAX_BYTES * 4];
    const char *words; /* in the text */
    bool of_system;    /* a call of the system failed */
};

/* The system's words are the whole message where HDF5 wraps them in numbers and flags. */
static void find_words(struct cause *c)
{
    static const char lead[] = "error message = '";
    char *from = strstr(c->text, lead);
    c->words = c->text;
    c->of_system = from != NULL;
    if (!c->of_system)
        return;
    from += sizeof lead - 1;
    c->words = from;
    char *end = strchr(from, '\'');
    if (end != NULL)
        *end = '\0';
}

/* Before any other call of HDF5's, which would forget it. */
static void take_cause(struct cause *c)
{
    c->text[0] = '\0';
    H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, innermost, c->text);
    H5Eclear2(H5E_DEFAULT);
    find_words(c);
}

/* A disk or a server that fails says nothing about what the file holds. */
static int code_of(int code, const struct cause *c)
{
    return code == E_DATA && c->of_system ? E_IO : code;
}

int h5x_error(int code, const char *fmt, ...)
{
    char what[FS_PATH_MAX + 256];
    struct cause c;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    take_cause(&c);
    return ERR(code_of(code, &c), "%s%s%s", what, *c.words ? ": " : "", c.words);
}

/* ---- files ---- */

static int access_list(hid_t *fapl, H5F_libver_t newest)
{
    *fapl = H5Pcreate(H5P_FILE_ACCESS);
    bool ok = *fapl >= 0 && H5Pset_libver_bounds(*fapl, H5F_LIBVER_V18, newest) >= 0 &&
              H5Pset_alignment(*fapl, H5X_ALIGN, H5X_ALIGN) >= 0 &&
              H5Pset_fclose_degree(*fapl, H5F_CLOSE_STRONG) >= 0;
    return ok ? OK : h5x_error(E_IO, "cannot set up HDF5's file access");
}

static int root_group_list(hid_t *fcpl)
{
    *fcpl = H5Pcreate(H5P_FILE_CREATE);
    bool ok = *fcpl >= 0 && H5Pset_attr_phase_change(*fcpl, COMPACT_ATTRS, 0) >= 0 &&
              H5Pset_obj_track_times(*fcpl, false) >= 0;
    return ok ? OK : h5x_error(E_IO, "cannot set up an HDF5 file");
}

static void close_list(hid_t list)
{
    if (list >= 0)
        H5Pclose(list);
}

int create_packed(hid_t *file, const char *path, hsize_t own_bytes)
{
    h5x_start();
    *file = H5I_INVALID_HID;
    hid_t fapl = H5I_INVALID_HID, fcpl = H5I_INVALID_HID;
    int rc = access_list(&fapl, H5F_LIBVER_V18);
    if (rc == OK && own_bytes > 0 && H5Pset_meta_block_size(fapl, own_bytes) < 0)
        rc = h5x_error(E_IO, "cannot set up HDF5's file access");
    if (rc == OK)
        rc = root_group_list(&fcpl);
    if (rc == OK) {
        *file = H5Fcreate(path, H5F_ACC_EXCL, fcpl, fapl);
        if (*file < 0)
            rc = h5x_error(E_IO, "%s: cannot create", path);
    }
    close_list(fcpl);
    close_list(fapl);
    return rc;
}

int h5x_create(hid_t *file, const char *path)
{
    return create_packed(file, path, 0);
}

/* Older forms keep metadata without checksums: HDF5 takes damage there for what the file says, and
 * can crash on it. The signature may stand further in, which no file of carat's has. */
static int check_form(const char *path)
{
    static const unsigned char signature[8] = {0x89, 'H', 'D', 'F', '\r', '\n', 0x1a, '\n'};
    enum { OLDEST = 2, NEWEST = 3 };
    unsigned char head[9] = {0};
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? pread(fd, head, sizeof head, 0) : -1;
    int error = errno;
    if (fd >= 0)
        close(fd);
    if (n < 0)
        return ERR(E_IO, "%s: cannot be read: %s", path, strerror(error));
    if (memcmp(head, signature, sizeof signature) != 0)
        return ERR(E_DATA, "%s: not an HDF5 file, or one behind a user block", path);
    return head[8] >= OLDEST && head[8] <= NEWEST
               ? OK
               : ERR(E_DATA,
                     "%s: an HDF5 file in a form without metadata checksums (superblock %d), which "
                     "carat does not write; refused",
                     path, head[8]);
}

int h5x_open(hid_t *file, const char *path, bool write)
{
    h5x_start();
    *file = H5I_INVALID_HID;
    if (!fs_exists(path))
        return ERR(E_DATA, "%s: no such file", path);
    if (fs_is_dir(path))
        return ERR(E_DATA, "%s: is a folder, not an HDF5 file", path);
    if (!fs_is_file(path))
        return ERR(E_DATA, "%s: is no regular file", path);
    TRY(check_form(path));
    hid_t fapl = H5I_INVALID_HID;
    int rc = access_list(&fapl, write ? H5F_LIBVER_V18 : H5F_LIBVER_LATEST);
    if (rc == OK) {
        if (!fault_hit("h5x.open"))
            *file = H5Fopen(path, write ? H5F_ACC_RDWR : H5F_ACC_RDONLY, fapl);
        if (*file < 0)
            rc = h5x_error(write ? E_IO : E_DATA, "%s: cannot open as HDF5", path);
    }
    close_list(fapl);
    return rc;
}

/* Room for all that is not written yet. */
static int prepare_close(hid_t f)
{
    char path[FS_PATH_MAX];
    hsize_t end;
    if (H5Fget_name(f, path, sizeof path) <= 0 || H5Fget_filesize(f, &end) < 0)
        return h5x_error(E_IO, "cannot tell an HDF5 file's name and length");
    int rc = room_reserve(path, (int64_t)end), memory;
    if (rc == OK)
        return OK;
    /* HDF5 does not survive a close without room: it may write into memory, which is dropped. */
    if (room_memory(&memory) != OK)
        fatal(E_IO, "%s", err_message());
    room_divert(path, memory);
    close(memory);
    return rc;
}

int h5x_close(hid_t *file)
{
    hid_t f = *file;
    unsigned intent = H5F_ACC_RDONLY;
    *file = H5I_INVALID_HID;
    if (f < 0)
        return OK;
    bool writable = H5Fget_intent(f, &intent) >= 0 && (intent & H5F_ACC_RDWR) != 0;
    int rc = writable ? prepare_close(f) : OK;
    if (H5Fclose(f) >= 0)
        return rc;
    h5x_error(E_IO, "cannot close an HDF5 file");
    if (writable) /* HDF5 would crash in the end: better now, with a message */
        fatal(E_IO, "%s", err_message());
    return E_IO;
}

/* ---- attributes ---- */

static const char *object_name(hid_t obj, char buf[NAME_MAX_BYTES])
{
    if (H5Iget_name(obj, buf, NAME_MAX_BYTES) <= 0)
        snprintf(buf, NAME_MAX_BYTES, "?");
    return buf;
}

static int attr_error(int code, hid_t obj, const char *name, const char *what)
{
    char at[NAME_MAX_BYTES];
    struct cause c;
    take_cause(&c);
    return ERR(code_of(code, &c), "attribute %s of %s: %s", name, object_name(obj, at),
               c.of_system ? c.words : what);
}

bool h5x_has_attr(hid_t obj, const char *name)
{
    htri_t there = H5Aexists(obj, name);
    if (there < 0)
        H5Eclear2(H5E_DEFAULT);
    return there != 0; /* who then reads it learns why it could not be looked for */
}

/* An attribute of this type to write into: the present one where it is one value of the same type,
 * so that an object header need not grow; otherwise it is made anew. */
static hid_t attr_for_writing(hid_t obj, const char *name, hid_t type)
{
    if (h5x_has_attr(obj, name)) {
        hid_t a = H5Aopen(obj, name, H5P_DEFAULT), has = a < 0 ? a : H5Aget_type(a);
        hid_t room = a < 0 ? a : H5Aget_space(a);
        bool same = has >= 0 && H5Tequal(has, type) > 0 && room >= 0 &&
                    H5Sget_simple_extent_npoints(room) == 1;
        if (has >= 0)
            H5Tclose(has);
        if (room >= 0)
            H5Sclose(room);
        if (same)
            return a;
        if (a >= 0)
            H5Aclose(a);
        if (H5Adelete(obj, name) < 0)
            return H5I_INVALID_HID;
    }
    hid_t space = H5Screate(H5S_SCALAR);
    hid_t a = space < 0 ? space : H5Acreate2(obj, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
    if (space >= 0)
        H5Sclose(space);
    return a;
}

static int put_attr(hid_t obj, const char *name, hid_t type, const void *value)
{
    hid_t a = attr_for_writing(obj, name, type);
    bool ok = a >= 0 && H5Awrite(a, type, value) >= 0;
    if (a >= 0 && H5Aclose(a) < 0)
        ok = false;
    return ok ? OK : attr_error(E_IO, obj, name, "cannot write");
}

static hid_t text_type(size_t n)
{
    hid_t type = H5Tcopy(H5T_C_S1);
    if (type >= 0 && (H5Tset_size(type, n) < 0 || H5Tset_cset(type, H5T_CSET_UTF8) < 0)) {
        H5Tclose(type);
        type = H5I_INVALID_HID;
    }
    return type;
}

int h5x_put_text(hid_t obj, const char *name, const char *text)
{
    size_t n = strlen(text) + 1;
    if (n > TEXT_MAX_BYTES)
        return ERR(E_CONFIG, "attribute %s: %zu bytes of text; an HDF5 attribute holds %d", name, n,
                   TEXT_MAX_BYTES);
    hid_t type = text_type(n);
    if (type < 0)
        return attr_error(E_IO, obj, name, "cannot make the text's type");
    int rc = put_attr(obj, name, type, text);
    H5Tclose(type);
    return rc;
}

int h5x_put_i64(hid_t obj, const char *name, int64_t v)
{
    return put_attr(obj, name, H5T_STD_I64LE, &v);
}

int h5x_put_f64(hid_t obj, const char *name, double v)
{
    return put_attr(obj, name, H5T_IEEE_F64LE, &v);
}

/* An attribute opened for reading, checked to be one element. */
struct attr {
    hid_t id, type, space;
    H5T_class_t class;
    size_t bytes;
};

static void attr_close(struct attr *a)
{
    if (a->space >= 0)
        H5Sclose(a->space);
    if (a->type >= 0)
        H5Tclose(a->type);
    if (a->id >= 0)
        H5Aclose(a->id);
}

static int attr_open(struct attr *a, hid_t obj, const char *name, H5T_class_t class)
{
    a->type = a->space = H5I_INVALID_HID;
    a->id = H5Aopen(obj, name, H5P_DEFAULT);
    if (a->id < 0)
        return attr_error(E_DATA, obj, name, "missing");
    a->type = H5Aget_type(a->id);
    a->space = H5Aget_space(a->id);
    if (a->type < 0 || a->space < 0 || H5Sget_simple_extent_npoints(a->space) != 1) {
        attr_close(a);
        return attr_error(E_DATA, obj, name, "not a single value");
    }
    a->class = H5Tget_class(a->type);
    a->bytes = H5Tget_size(a->type);
    if (a->class != class || H5Tcommitted(a->type) != 0) {
        attr_close(a);
        return attr_error(E_DATA, obj, name, "not of the expected type");
    }
    return OK;
}

static int get_number(hid_t obj, const char *name, H5T_class_t class, hid_t type, void *v)
{
    struct attr a;
    TRY(attr_open(&a, obj, name, class));
    int rc = OK;
    if (a.bytes > 8)
        rc = attr_error(E_DATA, obj, name, "wider than 64 bits");
    else if (H5Aread(a.id, type, v) < 0)
        rc = attr_error(E_DATA, obj, name, "cannot read");
    attr_close(&a);
    return rc;
}

int h5x_get_i64(hid_t obj, const char *name, int64_t *v)
{
    return get_number(obj, name, H5T_INTEGER, H5T_NATIVE_INT64, v);
}

int h5x_get_f64(hid_t obj, const char *name, double *v)
{
    return get_number(obj, name, H5T_FLOAT, H5T_NATIVE_DOUBLE, v);
}

int h5x_get_text_alloc(hid_t obj, const char *name, size_t max, char **text)
{
    struct attr a;
    *text = NULL;
    TRY(attr_open(&a, obj, name, H5T_STRING));
    int rc = OK;
    if (H5Tis_variable_str(a.type) != 0 || a.bytes > max)
        rc = attr_error(E_DATA, obj, name, "too long, or of variable length");
    else
        rc = mem_alloc(text, a.bytes + 1, 1, "text of an attribute");
    if (rc == OK && H5Aread(a.id, a.type, *text) < 0)
        rc = attr_error(E_DATA, obj, name, "cannot read");
    if (rc != OK)
        MEM_FREE(*text);
    attr_close(&a);
    return rc;
}

int h5x_get_text(hid_t obj, const char *name, char *buf, size_t n)
{
    char *text;
    TRY(h5x_get_text_alloc(obj, name, n, &text));
    int rc = OK;
    if (strlen(text) >= n)
        rc = attr_error(E_DATA, obj, name, "too long");
    else
        memcpy(buf, text, strlen(text) + 1);
    mem_free(text);
    return rc;
}

/* ---- datasets ---- */

static int make_group(hid_t file, const char *name)
{
    htri_t there = H5Lexists(file, name, H5P_DEFAULT);
    if (there > 0)
        return OK;
    hid_t gcpl = there < 0 ? there : H5Pcreate(H5P_GROUP_CREATE);
    hid_t g = H5I_INVALID_HID;
    if (gcpl >= 0 && H5Pset_obj_track_times(gcpl, false) >= 0)
        g = H5Gcreate2(file, name, H5P_DEFAULT, gcpl, H5P_DEFAULT);
    close_list(gcpl);
    if (g < 0)
        return h5x_error(E_IO, "cannot make the group %s", name);
    H5Gclose(g);
    return OK;
}

static int make_groups(hid_t file, const char *name)
{
    char part[NAME_MAX_BYTES];
    if (strlen(name) >= sizeof part)
        return ERR(E_BUG, "%.60s...: a dataset's name is too long", name);
    memcpy(part, name, strlen(name) + 1);
    for (char *p = part + 1; *p != '\0'; p++) {
        if (*p != '/')
            continue;
        *p = '\0';
        TRY(make_group(file, part));
        *p = '/';
    }
    return OK;
}

static hid_t plain_layout(void)
{
    hid_t dcpl = H5Pcreate(H5P_DATASET_CREATE);
    if (dcpl >= 0 && (H5Pset_layout(dcpl, H5D_CONTIGUOUS) < 0 ||
                      H5Pset_alloc_time(dcpl, H5D_ALLOC_TIME_EARLY) < 0 ||
                      H5Pset_fill_time(dcpl, H5D_FILL_TIME_NEVER) < 0 ||
                      H5Pset_obj_track_times(dcpl, false) < 0)) {
        H5Pclose(dcpl);
        dcpl = H5I_INVALID_HID;
    }
    return dcpl;
}

static int create_dataset(hid_t *dset, hid_t file, const char *name, hid_t type, int n_dims,
                          const hsize_t *dims)
{
    *dset = H5I_INVALID_HID;
    TRY(make_groups(file, name));
    hid_t space = n_dims == 0 ? H5Screate(H5S_SCALAR) : H5Screate_simple(n_dims, dims, NULL);
    hid_t dcpl = plain_layout();
    if (space >= 0 && dcpl >= 0)
        *dset = H5Dcreate2(file, name, type, space, H5P_DEFAULT, dcpl, H5P_DEFAULT);
    int rc = *dset < 0 ? h5x_error(E_IO, "cannot make the dataset %s", name) : OK;
    close_list(dcpl);
    if (space >= 0)
        H5Sclose(space);
    return rc;
}

static int finish_dataset(hid_t dset, const char *name, const char *description, int rc)
{
    if (rc == OK && description != NULL)
        rc = h5x_put_text(dset, "description", description);
    if (dset >= 0 && H5Dclose(dset) < 0 && rc == OK)
        rc = h5x_error(E_IO, "cannot close the dataset %s", name);
    return rc;
}

int h5x_make_dataset(hid_t file, const char *name, hid_t type, int n_dims, const hsize_t *dims,
                     const char *description)
{
    hid_t dset;
    int rc = create_dataset(&dset, file, name, type, n_dims, dims);
    return finish_dataset(dset, name, description, rc);
}

int h5x_put_array(hid_t file, const char *name, hid_t type, int n_dims, const hsize_t *dims,
                  const void *data, const char *description)
{
    hid_t dset;
    int rc = create_dataset(&dset, file, name, type, n_dims, dims);
    if (rc == OK && fault_hit("h5x.write"))
        rc = ERR(E_IO, "cannot write the dataset %s (fault h5x.write)", name);
    if (rc == OK && H5Dwrite(dset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, data) < 0)
        rc = h5x_error(E_IO, "cannot write the dataset %s", name);
    return finish_dataset(dset, name, description, rc);
}

int h5x_write_array(hid_t file, const char *name, hid_t type, const void *data)
{
    hid_t dset = H5Dopen2(file, name, H5P_DEFAULT);
    int rc = dset < 0 ? h5x_error(E_IO, "cannot open the dataset %s", name) : OK;
    if (rc == OK && fault_hit("h5x.write"))
        rc = ERR(E_IO, "cannot write the dataset %s (fault h5x.write)", name);
    if (rc == OK && H5Dwrite(dset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, data) < 0)
        rc = h5x_error(E_IO, "cannot write the dataset %s", name);
    return finish_dataset(dset, name, NULL, rc);
}

/* ---- checked reading ---- */

/* Every link on the way must be a hard one: a soft or external link leads somewhere else. */
static int check_links(hid_t file, const char *name)
{
    char part[NAME_MAX_BYTES];
    size_t n = strlen(name);
    if (n == 0 || n >= sizeof part)
        return ERR(E_DATA, "dataset name %.60s: empty or too long", name);
    for (size_t i = 1; i <= n; i++) {
        if (name[i] != '/' && name[i] != '\0')
            continue;
        memcpy(part, name, i);
        part[i] = '\0';
        H5L_info_t info;
        htri_t there = H5Lexists(file, part, H5P_DEFAULT);
        if (there == 0)
            return ERR(E_DATA, "%s: missing from the file", part);
        if (there < 0 || H5Lget_info(file, part, &info, H5P_DEFAULT) < 0)
            return h5x_error(E_DATA, "%s: cannot be looked up", part);
        if (info.type != H5L_TYPE_HARD)
            return ERR(E_DATA, "%s: a link to another place; refused", part);
    }
    return OK;
}

static int check_layout(hid_t dset, const char *name)
{
    hid_t dcpl = H5Dget_create_plist(dset);
    if (dcpl < 0)
        return h5x_error(E_DATA, "%s: cannot read its layout", name);
    bool plain = H5Pget_layout(dcpl) == H5D_CONTIGUOUS && H5Pget_external_count(dcpl) == 0 &&
                 H5Pget_nfilters(dcpl) == 0;
    H5Pclose(dcpl);
    H5Eclear2(H5E_DEFAULT);
    return plain ? OK
                 : ERR(E_DATA,
                       "%s: not a contiguous array inside the file (chunked, compact, "
                       "filtered, external or virtual); refused",
                       name);
}

/* Only types whose bytes are the values on this machine. */
static bool plain_number(hid_t type)
{
    const hid_t known[] = {H5T_IEEE_F32LE, H5T_IEEE_F64LE, H5T_STD_I8LE,  H5T_STD_U8LE,
                           H5T_STD_I16LE,  H5T_STD_U16LE,  H5T_STD_I32LE, H5T_STD_U32LE,
                           H5T_STD_I64LE,  H5T_STD_U64LE};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (H5Tequal(type, known[i]) > 0)
            return true;
    return false;
}

static int check_type(hid_t dset, const char *name, struct h5x_array *a)
{
    hid_t type = H5Dget_type(dset);
    if (type < 0)
        return h5x_error(E_DATA, "%s: cannot read its type", name);
    a->class = H5Tget_class(type);
    a->elem_bytes = H5Tget_size(type);
    a->is_signed = a->class == H5T_INTEGER && H5Tget_sign(type) == H5T_SGN_2;
    bool text = a->class == H5T_STRING && H5Tis_variable_str(type) == 0;
    bool ok = (text || plain_number(type)) && H5Tcommitted(type) == 0;
    H5Tclose(type);
    H5Eclear2(H5E_DEFAULT);
    return ok && a->elem_bytes > 0
               ? OK
               : ERR(E_DATA, "%s: neither little-endian numbers nor fixed-length text", name);
}

static int check_extent(hid_t dset, const char *name, struct h5x_array *a)
{
    hid_t space = H5Dget_space(dset);
    H5S_class_t kind = space < 0 ? H5S_NO_CLASS : H5Sget_simple_extent_type(space);
    a->n_dims = kind == H5S_SIMPLE ? H5Sget_simple_extent_ndims(space) : 0;
    bool ok = (kind == H5S_SIMPLE || kind == H5S_SCALAR) && a->n_dims >= 0 && a->n_dims <= 8;
    if (ok && a->n_dims > 0)
        ok = H5Sget_simple_extent_dims(space, a->dims, NULL) == a->n_dims;
    if (space >= 0)
        H5Sclose(space);
    H5Eclear2(H5E_DEFAULT);
    a->n = 1;
    for (int i = 0; ok && i < a->n_dims; i++)
        ok = !__builtin_mul_overflow(a->n, a->dims[i], &a->n);
    size_t bytes;
    ok = ok && !__builtin_mul_overflow(a->n, a->elem_bytes, &bytes) && bytes <= INT64_MAX;
    return ok ? OK : ERR(E_DATA, "%s: not an array of at most 8 dimensions", name);
}

static int64_t file_bytes(hid_t obj)
{
    char path[FS_PATH_MAX];
    if (H5Fget_name(obj, path, sizeof path) <= 0)
        return -1;
    return fs_size(path);
}

static int check_place(hid_t dset, const char *name, struct h5x_array *a)
{
    haddr_t at = H5Dget_offset(dset);
    H5Eclear2(H5E_DEFAULT);
    a->offset = -1;
    if (a->n == 0)
        return OK;
    int64_t size = file_bytes(dset), bytes = (int64_t)(a->n * a->elem_bytes);
    if (at == HADDR_UNDEF)
        return ERR(E_DATA, "%s: no data in the file", name);
    if (size < bytes || at > (haddr_t)(size - bytes))
        return ERR(E_DATA,
                   "%s: %lld bytes at %llu lie beyond the file's end (%lld bytes): the file is cut "
                   "short or damaged",
                   name, (long long)bytes, (unsigned long long)at, (long long)size);
    if (at < SUPERBLOCK_BYTES)
        return ERR(E_DATA, "%s: its data begin at %llu, in HDF5's own superblock; refused", name,
                   (unsigned long long)at);
    a->offset = (int64_t)at;
    return OK;
}

static int by_offset(const void *a, const void *b)
{
    const struct h5x_place *p = a, *q = b;
    return (p->offset > q->offset) - (p->offset < q->offset);
}

int h5x_check_apart(struct h5x_place *place, size_t n)
{
    if (n > 0)
        qsort(place, n, sizeof *place, by_offset);
    for (size_t i = 1; i < n; i++)
        if (place[i - 1].offset + place[i - 1].bytes > place[i].offset)
            return ERR(E_DATA, "%s: its data overlap those of %s; refused", place[i].name,
                       place[i - 1].name);
    return OK;
}

static int open_checked(hid_t *dset, hid_t file, const char *name, struct h5x_array *a)
{
    memset(a, 0, sizeof *a);
    *dset = H5I_INVALID_HID;
    TRY(check_links(file, name));
    *dset = H5Oopen(file, name, H5P_DEFAULT);
    if (*dset < 0)
        return h5x_error(E_DATA, "%s: cannot open", name);
    int rc = OK;
    if (H5Iget_type(*dset) != H5I_DATASET)
        rc = ERR(E_DATA, "%s: not a dataset", name);
    if (rc == OK)
        rc = check_layout(*dset, name);
    if (rc == OK)
        rc = check_type(*dset, name, a);
    if (rc == OK)
        rc = check_extent(*dset, name, a);
    if (rc == OK)
        rc = check_place(*dset, name, a);
    if (rc != OK) {
        H5Oclose(*dset);
        *dset = H5I_INVALID_HID;
    }
    return rc;
}

int h5x_describe(hid_t file, const char *name, struct h5x_array *a)
{
    hid_t dset;
    TRY(open_checked(&dset, file, name, a));
    H5Oclose(dset);
    return OK;
}

static int read_checked(hid_t dset, const char *name, hid_t type, const struct h5x_array *a,
                        size_t max, void **data)
{
    if (H5Tget_class(type) != a->class)
        return ERR(E_DATA, "%s: not of the expected type", name);
    if (a->n > max)
        return ERR(E_DATA, "%s: %zu elements, more than the limit of %zu", name, a->n, max);
    TRY(mem_alloc(data, a->n, H5Tget_size(type), "HDF5 array"));
    if (a->n > 0 && H5Dread(dset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, *data) < 0) {
        MEM_FREE(*data);
        return h5x_error(E_DATA, "%s: cannot read", name);
    }
    return OK;
}

int h5x_get_array(hid_t file, const char *name, hid_t type, size_t max, void **data, size_t *n)
{
    struct h5x_array a;
    hid_t dset;
    *data = NULL;
    *n = 0;
    TRY(open_checked(&dset, file, name, &a));
    int rc = read_checked(dset, name, type, &a, max, data);
    H5Oclose(dset);
    if (rc == OK)
        *n = a.n;
    return rc;
}
