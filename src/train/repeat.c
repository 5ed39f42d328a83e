#include "train/repeat.h"

#include "base/err.h"
#include "base/hash.h"
#include "base/log.h"
#include "par/who.h"
#include "train/events.h"
#include "train/feed.h"
#include "train/trainer.h"

#include <stdio.h>
#include <string.h>

/* Checksums that a result is known by on one rank, in the order in which an error spreads: what its
 * micro-batches gave, its pieces of the summed gradient, the sums over all ranks. */
enum { GIVEN, HELD, SUMS, N_PRINTS };
struct print {
    uint32_t of[N_PRINTS];
};

struct pieces {
    const float *gradient;
    uint32_t crc;
};

static void add_piece(void *ctx, struct range piece, size_t at)
{
    struct pieces *p = ctx;
    (void)at;
    p->crc = crc32c(p->crc, p->gradient + piece.first, piece.n * sizeof *p->gradient);
}

static uint32_t checksum(const struct sums *s)
{
    const struct exactsum *const sum[] = {&s->loss, &s->sumsq, &s->each};
    const int64_t count[] = {s->targets, s->correct, s->n_each};
    uint32_t crc = crc32c(0, count, sizeof count);
    int64_t packed[EXACT_LIMBS + 1];
    for (size_t i = 0; i < sizeof sum / sizeof *sum; i++) {
        exactsum_pack(sum[i], packed);
        crc = crc32c(crc, packed, sizeof packed);
    }
    return crc;
}

static struct print print_of(const struct trainer *t, const struct sums *s)
{
    struct pieces p = {.gradient = reducer_sum(t->reducer)};
    shard_each(&t->shard, add_piece, &p);
    return (struct print){{s->given, p.crc, checksum(s)}};
}

/* The same samples from the same weights. What was asked for on the way stays asked for. */
static int compute_again(struct trainer *t, repeat_fn compute, struct sums *s,
                         struct step_result *r, struct print *p)
{
    bool stop = r->stop, save = r->save;
    *s = (struct sums){0};
    feed_restart(t);
    TRY(compute(t, s, r));
    r->stop = r->stop || stop;
    r->save = r->save || save;
    *p = print_of(t, s);
    return OK;
}

static bool same(const struct print *a, const struct print *b)
{
    return memcmp(a, b, sizeof *a) == 0;
}

/* For each of n conditions of this rank, whether it holds on all. */
static int hold_everywhere(const struct comm *c, int *yes, int n)
{
    MPI_TRY(MPI_Allreduce(MPI_IN_PLACE, yes, n, MPI_INT, MPI_LAND, c->world));
    return OK;
}

/* The ranks where the result first went wrong. */
static int name_suspects(char *text, size_t size, const struct comm *c, const struct print *right,
                         const struct print *wrong)
{
    static const char *const what[N_PRINTS] = {"the gradient computed by",
                                               "the sum of gradients held by",
                                               "what was summed up over all ranks on"};
    char ranks[160];
    int as_right[N_PRINTS], here[N_PRINTS], first = 0;
    for (int i = 0; i < N_PRINTS; i++)
        as_right[i] = here[i] = right->of[i] == wrong->of[i];
    TRY(hold_everywhere(c, as_right, N_PRINTS));
    while (first + 1 < N_PRINTS && as_right[first])
        first++;
    TRY(who(ranks, sizeof ranks, c, !here[first]));
    snprintf(text, size, "%s %s", what[first], ranks);
    return OK;
}

static int conclude(struct trainer *t, const struct step_result *r, const struct print result[3],
                    const int agree_with[2])
{
    bool agreed = agree_with[0] || agree_with[1];
    char suspects[224];
    struct event e = {.step = t->at.step + 1,
                      .value = r->loss,
                      .sample_first = t->at.samples,
                      .sample_n = (uint64_t)r->batch,
                      .kind = "repeat"};
    TRY(name_suspects(suspects, sizeof suspects, t->comm, &result[2], &result[agree_with[0]]));
    snprintf(e.action, sizeof e.action, "%s", agreed ? "warn" : "stop");
    snprintf(e.text, sizeof e.text,
             "step %lld: computed again, the same samples gave other bits, %s; wrong was %s: the "
             "memory or arithmetic of that node is suspect: restart without it",
             (long long)e.step,
             agreed ? "and two of three results agree and are used"
                    : "and no two of three results agree",
             suspects);
    monitor_record(t, &e);
    if (!agreed)
        return ERR(E_RANK, "%s", e.text);
    log_warn("%s", e.text);
    return OK;
}

int repeat_step(struct trainer *t, repeat_fn compute, struct sums *s, struct step_result *r)
{
    struct print result[3] = {print_of(t, s)};
    TRY(replicas_check(t));
    TRY(compute_again(t, compute, s, r, &result[1]));
    int alike = same(&result[0], &result[1]);
    TRY(hold_everywhere(t->comm, &alike, 1));
    if (!alike) {
        TRY(compute_again(t, compute, s, r, &result[2]));
        int agree_with[] = {same(&result[2], &result[0]), same(&result[2], &result[1])};
        TRY(hold_everywhere(t->comm, agree_with, 2));
        TRY(conclude(t, r, result, agree_with));
    }
    monitor_confirm(t);
    return OK;
}
