#include "bench.h"

#include "base/err.h"
#include "base/log.h"
#include "base/rng.h"
#include "data/store_write.h"
#include "par/agree.h"

#include <errno.h>
#include <ftw.h>
#include <stdlib.h>
#include <string.h>

enum { DOCUMENTS = 64, DOCUMENT_TOKENS = 1 << 14, CHUNK = 1 << 10 };

static int add_document(struct store_writer *w, const struct job *j, uint64_t document)
{
    int32_t id[CHUNK];
    for (uint64_t at = 0; at < DOCUMENT_TOKENS; at += CHUNK) {
        for (int i = 0; i < CHUNK; i++)
            id[i] = (int32_t)(rng_uniform((uint64_t)j->conf.run.seed, document, at + (uint64_t)i) *
                              j->spec.V);
        TRY(store_writer_add(w, id, CHUNK));
    }
    return store_writer_end_document(w);
}

/* A store like any other, so that reading it is measured as in training. */
static int make_tokens(const char *path, const struct job *j)
{
    struct store_writer *w;
    struct store_counts counts;
    const struct store_facts facts = {.arguments = "made up by carat bench"};
    const struct store_division division = {.seed = 1, .n_valid = 1};
    int rc;
    TRY(store_writer_new(&w, path, j->spec.V));
    for (uint64_t d = 0; d < DOCUMENTS; d++)
        TRY_OUT(add_document(w, j, d));
    rc = store_writer_finish(w, &facts, &division, &counts);
out:
    store_writer_free(w);
    return rc;
}

/* The ranks of one node share its own disk; those of several, the folder they were started in. */
static int make_folder(struct bench_folder *f, const struct job *j, const struct comm *c)
{
    const char *base = c->n_nodes > 1 ? "." : getenv("TMPDIR");
    if (base == NULL || *base == '\0')
        base = "/tmp";
    char path[FS_PATH_MAX];
    TRY(fs_join(path, base, "carat-bench-XXXXXX"));
    if (mkdtemp(path) == NULL)
        return ERR(E_IO, "%s: cannot make a folder to measure in: %s", path, strerror(errno));
    strcpy(f->path, path);
    f->synthetic = !j->has_data;
    if (!f->synthetic) {
        snprintf(f->tokens, sizeof f->tokens, "%s", j->conf.data.train);
        return OK;
    }
    TRY(fs_join(f->tokens, f->path, "tokens.h5"));
    return make_tokens(f->tokens, j);
}

int bench_folder_make(struct bench_folder *f, const struct job *j, const struct comm *c)
{
    memset(f, 0, sizeof *f);
    return agree_bcast(c, 0, c->rank == 0 ? make_folder(f, j, c) : OK, f, sizeof *f);
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *at)
{
    (void)st, (void)kind, (void)at;
    return remove(path);
}

void bench_folder_remove(const struct bench_folder *f, const struct comm *c)
{
    MPI_Barrier(c->world);
    if (c->rank == 0 && *f->path != '\0' &&
        nftw(f->path, remove_one, 16, FTW_DEPTH | FTW_PHYS) != 0)
        log_warn("%s is left behind: %s", f->path, strerror(errno));
}
