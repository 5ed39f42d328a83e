/* A study's files: the first line of the input is one of "plan", "reached", "end", "claim" and
 * "card"; the rest takes the place of that file in a study with one trial. */
#include "base/err.h"
#include "base/fs.h"
#include "base/str.h"
#include "fuzz.h"
#include "study/study.h"

#include <string.h>
#include <unistd.h>

static const struct {
    const char *name, *path, *text; /* text: where the input is another file; NULL: then none */
} files[] = {
    {"card\n", "study/study.json", "{\"format\":1,\"kind\":\"search\",\"job\":\"run.seed: 1\"}"},
    {"plan\n", "study/trials/000000/trial.json",
     "{\"format\":1,\"settings\":{\"optimizer.lr\":\"0.1\"},\"milestones_tokens\":[10]}"},
    {"reached\n", "study/trials/000000/reached-0001.json", NULL},
    {"end\n", "study/trials/000000/end.json", NULL},
    {"claim\n", "study/trials/000000/claim-0001", NULL},
};
enum { N_FILES = sizeof files / sizeof *files };

static void put(int i, const char *text, size_t n)
{
    const char *path = fuzz_file(files[i].path, text, n);
    if (text == NULL)
        unlink(path);
}

static void look(const char *dir)
{
    struct study s;
    struct history h;
    struct str csv = {0};
    if (study_read(&s, dir) != OK)
        return;
    if (study_history(&s, &h) == OK) {
        MUST(h.n == 1 && h.trial[0].n_curve >= 0 && h.trial[0].state <= TRIAL_FAILED);
        history_best(&h);
        MUST(study_csv(&csv, &h) == OK);
        str_release(&csv);
    }
    study_close(&s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    char dir[FS_PATH_MAX];
    int chosen = 0;
    while (chosen < N_FILES && (n < strlen(files[chosen].name) ||
                                memcmp(data, files[chosen].name, strlen(files[chosen].name)) != 0))
        chosen++;
    if (chosen == N_FILES)
        return 0;
    size_t lead = strlen(files[chosen].name);
    for (int i = 0; i < N_FILES; i++)
        if (i == chosen)
            put(i, (const char *)data + lead, n - lead);
        else
            put(i, files[i].text, files[i].text != NULL ? strlen(files[i].text) : 0);
    MUST(fs_join(dir, fuzz_dir(), "study") == OK);
    look(dir);
    err_clear();
    return 0;
}
