/* A run's rows as they come. */
#include "metrics_parts.h"

#include "base/err.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

struct metrics_tail {
    char run_dir[FS_PATH_MAX];
    int64_t from;
    struct segment segment; /* the one that is read */
    int fd;                 /* -1: none yet */
    int64_t at;             /* its next row */
    bool is_over;           /* there is a next one, so this one gets no more rows */
    double step, attempt;   /* of the row before that; NAN: none yet */
    double *buf;            /* a row as it lies there */
};

int metrics_tail_new(struct metrics_tail **out, const char *run_dir, int64_t from)
{
    struct metrics_tail *t;
    *out = NULL;
    if (strlen(run_dir) >= sizeof t->run_dir)
        return ERR(E_DATA, "%.60s...: the path is too long", run_dir);
    TRY(mem_alloc(&t, 1, sizeof *t, "follower of metrics"));
    *t = (struct metrics_tail){.fd = -1, .from = from, .step = NAN, .attempt = NAN};
    memcpy(t->run_dir, run_dir, strlen(run_dir) + 1);
    *out = t;
    return OK;
}

void metrics_tail_free(struct metrics_tail *t)
{
    if (t == NULL)
        return;
    if (t->fd >= 0)
        close(t->fd);
    mem_free(t->buf);
    mem_free(t);
}

static bool is_behind(const struct metrics_tail *t, const struct segment *s)
{
    if (t->fd < 0)
        return s->attempt >= t->from;
    return s->attempt > t->segment.attempt ||
           (s->attempt == t->segment.attempt && s->n > t->segment.n);
}

static int open_segment(struct metrics_tail *t, const struct segment *s)
{
    struct segment next = *s;
    double *buf;
    TRY(segment_open(&next));
    TRY(mem_alloc(&buf, (size_t)next.step_width, sizeof *buf, "a row of metrics"));
    int fd = open(next.path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        mem_free(buf);
        return ERR(E_IO, "%s: cannot open: %s", next.path, strerror(errno));
    }
    if (t->fd >= 0)
        close(t->fd);
    mem_free(t->buf);
    t->segment = next;
    t->fd = fd;
    t->buf = buf;
    t->at = 0;
    t->is_over = false;
    return OK;
}

/* The first segment behind the one at hand: that there is one is noted first, so that what was
 * written until then is read before it is opened. */
static int look_ahead(struct metrics_tail *t, bool *found)
{
    struct segment *list;
    size_t n, i = 0;
    int rc = OK;
    TRY(segment_list(t->run_dir, &list, &n));
    while (i < n && !is_behind(t, &list[i]))
        i++;
    *found = i < n;
    if (*found && (t->is_over || t->fd < 0))
        rc = open_segment(t, &list[i]);
    else
        t->is_over = *found;
    mem_free(list);
    return rc;
}

static int read_row(struct metrics_tail *t, int64_t at, double row[M_N], bool *whole)
{
    const struct segment *s = &t->segment;
    TRY(fs_pread(t->fd, t->buf, (size_t)s->step_width * sizeof *t->buf, segment_step_at(s, at),
                 s->path));
    *whole = metrics_is_row(s, t->buf);
    if (*whole)
        metrics_take_columns(row, s, t->buf);
    return OK;
}

/* A row that is not whole may be under way; where nothing is, it is damaged and left out. */
static int look_on(struct metrics_tail *t, double row[M_N], bool *whole)
{
    *whole = false;
    while (t->fd >= 0 && t->at < t->segment.rows && !*whole) {
        TRY(read_row(t, t->at, row, whole));
        if (!*whole && (!t->is_over || metrics_is_empty(t->buf, t->segment.step_width)))
            return OK;
        t->at++;
    }
    return OK;
}

/* A step that comes twice in a row has its validation figures now. */
static enum tail take(struct metrics_tail *t, const double row[M_N])
{
    bool again = row[M_STEP] == t->step && row[M_ATTEMPT] == t->attempt;
    t->step = row[M_STEP];
    t->attempt = row[M_ATTEMPT];
    return again ? TAIL_AMENDED : TAIL_ROW;
}

int metrics_tail_next(struct metrics_tail *t, double row[M_N], enum tail *what)
{
    bool found = true, whole;
    *what = TAIL_NONE;
    while (found) {
        TRY(look_on(t, row, &whole));
        if (whole) {
            *what = take(t, row);
            return OK;
        }
        TRY(look_ahead(t, &found));
    }
    return OK;
}
