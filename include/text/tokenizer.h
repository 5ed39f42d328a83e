/* The tokenizer: SentencePiece behind a small C face. */
#ifndef CARAT_TEXT_TOKENIZER_H
#define CARAT_TEXT_TOKENIZER_H

#include <stddef.h>
#include <stdint.h>

#define TOKEN_PAD 0
#define TOKEN_EOS 1
#define TOKEN_BOS 2
#define TOKEN_UNK 3

struct tokenizer;

/* From a model file or from its bytes (copied). E_DATA when it is no SentencePiece model. */
int tokenizer_open(struct tokenizer **t, const char *path);
int tokenizer_from_bytes(struct tokenizer **t, const void *bytes, size_t n, const char *from);
void tokenizer_free(struct tokenizer *t);
/* The model's bytes (owned by t), its SHA-256 in hexadecimal, and its vocabulary's size. */
const void *tokenizer_bytes(const struct tokenizer *t, size_t *n);
const char *tokenizer_hash(const struct tokenizer *t);
int tokenizer_vocab(const struct tokenizer *t);
/* -1 where the model has none. */
int tokenizer_bos(const struct tokenizer *t);
int tokenizer_eos(const struct tokenizer *t);

/* Text to ids, no bos or eos added; the ids that the library gives, found faster where a model
 * allows it. One thread at a time: words are remembered. *ids grows by mem_alloc as needed: *cap
 * ids of room, freed by the caller. Returns E_MEM; *n is the count. */
int tokenizer_encode(const struct tokenizer *t, const char *text, size_t n_bytes, int32_t **ids,
                     size_t *cap, size_t *n);
/* Ids to text (mem_free), control tokens dropped; E_DATA for ids outside the vocabulary. UTF-8
 * comes back as it was, but for U+2581, SentencePiece's mark for a space: it becomes one. */
int tokenizer_decode(const struct tokenizer *t, const int32_t *ids, size_t n, char **text);

/* Trains a BPE model with Gemma's conventions (byte fallback, digits split, no dummy prefix,
 * identity normalisation, extra white space kept; pad 0, eos 1, bos 2, unk 3) from a text source:
 * next() yields one sentence (borrowed until the next call) or NULL at the end. Deterministic.
 * *out holds the model's bytes (mem_free). vocab too large or small for the text: E_DATA with the
 * bound. */
int tokenizer_train(void **out, size_t *n_bytes, int vocab,
                    const char *(*next)(void *ctx, size_t *n), void *ctx);

#endif
