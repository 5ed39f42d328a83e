#include "data/spool.h"

#include "base/err.h"
#include "base/fs.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BUFFER_BYTES ((size_t)1 << 20)
#define NAME         "temporary file"

static int open_unnamed(const char *folder)
{
    char name[FS_PATH_MAX];
    int fd = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd >= 0)
        return fd;
    /* Not every file system can do that; a name that is taken away at once is as good. */
    if (snprintf(name, sizeof name, "%s/.carat-XXXXXX", folder) >= (int)sizeof name) {
        errno = ENAMETOOLONG;
        return -1;
    }
    fd = mkostemp(name, O_CLOEXEC);
    if (fd >= 0)
        unlink(name);
    return fd;
}

int spool_init(struct spool *s, const char *path)
{
    char folder[FS_PATH_MAX];
    *s = (struct spool){.fd = -1};
    const char *slash = strrchr(path, '/');
    size_t n = slash == NULL ? 0 : slash == path ? 1 : (size_t)(slash - path);
    if (n >= sizeof folder)
        return ERR(E_IO, "%.60s...: the path is too long", path);
    memcpy(folder, path, n);
    folder[n] = '\0';
    if (n == 0)
        strcpy(folder, ".");
    s->fd = open_unnamed(folder);
    if (s->fd < 0)
        return ERR(E_IO, "%s: cannot make a temporary file in this folder: %s", folder,
                   strerror(errno));
    return mem_alloc(&s->buf, BUFFER_BYTES, 1, NAME);
}

void spool_release(struct spool *s)
{
    if (s->fd >= 0)
        close(s->fd);
    mem_free(s->buf);
    *s = (struct spool){.fd = -1};
}

int spool_flush(struct spool *s)
{
    if (s->fill == 0)
        return OK;
    TRY(fs_pwrite(s->fd, s->buf, s->fill, s->flushed, NAME));
    s->flushed += (int64_t)s->fill;
    s->fill = 0;
    return OK;
}

int spool_add(struct spool *s, const void *data, size_t n)
{
    const char *p = data;
    while (n > 0) {
        size_t take = n < BUFFER_BYTES - s->fill ? n : BUFFER_BYTES - s->fill;
        memcpy(s->buf + s->fill, p, take);
        s->fill += take;
        p += take;
        n -= take;
        if (s->fill == BUFFER_BYTES)
            TRY(spool_flush(s));
    }
    return OK;
}

int64_t spool_bytes(const struct spool *s)
{
    return s->flushed + (int64_t)s->fill;
}

int spool_read(struct spool *s, void *out, size_t n, int64_t offset)
{
    TRY(spool_flush(s));
    return fs_pread(s->fd, out, n, offset, NAME);
}
