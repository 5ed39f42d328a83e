/* Writing a token store: documents stream in, one HDF5 file comes out whole or not at all.
 *
 * Tokens wait in files without a name beside the output, so memory stays flat and nothing is left
 * behind by a process that dies. */
#ifndef CARAT_DATA_STORE_WRITE_H
#define CARAT_DATA_STORE_WRITE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct store_writer;

/* What is stored beside the tokens; all borrowed, NULL where there is none. */
struct store_facts {
    const void *tokenizer;
    size_t tokenizer_bytes;
    const char *tokenizer_hash;
    const char *const *sources;
    size_t n_sources;
    const char *arguments; /* what it was made with */
    uint64_t text_bytes;
};

/* Which documents are for validation, and when to give up. */
struct store_division {
    uint64_t seed;
    uint64_t n_valid;      /* documents; the rest is for training */
    bool (*stopped)(void); /* asked now and then; NULL: never */
};

struct store_counts {
    uint64_t train_tokens, valid_tokens, train_docs, valid_docs;
    int token_bytes;
    char data_hash[65];
};

/* Tokens 0 … vocab-1, for a file at path. E_IO when its folder cannot be written, E_MEM. */
int store_writer_new(struct store_writer **out, const char *path, int vocab);
/* Removes what was not finished. */
void store_writer_free(struct store_writer *w);

/* More tokens of the current document; E_BUG for ids outside the vocabulary. */
int store_writer_add(struct store_writer *w, const int32_t *ids, size_t n);
/* Ends the document; without tokens it is none and does not count. */
int store_writer_end_document(struct store_writer *w);
uint64_t store_writer_n_docs(const struct store_writer *w);
uint64_t store_writer_n_tokens(const struct store_writer *w);

/* Divides the documents (which ones depends on seed and counts alone), writes the file under a
 * temporary name, fsyncs it and renames it to path. E_IO, E_STOPPED: path is as it was. */
int store_writer_finish(struct store_writer *w, const struct store_facts *f,
                        const struct store_division *d, struct store_counts *c);

#endif
