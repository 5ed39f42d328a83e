#include "base/err.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"
#include "data/spool.h"
#include "prepare.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define COPY_BYTES ((size_t)1 << 18)

static bool is_jsonl(const char *path)
{
    static const char *const ends[] = {".jsonl", ".ndjson", ".jsonl.gz", ".ndjson.gz"};
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++)
        if (str_ends(path, ends[i]))
            return true;
    return false;
}

static int copy_text(char **out, const char *text)
{
    size_t n = strlen(text) + 1;
    TRY(mem_alloc(out, n, 1, "source"));
    memcpy(*out, text, n);
    return OK;
}

static int reserve_one(struct source_list *l)
{
    if (l->n < l->cap)
        return OK;
    size_t cap = l->cap == 0 ? 16 : 2 * l->cap;
    struct source *more;
    TRY(mem_alloc(&more, cap, sizeof *more, "sources"));
    if (l->n > 0)
        memcpy(more, l->item, l->n * sizeof *more);
    mem_free(l->item);
    l->item = more;
    l->cap = cap;
    return OK;
}

static int add_source(struct source_list *l, const char *path, int64_t bytes, bool jsonl)
{
    struct source s = {.bytes = bytes, .jsonl = jsonl, .fd = -1};
    TRY(reserve_one(l));
    TRY(copy_text(&s.path, path));
    l->item[l->n++] = s;
    return OK;
}

/* A file in a folder joins if it is text; what is none is passed over, since folders hold all kinds
 * of files. */
static int add_found_file(struct source_list *l, const char *path, int64_t bytes, bool all_jsonl)
{
    bool text;
    struct source s = {.path = (char *)path, .fd = -1};
    if (bytes == 0) {
        l->n_empty++;
        return OK;
    }
    TRY(input_looks_like_text(&s, &text));
    if (text)
        return add_source(l, path, bytes, all_jsonl || is_jsonl(path));
    l->n_binary++;
    return l->example != NULL ? OK : copy_text(&l->example, path);
}

static int add_folder(struct source_list *l, const char *path, bool all_jsonl);

static int add_entry(struct source_list *l, const char *folder, const char *name, bool all_jsonl)
{
    char path[FS_PATH_MAX];
    struct stat st, target;
    if (name[0] == '.') {
        l->n_hidden += strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
        return OK;
    }
    TRY(fs_join(path, folder, name));
    if (lstat(path, &st) != 0 || stat(path, &target) != 0)
        return ERR(E_DATA, "%s: cannot be read: %s", path, strerror(errno));
    if (S_ISDIR(st.st_mode))
        return add_folder(l, path, all_jsonl);
    /* Links to folders could run in circles; devices and pipes are no texts. */
    if (!S_ISREG(target.st_mode))
        return OK;
    return add_found_file(l, path, (int64_t)target.st_size, all_jsonl);
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static int add_folder(struct source_list *l, const char *path, bool all_jsonl)
{
    struct dirent **entry;
    int rc = OK, n = scandir(path, &entry, NULL, by_name);
    if (n < 0)
        return ERR(E_DATA, "%s: cannot read the folder: %s", path, strerror(errno));
    for (int i = 0; i < n; i++) {
        if (rc == OK)
            rc = add_entry(l, path, entry[i]->d_name, all_jsonl);
        free(entry[i]);
    }
    free(entry);
    return rc;
}

static int add_path(struct source_list *l, const char *path, bool all_jsonl)
{
    struct stat st;
    if (stat(path, &st) != 0)
        return ERR(E_DATA, "%s: cannot be read: %s", path, strerror(errno));
    if (S_ISDIR(st.st_mode)) {
        size_t before = l->n;
        TRY(add_folder(l, path, all_jsonl));
        if (l->n == before)
            return ERR(E_DATA, "%s: the folder holds no text files", path);
        return OK;
    }
    if (S_ISREG(st.st_mode) && st.st_size == 0)
        return ERR(E_DATA, "%s: is empty", path);
    return add_source(l, path, S_ISREG(st.st_mode) ? (int64_t)st.st_size : -1,
                      all_jsonl || is_jsonl(path));
}

static int add_pattern(struct source_list *l, const char *pattern, bool all_jsonl)
{
    glob_t found;
    int rc = OK, error = glob(pattern, 0, NULL, &found);
    if (error == GLOB_NOMATCH)
        return ERR(E_DATA, "%s: no file has such a name", pattern);
    if (error != 0)
        return ERR(E_DATA, "%s: cannot look for such files", pattern);
    for (size_t i = 0; i < found.gl_pathc && rc == OK; i++)
        rc = add_path(l, found.gl_pathv[i], all_jsonl);
    globfree(&found);
    return rc;
}

int sources_collect(struct source_list *l, char **args, int n, bool all_jsonl)
{
    bool from_stdin = false;
    *l = (struct source_list){0};
    for (int i = 0; i < n; i++) {
        if (strcmp(args[i], "-") == 0) {
            if (from_stdin)
                return ERR(E_USAGE, "standard input (-) is given twice");
            from_stdin = true;
            TRY(add_source(l, "-", -1, all_jsonl));
        } else if (!fs_exists(args[i]) && strpbrk(args[i], "*?[") != NULL) {
            TRY(add_pattern(l, args[i], all_jsonl));
        } else {
            TRY(add_path(l, args[i], all_jsonl));
        }
    }
    return OK;
}

static int copy_all(struct spool *to, int from, const char *name)
{
    char *buf;
    ssize_t k = 1;
    int rc = mem_alloc(&buf, COPY_BYTES, 1, "copy of standard input");
    while (rc == OK && k != 0) {
        k = read(from, buf, COPY_BYTES);
        if (stop_requested())
            rc = ERR(E_STOPPED, STOP_MESSAGE);
        else if (k < 0 && errno != EINTR)
            rc = ERR(E_DATA, "%s: cannot be read: %s", name, strerror(errno));
        else if (k > 0)
            rc = spool_add(to, buf, (size_t)k);
    }
    mem_free(buf);
    return rc == OK ? spool_flush(to) : rc;
}

int source_spool(struct source *s, const char *near)
{
    struct spool spool;
    int rc, from = -1;
    TRY_OUT(spool_init(&spool, near));
    TRY_OUT(source_descriptor(s, &from));
    TRY_OUT(copy_all(&spool, from, s->path));
    s->bytes = spool_bytes(&spool);
    s->fd = fcntl(spool.fd, F_DUPFD_CLOEXEC, 0);
    if (s->fd < 0)
        rc = ERR(E_IO, "%s: cannot keep the copy open: %s", s->path, strerror(errno));
out:
    if (from >= 0)
        close(from);
    spool_release(&spool);
    return rc;
}

void sources_release(struct source_list *l)
{
    for (size_t i = 0; i < l->n; i++) {
        if (l->item[i].fd >= 0)
            close(l->item[i].fd);
        mem_free(l->item[i].path);
    }
    mem_free(l->item);
    mem_free(l->example);
    *l = (struct source_list){0};
}

int64_t sources_bytes(const struct source_list *l)
{
    int64_t sum = 0;
    for (size_t i = 0; i < l->n; i++) {
        if (l->item[i].bytes < 0)
            return -1;
        sum += l->item[i].bytes;
    }
    return sum;
}
