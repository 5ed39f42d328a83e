/* A study's folder: made, opened, and recognised. */
#include "folder.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/str.h"
#include "conf/config_file.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Keys in which a worker may differ from the study: none of them changes a trial that is there. */
static const char *const FREE_KEYS[] = {"search.trials",  "study.ranks",      "study.stale",
                                        "study.attempts", "study.keep",       "study.dir",
                                        "study.budget",   "study.core_hours", "study.past"};

static bool is_free(const char *key)
{
    for (size_t i = 0; i < sizeof FREE_KEYS / sizeof FREE_KEYS[0]; i++)
        if (strcmp(FREE_KEYS[i], key) == 0)
            return true;
    return false;
}

static int card_path(char *path, const char *dir)
{
    return fs_join(path, dir, "study.json");
}

bool study_is_folder(const char *dir)
{
    char path[FS_PATH_MAX];
    return card_path(path, dir) == OK && fs_exists(path);
}

static json_t *card_of(const char *kind, const char *job)
{
    char stamp[32];
    json_t *o = json_object();
    json_object_set_new(o, "format", json_integer(STUDY_FORMAT));
    json_object_set_new(o, "kind", json_string(kind));
    json_object_set_new(o, "created", json_string(clock_stamp(stamp, sizeof stamp)));
    json_object_set_new(o, "job", json_string(job));
    return o;
}

static int copy_job(struct study *s, const char *job)
{
    TRY(mem_alloc(&s->job, strlen(job) + 1, 1, "job"));
    memcpy(s->job, job, strlen(job));
    return OK;
}

static int take_card(struct study *s, const json_t *o)
{
    int64_t format;
    const char *kind, *job;
    TRY(json_i64(o, "format", -1, &format));
    if (format != STUDY_FORMAT)
        return ERR(E_DATA,
                   "a study of format %lld, and this program reads %d: use the program that began "
                   "it, or another study.dir",
                   (long long)format, STUDY_FORMAT);
    TRY(json_str(o, "kind", "", &kind));
    TRY(json_str(o, "job", "", &job));
    if (*kind == '\0' || *job == '\0')
        return ERR(E_DATA, "its kind or its job is missing");
    snprintf(s->kind, sizeof s->kind, "%s", kind);
    return copy_job(s, job);
}

static int read_card(struct study *s)
{
    char path[FS_PATH_MAX];
    json_t *o;
    TRY(card_path(path, s->dir));
    if (!fs_exists(path))
        return ERR(E_DATA, "%s: the folder holds no study.json, so it is no study", s->dir);
    TRY(json_read_file(path, &o));
    int rc = take_card(s, o);
    json_decref(o);
    return rc == OK ? OK : err_context(rc, "%s", path);
}

static void name_difference(void *ctx, const struct conf_key *k, const char *before,
                            const char *now)
{
    struct str *out = ctx;
    if (!is_free(k->name))
        str_addf(out, "%s%s was %s and is %s", out->len > 0 ? "; " : "", k->name,
                 *before != '\0' ? before : "empty", *now != '\0' ? now : "empty");
}

static int compare_jobs(const struct study *s, const char *job)
{
    static struct config before, now;
    static struct conf_origins origins;
    struct str different = {0};
    TRY(conf_load_text(&before, &origins, s->job, "study.json"));
    TRY(conf_load_text(&now, &origins, job, "job"));
    conf_diff(&before, &now, name_difference, &different);
    int rc = different.len == 0
                 ? OK
                 : ERR(E_CONFIG,
                       "the folder %s holds another study: %s; choose another study.dir, "
                       "or set these back",
                       s->dir, different.s);
    str_release(&different);
    return rc;
}

static int make_folders(const char *dir)
{
    char path[FS_PATH_MAX];
    TRY(fs_join(path, dir, "trials"));
    return fs_mkdirs(path);
}

static int begin(struct study *s, const char *dir, double stale_s, int attempts)
{
    memset(s, 0, sizeof *s);
    s->stale_s = stale_s;
    s->attempts = attempts;
    TRY(fs_join(s->dir, "", dir));
    return mem_alloc(&s->known, 1, sizeof *s->known, "study");
}

static int open_folder(struct study *s, const char *kind, const char *job)
{
    char path[FS_PATH_MAX];
    TRY(make_folders(s->dir));
    TRY(card_path(path, s->dir));
    if (!fs_exists(path)) {
        bool taken;
        json_t *card = card_of(kind, job);
        int made = publish_once(path, card, &taken);
        json_decref(card);
        TRY(made);
    }
    int rc = read_card(s);
    if (rc == E_DATA) /* the job names the wrong folder */
        return err_context(E_CONFIG, "study.dir");
    TRY(rc);
    if (strcmp(s->kind, kind) != 0)
        return ERR(E_CONFIG, "the folder %s holds a %s and not a %s: choose another study.dir",
                   s->dir, s->kind, kind);
    return compare_jobs(s, job);
}

int study_open(struct study *s, const char *dir, const char *kind, const char *job, double stale_s,
               int attempts)
{
    int rc = begin(s, dir, stale_s, attempts);
    if (rc == OK)
        rc = open_folder(s, kind, job);
    if (rc == OK)
        remove_leftovers(s);
    else
        study_close(s);
    return rc;
}

int study_read(struct study *s, const char *dir)
{
    int rc = begin(s, dir, 120, 3);
    if (rc == OK)
        rc = read_card(s);
    if (rc != OK)
        study_close(s);
    return rc;
}

void study_close(struct study *s)
{
    folder_free(s->known);
    MEM_FREE(s->job);
    s->known = NULL;
}
