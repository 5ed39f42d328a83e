#include "study_frame.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/plain.h"
#include "par/agree.h"
#include "par/pin.h"
#include "study/worker.h"
#include "study_parts.h"
#include "train/ckpt.h"
#include "train/stop.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Between two looks at the folder for the table. */
#define REDRAW_S 1.0

struct frame {
    const struct study_command *command;
    const struct study_request *request;
    struct job job;
    struct comm world, group;
    struct crew crew;
    double begun_s;
    bool has_group; /* this rank is in a worker */
    /* Root of a worker. */
    struct study study;
    void *self;
    bool open;
    /* Root of the world. */
    struct study_view view;
    struct trial_speed speed;
    double drawn_s, first_s, first_tokens; /* first: when the work began */
    bool *told;                            /* [n_told]: trials whose end was said */
    int n_told;
};

/* ---- the folder ---- */

int study_folder(char *dir, const struct config *c, const char *kind)
{
    if (*c->study.dir != '\0')
        return fs_join(dir, "", c->study.dir);
    int n = snprintf(dir, FS_PATH_MAX, "%s-%s", c->run.dir, kind);
    return n < FS_PATH_MAX ? OK : ERR(E_CONFIG, "run.dir is too long");
}

/* What can be said against the job is said before a folder is made for it. */
static int try_planner(struct frame *f, const char *dir, char *job)
{
    const struct planner *p = f->command->planner;
    struct study blank = {.job = job};
    snprintf(blank.dir, sizeof blank.dir, "%s", dir);
    snprintf(blank.kind, sizeof blank.kind, "%s", p->kind);
    TRY(p->open(&f->self, &blank, &f->job.conf));
    p->close(f->self);
    f->self = NULL;
    return OK;
}

static int open_study(struct frame *f, const char *dir, char *job)
{
    const struct config *c = &f->job.conf;
    const struct planner *p = f->command->planner;
    TRY(study_open(&f->study, dir, p->kind, job, c->study.stale_s, (int)c->study.attempts));
    f->open = true;
    return p->open(&f->self, &f->study, c);
}

/* Under --plan a folder that is not there stays away. */
static int plan_study(struct frame *f, const char *dir, char *job)
{
    const struct planner *p = f->command->planner;
    if (study_is_folder(dir))
        return open_study(f, dir, job);
    snprintf(f->study.dir, sizeof f->study.dir, "%s", dir);
    snprintf(f->study.kind, sizeof f->study.kind, "%s", p->kind);
    return p->open(&f->self, &f->study, &f->job.conf);
}

static int open_root(struct frame *f)
{
    char dir[FS_PATH_MAX], *job = NULL;
    TRY(study_folder(dir, &f->job.conf, f->command->name));
    if (f->command->prepare != NULL)
        TRY(f->command->prepare(&f->job, dir));
    TRY(conf_text(&f->job.conf, NULL, &job));
    int rc = try_planner(f, dir, job);
    if (rc == OK)
        rc = f->request->plan ? plan_study(f, dir, job) : open_study(f, dir, job);
    mem_free(job);
    return rc;
}

static void close_root(struct frame *f)
{
    if (f->self != NULL)
        f->command->planner->close(f->self);
    if (f->open)
        study_close(&f->study);
    f->self = NULL;
    f->open = false;
    MEM_FREE(f->told);
}

static int refresh(struct frame *f)
{
    f->view.job = &f->job;
    f->view.study = &f->study;
    f->view.self = f->self;
    f->view.history = (struct history){0};
    return f->open ? study_history(&f->study, &f->view.history) : OK;
}

/* ---- ranks ---- */

/* Workers side by side. Each rank is bound once among all of the node: a worker's own ranks know
 * nothing of the others'. */
static int form_groups(struct frame *f)
{
    const struct config *c = &f->job.conf;
    struct crew *w = &f->crew;
    struct pin pin;
    char host[96];
    int size = f->world.size, per = c->study.ranks > 0 ? (int)c->study.ranks : size;
    if (per > size)
        return ERR(E_CONFIG,
                   "study.ranks is %d, and there are %d ranks: start more, or lower study.ranks",
                   per, size);
    *w = (struct crew){size / per, per, size % per};
    if (w->workers > 1)
        TRY(pin_ranks(&pin, &f->world, (int)c->parallel.threads,
                      strcmp(c->parallel.pin, "auto") == 0));
    TRY(agree(&f->world, comm_groups(&f->group, &f->world, per)));
    f->has_group = f->group.size > 0;
    snprintf(host, sizeof host, "%s (worker %d)", f->world.host, f->world.rank / per);
    if (w->workers > 1 && f->has_group)
        log_set_rank(f->group.rank, host);
    return OK;
}

/* Only the world's root has words for the terminal; a worker's root still writes its trials' logs.
 */
static bool is_root(const struct frame *f)
{
    return f->world.rank == 0;
}

static bool leads(const struct frame *f)
{
    return f->has_group && f->group.rank == 0;
}

/* ---- while it works ---- */

static void tell_ends(struct frame *f)
{
    const struct history *h = &f->view.history;
    if (h->n > f->n_told) {
        bool *told;
        if (mem_alloc(&told, (size_t)h->n, sizeof *told, "trials told") != OK) {
            err_clear();
            return;
        }
        if (f->n_told > 0)
            memcpy(told, f->told, (size_t)f->n_told * sizeof *told);
        mem_free(f->told);
        f->told = told;
        f->n_told = h->n;
    }
    for (int i = 0; i < h->n; i++)
        if (h->trial[i].state > TRIAL_RUNNING && !f->told[i]) {
            struct str line = {0};
            study_trial_line(&line, &h->trial[i]);
            if (f->drawn_s > 0) /* what had ended before this command is in the final table */
                log_console("%s", line.s);
            str_release(&line);
            f->told[i] = true;
        }
}

/* By what was trained since the work began, from where the first trial was resumed; before that, by
 * the plan's speed. */
static double seconds_left(struct frame *f, double all, double tokens)
{
    if (isnan(f->first_tokens)) {
        f->first_tokens = tokens;
        f->first_s = clock_now_s();
    }
    double done = tokens - f->first_tokens, left = fmax(all - tokens, 0);
    if (done > 0)
        return (clock_now_s() - f->first_s) / done * left;
    return left * f->speed.rank_s / (f->crew.ranks * f->crew.workers);
}

static void add_end(struct str *text, struct frame *f, const struct trial *now)
{
    struct foresight see = {0};
    struct study_counts c;
    struct str counts = {0};
    char time[32];
    const struct history *h = &f->view.history;
    f->command->foresee(&f->view, &see);
    study_count(&c, h);
    if (now != NULL && now->number < h->n)
        c.tokens += fmax(study_own_tokens(now) - study_own_tokens(&h->trial[now->number]), 0);
    study_counts_text(&counts, &c);
    str_add(text, counts.s);
    str_release(&counts);
    if (see.trials > 0)
        str_addf(text, " of %d trials", see.trials);
    double s = seconds_left(f, see.tokens, c.tokens);
    if (s > 0)
        str_addf(text, "; about %s left", fmt_duration(time, sizeof time, s));
}

static void draw(struct frame *f, const struct trial *now, double n_steps)
{
    struct str text = {0};
    char line[256] = "";
    str_add(&text, "\n");
    if (study_table(&text, &f->view.history, f->request->show, now) != OK)
        err_clear();
    if (now != NULL)
        str_addf(&text, "\ntrial %d       step %.0f of %.0f\n", now->number, now->steps, n_steps);
    else
        str_add(&text, "\nwaiting for trials of other workers\n");
    f->command->planner->headline(f->self, &f->view.history, line, sizeof line);
    str_addf(&text, "%s\n", line);
    add_end(&text, f, now);
    str_add(&text, "\n");
    log_panel(text.s);
    str_release(&text);
}

static void tell(void *ctx, const struct trial *now, double n_steps)
{
    struct frame *f = ctx;
    double at = clock_now_s();
    if (at - f->drawn_s < REDRAW_S && (now != NULL || log_has_panel()))
        return;
    if (refresh(f) != OK) {
        err_clear(); /* whoever needs the folder will meet the error */
        return;
    }
    tell_ends(f);
    f->drawn_s = at;
    if (log_has_panel())
        draw(f, now, n_steps);
}

static int work(struct frame *f)
{
    struct worker w = {.comm = &f->group, .begun_s = f->begun_s};
    if (!f->has_group)
        return OK;
    if (leads(f)) {
        w.study = &f->study;
        w.planner = f->command->planner;
        w.self = f->self;
        w.keep = f->job.conf.study.keep;
    }
    if (is_root(f)) {
        f->first_tokens = NAN;
        tell_ends(f);
        f->drawn_s = clock_now_s();
        w.tell = tell;
        w.ctx = f;
    }
    int rc = worker_run(&w);
    /* The other groups may work for long before they meet. */
    if (rc != OK && rc != E_STOPPED && leads(f) && !is_root(f))
        fprintf(stderr, "carat: %s: this worker has ended, others go on: %s\n", log_who(),
                err_message());
    return rc;
}

/* Ranks that are done sleep until all are: in a reduction they would take the others' cores. */
static int meet(const struct frame *f)
{
    const struct timespec nap = {.tv_nsec = 20000000};
    MPI_Request all;
    int done = 0;
    MPI_TRY(MPI_Ibarrier(f->world.world, &all));
    while (!done) {
        MPI_TRY(MPI_Test(&all, &done, MPI_STATUS_IGNORE));
        if (!done)
            nanosleep(&nap, NULL);
    }
    return OK;
}

/* ---- before and after ---- */

static void find_speed(struct frame *f)
{
    int known = 0;
    if (is_root(f))
        known = speed_of_trials(&f->speed, &f->view.history);
    if (agree_bcast(&f->world, 0, OK, &known, sizeof known) != OK || known || !f->has_group)
        return;
    speed_of_steps(&f->speed, &f->job, &f->group);
}

static int print_json(json_t *root)
{
    char *text = json_dumps(root, JSON_INDENT(2) | JSON_REAL_PRECISION(17));
    if (text == NULL)
        return ERR(E_MEM, "no memory for JSON");
    plain_print(stdout, "%s\n", text);
    free(text);
    return OK;
}

static int json_results(const struct frame *f)
{
    struct foresight see = {0};
    struct study_counts c;
    json_t *root = json_object();
    f->command->foresee(&f->view, &see);
    study_count(&c, &f->view.history);
    json_object_set_new(root, "study", json_string(f->study.dir));
    json_object_set_new(root, "kind", json_string(f->command->planner->kind));
    study_json_plan(root, f->command, &f->view, &f->speed, &f->crew);
    int rc = OK;
    if (!f->request->plan) {
        json_object_set_new(root, "tokens", json_real(c.tokens));
        json_object_set_new(root, "rank_seconds", json_real(c.rank_s));
        json_object_set_new(root, "trials", study_json_trials(&f->view.history));
        if (f->command->json != NULL)
            rc = f->command->json(&f->view, root);
    }
    if (rc == OK)
        rc = print_json(root);
    json_decref(root);
    return rc;
}

static int print_results(const struct frame *f)
{
    struct str text = {0};
    struct study_counts c;
    char tokens[32];
    const struct history *h = &f->view.history;
    study_count(&c, h);
    int rc = study_table(&text, h, f->request->show, NULL);
    if (rc == OK)
        log_info("\n%.*s", (int)text.len - 1, text.s);
    str_release(&text);
    TRY(rc);
    study_counts_text(&text, &c);
    log_info("\n%s, %s tokens, %.3g core-hours", text.s, fmt_si(tokens, sizeof tokens, c.tokens),
             c.rank_s * (double)f->job.conf.parallel.threads / 3600);
    str_release(&text);
    return f->command->conclude != NULL ? f->command->conclude(&f->view) : OK;
}

/* Where the trials stand that the next worker goes on with. */
static void say_saved(const struct frame *f)
{
    const struct history *h = &f->view.history;
    for (int i = 0; i < h->n; i++) {
        char run[FS_PATH_MAX];
        int64_t *step = NULL;
        size_t n = 0;
        if (h->trial[i].state > TRIAL_RUNNING || trial_path(run, &f->study, i) != OK ||
            fs_join(run, run, "run") != OK || ckpt_list(run, &step, &n, NULL) != OK)
            err_clear();
        if (n > 0 && step != NULL)
            log_info("trial %-9d saved at step %lld", i, (long long)step[0]);
        mem_free(step);
    }
}

static int write_choice(const struct frame *f)
{
    const struct study_request *q = f->request;
    const struct trial_plan *p = f->command->choice != NULL ? f->command->choice(&f->view) : NULL;
    char *text = NULL;
    if (q->write == NULL)
        return OK;
    if (p == NULL)
        return ERR(E_DATA, "--write %s: nothing can be advised yet; see above", q->write);
    int rc = job_text(&text, &f->job);
    for (int i = 0; rc == OK && i < p->n_set; i++)
        rc = job_text_set(&text, &f->job, p->set[i].key, p->set[i].value);
    if (rc == OK)
        rc = fs_write_file(q->write, text, strlen(text));
    mem_free(text);
    if (rc == OK)
        log_info("written         %s", q->write);
    return rc == OK ? OK : err_context(rc, "--write");
}

/* Whether there is anything that a study is made for. */
static int verdict(const struct frame *f)
{
    struct study_counts c;
    const struct history *h = &f->view.history;
    study_count(&c, h);
    const struct trial *first = NULL;
    for (int i = h->n - 1; i >= 0; i--)
        if (h->trial[i].state > TRIAL_RUNNING)
            first = &h->trial[i];
    if (first == NULL || c.n[TRIAL_DONE] + c.n[TRIAL_PRUNED] > 0)
        return OK;
    if (c.n[TRIAL_DIVERGED] > 0)
        return ERR(E_DIVERGED, "no trial came to its end; the first %s: %s",
                   trial_state_name(first->state), first->why);
    return ERR(E_CONFIG, "every trial failed, the first with: %s", first->why);
}

static int show(struct frame *f)
{
    TRY(refresh(f));
    log_status_end();
    TRY(f->request->json ? json_results(f) : print_results(f));
    say_saved(f);
    TRY(write_choice(f));
    return verdict(f);
}

/* ---- the command ---- */

static int check_request(const struct study_request *q)
{
    if (q->show < 0)
        return ERR(E_USAGE, "--trials %lld: 0 or more", (long long)q->show);
    if (q->force && q->write == NULL)
        return ERR(E_USAGE, "--force goes with --write");
    if (q->plan && q->write != NULL)
        return ERR(E_USAGE, "--plan runs nothing, so that there is nothing to --write");
    return q->write != NULL ? job_check_output("--write", q->write, q->force) : OK;
}

static int plan(struct frame *f)
{
    int rc = OK;
    if (is_root(f)) {
        rc = check_request(f->request);
        if (rc == OK)
            rc = open_root(f);
        if (rc == OK)
            rc = refresh(f);
    }
    TRY(agree(&f->world, rc));
    if (leads(f) && !is_root(f) && !f->request->plan)
        rc = open_root(f);
    TRY(agree(&f->world, rc));
    find_speed(f);
    if (is_root(f) && !(f->request->plan && f->request->json))
        study_say_plan(f->command, &f->view, &f->speed, &f->crew);
    return OK;
}

static int run(struct frame *f)
{
    TRY(form_groups(f));
    TRY(plan(f));
    if (f->request->plan)
        return agree(&f->world, is_root(f) && f->request->json ? json_results(f) : OK);
    int worked = work(f);
    TRY(meet(f));
    int rc = agree(&f->world, worked);
    if (rc != OK && rc != E_STOPPED)
        return rc;
    char why[512];
    snprintf(why, sizeof why, "%s", err_message());
    int shown = agree(&f->world, is_root(f) ? show(f) : OK);
    return rc == OK ? shown : ERR(rc, "%s", why);
}

int study_frame(const struct study_command *k, const struct study_request *q, int argc, char **argv)
{
    static struct frame f;
    f = (struct frame){.command = k, .request = q, .begun_s = clock_now_s()};
    stop_install();
    TRY(comm_init(&f.world, &argc, &argv));
    log_to_stderr(q->json);
    int rc = agree(&f.world, job_load(&f.job, argc, argv));
    if (rc == OK && !f.job.print_only)
        rc = run(&f);
    close_root(&f);
    if (f.has_group)
        comm_end(&f.group);
    comm_end(&f.world);
    return rc;
}
