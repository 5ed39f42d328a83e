/* The parts of `carat prepare`: sources → text → documents → tokens. */
#ifndef CARAT_CMD_PREPARE_PRIVATE_H
#define CARAT_CMD_PREPARE_PRIVATE_H

#include "text/tokenizer.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- prepare_sources.c: which files ---- */

struct source {
    char *path; /* "-": standard input */
    bool jsonl;
    int64_t bytes; /* in the file; -1 unknown */
    int fd;        /* to read from instead of path, from its beginning; -1: none */
};

struct source_list {
    struct source *item;
    size_t n, cap;
    size_t n_hidden, n_empty, n_binary; /* files in folders that were passed over */
    char *example;                      /* one that looked binary; NULL */
};

/* Files, folders (all text files below, by name), patterns and "-". E_DATA names what is missing,
 * empty or cannot be read. */
int sources_collect(struct source_list *l, char **args, int n, bool all_jsonl);
void sources_release(struct source_list *l);
/* Copies a pipe into a nameless file beside `near`, so that it can be read twice. */
int source_spool(struct source *s, const char *near);
/* Bytes of all of them; -1 when one is not known. */
int64_t sources_bytes(const struct source_list *l);

/* ---- prepare_input.c: bytes of one file ---- */

/* A window on a file's text, decompressed when it is gzip. The text at hand is at[0 … n-1]. */
struct input {
    const char *name;
    void *gz;
    char *buf;
    size_t cap;
    const char *at;
    size_t n;
    bool ended;      /* nothing follows the text at hand */
    uint64_t offset; /* of at, in bytes of text */
    uint64_t line;   /* of at, from 1 */
};

/* The least that input_more leaves at hand before the end: enough for any piece. */
#define INPUT_PIECE_MAX ((size_t)1 << 20)

/* A descriptor at the source's beginning. E_DATA. */
int source_descriptor(const struct source *s, int *fd);
int input_open(struct input *in, const struct source *s);
void input_close(struct input *in);
/* Reads on, so that more text is at hand or ended is set; grows beyond its usual size when it is
 * full and nothing was consumed. E_DATA: damaged gzip, cannot be read, a line without end. */
int input_more(struct input *in);
/* Moves on by k bytes. */
void input_consume(struct input *in, size_t k);
/* Bytes of the file (compressed ones where it is) used up so far, nearly. */
int64_t input_file_position(const struct input *in);
/* False for what is no UTF-8 text by its first few thousand bytes. */
int input_looks_like_text(const struct source *s, bool *yes);

/* ---- prepare_cut.c: where documents and pieces end ---- */

enum document_kind { DOCUMENT_FILE, DOCUMENT_LINE, DOCUMENT_BLANK, DOCUMENT_BYTES };

struct document_rule {
    enum document_kind kind;
    uint64_t bytes; /* DOCUMENT_BYTES: at most, unless one line is longer */
};

/* "file", "line", "blank" or a size. */
bool document_rule_parse(struct document_rule *r, const char *text);

/* The next piece of text: the first `text` of n bytes are its own, `all` are used up, and the
 * document ends there or goes on. */
struct cut {
    size_t text, all;
    bool ends;
};

/* False: more text is needed to tell. begun: the document's bytes that were cut off before. */
bool document_cut(const struct document_rule *r, const char *text, size_t n, bool ended,
                  uint64_t begun, struct cut *out);
/* Nothing but spaces, tabs and line breaks. */
bool text_is_blank(const char *text, size_t n);

/* ---- prepare_documents.c: documents from all sources ---- */

struct documents;

struct piece {
    const char *text; /* NULL behind the last document; borrowed until the next call */
    size_t n;
    bool ends; /* the document */
};

struct documents_options {
    struct document_rule rule;
    const char *field; /* of a JSON line */
};

/* Borrows list and options. */
int documents_new(struct documents **d, const struct source_list *l,
                  const struct documents_options *o);
void documents_free(struct documents *d);
/* Valid UTF-8 or E_DATA with file, line and byte. A piece may be empty when it ends a document. */
int documents_next(struct documents *d, struct piece *p);
/* Bytes of the files used up so far, in the unit of sources_bytes. */
int64_t documents_position(const struct documents *d);

/* ---- prepare_tokenizer.c: the tokenizer, found or trained ---- */

/* A model file, a folder with tokenizer.model, or a token store. */
int prepare_open_tokenizer(struct tokenizer **t, const char *path);
/* Trained on a sample of the documents, spread over all of them. */
int prepare_train_tokenizer(struct tokenizer **t, int vocab, const struct source_list *l,
                            const struct documents_options *o, uint64_t seed);

/* ---- prepare_stop.c: SIGINT, SIGTERM, SIGHUP ---- */

#define STOP_MESSAGE "stopped by a signal; nothing was written"
/* From now on such a signal is noted, until stop_end. */
void stop_begin(void);
void stop_end(void);
/* One has come. */
bool stop_requested(void);
/* While true a signal ends the process at once, which leaves nothing behind as long as no file
 * with a name is being written. */
void stop_at_once(bool yes);

/* ---- prepare_progress.c: how far it is ---- */

struct progress {
    const char *what;
    int64_t total; /* bytes; -1 unknown */
    double started_s, shown_s;
};

void progress_begin(struct progress *p, const char *what, int64_t total);
/* n_tokens 0: not shown. */
void progress_show(struct progress *p, int64_t bytes, uint64_t n_tokens);

#endif
