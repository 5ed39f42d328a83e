#include "base/err.h"
#include "base/fs.h"
#include "base/str.h"
#include "cmd/cmd.h"
#include "cmd/topics.h"
#include "conf/config_file.h"
#include "version.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

struct command {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *group; /* the task it belongs to */
    const char *help;  /* one line */
};

#define BEGIN "Get ready"
#define TRAIN "Train and use"
#define LOOK  "Look at files"
#define SHARE "Exchange and submit"

static const struct command commands[] = {
    {"doctor", cmd_doctor, BEGIN, "what this build and this machine have, and what to mend"},
    {"prepare", cmd_prepare, BEGIN, "turn text into a token store"},
    {"plan", cmd_plan, BEGIN, "memory, time and learning rates of a job before it runs"},
    {"train", cmd_train, TRAIN, "start a job, or resume it"},
    {"range", cmd_range, TRAIN, "a good learning rate by a range test"},
    {"study", cmd_study, TRAIN, "which batch, rate and ranks to train with: a large-batch study"},
    {"search", cmd_search, TRAIN, "settings tried out in many runs, and the best of them"},
    {"bench", cmd_bench, TRAIN, "how fast steps of a job are here, and what they spend"},
    {"eval", cmd_eval, TRAIN, "loss, perplexity and accuracy on a token store"},
    {"generate", cmd_generate, TRAIN, "text from a run or a Hugging Face folder"},
    {"report", cmd_report, LOOK, "a page of figures of one or several runs"},
    {"inspect", cmd_inspect, LOOK, "what a run, checkpoint or token store holds"},
    {"verify", cmd_verify, LOOK, "whether a file is whole"},
    {"diff", cmd_diff, LOOK, "how two runs or checkpoints differ"},
    {"import", cmd_import, SHARE, "a Hugging Face folder to a checkpoint"},
    {"export", cmd_export, SHARE, "a checkpoint to a Hugging Face folder"},
    {"slurm", cmd_slurm, SHARE, "a batch script for Slurm"},
    {NULL, NULL, NULL, NULL},
};

static const struct command *find_command(const char *name)
{
    for (const struct command *c = commands; c->name != NULL; c++)
        if (strcmp(c->name, name) == 0)
            return c;
    return NULL;
}

static int unknown_command(const char *name)
{
    enum { N = sizeof commands / sizeof commands[0] };
    const char *names[N] = {NULL};
    size_t n = 0;
    for (const struct command *c = commands; c->name != NULL; c++)
        names[n++] = c->name;
    const char *near = str_nearest(name, names, n);
    if (near != NULL)
        return ERR(E_USAGE, "%s: no such command; did you mean `carat %s`?", name, near);
    return ERR(E_USAGE, "%s: no such command; `carat help` lists them", name);
}

static int print_list(void)
{
    const char *group = "";
    puts("carat trains Gemma language models on clusters.\n\n"
         "usage: carat COMMAND [FILE] [key=value …] [options]");
    for (const struct command *c = commands; c->name != NULL; c++) {
        if (strcmp(group, c->group) != 0)
            printf("\n%s\n", group = c->group);
        printf("  %-10s %s\n", c->name, c->help);
    }
    puts("\nMore, by `carat help …`\n  COMMAND    its options and an example");
    for (int i = 0; topic_name(i) != NULL; i++)
        printf("  %-10s %s\n", topic_name(i), topic_help(i));
    puts("  KEY        a setting of a job (schedule.warmup) or a section of them (schedule)");
    puts(
        "\n"
        "Exit codes: 0 done, 1 differs (diff), 64 usage, 65 bad data, 69 a rank failed, 70 a bug,\n"
        "71 out of memory, 74 I/O, 75 stopped at a checkpoint (run me again), 76 diverged,\n"
        "78 bad configuration.");
    return OK;
}

/* Of all that help knows, what comes nearest. */
static int unknown_topic(const char *name)
{
    enum { N = 64 };
    const char *names[N] = {NULL}, *near = conf_nearest(name);
    size_t n = 0;
    if (strchr(name, '.') == NULL || near == NULL) {
        for (const struct command *c = commands; c->name != NULL && n < N; c++)
            names[n++] = c->name;
        for (int i = 0; topic_name(i) != NULL && n < N; i++)
            names[n++] = topic_name(i);
        const char *other = str_nearest(name, names, n);
        near = other != NULL ? other : near;
    }
    if (near != NULL)
        return ERR(E_USAGE, "%.80s: no command, topic or key; did you mean `carat help %s`?", name,
                   near);
    return ERR(E_USAGE,
               "%.80s: no command, topic or key; `carat help` and `carat help keys` list them",
               name);
}

static int help(int argc, char **argv)
{
    if (argc < 2)
        return print_list();
    if (topic_print(stdout, argv[1]))
        return OK;
    const struct command *c = find_command(argv[1]);
    if (c == NULL)
        return key_print(stdout, argv[1]) ? OK : unknown_topic(argv[1]);
    char name[32], flag[] = "--help";
    snprintf(name, sizeof name, "%s", c->name);
    char *args[] = {name, flag, NULL};
    return c->run(2, args);
}

static int dispatch(int argc, char **argv)
{
    if (argc < 2 || strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)
        return print_list();
    if (strcmp(argv[1], "help") == 0)
        return help(argc - 1, argv + 1);
    if (strcmp(argv[1], "--version") == 0) {
        printf("carat %s\n", CARAT_VERSION);
        return OK;
    }
    if (argv[1][0] == '-')
        return ERR(E_USAGE, "%s: the command comes first: carat COMMAND [options]", argv[1]);
    const struct command *c = find_command(argv[1]);
    if (c == NULL)
        return unknown_command(argv[1]);
    return c->run(argc - 1, argv + 1);
}

/* Ranks agree on an error before they return it, so one of them says it for all. */
static bool speaks(void)
{
    static const char *const vars[] = {"OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK",
                                       "SLURM_PROCID"};
    for (size_t i = 0; i < sizeof vars / sizeof vars[0]; i++) {
        const char *rank = getenv(vars[i]);
        if (rank != NULL)
            return strcmp(rank, "0") == 0;
    }
    return true;
}

/* Runs this program anew, in the same process: only so do libraries see what they read from the
 * environment while they are loaded. Returns when that cannot be done. */
static void start_again(char **argv)
{
    char path[FS_PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);
    if (n <= 0 || getauxval(AT_BASE) == 0) /* no base: the loader was called by its own name */
        return;
    path[n] = '\0';
    execv(path, argv);
}

/* What carat wants of its libraries, whoever starts it; the user's own settings stay.
 *
 * Open MPI before 4.1.7 can corrupt files when it sieves data; HDF5's locks fail on some network
 * file systems, and a run folder has its own.
 *
 * OpenBLAS starts a thread a processor as it is loaded: with a rank on each, their square; threads
 * are asked for later, where the rank has its place. With two threads and products by turns of
 * OpenBLAS and of oneDNN, which uses OpenMP, the idle ones of the one spin where those of the other
 * should work: 1.6 times the time, and 1.4 to 2.2 with a serial pass between. So they are to spin
 * for less (26 ms and more by themselves); but to sleep at once (OMP_WAIT_POLICY=PASSIVE) doubled a
 * step of oneDNN alone, whose threads meet many times in a product. */
static void set_environment(char **argv)
{
    static const struct {
        const char *name, *value;
        bool on_load; /* read before main */
    } rows[] = {
        {"OMPI_MCA_fbtl_posix_write_datasieving", "0", false},
        {"OMPI_MCA_fbtl_posix_read_datasieving", "0", false},
        {"HDF5_USE_FILE_LOCKING", "FALSE", false},
        {"OPENBLAS_NUM_THREADS", "1", true},
        {"OPENBLAS_THREAD_TIMEOUT", "16", true}, /* 2^16 cycles */
        {"GOMP_SPINCOUNT", "10000", true},
    };
    bool again = false;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        again = again || (rows[i].on_load && getenv(rows[i].name) == NULL);
        setenv(rows[i].name, rows[i].value, 0);
    }
    if (again)
        start_again(argv);
}

int main(int argc, char **argv)
{
    set_environment(argv);
    int rc = dispatch(argc, argv);
    if (rc == OK && (fflush(stdout) != 0 || ferror(stdout)))
        rc = ERR(E_IO, "standard output could not be written");
    if (rc != OK && speaks()) {
        fflush(stdout);
        fprintf(stderr, "carat: %s\n", *err_message() ? err_message() : err_name(rc));
        if (rc == E_BUG)
            fprintf(stderr, "carat: this is a bug in carat, at %s (%s)\n", err_place(),
                    CARAT_VERSION);
    }
    return rc;
}
