/* carat slurm: slurm/train.sbatch with a job's values in it. The file is compiled in; a directive
 * "#SBATCH --name=" and an assignment "name=" at the start of a line are the places to fill. */
#include "base/err.h"
#include "base/log.h"
#include "base/str.h"
#include "cmd/cmd.h"
#include "cmd/job.h"
#include "cmd/opts.h"
#include "train/derive.h"
#include "train_sbatch.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* What the user asked for. Numbers that were not given are -1, text NULL. */
struct request {
    int64_t nodes, ranks_per_node, threads, max_restarts;
    const char *time, *signal_before, *name, *partition, *account, *qos, *carat;
    bool submit, run_dir_only, help;
};

static const struct request NOTHING_ASKED = {
    .nodes = -1, .ranks_per_node = -1, .threads = -1, .max_restarts = -1};

enum place { DIRECTIVE, ASSIGNMENT };

/* A place in the template and what belongs there; no value: the line stays as it is. */
struct fill {
    enum place place;
    const char *key;
    struct str value;
};

enum {
    F_NAME,
    F_NODES,
    F_RANKS,
    F_THREADS,
    F_TIME,
    F_PARTITION,
    F_ACCOUNT,
    F_QOS,
    F_SIGNAL,
    F_JOB,
    F_SETTINGS,
    F_CARAT,
    F_RUN_DIR,
    F_RESTARTS,
    N_FILLS
};

static const struct fill PLACES[N_FILLS] = {
    [F_NAME] = {.place = DIRECTIVE, .key = "job-name"},
    [F_NODES] = {.place = DIRECTIVE, .key = "nodes"},
    [F_RANKS] = {.place = DIRECTIVE, .key = "ntasks-per-node"},
    [F_THREADS] = {.place = DIRECTIVE, .key = "cpus-per-task"},
    [F_TIME] = {.place = DIRECTIVE, .key = "time"},
    [F_PARTITION] = {.place = DIRECTIVE, .key = "partition"},
    [F_ACCOUNT] = {.place = DIRECTIVE, .key = "account"},
    [F_QOS] = {.place = DIRECTIVE, .key = "qos"},
    [F_SIGNAL] = {.place = DIRECTIVE, .key = "signal"},
    [F_JOB] = {.place = ASSIGNMENT, .key = "job"},
    [F_SETTINGS] = {.place = ASSIGNMENT, .key = "settings"},
    [F_CARAT] = {.place = ASSIGNMENT, .key = "carat"},
    [F_RUN_DIR] = {.place = ASSIGNMENT, .key = "run_dir"},
    [F_RESTARTS] = {.place = ASSIGNMENT, .key = "max_restarts"},
};

static bool is_shell_word(const char *s)
{
    for (; *s != '\0'; s++)
        if (!isalnum((unsigned char)*s) && strchr("_./,:=@%+-", *s) == NULL)
            return false;
    return true;
}

/* Adds text as one word of a shell. A control character could begin a line of its own, which sbatch
 * reads before any shell does: refused. */
static int add_quoted(struct str *b, const char *text)
{
    size_t n = 0;
    while (text[n] != '\0' && !iscntrl((unsigned char)text[n]))
        n++;
    if (text[n] != '\0')
        return ERR(E_USAGE, "%.*s…: line breaks and control characters cannot be passed on", (int)n,
                   text);
    if (*text != '\0' && is_shell_word(text)) {
        str_add(b, text);
        return OK;
    }
    str_add(b, "'");
    for (const char *p = text; *p != '\0'; p++)
        if (*p == '\'')
            str_add(b, "'\\''");
        else
            str_addn(b, p, 1);
    str_add(b, "'");
    return OK;
}

/* A value of a directive stands unquoted: letters, digits and a few signs. */
static int fill_word(struct fill *f, const char *text)
{
    if (text == NULL)
        return OK;
    if (*text == '\0' || !is_shell_word(text))
        return ERR(E_USAGE, "--%s takes letters, digits and _./,:=@%%+-, not \"%s\"", f->key, text);
    str_add(&f->value, text);
    return OK;
}

static int fill_count(struct fill *f, const char *option, int64_t n, int64_t least)
{
    if (n < 0 && n != -1)
        return ERR(E_USAGE, "--%s %lld: at least %lld", option, (long long)n, (long long)least);
    if (n == -1)
        return OK;
    if (n < least || n > 1000000)
        return ERR(E_USAGE, "--%s %lld: %lld to 1000000", option, (long long)n, (long long)least);
    str_addf(&f->value, "%lld", (long long)n);
    return OK;
}

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

/* The program that the job runs: this one, unless told. */
static int fill_program(struct fill *f, const char *asked)
{
    char path[4096];
    if (asked != NULL)
        return add_quoted(&f->value, asked);
    ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);
    if (n < 0)
        return ERR(E_USAGE, "cannot tell where this program lies (%s): give --carat PATH",
                   strerror(errno));
    path[n] = '\0';
    return add_quoted(&f->value, path);
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
        if (!is_job && settings->len > 1)
            str_add(settings, " ");
        TRY(add_quoted(to, argv[i]));
        seen = seen || is_job;
    }
    if (r->threads > 0)
        str_addf(settings, "%sparallel.threads=%lld", settings->len > 1 ? " " : "",
                 (long long)r->threads);
    str_add(settings, ")");
    return OK;
}

static int fill_all(struct fill *fill, const struct request *r, const struct job *j, int argc,
                    char **argv)
{
    char name[sizeof "carat-" + sizeof j->name];
    int64_t threads = r->threads >= 0 ? r->threads : j->conf.parallel.threads;
    snprintf(name, sizeof name, "carat-%s", j->name);
    for (char *p = name; *p != '\0'; p++)
        *p = isalnum((unsigned char)*p) ? *p : '-';
    TRY(fill_word(&fill[F_NAME], r->name != NULL ? r->name : name));
    TRY(fill_count(&fill[F_NODES], "nodes", r->nodes, 1));
    TRY(fill_count(&fill[F_RANKS], "ranks-per-node", r->ranks_per_node, 1));
    TRY(fill_count(&fill[F_THREADS], "threads", threads, 1));
    TRY(fill_count(&fill[F_RESTARTS], "max-restarts", r->max_restarts, 0));
    TRY(fill_times(fill, r));
    TRY(fill_word(&fill[F_PARTITION], r->partition));
    TRY(fill_word(&fill[F_ACCOUNT], r->account));
    TRY(fill_word(&fill[F_QOS], r->qos));
    TRY(fill_program(&fill[F_CARAT], r->carat));
    TRY(add_quoted(&fill[F_RUN_DIR].value, j->conf.run.dir));
    return fill_arguments(fill, r, argc, argv);
}

/* True when the line is the place of f. A directive may be switched off by a second '#'. */
static bool is_place(const struct fill *f, const char *line)
{
    size_t n = strlen(f->key);
    if (f->place == DIRECTIVE) {
        static const char begin[] = "#SBATCH --";
        line += line[0] == '#' && line[1] == '#';
        if (strncmp(line, begin, sizeof begin - 1) != 0)
            return false;
        line += sizeof begin - 1;
    }
    return strncmp(line, f->key, n) == 0 && line[n] == '=';
}

static struct fill *place_of(struct fill *fill, const char *line)
{
    for (int i = 0; i < N_FILLS; i++)
        if (is_place(&fill[i], line))
            return &fill[i];
    return NULL;
}

static void write_script(struct str *out, struct fill *fill)
{
    for (const char *line = TRAIN_SBATCH, *end; *line != '\0'; line = end) {
        const struct fill *f = place_of(fill, line);
        end = line + strcspn(line, "\n");
        end += *end == '\n';
        if (f == NULL || f->value.len == 0)
            str_addn(out, line, (size_t)(end - line));
        else
            str_addf(out, "%s%s=%s\n", f->place == DIRECTIVE ? "#SBATCH --" : "", f->key,
                     f->value.s);
    }
}

static int make_script(struct str *out, const struct request *r, const struct job *j, int argc,
                       char **argv)
{
    struct fill fill[N_FILLS];
    memcpy(fill, PLACES, sizeof fill);
    int rc = fill_all(fill, r, j, argc, argv);
    if (rc == OK)
        write_script(out, fill);
    for (int i = 0; i < N_FILLS; i++)
        str_release(&fill[i].value);
    return rc;
}

/* Runs sbatch with the file as its standard input: no shell and no name of a file in between. */
static int run_sbatch(int fd)
{
    char *const args[] = {"sbatch", NULL};
    posix_spawn_file_actions_t actions;
    pid_t pid;
    int status;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, fd, STDIN_FILENO);
    int rc = posix_spawnp(&pid, "sbatch", &actions, NULL, args, environ);
    posix_spawn_file_actions_destroy(&actions);
    if (rc != 0)
        return ERR(E_USAGE,
                   "sbatch cannot be started (%s): submit from a login node of the "
                   "cluster, or leave --submit out and pass the script on",
                   strerror(rc));
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return ERR(E_BUG, "waiting for sbatch: %s", strerror(errno));
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        return ERR(E_CONFIG, "sbatch refused the job; its reason stands above");
    return OK;
}

static int submit(const struct str *script)
{
    FILE *f = tmpfile();
    if (f == NULL)
        return ERR(E_IO, "no temporary file for the script: %s", strerror(errno));
    int rc = OK;
    if (fwrite(script->s, 1, script->len, f) != script->len || fflush(f) != 0 ||
        lseek(fileno(f), 0, SEEK_SET) != 0)
        rc = ERR(E_IO, "the script's temporary file cannot be written: %s", strerror(errno));
    if (rc == OK)
        rc = run_sbatch(fileno(f));
    fclose(f);
    return rc;
}

/* More ranks than micro-batches: some would only wait. */
static void warn_of_idle_ranks(const struct request *r, const struct config *c)
{
    int64_t ranks = (r->nodes > 0 ? r->nodes : 2) * (r->ranks_per_node > 0 ? r->ranks_per_node : 1);
    int64_t n = derive_n_micro(c);
    if (ranks > n)
        log_warn("%lld ranks share %lld micro-batches a step: %lld ranks have nothing to do; lower "
                 "batch.micro or raise batch.global",
                 (long long)ranks, (long long)n, (long long)(ranks - n));
}

static int run(const struct request *r, int argc, char **argv)
{
    static struct job j;
    struct str script = {0};
    j.without_data = true;
    TRY(job_load(&j, argc, argv));
    if (j.print_only)
        return OK;
    if (r->run_dir_only) {
        puts(j.conf.run.dir);
        return OK;
    }
    log_to_stderr(true);
    warn_of_idle_ranks(r, &j.conf);
    int rc = make_script(&script, r, &j, argc, argv);
    if (rc == OK && r->submit)
        rc = submit(&script);
    else if (rc == OK)
        fputs(script.s, stdout);
    str_release(&script);
    return rc;
}

int cmd_slurm(int argc, char **argv)
{
    struct request r = NOTHING_ASKED;
    const struct opt table[] = {
        {"nodes", 'N', OPT_INT, &r.nodes, "N", "nodes [2]"},
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
                  "Prints a batch script that trains JOB and queues itself again before each time "
                  "limit until training is done. Read it, change it, give it to sbatch.",
                  table, N, "carat slurm jobs/quickstart.yaml -N 4 -r 8 --time 8h --submit");
        return OK;
    }
    return run(&r, argc, argv);
}
