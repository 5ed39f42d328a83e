#include "par/window.h"

#include "base/err.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/str.h"
#include "par/agree.h"

#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/statvfs.h>
#include <unistd.h>

/* MPI's own segments grow a little while a job runs. */
static const double SPARE_BYTES = 16 << 20;

/* MPI's own data may come first and leave parts unaligned. */
static size_t aligned_room(size_t bytes)
{
    return bytes > 0 ? bytes + MEM_ALIGN : 0;
}

static void *aligned(void *p)
{
    return (char *)p + (MEM_ALIGN - (uintptr_t)p % MEM_ALIGN) % MEM_ALIGN;
}

struct window {
    MPI_Win win;
    size_t bytes; /* counted as held by this rank */
    void *own;    /* a team of one: the part itself */
    int n;
    void *part[]; /* [n] */
};

static double free_bytes(void)
{
    struct statvfs fs;
    if (fault_hit("window") || statvfs("/dev/shm", &fs) != 0)
        return 0;
    return (double)fs.f_bavail * (double)fs.f_frsize;
}

static void warn(double left, double need, const char *what)
{
    char has[32], wants[32];
    log_warn("/dev/shm has %s left and the %s of a node take %s: each rank keeps its own and "
             "messages carry them, which is slower; enlarge it (mount -o remount,size=..., in a "
             "container --shm-size)",
             fmt_bytes(has, sizeof has, left), what, fmt_bytes(wants, sizeof wants, need));
}

int window_fits(bool *fits, const struct comm *c, size_t bytes, const char *what)
{
    double need = (double)bytes, node;
    *fits = true;
    if (c->team.per == 1)
        return OK;
    /* Teams of one node share its room. */
    MPI_TRY(MPI_Allreduce(&need, &node, 1, MPI_DOUBLE, MPI_SUM, c->team_world));
    int teams = (c->node_size + c->team.per - 1) / c->team.per;
    node *= (double)teams;
    double left = free_bytes();
    /* The tightest node, and what it has and needs. */
    struct {
        double margin;
        int rank;
    } mine = {left - node - SPARE_BYTES, c->rank}, least;
    MPI_TRY(MPI_Allreduce(&mine, &least, 1, MPI_DOUBLE_INT, MPI_MINLOC, c->world));
    *fits = least.margin >= 0;
    if (*fits)
        return OK;
    double of[] = {left, node};
    MPI_TRY(MPI_Bcast(of, 2, MPI_DOUBLE, least.rank, c->world));
    warn(of[0], of[1], what);
    return OK;
}

/* Each part where its rank's processor has its memory, so not one after the other. */
static int allocate(struct window *w, const struct comm *c)
{
    MPI_Info info;
    void *mine;
    MPI_TRY(MPI_Info_create(&info));
    MPI_TRY(MPI_Info_set(info, "alloc_shared_noncontig", "true"));
    int rc = comm_check(MPI_Win_allocate_shared((MPI_Aint)aligned_room(w->bytes), 1, info,
                                                c->team_world, &mine, &w->win),
                        "MPI_Win_allocate_shared");
    MPI_Info_free(&info);
    return rc;
}

/* Where the system gives shared memory huge pages on request only. */
static void advise_huge(char *part, size_t bytes)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), lead = page - (uintptr_t)part % page;
    if (bytes > lead)
        madvise(part + lead, bytes - lead, MADV_HUGEPAGE);
}

static int find_parts(struct window *w)
{
    for (int i = 0; i < w->n; i++) {
        MPI_Aint bytes;
        int unit;
        MPI_TRY(MPI_Win_shared_query(w->win, i, &bytes, &unit, &w->part[i]));
        w->part[i] = bytes > 0 ? aligned(w->part[i]) : NULL;
        advise_huge(w->part[i], (size_t)bytes);
    }
    return OK;
}

/* Takes the room that was asked for: pages count only once they are written, and what is checked
 * next has to see them. Each rank writes its own part, on the memory of its own processor; a part
 * that is the only one is written by all, in equal shares. */
static void take_room(struct window *w, int rank, const size_t *bytes)
{
    int n_parts = 0;
    for (int i = 0; i < w->n; i++)
        n_parts += bytes[i] > 0;
    for (int i = 0; i < w->n; i++) {
        if (bytes[i] == 0)
            continue;
        size_t from = bytes[i] / (size_t)w->n * (size_t)rank;
        size_t to = rank + 1 == w->n ? bytes[i] : bytes[i] / (size_t)w->n * (size_t)(rank + 1);
        if (n_parts == 1)
            memset((char *)w->part[i] + from, 0, to - from);
        else if (i == rank)
            memset(w->part[i], 0, bytes[i]);
    }
}

static int share(struct window *w, const struct comm *c)
{
    size_t *bytes = (size_t *)(w->part + w->n);
    int rank = c->team.rank - team_first(&c->team, team_of(&c->team, c->team.rank));
    TRY(allocate(w, c));
    mem_count_in(w->bytes);
    TRY(find_parts(w));
    MPI_TRY(MPI_Allgather(&w->bytes, sizeof w->bytes, MPI_BYTE, bytes, sizeof w->bytes, MPI_BYTE,
                          c->team_world));
    take_room(w, rank, bytes);
    return window_meet(c);
}

/* With the address and the size of each part. */
static size_t frame_bytes(const struct team *t)
{
    int n = team_size(t, team_of(t, t->rank));
    return sizeof(struct window) + (size_t)n * (sizeof(void *) + sizeof(size_t));
}

size_t window_bytes(const struct team *t, size_t bytes)
{
    return frame_bytes(t) + bytes;
}

int window_new(struct window **out, const struct comm *c, size_t bytes, const char *what)
{
    struct window *w;
    int n = team_size(&c->team, team_of(&c->team, c->rank));
    int rc = agree(c, mem_alloc(&w, 1, frame_bytes(&c->team), "window"));
    *out = NULL;
    if (rc != OK) {
        mem_free(w);
        return rc;
    }
    *w = (struct window){.win = MPI_WIN_NULL, .bytes = bytes, .n = n};
    if (n > 1) {
        rc = share(w, c);
    } else {
        rc = mem_alloc(&w->own, bytes, 1, what);
        w->part[0] = w->own;
    }
    rc = agree(c, rc);
    if (rc == OK)
        *out = w;
    else
        window_free(w);
    return rc;
}

void window_free(struct window *w)
{
    if (w == NULL)
        return;
    if (w->win != MPI_WIN_NULL) {
        MPI_Win_free(&w->win);
        mem_count_out(w->bytes);
    }
    mem_free(w->own);
    mem_free(w);
}

void *window_part(const struct window *w, int i)
{
    return w->part[i];
}

int window_meet(const struct comm *c)
{
    atomic_thread_fence(memory_order_seq_cst);
    MPI_TRY(MPI_Barrier(c->team_world));
    atomic_thread_fence(memory_order_seq_cst);
    return OK;
}
