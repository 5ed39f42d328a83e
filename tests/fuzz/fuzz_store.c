/* A token store: both splits and the tokenizer. What opens can be read to its end, or says why
 * not. */
#include "base/err.h"
#include "base/mem.h"
#include "data/store.h"
#include "fuzz.h"

enum { PART = 1000 };

/* The file's own bytes are all the tokens and offsets that there can be. */
static void look(const struct store *s, size_t file_bytes)
{
    int32_t ids[PART];
    MUST(s->n_tokens * (uint64_t)s->token_bytes <= file_bytes);
    MUST(s->n_docs < file_bytes / sizeof(uint64_t));
    MUST(s->doc_offset[0] == 0 && s->doc_offset[s->n_docs] == s->n_tokens);
    for (uint64_t at = 0; at < s->n_tokens; at += PART) {
        size_t n = s->n_tokens - at < PART ? (size_t)(s->n_tokens - at) : PART;
        int rc = store_read(s, at, n, ids);
        MUST(rc == OK || rc == E_DATA);
        for (size_t i = 0; rc == OK && i < n; i++)
            MUST(ids[i] >= 0 && ids[i] < s->vocab);
    }
}

static void look_at_tokenizer(const char *path, size_t file_bytes)
{
    void *bytes;
    size_t n;
    if (store_tokenizer(path, &bytes, &n) == OK)
        MUST(n <= file_bytes);
    mem_free(bytes);
}

/* HDF5 takes most of the time to open a file, so each input is looked at in one way. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    enum { TOKENIZER = 2, WAYS };
    const char *path = fuzz_file("tokens.h5", data, n);
    struct store s;
    int way = (int)(n % WAYS);
    if (way == TOKENIZER)
        look_at_tokenizer(path, n);
    else if (store_open(&s, path, (enum split)way) == OK) {
        look(&s, n);
        store_close(&s);
    }
    err_clear();
    return 0;
}
