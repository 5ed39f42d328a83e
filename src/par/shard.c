#include "par/shard.h"

#include "base/err.h"
#include "base/mem.h"

/* In floats. MPI counts in int, and the partial sums of a bucket that come in lie side by side. */
#define BUCKET_MAX ((size_t)1 << 26)

static size_t min_of(size_t a, size_t b)
{
    return a < b ? a : b;
}

static size_t parts_of(size_t n, size_t part)
{
    return n / part + (n % part != 0);
}

/* At least one unit. */
static size_t bucket_floats(size_t bytes, size_t unit)
{
    size_t floats = min_of(bytes / sizeof(float), BUCKET_MAX);
    if (unit <= SHARD_BLOCK)
        return (floats > 0 ? parts_of(floats, SHARD_BLOCK) : 1) * SHARD_BLOCK;
    return (floats > unit ? floats / unit : 1) * unit;
}

static int buckets_in(const struct shard_zone *z)
{
    return (int)parts_of(z->n, z->bucket);
}

void shard_init(struct shard *s, size_t n, size_t bucket_bytes, int size, int rank)
{
    *s = (struct shard){.n = n, .n_zones = n > 0, .size = size, .rank = rank};
    s->all = (struct shard_zone){.n = n, .unit = SHARD_BLOCK};
    s->all.bucket = bucket_floats(bucket_bytes, SHARD_BLOCK);
    s->n_buckets = buckets_in(&s->all);
}

void shard_init_zones(struct shard *s, size_t n, const struct shard_zone *zones, int n_zones,
                      int size, int rank)
{
    *s = (struct shard){.n = n, .zones = zones, .n_zones = n_zones, .size = size, .rank = rank};
    for (int i = 0; i < n_zones; i++)
        s->n_buckets += buckets_in(&zones[i]);
}

static const struct shard_zone *zones_of(const struct shard *s)
{
    return s->zones != NULL ? s->zones : &s->all;
}

/* Units that a bucket of n floats holds beyond an even share. */
static size_t spare_units(const struct shard_zone *z, size_t n, size_t size)
{
    return parts_of(n, z->unit) % size;
}

/* ---- dealing ---- */

/* The largest zone of one rank that nobody has yet. */
static struct shard_zone *next_whole(struct shard_zone *zones, int n)
{
    struct shard_zone *most = NULL;
    for (int i = 0; i < n; i++)
        if (zones[i].unit == 0 && zones[i].from < 0 && (most == NULL || zones[i].n > most->n))
            most = &zones[i];
    return most;
}

static void deal_whole(struct shard_zone *zones, int n, size_t *load, int size)
{
    struct shard_zone *z;
    while ((z = next_whole(zones, n)) != NULL) {
        z->from = 0;
        for (int r = 1; r < size; r++)
            if (load[r] < load[z->from])
                z->from = r;
        load[z->from] += z->n;
    }
}

/* Each zone goes on with the spares where the one before stopped. */
static void deal_units(struct shard_zone *zones, int n, size_t size)
{
    size_t next = 0;
    for (int i = 0; i < n; i++) {
        struct shard_zone *z = &zones[i];
        if (z->unit == 0)
            continue;
        z->from = (int)next;
        size_t full = z->n / z->bucket, rest = z->n % z->bucket;
        next += full % size * spare_units(z, z->bucket, size) + spare_units(z, rest, size);
        next %= size;
    }
}

int shard_deal(struct shard_zone *zones, int n_zones, size_t bucket_bytes, int size)
{
    size_t *load;
    int at = 0;
    TRY(mem_alloc(&load, (size_t)size, sizeof *load, "division among ranks"));
    for (int i = 0; i < n_zones; i++) {
        zones[i].bucket = bucket_floats(bucket_bytes, zones[i].unit);
        zones[i].at_bucket = at;
        zones[i].from = -1;
        at += buckets_in(&zones[i]);
    }
    deal_whole(zones, n_zones, load, size);
    deal_units(zones, n_zones, (size_t)size);
    mem_free(load);
    return OK;
}

/* ---- buckets ---- */

const struct shard_zone *shard_zone_of(const struct shard *s, int k)
{
    const struct shard_zone *z = zones_of(s);
    int low = 0, high = s->n_zones - 1;
    while (low < high) {
        int middle = (low + high + 1) / 2;
        if (z[middle].at_bucket <= k)
            low = middle;
        else
            high = middle - 1;
    }
    return &z[low];
}

struct range shard_bucket(const struct shard *s, int k)
{
    const struct shard_zone *z = shard_zone_of(s, k);
    size_t before = (size_t)(k - z->at_bucket) * z->bucket;
    return (struct range){z->first + before, min_of(z->bucket, z->n - before)};
}

int shard_bucket_from(const struct shard *s, size_t low)
{
    const struct shard_zone *z = zones_of(s);
    for (int i = 0; i < s->n_zones; i++)
        if (z[i].first + z[i].n > low) {
            int inside = low > z[i].first ? (int)parts_of(low - z[i].first, z[i].bucket) : 0;
            return z[i].at_bucket + inside;
        }
    return s->n_buckets;
}

/* ---- pieces ---- */

/* How many of the ranks below r get one of `spare` units dealt out from rank `from` on. */
static size_t spares_below(size_t r, size_t from, size_t spare, size_t size)
{
    size_t straight = min_of(spare, size - from), wrapped = spare - straight;
    return (r > from ? min_of(r - from, straight) : 0) + min_of(r, wrapped);
}

static size_t zone_from(const struct shard *s, const struct shard_zone *z)
{
    return (size_t)z->from % (size_t)s->size;
}

static struct range piece_of_units(const struct shard *s, const struct shard_zone *z, int k, int r)
{
    struct range b = shard_bucket(s, k);
    size_t size = (size_t)s->size, at = (size_t)r, before = (size_t)(k - z->at_bucket);
    size_t units = parts_of(b.n, z->unit), even = units / size, spare = units % size;
    size_t from = (zone_from(s, z) + before % size * spare_units(z, z->bucket, size)) % size;
    size_t first = at * even + spares_below(at, from, spare, size);
    size_t end = (at + 1) * even + spares_below(at + 1, from, spare, size);
    first = min_of(first * z->unit, b.n);
    end = min_of(end * z->unit, b.n);
    return (struct range){b.first + first, end - first};
}

struct range shard_piece(const struct shard *s, int k, int r)
{
    const struct shard_zone *z = shard_zone_of(s, k);
    if (z->unit > 0)
        return piece_of_units(s, z, k, r);
    struct range b = shard_bucket(s, k);
    return (size_t)r == zone_from(s, z) ? b : (struct range){b.first, 0};
}

size_t shard_piece_most(const struct shard *s)
{
    const struct shard_zone *z = zones_of(s);
    size_t most = 0;
    for (int i = 0; i < s->n_zones; i++) {
        size_t n = min_of(z[i].bucket, z[i].n), share = (size_t)s->size * z[i].unit;
        if (z[i].unit > 0)
            n = parts_of(n, share) * z[i].unit;
        most = n > most ? n : most;
    }
    return most;
}

/* Floats of rank r in the first `full` buckets of a zone, none of them its short last one. */
static size_t count_full(const struct shard *s, const struct shard_zone *z, size_t full, int r)
{
    size_t size = (size_t)s->size, from = zone_from(s, z);
    if (z->unit == 0)
        return (size_t)r == from ? full * z->bucket : 0;
    size_t dealt = full * spare_units(z, z->bucket, size), turn = ((size_t)r + size - from) % size;
    size_t spares = (dealt + size - 1 - turn) / size; /* every size-th, from its turn on */
    return (full * (z->bucket / z->unit / size) + spares) * z->unit;
}

static size_t count_zone(const struct shard *s, const struct shard_zone *z, int r)
{
    int last = buckets_in(z) - 1;
    return count_full(s, z, (size_t)last, r) + shard_piece(s, z->at_bucket + last, r).n;
}

size_t shard_offset(const struct shard *s, int k, int r)
{
    const struct shard_zone *own = shard_zone_of(s, k);
    size_t before = 0;
    for (const struct shard_zone *z = zones_of(s); z < own; z++)
        before += count_zone(s, z, r);
    return before + count_full(s, own, (size_t)(k - own->at_bucket), r);
}

size_t shard_total(const struct shard *s)
{
    const struct shard_zone *z = zones_of(s);
    size_t n = 0;
    for (int i = 0; i < s->n_zones; i++)
        n += z[i].n;
    return n;
}

size_t shard_count(const struct shard *s, int r)
{
    const struct shard_zone *z = zones_of(s);
    size_t n = 0;
    for (int i = 0; i < s->n_zones; i++)
        n += count_zone(s, &z[i], r);
    return n;
}

bool shard_holds(const struct shard *s, size_t first, size_t n)
{
    const struct shard_zone *z = zones_of(s);
    for (int i = 0; i < s->n_zones; i++)
        if (z[i].first <= first && first + n <= z[i].first + z[i].n)
            return true;
    return false;
}

void shard_each(const struct shard *s, void (*visit)(void *ctx, struct range slab, size_t at),
                void *ctx)
{
    size_t at = 0;
    for (int k = 0; k < s->n_buckets; k++) {
        struct range piece = shard_piece(s, k, s->rank);
        if (piece.n == 0)
            continue;
        const struct shard_zone *z = shard_zone_of(s, k);
        if (z->unit == 0) {
            piece = (struct range){z->first, z->n};
            k = z->at_bucket + buckets_in(z) - 1;
        }
        visit(ctx, piece, at);
        at += piece.n;
    }
}

struct range split_even(size_t n, int size, int r)
{
    /* The product of all three could overflow; n = q·size + m splits it. */
    size_t p = (size_t)size, q = n / p, m = n % p, at = (size_t)r;
    size_t first = q * at + m * at / p, end = q * (at + 1) + m * (at + 1) / p;
    return (struct range){first, end - first};
}
