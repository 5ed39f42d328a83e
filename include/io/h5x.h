/* HDF5 in few words: handles that close, attributes of plain types, checked reading of untrusted
 * files. Errors carry HDF5's own innermost message. HDF5's automatic error printing is off. */
#ifndef CARAT_IO_H5X_H
#define CARAT_IO_H5X_H

#include "par/comm.h"

#include <hdf5.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Turns off HDF5's printing and file locking, refuses plugins. Idempotent; every open calls it. */
void h5x_start(void);
/* The message of HDF5's error stack as an error of carat: "<what>: <HDF5's words>". E_DATA becomes
 * E_IO where a call of the system failed. */
int h5x_error(int code, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Arrays of a stripe or more begin on one; smaller ones would leave mostly holes. */
#define H5X_ALIGN (1 << 20)

/* Files, by HDF5's serial driver. Created with V18 bounds and alignment; create fails when the file
 * exists (O_EXCL). */
int h5x_create(hid_t *file, const char *path);
/* E_DATA: no regular file, not HDF5, or with a user block; E_IO: cannot be read, or opened for
 * writing. What HDF5 has no memory for is E_DATA as well. */
int h5x_open(hid_t *file, const char *path, bool write);
/* E_IO when what is not written yet has no room on the disk: it is dropped then. */
int h5x_close(hid_t *file);
/* A new file whose groups and datasets (about n_objects) `make` creates, for all ranks to write
 * into at the places of its datasets. Root alone makes it: through MPI-IO, an open or a write of
 * HDF5's own that failed on one rank left the others waiting for ever (HDF5 1.10 on Open MPI 4.1);
 * the file is the same. Room for the values is h5x_reserve's. `fault` names the fault point.
 * Collective. E_IO; what was begun is then the caller's to remove. */
int h5x_build(const struct comm *c, const char *path, size_t n_objects,
              int (*make)(void *ctx, hid_t file), void *ctx, const char *fault);
/* Reserves the present extent of a file: a full disk shows before anything is written into it. File
 * systems that cannot are asked for their free space. E_IO. Local. */
int h5x_reserve(const char *path, const char *fault);

/* Attributes of an object. Text is fixed-length. Getters check class and size: E_DATA naming it;
 * E_IO where it cannot be read. One that cannot be looked for counts as there. */
int h5x_put_text(hid_t obj, const char *name, const char *text);
int h5x_put_i64(hid_t obj, const char *name, int64_t v);
int h5x_put_f64(hid_t obj, const char *name, double v);
int h5x_get_text(hid_t obj, const char *name, char *buf, size_t n);
int h5x_get_text_alloc(hid_t obj, const char *name, size_t max, char **text);
int h5x_get_i64(hid_t obj, const char *name, int64_t *v);
int h5x_get_f64(hid_t obj, const char *name, double *v);
bool h5x_has_attr(hid_t obj, const char *name);

/* A contiguous dataset, space allocated at once and not filled; h5x_describe tells where its data
 * begins in the file. Missing groups are made. description may be NULL. */
int h5x_make_dataset(hid_t file, const char *name, hid_t type, int n_dims, const hsize_t *dims,
                     const char *description);
/* Small arrays at once. */
int h5x_put_array(hid_t file, const char *name, hid_t type, int n_dims, const hsize_t *dims,
                  const void *data, const char *description);
/* Values into a dataset that exists, all of it. */
int h5x_write_array(hid_t file, const char *name, hid_t type, const void *data);

/* What a dataset of an untrusted file is: reached by hard links alone, a plain contiguous array (no
 * external storage, no filters, not virtual) of a plain type, with its place in the file. E_DATA.
 */
struct h5x_array {
    H5T_class_t class;
    size_t elem_bytes;
    bool is_signed;
    int n_dims;
    hsize_t dims[8];
    int64_t offset; /* bytes in the file; -1 when it has no elements */
    size_t n;       /* elements */
};
int h5x_describe(hid_t file, const char *name, struct h5x_array *a);
/* Where datasets lie that h5x_describe has accepted and that have elements. */
struct h5x_place {
    const char *name; /* borrowed */
    int64_t offset, bytes;
};
/* Two of them must not share a byte: what is said of the one would be said of the other. Sorts
 * them. E_DATA. */
int h5x_check_apart(struct h5x_place *place, size_t n);
/* A whole dataset in memory type `type` (mem_free), at most max elements. */
int h5x_get_array(hid_t file, const char *name, hid_t type, size_t max, void **data, size_t *n);

#endif
