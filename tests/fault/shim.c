/* A library to preload, that watches a program's calls on the files below one folder and makes
 * one of them fail. Children inherit it; those that touch no such file notice nothing.
 *
 * FAULT_DIR     the folder, an absolute path without symbolic links; without it nothing is done
 * FAULT_LOG     a file outside of it to which each call that returned adds a line:
 *               rank class number result error path [new path]; an unlink also before
 * FAULT_SPEC    class:rank:number:action[+]: the number-th call (from 1) of that class by that
 *               rank, or by any ('*', each counting its own); with '+' also all that follow
 *
 * Classes: write read open close sync alloc rename link unlink. Opening counts when it may create
 * or write, closing when the file was open for writing. Actions: kill and stop send the signal to
 * the process before the call; all kills its session; short writes half and says so; any other is
 * the error's name, which the call returns without having done anything (close and EINTR on close:
 * the file is closed all the same, as Linux does). */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum class { WRITE, READ, OPEN, CLOSE, SYNC, ALLOC, RENAME, LINK, UNLINK, N_CLASSES };
static const char *const class_names[N_CLASSES] = {"write", "read",   "open", "close", "sync",
                                                   "alloc", "rename", "link", "unlink"};

enum act { NOTHING, KILL, KILL_ALL, STOP, SHORT, FAIL };
static const struct {
    const char *name;
    enum act act;
    int error;
} actions[] = {
    {"kill", KILL, 0},        {"all", KILL_ALL, 0},     {"stop", STOP, 0},  {"short", SHORT, 0},
    {"ENOSPC", FAIL, ENOSPC}, {"EDQUOT", FAIL, EDQUOT}, {"EIO", FAIL, EIO}, {"EROFS", FAIL, EROFS},
    {"EACCES", FAIL, EACCES}, {"EINTR", FAIL, EINTR},
};

static struct {
    const char *dir;
    size_t n_dir;
    int log;
    long rank;
    enum class class;
    long number;
    enum act act;
    int error;
    bool stays;
} plan = {.log = -1, .class = N_CLASSES};
static atomic_long count[N_CLASSES];

/* ---- setting up ---- */

static void refuse(const char *what)
{
    dprintf(2, "fault shim: %s\n", what);
    _exit(64);
}

static void choose_action(char *name)
{
    size_t n = strlen(name);
    plan.stays = n > 0 && name[n - 1] == '+';
    if (plan.stays)
        name[n - 1] = '\0';
    for (size_t i = 0; i < sizeof actions / sizeof actions[0]; i++)
        if (strcmp(name, actions[i].name) == 0) {
            plan.act = actions[i].act;
            plan.error = actions[i].error;
            return;
        }
    refuse("no such action in FAULT_SPEC");
}

static void choose_class(const char *name)
{
    for (plan.class = 0; plan.class < N_CLASSES; plan.class ++)
        if (strcmp(name, class_names[plan.class]) == 0)
            return;
    refuse("no such class in FAULT_SPEC");
}

static void read_spec(const char *spec)
{
    char class[16], rank[16], action[16];
    if (sscanf(spec, "%15[^:]:%15[^:]:%ld:%15s", class, rank, &plan.number, action) != 4)
        refuse("FAULT_SPEC is class:rank:number:action");
    choose_class(class);
    choose_action(action);
    if (strcmp(rank, "*") != 0 && strtol(rank, NULL, 10) != plan.rank)
        plan.class = N_CLASSES;
}

static long rank_here(void)
{
    const char *rank = getenv("OMPI_COMM_WORLD_RANK");
    if (rank == NULL)
        rank = getenv("PMIX_RANK");
    return rank != NULL ? strtol(rank, NULL, 10) : 0;
}

__attribute__((constructor)) static void set_up(void)
{
    const char *dir = getenv("FAULT_DIR"), *log = getenv("FAULT_LOG"), *spec = getenv("FAULT_SPEC");
    plan.rank = rank_here();
    if (dir == NULL)
        return;
    if (log != NULL)
        plan.log = (int)syscall(SYS_openat, AT_FDCWD, log,
                                O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (spec != NULL && *spec != '\0')
        read_spec(spec);
    plan.n_dir = strlen(dir);
    plan.dir = dir;
}

/* ---- which calls count ---- */

static bool inside(const char *path)
{
    return plan.dir != NULL && strncmp(path, plan.dir, plan.n_dir) == 0 &&
           (path[plan.n_dir] == '/' || path[plan.n_dir] == '\0');
}

static bool fd_inside(int fd, char path[PATH_MAX])
{
    char link[64];
    if (plan.dir == NULL)
        return false;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = syscall(SYS_readlink, link, path, PATH_MAX - 1);
    if (n < 0)
        return false;
    path[n] = '\0';
    return inside(path);
}

static bool writable(int fd)
{
    int flags = fcntl(fd, F_GETFL);
    return flags >= 0 && (flags & O_ACCMODE) != O_RDONLY;
}

/* ---- what happens to one ---- */

/* All processes of the session, this one last. */
static void kill_session(void)
{
    pid_t session = getsid(0), me = getpid();
    for (pid_t p = session; p < session + 4096; p++)
        if (p != me && getsid(p) == session)
            kill(p, SIGKILL);
    raise(SIGKILL);
}

static long next(enum class class)
{
    return atomic_fetch_add(&count[class], 1) + 1;
}

/* What is to happen to the call of this number; does it when it is a signal. */
static enum act turn(enum class class, long number)
{
    if (class != plan.class || number < plan.number || (number > plan.number && !plan.stays))
        return NOTHING;
    if (plan.act == KILL)
        raise(SIGKILL);
    if (plan.act == KILL_ALL)
        kill_session();
    if (plan.act == STOP)
        raise(SIGSTOP);
    return plan.act;
}

static void note(enum class class, long number, long result, const char *path, const char *other)
{
    char line[3 * PATH_MAX];
    int error = errno;
    if (plan.log < 0)
        return;
    int n = snprintf(line, sizeof line, "%ld %s %ld %ld %d %s %s\n", plan.rank, class_names[class],
                     number, result, result < 0 ? error : 0, path, other);
    syscall(SYS_write, plan.log, line, (size_t)n);
    errno = error;
}

#define REAL(name)                                                                                 \
    static __typeof__(&name) real;                                                                 \
    if (real == NULL)                                                                              \
    real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

/* Does `call` in its turn. */
#define GUARD(class, counts, path, other, call)                                                    \
    do {                                                                                           \
        if (!(counts))                                                                             \
            return call;                                                                           \
        long number = next(class), result;                                                         \
        if (turn(class, number) == FAIL) {                                                         \
            errno = plan.error;                                                                    \
            result = -1;                                                                           \
        } else                                                                                     \
            result = call;                                                                         \
        note(class, number, result, path, other);                                                  \
        return (__typeof__(call))result;                                                           \
    } while (0)

/* ---- writes, which may be short ---- */

#define GUARD_WRITE(fd, all, half)                                                                 \
    do {                                                                                           \
        char path[PATH_MAX];                                                                       \
        if (!fd_inside(fd, path))                                                                  \
            return all;                                                                            \
        long number = next(WRITE), result;                                                         \
        enum act act = turn(WRITE, number);                                                        \
        if (act == FAIL) {                                                                         \
            errno = plan.error;                                                                    \
            result = -1;                                                                           \
        } else                                                                                     \
            result = act == SHORT ? half : all;                                                    \
        note(WRITE, number, result, path, "");                                                     \
        return result;                                                                             \
    } while (0)

static size_t half_of(size_t n)
{
    return n > 1 ? n / 2 : n;
}

ssize_t write(int fd, const void *buf, size_t n)
{
    REAL(write);
    GUARD_WRITE(fd, real(fd, buf, n), real(fd, buf, half_of(n)));
}

ssize_t pwrite(int fd, const void *buf, size_t n, off_t at)
{
    REAL(pwrite);
    GUARD_WRITE(fd, real(fd, buf, n, at), real(fd, buf, half_of(n), at));
}

/* The first half of the first piece that has bytes. */
static ssize_t pwrite_half(int fd, const struct iovec *piece, int n, off_t at)
{
    for (int i = 0; i < n; i++)
        if (piece[i].iov_len > 0)
            return syscall(SYS_pwrite64, fd, piece[i].iov_base, half_of(piece[i].iov_len), at);
    return 0;
}

ssize_t pwritev(int fd, const struct iovec *piece, int n, off_t at)
{
    REAL(pwritev);
    GUARD_WRITE(fd, real(fd, piece, n, at), pwrite_half(fd, piece, n, at));
}

ssize_t writev(int fd, const struct iovec *piece, int n)
{
    REAL(writev);
    GUARD_WRITE(fd, real(fd, piece, n), real(fd, piece, n > 1 ? n / 2 : n));
}

/* ---- the rest ---- */

static bool makes_or_writes(int flags)
{
    return (flags & O_CREAT) != 0 || (flags & O_ACCMODE) != O_RDONLY;
}

static unsigned mode_of(int flags, va_list args)
{
    return (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(args, unsigned) : 0;
}

int open(const char *path, int flags, ...)
{
    REAL(open);
    va_list args;
    va_start(args, flags);
    unsigned mode = mode_of(flags, args);
    va_end(args);
    GUARD(OPEN, inside(path) && makes_or_writes(flags), path, "", real(path, flags, mode));
}

int openat(int at, const char *path, int flags, ...)
{
    REAL(openat);
    va_list args;
    va_start(args, flags);
    unsigned mode = mode_of(flags, args);
    va_end(args);
    GUARD(OPEN, inside(path) && makes_or_writes(flags), path, "", real(at, path, flags, mode));
}

static int close_and_fail(int fd)
{
    (void)syscall(SYS_close, fd);
    errno = plan.error;
    return -1;
}

int close(int fd)
{
    REAL(close);
    char path[PATH_MAX];
    if (!fd_inside(fd, path) || !writable(fd))
        return real(fd);
    long number = next(CLOSE);
    int result = turn(CLOSE, number) == FAIL ? close_and_fail(fd) : real(fd);
    note(CLOSE, number, result, path, "");
    return result;
}

#define GUARD_FD(class, call)                                                                      \
    char path[PATH_MAX];                                                                           \
    GUARD(class, fd_inside(fd, path), path, "", call)

ssize_t read(int fd, void *buf, size_t n)
{
    REAL(read);
    GUARD_FD(READ, real(fd, buf, n));
}

ssize_t pread(int fd, void *buf, size_t n, off_t at)
{
    REAL(pread);
    GUARD_FD(READ, real(fd, buf, n, at));
}

int fsync(int fd)
{
    REAL(fsync);
    GUARD_FD(SYNC, real(fd));
}

int fdatasync(int fd)
{
    REAL(fdatasync);
    GUARD_FD(SYNC, real(fd));
}

int ftruncate(int fd, off_t n)
{
    REAL(ftruncate);
    GUARD_FD(ALLOC, real(fd, n));
}

int fallocate(int fd, int mode, off_t at, off_t n)
{
    REAL(fallocate);
    GUARD_FD(ALLOC, real(fd, mode, at, n));
}

/* Returns the error itself. */
int posix_fallocate(int fd, off_t at, off_t n)
{
    REAL(posix_fallocate);
    char path[PATH_MAX];
    if (!fd_inside(fd, path))
        return real(fd, at, n);
    long number = next(ALLOC);
    int result = turn(ALLOC, number) == FAIL ? plan.error : real(fd, at, n);
    note(ALLOC, number, result, path, "");
    return result;
}

int rename(const char *from, const char *to)
{
    REAL(rename);
    GUARD(RENAME, inside(to) || inside(from), from, to, real(from, to));
}

int link(const char *from, const char *to)
{
    REAL(link);
    GUARD(LINK, inside(to), from, to, real(from, to));
}

/* Told before as well, as number 0: who is killed after the call cannot tell any more. */
int unlink(const char *path)
{
    REAL(unlink);
    if (inside(path))
        note(UNLINK, 0, 0, path, "");
    GUARD(UNLINK, inside(path), path, "", real(path));
}

/* Large-file names of the same calls, where off_t has 64 bits anyway. */
#define ALIAS(name, of, ...) __typeof__(of) name __attribute__((alias(#of)))
ALIAS(pread64, pread);
ALIAS(pwrite64, pwrite);
ALIAS(pwritev64, pwritev);
ALIAS(open64, open);
ALIAS(openat64, openat);
ALIAS(ftruncate64, ftruncate);
ALIAS(fallocate64, fallocate);
ALIAS(posix_fallocate64, posix_fallocate);
