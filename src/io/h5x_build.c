#include "io/h5x.h"

#include "base/err.h"
#include "base/fault.h"
#include "base/fs.h"
#include "par/agree.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

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

int h5x_build(const struct comm *c, const char *path, int (*make)(void *ctx, hid_t file), void *ctx,
              const char *fault)
{
    hid_t file;
    int rc = c->rank == 0 ? try_name(path) : OK;
    if (rc == OK && fault_hit(fault))
        rc = ERR(E_IO, "%s: cannot create (fault %s)", path, fault);
    TRY(agree(c, rc));
    rc = same_on_all(c, h5x_create(&file, path, c->world), path);
    if (rc == OK)
        rc = same_on_all(c, make(ctx, file), path);
    int closed = h5x_close(&file);
    return agree(c, rc != OK ? rc : closed);
}

static int enough_room(const char *path, int64_t size)
{
    int64_t left = fs_free_bytes(path);
    if (left >= 0 && left < size)
        return ERR(E_IO, "%s: cannot reserve %lld bytes: %s", path, (long long)size,
                   strerror(ENOSPC));
    return OK;
}

static int reserve(int fd, int64_t size)
{
    int failed;
    do
        failed = fallocate(fd, 0, 0, size) != 0 ? errno : 0;
    while (failed == EINTR);
    return failed;
}

int h5x_reserve(const char *path, const char *fault)
{
    int64_t size = fs_size(path);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return ERR(E_IO, "%s: cannot open: %s", path, strerror(errno));
    int failed = size > 0 ? reserve(fd, size) : EIO;
    if (fault_hit(fault))
        failed = ENOSPC;
    close(fd);
    if (failed == EOPNOTSUPP || failed == ENOSYS)
        return enough_room(path, size);
    return failed == 0 ? OK
                       : ERR(E_IO, "%s: cannot reserve %lld bytes: %s", path, (long long)size,
                             strerror(failed));
}
