#include "io/h5x.h"

#include "base/err.h"
#include "base/fault.h"
#include "base/fs.h"
#include "h5x_parts.h"
#include "par/agree.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

/* What HDF5 itself takes of a file and of an object in it; measured: 330 bytes a dataset. */
enum { OWN_FILE = 64 << 10, OWN_OBJECT = 512 };

/* HDF5 writes into memory, where that cannot fail, which it would not survive; from there the file
 * gets what it wrote. */
static int build_in(int memory, const char *path, int64_t own_bytes,
                    int (*make)(void *ctx, hid_t file), void *ctx)
{
    hid_t file;
    TRY(create_packed(&file, path, (hsize_t)own_bytes));
    room_divert(path, memory);
    int rc = make(ctx, file), closed = h5x_close(&file);
    TRY(rc != OK ? rc : closed);
    return room_copy(memory, path);
}

static int build(const char *path, int64_t own_bytes, int (*make)(void *ctx, hid_t file), void *ctx)
{
    int memory;
    TRY(room_memory(&memory));
    int rc = build_in(memory, path, own_bytes, make, ctx);
    close(memory);
    return rc;
}

int h5x_build(const struct comm *c, const char *path, size_t n_objects,
              int (*make)(void *ctx, hid_t file), void *ctx, const char *fault)
{
    int64_t own_bytes = OWN_FILE + OWN_OBJECT * (int64_t)n_objects;
    int rc = fault_hit(fault) ? ERR(E_IO, "%s: cannot create (fault %s)", path, fault) : OK;
    if (rc == OK && c->rank == 0)
        rc = build(path, own_bytes, make, ctx);
    return agree(c, rc);
}

int h5x_reserve(const char *path, const char *fault)
{
    int64_t size = fs_size(path);
    if (fault_hit(fault))
        return ERR(E_IO, "%s: cannot reserve %lld bytes (fault %s)", path, (long long)size, fault);
    return size >= 0 ? room_reserve(path, size) : ERR(E_IO, "%s: cannot tell its length", path);
}
