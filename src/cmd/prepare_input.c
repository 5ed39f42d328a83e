#include "base/err.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/utf8.h"
#include "prepare.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

/* Four pieces: what is left of the window is moved once in several pieces. */
#define WINDOW_BYTES ((size_t)4 << 20)
#define LONGEST_LINE ((size_t)256 << 20)
#define SAMPLE_BYTES 8192

int source_descriptor(const struct source *s, int *fd)
{
    if (s->fd >= 0)
        *fd = fcntl(s->fd, F_DUPFD_CLOEXEC, 0);
    else if (strcmp(s->path, "-") == 0)
        *fd = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 0);
    else
        *fd = open(s->path, O_RDONLY | O_CLOEXEC);
    if (*fd < 0)
        return ERR(E_DATA, "%s: cannot be read: %s", s->path, strerror(errno));
    if (s->fd >= 0)
        lseek(*fd, 0, SEEK_SET);
    return OK;
}

static const char *name_of(const struct source *s)
{
    return strcmp(s->path, "-") == 0 ? "standard input" : s->path;
}

static int open_gz(const struct source *s, gzFile *gz)
{
    int fd;
    TRY(source_descriptor(s, &fd));
    *gz = gzdopen(fd, "rb");
    if (*gz == NULL) {
        close(fd);
        return ERR(E_MEM, "%s: no memory to read it", name_of(s));
    }
    return OK;
}

/* zlib passes a file through that does not begin like gzip. */
static int check_gzip(const struct source *s, gzFile gz)
{
    if (str_ends(s->path, ".gz") && gzdirect(gz))
        return ERR(E_DATA, "%s: is no gzip file, although its name says so", s->path);
    return OK;
}

static void skip_byte_order_mark(struct input *in)
{
    if (in->n >= 3 && memcmp(in->at, "\xEF\xBB\xBF", 3) == 0)
        input_consume(in, 3);
}

/* Of a small file that is not packed, and a byte more: that it ends is seen at once. */
static size_t window_bytes(const struct source *s, gzFile gz)
{
    bool named = s->fd < 0 && strcmp(s->path, "-") != 0;
    int64_t size = named && gzdirect(gz) ? fs_size(s->path) : 0; /* of a pipe: 0 */
    return size > 0 && (size_t)size < WINDOW_BYTES ? (size_t)size + 1 : WINDOW_BYTES;
}

int input_open(struct input *in, const struct source *s)
{
    *in = (struct input){.name = name_of(s), .line = 1};
    gzFile gz;
    TRY(open_gz(s, &gz));
    in->gz = gz;
    gzbuffer(gz, 1 << 18);
    TRY(check_gzip(s, gz));
    in->cap = window_bytes(s, gz);
    TRY(mem_alloc(&in->buf, in->cap, 1, "text window"));
    in->at = in->buf;
    TRY(input_more(in));
    skip_byte_order_mark(in);
    return OK;
}

void input_close(struct input *in)
{
    if (in->gz != NULL)
        gzclose_r(in->gz);
    mem_free(in->buf);
    *in = (struct input){0};
}

static int grow(struct input *in)
{
    char *more;
    if (in->cap >= LONGEST_LINE)
        return ERR(E_DATA, "%s:%llu: a line of more than %zu MiB", in->name,
                   (unsigned long long)in->line, LONGEST_LINE >> 20);
    TRY(mem_alloc(&more, 2 * in->cap, 1, "text window"));
    memcpy(more, in->at, in->n);
    mem_free(in->buf);
    in->buf = more;
    in->at = more;
    in->cap *= 2;
    return OK;
}

static int read_error(const struct input *in, int k)
{
    int error;
    const char *why = gzerror(in->gz, &error);
    if (stop_requested()) /* the signal interrupted the read */
        return ERR(E_STOPPED, STOP_MESSAGE);
    if (error == Z_ERRNO)
        return ERR(E_DATA, "%s: cannot be read: %s", in->name, strerror(errno));
    return ERR(E_DATA, "%s: damaged gzip data%s: %s", in->name, k == 0 ? ", it ends too early" : "",
               why);
}

static int read_to_full(struct input *in)
{
    size_t used = (size_t)(in->at - in->buf) + in->n;
    while (used < in->cap) {
        int k = gzread(in->gz, in->buf + used, (unsigned)(in->cap - used));
        int error;
        gzerror(in->gz, &error);
        if (k < 0 || error != Z_OK)
            return read_error(in, k);
        in->n += (size_t)k;
        used += (size_t)k;
        if (k == 0) {
            in->ended = true;
            break;
        }
    }
    return OK;
}

int input_more(struct input *in)
{
    if (in->ended)
        return OK;
    if (in->at > in->buf) {
        memmove(in->buf, in->at, in->n);
        in->at = in->buf;
    } else if (in->n == in->cap) {
        TRY(grow(in));
    }
    return read_to_full(in);
}

static uint64_t count_lines(const char *p, size_t n)
{
    uint64_t lines = 0;
    for (size_t i = 0; i < n; i++)
        lines += p[i] == '\n';
    return lines;
}

void input_consume(struct input *in, size_t k)
{
    in->line += count_lines(in->at, k);
    in->offset += k;
    in->at += k;
    in->n -= k;
}

int64_t input_file_position(const struct input *in)
{
    double all = (double)in->offset + (double)in->n;
    if (in->gz == NULL || all == 0)
        return 0;
    /* What waits in the window is not done yet. */
    return (int64_t)((double)gzoffset(in->gz) * ((double)in->offset / all));
}

int input_looks_like_text(const struct source *s, bool *yes)
{
    char sample[SAMPLE_BYTES];
    gzFile gz;
    TRY(open_gz(s, &gz));
    int k = gzread(gz, sample, sizeof sample);
    bool gzip = str_ends(s->path, ".gz") == !gzdirect(gz);
    gzclose_r(gz);
    *yes = k >= 0 && gzip;
    if (!*yes)
        return OK;
    size_t n = (size_t)k, good = utf8_valid(sample, n);
    /* The sample may end inside a character. */
    *yes = memchr(sample, 0, n) == NULL && (good == n || (n == sizeof sample && n - good < 4));
    return OK;
}
