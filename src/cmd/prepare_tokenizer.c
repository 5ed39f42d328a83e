#include "base/err.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/rng.h"
#include "base/str.h"
#include "data/store.h"
#include "prepare.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* The text a tokenizer is trained on: enough for any vocabulary, little enough for memory. */
#define SAMPLE_BYTES ((size_t)48 << 20)
/* Text a gzip file holds, at a guess. */
#define GZIP_RATIO    3
#define SAMPLE_STREAM 0x73616d70ull /* "samp" */

static bool is_hdf5(const char *path)
{
    static const char signature[8] = "\x89HDF\r\n\x1a\n";
    char head[sizeof signature];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    bool yes =
        read(fd, head, sizeof head) == sizeof head && memcmp(head, signature, sizeof head) == 0;
    close(fd);
    return yes;
}

static int from_store(struct tokenizer **t, const char *path)
{
    void *bytes;
    size_t n;
    TRY(store_tokenizer(path, &bytes, &n));
    int rc = n == 0 ? ERR(E_DATA, "%s: holds no tokenizer", path)
                    : tokenizer_from_bytes(t, bytes, n, path);
    mem_free(bytes);
    return rc;
}

int prepare_open_tokenizer(struct tokenizer **t, const char *path)
{
    char inside[FS_PATH_MAX];
    if (fs_is_dir(path)) {
        TRY(fs_join(inside, path, "tokenizer.model"));
        return tokenizer_open(t, inside);
    }
    return is_hdf5(path) ? from_store(t, path) : tokenizer_open(t, path);
}

/* Pieces joined by line breaks. */
struct sample {
    char *text;
    size_t n;
};

static double share_of(const struct source_list *l)
{
    double text = 0;
    for (size_t i = 0; i < l->n; i++) {
        if (l->item[i].bytes < 0)
            return 1;
        text += (double)l->item[i].bytes * (str_ends(l->item[i].path, ".gz") ? GZIP_RATIO : 1);
    }
    return text > (double)SAMPLE_BYTES ? (double)SAMPLE_BYTES / text : 1;
}

/* A share of all pieces, so that the sample is spread over all documents. */
static int take_sample(struct sample *s, struct documents *d, const struct source_list *l,
                       uint64_t seed)
{
    struct progress progress;
    struct piece p;
    double share = share_of(l);
    progress_begin(&progress, "sampling for the tokenizer", sources_bytes(l));
    for (uint64_t i = 0;; i++) {
        TRY(documents_next(d, &p));
        if (p.text == NULL)
            return OK;
        progress_show(&progress, documents_position(d), 0);
        if (rng_uniform(seed, SAMPLE_STREAM, i) >= share)
            continue;
        if (s->n + p.n + 1 > SAMPLE_BYTES)
            return OK;
        memcpy(s->text + s->n, p.text, p.n);
        s->n += p.n;
        s->text[s->n++] = '\n';
    }
}

static const char *once(void *ctx, size_t *n)
{
    struct sample *s = ctx;
    const char *text = s->n > 0 ? s->text : NULL;
    *n = s->n;
    s->n = 0;
    return text;
}

static int train_on(struct tokenizer **t, int vocab, struct sample *s)
{
    void *bytes;
    size_t n;
    log_status("training a tokenizer of %d pieces on %.1f MB of text", vocab, (double)s->n / 1e6);
    /* The library does not look up from its work. */
    stop_at_once(true);
    int rc = tokenizer_train(&bytes, &n, vocab, once, s);
    stop_at_once(false);
    log_status_end();
    if (rc == OK)
        rc = tokenizer_from_bytes(t, bytes, n, "the trained tokenizer");
    mem_free(bytes);
    return rc;
}

int prepare_train_tokenizer(struct tokenizer **t, int vocab, const struct source_list *l,
                            const struct documents_options *o, uint64_t seed)
{
    struct sample s = {0};
    struct documents *d = NULL;
    int rc;
    TRY_OUT(mem_alloc(&s.text, SAMPLE_BYTES, 1, "tokenizer sample"));
    TRY_OUT(documents_new(&d, l, o));
    TRY_OUT(take_sample(&s, d, l, seed));
    rc = train_on(t, vocab, &s);
out:
    documents_free(d);
    mem_free(s.text);
    return rc;
}
