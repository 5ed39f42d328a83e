#include "data/store_write.h"

#include "base/err.h"
#include "base/fs.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/str.h"
#include "data/perm.h"
#include "data/spool.h"
#include "data/store.h"
#include "io/h5x.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Blocks that go to HDF5 at once. */
enum { BLOCK_BYTES = 4 << 20, BLOCK_DOCS = 1 << 16 };

/* Keeps the choice of documents apart from the orders of training under the same seed. */
#define DIVISION_EPOCH 0xd1715104ull

struct store_writer {
    char path[FS_PATH_MAX], temp[FS_PATH_MAX];
    int vocab, token_bytes;
    struct spool tokens;  /* as they will be stored */
    struct spool lengths; /* uint64: tokens of each document */
    uint64_t n_docs, doc_tokens;
};

int store_writer_new(struct store_writer **out, const char *path, int vocab)
{
    struct store_writer *w;
    TRY(mem_alloc(out, 1, sizeof *w, "store writer"));
    w = *out;
    w->tokens.fd = w->lengths.fd = -1;
    w->vocab = vocab;
    w->token_bytes = vocab <= 1 << 8 ? 1 : vocab <= 1 << 16 ? 2 : 4;
    int n = snprintf(w->temp, sizeof w->temp, "%s.tmp.%ld", path, (long)getpid());
    int rc = n < (int)sizeof w->temp ? OK : ERR(E_IO, "%.60s...: the path is too long", path);
    if (rc == OK) {
        strcpy(w->path, path);
        rc = spool_init(&w->tokens, path);
    }
    if (rc == OK)
        rc = spool_init(&w->lengths, path);
    if (rc != OK) {
        store_writer_free(w);
        *out = NULL;
    }
    return rc;
}

void store_writer_free(struct store_writer *w)
{
    if (w == NULL)
        return;
    spool_release(&w->tokens);
    spool_release(&w->lengths);
    mem_free(w);
}

uint64_t store_writer_n_docs(const struct store_writer *w)
{
    return w->n_docs;
}

uint64_t store_writer_n_tokens(const struct store_writer *w)
{
    return (uint64_t)spool_bytes(&w->tokens) / (uint64_t)w->token_bytes;
}

/* Ids as they will be stored. */
static int narrow(void *out, const int32_t *ids, size_t n, const struct store_writer *w)
{
    uint8_t *u8 = out;
    uint16_t *u16 = out;
    uint32_t *u32 = out;
    for (size_t i = 0; i < n; i++) {
        if ((uint32_t)ids[i] >= (uint32_t)w->vocab)
            return ERR(E_BUG, "token %d is outside the vocabulary of %d", ids[i], w->vocab);
        if (w->token_bytes == 1)
            u8[i] = (uint8_t)ids[i];
        else if (w->token_bytes == 2)
            u16[i] = (uint16_t)ids[i];
        else
            u32[i] = (uint32_t)ids[i];
    }
    return OK;
}

int store_writer_add(struct store_writer *w, const int32_t *ids, size_t n)
{
    enum { CHUNK = 4096 };
    uint32_t raw[CHUNK];
    for (size_t done = 0, k; done < n; done += k) {
        k = n - done < CHUNK ? n - done : CHUNK;
        TRY(narrow(raw, ids + done, k, w));
        TRY(spool_add(&w->tokens, raw, k * (size_t)w->token_bytes));
    }
    w->doc_tokens += n;
    return OK;
}

int store_writer_end_document(struct store_writer *w)
{
    if (w->doc_tokens == 0)
        return OK;
    TRY(spool_add(&w->lengths, &w->doc_tokens, sizeof w->doc_tokens));
    w->n_docs++;
    w->doc_tokens = 0;
    return OK;
}

/* The documents of one split in their order, with where their tokens lie in the spool. */
struct walk {
    struct store_writer *w;
    const struct store_division *d;
    enum split split;
    uint64_t *length;    /* [BLOCK_DOCS], of the block that holds doc */
    uint64_t doc, token; /* the next document and its first token */
    uint64_t n;          /* tokens of the document that walk_next found */
    uint64_t first;      /* and its first one */
};

static int walk_init(struct walk *k, struct store_writer *w, const struct store_division *d,
                     enum split split)
{
    *k = (struct walk){.w = w, .d = d, .split = split};
    return mem_alloc(&k->length, BLOCK_DOCS, sizeof *k->length, "document lengths");
}

static enum split split_of(const struct walk *k, uint64_t doc)
{
    uint64_t place = perm_at(k->d->seed, DIVISION_EPOCH, k->w->n_docs, doc);
    return place < k->d->n_valid ? SPLIT_VALID : SPLIT_TRAIN;
}

/* Sets *found to false at the end. */
static int walk_next(struct walk *k, bool *found)
{
    for (*found = false; !*found && k->doc < k->w->n_docs; k->doc++) {
        size_t i = k->doc % BLOCK_DOCS;
        uint64_t left = k->w->n_docs - k->doc;
        if (i == 0) {
            if (k->d->stopped != NULL && k->d->stopped())
                return ERR(E_STOPPED, "stopped by a signal: %s was not written", k->w->path);
            TRY(spool_read(&k->w->lengths, k->length,
                           (left < BLOCK_DOCS ? left : BLOCK_DOCS) * sizeof *k->length,
                           (int64_t)(k->doc * sizeof *k->length)));
        }
        *found = split_of(k, k->doc) == k->split;
        k->first = k->token;
        k->n = k->length[i];
        k->token += k->n;
    }
    return OK;
}

static int count_split(struct store_writer *w, const struct store_division *d, enum split split,
                       uint64_t *n_docs, uint64_t *n_tokens)
{
    struct walk k;
    bool found;
    int rc = walk_init(&k, w, d, split);
    for (*n_docs = *n_tokens = 0; rc == OK;) {
        rc = walk_next(&k, &found);
        if (rc != OK || !found)
            break;
        ++*n_docs;
        *n_tokens += k.n;
    }
    mem_free(k.length);
    return rc;
}

/* A dataset that is filled from its beginning, block by block. */
struct filler {
    hid_t set, type;
    size_t elem_bytes, fill, cap; /* elements */
    hsize_t done;
    char *buf;
    struct sha256 *sum; /* of what was written; may be NULL */
};

static int filler_init(struct filler *f, hid_t file, const char *name, size_t elem_bytes, hsize_t n,
                       const char *description)
{
    *f = (struct filler){.set = -1, .elem_bytes = elem_bytes, .cap = BLOCK_BYTES / elem_bytes};
    f->type = elem_bytes == 1   ? H5T_STD_U8LE
              : elem_bytes == 2 ? H5T_STD_U16LE
              : elem_bytes == 4 ? H5T_STD_U32LE
                                : H5T_STD_U64LE;
    TRY(h5x_make_dataset(file, name, f->type, 1, &n, description));
    f->set = H5Dopen2(file, name, H5P_DEFAULT);
    if (f->set < 0)
        return h5x_error(E_IO, "cannot open /%s", name);
    return mem_alloc(&f->buf, BLOCK_BYTES, 1, "store block");
}

static int filler_release(struct filler *f, int rc)
{
    if (f->set >= 0 && H5Dclose(f->set) < 0 && rc == OK)
        rc = h5x_error(E_IO, "cannot close a dataset");
    mem_free(f->buf);
    return rc;
}

static int filler_flush(struct filler *f)
{
    hsize_t n = f->fill;
    if (n == 0)
        return OK;
    hid_t memory = H5Screate_simple(1, &n, NULL), space = H5Dget_space(f->set);
    herr_t bad = memory < 0 || space < 0;
    bad = bad || H5Sselect_hyperslab(space, H5S_SELECT_SET, &f->done, NULL, &n, NULL) < 0;
    bad = bad || H5Dwrite(f->set, f->type, memory, space, H5P_DEFAULT, f->buf) < 0;
    int rc = bad ? h5x_error(E_IO, "cannot write %zu elements", f->fill) : OK;
    if (space >= 0)
        H5Sclose(space);
    if (memory >= 0)
        H5Sclose(memory);
    if (f->sum != NULL)
        sha256_add(f->sum, f->buf, f->fill * f->elem_bytes);
    f->done += n;
    f->fill = 0;
    return rc;
}

/* Room for up to n more elements: at least one; *k says how many. */
static int filler_room(struct filler *f, size_t n, void **room, size_t *k)
{
    if (f->fill == f->cap)
        TRY(filler_flush(f));
    *k = n < f->cap - f->fill ? n : f->cap - f->fill;
    *room = f->buf + f->fill * f->elem_bytes;
    f->fill += *k;
    return OK;
}

static int add_document(struct filler *f, struct walk *k)
{
    for (uint64_t done = 0; done < k->n;) {
        void *room;
        size_t n;
        TRY(filler_room(f, k->n - done, &room, &n));
        TRY(spool_read(&k->w->tokens, room, n * f->elem_bytes,
                       (int64_t)((k->first + done) * f->elem_bytes)));
        done += n;
    }
    return OK;
}

static int add_offset(struct filler *f, uint64_t offset)
{
    void *room;
    size_t n;
    TRY(filler_room(f, 1, &room, &n));
    memcpy(room, &offset, sizeof offset);
    return OK;
}

static int fill_split(struct filler *tokens, struct filler *offsets, struct walk *k)
{
    uint64_t end = 0;
    bool found;
    TRY(add_offset(offsets, 0));
    for (;;) {
        TRY(walk_next(k, &found));
        if (!found)
            break;
        TRY(add_document(tokens, k));
        TRY(add_offset(offsets, end += k->n));
    }
    TRY(filler_flush(tokens));
    return filler_flush(offsets);
}

static int write_split(hid_t file, struct store_writer *w, const struct store_division *d,
                       enum split split, struct store_counts *c, struct sha256 *sum)
{
    bool valid = split == SPLIT_VALID;
    struct filler tokens = {.set = -1}, offsets = {.set = -1};
    struct walk k = {0};
    int rc;
    TRY_OUT(filler_init(&tokens, file, valid ? "valid/tokens" : "train/tokens",
                        (size_t)w->token_bytes, valid ? c->valid_tokens : c->train_tokens,
                        valid ? "token ids of the validation documents, one after another"
                              : "token ids of the training documents, one after another"));
    TRY_OUT(filler_init(&offsets, file, valid ? "valid/offsets" : "train/offsets", sizeof(uint64_t),
                        (valid ? c->valid_docs : c->train_docs) + 1,
                        "document i is tokens[offsets[i]] to tokens[offsets[i+1]-1]"));
    TRY_OUT(walk_init(&k, w, d, split));
    tokens.sum = sum;
    rc = fill_split(&tokens, &offsets, &k);
out:
    mem_free(k.length);
    rc = filler_release(&offsets, rc);
    return filler_release(&tokens, rc);
}

/* One text: an array of fixed-length names would be as wide as the longest. */
static int write_names(hid_t file, const struct store_facts *f)
{
    struct str names = {0};
    for (size_t i = 0; i < f->n_sources; i++)
        str_addf(&names, "%s\n", f->sources[i]);
    hid_t type = H5Tcopy(H5T_C_S1);
    int rc;
    if (type < 0 || H5Tset_size(type, names.len + 1) < 0 || H5Tset_cset(type, H5T_CSET_UTF8) < 0)
        rc = h5x_error(E_IO, "cannot make a text type");
    else
        rc = h5x_put_array(file, "sources", type, 0, NULL, names.s,
                           "where the text came from, in the order it was read, one a line");
    if (type >= 0)
        H5Tclose(type);
    str_release(&names);
    return rc;
}

static int write_facts(hid_t file, const struct store_writer *w, const struct store_facts *f,
                       const struct store_counts *c)
{
    hsize_t n = f->tokenizer_bytes;
    if (f->tokenizer != NULL && n > 0)
        TRY(h5x_put_array(file, "tokenizer", H5T_STD_U8LE, 1, &n, f->tokenizer,
                          "the SentencePiece model file, byte by byte"));
    if (f->n_sources > 0)
        TRY(write_names(file, f));
    TRY(h5x_put_text(file, "description", "carat token store: text as token ids"));
    TRY(h5x_put_i64(file, "format_version", STORE_FORMAT_VERSION));
    TRY(h5x_put_i64(file, "vocab", w->vocab));
    TRY(h5x_put_text(file, "tokenizer_hash", f->tokenizer_hash != NULL ? f->tokenizer_hash : ""));
    TRY(h5x_put_text(file, "data_hash", c->data_hash));
    TRY(h5x_put_text(file, "arguments", f->arguments != NULL ? f->arguments : ""));
    const struct {
        const char *name;
        uint64_t n;
    } counts[] = {{"n_train_tokens", c->train_tokens},
                  {"n_valid_tokens", c->valid_tokens},
                  {"n_train_docs", c->train_docs},
                  {"n_valid_docs", c->valid_docs},
                  {"n_text_bytes", f->text_bytes}};
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++)
        TRY(h5x_put_i64(file, counts[i].name, (int64_t)counts[i].n));
    return OK;
}

static int write_parts(hid_t file, struct store_writer *w, const struct store_facts *f,
                       const struct store_division *d, struct store_counts *c)
{
    struct sha256 sum;
    sha256_init(&sum);
    TRY(write_split(file, w, d, SPLIT_TRAIN, c, &sum));
    TRY(write_split(file, w, d, SPLIT_VALID, c, &sum));
    sha256_hex(&sum, c->data_hash);
    return write_facts(file, w, f, c);
}

int store_writer_finish(struct store_writer *w, const struct store_facts *f,
                        const struct store_division *d, struct store_counts *c)
{
    hid_t file;
    *c = (struct store_counts){.token_bytes = w->token_bytes};
    TRY(store_writer_end_document(w));
    TRY(count_split(w, d, SPLIT_TRAIN, &c->train_docs, &c->train_tokens));
    TRY(count_split(w, d, SPLIT_VALID, &c->valid_docs, &c->valid_tokens));
    unlink(w->temp);
    TRY(h5x_create(&file, w->temp));
    int rc = write_parts(file, w, f, d, c);
    int closed = h5x_close(&file);
    if (rc == OK)
        rc = closed;
    if (rc == OK)
        rc = fs_fsync(w->temp);
    if (rc == OK)
        rc = fs_rename(w->temp, w->path);
    if (rc != OK)
        unlink(w->temp);
    return rc;
}
