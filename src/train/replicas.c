#include "train/replicas.h"

#include "base/err.h"
#include "base/fault.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/rng.h"
#include "par/agree.h"
#include "par/who.h"
#include "train/events.h"
#include "train/trainer.h"

#include <stdio.h>
#include <string.h>

/* ---- what is in replicas ---- */

struct array {
    const char *kind, *name; /* of what tensor: "" */
    const float *x;
    size_t n;
};

static bool state_is_replicated(const struct trainer *t)
{
    return t->state.size == 1 && t->comm->size > 1;
}

static struct array array_of(const struct trainer *t, int i)
{
    const struct optim *o = &t->optim;
    if (i < t->tensors->n) {
        const struct tensor *row = &t->tensors->row[i];
        return (struct array){"", row->name, t->params + row->offset, row->n};
    }
    i -= t->tensors->n;
    if (i < o->n_slots)
        return (struct array){"the optimizer's ", t->rule->slot[i], o->slot[i],
                              shard_count(&o->slot_shard[i], 0)};
    i -= o->n_slots;
    return (struct array){"the optimizer's ", t->rule->stat[i], o->stat[i], o->stat_n[i]};
}

int replicas_init(struct trainer *t)
{
    struct replicas *r = &t->replicas;
    r->n = t->tensors->n;
    if (state_is_replicated(t))
        r->n += t->optim.n_slots + t->rule->n_stats;
    TRY(mem_alloc(&r->hash, (size_t)r->n, sizeof *r->hash, "hashes of replicas"));
    return mem_alloc(&r->least, (size_t)r->n, 2 * sizeof *r->least, "hashes of replicas");
}

void replicas_release(struct replicas *r)
{
    mem_free(r->hash);
    mem_free(r->least);
    *r = (struct replicas){0};
}

/* ---- hashing ---- */

static uint64_t mix(uint64_t x)
{
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

uint64_t replicas_hash(const float *x, size_t n, uint64_t *chunk, int part, int n_parts)
{
    uint64_t sum = 0;
    for (size_t at = 0, size; at < n; at += size, ++*chunk) {
        size = n - at < REPLICA_CHUNK ? n - at : REPLICA_CHUNK;
        if (*chunk % (uint64_t)n_parts == (uint64_t)part)
            sum += mix(*chunk << 32 | crc32c(0, x + at, size * sizeof *x));
    }
    return sum;
}

/* This rank's share of its replica, array by array; returns the sum. */
static uint64_t hash_share(struct trainer *t)
{
    const struct team *team = &t->holders.team;
    int j = team_of(team, team->rank);
    uint64_t chunk = 0, sum = 0;
    for (int i = 0; i < t->replicas.n; i++) {
        const struct array a = array_of(t, i);
        t->replicas.hash[i] =
            replicas_hash(a.x, a.n, &chunk, team->rank - team_first(team, j), team_size(team, j));
        sum += t->replicas.hash[i];
    }
    return sum;
}

/* What the ranks of a team hashed of their replica is added up. */
static int add_up(const struct trainer *t, uint64_t *hash, int n)
{
    if (t->holders.team.per > 1)
        MPI_TRY(MPI_Allreduce(MPI_IN_PLACE, hash, n, MPI_UINT64_T, MPI_SUM, t->holders.team_world));
    return OK;
}

/* The least of all, and the complement of the greatest behind it. */
static int find_extremes(const struct trainer *t, const uint64_t *hash, uint64_t *least, int n)
{
    for (int i = 0; i < n; i++) {
        least[i] = hash[i];
        least[n + i] = ~hash[i];
    }
    MPI_TRY(MPI_Allreduce(MPI_IN_PLACE, least, 2 * n, MPI_UINT64_T, MPI_MIN, t->comm->world));
    return OK;
}

/* ---- who is wrong ---- */

/* The hash that more replicas have than not, each counted by its first rank. False: there is none.
 */
static bool find_majority(uint64_t *most, const uint64_t *hash, const struct team *t)
{
    int n = team_count(t);
    for (int i = 0; i < n; i++) {
        int votes = 0;
        *most = hash[team_first(t, i)];
        for (int j = 0; j < n; j++)
            votes += hash[team_first(t, j)] == *most;
        if (2 * votes > n)
            return true;
    }
    return false;
}

/* Whether this rank's replica of an array is not with the majority; all are where there is none. */
static int is_odd(const struct trainer *t, uint64_t hash, bool *odd, bool *majority)
{
    uint64_t *all, most;
    TRY(agree(t->comm, mem_alloc(&all, (size_t)t->comm->size, sizeof *all, "hashes of replicas")));
    int rc = comm_check(MPI_Allgather(&hash, 1, MPI_UINT64_T, all, 1, MPI_UINT64_T, t->comm->world),
                        "MPI_Allgather");
    if (rc == OK) {
        *majority = find_majority(&most, all, &t->holders.team);
        *odd = !*majority || hash != most;
    }
    mem_free(all);
    return rc;
}

static int accuse(struct trainer *t, int first, int n_odd)
{
    struct replicas *r = &t->replicas;
    struct event e = {.step = t->at.step, .value = n_odd, .kind = "replica", .action = "stop"};
    char ranks[160];
    bool odd, majority;
    const struct array a = array_of(t, first);
    TRY(is_odd(t, r->hash[first], &odd, &majority));
    TRY(who(ranks, sizeof ranks, t->comm, odd));
    snprintf(e.text, sizeof e.text,
             "after step %lld %s%s%s has other bits on some ranks, %s %s; the memory or "
             "arithmetic of that node is suspect: restart from the newest checkpoint without it",
             (long long)t->at.step, a.kind, a.name, n_odd > 1 ? " and more" : "",
             majority ? "and wrong is" : "with no majority among", ranks);
    monitor_record(t, &e);
    return ERR(E_RANK, "%s", e.text);
}

/* Which arrays are not alike everywhere. What differs as a whole differs in one of them. */
static int look_closer(struct trainer *t)
{
    struct replicas *r = &t->replicas;
    int first = -1, n_odd = 0;
    TRY(add_up(t, r->hash, r->n));
    TRY(find_extremes(t, r->hash, r->least, r->n));
    for (int i = r->n - 1; i >= 0; i--) {
        if (r->least[i] == ~r->least[r->n + i])
            continue;
        first = i;
        n_odd++;
    }
    if (first < 0)
        return ERR(E_BUG, "replicas differ and none of their arrays does");
    return accuse(t, first, n_odd);
}

int replicas_check(struct trainer *t)
{
    uint64_t least[2];
    if (t->conf->monitor.replicas_every == 0 || team_count(&t->holders.team) == 1)
        return OK;
    uint64_t sum = hash_share(t);
    TRY(add_up(t, &sum, 1));
    TRY(find_extremes(t, &sum, least, 1));
    return least[0] == ~least[1] ? OK : look_closer(t);
}

int replicas_due(struct trainer *t)
{
    int64_t every = t->conf->monitor.replicas_every;
    int rc = every > 0 && (t->at.step + 1) % every == 0 ? replicas_check(t) : OK;
    prof_lap(t->prof, PROF_MONITOR, 0, 0);
    return rc;
}

void replicas_spoil(struct trainer *t)
{
    enum { STREAM = 0x666c6970 };
    uint64_t seed = (uint64_t)t->conf->run.seed, step = (uint64_t)t->at.step;
    if (!fault_hit("replica.flip"))
        return;
    const struct tensor *row =
        &t->tensors->row[rng_u64(seed, STREAM, 3 * step) % (uint64_t)t->tensors->n];
    float *x = t->params + row->offset + rng_u64(seed, STREAM, 3 * step + 1) % row->n;
    uint32_t bits;
    memcpy(&bits, x, sizeof bits);
    bits ^= 1u << rng_u64(seed, STREAM, 3 * step + 2) % 32;
    memcpy(x, &bits, sizeof bits);
}
