#include "ckpt_parts.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/fault.h"
#include "base/fs.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/watch.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* ---- what this rank has ---- */

static int count_part(void *ctx, const struct ckpt_part *part)
{
    (void)part;
    ((struct ckpt_payload *)ctx)->n_parts++;
    return OK;
}

static int keep_part(void *ctx, const struct ckpt_part *part)
{
    struct ckpt_payload *p = ctx;
    p->part[p->n_parts++] = *part;
    return OK;
}

struct listing {
    const struct ckpt_set *set;
    const size_t *number;
    const int64_t *extra;
    const struct comm *c;
};

/* Calls visit for every part of the file that this rank writes. */
static int each_part(struct ckpt_payload *p, const struct listing *l,
                     int (*visit)(void *ctx, const struct ckpt_part *part))
{
    const struct ckpt_set *set = l->set;
    void *const data[CKPT_EXTRAS] = {set->meta.tokenizer, set->meta.history};
    p->n_parts = 0;
    for (int a = 0; a < set->n_arrays; a++)
        if (ckpt_writes(&set->array[a], l->c->rank))
            TRY(ckpt_each_part(&set->array[a], ckpt_layout(&set->array[a], set->tensors), p->x,
                               l->number + ckpt_n_tensors(set->array, a, set->tensors), visit, p));
    for (int e = 0; e < CKPT_EXTRAS && l->c->rank == 0; e++)
        if (l->extra[e] >= 0)
            TRY(ckpt_each_block(p->x, (size_t)l->extra[e], data[e], visit, p));
    return OK;
}

int ckpt_payload_init(struct ckpt_payload *p, const struct ckpt_index *x,
                      const struct ckpt_set *set, const size_t *number,
                      const int64_t extra[CKPT_EXTRAS], const struct comm *c, const char *path)
{
    const struct listing l = {set, number, extra, c};
    *p = (struct ckpt_payload){.x = x, .path = path, .rank = c->rank};
    TRY(each_part(p, &l, count_part));
    TRY(mem_alloc(&p->part, p->n_parts, sizeof *p->part, "checkpoint parts"));
    TRY(ckpt_sums_init(&p->sums, p->n_parts));
    TRY(mem_alloc(&p->block, CKPT_BLOCK, 1, "block that is read back"));
    TRY(mem_alloc(&p->reader, x->n_blocks, sizeof *p->reader, "readers of blocks"));
    return each_part(p, &l, keep_part);
}

void ckpt_payload_release(struct ckpt_payload *p)
{
    if (p->has_thread)
        pthread_join(p->thread, NULL);
    ckpt_sums_release(&p->sums);
    mem_free(p->part);
    mem_free(p->block);
    mem_free(p->reader);
    *p = (struct ckpt_payload){0};
}

/* ---- the staging copy ---- */

/* The sum is the memory's that is copied, taken while the copy brings it into the cache. */
static uint32_t copy_summed(char *to, const char *from, size_t n)
{
    const size_t at_once = 128 << 10;
    uint32_t crc = 0;
    for (size_t at = 0, k; at < n; at += k) {
        k = n - at < at_once ? n - at : at_once;
        crc = crc32c(crc, from + at, k);
        memcpy(to + at, from + at, k);
    }
    return crc;
}

/* Root's texts stay where they are: nobody changes them. */
static bool is_staged(const struct ckpt_payload *p, const struct ckpt_part *part)
{
    return p->x->dataset[part->dataset].is_f32;
}

size_t ckpt_staging_bytes(const struct shard *shard, int rank)
{
    bool writes = shard->size > 1 || rank == 0;
    return writes ? shard_count(shard, shard->rank) * sizeof(float) : 0;
}

int ckpt_payload_stage(struct ckpt_payload *p, void *buffer, size_t bytes)
{
    char *at = buffer;
    for (size_t i = 0; i < p->n_parts; i++) {
        struct ckpt_part *part = &p->part[i];
        if (!is_staged(p, part))
            continue;
        if (part->n > bytes - (size_t)(at - (char *)buffer))
            return ERR(E_BUG, "%s: %zu bytes are too few to stage this rank's part", p->path,
                       bytes);
        TRY(ckpt_sums_add(&p->sums, part, p->x, p->rank, copy_summed(at, part->data, part->n)));
        part->data = at;
        at += part->n;
    }
    p->staged = true;
    return OK;
}

/* ---- writing ---- */

static int write_part(struct ckpt_payload *p, int fd, const struct ckpt_part *part)
{
    const struct ckpt_dataset *d = &p->x->dataset[part->dataset];
    /* The sum first: it is the memory's, and brings the part into the cache for the copy. */
    if (!p->staged || !is_staged(p, part))
        TRY(ckpt_sums_add(&p->sums, part, p->x, p->rank, crc32c(0, part->data, part->n)));
    int rc = fault_hit("ckpt.pwrite")
                 ? ERR(E_IO, "%s: cannot write (fault ckpt.pwrite)", p->path)
                 : fs_pwrite(fd, part->data, part->n, d->offset + (int64_t)part->first, p->path);
    return rc == OK ? OK : err_context(rc, "%s", d->name);
}

/* For who waits: it gets on. */
static void count_piece(struct ckpt_payload *p)
{
    atomic_fetch_add_explicit(&p->pieces, 1, memory_order_relaxed);
    watch_beat();
}

/* Never retried: after a failed fsync the kernel may have dropped what it could not write. */
static int sync_parts(const struct ckpt_payload *p, int fd)
{
    errno = 0;
    if (fault_hit("ckpt.fsync") || fsync(fd) != 0)
        return ERR(E_IO, "%s: cannot fsync: %s", p->path, strerror(errno != 0 ? errno : EIO));
    return OK;
}

/* A sync of all at once could take longer than a watchdog waits for a sign of life. */
static int write_parts(struct ckpt_payload *p, int fd)
{
    const size_t at_once = (size_t)1 << 30;
    size_t unsynced = 0;
    for (size_t i = 0; i < p->n_parts; i++) {
        TRY(write_part(p, fd, &p->part[i]));
        unsynced += p->part[i].n;
        if (unsynced >= at_once) {
            TRY(sync_parts(p, fd));
            unsynced = 0;
        }
        count_piece(p);
    }
    return OK;
}

static int close_parts(const struct ckpt_payload *p, int fd)
{
    errno = 0;
    return close(fd) != 0 || fault_hit("ckpt.close")
               ? ERR(E_IO, "%s: cannot close: %s", p->path, strerror(errno != 0 ? errno : EIO))
               : OK;
}

static int write_mine(struct ckpt_payload *p)
{
    int fd = open(p->path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return ERR(E_IO, "%s: cannot open: %s", p->path, strerror(errno));
    int rc = write_parts(p, fd);
    if (rc == OK)
        rc = sync_parts(p, fd);
    if (rc == OK)
        return close_parts(p, fd);
    close(fd);
    return rc;
}

/* ---- reading back ---- */

static int read_blocks(struct ckpt_payload *p, int fd)
{
    for (size_t i = 0; i < p->x->n_blocks; i++) {
        if (p->reader[i] != p->rank)
            continue;
        if (fault_hit("ckpt.readback"))
            return ERR(E_IO, "%s: %s cannot be read back (fault ckpt.readback)", p->path,
                       ckpt_block(p->x, i, NULL, NULL)->name);
        int rc = ckpt_block_check(p->x, i, fd, p->block, p->path, E_IO);
        if (rc != OK)
            return err_context(rc, "what was written is not what is read back");
        count_piece(p);
    }
    return OK;
}

static int read_mine(struct ckpt_payload *p)
{
    int fd = open(p->path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return ERR(E_IO, "%s: cannot open: %s", p->path, strerror(errno));
    int rc = read_blocks(p, fd);
    close(fd);
    return rc;
}

/* ---- the thread ---- */

static void *at_work(void *payload)
{
    struct ckpt_payload *p = payload;
    double begun = clock_now_s();
    p->rc = p->work(p);
    if (p->rc != OK) {
        snprintf(p->message, sizeof p->message, "%s", err_message());
        snprintf(p->place, sizeof p->place, "%s", err_place());
    }
    p->seconds = clock_now_s() - begun;
    atomic_store_explicit(&p->busy, false, memory_order_release);
    return NULL;
}

/* Signals are for the threads that were there before. */
static bool start_thread(struct ckpt_payload *p)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    bool started = !fault_hit("ckpt.thread") && pthread_create(&p->thread, NULL, at_work, p) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return started;
}

static void begin(struct ckpt_payload *p, int (*work)(struct ckpt_payload *p), bool aside)
{
    p->work = work;
    p->rc = OK;
    atomic_store(&p->busy, true);
    p->has_thread = aside && start_thread(p);
    if (!p->has_thread)
        at_work(p);
}

void ckpt_payload_write(struct ckpt_payload *p, bool aside)
{
    begin(p, write_mine, aside);
}

void ckpt_payload_read(struct ckpt_payload *p, bool aside)
{
    begin(p, read_mine, aside);
}

/* As long as the thread gets on, so does who waits for it. */
static void wait_for_thread(struct ckpt_payload *p)
{
    const struct timespec moment = {.tv_nsec = 1000000};
    unsigned seen = 0;
    while (atomic_load_explicit(&p->busy, memory_order_acquire)) {
        unsigned now = atomic_load_explicit(&p->pieces, memory_order_relaxed);
        if (now != seen)
            watch_beat();
        seen = now;
        nanosleep(&moment, NULL);
    }
    pthread_join(p->thread, NULL);
}

int ckpt_payload_join(struct ckpt_payload *p)
{
    if (p->has_thread)
        wait_for_thread(p);
    p->has_thread = false;
    if (p->rc != OK)
        err_adopt(p->rc, p->message, p->place);
    return p->rc;
}
