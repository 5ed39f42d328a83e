#include "base/fs.h"

#include "base/err.h"
#include "base/fault.h"
#include "base/mem.h"
#include "base/watch.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define CALL_MAX ((size_t)512 << 20)

int fs_join(char *buf, const char *a, const char *b)
{
    size_t n = strlen(a);
    const char *slash = n == 0 || a[n - 1] == '/' ? "" : "/";
    if (n + strlen(slash) + strlen(b) >= FS_PATH_MAX)
        return ERR(E_CONFIG, "path too long: %.60s.../%.60s", a, b);
    /* buf may be a itself. */
    memmove(buf, a, n + 1);
    strcat(buf, slash);
    strcat(buf, b);
    return OK;
}

bool fs_exists(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0;
}

bool fs_is_dir(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

bool fs_is_file(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

int64_t fs_size(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 ? (int64_t)st.st_size : -1;
}

static int make_dir(const char *path)
{
    int error = mkdir(path, 0777) == 0 ? 0 : errno;
    if (error == 0 || fs_is_dir(path))
        return OK;
    return ERR(E_IO, "%s: cannot make the folder: %s", path, strerror(error));
}

int fs_mkdirs(const char *path)
{
    char part[FS_PATH_MAX];
    size_t n = strlen(path);
    if (n == 0 || n >= sizeof part)
        return ERR(E_IO, "cannot make a folder: the path is %s", n == 0 ? "empty" : "too long");
    memcpy(part, path, n + 1);
    for (char *p = part + 1; *p != '\0'; p++) {
        if (*p != '/')
            continue;
        *p = '\0';
        if (!fs_is_dir(part))
            TRY(make_dir(part));
        *p = '/';
    }
    return make_dir(part);
}

int fs_pwrite(int fd, const void *buf, size_t n, int64_t offset, const char *path)
{
    if (fault_hit("fs.pwrite"))
        return ERR(E_IO, "%s: cannot write: %s (fault fs.pwrite)", path, strerror(ENOSPC));
    const char *p = buf;
    while (n > 0) {
        ssize_t k = pwrite(fd, p, n < CALL_MAX ? n : CALL_MAX, offset);
        if (k < 0 && errno == EINTR)
            continue;
        if (k <= 0)
            return ERR(E_IO, "%s: cannot write %zu bytes at %lld: %s", path, n, (long long)offset,
                       k < 0 ? strerror(errno) : "nothing was written");
        p += k;
        n -= (size_t)k;
        offset += k;
        watch_beat();
    }
    return OK;
}

int fs_pread(int fd, void *buf, size_t n, int64_t offset, const char *path)
{
    if (fault_hit("fs.pread"))
        return ERR(E_IO, "%s: cannot read: %s (fault fs.pread)", path, strerror(EIO));
    char *p = buf;
    while (n > 0) {
        ssize_t k = pread(fd, p, n < CALL_MAX ? n : CALL_MAX, offset);
        if (k < 0 && errno == EINTR)
            continue;
        if (k < 0)
            return ERR(E_IO, "%s: cannot read %zu bytes at %lld: %s", path, n, (long long)offset,
                       strerror(errno));
        if (k == 0)
            return ERR(E_DATA, "%s: ends at byte %lld; %zu more were expected", path,
                       (long long)offset, n);
        p += k;
        n -= (size_t)k;
        offset += k;
        watch_beat();
    }
    return OK;
}

static int read_through(int fd, const char *path, void (*still)(void *ctx), void *ctx)
{
    static char part[1 << 20];
    int64_t left = fs_size(path);
    if (left < 0)
        return ERR(E_IO, "%s: %s", path, strerror(errno));
    for (int64_t at = 0; at < left;) {
        size_t n = left - at < (int64_t)sizeof part ? (size_t)(left - at) : sizeof part;
        TRY(fs_pread(fd, part, n, at, path));
        still(ctx);
        at += (int64_t)n;
    }
    return OK;
}

int fs_read_through(const char *path, void (*still)(void *ctx), void *ctx)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return ERR(errno == ENOENT ? E_DATA : E_IO, "%s: cannot open: %s", path, strerror(errno));
    int rc = read_through(fd, path, still, ctx);
    close(fd);
    return rc;
}

/* Up to n bytes from where fd stands, fewer only at the end; -1 on failure. */
static ssize_t read_some(int fd, char *p, size_t n)
{
    size_t got = 0;
    while (got < n) {
        ssize_t k = read(fd, p + got, n - got < CALL_MAX ? n - got : CALL_MAX);
        if (k < 0 && errno == EINTR)
            continue;
        if (k < 0)
            return -1;
        if (k == 0)
            break;
        got += (size_t)k;
    }
    return (ssize_t)got;
}

/* The rest of fd into *out, which grows: the size of a pipe or a /proc file is not known before. */
static int read_all(int fd, size_t guess, size_t max, const char *path, char **out, size_t *n)
{
    size_t cap = guess + 2, len = 0;
    TRY(mem_alloc(out, cap, 1, "file"));
    for (;;) {
        ssize_t k = read_some(fd, *out + len, cap - 1 - len);
        if (k < 0)
            return ERR(E_IO, "%s: cannot read: %s", path, strerror(errno));
        len += (size_t)k;
        if (max > 0 && len > max)
            return ERR(E_DATA, "%s: larger than the limit of %zu bytes", path, max);
        if (len < cap - 1)
            break;
        char *more;
        TRY(mem_alloc(&more, cap, 2, "file"));
        memcpy(more, *out, len);
        mem_free(*out);
        *out = more;
        cap *= 2;
    }
    (*out)[len] = '\0';
    *n = len;
    return OK;
}

int fs_read_file(const char *path, size_t max, char **out, size_t *n)
{
    *out = NULL;
    *n = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return ERR(errno == ENOENT || errno == ENOTDIR ? E_DATA : E_IO, "%s: cannot open: %s", path,
                   strerror(errno));
    int rc = OK;
    struct stat st;
    if (fstat(fd, &st) != 0)
        rc = ERR(E_IO, "%s: %s", path, strerror(errno));
    else if (S_ISDIR(st.st_mode))
        rc = ERR(E_DATA, "%s: is a folder, not a file", path);
    else if (max > 0 && st.st_size > 0 && (uint64_t)st.st_size > max)
        rc = ERR(E_DATA, "%s: larger than the limit of %zu bytes", path, max);
    else
        rc = read_all(fd, st.st_size > 0 ? (size_t)st.st_size : 4096, max, path, out, n);
    if (rc != OK)
        MEM_FREE(*out);
    close(fd);
    return rc;
}

/* fsync of an open file. After a failure the kernel may have dropped the data: never again. */
static int sync_fd(int fd, const char *path)
{
    if (fault_hit("fs.fsync"))
        return ERR(E_IO, "%s: cannot fsync: %s (fault fs.fsync)", path, strerror(EIO));
    if (fsync(fd) != 0)
        return ERR(E_IO, "%s: cannot fsync: %s", path, strerror(errno));
    return OK;
}

int fs_fsync(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return ERR(E_IO, "%s: cannot open for fsync: %s", path, strerror(errno));
    int rc = sync_fd(fd, path);
    close(fd);
    return rc;
}

int fs_fsync_parent(const char *path)
{
    char parent[FS_PATH_MAX];
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/') /* "a/b/" lies in "a" */
        n--;
    while (n > 0 && path[n - 1] != '/')
        n--;
    while (n > 1 && path[n - 1] == '/')
        n--;
    if (n == 0)
        return fs_fsync(".");
    if (n >= sizeof parent)
        return ERR(E_IO, "%.60s...: the path is too long", path);
    memcpy(parent, path, n);
    parent[n] = '\0';
    return fs_fsync(parent);
}

int fs_rename(const char *from, const char *to)
{
    if (fault_hit("fs.rename"))
        return ERR(E_IO, "%s: cannot rename: %s (fault fs.rename)", from, strerror(EIO));
    if (rename(from, to) != 0)
        return ERR(E_IO, "%s: cannot rename to %s: %s", from, to, strerror(errno));
    return fs_fsync_parent(to);
}

static void *close_last(void *fd)
{
    close((int)(intptr_t)fd);
    return NULL;
}

/* By a thread of its own, which no signal is for. */
static void close_aside(int fd)
{
    pthread_t thread;
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    bool started = pthread_create(&thread, NULL, close_last, (void *)(intptr_t)fd) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (started)
        pthread_detach(thread);
    else
        close(fd);
}

/* Freeing the blocks of a large file takes seconds, and happens at its last close. */
int fs_remove(const char *path)
{
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);
    int rc = unlink(path) == 0 || errno == ENOENT
                 ? OK
                 : ERR(E_IO, "%s: cannot remove: %s", path, strerror(errno));
    if (fd >= 0)
        close_aside(fd);
    return rc;
}

static int write_synced(const char *path, const void *data, size_t n)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0)
        return ERR(E_IO, "%s: cannot create: %s", path, strerror(errno));
    int rc = fs_pwrite(fd, data, n, 0, path);
    if (rc == OK)
        rc = sync_fd(fd, path);
    if (close(fd) != 0 && rc == OK)
        rc = ERR(E_IO, "%s: cannot close: %s", path, strerror(errno));
    return rc;
}

int fs_temp_name(char *temp, const char *path)
{
    char host[64] = "";
    if (gethostname(host, sizeof host - 1) != 0)
        host[0] = '\0';
    if (snprintf(temp, FS_PATH_MAX, "%s.tmp.%s.%ld", path, host, (long)getpid()) >= FS_PATH_MAX)
        return ERR(E_IO, "%.60s...: the path is too long", path);
    return OK;
}

int fs_write_file(const char *path, const void *data, size_t n)
{
    return fs_write_file_if(path, data, n, NULL, NULL);
}

int fs_write_file_if(const char *path, const void *data, size_t n, int (*may)(void *ctx), void *ctx)
{
    char temp[FS_PATH_MAX];
    TRY(fs_temp_name(temp, path));
    int rc = write_synced(temp, data, n);
    if (rc == OK && may != NULL)
        rc = may(ctx);
    if (rc == OK)
        rc = fs_rename(temp, path);
    if (rc != OK)
        unlink(temp);
    return rc;
}

static int copy_bytes(int in, int out, const char *from, const char *to)
{
    static char part[1 << 20];
    int64_t left = fs_size(from);
    for (int64_t at = 0; at < left;) {
        size_t n = left - at < (int64_t)sizeof part ? (size_t)(left - at) : sizeof part;
        TRY(fs_pread(in, part, n, at, from));
        TRY(fs_pwrite(out, part, n, at, to));
        at += (int64_t)n;
    }
    return sync_fd(out, to);
}

static int copy_file(const char *from, const char *to)
{
    int in = open(from, O_RDONLY | O_CLOEXEC), rc;
    if (in < 0)
        return ERR(E_IO, "%s: cannot open: %s", from, strerror(errno));
    int out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    rc = out < 0 ? ERR(E_IO, "%s: cannot create: %s", to, strerror(errno))
                 : copy_bytes(in, out, from, to);
    close(in);
    if (out >= 0 && close(out) != 0 && rc == OK)
        rc = ERR(E_IO, "%s: cannot close: %s", to, strerror(errno));
    return rc;
}

int fs_share(const char *from, const char *to)
{
    char temp[FS_PATH_MAX];
    if (link(from, to) == 0 || errno == EEXIST)
        return fs_fsync_parent(to);
    if (snprintf(temp, sizeof temp, "%s.tmp-%ld", to, (long)getpid()) >= (int)sizeof temp)
        return ERR(E_IO, "%.60s...: the path is too long", to);
    int rc = copy_file(from, temp);
    if (rc == OK)
        rc = fs_rename(temp, to);
    if (rc != OK)
        unlink(temp);
    return rc;
}

/* A server may have made the link although its answer was lost: then the file has two names. */
static bool has_two_names(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && st.st_nlink == 2;
}

static int link_new(const char *temp, const char *path, bool *exists)
{
    if (fault_hit("fs.link"))
        return ERR(E_IO, "%s: cannot link: %s (fault fs.link)", path, strerror(ENOSPC));
    int error = link(temp, path) == 0 ? 0 : errno;
    if (error == 0 || has_two_names(temp))
        return fs_fsync_parent(path);
    *exists = error == EEXIST;
    return *exists ? OK : ERR(E_IO, "%s: cannot link: %s", path, strerror(error));
}

int fs_write_new(const char *path, const void *data, size_t n, bool *exists)
{
    char temp[FS_PATH_MAX];
    *exists = false;
    TRY(fs_temp_name(temp, path));
    int rc = write_synced(temp, data, n);
    if (rc == OK)
        rc = link_new(temp, path, exists);
    unlink(temp);
    return rc;
}

int64_t fs_free_bytes(const char *path)
{
    struct statvfs v;
    if (statvfs(path, &v) != 0)
        return -1;
    return (int64_t)v.f_bavail * (int64_t)v.f_frsize;
}
