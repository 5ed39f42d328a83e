/* carat slurm: slurm/train.sbatch or slurm/study.sbatch with a job's values in it. Both are
 * compiled in. */
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "cmd/cmd.h"
#include "cmd/job.h"
#include "cmd/opts.h"
#include "slurm_script.h"
#include "study/study.h"
#include "study_frame.h"
#include "train/derive.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* What a study of a kind is worked on by, and how it is asked for here. */
struct kind {
    const char *name; /* of the planner, of the option, and behind run.dir */
    const char *command;
};

static const struct kind KINDS[] = {{"search", "(search)"},
                                    {"study", "(study)"},
                                    {"rules", "(study --rules)"},
                                    {"branch", "(study --branch)"}};
enum { N_KINDS = sizeof KINDS / sizeof *KINDS };

/* What the user asked for. Numbers that were not given are -1, text NULL. */
struct request {
    int64_t nodes, ranks_per_node, threads, max_restarts, workers, at_once, chain;
    const char *time, *signal_before, *name, *partition, *account, *qos, *carat;
    const char *study; /* "": a large-batch study; or another kind */
    bool search, submit, run_dir_only, help;
};

static const struct request NOTHING_ASKED = {.nodes = -1,
                                             .ranks_per_node = -1,
                                             .threads = -1,
                                             .max_restarts = -1,
                                             .workers = -1,
                                             .at_once = -1,
                                             .chain = -1};

/* A job for Slurm: a run, or workers of a study. */
struct order {
    const struct request *r;
    struct job job;
    const struct kind *kind; /* NULL: a run */
    char folder[FS_PATH_MAX];
};

enum {
    F_NAME,
    F_ARRAY,
    F_NODES,
    F_RANKS,
    F_THREADS,
    F_TIME,
    F_PARTITION,
    F_ACCOUNT,
    F_QOS,
    F_SIGNAL,
    F_COMMAND,
    F_JOB,
    F_SETTINGS,
    F_CARAT,
    F_RUN_DIR,
    F_STUDY_DIR,
    F_RESTARTS,
    N_FILLS
};

static const struct fill PLACES[N_FILLS] = {
    [F_NAME] = {.place = DIRECTIVE, .key = "job-name"},
    [F_ARRAY] = {.place = DIRECTIVE, .key = "array"},
    [F_NODES] = {.place = DIRECTIVE, .key = "nodes"},
    [F_RANKS] = {.place = DIRECTIVE, .key = "ntasks-per-node"},
    [F_THREADS] = {.place = DIRECTIVE, .key = "cpus-per-task"},
    [F_TIME] = {.place = DIRECTIVE, .key = "time"},
    [F_PARTITION] = {.place = DIRECTIVE, .key = "partition"},
    [F_ACCOUNT] = {.place = DIRECTIVE, .key = "account"},
    [F_QOS] = {.place = DIRECTIVE, .key = "qos"},
    [F_SIGNAL] = {.place = DIRECTIVE, .key = "signal"},
    [F_COMMAND] = {.place = ASSIGNMENT, .key = "command"},
    [F_JOB] = {.place = ASSIGNMENT, .key = "job"},
    [F_SETTINGS] = {.place = ASSIGNMENT, .key = "settings"},
    [F_CARAT] = {.place = ASSIGNMENT, .key = "carat"},
    [F_RUN_DIR] = {.place = ASSIGNMENT, .key = "run_dir"},
    [F_STUDY_DIR] = {.place = ASSIGNMENT, .key = "study_dir"},
    [F_RESTARTS] = {.place = ASSIGNMENT, .key = "max_restarts"},
};

static int take_seconds(const char *option, const char *text, double *seconds)
{
    if (!parse_duration_s(text, seconds) || *seconds < 1 || *seconds > 366 * 86400.0)
        return ERR(E_USAGE, "--%s %s: a time such as 4h, 90m, 1-12:00:00", option, text);
    *seconds = ceil(*seconds);
    return OK;
}

/* The wall time, and how long before its end the job is told. */
static int fill_times(struct fill *fill, const struct request *r)
{
    double limit = 4 * 3600, before;
    if (r->time != NULL)
        TRY(take_seconds("time", r->time, &limit));
    before = fmin(300, floor(limit / 3));
    if (r->signal_before != NULL)
        TRY(take_seconds("signal-before", r->signal_before, &before));
    if (before >= limit || before > 65535)
        return ERR(E_USAGE, "--signal-before %.0f s: less than the job's time, %.0f s, and 65536 s",
                   before, limit);
    long s = (long)limit;
    str_addf(&fill[F_TIME].value, "%ld-%02ld:%02ld:%02ld", s / 86400, s / 3600 % 24, s / 60 % 60,
             s % 60);
    str_addf(&fill[F_SIGNAL].value, "B:USR1@%.0f", before);
    return OK;
}

/* The job's name and its settings as the user wrote them; job_load has accepted them already, by
 * the same rule: what has a '=' is a setting. */
static int fill_arguments(struct fill *fill, const struct request *r, int argc, char **argv)
{
    struct str *settings = &fill[F_SETTINGS].value;
    bool seen = false;
    str_add(settings, "(");
    for (int i = 1; i < argc; i++) {
        bool is_job = !seen && (strchr(argv[i], '=') == NULL || access(argv[i], F_OK) == 0);
        struct str *to = is_job ? &fill[F_JOB].value : settings;
        if (is_job && *argv[i] == '-') /* no option of the command that the job runs */
            str_add(to, "./");
        if (!is_job && settings->len > 1)
            str_add(settings, " ");
        TRY(script_quote(to, argv[i]));
        seen = seen || is_job;
    }
    if (r->threads > 0)
        str_addf(settings, "%sparallel.threads=%lld", settings->len > 1 ? " " : "",
                 (long long)r->threads);
    str_add(settings, ")");
    return OK;
}

/* The workers of a study. */
static int fill_array(struct fill *fill, const struct order *o)
{
    const struct request *r = o->r;
    int64_t n = r->workers >= 0 ? r->workers : 4;
    if (n < 1 || n > 100000)
        return ERR(E_USAGE, "--workers %lld: 1 to 100000", (long long)r->workers);
    if (r->at_once != -1 && r->at_once < 1)
        return ERR(E_USAGE, "--at-once %lld: at least 1", (long long)r->at_once);
    str_addf(&fill[F_ARRAY].value, "0-%lld", (long long)n - 1);
    if (r->at_once > 0)
        str_addf(&fill[F_ARRAY].value, "%%%lld", (long long)r->at_once);
    str_add(&fill[F_COMMAND].value, o->kind->command);
    return script_quote(&fill[F_STUDY_DIR].value, o->folder);
}

static int fill_name(struct fill *f, const struct order *o)
{
    char name[sizeof "carat-" + sizeof o->job.name + 16];
    if (o->r->name != NULL && strpbrk(o->r->name, "/%") != NULL)
        return ERR(E_USAGE, "--name %s: the log's file is named after the job: no / and no %%",
                   o->r->name);
    if (o->r->name != NULL)
        return fill_word(f, o->r->name);
    snprintf(name, sizeof name, "carat-%s%s%s", o->job.name,
             o->kind != NULL && !o->job.from_study ? "-" : "",
             o->kind != NULL && !o->job.from_study ? o->kind->name : "");
    for (char *p = name; *p != '\0'; p++)
        *p = isalnum((unsigned char)*p) ? *p : '-';
    return fill_word(f, name);
}

static int fill_all(struct fill *fill, const struct order *o, int argc, char **argv)
{
    const struct request *r = o->r;
    int64_t threads = r->threads >= 0 ? r->threads : o->job.conf.parallel.threads;
    TRY(fill_name(&fill[F_NAME], o));
    TRY(fill_count(&fill[F_NODES], "nodes", r->nodes, 1));
    TRY(fill_count(&fill[F_RANKS], "ranks-per-node", r->ranks_per_node, 1));
    TRY(fill_count(&fill[F_THREADS], "threads", threads, 1));
    /* Where jobs follow each other in a chain, none has to be queued again. */
    bool by_chain = r->max_restarts == -1 && r->chain > 1;
    TRY(fill_count(&fill[F_RESTARTS], "max-restarts", by_chain ? 0 : r->max_restarts, 0));
    TRY(fill_times(fill, r));
    TRY(fill_word(&fill[F_PARTITION], r->partition));
    TRY(fill_word(&fill[F_ACCOUNT], r->account));
    TRY(fill_word(&fill[F_QOS], r->qos));
    TRY(fill_program(&fill[F_CARAT], r->carat));
    if (o->kind != NULL)
        TRY(fill_array(fill, o));
    else
        TRY(script_quote(&fill[F_RUN_DIR].value, o->folder));
    return fill_arguments(fill, r, argc, argv);
}

static int make_script(struct str *out, const struct order *o, int argc, char **argv)
{
    struct fill fill[N_FILLS];
    memcpy(fill, PLACES, sizeof fill);
    int rc = fill_all(fill, o, argc, argv);
    if (rc == OK)
        script_write(out, o->kind != NULL ? SCRIPT_STUDY : SCRIPT_TRAIN, fill, N_FILLS);
    for (int i = 0; i < N_FILLS; i++)
        str_release(&fill[i].value);
    return rc;
}

/* ---- what the job is ---- */

/* More ranks than micro-batches: some would only wait. */
static int check_ranks(const struct order *o)
{
    const struct request *r = o->r;
    const struct config *c = &o->job.conf;
    int64_t nodes = r->nodes > 0 ? r->nodes : o->kind != NULL ? 1 : 2;
    int64_t ranks = nodes * (r->ranks_per_node > 0 ? r->ranks_per_node : 1);
    int64_t a_trial = o->kind != NULL && c->study.ranks > 0 ? c->study.ranks : ranks;
    int64_t n = derive_n_micro(c);
    if (a_trial > ranks)
        return ERR(E_CONFIG,
                   "study.ranks is %lld, and a worker's ranks are %lld: raise "
                   "--ranks-per-node or --nodes, or lower study.ranks",
                   (long long)a_trial, (long long)ranks);
    if (a_trial > n)
        log_warn("%lld ranks share %lld micro-batches a step: %lld ranks have nothing to do; lower "
                 "batch.micro or raise batch.global",
                 (long long)a_trial, (long long)n, (long long)(a_trial - n));
    return OK;
}

static const struct kind *kind_of(const char *name)
{
    for (int i = 0; i < N_KINDS; i++)
        if (strcmp(KINDS[i].name, name) == 0)
            return &KINDS[i];
    return NULL;
}

/* By options; NULL: a run. */
static int asked_kind(const struct kind **kind, const struct request *r)
{
    *kind = NULL;
    if (r->search && r->study != NULL)
        return ERR(E_USAGE, "one of --search and --study");
    if (!r->search && r->study == NULL)
        return OK;
    *kind = kind_of(r->search ? "search" : *r->study == '\0' ? "study" : r->study);
    return *kind != NULL
               ? OK
               : ERR(E_USAGE, "--study=%s: --study alone, --study=rules or --study=branch",
                     r->study);
}

static int find_kind(struct order *o)
{
    struct study s;
    const struct kind *asked;
    TRY(asked_kind(&asked, o->r));
    o->kind = asked;
    if (!o->job.from_study)
        return OK;
    TRY(study_read(&s, o->job.conf.study.dir));
    o->kind = kind_of(s.kind);
    int rc = OK;
    if (o->kind == NULL)
        rc = ERR(E_DATA, "%s holds a study of kind %s, which this program does not know", s.dir,
                 s.kind);
    else if (asked != NULL && asked != o->kind)
        rc = ERR(E_USAGE, "%s holds a study of kind %s, not %s", s.dir, s.kind, asked->name);
    study_close(&s);
    return rc;
}

static int check_request(const struct order *o)
{
    const struct request *r = o->r;
    if (o->kind == NULL && (r->workers != -1 || r->at_once != -1))
        return ERR(E_USAGE, "--workers and --at-once go with a study: give its folder, or a job "
                            "with --search or --study");
    if (r->chain != -1 && (r->chain < 1 || r->chain > 1000))
        return ERR(E_USAGE, "--chain %lld: 1 to 1000", (long long)r->chain);
    if (r->chain > 1 && !r->submit)
        return ERR(E_USAGE, "--chain goes with --submit: each job waits for the number of the one "
                            "before");
    return OK;
}

/* An array of workers that all find the same fault in their job helps nobody. */
static int check_search(const struct order *o)
{
    struct study blank = {.kind = "search"};
    void *self = NULL;
    if (o->kind == NULL || strcmp(o->kind->name, blank.kind) != 0)
        return OK;
    memcpy(blank.dir, o->folder, sizeof blank.dir);
    TRY(conf_text(&o->job.conf, NULL, &blank.job));
    int rc = PLANNER_SEARCH.open(&self, &blank, &o->job.conf);
    if (rc == OK)
        PLANNER_SEARCH.close(self);
    mem_free(blank.job);
    return rc;
}

/* One whose name begins with a dash is no option of what the script does with it. */
static int find_folder(struct order *o)
{
    char folder[FS_PATH_MAX];
    TRY(o->kind != NULL ? study_folder(folder, &o->job.conf, o->kind->name)
                        : fs_join(folder, "", o->job.conf.run.dir));
    return fs_join(o->folder, *folder == '-' ? "." : "", folder);
}

static int write_or_submit(const struct order *o, int argc, char **argv)
{
    struct str script = {0};
    int rc = make_script(&script, o, argc, argv);
    if (rc == OK && o->r->submit)
        rc = script_submit(&script, o->r->chain > 0 ? o->r->chain : 1);
    else if (rc == OK)
        fputs(script.s, stdout);
    str_release(&script);
    return rc;
}

static int run(const struct request *r, int argc, char **argv)
{
    static struct order o;
    o.r = r;
    o.job.without_data = true;
    TRY(job_load(&o.job, argc, argv));
    if (o.job.print_only)
        return OK;
    TRY(find_kind(&o));
    TRY(check_request(&o));
    TRY(find_folder(&o));
    if (r->run_dir_only) {
        puts(o.folder);
        return OK;
    }
    log_to_stderr(true);
    TRY(check_ranks(&o));
    TRY(check_search(&o));
    return write_or_submit(&o, argc, argv);
}

int cmd_slurm(int argc, char **argv)
{
    struct request r = NOTHING_ASKED;
    const struct opt table[] = {
        {"search", 0, OPT_FLAG, &r.search, NULL,
         "work on `carat search JOB`, by an array of workers"},
        {"study", 0, OPT_FLAG_STR, &r.study, "KIND",
         "on `carat study JOB`; KIND rules, branch: with that option"},
        {"workers", 'w', OPT_INT, &r.workers, "W", "tasks of the array [4]"},
        {"at-once", 0, OPT_INT, &r.at_once, "M", "so many of them at a time [all]"},
        {"chain", 0, OPT_INT, &r.chain, "K", "submit K jobs, each after the one before [1]"},
        {"nodes", 'N', OPT_INT, &r.nodes, "N", "nodes [2; 1 a worker]"},
        {"ranks-per-node", 'r', OPT_INT, &r.ranks_per_node, "R", "ranks on each [1]"},
        {"threads", 'c', OPT_INT, &r.threads, "T", "cores a rank [parallel.threads]"},
        {"time", 't', OPT_STR, &r.time, "TIME", "limit of one start: 4h, 90m, 1-12:00:00 [4h]"},
        {"signal-before", 0, OPT_STR, &r.signal_before, "TIME",
         "save this long before the limit; covers a step and a save [5m, or a third of --time]"},
        {"max-restarts", 0, OPT_INT, &r.max_restarts, "M", "starts after the first [100]"},
        {"partition", 'p', OPT_STR, &r.partition, "P", "as in sbatch"},
        {"account", 'A', OPT_STR, &r.account, "A", "as in sbatch"},
        {"qos", 'q', OPT_STR, &r.qos, "Q", "as in sbatch"},
        {"name", 'J', OPT_STR, &r.name, "NAME", "the job's name [carat-JOB]"},
        {"carat", 0, OPT_STR, &r.carat, "PATH", "the program on the nodes [this one]"},
        {"submit", 0, OPT_FLAG, &r.submit, NULL, "give the script to sbatch, not to you"},
        {"run-dir", 0, OPT_FLAG, &r.run_dir_only, NULL, "print the job's run folder, and end"},
        JOB_OPTIONS,
        {"help", 'h', OPT_FLAG, &r.help, NULL, "this text"},
    };
    enum { N = sizeof table / sizeof *table };
    TRY(opts_parse(table, N, &argc, argv));
    if (r.help) {
        opts_help(stdout, "carat slurm JOB [key=value …] [options]",
                  "Prints a batch script that trains JOB, or with --search or --study, or for a "
                  "study's folder, one that works on its trials as an array. It queues itself "
                  "again before each time limit until all is done. Read it, change it, give it to "
                  "sbatch. Submitted twice, a study's jobs do only what is missing.",
                  table, N, "carat slurm jobs/quickstart.yaml -N 4 -r 8 --time 8h --submit");
        return OK;
    }
    return run(&r, argc, argv);
}
