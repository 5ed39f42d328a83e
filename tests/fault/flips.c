/* What becomes of a checkpoint with one flipped bit, or with its end cut off.
 *
 * flips FILE SCRATCH bits SEED FIRST N: flips FIRST to FIRST + N - 1 of those that the seed draws;
 * flips FILE SCRATCH cuts FIRST N: lengths of so many times 4 KiB.
 * Works on SCRATCH, a copy. Before each one it prints its number, so that whoever started it knows
 * which it did not survive; then "refused", "same", or "LOST" and what was accepted. Every length
 * past the last is told by "end". */
#include "base/err.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/rng.h"
#include "train/ckpt.h"
#include "train/ckpt_index.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { CUT = 4096 };

static struct {
    struct comm c;
    const char *path; /* the copy's */
    int fd;
    char *whole; /* the file as it was */
    size_t n;
    struct ckpt_meta meta;
    struct ckpt_index x;
} own;

/* ---- what is accepted must be what was there ---- */

static bool same_text(const char *a, const char *b)
{
    return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

static bool same_meta(const struct ckpt_meta *m)
{
    struct ckpt_fact a, b;
    for (int i = 0; ckpt_meta_fact(&own.meta, i, &a); i++)
        if (!ckpt_meta_fact(m, i, &b) || strcmp(a.text, b.text) != 0)
            return false;
    return same_text(m->config_text, own.meta.config_text) &&
           same_text(m->spec_json, own.meta.spec_json) && same_text(m->state, own.meta.state) &&
           same_text(m->history, own.meta.history) && m->n_tokenizer == own.meta.n_tokenizer &&
           (m->n_tokenizer == 0 || memcmp(m->tokenizer, own.meta.tokenizer, m->n_tokenizer) == 0);
}

static bool same_values(const struct ckpt_dataset *a, const struct ckpt_dataset *b)
{
    char *bytes;
    if (strcmp(a->name, b->name) != 0 || a->bytes != b->bytes || a->n_dims != b->n_dims ||
        memcmp(a->dims, b->dims, sizeof a->dims) != 0 ||
        mem_alloc(&bytes, b->bytes, 1, "values") != OK)
        return false;
    bool same = fs_pread(own.fd, bytes, b->bytes, b->offset, own.path) == OK &&
                memcmp(bytes, own.whole + a->offset, a->bytes) == 0;
    mem_free(bytes);
    return same;
}

static bool same_index(const struct ckpt_index *x)
{
    if (x->n != own.x.n)
        return false;
    for (size_t i = 0; i < x->n; i++)
        if (!same_values(&own.x.dataset[i], &x->dataset[i]))
            return false;
    return true;
}

static bool same_content(void)
{
    struct ckpt_meta meta = {0};
    struct ckpt_index x = {0};
    bool same = ckpt_index_load(&x, own.path) == OK && same_index(&x) &&
                ckpt_read_meta(own.path, &meta) == OK && same_meta(&meta);
    ckpt_meta_release(&meta);
    ckpt_index_release(&x);
    return same;
}

static void judge(void)
{
    struct ckpt_meta meta = {0};
    int rc = ckpt_verify(&own.c, own.path, NULL);
    if (rc == OK) {
        rc = ckpt_read_meta(own.path, &meta);
        ckpt_meta_release(&meta);
    }
    if (rc == E_DATA && strstr(err_message(), own.path) != NULL)
        puts("refused");
    else if (rc != OK)
        printf("LOST refused by %s: %s\n", err_name(rc), err_message());
    else
        puts(same_content() ? "same" : "LOST accepted with other content");
    err_clear();
}

/* ---- damage ---- */

static void put(const char *bytes, size_t n, size_t at)
{
    if (fs_pwrite(own.fd, bytes, n, (int64_t)at, own.path) != OK)
        fatal(E_IO, "%s", err_message());
}

static void flip(uint64_t seed, uint64_t number)
{
    size_t at = rng_u64(seed, 0, number) % own.n;
    char byte = own.whole[at] ^ (char)(1 << rng_u64(seed, 1, number) % 8);
    printf("%llu ", (unsigned long long)number);
    fflush(stdout);
    put(&byte, 1, at);
    judge();
    put(&own.whole[at], 1, at);
}

static void cut(uint64_t number)
{
    size_t n = number * CUT;
    if (n >= own.n) {
        puts("end");
        return;
    }
    printf("%llu ", (unsigned long long)number);
    fflush(stdout);
    if (ftruncate(own.fd, (off_t)n) != 0)
        fatal(E_IO, "%s: cannot be cut", own.path);
    judge();
    put(own.whole + n, own.n - n, n);
}

static int begin(const char *file, const char *scratch)
{
    TRY(fs_read_file(file, 0, &own.whole, &own.n));
    own.path = scratch;
    own.fd = open(scratch, O_RDWR | O_CREAT | O_TRUNC, 0666);
    if (own.fd < 0)
        return ERR(E_IO, "%s: cannot be made", scratch);
    put(own.whole, own.n, 0);
    TRY(ckpt_verify(&own.c, scratch, NULL));
    TRY(ckpt_read_meta(scratch, &own.meta));
    TRY(ckpt_index_load(&own.x, scratch));
    return same_content() ? OK : ERR(E_BUG, "%s is not itself", scratch);
}

static uint64_t number(const char *text)
{
    return strtoull(text, NULL, 10);
}

static int run(int argc, char **argv)
{
    bool bits = argc == 7 && strcmp(argv[3], "bits") == 0;
    if (!bits && (argc != 6 || strcmp(argv[3], "cuts") != 0))
        return ERR(E_USAGE, "flips FILE SCRATCH bits SEED FIRST N | cuts FIRST N");
    TRY(begin(argv[1], argv[2]));
    uint64_t first = number(argv[argc - 2]), n = number(argv[argc - 1]);
    for (uint64_t i = first; i < first + n; i++)
        if (bits)
            flip(number(argv[4]), i);
        else
            cut(i);
    return OK;
}

int main(int argc, char **argv)
{
    if (comm_init(&own.c, &argc, &argv) != OK)
        return E_RANK;
    log_quiet(true);
    int rc = run(argc, argv);
    if (rc != OK)
        fprintf(stderr, "flips: %s\n", err_message());
    comm_end(&own.c);
    return rc;
}
