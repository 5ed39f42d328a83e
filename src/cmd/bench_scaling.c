#include "bench.h"

#include "base/err.h"
#include "base/str.h"
#include "par/agree.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static int add_count(struct bench_scaling *s, int ranks, int all)
{
    if (ranks < 1 || ranks > all)
        return ERR(E_USAGE, "--ranks: %d ranks of the %d that were started", ranks, all);
    if (s->n > 0 && ranks <= s->ranks[s->n - 1])
        return ERR(E_USAGE, "--ranks: the counts must rise, such as 1,2,4");
    if (s->n == BENCH_MAX_COUNTS)
        return ERR(E_USAGE, "--ranks: at most %d counts", BENCH_MAX_COUNTS);
    s->ranks[s->n++] = ranks;
    return OK;
}

/* "1,2,4", or powers of two and all. */
static int parse_counts(struct bench_scaling *s, const char *text, int all)
{
    if (text == NULL) {
        for (int n = 1; n < all; n *= 2)
            TRY(add_count(s, n, all));
        return add_count(s, all, all);
    }
    for (const char *at = text;;) {
        char *end;
        long n = strtol(at, &end, 10);
        if (end == at || (*end != ',' && *end != '\0'))
            return ERR(E_USAGE, "--ranks takes counts such as 1,2,4, not \"%s\"", text);
        TRY(add_count(s, n < 0 || n > all ? 0 : (int)n, all));
        if (*end == '\0')
            return OK;
        at = end + 1;
    }
}

int bench_check_counts(const struct bench_request *r, const struct comm *c)
{
    struct bench_scaling s = {0};
    return parse_counts(&s, r->ranks, c->size);
}

/* Returns when every rank has come here, without taking time from those that still work. */
static int wait_quietly(const struct comm *c)
{
    MPI_Request all;
    const struct timespec pause = {.tv_nsec = 5000000};
    MPI_TRY(MPI_Ibarrier(c->world, &all));
    for (int done = 0;;) {
        MPI_TRY(MPI_Test(&all, &done, MPI_STATUS_IGNORE));
        if (done)
            return OK;
        nanosleep(&pause, NULL);
    }
}

/* The job's steps with this batch on the first n ranks. Collective over c. */
static int measure(struct bench_steps *out, const struct job *j, int64_t global, int n,
                   const struct comm *c, const struct bench_folder *f,
                   const struct bench_request *r)
{
    struct comm some;
    struct config conf = j->conf;
    conf.batch.global = global;
    TRY(agree(c, comm_first(&some, c, n)));
    int rc = some.size > 0 ? bench_steps(out, &conf, &j->spec, &some, f, r) : OK;
    TRY(wait_quietly(c));
    comm_end(&some);
    return agree_bcast(c, 0, rc, out, sizeof *out);
}

/* Of the weak series: what the largest count takes of the job's batch a rank, in whole
 * micro-batches. */
static int64_t weak_share(const struct job *j, int most)
{
    int64_t micro = j->conf.batch.micro, share = j->conf.batch.global / most / micro * micro;
    return share > micro ? share : micro;
}

static int measure_count(struct bench_scaling *s, int i, const struct job *j, const struct comm *c,
                         const struct bench_folder *f, const struct bench_request *r)
{
    static struct bench_steps strong, weak;
    TRY(measure(&strong, j, s->strong_global, s->ranks[i], c, f, r));
    weak = strong;
    if (s->weak_global[i] != s->strong_global)
        TRY(measure(&weak, j, s->weak_global[i], s->ranks[i], c, f, r));
    s->strong_s[i] = strong.step_s;
    s->weak_s[i] = weak.step_s;
    s->strong_tokens = strong.tokens;
    s->weak_tokens[i] = weak.tokens;
    s->weak_passes_s[i] = weak.compute_s[1];
    s->crowded[i] = strong.crowded;
    return OK;
}

/* Over the counts that had a processor for every thread. */
static void fit(struct bench_scaling *s)
{
    int ranks[BENCH_MAX_COUNTS];
    double seconds[BENCH_MAX_COUNTS];
    for (int i = 0; i < s->n; i++) {
        if (s->crowded[i])
            continue;
        ranks[s->n_fitted] = s->ranks[i];
        seconds[s->n_fitted++] = s->strong_s[i];
    }
    s->fitted = amdahl_fit(&s->fit, ranks, seconds, s->n_fitted);
}

/* Micro-batches that do not divide evenly leave ranks idle, which no fit tells apart. */
static bool divides(const struct bench_scaling *s, const struct job *j, int ranks)
{
    int64_t n_micro = (s->strong_global + j->conf.batch.micro - 1) / j->conf.batch.micro;
    return n_micro % ranks == 0;
}

/* Passes share nothing but caches, memory and the clock: what they lose is no serial share. */
static void advise_on_passes(struct bench_scaling *s)
{
    static const double WORTH_SAYING = 1.03;
    double slower = s->weak_passes_s[s->n - 1] / s->weak_passes_s[0];
    size_t used = strlen(s->advice);
    if (slower > WORTH_SAYING && !s->crowded[s->n - 1])
        snprintf(s->advice + used, sizeof s->advice - used,
                 "; the passes alone take %.0f%% longer when all ranks work (clock, caches, "
                 "memory), which more nodes would not",
                 100 * (slower - 1));
}

static void advise(struct bench_scaling *s, const struct job *j)
{
    size_t n = sizeof s->advice;
    for (int i = 0; i < s->n; i++)
        if (!s->crowded[i] && !divides(s, j, s->ranks[i])) {
            snprintf(s->advice, n,
                     "%d ranks share the micro-batches of %lld sequences unevenly: choose "
                     "batch.global or batch.micro so that the ranks divide them, then measure "
                     "again",
                     s->ranks[i], (long long)s->strong_global);
            return;
        }
    if (!s->fitted)
        snprintf(s->advice, n,
                 "too few counts with a processor for every thread: start more ranks, on as many "
                 "cores");
    else if (isinf(amdahl_ranks_at(&s->fit, 0.9)))
        snprintf(s->advice, n,
                 "no serial share was seen: more ranks, up to one a micro-batch, keep paying");
    else
        snprintf(s->advice, n,
                 "with this batch 90%% efficiency lasts to %.0f ranks, 50%% to %.0f, and no "
                 "number is faster than %.0f times one rank; beyond that raise batch.global with "
                 "the ranks",
                 floor(amdahl_ranks_at(&s->fit, 0.9)), floor(amdahl_ranks_at(&s->fit, 0.5)),
                 1 / s->fit.serial);
}

int bench_scaling(struct bench_scaling *out, const struct job *j, const struct comm *c,
                  const struct bench_folder *f, const struct bench_request *r)
{
    memset(out, 0, sizeof *out);
    TRY(parse_counts(out, r->ranks, c->size));
    out->strong_global = j->conf.batch.global;
    int64_t share = weak_share(j, out->ranks[out->n - 1]);
    for (int i = 0; i < out->n; i++) {
        out->weak_global[i] = share * out->ranks[i];
        TRY(measure_count(out, i, j, c, f, r));
    }
    fit(out);
    advise(out, j);
    advise_on_passes(out);
    return OK;
}
