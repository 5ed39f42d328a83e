#include "slurm_script.h"

#include "base/err.h"

#include <ctype.h>
#include <errno.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ID_MAX = 64 };

static int wait_for(pid_t pid)
{
    int status;
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return ERR(E_BUG, "waiting for sbatch: %s", strerror(errno));
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        return ERR(E_CONFIG, "sbatch refused the job; its reason stands above");
    return OK;
}

/* Runs sbatch with the file as its standard input, and its standard output at `to` (-1: ours): no
 * shell and no name of a file in between. */
static int run_sbatch(char *const args[], int from, int to)
{
    posix_spawn_file_actions_t actions;
    pid_t pid;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, from, STDIN_FILENO);
    if (to >= 0)
        posix_spawn_file_actions_adddup2(&actions, to, STDOUT_FILENO);
    int rc = posix_spawnp(&pid, "sbatch", &actions, NULL, args, environ);
    posix_spawn_file_actions_destroy(&actions);
    if (rc != 0)
        return ERR(E_USAGE,
                   "sbatch cannot be started (%s): submit from a login node of the "
                   "cluster, or leave --submit out and pass the script on",
                   strerror(rc));
    return wait_for(pid);
}

/* "123" or "123;cluster". */
static int take_id(char *id, FILE *said)
{
    rewind(said);
    if (fgets(id, ID_MAX, said) == NULL || !isdigit((unsigned char)*id))
        return ERR(E_CONFIG, "sbatch accepted the job but did not say its number");
    id[strspn(id, "0123456789")] = '\0';
    return OK;
}

/* One job, to begin after job `id` unless that is empty; its number is put there. */
static int submit_after(char *id, int script)
{
    char after[ID_MAX + 32];
    char *const args[] = {"sbatch", "--parsable", *id != '\0' ? after : NULL, NULL};
    FILE *said = tmpfile();
    if (said == NULL)
        return ERR(E_IO, "no temporary file for what sbatch says: %s", strerror(errno));
    snprintf(after, sizeof after, "--dependency=afterany:%s", id);
    int rc = run_sbatch(args, script, fileno(said));
    char before[ID_MAX];
    memcpy(before, id, sizeof before);
    if (rc == OK)
        rc = take_id(id, said);
    if (rc == OK)
        printf("Submitted batch job %s%s%s\n", id, *before != '\0' ? ", to begin after " : "",
               before);
    fclose(said);
    return rc;
}

static int submit_file(int script, int64_t times)
{
    char *const args[] = {"sbatch", NULL};
    char id[ID_MAX] = "";
    if (times == 1)
        return run_sbatch(args, script, -1);
    for (int64_t i = 0; i < times; i++) {
        if (lseek(script, 0, SEEK_SET) != 0)
            return ERR(E_IO, "the script's temporary file: %s", strerror(errno));
        int rc = submit_after(id, script);
        if (rc != OK)
            return i == 0 ? rc
                          : err_context(rc, "%lld of %lld jobs are submitted", (long long)i,
                                        (long long)times);
    }
    return OK;
}

int script_submit(const struct str *script, int64_t times)
{
    FILE *f = tmpfile();
    if (f == NULL)
        return ERR(E_IO, "no temporary file for the script: %s", strerror(errno));
    int rc = OK;
    if (fwrite(script->s, 1, script->len, f) != script->len || fflush(f) != 0 ||
        lseek(fileno(f), 0, SEEK_SET) != 0)
        rc = ERR(E_IO, "the script's temporary file cannot be written: %s", strerror(errno));
    if (rc == OK)
        rc = submit_file(fileno(f), times);
    fclose(f);
    return rc;
}
