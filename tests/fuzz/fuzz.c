#include "fuzz.h"

#include "base/err.h"
#include "base/fs.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

static void need(int held, const char *what)
{
    if (held)
        return;
    perror(what);
    abort();
}

const char *fuzz_error(void)
{
    return err_message();
}

static void found(int code)
{
    (void)code;
    abort();
}

/* A fatal error is a finding, too. */
static void __attribute__((constructor)) begin(void)
{
    err_set_abort_hook(found);
}

/* Open MPI would take the signals by which libFuzzer sees a crash. */
const struct comm *fuzz_alone(void)
{
    static const int signals[] = {SIGABRT, SIGBUS, SIGFPE, SIGSEGV};
    enum { N = sizeof signals / sizeof *signals };
    static struct comm alone;
    struct sigaction kept[N];
    if (alone.size > 0)
        return &alone;
    for (int i = 0; i < N; i++)
        sigaction(signals[i], NULL, &kept[i]);
    need(comm_init(&alone, NULL, NULL) == OK, "MPI_Init");
    for (int i = 0; i < N; i++)
        sigaction(signals[i], &kept[i], NULL);
    begin();
    return &alone;
}

const char *fuzz_dir(void)
{
    static char dir[FS_PATH_MAX / 2];
    if (*dir == '\0') {
        const char *tmp = getenv("TMPDIR");
        snprintf(dir, sizeof dir, "%s/carat-fuzz-%ld", tmp != NULL ? tmp : "/tmp", (long)getpid());
        need(fs_mkdirs(dir) == OK, dir);
    }
    return dir;
}

static int create(char *path)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd >= 0)
        return fd;
    char *slash = strrchr(path, '/');
    *slash = '\0';
    need(fs_mkdirs(path) == OK, path);
    *slash = '/';
    return open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
}

const char *fuzz_file(const char *name, const void *data, size_t n)
{
    static char kept[4][FS_PATH_MAX];
    static unsigned next;
    char *path = kept[next++ % 4];
    snprintf(path, FS_PATH_MAX, "%s/%s", fuzz_dir(), name);
    int fd = create(path);
    need(fd >= 0, path);
    need(n == 0 || write(fd, data, n) == (ssize_t)n, path);
    close(fd);
    return path;
}

char *fuzz_text(const uint8_t *data, size_t n)
{
    static char *text;
    free(text);
    text = malloc(n + 1);
    need(text != NULL, "malloc");
    if (n > 0)
        memcpy(text, data, n);
    text[n] = '\0';
    return text;
}
