#include "train/text_bytes.h"

#include "base/err.h"
#include "base/mem.h"
#include "par/agree.h"
#include "par/shard.h"

#include <string.h>

enum { DECODED = 1 << 20 /* tokens at a time */ };

static int add_bytes(const struct store *s, const struct tokenizer *t, uint64_t first, uint64_t end,
                     int32_t *ids, int64_t *bytes)
{
    while (first < end) {
        size_t n = end - first < DECODED ? (size_t)(end - first) : DECODED;
        char *text;
        TRY(store_read(s, first, n, ids));
        TRY(tokenizer_decode(t, ids, n, &text));
        *bytes += (int64_t)strlen(text);
        mem_free(text);
        first += n;
    }
    return OK;
}

/* Whole documents, cut only by the asked range: a cut inside a character would change its bytes. */
static int add_documents(const struct store *s, const struct tokenizer *t, struct range docs,
                         uint64_t first, uint64_t end, bool inner, int64_t *bytes)
{
    int32_t *ids;
    TRY(mem_alloc(&ids, DECODED, sizeof *ids, "tokens to decode"));
    int rc = OK;
    for (size_t i = docs.first; i < docs.first + docs.n && rc == OK; i++) {
        uint64_t from = s->doc_offset[i] + inner, to = s->doc_offset[i + 1];
        rc = add_bytes(s, t, from < first ? first : from, to > end ? end : to, ids, bytes);
    }
    mem_free(ids);
    return rc;
}

int text_bytes(const struct comm *c, const struct store *s, const struct tokenizer *t,
               uint64_t first, uint64_t end, bool inner, int64_t *bytes)
{
    int64_t mine = 0;
    const struct range docs = split_even((size_t)s->n_docs, c->size, c->rank);
    TRY(agree(c, add_documents(s, t, docs, first, end, inner, &mine)));
    MPI_TRY(MPI_Allreduce(&mine, bytes, 1, MPI_INT64_T, MPI_SUM, c->world));
    return OK;
}
