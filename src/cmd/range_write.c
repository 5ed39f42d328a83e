#include "range.h"

#include "base/err.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "conf/config_edit.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { FILE_MAX_BYTES = 1 << 20 };

/* A text on its way: each edit takes the place of the one before. */
static int edit(char **text, const struct job *j, const char *key, const char *value)
{
    char *next;
    TRY(conf_edit(*text, j->file, conf_find(key), value, &next));
    mem_free(*text);
    *text = next;
    return OK;
}

static int edit_overrides(char **text, const struct job *j)
{
    char value[CONF_VALUE_MAX];
    for (int i = 0; i < CONF_N_KEYS; i++) {
        const struct conf_key *k = &CONF_KEYS[i];
        if (strcmp(j->origins.text[i], "command line") == 0)
            TRY(edit(text, j, k->name, conf_value_text(k, &j->conf, value, sizeof value)));
    }
    return OK;
}

/* The job with a rate that was found at a batch; base: scaling.base_batch has to say so. */
static int make_text(char **text, const struct job *j, double lr, int64_t batch, bool base)
{
    char value[32];
    size_t n;
    TRY(fs_read_file(j->file, FILE_MAX_BYTES, text, &n));
    TRY(edit_overrides(text, j));
    TRY(edit(text, j, "optimizer.lr", range_lr_text(value, sizeof value, lr)));
    snprintf(value, sizeof value, "%" PRId64, batch);
    return base ? edit(text, j, "scaling.base_batch", value) : OK;
}

int range_check_folder(const char *option, const char *path)
{
    char folder[FS_PATH_MAX] = ".";
    const char *slash = strrchr(path, '/');
    if (slash != NULL)
        snprintf(folder, sizeof folder, "%.*s", slash == path ? 1 : (int)(slash - path), path);
    if (access(folder, W_OK) != 0)
        return ERR(E_USAGE, "%s %s: the folder %s is not there or cannot be written", option, path,
                   folder);
    return OK;
}

int range_check_write(const struct job *j, const struct range_request *q)
{
    char *text = NULL;
    if (q->write == NULL)
        return OK;
    if (fs_exists(q->write) && !q->force)
        return ERR(E_USAGE, "--write %s: the file is there already; --force replaces it", q->write);
    TRY(range_check_folder("--write", q->write));
    int rc = make_text(&text, j, j->conf.optimizer.lr, j->conf.batch.global, true);
    mem_free(text);
    return rc == OK ? OK : err_context(rc, "--write");
}

int range_write_job(const struct range_results *r, const struct job *j, const char *path)
{
    const struct range_row *row = &r->row[r->chosen];
    bool scaled = strcmp(j->conf.scaling.rule, "none") != 0;
    bool base = r->n > 1 || scaled || row->batch != j->conf.batch.global;
    char *text = NULL, lr[32];
    int rc = make_text(&text, j, row->says.valley, row->batch, base);
    if (rc == OK)
        rc = fs_write_file(path, text, strlen(text));
    mem_free(text);
    TRY(rc);
    range_lr_text(lr, sizeof lr, row->says.valley);
    if (base)
        log_info("written         %s: optimizer.lr %s, scaling.base_batch %" PRId64, path, lr,
                 row->batch);
    else
        log_info("written         %s: optimizer.lr %s", path, lr);
    if (!scaled && row->batch != j->conf.batch.global)
        log_warn("scaling.rule is none, so that optimizer.lr counts at batch.global %" PRId64
                 " too, and it was found at %" PRId64 ": set scaling.rule (`carat help scaling`)",
                 j->conf.batch.global, row->batch);
    return OK;
}
