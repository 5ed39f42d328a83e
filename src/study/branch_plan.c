/* Which branches there are. */
#include "base/err.h"
#include "base/mem.h"
#include "conf/config_file.h"
#include "study/branch.h"
#include "study/length.h"
#include "study/list.h"
#include "study/space.h"
#include "train/ckpt.h"
#include "train/scaling.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { FEW = 4 /* checkpoints that are chosen by themselves */, VALIDATIONS = 4 };
static const double SHARE = 10; /* percent of the run that a branch takes when nothing is said */
static const double MOST_FACTOR = 4096, LEAST_FACTOR = 1.0 / 4096;

static int branch_length(double *tokens, const struct config *job)
{
    struct amount a = job->study.branch;
    if (a.unit == UNIT_NONE)
        a = (struct amount){SHARE, UNIT_PERCENT};
    TRY(study_amount(tokens, job, a));
    return *tokens > 0 ? OK : ERR(E_CONFIG, "study.branch is 0; a branch needs a length");
}

/* ---- checkpoints ---- */

static int tokens_of(double *tokens, const struct config *job, int64_t step)
{
    char path[FS_PATH_MAX];
    struct ckpt_meta m = {0};
    TRY(ckpt_path(path, job->run.dir, step));
    if (!fs_exists(path))
        return ERR(E_CONFIG, "study.from: %s holds no checkpoint of step %" PRId64, job->run.dir,
                   step);
    TRY(ckpt_read_meta(path, &m));
    *tokens = m.sched_tokens;
    ckpt_meta_release(&m);
    return OK;
}

/* Those early enough for a branch, at most `most` of them, evenly, the first and the last in any
 * case. */
static int choose_points(struct branch_point *p, int *n, const struct config *job, double last,
                         double most_tokens)
{
    int64_t *step = NULL;
    size_t n_all = 0;
    int m = 0;
    TRY(ckpt_list(job->run.dir, &step, &n_all, NULL));
    int rc = OK;
    for (size_t i = n_all; i-- > 0 && rc == OK;) {
        double tokens;
        rc = tokens_of(&tokens, job, step[i]);
        if (rc == OK && tokens <= last && m < BRANCH_MOST_POINTS)
            p[m++] = (struct branch_point){.step = step[i], .tokens = tokens};
    }
    mem_free(step);
    TRY(rc);
    if (n_all == 0)
        return ERR(E_CONFIG,
                   "%s holds no checkpoint: branches start from those of a run; name its folder, "
                   "or train the job first, with checkpoint.every",
                   job->run.dir);
    if (m == 0)
        return ERR(E_CONFIG,
                   "%s holds %zu checkpoint%s, and none of them early enough: a branch of %.4g "
                   "tokens has to end within the run's %.4g; set study.branch shorter, or keep "
                   "checkpoints by checkpoint.every and checkpoint.keep_every",
                   job->run.dir, n_all, n_all == 1 ? "" : "s", most_tokens - last, most_tokens);
    *n = m < FEW ? m : FEW;
    for (int i = 0; i < *n && m > FEW; i++)
        p[i] = p[i * (m - 1) / (FEW - 1)];
    return OK;
}

/* "1000@2048000" or "1000". */
static int take_point(struct branch_point *p, const char *word)
{
    char step[32];
    size_t n = strcspn(word, "@");
    snprintf(step, sizeof step, "%.*s", (int)n, word);
    p->tokens = NAN;
    if (!parse_i64(step, &p->step) || p->step < 0 ||
        (word[n] == '@' && !(parse_f64(word + n + 1, &p->tokens) && p->tokens >= 0)))
        return ERR(E_CONFIG, "study.from: \"%s\" is no step of a checkpoint", word);
    return OK;
}

static int read_points(struct branch_point *p, int *n, const char *text)
{
    *n = 0;
    for (const char *at = text + strspn(text, ", "); *at != '\0'; at += strspn(at, ", ")) {
        char word[64];
        size_t len = strcspn(at, ", ");
        if (*n == BRANCH_MOST_POINTS)
            return ERR(E_CONFIG, "study.from: more than %d checkpoints", BRANCH_MOST_POINTS);
        snprintf(word, sizeof word, "%.*s", (int)len, at);
        TRY(take_point(&p[*n], word));
        if (*n > 0 && p[*n].step <= p[*n - 1].step)
            return ERR(E_CONFIG, "study.from: sort its steps; %" PRId64 " comes after %" PRId64,
                       p[*n].step, p[*n - 1].step);
        at += len;
        (*n)++;
    }
    return OK;
}

static int write_points(struct config *job, const struct branch_point *p, int n)
{
    struct str text = {0};
    str_add(&text, "");
    for (int i = 0; i < n; i++)
        str_addf(&text, "%s%" PRId64 "@%.0f", i > 0 ? "," : "", p[i].step, p[i].tokens);
    int rc = text.len < sizeof job->study.from
                 ? OK
                 : ERR(E_CONFIG, "study.from: %d checkpoints are too many; choose some", n);
    if (rc == OK)
        memcpy(job->study.from, text.s, text.len + 1);
    str_release(&text);
    return rc;
}

int branch_resolve(struct config *job)
{
    struct branch_point p[BRANCH_MOST_POINTS];
    double length, run;
    int n;
    TRY(read_points(p, &n, job->study.from));
    TRY(branch_length(&length, job));
    TRY(study_length(&run, job));
    if (n == 0)
        TRY(choose_points(p, &n, job, run - length, run));
    for (int i = 0; i < n; i++)
        if (isnan(p[i].tokens))
            TRY(tokens_of(&p[i].tokens, job, p[i].step));
    return write_points(job, p, n);
}

/* ---- set-up ---- */

static int check_points(struct branch_setup *b)
{
    struct course k;
    TRY(study_course(&k, &b->conf));
    for (int i = 0; i < b->n_points; i++) {
        struct branch_point *p = &b->point[i];
        if (isnan(p->tokens))
            return ERR(E_CONFIG, "study.from: step %" PRId64 " has no tokens behind it", p->step);
        if (p->tokens + b->length > b->run_tokens)
            return ERR(E_CONFIG,
                       "study.from: a branch of %.4g tokens from step %" PRId64
                       " would end behind the run, at %.4g of %.4g tokens; set study.branch "
                       "shorter or leave the step out",
                       b->length, p->step, p->tokens + b->length, b->run_tokens);
        struct ramp_at at = {p->step, (int64_t)(p->tokens / (double)b->conf.batch.seq_len)};
        p->batch = ramp_batch(&k.ramp, at);
    }
    return OK;
}

/* The rule by which a branch's rate follows its batch: the run's, else what its optimizer is known
 * for. */
static const char *rule_of(const struct config *c)
{
    if (strcmp(c->scaling.rule, "none") != 0)
        return c->scaling.rule;
    return lrscale_is_adaptive(c->optimizer.name) ? "sqrt" : "linear";
}

/* The batch at which the run's optimizer.lr counts: everywhere without a rule. */
static int64_t base_of(const struct config *c, int64_t batch)
{
    if (strcmp(c->scaling.rule, "none") == 0)
        return batch;
    return c->scaling.base_batch > 0 ? c->scaling.base_batch : c->batch.global;
}

static int plan_branch(const struct branch_setup *b, int number, struct trial_plan *plan)
{
    const struct branch_point *p = &b->point[number / b->n_factors];
    double batch = b->factor[number % b->n_factors] * (double)p->batch;
    plan->parent = -1;
    plan->validations = VALIDATIONS;
    plan->parent_tokens = p->tokens;
    plan->most_tokens = p->tokens + b->length;
    snprintf(plan->role, sizeof plan->role, "branch");
    TRY(ckpt_path(plan->origin, b->conf.run.dir, p->step));
    TRY(plan_set_number(plan, "batch.global", batch));
    if (*b->conf.batch.ramp != '\0')
        TRY(plan_set(plan, "batch.ramp", ""));
    TRY(plan_set(plan, "scaling.rule", rule_of(&b->conf)));
    TRY(plan_set_number(plan, "scaling.base_batch", (double)base_of(&b->conf, p->batch)));
    return plan_in_tokens(plan, &b->conf);
}

/* Whether a plan is one that can run. */
static int check_plan(const struct branch_setup *b, int number)
{
    struct trial_plan plan = {0};
    struct config c = b->conf;
    struct scaling g;
    const struct branch_point *p = &b->point[number / b->n_factors];
    double batch = b->factor[number % b->n_factors] * (double)p->batch;
    int rc = batch == floor(batch) && batch >= 1
                 ? OK
                 : ERR(E_CONFIG, "%g sequences are no batch", batch);
    if (rc == OK)
        rc = plan_branch(b, number, &plan);
    for (int i = 0; i < plan.n_set && rc == OK; i++)
        rc = conf_set_text(conf_find(plan.set[i].key), &c, plan.set[i].value);
    rc = rc != OK ? rc : conf_check(&c);
    rc = rc != OK ? rc : derive_scaling(&g, &c);
    mem_free(plan.set);
    return rc == OK ? OK
                    : err_context(rc, "study.factors: %g times %" PRId64 " sequences",
                                  b->factor[number % b->n_factors], p->batch);
}

/* Long enough that all branches end at the same token: whole steps of the largest batch. */
static void round_length(struct branch_setup *b)
{
    int64_t most = 0;
    for (int i = 0; i < b->n_points; i++)
        most = b->point[i].batch > most ? b->point[i].batch : most;
    double step = b->factor[b->n_factors - 1] * (double)most * (double)b->conf.batch.seq_len;
    b->length = ceil(b->length / step) * step;
}

static int check_budget(const struct branch_setup *b)
{
    double all = b->length * b->n_points * b->n_factors;
    if (b->conf.study.budget.unit == UNIT_NONE || all <= b->conf.study.budget.value)
        return OK;
    return ERR(E_CONFIG,
               "study.budget is %.4g tokens, and %d branches of %.4g take %.4g; set study.branch "
               "shorter, or fewer of study.from and study.factors",
               b->conf.study.budget.value, b->n_points * b->n_factors, b->length, all);
}

int branch_init(struct branch_setup *b, const struct config *job)
{
    memset(b, 0, sizeof *b);
    b->conf = *job;
    TRY(study_list(b->factor, &b->n_factors, BRANCH_MOST_FACTORS, "study.factors",
                   job->study.factors, LEAST_FACTOR, MOST_FACTOR, false));
    if (b->n_factors < 2)
        return ERR(E_CONFIG, "study.factors: two batches at least are compared, such as 1,2,4,8");
    TRY(read_points(b->point, &b->n_points, job->study.from));
    if (b->n_points == 0)
        return ERR(E_CONFIG, "study.from names no checkpoint");
    TRY(branch_length(&b->length, job));
    TRY(study_length(&b->run_tokens, job));
    TRY(check_points(b));
    round_length(b);
    for (int i = 0; i < b->n_points * b->n_factors; i++)
        TRY(check_plan(b, i));
    return check_budget(b);
}

/* ---- planner ---- */

static int branch_open(void **self, const struct study *s, const struct config *job)
{
    struct branch_setup *b;
    (void)s;
    *self = NULL;
    TRY(mem_alloc(&b, 1, sizeof *b, "branches"));
    int rc = branch_init(b, job);
    if (rc == OK)
        *self = b;
    else
        mem_free(b);
    return rc;
}

static int branch_propose(void *self, const struct history *h, struct trial_plan *plan,
                          enum answer *answer)
{
    const struct branch_setup *b = self;
    *answer = h->n < b->n_points * b->n_factors ? ANSWER_GO : ANSWER_STOP;
    return *answer == ANSWER_GO ? plan_branch(b, h->n, plan) : OK;
}

static int branch_go_on(void *self, const struct history *h, int i, int k, enum answer *answer,
                        char *why)
{
    (void)self, (void)h, (void)i, (void)k, (void)why;
    *answer = ANSWER_GO;
    return OK;
}

static void branch_headline(void *self, const struct history *h, char *text, size_t n)
{
    struct branch_result r;
    int known = 0;
    branch_judge(&r, self, h);
    for (int i = 0; i < r.n; i++)
        known += r.row[i].verdict != BRANCH_OPEN;
    snprintf(text, n, "%d of %d checkpoints compared", known, r.n);
}

static void branch_close(void *self)
{
    mem_free(self);
}

const struct planner PLANNER_BRANCH = {.kind = "branch",
                                       .open = branch_open,
                                       .propose = branch_propose,
                                       .judge = branch_go_on,
                                       .headline = branch_headline,
                                       .close = branch_close};
