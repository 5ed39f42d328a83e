#include "train/generate.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/plain.h"
#include "base/str.h"
#include "cmd/cmd.h"
#include "cmd/opts.h"
#include "kern/gemm.h"
#include "par/agree.h"
#include "train/weights.h"

#include <errno.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct request {
    const char *from, *prompt, *tokenizer;
    int64_t tokens, top_k, seed, count, threads;
    double temperature, top_p;
    bool no_stream;
};

/* What has been said so far. */
struct tally {
    int64_t tokens;
    double seconds;
};

/* ---- the prompt ---- */

static int read_stdin(struct str *prompt)
{
    char part[1 << 16];
    size_t n;
    while ((n = fread(part, 1, sizeof part, stdin)) > 0)
        str_addn(prompt, part, n);
    if (ferror(stdin))
        return ERR(E_IO, "standard input: %s", strerror(errno));
    /* The line's end that echo and editors put there. */
    if (prompt->len > 0 && prompt->s[prompt->len - 1] == '\n')
        prompt->s[--prompt->len] = '\0';
    return OK;
}

/* The option's text; standard input for "-", or when there is no option and it is no terminal. */
static int take_prompt(const struct request *r, struct str *prompt)
{
    str_add(prompt, "");
    if (r->prompt != NULL && strcmp(r->prompt, "-") != 0)
        str_add(prompt, r->prompt);
    else if (r->prompt != NULL || !isatty(STDIN_FILENO))
        TRY(read_stdin(prompt));
    if (prompt->len != strlen(prompt->s))
        return ERR(E_DATA, "the prompt holds a NUL byte; it must be text");
    return OK;
}

/* ---- the tokenizer ---- */

static int find_tokenizer(struct weights *w, const char *path)
{
    if (path != NULL) {
        tokenizer_free(w->tokenizer);
        w->tokenizer = NULL;
        TRY(tokenizer_open(&w->tokenizer, path));
    }
    if (w->tokenizer == NULL)
        return ERR(E_DATA, "%s holds no tokenizer; give its tokenizer.model: --tokenizer FILE",
                   w->path);
    if (tokenizer_vocab(w->tokenizer) > w->spec.V)
        return ERR(E_DATA, "the tokenizer has %d pieces, the model %d rows: give its own one",
                   tokenizer_vocab(w->tokenizer), w->spec.V);
    return OK;
}

static int count_tokens(const struct tokenizer *t, const char *text, size_t *n)
{
    int32_t *ids = NULL;
    size_t cap = 0;
    int rc = tokenizer_encode(t, text, strlen(text), &ids, &cap, n);
    mem_free(ids);
    return rc;
}

/* ---- text ---- */

/* A file gets every byte; a terminal none that it would obey. */
static void put(const char *text)
{
    if (isatty(STDOUT_FILENO))
        plain_put(stdout, text);
    else
        fputs(text, stdout);
}

static void say(void *ctx, const char *piece)
{
    (void)ctx;
    put(piece);
    fflush(stdout);
}

static int draw(struct generator *g, const struct request *r, const char *prompt, int64_t stream,
                struct tally *tally)
{
    const struct sampling how = {.temperature = r->temperature,
                                 .top_k = (int)r->top_k,
                                 .top_p = r->top_p,
                                 .seed = (uint64_t)r->seed};
    char *text = NULL;
    double begun_s = clock_now_s();
    int rc = generate(g, &how, (uint64_t)stream, prompt, (int)r->tokens, r->no_stream ? NULL : say,
                      NULL, &text);
    tally->seconds += clock_now_s() - begun_s;
    tally->tokens += generator_drawn(g);
    if (rc == OK && r->no_stream)
        put(text);
    mem_free(text);
    puts("");
    fflush(stdout); /* before what stderr says next */
    return rc == OK && ferror(stdout) ? ERR(E_IO, "standard output could not be written") : rc;
}

static int draw_all(struct generator *g, const struct request *r, const char *prompt,
                    struct tally *tally)
{
    for (int64_t i = 0; i < r->count; i++) {
        if (i > 0)
            puts("---");
        TRY(draw(g, r, prompt, i, tally));
    }
    return OK;
}

static int speak(const struct request *r, struct weights *w, const char *prompt)
{
    struct generator *g;
    struct tally tally = {0};
    char rate[32];
    size_t n_prompt;
    TRY(find_tokenizer(w, r->tokenizer));
    TRY(count_tokens(w->tokenizer, prompt, &n_prompt));
    int64_t max_T = (int64_t)n_prompt + r->tokens + 2;
    if (max_T > w->spec.max_positions)
        log_warn("%lld positions; %s was made for %d", (long long)max_T, w->path,
                 w->spec.max_positions);
    if (w->step >= 0)
        log_info("%s, step %lld", w->path, (long long)w->step);
    TRY(generator_new(&g, &w->spec, w->params, w->tokenizer, (int)max_T));
    int rc = draw_all(g, r, prompt, &tally);
    generator_free(g);
    if (rc == OK)
        log_info("%lld tokens, %s tokens/s", (long long)tally.tokens,
                 fmt_si(rate, sizeof rate, (double)tally.tokens / tally.seconds));
    return rc;
}

/* Processors that this process may use. */
static int64_t n_processors(void)
{
    cpu_set_t set;
    return sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
}

/* One rank speaks; more have nothing to share here. */
static int run(const struct request *r, const struct comm *c)
{
    struct weights w;
    struct str prompt = {0};
    TRY(weights_load(&w, c, r->from));
    gemm_set_threads((int)(r->threads > 0 ? r->threads : n_processors()));
    int rc = OK;
    if (c->rank == 0) {
        rc = take_prompt(r, &prompt);
        if (rc == OK)
            rc = speak(r, &w, prompt.s);
    }
    rc = agree(c, rc);
    str_release(&prompt);
    weights_release(&w);
    return rc;
}

static int check_request(const struct request *r)
{
    const struct {
        const char *name;
        double v, least, most;
    } row[] = {{"tokens", (double)r->tokens, 1, 1 << 24}, {"n", (double)r->count, 1, 1 << 24},
               {"top-k", (double)r->top_k, 0, 1 << 24},   {"threads", (double)r->threads, 0, 4096},
               {"temperature", r->temperature, 0, 1000},  {"top-p", r->top_p, 0, 1},
               {"seed", (double)r->seed, 0, 0x1p62}};
    for (size_t i = 0; i < sizeof row / sizeof *row; i++)
        if (!(row[i].v >= row[i].least && row[i].v <= row[i].most))
            return ERR(E_USAGE, "--%s is %g; it lies between %g and %g", row[i].name, row[i].v,
                       row[i].least, row[i].most);
    return OK;
}

int cmd_generate(int argc, char **argv)
{
    struct request r = {
        .tokens = 128, .top_k = 40, .seed = 0, .count = 1, .temperature = 0.8, .top_p = 0.95};
    bool help = false;
    const struct opt table[] = {
        {"prompt", 'p', OPT_STR, &r.prompt, "TEXT",
         "what the text goes on from; -: standard input, which is also read when it is no terminal "
         "and there is no prompt"},
        {"tokens", 0, OPT_INT, &r.tokens, "N", "the most tokens of a text (default 128)"},
        {"temperature", 't', OPT_F64, &r.temperature, "X", "default 0.8; 0: the likeliest token"},
        {"top-k", 0, OPT_INT, &r.top_k, "K", "draw among the K likeliest (default 40; 0: all)"},
        {"top-p", 0, OPT_F64, &r.top_p, "P",
         "and among the fewest that hold this probability (default 0.95)"},
        {"seed", 's', OPT_INT, &r.seed, "N", "the same seed draws the same text (default 0)"},
        {"n", 'n', OPT_INT, &r.count, "COUNT", "texts, with lines of --- between them (default 1)"},
        {"tokenizer", 0, OPT_STR, &r.tokenizer, "FILE",
         "a SentencePiece model, where FROM holds none"},
        {"threads", 0, OPT_INT, &r.threads, "N", "default: all processors"},
        {"no-stream", 0, OPT_FLAG, &r.no_stream, NULL, "print a text when it is complete"},
        {"help", 'h', OPT_FLAG, &help, NULL, "this text"},
    };
    enum { N = sizeof table / sizeof *table };
    TRY(opts_parse(table, N, &argc, argv));
    if (help) {
        opts_help(stdout, "carat generate FROM [--prompt TEXT]",
                  "Text from a run's newest checkpoint, a checkpoint or a Hugging Face folder, on "
                  "standard output as it is drawn, without the prompt.",
                  table, N, "carat generate runs/quickstart --prompt \"To be\" --tokens 40");
        return OK;
    }
    if (argc != 2)
        return ERR(E_USAGE, "generate takes one source: carat generate FROM --prompt TEXT");
    TRY(check_request(&r));
    r.from = argv[1];
    log_to_stderr(true);
    struct comm c;
    TRY(comm_init(&c, &argc, &argv));
    int rc = run(&r, &c);
    comm_end(&c);
    return rc;
}
