/* The set-up of SCIENCE, section 8: a Gemma-like model on tiny Shakespeare by character, and one
 * training of it. For tests/bench/science.c and tests/study/test_science.c. */
#ifndef CARAT_BENCH_SCIENCE_H
#define CARAT_BENCH_SCIENCE_H

#include "base/err.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "conf/config_file.h"
#include "data/store_write.h"
#include "study/range_test.h"
#include "train/evaluate.h"
#include "train/loop.h"
#include "train/monitor.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SCIENCE_T = 64, VALID_SAMPLES = 256, WARMUP_TOKENS = 32000, WARMUP_LEAST = 10 };

/* What the trainings share. */
struct science {
    struct comm alone; /* this rank by itself */
    int vocab;
    char folder[64], train[FS_PATH_MAX], valid[FS_PATH_MAX];
};

struct trial {
    int seed, batch, steps; /* at most so many */
    double lr;
    double target;        /* ends at this validation loss; 0: goes on to the end */
    int warmup;           /* steps; -1: max(32000 tokens, 10 steps) */
    const char *schedule; /* NULL: constant */
    bool unclipped;
};

struct outcome {
    double steps; /* to the target, between two validations; INFINITY: not reached */
    double loss;  /* of the last validation */
};

/* NULL where there is none. */
static inline const char *science_text(void)
{
    static const char *const places[] = {"../shared/data/tinyshakespeare.txt",
                                         "../../shared/data/tinyshakespeare.txt"};
    const char *given = getenv("CARAT_SHAKESPEARE");
    if (given != NULL)
        return given;
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++)
        if (fs_exists(places[i]))
            return places[i];
    return NULL;
}

static inline void must(int rc)
{
    if (rc != OK)
        fatal(rc, "%s", err_message());
}

/* One document, all of it for training or for validation. */
static inline void write_split(const char *path, const unsigned char *text, size_t n,
                               const int id_of[256], int vocab, bool valid)
{
    struct store_writer *w;
    struct store_counts counts;
    const struct store_facts facts = {.arguments = "characters"};
    const struct store_division division = {.seed = 1, .n_valid = valid};
    must(store_writer_new(&w, path, vocab));
    for (size_t i = 0; i < n; i++) {
        int32_t id = id_of[text[i]];
        must(store_writer_add(w, &id, 1));
    }
    must(store_writer_end_document(w));
    must(store_writer_finish(w, &facts, &division, &counts));
    store_writer_free(w);
}

/* A token is a character; the last tenth of the text is for validation. Collective over c; what is
 * written lies in a folder of rank 0's making. */
static inline void science_begin(struct science *s, const struct comm *c, const char *text_path)
{
    char *text;
    size_t n;
    int id_of[256], seen[256] = {0};
    s->vocab = 0;
    must(fs_read_file(text_path, 0, &text, &n));
    for (size_t i = 0; i < n; i++)
        seen[(unsigned char)text[i]] = 1;
    for (int i = 0; i < 256; i++)
        id_of[i] = seen[i] ? s->vocab++ : -1;
    snprintf(s->folder, sizeof s->folder, "/tmp/carat-science-XXXXXX");
    if (c->rank == 0 && mkdtemp(s->folder) == NULL)
        fatal(E_IO, "%s: cannot make a folder", s->folder);
    MPI_Bcast(s->folder, sizeof s->folder, MPI_CHAR, 0, c->world);
    must(fs_join(s->train, s->folder, "train.h5"));
    must(fs_join(s->valid, s->folder, "valid.h5"));
    if (c->rank == 0) {
        size_t cut = n / 10 * 9;
        write_split(s->train, (unsigned char *)text, cut, id_of, s->vocab, false);
        write_split(s->valid, (unsigned char *)text + cut, n - cut, id_of, s->vocab, true);
    }
    mem_free(text);
    MPI_Barrier(c->world);
    /* Each rank trains by itself. */
    s->alone = comm_without_teams(c);
    s->alone.world = MPI_COMM_SELF;
    s->alone.rank = s->alone.node = s->alone.node_rank = 0;
    s->alone.size = s->alone.n_nodes = s->alone.node_size = 1;
    s->alone.team = (struct team){.size = 1, .per = 1, .rank = 0};
    s->alone.owns_mpi = false;
}

static inline void science_end(const struct science *s, const struct comm *c)
{
    char command[sizeof s->folder + 16];
    snprintf(command, sizeof command, "rm -rf '%s'", s->folder);
    MPI_Barrier(c->world);
    if (c->rank == 0 && system(command) != 0)
        fprintf(stderr, "%s is left behind\n", s->folder);
}

/* Gemma 1's build: width d, two layers, heads of 16, twice the width in between: 86k parameters at
 * d = 64. First values have the variance of PyTorch's linear layers. Gemma 3's norms hide too high
 * a rate: with them even the linear rule's arrives. */
static inline struct model_spec science_model(const struct science *s, int d)
{
    struct model_spec m;
    must(spec_preset(&m, "gemma1-nano"));
    m.V = s->vocab;
    m.L = 2;
    m.D = d;
    m.Hd = 16;
    m.query_scalar = 16;
    m.H = m.K = d / m.Hd;
    m.F = 2 * d;
    m.init_std = 1 / sqrt(3.0 * d);
    must(spec_check(&m));
    return m;
}

static inline int warmup_of(const struct trial *k)
{
    int tokens = k->batch * SCIENCE_T, steps = (WARMUP_TOKENS + tokens - 1) / tokens;
    return k->warmup >= 0 ? k->warmup : steps > WARMUP_LEAST ? steps : WARMUP_LEAST;
}

static inline struct config science_job(const struct science *s, const struct trial *k)
{
    struct config c;
    struct conf_origins origins;
    struct str text = {0};
    str_addf(&text, "run.dir: %s/run\nmodel.preset: gemma1-nano\ndata: {train: %s, valid: %s}\n",
             s->folder, s->train, s->valid);
    str_addf(&text, "run.seed: %d\n", k->seed);
    str_addf(&text, "batch: {global: %d, micro: %d, seq_len: %d}\ntrain.steps: %d\n", k->batch,
             k->batch < 16 ? (k->batch + 1) / 2 : 8, SCIENCE_T, k->steps);
    str_addf(&text,
             "optimizer: {name: adamw, lr: %.17g, beta1: 0.9, beta2: 0.95, weight_decay: 0, "
             "clip_norm: %d}\n",
             k->lr, k->unclipped ? 0 : 1);
    str_addf(&text, "schedule: {name: %s, final: 0, warmup: %d steps}\n",
             k->schedule != NULL ? k->schedule : "constant", warmup_of(k));
    str_add(&text, "checkpoint: {every: 0}\nvalidate: {every: 0, samples: 256}\n");
    must(conf_load_text(&c, &origins, text.s, "science"));
    monitor_quiet(&c);
    must(conf_check(&c));
    str_release(&text);
    return c;
}

static inline double validation_loss(struct trainer *t)
{
    struct evaluation e;
    must(evaluate(t->comm, t->model, t->params, t->valid_loader, VALID_SAMPLES,
                  t->conf->batch.micro, SCIENCE_T, NULL, &e));
    return e.loss;
}

/* Validates when it may have come near the target, every fiftieth part of the way. */
struct watched {
    double train;      /* averaged loss */
    double step, loss; /* of the validation before */
    int64_t next;
};

static inline void watch_step(struct watched *w, struct outcome *o, struct trainer *t,
                              const struct trial *k, double train_loss)
{
    const double near = 0.2, keep = 0.9;
    int64_t step = t->at.step;
    w->train = step == 1 ? train_loss : keep * w->train + (1 - keep) * train_loss;
    if (k->target <= 0 || step < w->next || w->train > k->target + near)
        return;
    o->loss = validation_loss(t);
    w->next = step + (step < 50 ? 1 : step / 50);
    if (o->loss <= k->target)
        o->steps = w->step > 0 ? w->step + ((double)step - w->step) * (w->loss - k->target) /
                                               (w->loss - o->loss)
                               : (double)step;
    w->step = (double)step;
    w->loss = o->loss;
}

/* Trains anew; gives up past *most steps (NULL: none). */
static inline struct outcome science_train(const struct science *s, const struct model_spec *m,
                                           const struct trial *k, const double *most)
{
    static struct trainer t;
    struct config c = science_job(s, k);
    struct outcome o = {INFINITY, NAN};
    struct watched w = {0};
    struct step_result r;
    log_quiet(true);
    must(trainer_init_apart(&t, &c, m, &s->alone, START_ANEW));
    while (t.at.step < k->steps && isinf(o.steps) && (most == NULL || (double)t.at.step < *most)) {
        must(trainer_step(&t, &r));
        watch_step(&w, &o, &t, k, r.loss);
        if (!r.finite)
            break;
    }
    if (k->target <= 0)
        o.loss = validation_loss(&t);
    trainer_release(&t);
    log_quiet(false);
    return o;
}

/* What `carat range` says at a batch, as it is by itself. */
static inline struct range_suggestion science_range(const struct science *s,
                                                    const struct model_spec *m, int batch, int seed)
{
    static struct trainer t;
    const struct trial k = {.seed = seed, .batch = batch, .steps = 1, .lr = 1, .warmup = 0};
    const struct config job = science_job(s, &k);
    struct config c;
    struct range_curve curve;
    struct range_suggestion says;
    range_config(&c, &job, batch);
    log_quiet(true);
    must(range_curve_init(&curve, &RANGE_DEFAULT));
    must(trainer_init_apart(&t, &c, m, &s->alone, START_ANEW));
    must(range_test(&curve, &t, NULL, NULL));
    range_suggest(&says, &curve);
    trainer_release(&t);
    range_curve_release(&curve);
    log_quiet(false);
    return says;
}

#endif
