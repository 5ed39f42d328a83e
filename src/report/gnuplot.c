/* Running gnuplot: its program and what it writes are files of a folder of their own. */
#include "plot_parts.h"

#include "base/err.h"
#include "base/fs.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* Runs gnuplot without the user's own settings; output and errors go to the file. The exit status,
 * 127 when it cannot be started. */
static int run(const char *argument, const char *output)
{
    char name[] = "gnuplot", defaults[] = "-d", arg[FS_PATH_MAX];
    char *argv[] = {name, defaults, arg, NULL};
    posix_spawn_file_actions_t files;
    pid_t pid;
    int status = 127, rc;
    snprintf(arg, sizeof arg, "%s", argument);
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&files, 1, output, O_WRONLY | O_CREAT | O_APPEND, 0600);
    posix_spawn_file_actions_adddup2(&files, 1, 2);
    rc = posix_spawnp(&pid, "gnuplot", &files, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&files);
    if (rc != 0)
        return 127;
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return 127;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

bool plot_has_gnuplot(void)
{
    return run("--version", "/dev/null") == 0;
}

enum { SVG_MAX = 64 << 20, PATH_ROOM = 64 };

static void file_name(char *path, size_t n, const char *folder, const char *what, int i)
{
    snprintf(path, n, "%.*s/%s-%d", PATH_ROOM, folder, what, i);
}

static int write_script(const char *folder, const struct plot *plots, int n)
{
    struct str script = {0};
    char path[FS_PATH_MAX];
    for (int i = 0; i < n; i++) {
        file_name(path, sizeof path, folder, "svg", i);
        plot_script(&script, &plots[i], path);
    }
    file_name(path, sizeof path, folder, "script", 0);
    FILE *f = fopen(path, "w");
    bool good = f != NULL && fwrite(script.s, 1, script.len, f) == script.len;
    good = (f == NULL || fclose(f) == 0) && good;
    str_release(&script);
    return good ? OK : ERR(E_IO, "%s: cannot write gnuplot's program: %s", path, strerror(errno));
}

static int failed(const char *folder)
{
    char path[FS_PATH_MAX], *words = NULL;
    size_t n;
    file_name(path, sizeof path, folder, "words", 0);
    if (fs_read_file(path, 1 << 16, &words, &n) != OK)
        return ERR(E_IO, "gnuplot failed");
    const char *text = words + strspn(words, "\n ");
    int rc = ERR(E_IO, "gnuplot failed: %.*s", (int)strcspn(text, "\n"), text);
    mem_free(words);
    return rc;
}

static int read_drawn(struct str *svg, const struct plot *p, const char *folder, int i)
{
    char path[FS_PATH_MAX], *drawn;
    size_t n;
    file_name(path, sizeof path, folder, "svg", i);
    TRY(fs_read_file(path, SVG_MAX, &drawn, &n));
    int rc = plot_svg(svg, p, drawn);
    mem_free(drawn);
    return rc;
}

static int draw_in(const char *folder, struct str *svg, const struct plot *plots, int n)
{
    char script[FS_PATH_MAX], words[FS_PATH_MAX];
    TRY(write_script(folder, plots, n));
    file_name(script, sizeof script, folder, "script", 0);
    file_name(words, sizeof words, folder, "words", 0);
    if (run(script, words) != 0)
        return failed(folder);
    for (int i = 0; i < n; i++)
        TRY(read_drawn(&svg[i], &plots[i], folder, i));
    return OK;
}

static void remove_folder(const char *folder, int n)
{
    char path[FS_PATH_MAX];
    for (int i = 0; i < n; i++) {
        file_name(path, sizeof path, folder, "svg", i);
        unlink(path);
    }
    file_name(path, sizeof path, folder, "script", 0);
    unlink(path);
    file_name(path, sizeof path, folder, "words", 0);
    unlink(path);
    rmdir(folder);
}

int plot_draw(struct str *svg, const struct plot *plots, int n)
{
    const char *tmp = getenv("TMPDIR");
    char folder[PATH_ROOM];
    if (n == 0)
        return OK;
    /* Its name stands in gnuplot's program. */
    if (tmp == NULL || strlen(tmp) + sizeof "/carat-report-XXXXXX" > sizeof folder ||
        strchr(tmp, '\'') != NULL)
        tmp = "/tmp";
    snprintf(folder, sizeof folder, "%.*s/carat-report-XXXXXX", (int)sizeof folder - 24, tmp);
    if (mkdtemp(folder) == NULL)
        return ERR(E_IO, "%s: cannot make a folder for gnuplot: %s", folder, strerror(errno));
    int rc = draw_in(folder, svg, plots, n);
    remove_folder(folder, n);
    return rc;
}
