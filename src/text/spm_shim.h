/* SentencePiece's C++ library as C functions: nothing but translation. No function throws; those
 * that can fail return 0 or write why not into message (SPM_MESSAGE bytes) and return -1. */
#ifndef CARAT_TEXT_SPM_SHIM_H
#define CARAT_TEXT_SPM_SHIM_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define SPM_MESSAGE 512

enum spm_kind { SPM_TEXT, SPM_CONTROL, SPM_UNKNOWN, SPM_BYTE };

struct spm;

int spm_load(struct spm **m, const void *bytes, size_t n, char *message);
void spm_free(struct spm *m);

int spm_vocab(const struct spm *m);
/* -1 where the model has none. */
int spm_bos(const struct spm *m);
int spm_eos(const struct spm *m);
/* A piece's text, as long as the model lives, and its kind. */
enum spm_kind spm_piece(const struct spm *m, int id, const char **text, size_t *n);

/* Passes the ids of a text to take, all at once. */
int spm_encode(const struct spm *m, const char *text, size_t n, char *message,
               void (*take)(void *ctx, const int *ids, size_t n), void *ctx);
/* Passes the text of ids to take. */
int spm_decode(const struct spm *m, const int32_t *ids, size_t n, char *message,
               void (*take)(void *ctx, const char *text, size_t n), void *ctx);

struct spm_option {
    const char *name, *value;
};

/* Trains with the trainer's own options; next() yields sentences until it returns NULL. */
int spm_train(const struct spm_option *options, size_t n_options,
              const char *(*next)(void *ctx, size_t *n), void *next_ctx, char *message,
              void (*take)(void *ctx, const char *bytes, size_t n), void *ctx);

#ifdef __cplusplus
}
#endif

#endif
