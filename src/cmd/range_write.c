#include "range.h"

#include "base/err.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* The job with a rate that was found at a batch; base: scaling.base_batch has to say so. */
static int make_text(char **text, const struct job *j, double lr, int64_t batch, bool base)
{
    char value[32];
    TRY(job_text(text, j));
    TRY(job_text_set(text, j, "optimizer.lr", range_lr_text(value, sizeof value, lr)));
    snprintf(value, sizeof value, "%" PRId64, batch);
    return base ? job_text_set(text, j, "scaling.base_batch", value) : OK;
}

int range_check_write(const struct job *j, const struct range_request *q)
{
    char *text = NULL;
    if (q->write == NULL)
        return OK;
    TRY(job_check_output("--write", q->write, q->force));
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
