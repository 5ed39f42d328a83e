#include "prepare.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "cmd/cmd.h"
#include "cmd/opts.h"
#include "data/store_write.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* With fewer sources than this, whole files as documents would leave validation to chance. */
#define FILES_ENOUGH 20
/* Then the text is cut into about so many documents, within these sizes. */
#define PIECES_WANTED 100
#define PIECE_LEAST   ((uint64_t)1 << 10)
#define PIECE_MOST    ((uint64_t)64 << 10)

struct request {
    const char *output, *tokenizer, *field, *document;
    int64_t train_vocab, n_valid_docs, seed;
    double valid;
    bool jsonl, no_bos, no_eos, force, quiet, help;
};

struct work {
    struct request q;
    struct source_list sources;
    struct documents_options read;
    struct tokenizer *tokenizer;
    struct store_writer *writer;
    uint64_t text_bytes;
    double started_s;
};

/* ---- the command line ---- */

enum { N_OPTIONS = 14 };

static void fill_options(struct opt o[N_OPTIONS], struct request *q)
{
    const struct opt rows[N_OPTIONS] = {
        {"output", 'o', OPT_STR, &q->output, "FILE", "the token store to write (HDF5)"},
        {"tokenizer", 't', OPT_STR, &q->tokenizer, "FILE",
         "SentencePiece model (Gemma's tokenizer.model), its folder, or another token store"},
        {"train-tokenizer", 0, OPT_INT, &q->train_vocab, "VOCAB",
         "train a tokenizer of so many pieces on the text instead"},
        {"field", 0, OPT_STR, &q->field, "NAME", "field of a JSON line that holds the text (text)"},
        {"jsonl", 0, OPT_FLAG, &q->jsonl, NULL, "every source is JSON lines, whatever its name"},
        {"document", 'd', OPT_STR, &q->document, "WHAT",
         "of plain text: file, line, blank (blank lines part), or a size such as 16KiB (cut at "
         "line ends); default: file, or a size when there are fewer than 20 files"},
        {"valid", 0, OPT_F64, &q->valid, "SHARE", "documents kept for validation (0.05)"},
        {"valid-docs", 0, OPT_INT, &q->n_valid_docs, "N", "the same as a number"},
        {"seed", 0, OPT_INT, &q->seed, "N", "chooses the validation documents (0)"},
        {"no-bos", 0, OPT_FLAG, &q->no_bos, NULL, "no <bos> before a document"},
        {"no-eos", 0, OPT_FLAG, &q->no_eos, NULL, "no <eos> behind a document"},
        {"force", 'f', OPT_FLAG, &q->force, NULL, "replace FILE when it exists"},
        {"quiet", 'q', OPT_FLAG, &q->quiet, NULL, "say nothing unless something is wrong"},
        {"help", 'h', OPT_FLAG, &q->help, NULL, "this help"},
    };
    memcpy(o, rows, sizeof rows);
}

static void print_help(const struct opt *o)
{
    opts_help(stdout, "carat prepare SOURCE… -o FILE (--tokenizer FILE | --train-tokenizer VOCAB)",
              "Turns text into tokens that `carat train` reads. A SOURCE is a text file, a folder "
              "(every text file below it), a quoted pattern, JSON lines (.jsonl), or - for "
              "standard input; any of them may be gzip.",
              o, N_OPTIONS,
              "carat prepare books/ -o tokens.h5 --train-tokenizer 4096\n"
              "zcat web.jsonl.gz | carat prepare - --jsonl -o web.h5 -t gemma/tokenizer.model");
}

static int check_request(const struct request *q, int n_sources)
{
    struct document_rule rule;
    if (n_sources == 0)
        return ERR(E_USAGE, "prepare what? carat prepare SOURCE… -o FILE; see `carat prepare "
                            "--help`");
    if (q->output == NULL)
        return ERR(E_USAGE, "where to? -o FILE names the token store");
    if ((q->tokenizer != NULL) == (q->train_vocab != INT64_MIN))
        return ERR(E_USAGE, "give either --tokenizer FILE or --train-tokenizer VOCAB");
    if (q->train_vocab != INT64_MIN && (q->train_vocab < 1 || q->train_vocab > INT_MAX))
        return ERR(E_USAGE, "--train-tokenizer %lld: want a number of pieces, say 4096",
                   (long long)q->train_vocab);
    if (!(q->valid >= 0 && q->valid < 1))
        return ERR(E_USAGE, "--valid %g: want a share from 0 up to, but not, 1", q->valid);
    if (q->n_valid_docs != INT64_MIN && q->n_valid_docs < 0)
        return ERR(E_USAGE, "--valid-docs %lld: want 0 or more", (long long)q->n_valid_docs);
    if (q->document != NULL && !document_rule_parse(&rule, q->document))
        return ERR(E_USAGE, "--document %s: want file, line, blank, or a size from 64 bytes",
                   q->document);
    return OK;
}

/* Found now, not after an hour of reading. */
static int check_output(const struct request *q)
{
    char folder[FS_PATH_MAX];
    const char *slash = strrchr(q->output, '/');
    size_t n = slash == NULL ? 0 : slash == q->output ? 1 : (size_t)(slash - q->output);
    if (n >= sizeof folder)
        return ERR(E_USAGE, "%.60s...: the path is too long", q->output);
    memcpy(folder, q->output, n);
    strcpy(folder + n, n == 0 ? "." : "");
    if (fs_is_dir(q->output))
        return ERR(E_USAGE, "%s: is a folder; -o names a file", q->output);
    if (fs_exists(q->output) && !q->force)
        return ERR(E_USAGE, "%s: exists already; --force replaces it", q->output);
    if (!fs_is_dir(folder))
        return ERR(E_IO, "%s: there is no such folder to write into", folder);
    if (access(folder, W_OK) != 0)
        return ERR(E_IO, "%s: cannot write into this folder: %s", folder, strerror(errno));
    return OK;
}

/* ---- reading ---- */

static uint64_t clamp(uint64_t v, uint64_t low, uint64_t high)
{
    return v < low ? low : v > high ? high : v;
}

static size_t count_plain(const struct source_list *l)
{
    size_t n = 0;
    for (size_t i = 0; i < l->n; i++)
        n += !l->item[i].jsonl;
    return n;
}

/* Whole files where there are enough of them; otherwise pieces, and the user is told. */
static void choose_documents(struct work *w)
{
    char size[24];
    size_t n_plain = count_plain(&w->sources);
    struct document_rule *r = &w->read.rule;
    if (w->q.document != NULL) {
        document_rule_parse(r, w->q.document);
        return;
    }
    r->kind = DOCUMENT_FILE;
    if (n_plain >= FILES_ENOUGH || n_plain < w->sources.n)
        return;
    int64_t total = sources_bytes(&w->sources);
    r->kind = DOCUMENT_BYTES;
    r->bytes =
        total < 0 ? PIECE_MOST : clamp((uint64_t)total / PIECES_WANTED, PIECE_LEAST, PIECE_MOST);
    r->bytes = (r->bytes + 1023) / 1024 * 1024;
    if (w->q.quiet)
        return;
    log_info("documents: pieces of %s, cut at line ends (%zu source%s; --document file keeps files "
             "whole)",
             fmt_bytes(size, sizeof size, (double)r->bytes), n_plain, n_plain == 1 ? "" : "s");
}

static void tell_passed_over(const struct source_list *l)
{
    if (l->n_binary > 0)
        log_info("passed over %zu file%s that %s no UTF-8 text (%s%s)", l->n_binary,
                 l->n_binary == 1 ? "" : "s", l->n_binary == 1 ? "is" : "are", l->example,
                 l->n_binary == 1 ? "" : ", …");
    if (l->n_empty + l->n_hidden > 0)
        log_info("passed over %zu empty and %zu hidden", l->n_empty, l->n_hidden);
}

/* Two passes over a pipe need a copy of it. */
static int spool_pipes(struct work *w)
{
    for (size_t i = 0; i < w->sources.n; i++) {
        struct source *s = &w->sources.item[i];
        if (s->bytes < 0)
            TRY(source_spool(s, w->q.output));
    }
    return OK;
}

/* ---- tokens ---- */

struct ids {
    int32_t *ids;
    size_t cap, n;
};

static int add_special(struct store_writer *w, int id, bool wanted)
{
    int32_t one = id;
    return wanted && id >= 0 ? store_writer_add(w, &one, 1) : OK;
}

static int add_piece(struct work *w, const struct piece *p, bool first, struct ids *ids)
{
    const struct tokenizer *t = w->tokenizer;
    if (first)
        TRY(add_special(w->writer, tokenizer_bos(t), !w->q.no_bos));
    TRY(tokenizer_encode(t, p->text, p->n, &ids->ids, &ids->cap, &ids->n));
    TRY(store_writer_add(w->writer, ids->ids, ids->n));
    w->text_bytes += p->n;
    if (!p->ends)
        return OK;
    TRY(add_special(w->writer, tokenizer_eos(t), !w->q.no_eos));
    return store_writer_end_document(w->writer);
}

static int add_documents(struct work *w, struct documents *d, struct ids *ids)
{
    struct progress progress;
    struct piece p;
    bool first = true;
    progress_begin(&progress, "tokens", sources_bytes(&w->sources));
    for (;;) {
        TRY(documents_next(d, &p));
        if (p.text == NULL)
            return OK;
        TRY(add_piece(w, &p, first, ids));
        first = p.ends;
        progress_show(&progress, documents_position(d), store_writer_n_tokens(w->writer));
    }
}

static int encode_all(struct work *w)
{
    struct documents *d = NULL;
    struct ids ids = {0};
    int rc;
    TRY_OUT(store_writer_new(&w->writer, w->q.output, tokenizer_vocab(w->tokenizer)));
    TRY_OUT(documents_new(&d, &w->sources, &w->read));
    TRY_OUT(add_documents(w, d, &ids));
    if (store_writer_n_docs(w->writer) == 0)
        rc = ERR(E_DATA, "the sources hold no text");
out:
    log_status_end();
    documents_free(d);
    mem_free(ids.ids);
    return rc;
}

/* ---- the file ---- */

/* Documents for validation: some, unless none are wanted, and never all. */
static uint64_t n_valid(const struct request *q, uint64_t n_docs)
{
    uint64_t n = (uint64_t)(q->valid * (double)n_docs + 0.5);
    if (q->n_valid_docs != INT64_MIN)
        return (uint64_t)q->n_valid_docs;
    if (q->valid > 0 && n == 0)
        n = 1;
    return n < n_docs ? n : n_docs - 1;
}

/* What the store says it was made with: everything that its content depends on. */
static void describe_arguments(struct str *s, const struct work *w)
{
    static const char *const kinds[] = {"file", "line", "blank"};
    const struct request *q = &w->q;
    const struct document_rule *r = &w->read.rule;
    if (q->tokenizer != NULL)
        str_addf(s, "--tokenizer %s", q->tokenizer);
    else
        str_addf(s, "--train-tokenizer %lld", (long long)q->train_vocab);
    if (r->kind == DOCUMENT_BYTES)
        str_addf(s, " --document %llu", (unsigned long long)r->bytes);
    else
        str_addf(s, " --document %s", kinds[r->kind]);
    if (q->n_valid_docs != INT64_MIN)
        str_addf(s, " --valid-docs %lld", (long long)q->n_valid_docs);
    else
        str_addf(s, " --valid %g", q->valid);
    str_addf(s, " --seed %lld --field %s%s%s%s", (long long)q->seed, q->field,
             q->jsonl ? " --jsonl" : "", q->no_bos ? " --no-bos" : "",
             q->no_eos ? " --no-eos" : "");
}

static int write_store(struct work *w, struct store_counts *c)
{
    struct str arguments = {0};
    const char **names;
    uint64_t n_docs = store_writer_n_docs(w->writer);
    struct store_division d = {(uint64_t)w->q.seed, n_valid(&w->q, n_docs), stop_requested};
    if (d.n_valid >= n_docs && d.n_valid > 0)
        return ERR(E_DATA, "--valid-docs %llu: there are %llu documents, and training needs one",
                   (unsigned long long)d.n_valid, (unsigned long long)n_docs);
    TRY(mem_alloc(&names, w->sources.n, sizeof *names, "source names"));
    for (size_t i = 0; i < w->sources.n; i++)
        names[i] = w->sources.item[i].path;
    describe_arguments(&arguments, w);
    struct store_facts f = {.tokenizer_hash = tokenizer_hash(w->tokenizer),
                            .sources = names,
                            .n_sources = w->sources.n,
                            .arguments = arguments.s,
                            .text_bytes = w->text_bytes};
    f.tokenizer = tokenizer_bytes(w->tokenizer, &f.tokenizer_bytes);
    log_status("writing %s", w->q.output);
    int rc = store_writer_finish(w->writer, &f, &d, c);
    log_status_end();
    str_release(&arguments);
    mem_free(names);
    return rc;
}

static void tell_split(const char *name, uint64_t tokens, uint64_t docs)
{
    char figure[24];
    log_info("  %-11s %8s tokens in %llu document%s", name,
             fmt_si(figure, sizeof figure, (double)tokens), (unsigned long long)docs,
             docs == 1 ? "" : "s");
}

static void tell_summary(const struct work *w, const struct store_counts *c)
{
    char bytes[24], time[24];
    double tokens = (double)(c->train_tokens + c->valid_tokens);
    double elapsed = clock_now_s() - w->started_s;
    log_info("%s: %s of text from %zu source%s in %s (%.1f MB/s)", w->q.output,
             fmt_bytes(bytes, sizeof bytes, (double)w->text_bytes), w->sources.n,
             w->sources.n == 1 ? "" : "s", fmt_duration(time, sizeof time, elapsed),
             (double)w->text_bytes / 1e6 / elapsed);
    tell_split("training", c->train_tokens, c->train_docs);
    tell_split("validation", c->valid_tokens, c->valid_docs);
    log_info("  %-11s %8d pieces, %.2f bytes a token, stored as uint%d", "vocabulary",
             tokenizer_vocab(w->tokenizer), (double)w->text_bytes / tokens, 8 * c->token_bytes);
    log_info("next: carat plan JOB data.train=%s", w->q.output);
    if (c->train_docs + c->valid_docs == 1 && w->q.n_valid_docs != 0 && w->q.valid > 0)
        log_warn("%s has no validation split: one document cannot be divided (--document SIZE cuts "
                 "files into pieces)",
                 w->q.output);
}

static int prepare(struct work *w)
{
    struct store_counts counts;
    if (w->q.train_vocab != INT64_MIN) {
        TRY(spool_pipes(w));
        choose_documents(w);
        TRY(prepare_train_tokenizer(&w->tokenizer, (int)w->q.train_vocab, &w->sources, &w->read,
                                    (uint64_t)w->q.seed));
    } else {
        choose_documents(w);
        TRY(prepare_open_tokenizer(&w->tokenizer, w->q.tokenizer));
    }
    TRY(encode_all(w));
    TRY(write_store(w, &counts));
    if (!w->q.quiet)
        tell_summary(w, &counts);
    return OK;
}

int cmd_prepare(int argc, char **argv)
{
    struct work w = {.started_s = clock_now_s()};
    struct opt options[N_OPTIONS];
    w.q = (struct request){
        .field = "text", .valid = 0.05, .train_vocab = INT64_MIN, .n_valid_docs = INT64_MIN};
    fill_options(options, &w.q);
    TRY(opts_parse(options, N_OPTIONS, &argc, argv));
    if (w.q.help) {
        print_help(options);
        return OK;
    }
    TRY(check_request(&w.q, argc - 1));
    TRY(check_output(&w.q));
    w.read.field = w.q.field;
    stop_begin();
    if (w.q.quiet)
        log_to_stderr(true); /* no status line */
    int rc = sources_collect(&w.sources, argv + 1, argc - 1, w.q.jsonl);
    if (rc == OK && !w.q.quiet)
        tell_passed_over(&w.sources);
    if (rc == OK)
        rc = prepare(&w);
    log_to_stderr(false);
    store_writer_free(w.writer);
    tokenizer_free(w.tokenizer);
    sources_release(&w.sources);
    stop_end();
    return rc;
}
