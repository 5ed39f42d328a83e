/* The token store: an HDF5 file that `carat prepare` writes and training reads.
 *
 * /train/tokens and /valid/tokens (uint8, uint16 or uint32, contiguous), /train/offsets and
 * /valid/offsets (uint64, document i is tokens[offsets[i]] … offsets[i+1]-1), /tokenizer (its
 * bytes), /sources (names), attributes: format version, vocabulary, tokenizer hash, data hash,
 * counts. Integers are little-endian. The data hash is the SHA-256 of /train/tokens followed by
 * /valid/tokens, as stored. */
#ifndef CARAT_DATA_STORE_H
#define CARAT_DATA_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define STORE_FORMAT_VERSION 1

enum split { SPLIT_TRAIN, SPLIT_VALID };

struct store {
    char path[4096];
    int fd; /* for pread at token_offset: no HDF5 after opening */
    enum split split;
    int token_bytes;      /* 1, 2 or 4 */
    int64_t token_offset; /* where the tokens begin in the file, bytes */
    int64_t offsets_at;   /* and the offsets */
    uint64_t n_tokens, n_docs;
    uint64_t *doc_offset; /* [n_docs+1], owned */
    int vocab;
    char tokenizer_hash[65], data_hash[65];
};

/* Opens one split, checking class, type, rank and layout of what it reads (the file is untrusted:
 * offsets must rise and end at n_tokens). E_DATA names file and fault. Local. */
int store_open(struct store *s, const char *path, enum split split);
void store_close(struct store *s);
/* n tokens from position first, as int32; ids ≥ vocab are E_DATA, reads that fail E_IO. */
int store_read(const struct store *s, uint64_t first, size_t n, int32_t *out);

/* The same for a thread that must not record errors: what went wrong, code OK when nothing did. */
struct store_fault {
    int code;          /* E_IO, E_DATA */
    int system;        /* errno of the read, if that failed */
    bool ended;        /* the file is shorter than it says */
    uint64_t position; /* of the token */
    uint32_t id;       /* that is outside the vocabulary */
};
void store_try_read(const struct store *s, uint64_t first, size_t n, int32_t *out,
                    struct store_fault *fault);
/* Records the fault as this process's error; returns its code. */
int store_fault_error(const struct store *s, const struct store_fault *fault);

/* The tokenizer's bytes (mem_free); *n = 0 when the file holds none. */
int store_tokenizer(const char *path, void **bytes, size_t *n);

#endif
