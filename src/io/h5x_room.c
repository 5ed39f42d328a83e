#include "h5x_parts.h"

#include "base/err.h"
#include "base/fault.h"
#include "base/fs.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { STAT_BLOCK = 512 };

/* What is missing beyond the blocks that the file has. */
static int enough_is_free(const char *path, int fd, int64_t bytes)
{
    struct stat st;
    int64_t free_bytes = fs_free_bytes(path);
    if (fstat(fd, &st) != 0 || free_bytes < 0)
        return 0;
    return bytes - (int64_t)st.st_blocks * STAT_BLOCK > free_bytes ? ENOSPC : 0;
}

static int allocate(const char *path, int fd, int64_t bytes)
{
    int failed;
    do
        failed = fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, bytes) != 0 ? errno : 0;
    while (failed == EINTR);
    if (failed == EOPNOTSUPP || failed == ENOSYS)
        failed = enough_is_free(path, fd, bytes);
    return failed;
}

int room_reserve(const char *path, int64_t bytes)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return ERR(E_IO, "%s: cannot open: %s", path, strerror(errno));
    int failed = allocate(path, fd, bytes);
    if (fault_hit("h5x.reserve"))
        failed = ENOSPC;
    close(fd);
    return failed == 0 ? OK
                       : ERR(E_IO, "%s: cannot reserve %lld bytes: %s", path, (long long)bytes,
                             strerror(failed));
}

static void divert_all(DIR *dir, const struct stat *file, int memory)
{
    struct stat st;
    for (const struct dirent *e; (e = readdir(dir)) != NULL;) {
        int fd = atoi(e->d_name);
        if (fd > STDERR_FILENO && fd != memory && fstat(fd, &st) == 0 &&
            st.st_dev == file->st_dev && st.st_ino == file->st_ino)
            dup3(memory, fd, O_CLOEXEC);
    }
}

int room_memory(int *memory)
{
    *memory = memfd_create("hdf5", MFD_CLOEXEC);
    return *memory >= 0 ? OK : ERR(E_IO, "no memory for an HDF5 file: %s", strerror(errno));
}

void room_divert(const char *path, int memory)
{
    struct stat file;
    DIR *dir = opendir("/proc/self/fd");
    if (dir == NULL || stat(path, &file) != 0)
        fatal(E_IO, "%s: cannot be written, and HDF5 cannot let go of it", path);
    divert_all(dir, &file, memory);
    closedir(dir);
}

/* The memory's ranges with data one after the other; the rest was never written. */
static int copy_ranges(int memory, int fd, int64_t length, const char *path)
{
    char *bytes = mmap(NULL, (size_t)length, PROT_READ, MAP_SHARED, memory, 0);
    int64_t at, end = 0;
    int rc = bytes == MAP_FAILED ? ERR(E_MEM, "%s: cannot map its memory", path) : OK;
    while (rc == OK && end < length && (at = lseek(memory, end, SEEK_DATA)) >= 0) {
        end = lseek(memory, at, SEEK_HOLE);
        rc = fs_pwrite(fd, bytes + at, (size_t)(end - at), at, path);
    }
    if (bytes != MAP_FAILED)
        munmap(bytes, (size_t)length);
    return rc;
}

int room_copy(int memory, const char *path)
{
    struct stat st;
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0 || fstat(memory, &st) != 0) {
        int rc = ERR(E_IO, "%s: cannot open: %s", path, strerror(errno));
        if (fd >= 0)
            close(fd);
        return rc;
    }
    int rc = copy_ranges(memory, fd, st.st_size, path);
    if (rc == OK && ftruncate(fd, st.st_size) != 0)
        rc = ERR(E_IO, "%s: cannot set its length: %s", path, strerror(errno));
    if (close(fd) != 0 && rc == OK)
        rc = ERR(E_IO, "%s: cannot close: %s", path, strerror(errno));
    return rc;
}
