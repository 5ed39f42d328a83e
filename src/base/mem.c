#include "base/mem.h"

#include "base/err.h"
#include "base/fault.h"

#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* Blocks from LARGE_MIN on come from mmap: the kernel gives zero pages without a memset, places
 * them on the node of the core that first touches them, and can use huge pages. With these a step
 * of a model of width 256 took 2 to 7% less time on two ranks (three pairs of runs); at width 640
 * the gain drowned in noise, and the optimizer's pass took the same. A first touch took a third of
 * the time, but once six times as long, when the kernel seemingly had to make room for them. Under
 * a sanitizer every block comes from malloc, so that overruns are seen. */
#define HUGE_PAGE ((size_t)2 << 20)
#ifdef __has_feature /* clang's way to tell */
#if __has_feature(address_sanitizer)
#define __SANITIZE_ADDRESS__
#endif
#endif
#ifdef __SANITIZE_ADDRESS__
#define LARGE_MIN (SIZE_MAX / 4)
#else
#define LARGE_MIN ((size_t)4 << 20)
#endif

/* 64 TiB: half of what a process can address. */
#define BYTES_MAX ((size_t)1 << 46)

/* Sits right before the block. */
struct header {
    void *base;    /* what free or munmap takes */
    size_t mapped; /* bytes mapped from base; 0: base is from aligned_alloc */
    size_t bytes;  /* what the caller asked for */
    const char *label;
    char pad[MEM_ALIGN - 4 * sizeof(void *)];
};
_Static_assert(sizeof(struct header) == MEM_ALIGN, "the header keeps the block aligned");

static atomic_size_t n_allocs, bytes_now, bytes_peak;

static size_t round_up(size_t n, size_t to)
{
    return (n + to - 1) / to * to;
}

void mem_count_in(size_t bytes)
{
    atomic_fetch_add(&n_allocs, 1);
    size_t now = atomic_fetch_add(&bytes_now, bytes) + bytes;
    size_t peak = atomic_load(&bytes_peak);
    while (now > peak && !atomic_compare_exchange_weak(&bytes_peak, &peak, now))
        ;
}

void mem_count_out(size_t bytes)
{
    atomic_fetch_sub(&bytes_now, bytes);
}

/* bytes at a huge-page boundary, or NULL. */
static void *map_aligned(size_t bytes)
{
    size_t all = bytes + HUGE_PAGE;
    char *p = mmap(NULL, all, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        return NULL;
    size_t lead = (HUGE_PAGE - (uintptr_t)p % HUGE_PAGE) % HUGE_PAGE, tail = HUGE_PAGE - lead;
    if (lead > 0)
        munmap(p, lead);
    if (tail > 0)
        munmap(p + lead + bytes, tail);
    madvise(p + lead, bytes, MADV_HUGEPAGE);
    return p + lead;
}

static struct header *alloc_large(size_t bytes)
{
    /* Equal offsets within a page would put the same elements of all arrays into the same few
     * cache sets; step through 32 offsets instead. */
    size_t colour = atomic_load(&n_allocs) % 32 * 2 * MEM_ALIGN;
    size_t mapped = round_up(bytes + colour + sizeof(struct header), HUGE_PAGE);
    char *base = map_aligned(mapped);
    if (base == NULL)
        return NULL;
    struct header *h = (struct header *)(base + colour);
    h->base = base;
    h->mapped = mapped;
    return h;
}

static struct header *alloc_small(size_t bytes)
{
    size_t all = round_up(bytes, MEM_ALIGN) + sizeof(struct header);
    struct header *h = aligned_alloc(MEM_ALIGN, all);
    if (h == NULL)
        return NULL;
    memset(h, 0, all);
    h->base = h;
    return h;
}

int mem_alloc(void *out, size_t n, size_t size, const char *label)
{
    void *block = NULL;
    memcpy(out, &block, sizeof block);
    size_t bytes;
    if (__builtin_mul_overflow(n, size, &bytes) || bytes > BYTES_MAX)
        return ERR(E_MEM, "%s: %zu x %zu bytes are more than any memory", label, n, size);
    if (bytes == 0)
        return OK;
    struct header *h = fault_hit("mem")     ? NULL
                       : bytes >= LARGE_MIN ? alloc_large(bytes)
                                            : alloc_small(bytes);
    if (h == NULL)
        return ERR(E_MEM, "%s: no memory for %zu bytes (%zu held)", label, bytes, mem_bytes());
    h->bytes = bytes;
    h->label = label;
    mem_count_in(bytes);
    block = h + 1;
    memcpy(out, &block, sizeof block);
    return OK;
}

void mem_free(void *p)
{
    if (p == NULL)
        return;
    struct header *h = (struct header *)p - 1;
    mem_count_out(h->bytes);
    if (h->mapped > 0)
        munmap(h->base, h->mapped);
    else
        free(h->base);
}

size_t mem_n_allocs(void)
{
    return atomic_load(&n_allocs);
}

size_t mem_bytes(void)
{
    return atomic_load(&bytes_now);
}

size_t mem_peak_bytes(void)
{
    return atomic_load(&bytes_peak);
}

int arena_init(struct arena *a, size_t bytes, const char *label)
{
    *a = (struct arena){0};
    TRY(mem_alloc(&a->base, bytes, 1, label));
    a->size = bytes;
    return OK;
}

void arena_release(struct arena *a)
{
    mem_free(a->base);
    *a = (struct arena){0};
}

size_t arena_need(size_t n, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(n, size, &bytes) || bytes > SIZE_MAX / 2)
        fatal(E_BUG, "arena: %zu x %zu bytes overflow", n, size);
    return round_up(bytes, MEM_ALIGN);
}

void *arena_push(struct arena *a, size_t n, size_t size)
{
    size_t need = arena_need(n, size);
    /* The last piece may end before its padding does. */
    if (n * size > a->size - a->used)
        fatal(E_BUG, "arena: %zu bytes wanted, %zu of %zu in use", n * size, a->used, a->size);
    if (need > a->size - a->used)
        need = a->size - a->used;
    void *p = a->base + a->used;
    a->used += need;
    if (a->used > a->peak)
        a->peak = a->used;
    return p;
}

size_t arena_mark(const struct arena *a)
{
    return a->used;
}

void arena_pop(struct arena *a, size_t mark)
{
    if (mark > a->used)
        fatal(E_BUG, "arena: popped to %zu with %zu in use", mark, a->used);
    a->used = mark;
}
