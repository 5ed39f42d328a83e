#include "text/tokenizer.h"

#include "base/err.h"
#include "base/fs.h"
#include "base/hash.h"
#include "base/mem.h"
#include "segments.h"
#include "spm_proto.h"
#include "spm_shim.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

/* Gemma's own has 5 MB. */
#define MODEL_BYTES_MAX ((size_t)256 << 20)

struct tokenizer {
    struct spm *spm;
    struct segments *segments; /* NULL: texts are encoded as a whole */
    void *bytes;
    size_t n_bytes;
    char hash[65];
};

static int load(struct tokenizer *t, const char *from)
{
    char message[SPM_MESSAGE] = "";
    if (t->n_bytes == 0)
        return ERR(E_DATA, "%s: is empty, no SentencePiece model", from);
    if (spm_load(&t->spm, t->bytes, t->n_bytes, message) != 0) {
        bool json = *(const char *)t->bytes == '{';
        return ERR(E_DATA, "%s: no SentencePiece model%s (%s)", from,
                   json ? "; of a Hugging Face folder carat reads tokenizer.model" : "", message);
    }
    if (spm_takes_text_as_is(t->bytes, t->n_bytes))
        TRY(segments_new(&t->segments, t->spm));
    sha256_of(t->hash, t->bytes, t->n_bytes);
    return OK;
}

/* Takes bytes over, also when it fails. */
static int tokenizer_new(struct tokenizer **out, void *bytes, size_t n, const char *from)
{
    struct tokenizer *t;
    int rc = mem_alloc(out, 1, sizeof *t, "tokenizer");
    if (rc != OK) {
        mem_free(bytes);
        return rc;
    }
    t = *out;
    t->bytes = bytes;
    t->n_bytes = n;
    rc = load(t, from);
    if (rc != OK) {
        tokenizer_free(t);
        *out = NULL;
    }
    return rc;
}

int tokenizer_open(struct tokenizer **t, const char *path)
{
    char *bytes;
    size_t n;
    *t = NULL;
    TRY(fs_read_file(path, MODEL_BYTES_MAX, &bytes, &n));
    return tokenizer_new(t, bytes, n, path);
}

int tokenizer_from_bytes(struct tokenizer **t, const void *bytes, size_t n, const char *from)
{
    void *copy;
    *t = NULL;
    TRY(mem_alloc(&copy, n, 1, "tokenizer"));
    if (n > 0)
        memcpy(copy, bytes, n);
    return tokenizer_new(t, copy, n, from);
}

void tokenizer_free(struct tokenizer *t)
{
    if (t == NULL)
        return;
    segments_free(t->segments);
    spm_free(t->spm);
    mem_free(t->bytes);
    mem_free(t);
}

const void *tokenizer_bytes(const struct tokenizer *t, size_t *n)
{
    *n = t->n_bytes;
    return t->bytes;
}

const char *tokenizer_hash(const struct tokenizer *t)
{
    return t->hash;
}

int tokenizer_vocab(const struct tokenizer *t)
{
    return spm_vocab(t->spm);
}

int tokenizer_bos(const struct tokenizer *t)
{
    return spm_bos(t->spm);
}

int tokenizer_eos(const struct tokenizer *t)
{
    return spm_eos(t->spm);
}

/* Ids as they gather. */
struct id_list {
    int32_t *ids;
    size_t cap, n;
    int rc; /* of the last growth */
};

static int reserve(struct id_list *l, size_t extra)
{
    if (extra <= l->cap - l->n)
        return OK;
    size_t cap = l->cap < 256 ? 256 : l->cap;
    while (extra > cap - l->n)
        cap *= 2;
    int32_t *ids;
    TRY(mem_alloc(&ids, cap, sizeof *ids, "token ids"));
    if (l->n > 0)
        memcpy(ids, l->ids, l->n * sizeof *ids);
    mem_free(l->ids);
    l->ids = ids;
    l->cap = cap;
    return OK;
}

static void append(void *ctx, const int *ids, size_t n)
{
    struct id_list *l = ctx;
    l->rc = reserve(l, n);
    if (l->rc != OK || n == 0)
        return;
    _Static_assert(sizeof(int) == sizeof(int32_t), "ids are copied as they are");
    memcpy(l->ids + l->n, ids, n * sizeof *ids);
    l->n += n;
}

/* By the library, which needs the more time a byte the longer the text is. */
static int encode_whole(const struct tokenizer *t, const char *text, size_t n, struct id_list *l)
{
    char message[SPM_MESSAGE] = "";
    if (spm_encode(t->spm, text, n, message, append, l) != 0)
        return ERR(E_DATA, "the tokenizer refuses %zu bytes of text: %s", n, message);
    return l->rc;
}

static int encode_segment(const struct tokenizer *t, const char *text, size_t n, struct id_list *l)
{
    size_t n_ids, before = l->n;
    const int32_t *ids = segment_find(t->segments, text, n, &n_ids);
    if (ids != NULL) {
        append(l, ids, n_ids);
        return l->rc;
    }
    TRY(encode_whole(t, text, n, l));
    segment_keep(t->segments, text, n, l->ids + before, l->n - before);
    return OK;
}

static int encode(const struct tokenizer *t, const char *text, size_t n, struct id_list *l)
{
    if (t->segments == NULL || !segments_fit(text, n))
        return encode_whole(t, text, n, l);
    for (size_t i = 0, k; i < n; i += k) {
        k = segment_length(t->segments, text + i, n - i);
        TRY(encode_segment(t, text + i, k, l));
    }
    return OK;
}

int tokenizer_encode(const struct tokenizer *t, const char *text, size_t n_bytes, int32_t **ids,
                     size_t *cap, size_t *n)
{
    struct id_list l = {.ids = *ids, .cap = *cap};
    int rc = encode(t, text, n_bytes, &l);
    *ids = l.ids;
    *cap = l.cap;
    *n = rc == OK ? l.n : 0;
    return rc;
}

/* Bytes that the library hands out, copied with a NUL behind them. */
struct copy {
    void *bytes;
    size_t n;
    int rc;
};

static void take_copy(void *ctx, const char *bytes, size_t n)
{
    struct copy *c = ctx;
    c->rc = mem_alloc(&c->bytes, n + 1, 1, "text");
    if (c->rc != OK)
        return;
    memcpy(c->bytes, bytes, n);
    c->n = n;
}

int tokenizer_decode(const struct tokenizer *t, const int32_t *ids, size_t n, char **text)
{
    char message[SPM_MESSAGE] = "";
    struct copy c = {0};
    *text = NULL;
    for (size_t i = 0; i < n; i++)
        if (ids[i] < 0 || ids[i] >= spm_vocab(t->spm))
            return ERR(E_DATA, "token %d is outside the vocabulary of %d", ids[i],
                       spm_vocab(t->spm));
    if (spm_decode(t->spm, ids, n, message, take_copy, &c) != 0)
        return ERR(E_DATA, "the tokenizer cannot decode %zu tokens: %s", n, message);
    *text = c.bytes;
    return c.rc;
}

/* The text to train on, line by line. Digits and the space come first: they must be pieces even
 * where the text is short of them. */
struct lines {
    const char *(*next)(void *ctx, size_t *n);
    void *ctx;
    const char *text;
    size_t n;
    bool begun;
};

static const char *next_line(void *ctx, size_t *n)
{
    static const char always[] = " 0 1 2 3 4 5 6 7 8 9";
    struct lines *l = ctx;
    if (!l->begun) {
        l->begun = true;
        *n = sizeof always - 1;
        return always;
    }
    while (l->n == 0) {
        l->text = l->next(l->ctx, &l->n);
        if (l->text == NULL)
            return NULL;
    }
    const char *line = l->text, *end = memchr(line, '\n', l->n);
    size_t whole = end != NULL ? (size_t)(end - line) + 1 : l->n;
    l->text += whole;
    l->n -= whole;
    *n = whole;
    return line;
}

/* Gemma's conventions. What a line break or a tab separates is never merged, so they are pieces of
 * their own from the start. */
static const struct spm_option training[] = {
    {"model_type", "bpe"},
    {"byte_fallback", "true"},
    {"split_digits", "true"},
    {"allow_whitespace_only_pieces", "true"},
    {"add_dummy_prefix", "false"},
    {"remove_extra_whitespaces", "false"},
    {"normalization_rule_name", "identity"},
    {"pad_id", "0"},
    {"eos_id", "1"},
    {"bos_id", "2"},
    {"unk_id", "3"},
    {"pad_piece", "<pad>"},
    {"eos_piece", "<eos>"},
    {"bos_piece", "<bos>"},
    {"unk_piece", "<unk>"},
    {"user_defined_symbols", "\n,\n\n,\t"},
    {"required_chars", "\xE2\x96\x81"
                       "0123456789"},
    {"max_sentence_length", "1073741824"},
    {"num_threads", "1"},
};
enum { N_TRAINING = sizeof training / sizeof training[0] };

/* The trainer's complaint in carat's words, with the bound it names. */
static int training_error(int vocab, const char *message)
{
    static const char too_large[] = "value <= ", too_small[] = "required_chars. ";
    long bound;
    const char *p = strstr(message, too_large);
    if (p != NULL && sscanf(p + strlen(too_large), "%ld", &bound) == 1)
        return ERR(E_DATA,
                   "a vocabulary of %d is too large for this text: it yields at most %ld pieces; "
                   "ask for at most that or give more text",
                   vocab, bound);
    p = strstr(message, too_small);
    if (p != NULL && sscanf(p + strlen(too_small), "%*d vs %ld", &bound) == 1)
        return ERR(E_DATA,
                   "a vocabulary of %d is too small for this text: its characters, 256 bytes and "
                   "the special pieces need at least %ld",
                   vocab, bound);
    return ERR(E_DATA, "cannot train a tokenizer of %d pieces: %s", vocab, message);
}

int tokenizer_train(void **out, size_t *n_bytes, int vocab,
                    const char *(*next)(void *ctx, size_t *n), void *ctx)
{
    char message[SPM_MESSAGE] = "", size[16];
    struct spm_option options[N_TRAINING + 1];
    struct lines lines = {.next = next, .ctx = ctx};
    struct copy model = {0};
    *out = NULL;
    *n_bytes = 0;
    if (vocab < 1)
        return ERR(E_DATA, "a vocabulary of %d pieces is none", vocab);
    snprintf(size, sizeof size, "%d", vocab);
    memcpy(options, training, sizeof training);
    options[N_TRAINING] = (struct spm_option){"vocab_size", size};
    if (spm_train(options, N_TRAINING + 1, next_line, &lines, message, take_copy, &model) != 0)
        return training_error(vocab, message);
    *out = model.bytes;
    *n_bytes = model.n;
    return model.rc;
}
