#include "train/events.h"

#include "base/err.h"
#include "base/fs.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/utf8.h"
#include "data/perm.h"
#include "io/json.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { FILE_MAX_BYTES = 256 << 20 }; /* a run writes some hundred bytes an event */
static const char SUM[] = ",\"crc32c\":";

static int events_path(char *path, const char *run_dir)
{
    return fs_join(path, run_dir, "metrics/events.jsonl");
}

uint64_t event_sample_id(const struct event *e, uint64_t i)
{
    uint64_t at = e->sample_first + i;
    return perm_at(e->order_seed, at / e->order_n, e->order_n, at % e->order_n);
}

size_t event_n_ids(const struct event *e)
{
    return e->order_n > 0 && e->sample_n <= EVENT_IDS_MAX ? e->sample_n : 0;
}

/* ---- writing ---- */

static json_t *ids_of(const struct event *e)
{
    json_t *ids = json_array();
    for (size_t i = 0; i < event_n_ids(e); i++)
        json_array_append_new(ids, json_integer((json_int_t)event_sample_id(e, i)));
    return ids;
}

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
    json_object_set_new(o, "order_seed", json_integer((json_int_t)e->order_seed));
    json_object_set_new(o, "order_n", json_integer((json_int_t)e->order_n));
    if (event_n_ids(e) > 0)
        json_object_set_new(o, "sample_ids", ids_of(e));
    json_object_set_new(o, "text", json_stringn(e->text, utf8_valid(e->text, strlen(e->text))));
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

/* Behind the last whole line: what a killed process left unfinished goes. */
static int append(int fd, const char *path, const struct str *line)
{
    char *text;
    size_t size, end;
    TRY(fs_read_file(path, 0, &text, &size));
    for (end = size; end > 0 && text[end - 1] != '\n';)
        end--;
    mem_free(text);
    if (end < size && ftruncate(fd, (off_t)end) != 0)
        return ERR(E_IO, "%s: cannot cut: %s", path, strerror(errno));
    TRY(fs_pwrite(fd, line->s, line->len, (int64_t)end, path));
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

/* What there is room for, in whole characters: half of one would be no text in JSON. */
static int copy_text(char *to, size_t size, const json_t *o, const char *key)
{
    const char *s;
    TRY(json_str(o, key, "", &s));
    size_t n = strlen(s);
    if (n >= size)
        n = utf8_boundary(s, size - 1);
    memcpy(to, s, n);
    to[n] = '\0';
    return OK;
}

static int count_of(uint64_t *to, const json_t *o, const char *key)
{
    int64_t n;
    TRY(json_i64(o, key, 0, &n));
    if (n < 0)
        return ERR(E_DATA, "%s is negative", key);
    *to = (uint64_t)n;
    return OK;
}

/* Events that were written before there was an order have none. */
static int event_of(struct event *e, const json_t *o)
{
    static const char *const needed[] = {"step",  "attempt",      "kind",     "action",
                                         "value", "sample_first", "sample_n", "text"};
    for (size_t i = 0; i < sizeof needed / sizeof *needed; i++)
        if (json_object_get(o, needed[i]) == NULL)
            return ERR(E_DATA, "%s is missing", needed[i]);
    *e = (struct event){0};
    TRY(json_i64(o, "step", 0, &e->step));
    TRY(json_i64(o, "attempt", 0, &e->attempt));
    TRY(count_of(&e->sample_first, o, "sample_first"));
    TRY(count_of(&e->sample_n, o, "sample_n"));
    TRY(count_of(&e->order_seed, o, "order_seed"));
    TRY(count_of(&e->order_n, o, "order_n"));
    TRY(json_f64(o, "value", NAN, &e->value));
    if (e->sample_first > INT64_MAX - e->sample_n)
        return ERR(E_DATA, "its samples end beyond any count");
    TRY(copy_text(e->kind, sizeof e->kind, o, "kind"));
    TRY(copy_text(e->action, sizeof e->action, o, "action"));
    return copy_text(e->text, sizeof e->text, o, "text");
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

static size_t count_lines(const char *text, size_t size)
{
    size_t n = 0;
    for (size_t i = 0; i < size; i++)
        n += text[i] == '\n';
    return n;
}

int events_read_file(const char *path, struct event **list, size_t *n, size_t *n_bad)
{
    char *text;
    const char *end;
    size_t size, bad = 0;
    *list = NULL;
    *n = 0;
    TRY(fs_read_file(path, FILE_MAX_BYTES, &text, &size));
    int rc = mem_alloc(list, count_lines(text, size) + 1, sizeof **list, "events");
    for (const char *at = text; rc == OK && at < text + size; at = end + 1) {
        end = memchr(at, '\n', (size_t)(text + size - at));
        if (end == NULL)
            break;
        if (parse_line(&(*list)[*n], at, (size_t)(end - at)))
            ++*n;
        else
            bad++;
    }
    mem_free(text);
    if (n_bad != NULL)
        *n_bad = bad;
    return rc;
}

int events_read(const char *run_dir, struct event **list, size_t *n, size_t *n_bad)
{
    char path[FS_PATH_MAX];
    *list = NULL;
    *n = 0;
    if (n_bad != NULL)
        *n_bad = 0;
    TRY(events_path(path, run_dir));
    return fs_exists(path) ? events_read_file(path, list, n, n_bad) : OK;
}
