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

static int try_name(const char *path)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd < 0)
        return ERR(E_IO, "%s: cannot create: %s", path, strerror(errno));
    close(fd);
    /* It was possible, so parallel HDF5, whose ranks could hang on a failure, can do it too. */
    return unlink(path) == 0 ? OK : ERR(E_IO, "%s: cannot remove: %s", path, strerror(errno));
}

/* Closing is collective, and writes what each rank believes to be the same metadata. Where ranks
 * are of two minds it could hang or write a mixture: nothing is left then but to end. */
static int same_on_all(const struct comm *c, int rc, const char *path)
{
    int failed = rc != OK;
    if (MPI_Allreduce(MPI_IN_PLACE, &failed, 1, MPI_INT, MPI_SUM, c->world) != MPI_SUCCESS)
        fatal(E_RANK, "MPI_Allreduce failed");
    if (failed > 0 && failed < c->size) {
        agree(c, rc);
        fatal(E_IO, "%s: some ranks could not create the file: %s", path, err_message());
    }
    return rc;
}

/* What root has in memory, after room for it is reserved. */
static int put_down(int memory, const char *path, int64_t own_bytes)
{
    TRY(room_reserve(path, own_bytes));
    return room_copy(memory, path);
}

/* Everything HDF5 writes goes into each rank's memory, where it cannot fail: a write that failed on
 * one rank would leave the others waiting in H5Fclose for ever. */
static int build(const struct comm *c, const char *path, int64_t own_bytes, int memory,
                 int (*make)(void *ctx, hid_t file), void *ctx)
{
    hid_t file;
    TRY(same_on_all(c, create_packed(&file, path, c->world, (hsize_t)own_bytes), path));
    room_divert(path, memory);
    int rc = same_on_all(c, make(ctx, file), path), closed = h5x_close(&file);
    TRY(agree(c, rc != OK ? rc : closed));
    return agree(c, c->rank == 0 ? put_down(memory, path, own_bytes) : OK);
}

int h5x_build(const struct comm *c, const char *path, size_t n_objects,
              int (*make)(void *ctx, hid_t file), void *ctx, const char *fault)
{
    int64_t own_bytes = OWN_FILE + OWN_OBJECT * (int64_t)n_objects;
    int memory = -1, rc = c->rank == 0 ? try_name(path) : OK;
    if (rc == OK && fault_hit(fault))
        rc = ERR(E_IO, "%s: cannot create (fault %s)", path, fault);
    if (rc == OK)
        rc = room_memory(&memory);
    rc = agree(c, rc);
    if (rc == OK)
        rc = build(c, path, own_bytes, memory, make, ctx);
    if (memory >= 0)
        close(memory);
    return rc;
}

int h5x_reserve(const char *path, const char *fault)
{
    int64_t size = fs_size(path);
    if (fault_hit(fault))
        return ERR(E_IO, "%s: cannot reserve %lld bytes (fault %s)", path, (long long)size, fault);
    return size >= 0 ? room_reserve(path, size) : ERR(E_IO, "%s: cannot tell its length", path);
}
