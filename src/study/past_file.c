/* The past as a study first saw it. */
#include "base/err.h"
#include "base/mem.h"
#include "io/json.h"
#include "study/past.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const COLUMN[PRIOR_N] = {"batch_tokens", "run_tokens", "params"};

static json_t *find_json(const struct past_find *f)
{
    json_t *o = json_pack("{s:s, s:f, s:f, s:i}", "from", f->from, "lr", f->point.lr, "log_error",
                          f->point.error, "rates", f->n_rates);
    for (int k = 0; k < PRIOR_N; k++)
        json_object_set_new(o, COLUMN[k], json_real(f->point.at[k]));
    return o;
}

json_t *past_json(const struct past *p)
{
    json_t *finds = json_array(), *skips = json_array();
    for (int i = 0; i < p->n; i++)
        json_array_append_new(finds, find_json(&p->find[i]));
    for (int i = 0; i < p->n_skip; i++)
        json_array_append_new(
            skips, json_pack("{s:s, s:s}", "from", p->skip[i].from, "why", p->skip[i].why));
    return json_pack("{s:i, s:s, s:o, s:o}", "format", STUDY_FORMAT, "folder", p->folder,
                     "best_rates", finds, "left_out", skips);
}

/* Whoever is first decides. */
static int publish(const struct past *p, const char *path)
{
    bool exists;
    json_t *o = past_json(p);
    char *text = json_dumps(o, JSON_INDENT(1));
    json_decref(o);
    if (text == NULL)
        return ERR(E_MEM, "no memory for the past as text");
    int rc = fs_write_new(path, text, strlen(text), &exists);
    free(text);
    return rc;
}

static int read_find(struct past *p, const json_t *o)
{
    struct past_find f = {0};
    const char *from;
    int64_t rates;
    TRY(json_str(o, "from", "", &from));
    TRY(json_f64(o, "lr", 0, &f.point.lr));
    TRY(json_f64(o, "log_error", 0, &f.point.error));
    TRY(json_i64(o, "rates", 0, &rates));
    for (int k = 0; k < PRIOR_N; k++) {
        TRY(json_f64(o, COLUMN[k], 0, &f.point.at[k]));
        if (!(f.point.at[k] > 0))
            return ERR(E_DATA, "%s is not above 0", COLUMN[k]);
    }
    if (!(f.point.lr > 0) || !(f.point.error > 0))
        return ERR(E_DATA, "lr or log_error is not above 0");
    f.n_rates = (int)rates;
    snprintf(f.from, sizeof f.from, "%s", from);
    return past_add_find(p, &f);
}

static int read_skip(struct past *p, const json_t *o)
{
    const char *from, *why;
    TRY(json_str(o, "from", "", &from));
    TRY(json_str(o, "why", "", &why));
    return past_add_skip(p, from, why);
}

static int read_past(struct past *p, const json_t *o)
{
    const char *folder;
    int64_t format;
    size_t i;
    json_t *row;
    TRY(json_i64(o, "format", 0, &format));
    if (format != STUDY_FORMAT)
        return ERR(E_DATA, "its format is %d, and this build reads %d", (int)format, STUDY_FORMAT);
    TRY(json_str(o, "folder", "", &folder));
    snprintf(p->folder, sizeof p->folder, "%s", folder);
    json_array_foreach(json_object_get(o, "best_rates"), i, row) TRY(read_find(p, row));
    json_array_foreach(json_object_get(o, "left_out"), i, row) TRY(read_skip(p, row));
    return OK;
}

static int read_file(struct past *p, const char *path)
{
    json_t *o;
    memset(p, 0, sizeof *p);
    TRY(json_read_file(path, &o));
    int rc = read_past(p, o);
    json_decref(o);
    return rc == OK ? OK : err_context(rc, "%s", path);
}

int past_of_study(struct past *p, const struct study *s, const struct config *job)
{
    char path[FS_PATH_MAX];
    if (s == NULL || !study_is_folder(s->dir))
        return past_gather(p, job, s != NULL ? s->dir : NULL);
    TRY(fs_join(path, s->dir, "prior.json"));
    if (!fs_exists(path)) {
        int rc = past_gather(p, job, s->dir);
        if (rc == OK)
            rc = publish(p, path);
        past_release(p);
        TRY(rc);
    }
    int rc = read_file(p, path);
    if (rc != OK)
        past_release(p);
    return rc;
}
