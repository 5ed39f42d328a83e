#include "range.h"

#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "cmd/cmd.h"
#include "par/agree.h"
#include "train/stop.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* With fewer steps what is left out leaves no curve. */
enum { LEAST_STEPS = 10, MOST_STEPS = 100000, LINES = 10 };

static int parse_batches(struct range_results *r, const struct range_request *q, int64_t global)
{
    const char *at = q->batches;
    r->n = 0;
    if (at == NULL) {
        r->row[r->n++].batch = global;
        return OK;
    }
    for (bool more = true; more; at++) {
        char one[32];
        size_t len = strcspn(at, ",");
        snprintf(one, sizeof one, "%.*s", (int)len, at);
        int64_t batch;
        if (!parse_i64(one, &batch) || batch < 1 || batch > 1 << 24)
            return ERR(E_USAGE, "--batch %s: batches of 1 to 16777216 sequences, such as 16,64,256",
                       q->batches);
        for (int i = 0; i < r->n; i++)
            if (r->row[i].batch == batch)
                return ERR(E_USAGE, "--batch %s: %" PRId64 " is there twice", q->batches, batch);
        if (r->n == RANGE_MAX_BATCHES)
            return ERR(E_USAGE, "--batch: at most %d batches", RANGE_MAX_BATCHES);
        r->row[r->n++].batch = batch;
        at += len;
        more = *at == ',';
    }
    return OK;
}

static int check(struct range_request *q)
{
    const struct range_ramp *p = &q->ramp;
    q->ramp.linear = strcmp(q->shape, "linear") == 0;
    if (!q->ramp.linear && strcmp(q->shape, "exponential") != 0)
        return ERR(E_USAGE, "--ramp %s: exponential or linear", q->shape);
    if (!isfinite(p->from) || !isfinite(p->to) || p->from <= 0 || p->to <= p->from)
        return ERR(E_USAGE, "--from %g --to %g: rates above 0, the first below the last", p->from,
                   p->to);
    if (p->steps < LEAST_STEPS || p->steps > MOST_STEPS)
        return ERR(E_USAGE, "--steps %" PRId64 ": %d to %d", p->steps, LEAST_STEPS, MOST_STEPS);
    if (q->force && q->write == NULL)
        return ERR(E_USAGE, "--force goes with --write");
    return OK;
}

static int check_outputs(const struct job *j, const struct range_request *q)
{
    TRY(range_check_figure(q));
    return range_check_write(j, q);
}

static void show_step(void *ctx, const struct range_curve *c)
{
    const struct range_row *row = ctx;
    char line[160];
    int64_t i = c->n - 1, every = (c->ramp.steps + LINES - 1) / LINES;
    snprintf(line, sizeof line,
             "batch %6" PRId64 "    step %5" PRId64 "/%" PRId64 "  lr %.2e  loss %.4f  smoothed "
             "%.4f",
             row->batch, c->n, c->ramp.steps, c->lr[i], c->loss[i], c->smooth[i]);
    if (log_is_terminal())
        log_status("%s", line);
    else if (c->n % every == 0 || c->end != RANGE_WHOLE)
        log_info("%s", line);
}

/* Which weights, and why those. */
static void say_start(const struct trainer *t, const struct job *j, bool resume)
{
    const struct config *c = &j->conf;
    int64_t *step = NULL;
    size_t n = 0;
    if (t->comm->rank != 0)
        return;
    if (resume) {
        log_info("weights         %s, its newest checkpoint, step %" PRId64 ": --resume was given",
                 c->run.dir, t->at.step);
        if (t->monitor.back.rate != 1)
            log_info("                which went back before: rates are those of optimizer.lr, of "
                     "which its steps take %.3g",
                     t->monitor.back.rate);
        return;
    }
    if (*c->model.init != '\0')
        log_info("weights         %s, as model.init says", c->model.init);
    else
        log_info("weights         random, run.seed %" PRId64, c->run.seed);
    if (ckpt_list(c->run.dir, &step, &n, NULL) == OK && n > 0)
        log_info("                not those of %s, which is at step %" PRId64
                 ": --resume starts from it",
                 c->run.dir, step[0]);
    err_clear();
    mem_free(step);
}

static int test_batch(struct range_row *row, const struct job *j, const struct comm *c,
                      const struct range_request *q, bool first)
{
    static struct trainer t;
    struct config conf;
    range_config(&conf, &j->conf, row->batch);
    int rc = conf_check(&conf);
    if (rc == OK)
        rc = range_curve_init(&row->curve, &q->ramp);
    TRY(agree(c, rc));
    log_quiet(true);
    rc = trainer_init_apart(&t, &conf, &j->spec, c, q->resume ? START_NEWEST : START_ANEW);
    log_quiet(false);
    TRY(rc);
    if (first)
        say_start(&t, j, q->resume);
    rc = range_test(&row->curve, &t, show_step, row);
    log_status_end();
    trainer_release(&t);
    if (rc == OK)
        range_suggest(&row->says, &row->curve);
    return rc;
}

/* Which row a job with this batch takes its rate from. */
static void conclude(struct range_results *r, double global)
{
    double batch[RANGE_MAX_BATCHES], lr[RANGE_MAX_BATCHES], nearest = INFINITY;
    r->chosen = -1;
    for (int i = 0; i < r->n; i++) {
        batch[i] = (double)r->row[i].batch;
        lr[i] = r->row[i].says.valley;
        double away = fabs(log(batch[i] / global));
        if (isfinite(lr[i]) && away < nearest) {
            nearest = away;
            r->chosen = i;
        }
    }
    r->exponent = range_exponent(batch, lr, r->n);
}

static int show(const struct range_results *r, const struct job *j, const struct range_request *q)
{
    if (q->json)
        TRY(range_print_json(r));
    else
        range_print(r, j);
    if (q->figure != NULL)
        TRY(range_draw(r, j, q->figure));
    TRY(range_verdict(r));
    return q->write != NULL ? range_write_job(r, j, q->write) : OK;
}

static void say_plan(const struct range_results *r, const struct job *j,
                     const struct range_request *q)
{
    const struct config *c = &j->conf;
    struct str batches = {0};
    char params[32];
    for (int i = 0; i < r->n; i++)
        str_addf(&batches, "%s%" PRId64, i > 0 ? ", " : "", r->row[i].batch);
    log_info("job             %s: %s parameters, %s, clip %g, weight decay %g", j->name,
             fmt_si(params, sizeof params, spec_n_params(&j->spec)), c->optimizer.name,
             c->optimizer.clip_norm, c->optimizer.weight_decay);
    log_info("ramp            %g to %g, %s, %" PRId64 " steps of %s sequences of %" PRId64,
             q->ramp.from, q->ramp.to, q->shape, q->ramp.steps, batches.s, c->batch.seq_len);
    str_release(&batches);
}

static int run(struct range_results *r, const struct job *j, const struct comm *c,
               const struct range_request *q)
{
    TRY(parse_batches(r, q, j->conf.batch.global));
    TRY(agree(c, c->rank == 0 ? check_outputs(j, q) : OK));
    say_plan(r, j, q);
    for (int i = 0; i < r->n; i++)
        TRY(test_batch(&r->row[i], j, c, q, i == 0));
    conclude(r, (double)j->conf.batch.global);
    return agree(c, c->rank == 0 ? show(r, j, q) : OK);
}

static int range(const struct range_request *q, int argc, char **argv)
{
    static struct job j;
    static struct range_results results;
    struct comm c;
    stop_install();
    TRY(comm_init(&c, &argc, &argv));
    log_to_stderr(q->json);
    int rc = agree(&c, job_load(&j, argc, argv));
    if (rc == OK && !j.print_only)
        rc = run(&results, &j, &c, q);
    for (int i = 0; i < RANGE_MAX_BATCHES; i++)
        range_curve_release(&results.row[i].curve);
    comm_end(&c);
    return rc;
}

int cmd_range(int argc, char **argv)
{
    struct range_request q = {.ramp = RANGE_DEFAULT, .shape = "exponential"};
    const struct opt table[] = {
        {"from", 0, OPT_F64, &q.ramp.from, "LR", "first rate (default 1e-5)"},
        {"to", 0, OPT_F64, &q.ramp.to, "LR", "rate that the ramp goes to (default 10)"},
        {"steps", 'n', OPT_INT, &q.ramp.steps, "N", "steps of the ramp (default 100)"},
        {"ramp", 0, OPT_STR, &q.shape, "SHAPE", "exponential (default) or linear"},
        {"batch", 0, OPT_STR, &q.batches, "16,64,256",
         "test each of these batches (default batch.global), and fit lr ~ B^x"},
        {"resume", 0, OPT_FLAG, &q.resume, NULL,
         "start from the newest checkpoint of run.dir (default: as a new run does)"},
        {"figure", 0, OPT_STR, &q.figure, "FILE.svg", "draw the curves (needs gnuplot)"},
        {"write", 0, OPT_STR, &q.write, "JOB.yaml",
         "write the job with optimizer.lr set to the suggestion, comments kept"},
        {"force", 0, OPT_FLAG, &q.force, NULL, "let --write replace a file"},
        {"json", 0, OPT_FLAG, &q.json, NULL, "print JSON"},
        JOB_OPTIONS,
        {"help", 'h', OPT_FLAG, &q.help, NULL, "this text"},
    };
    enum { N = sizeof table / sizeof *table };
    TRY(opts_parse(table, N, &argc, argv));
    if (q.help) {
        opts_help(stdout, "carat range JOB [key=value …] [options]",
                  "Learning-rate range test: trains with a rate that grows from step to step, "
                  "until the smoothed loss is above 4 times its best, and suggests rates: valley "
                  "(in the middle of the longest fall of the loss; the one to take), steepest, "
                  "and a tenth of the rate of the least loss. Without warmup, schedule and "
                  "scaling rule; clipping and the rest as in the job. Each batch starts from the "
                  "same weights. Nothing is written into the run folder.",
                  table, N, "mpirun -n 2 carat range jobs/quickstart.yaml --batch 8,32,128");
        return OK;
    }
    TRY(check(&q));
    return range(&q, argc, argv);
}
