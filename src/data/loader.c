#include "data/loader.h"

#include "base/err.h"
#include "base/fault.h"
#include "base/mem.h"
#include "data/perm.h"

#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>

/* Two requests outstanding and one block in the caller's hands. */
enum { N_SLOTS = 3, OUTSTANDING_MAX = 2 };

struct slot {
    uint64_t first; /* the request: positions of the training order */
    int n;
    struct store_fault fault;
    int32_t *token, *target, *start;
    float *weight;
};

struct loader {
    const struct store *store;
    struct loader_options o;
    uint64_t n_samples;
    int32_t *row; /* [T+1], the thread's */
    struct slot slot[N_SLOTS];
    pthread_t thread;
    bool thread_runs;
    pthread_mutex_t lock;
    pthread_cond_t wanted, ready;
    /* Requests made, read and handed over so far; request i uses slot i mod N_SLOTS. */
    uint64_t n_wanted, n_read, n_taken;
    bool stop;
};

static uint64_t sample_at(const struct loader *l, uint64_t position)
{
    uint64_t epoch = position / l->n_samples, place = position % l->n_samples;
    return l->o.shuffle ? perm_at(l->o.seed, epoch, l->n_samples, place) : place;
}

/* The document that holds a token: the last one that does not begin behind it. */
static uint64_t doc_of(const struct store *s, uint64_t token)
{
    uint64_t low = 0, high = s->n_docs;
    while (high - low > 1) {
        uint64_t mid = low + (high - low) / 2;
        if (s->doc_offset[mid] <= token)
            low = mid;
        else
            high = mid;
    }
    return low;
}

/* weight[T]: 0 where the target is the first token of a document. start[T]: where in the row the
 * input's document begins. Tokens base … base+T. */
static void mark_documents(const struct store *s, uint64_t base, int T, float *weight,
                           int32_t *start)
{
    uint64_t next = doc_of(s, base) + 1; /* the next document to begin */
    int32_t begin = 0;
    for (int t = 0; t < T; t++) {
        bool last = s->doc_offset[next] == base + (uint64_t)t + 1;
        weight[t] = last ? 0 : 1;
        if (start != NULL)
            start[t] = begin;
        if (last) { /* a target lies before the split's end, so another offset follows */
            begin = t + 1;
            next++;
        }
    }
}

static void read_sample(struct loader *l, struct slot *slot, int i)
{
    size_t T = (size_t)l->o.T, at = (size_t)i * T;
    uint64_t base = sample_at(l, slot->first + (uint64_t)i) * T;
    store_try_read(l->store, base, T + 1, l->row, &slot->fault);
    memcpy(slot->token + at, l->row, T * sizeof *l->row);
    memcpy(slot->target + at, l->row + 1, T * sizeof *l->row);
    if (l->o.boundary != BOUNDARY_NONE)
        mark_documents(l->store, base, l->o.T, slot->weight + at,
                       slot->start != NULL ? slot->start + at : NULL);
}

static void read_request(struct loader *l, struct slot *slot)
{
    slot->fault = (struct store_fault){.code = OK};
    for (int i = 0; i < slot->n && slot->fault.code == OK; i++)
        read_sample(l, slot, i);
}

static void *reading_thread(void *ctx)
{
    struct loader *l = ctx;
    pthread_mutex_lock(&l->lock);
    for (;;) {
        while (!l->stop && l->n_read == l->n_wanted)
            pthread_cond_wait(&l->wanted, &l->lock);
        if (l->stop)
            break;
        struct slot *slot = &l->slot[l->n_read % N_SLOTS];
        pthread_mutex_unlock(&l->lock);
        read_request(l, slot);
        pthread_mutex_lock(&l->lock);
        l->n_read++;
        pthread_cond_signal(&l->ready);
    }
    pthread_mutex_unlock(&l->lock);
    return NULL;
}

static int alloc_slot(struct slot *slot, const struct loader_options *o)
{
    size_t n = (size_t)o->max_samples * (size_t)o->T;
    TRY(mem_alloc(&slot->token, n, sizeof *slot->token, "samples"));
    TRY(mem_alloc(&slot->target, n, sizeof *slot->target, "samples"));
    if (o->boundary != BOUNDARY_NONE)
        TRY(mem_alloc(&slot->weight, n, sizeof *slot->weight, "samples"));
    if (o->boundary == BOUNDARY_ATTENTION)
        TRY(mem_alloc(&slot->start, n, sizeof *slot->start, "samples"));
    return OK;
}

/* Signals are for the thread that computes. */
static int start_thread(struct loader *l)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&l->thread, NULL, reading_thread, l);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error != 0)
        return ERR(E_MEM, "cannot start a thread that reads samples: %s", strerror(error));
    l->thread_runs = true;
    return OK;
}

static int prepare(struct loader *l)
{
    const struct store *s = l->store;
    if (l->o.T < 1 || l->o.max_samples < 1)
        return ERR(E_BUG, "loader: T %d, max_samples %d", l->o.T, l->o.max_samples);
    if (s->n_tokens < (uint64_t)l->o.T + 1)
        return ERR(E_DATA,
                   "%s: its %s split has %llu tokens; one sample of %d tokens needs %d: prepare "
                   "more text or lower batch.seq_len",
                   s->path, s->split == SPLIT_TRAIN ? "train" : "valid",
                   (unsigned long long)s->n_tokens, l->o.T, l->o.T + 1);
    l->n_samples = (s->n_tokens - 1) / (uint64_t)l->o.T;
    TRY(mem_alloc(&l->row, (size_t)l->o.T + 1, sizeof *l->row, "samples"));
    for (int i = 0; i < N_SLOTS; i++)
        TRY(alloc_slot(&l->slot[i], &l->o));
    return start_thread(l);
}

int loader_new(struct loader **out, const struct store *s, const struct loader_options *o)
{
    struct loader *l;
    TRY(mem_alloc(out, 1, sizeof *l, "loader"));
    l = *out;
    l->store = s;
    l->o = *o;
    pthread_mutex_init(&l->lock, NULL);
    pthread_cond_init(&l->wanted, NULL);
    pthread_cond_init(&l->ready, NULL);
    int rc = prepare(l);
    if (rc != OK) {
        loader_free(l);
        *out = NULL;
    }
    return rc;
}

static void stop_thread(struct loader *l)
{
    pthread_mutex_lock(&l->lock);
    l->stop = true;
    pthread_cond_signal(&l->wanted);
    pthread_mutex_unlock(&l->lock);
    pthread_join(l->thread, NULL);
}

void loader_free(struct loader *l)
{
    if (l == NULL)
        return;
    if (l->thread_runs)
        stop_thread(l);
    for (int i = 0; i < N_SLOTS; i++) {
        mem_free(l->slot[i].token);
        mem_free(l->slot[i].target);
        mem_free(l->slot[i].weight);
        mem_free(l->slot[i].start);
    }
    mem_free(l->row);
    pthread_cond_destroy(&l->ready);
    pthread_cond_destroy(&l->wanted);
    pthread_mutex_destroy(&l->lock);
    mem_free(l);
}

uint64_t loader_n_samples(const struct loader *l)
{
    return l->n_samples;
}

void loader_want(struct loader *l, uint64_t first, int n)
{
    if (n < 1 || n > l->o.max_samples)
        fatal(E_BUG, "loader_want: %d samples; at most %d", n, l->o.max_samples);
    pthread_mutex_lock(&l->lock);
    if (l->n_wanted - l->n_taken >= OUTSTANDING_MAX)
        fatal(E_BUG, "loader_want: %d requests are outstanding", OUTSTANDING_MAX);
    struct slot *slot = &l->slot[l->n_wanted % N_SLOTS];
    slot->first = first;
    slot->n = n;
    l->n_wanted++;
    pthread_cond_signal(&l->wanted);
    pthread_mutex_unlock(&l->lock);
}

void loader_drop(struct loader *l)
{
    pthread_mutex_lock(&l->lock);
    while (l->n_read < l->n_wanted)
        pthread_cond_wait(&l->ready, &l->lock);
    l->n_taken = l->n_wanted;
    pthread_mutex_unlock(&l->lock);
}

int loader_next(struct loader *l, struct sample_block *out)
{
    pthread_mutex_lock(&l->lock);
    if (l->n_taken == l->n_wanted)
        fatal(E_BUG, "loader_next: nothing was asked for");
    while (l->n_read == l->n_taken)
        pthread_cond_wait(&l->ready, &l->lock);
    const struct slot *slot = &l->slot[l->n_taken % N_SLOTS];
    l->n_taken++;
    pthread_mutex_unlock(&l->lock);
    *out = (struct sample_block){slot->n,      slot->token, slot->target,
                                 slot->weight, slot->start, slot->first};
    return store_fault_error(l->store, &slot->fault);
}
