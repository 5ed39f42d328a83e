#include "train/events.h"

#include "base/err.h"
#include "base/fs.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/str.h"
#include "io/json.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char SUM[] = ",\"crc32c\":";

static int events_path(char *path, const char *run_dir)
{
    return fs_join(path, run_dir, "metrics/events.jsonl");
}

/* ---- writing ---- */

static json_t *object_of(const struct event *e)
{
    json_t *o = json_object();
    json_object_set_new(o, "step", json_integer(e->step));
    json_object_set_new(o, "attempt", json_integer(e->attempt));
    json_object_set_new(o, "kind", json_string(e->kind));
    json_object_set_new(o, "action", json_string(e->action));
    json_object_set_new(o, "value", isfinite(e->value) ? json_real(e->value) : json_null());
    json_object_set_new(o, "sample_first", json_integer((json_int_t)e->sample_first));
    json_object_set_new(o, "sample_n", json_integer((json_int_t)e->sample_n));
    json_object_set_new(o, "text", json_string(e->text));
    return o;
}

/* The event as an object with the sum of what comes before the sum. */
static int line_of(struct str *line, const struct event *e)
{
    json_t *o = object_of(e);
    char *text = json_dumps(o, JSON_COMPACT);
    json_decref(o);
    if (text == NULL)
        return ERR(E_MEM, "no memory for an event");
    size_t n = strlen(text) - 1;
    str_addn(line, text, n);
    str_addf(line, "%s%lu}\n", SUM, (unsigned long)crc32c(0, text, n));
    free(text);
    return OK;
}

/* Behind what is there; a line that a killed process left unfinished is ended first. */
static int append(int fd, const char *path, const struct str *line)
{
    int64_t size = fs_size(path);
    char last = '\n';
    if (size > 0)
        TRY(fs_pread(fd, &last, 1, size - 1, path));
    if (last != '\n')
        TRY(fs_pwrite(fd, "\n", 1, size++, path));
    TRY(fs_pwrite(fd, line->s, line->len, size, path));
    if (fdatasync(fd) != 0)
        return ERR(E_IO, "%s: cannot fdatasync: %s", path, strerror(errno));
    return size == 0 ? fs_fsync_parent(path) : OK;
}

int events_append(const char *run_dir, const struct event *e)
{
    char path[FS_PATH_MAX];
    struct str line = {0};
    TRY(events_path(path, run_dir));
    int rc = line_of(&line, e);
    int fd = rc == OK ? open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644) : -1;
    if (rc == OK && fd < 0)
        rc = ERR(E_IO, "%s: cannot open: %s", path, strerror(errno));
    if (rc == OK)
        rc = append(fd, path, &line);
    if (fd >= 0)
        close(fd);
    str_release(&line);
    return rc;
}

/* ---- reading ---- */

static int copy_text(char *to, size_t size, const json_t *o, const char *key)
{
    const char *s;
    TRY(json_str(o, key, "", &s));
    snprintf(to, size, "%s", s);
    return OK;
}

static int event_of(struct event *e, const json_t *o)
{
    int64_t first, n;
    TRY(json_i64(o, "step", 0, &e->step));
    TRY(json_i64(o, "attempt", 0, &e->attempt));
    TRY(json_i64(o, "sample_first", 0, &first));
    TRY(json_i64(o, "sample_n", 0, &n));
    TRY(json_f64(o, "value", NAN, &e->value));
    TRY(copy_text(e->kind, sizeof e->kind, o, "kind"));
    TRY(copy_text(e->action, sizeof e->action, o, "action"));
    TRY(copy_text(e->text, sizeof e->text, o, "text"));
    e->sample_first = (uint64_t)first;
    e->sample_n = (uint64_t)n;
    return OK;
}

/* Where a whole line's sum begins, or NULL. */
static const char *sum_in(const char *line, size_t n)
{
    const char *at = NULL;
    for (size_t i = 0; i + sizeof SUM - 1 <= n; i++)
        if (memcmp(line + i, SUM, sizeof SUM - 1) == 0)
            at = line + i;
    return at;
}

static bool parse_line(struct event *e, const char *line, size_t n)
{
    json_t *o = NULL;
    const char *sum = sum_in(line, n);
    if (sum == NULL ||
        strtoul(sum + sizeof SUM - 1, NULL, 10) != crc32c(0, line, (size_t)(sum - line)))
        return false;
    bool good = json_parse(line, n, "event", &o) == OK && event_of(e, o) == OK;
    json_decref(o);
    err_clear();
    return good;
}

static size_t count_lines(const char *text)
{
    size_t n = 0;
    for (; *text != '\0'; text++)
        n += *text == '\n';
    return n + 1;
}

int events_read(const char *run_dir, struct event **list, size_t *n, size_t *n_bad)
{
    char path[FS_PATH_MAX], *text;
    size_t size, bad = 0;
    *list = NULL;
    *n = 0;
    if (n_bad != NULL)
        *n_bad = 0;
    TRY(events_path(path, run_dir));
    if (!fs_exists(path))
        return OK;
    TRY(fs_read_file(path, 0, &text, &size));
    int rc = mem_alloc(list, count_lines(text), sizeof **list, "events");
    for (const char *at = text; rc == OK && *at != '\0';) {
        size_t len = strcspn(at, "\n");
        if (parse_line(&(*list)[*n], at, len))
            ++*n;
        else
            bad += len > 0;
        at += len + (at[len] == '\n');
    }
    mem_free(text);
    if (n_bad != NULL)
        *n_bad = bad;
    return rc;
}
