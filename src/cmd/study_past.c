/* carat study JOB --past */
#include "study_modes.h"

#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/plain.h"
#include "study/length.h"
#include "study/list.h"
#include "study/past.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { MOST_BATCHES = 64 };

static void show_guess(struct str *text, const struct prior *law, const struct config *c,
                       double batch, double tokens, double params)
{
    const double at[PRIOR_N] = {batch * (double)c->batch.seq_len, tokens, params};
    struct prior_guess g = prior_guess(law, at);
    str_addf(text, "  %8.0f %10.3g %10.3g %10.3g%s\n", batch, g.lr, g.lr / g.factor,
             g.lr * g.factor, g.outside ? "  outside of the data" : "");
}

/* What the law says at the batches that a study of the job would look at. */
static int show_guesses(struct str *text, const struct past *p, const struct config *c)
{
    struct prior law;
    double batch[MOST_BATCHES], tokens, params;
    char of[32], with[32];
    int n;
    if (!past_law(&law, p, c))
        return OK;
    TRY(study_batches(batch, &n, MOST_BATCHES, c));
    TRY(study_length(&tokens, c));
    TRY(past_params(&params, c));
    str_addf(text, "this job        %s tokens, %s parameters\n  %8s %10s %10s %10s\n",
             fmt_si(of, sizeof of, tokens), fmt_si(with, sizeof with, params), "batch", "lr*",
             "lower", "upper");
    for (int i = 0; i < n; i++)
        show_guess(text, &law, c, batch[i], tokens, params);
    str_add(text,
            "lower and upper are a standard error away; look for the best rate between them\n");
    return OK;
}

static int show(const struct past *p, const struct config *c)
{
    struct str text = {0};
    past_show(&text, p, c);
    int rc = show_guesses(&text, p, c);
    if (rc == OK)
        log_info("%.*s", (int)text.len - 1, text.s);
    str_release(&text);
    return rc;
}

static json_t *guess_json(const struct prior *law, const struct config *c, double batch,
                          double tokens, double params)
{
    const double at[PRIOR_N] = {batch * (double)c->batch.seq_len, tokens, params};
    struct prior_guess g = prior_guess(law, at);
    return json_pack("{s:f, s:f, s:f, s:b}", "batch", batch, "lr", g.lr, "factor", g.factor,
                     "outside", g.outside);
}

static json_t *law_json(const struct prior *law)
{
    static const char *const name[PRIOR_N] = {"batch", "tokens", "params"};
    json_t *o = json_object();
    for (int k = 0; k < PRIOR_N; k++)
        json_object_set_new(o, name[k],
                            json_pack("{s:f, s:f, s:b}", "exponent", law->exponent[k].value,
                                      "error", law->exponent[k].error, "assumed",
                                      law->exponent[k].assumed));
    json_object_set_new(o, "scatter", json_real(law->scatter));
    return o;
}

static int print(const struct past *p, const struct config *c)
{
    struct prior law;
    double batch[MOST_BATCHES], tokens, params;
    int n;
    json_t *root = past_json(p), *guesses = json_array();
    int rc = study_batches(batch, &n, MOST_BATCHES, c);
    rc = rc != OK ? rc : study_length(&tokens, c);
    rc = rc != OK ? rc : past_params(&params, c);
    bool any = rc == OK && past_law(&law, p, c);
    for (int i = 0; any && i < n; i++)
        json_array_append_new(guesses, guess_json(&law, c, batch[i], tokens, params));
    json_object_set_new(root, "law", any ? law_json(&law) : json_null());
    json_object_set_new(root, "job", guesses);
    char *text = rc == OK ? json_dumps(root, JSON_INDENT(2)) : NULL;
    if (text != NULL)
        plain_print(stdout, "%s\n", text);
    free(text);
    json_decref(root);
    return rc;
}

int study_past(const struct study_request *q, int argc, char **argv)
{
    static struct job job;
    struct past p;
    if (q->plan || q->write != NULL || q->force)
        return ERR(E_USAGE, "--past looks at what is there; it goes with --json alone");
    TRY(job_load(&job, argc, argv));
    if (job.print_only)
        return OK;
    TRY(past_gather(&p, &job.conf, NULL));
    int rc = q->json ? print(&p, &job.conf) : show(&p, &job.conf);
    past_release(&p);
    return rc;
}
