/* Experiments 1 to 3 of SCIENCE, section 8, by `carat study` itself: jobs/study-shakespeare.yaml on
 * stores whose tokens are the text's 65 characters (prepare's byte pieces, which never occur, cost
 * large batches some twenty steps). CARAT_SHAKESPEARE names the text. Two workers; exit status 1
 * when a row fails. For `make bench T=study`: timeout: 3600 */
#include "bench/science.h"

#include "io/json.h"

#include <sys/wait.h>

enum { COMMAND = 4096 };

/* The folder of the stores: made by a process of its own, since who has begun MPI starts no
 * mpirun. */
static bool make_stores(char *folder, size_t n, const char *text)
{
    int ends[2], status = 1;
    struct science place;
    struct comm world;
    if (pipe(ends) != 0)
        return false;
    pid_t child = fork();
    if (child == 0) {
        int argc = 0;
        char **argv = NULL;
        must(comm_init(&world, &argc, &argv));
        science_begin(&place, &world, text);
        bool whole = write(ends[1], place.folder, sizeof place.folder) == sizeof place.folder;
        comm_end(&world);
        _exit(whole ? 0 : 1);
    }
    close(ends[1]);
    bool got = read(ends[0], folder, n) == (ssize_t)n;
    close(ends[0]);
    return child > 0 && waitpid(child, &status, 0) == child && status == 0 && got;
}

/* Runs a study with further settings; its JSON into the folder's out.json. The exit status. */
static int study(const char *folder, const char *settings)
{
    char command[COMMAND];
    snprintf(command, sizeof command,
             "mpirun -n 2 ./carat study jobs/study-shakespeare.yaml --json study.ranks=1 "
             "model.vocab=65 data.train=%s/train.h5 data.valid=%s/valid.h5 %s >%s/out.json",
             folder, folder, settings, folder);
    int status = system(command);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static int n_failed;

static void row(const char *what, double measured, const char *expected, double low, double high)
{
    bool judged = high > low, passed = measured >= low && measured <= high;
    printf("%-44s %-12.4g %-22s %s\n", what, measured, expected,
           !judged  ? "-"
           : passed ? "ok"
                    : "FAILED");
    n_failed += judged && !passed;
}

static double number(const json_t *o, const char *key)
{
    return json_number_value(json_object_get(o, key));
}

/* Experiments 1 and 2; *tokens: what the largest batch took. */
static void show(const json_t *result, double *tokens)
{
    static const double known[] = {2714, 745, 271, 128, 108, 93};
    const json_t *batches = json_object_get(result, "batches"), *b;
    const json_t *target = json_array_get(json_object_get(result, "targets"), 2);
    const json_t *fit = json_object_get(target, "fit"),
                 *law = json_object_get(target, "rate_below");
    char what[64], expected[32];
    size_t i;
    json_array_foreach(batches, i, b)
    {
        const json_t *best = json_array_get(json_object_get(b, "targets"), 2);
        snprintf(what, sizeof what, "1 steps to 2.1 at B=%.0f, best rate %.2g", number(b, "batch"),
                 number(best, "lr"));
        snprintf(expected, sizeof expected, "%.0f (to 10%%)", known[i]);
        row(what, number(best, "steps"), expected, 0.9 * known[i], 1.1 * known[i]);
        *tokens = number(best, "tokens");
    }
    row("1 Smin", number(fit, "steps_least"), "86 (to 10%)", 0.9 * 86, 1.1 * 86);
    row("1 Emin, tokens", number(fit, "examples_least") * SCIENCE_T, "173k (to 10%)", 0.9 * 173e3,
        1.1 * 173e3);
    row("1 critical batch", number(fit, "critical_batch"), "31 (15 to 60)", 15, 60);
    row("2 the best rate grows over all batches as B^",
        number(json_object_get(target, "rate"), "exponent"), "less", 0, 0);
    row("2 and up to the critical one as B^",
        number(json_is_object(law) ? law : json_object_get(target, "rate"), "exponent"),
        "0.45 (0.3 to 0.6)", 0.3, 0.6);
}

/* Experiment 3: what the linear rule makes of 0.004 at B=16, with twice the best rate's tokens. */
static void show_linear(const char *folder, double tokens)
{
    char settings[COMMAND / 4];
    snprintf(
        settings, sizeof settings,
        "run.dir=%s/linear study.batches=256 study.center=job optimizer.lr=0.064 study.rates=1 "
        "study.extend=0 study.seeds=2 study.targets=2.1 train.tokens=%.0f 2>/dev/null",
        folder, 2 * tokens);
    row("3 lr 0.064 at B=256: exit (78: never arrives)", study(folder, settings), "78", 77.5, 78.5);
}

static void experiments(const char *folder)
{
    char settings[COMMAND / 4], path[FS_PATH_MAX];
    double tokens = 0;
    json_t *root = NULL;
    snprintf(settings, sizeof settings, "run.dir=%s/study", folder);
    must(fs_join(path, folder, "out.json"));
    if (study(folder, settings) == 0)
        root = json_load_file(path, 0, NULL);
    printf("%-44s %-12s %-22s\n", "experiment", "measured", "expected (accepted)");
    if (root != NULL) {
        show(json_object_get(root, "result"), &tokens);
        show_linear(folder, tokens);
    }
    n_failed += root == NULL;
    json_decref(root);
    printf("%d failed\n", n_failed);
}

int main(void)
{
    char folder[sizeof(((struct science *)0)->folder)], command[sizeof folder + 16];
    const char *text = science_text();
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (text == NULL) {
        puts("SKIP: tiny Shakespeare is not there; name the text by CARAT_SHAKESPEARE=FILE");
        return 0;
    }
    if (!make_stores(folder, sizeof folder, text))
        return 1;
    experiments(folder);
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    if (system(command) != 0)
        fprintf(stderr, "%s is left behind\n", folder);
    return n_failed > 0;
}
