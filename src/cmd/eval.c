#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/plain.h"
#include "base/str.h"
#include "base/watch.h"
#include "cmd/cmd.h"
#include "cmd/opts.h"
#include "conf/config_file.h"
#include "io/json.h"
#include "kern/gemm.h"
#include "par/agree.h"
#include "par/pin.h"
#include "train/evaluate.h"
#include "train/text_bytes.h"
#include "train/watchdog.h"
#include "train/weights.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DEFAULT_T = 1024, DEFAULT_MICRO = 4 };

/* What is asked for; -1 and NULL: as the run has it, else a default. */
struct request {
    const char *from, *data, *split_name;
    enum split split;
    enum boundary boundary;
    int64_t samples, seq_len, micro, threads;
    double watchdog_s;
    bool json;
};

/* What is evaluated. */
struct subject {
    struct weights w;
    struct config conf; /* the run's, where w has one */
    struct store store;
    struct loader *loader;
    struct model *model;
};

struct outcome {
    struct evaluation e;
    double bits_per_byte; /* NaN: no tokenizer is known */
    double seconds;
};

/* ---- from request to subject ---- */

static const char *some(const char *a, const char *b)
{
    return a != NULL && a[0] != '\0' ? a : b;
}

static void take_default(int64_t *v, int64_t otherwise)
{
    if (*v < 0)
        *v = otherwise;
}

static enum boundary boundary_of(const char *name)
{
    if (strcmp(name, "attention") == 0)
        return BOUNDARY_ATTENTION;
    return strcmp(name, "loss") == 0 ? BOUNDARY_LOSS : BOUNDARY_NONE;
}

/* A run is measured as it measures itself, so that its own figures come back. */
static int follow_run(struct request *r, const struct weights *w, struct config *conf)
{
    struct conf_origins origins;
    if (w->config_text == NULL)
        return OK;
    TRY(conf_load_text(conf, &origins, w->config_text, w->path));
    const char *own = conf->data.train;
    if (r->split == SPLIT_VALID)
        own = some(conf->data.valid, own);
    r->data = some(r->data, own);
    r->boundary = boundary_of(conf->data.boundary);
    take_default(&r->seq_len, conf->batch.seq_len);
    take_default(&r->micro, conf->batch.micro);
    take_default(&r->samples, conf->validate.samples);
    take_default(&r->threads, conf->parallel.threads);
    return OK;
}

static int settle(struct request *r, struct subject *s)
{
    const struct weights *w = &s->w;
    TRY(follow_run(r, w, &s->conf));
    if (r->data == NULL || r->data[0] == '\0')
        return ERR(E_USAGE, "%s names no token store of its own; name one: carat eval %s tokens.h5",
                   r->from, r->from);
    int64_t longest = w->spec.max_positions;
    take_default(&r->seq_len, longest < DEFAULT_T ? longest : DEFAULT_T);
    take_default(&r->micro, DEFAULT_MICRO);
    take_default(&r->samples, 0);
    take_default(&r->threads, 1);
    return OK;
}

/* Numbers of another tokenizer's ids mean nothing to the model. */
static int check_tokens(const struct subject *s)
{
    if (s->store.vocab > s->w.spec.V)
        return ERR(E_CONFIG, "%s has a vocabulary of %d, the model of %d", s->store.path,
                   s->store.vocab, s->w.spec.V);
    if (s->w.tokenizer != NULL && s->store.tokenizer_hash[0] != '\0' &&
        strcmp(s->store.tokenizer_hash, tokenizer_hash(s->w.tokenizer)) != 0)
        log_warn("%s was made by another tokenizer than the model's; the figures mean little "
                 "unless both number their pieces alike",
                 s->store.path);
    return OK;
}

static int prepare(struct subject *s, struct request *r)
{
    TRY(settle(r, s));
    TRY(store_open(&s->store, r->data, r->split));
    TRY(check_tokens(s));
    const struct loader_options o = {
        .T = (int)r->seq_len, .boundary = r->boundary, .max_samples = (int)r->micro};
    TRY(loader_new(&s->loader, &s->store, &o));
    int64_t all = (int64_t)loader_n_samples(s->loader);
    if (r->samples == 0 || r->samples > all)
        r->samples = all;
    gemm_set_threads((int)r->threads);
    return model_new(&s->model, &s->w.spec, (int)r->micro, (int)r->seq_len,
                     &(struct model_options){0});
}

static void release(struct subject *s)
{
    model_free(s->model);
    loader_free(s->loader);
    if (s->store.fd >= 0)
        store_close(&s->store);
    weights_release(&s->w);
}

/* ---- figures ---- */

static int open_tokenizer(struct tokenizer **t, const struct store *s)
{
    void *bytes = NULL;
    size_t n = 0;
    *t = NULL;
    TRY(store_tokenizer(s->path, &bytes, &n));
    int rc = n > 0 ? tokenizer_from_bytes(t, bytes, n, s->path) : OK;
    mem_free(bytes);
    return rc;
}

/* The targets of n samples are tokens 1 … n·T of the stream; the first of a document is one only
 * where documents run into each other. */
static int bits_per_byte(const struct subject *s, const struct request *r, const struct comm *c,
                         struct outcome *o)
{
    struct tokenizer *t;
    int64_t bytes = 0;
    uint64_t end = (uint64_t)r->samples * (uint64_t)r->seq_len + 1;
    o->bits_per_byte = NAN;
    int rc = agree(c, open_tokenizer(&t, &s->store));
    if (rc == OK && t != NULL)
        rc = text_bytes(c, &s->store, t, 1, end, r->boundary != BOUNDARY_NONE, &bytes);
    tokenizer_free(t);
    if (bytes > 0)
        o->bits_per_byte = o->e.loss * o->e.targets / log(2) / (double)bytes;
    return rc;
}

static void show_progress(double done, double all)
{
    static double begun_s;
    if (done <= 1)
        begun_s = clock_now_s();
    char left[32];
    double rate = (clock_now_s() - begun_s) / done;
    log_status("evaluating %3.0f%%  %s left", 100 * done / all,
               fmt_duration(left, sizeof left, rate * (all - done)));
}

static const char *split_name(enum split split)
{
    return split == SPLIT_VALID ? "valid" : "train";
}

static void print_text(const struct subject *s, const struct request *r, const struct outcome *o)
{
    char step[32] = "", targets[32], rate[32];
    if (s->w.step >= 0)
        snprintf(step, sizeof step, ", step %lld", (long long)s->w.step);
    log_info("model           %s%s", s->w.path, step);
    log_info("data            %s, %s split: %lld samples of %lld tokens", s->store.path,
             split_name(r->split), (long long)r->samples, (long long)r->seq_len);
    log_info("loss            %.6f nats a token", o->e.loss);
    log_info("perplexity      %.4f", exp(o->e.loss));
    log_info("accuracy        %.2f%%", 100 * o->e.accuracy);
    if (!isnan(o->bits_per_byte))
        log_info("bits per byte   %.4f", o->bits_per_byte);
    log_info("targets         %s in %.2f s, %s tokens/s",
             fmt_si(targets, sizeof targets, o->e.targets), o->seconds,
             fmt_si(rate, sizeof rate, o->e.targets / o->seconds));
}

/* A number, or null where there is none. */
static json_t *number(double v)
{
    return isfinite(v) ? json_real(v) : json_null();
}

static int print_json(const struct subject *s, const struct request *r, const struct outcome *o)
{
    json_t *j = json_pack(
        "{s:s, s:I, s:s, s:s, s:I, s:I, s:I, s:o, s:o, s:o, s:o, s:o, s:o}", "model", s->w.path,
        "step", (json_int_t)s->w.step, "data", s->store.path, "split", split_name(r->split),
        "samples", (json_int_t)r->samples, "seq_len", (json_int_t)r->seq_len, "targets",
        (json_int_t)o->e.targets, "loss", number(o->e.loss), "perplexity", number(exp(o->e.loss)),
        "accuracy", number(o->e.accuracy), "bits_per_byte", number(o->bits_per_byte), "seconds",
        number(o->seconds), "tokens_per_s", number(o->e.targets / o->seconds));
    char *text = j == NULL ? NULL : json_dumps(j, JSON_INDENT(2));
    json_decref(j);
    if (text == NULL)
        return ERR(E_MEM, "no memory for the figures");
    plain_print(stdout, "%s\n", text);
    free(text);
    return OK;
}

static int measure(struct subject *s, const struct request *r, const struct comm *c)
{
    struct outcome o;
    double begun_s = clock_now_s();
    TRY(evaluate(c, s->model, s->w.params, s->loader, r->samples, r->micro, (int)r->seq_len,
                 show_progress, &o.e));
    o.seconds = clock_now_s() - begun_s;
    log_status_end();
    TRY(bits_per_byte(s, r, c, &o));
    if (c->rank != 0)
        return OK;
    if (r->json)
        return print_json(s, r, &o);
    print_text(s, r, &o);
    return OK;
}

static int run(struct request *r, const struct comm *c)
{
    struct subject s = {.store.fd = -1};
    struct pin pin;
    TRY(pin_ranks(&pin, c, (int)r->threads, true));
    TRY(weights_load(&s.w, c, r->from));
    int rc = agree(c, prepare(&s, r));
    watch_phase(PHASE_VALIDATE);
    if (rc == OK)
        rc = measure(&s, r, c);
    release(&s);
    return rc;
}

static int check_request(struct request *r)
{
    if (strcmp(r->split_name, "train") != 0 && strcmp(r->split_name, "valid") != 0)
        return ERR(E_USAGE, "--split is valid or train, not \"%s\"", r->split_name);
    r->split = strcmp(r->split_name, "train") == 0 ? SPLIT_TRAIN : SPLIT_VALID;
    if (!(r->watchdog_s >= 0 && r->watchdog_s <= 1e9))
        return ERR(E_USAGE, "--watchdog is %g; it is seconds, 0: never", r->watchdog_s);
    const struct {
        const char *name;
        int64_t v, least;
    } row[] = {{"samples", r->samples, 0},
               {"seq-len", r->seq_len, 1},
               {"micro", r->micro, 1},
               {"threads", r->threads, 1}};
    for (size_t i = 0; i < sizeof row / sizeof *row; i++)
        if (row[i].v != -1 && (row[i].v < row[i].least || row[i].v > 1 << 24))
            return ERR(E_USAGE, "--%s is %lld; at least %lld", row[i].name, (long long)row[i].v,
                       (long long)row[i].least);
    return OK;
}

int cmd_eval(int argc, char **argv)
{
    struct request r = {.split_name = "valid",
                        .samples = -1,
                        .seq_len = -1,
                        .micro = -1,
                        .threads = -1,
                        .watchdog_s = WATCHDOG_FIRST_S};
    bool help = false;
    const struct opt table[] = {
        {"split", 0, OPT_STR, &r.split_name, "NAME", "valid (default) or train"},
        {"samples", 0, OPT_INT, &r.samples, "N", "the most samples used (0: all)"},
        {"seq-len", 0, OPT_INT, &r.seq_len, "T", "tokens a sample"},
        {"micro", 0, OPT_INT, &r.micro, "B", "samples at a time on a rank"},
        {"threads", 0, OPT_INT, &r.threads, "N", "threads a rank"},
        {"watchdog", 0, OPT_F64, &r.watchdog_s, "S",
         "seconds without progress after which a rank that hangs ends all (default 120; 0: never)"},
        {"json", 0, OPT_FLAG, &r.json, NULL, "the figures as JSON on standard output"},
        {"help", 'h', OPT_FLAG, &help, NULL, "this text"},
    };
    enum { N = sizeof table / sizeof *table };
    TRY(opts_parse(table, N, &argc, argv));
    if (help) {
        opts_help(stdout, "carat eval FROM [DATA]",
                  "Loss, perplexity, accuracy and bits per byte of a run's newest checkpoint, a "
                  "checkpoint or a Hugging Face folder on a token store. A run is measured on its "
                  "own validation data as in training, unless options say otherwise; a Hugging "
                  "Face folder needs DATA, and takes all samples of at most 1024 tokens. The "
                  "figures have the same bits on any number of ranks.",
                  table, N,
                  "carat eval runs/quickstart\n"
                  "mpirun -n 4 carat eval ~/models/gemma-3-270m tokens.h5 --samples 1000");
        return OK;
    }
    if (argc < 2 || argc > 3)
        return ERR(E_USAGE, "eval takes weights and a token store: carat eval FROM [DATA]");
    TRY(check_request(&r));
    r.from = argv[1];
    r.data = argc == 3 ? argv[2] : NULL;
    log_to_stderr(r.json);
    struct comm c;
    TRY(comm_init(&c, &argc, &argv));
    watchdog_begin(&c, r.watchdog_s, "--watchdog");
    watch_phase(PHASE_LOAD);
    int rc = run(&r, &c);
    watch_phase(PHASE_CLOSE);
    watchdog_end();
    comm_end(&c);
    return rc;
}
