/* Files of a study that appear once and whole, whoever else tries; and what is left of those that
 * did not. */
#include "folder.h"

#include "base/err.h"
#include "base/fault.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NEW ".new-" /* begins the name of a trial's folder that is not published yet */

int publish_once(const char *path, json_t *object, bool *taken)
{
    char *text = json_dumps(object, JSON_REAL_PRECISION(17));
    if (text == NULL)
        return ERR(E_BUG, "%s: a text in it is not UTF-8, or no memory", path);
    int rc = fs_write_new(path, text, strlen(text), taken);
    free(text);
    return rc;
}

void folder_revalidate(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0)
        close(fd);
}

/* Removes what `folder` holds and whose name has `word` in it. */
static void remove_files(const char *folder, const char *word)
{
    char path[FS_PATH_MAX];
    struct dirent *e;
    DIR *d = opendir(folder);
    while (d != NULL && (e = readdir(d)) != NULL)
        if (strstr(e->d_name, word) != NULL && fs_join(path, folder, e->d_name) == OK)
            unlink(path);
    if (d != NULL)
        closedir(d);
}

static void remove_new(const char *folder)
{
    remove_files(folder, "trial.json");
    rmdir(folder);
}

void remove_temporaries(const char *folder)
{
    remove_files(folder, ".tmp.");
}

/* A temporary name of a process of this host that is gone; base/fs.h tells how they are made. */
static bool is_dead_temporary(const char *name)
{
    char host[64] = "";
    const char *from = strstr(name, ".tmp."), *dot = strrchr(name, '.');
    (void)gethostname(host, sizeof host - 1);
    size_t n = strlen(host);
    return from != NULL && dot == from + 5 + n && strncmp(from + 5, host, n) == 0 &&
           kill((pid_t)strtol(dot + 1, NULL, 10), 0) != 0 && errno == ESRCH;
}

/* Of results.h5 and its like, beside which living workers write. */
static void remove_dead_temporaries(const char *folder)
{
    char path[FS_PATH_MAX];
    struct dirent *e;
    DIR *d = opendir(folder);
    while (d != NULL && (e = readdir(d)) != NULL)
        if (is_dead_temporary(e->d_name) && fs_join(path, folder, e->d_name) == OK)
            unlink(path);
    if (d != NULL)
        closedir(d);
}

void remove_leftovers(const struct study *s)
{
    char folder[FS_PATH_MAX], path[FS_PATH_MAX];
    struct dirent *e;
    int number;
    DIR *d = fs_join(folder, s->dir, "trials") == OK ? opendir(folder) : NULL;
    while (d != NULL && (e = readdir(d)) != NULL)
        if (sscanf(e->d_name, NEW "%6d-", &number) == 1 && trial_path(path, s, number) == OK &&
            fs_is_dir(path) && fs_join(path, folder, e->d_name) == OK)
            remove_new(path);
    if (d != NULL)
        closedir(d);
    remove_dead_temporaries(s->dir);
}

/* Of several who rename onto one name the first succeeds: a folder that is not empty stays. */
static int rename_new(const char *from, const char *to, bool *taken)
{
    if (fault_hit("study.add"))
        return ERR(E_IO, "%s: cannot rename: %s (fault study.add)", to, strerror(ENOSPC));
    if (rename(from, to) == 0)
        return fs_fsync_parent(to);
    int error = errno;
    *taken = fs_is_dir(to);
    return *taken ? OK : ERR(E_IO, "%s: cannot publish the trial: %s", to, strerror(error));
}

static int make_trial(const char *from, const char *to, json_t *plan, bool *taken)
{
    char path[FS_PATH_MAX];
    bool exists;
    if (mkdir(from, 0777) != 0 && errno != EEXIST)
        return ERR(E_IO, "%s: cannot make the folder: %s", from, strerror(errno));
    TRY(fs_join(path, from, "trial.json"));
    TRY(publish_once(path, plan, &exists));
    return rename_new(from, to, taken);
}

/* Made under a name that no other process uses. What is left of it if this one dies can be told as
 * such once its number is there, which it will be by another. */
static int new_folder(char *path, const struct study *s, int number)
{
    char name[128], host[64] = "host";
    (void)gethostname(host, sizeof host - 1);
    snprintf(name, sizeof name, "trials/" NEW "%06d-%s-%ld", number, host, (long)getpid());
    return fs_join(path, s->dir, name);
}

int study_add(const struct study *s, int number, const struct trial_plan *plan, bool *taken)
{
    char from[FS_PATH_MAX], to[FS_PATH_MAX];
    TRY(trial_path(to, s, number));
    TRY(new_folder(from, s, number));
    *taken = fs_is_dir(to);
    if (*taken)
        return OK;
    remove_new(from); /* of an earlier process with this one's number */
    json_t *o = trial_plan_json(plan);
    int rc = make_trial(from, to, o, taken);
    json_decref(o);
    if (rc != OK && fs_is_dir(to)) { /* its publisher has removed ours */
        err_clear();
        *taken = true;
        rc = OK;
    }
    if (rc != OK || *taken)
        remove_new(from);
    else
        remove_leftovers(s);
    return rc;
}
