#include "cmd/job.h"

#include "base/err.h"
#include "base/mem.h"
#include "conf/config_edit.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { FILE_MAX_BYTES = 1 << 20 };

/* A text on its way: each edit takes the place of the one before. */
int job_text_set(char **text, const struct job *j, const char *key, const char *value)
{
    char *next;
    TRY(conf_edit(*text, j->file, conf_find(key), value, &next));
    mem_free(*text);
    *text = next;
    return OK;
}

static int set_overrides(char **text, const struct job *j)
{
    char value[CONF_VALUE_MAX];
    for (int i = 0; i < CONF_N_KEYS; i++) {
        const struct conf_key *k = &CONF_KEYS[i];
        if (strcmp(j->origins.text[i], "command line") == 0)
            TRY(job_text_set(text, j, k->name, conf_value_text(k, &j->conf, value, sizeof value)));
    }
    return OK;
}

int job_text(char **text, const struct job *j)
{
    size_t n;
    if (j->from_study)
        return conf_text(&j->conf, NULL, text);
    TRY(fs_read_file(j->file, FILE_MAX_BYTES, text, &n));
    return set_overrides(text, j);
}

int job_check_folder(const char *option, const char *path)
{
    char folder[FS_PATH_MAX] = ".";
    const char *slash = strrchr(path, '/');
    if (slash != NULL)
        snprintf(folder, sizeof folder, "%.*s", slash == path ? 1 : (int)(slash - path), path);
    if (access(folder, W_OK) != 0)
        return ERR(E_USAGE, "%s %s: the folder %s is not there or cannot be written", option, path,
                   folder);
    return OK;
}

int job_check_output(const char *option, const char *path, bool force)
{
    if (fs_exists(path) && !force)
        return ERR(E_USAGE, "%s %s: the file is there already; --force replaces it", option, path);
    return job_check_folder(option, path);
}
