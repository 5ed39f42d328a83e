/* Pieces go out to all ranks and come back unchanged.
 * ranks: 1 2 3 4 */
#include "mpi_main.h"

#include "base/mem.h"
#include "par/zero.h"

#include <string.h>

#define B SHARD_BLOCK

static const struct {
    size_t n, bucket_bytes;
} shapes[] = {{1, 1}, {B + 1, 4 * B}, {3 * B, 16 * B}, {50 * B + 9, 12 * B}, {64 * B, 1 << 20}};

static float value(size_t i)
{
    return (float)(i % 100003) + 0.5f;
}

static void try_shape(const struct comm *c, size_t n, size_t bucket_bytes)
{
    struct shard s;
    shard_init(&s, n, bucket_bytes, ck_world.size, ck_world.rank);
    float *slab = calloc(n + 1, sizeof *slab);
    float *mine = calloc(shard_count(&s, s.rank) + 1, sizeof *mine);
    for (size_t i = 0; i < n; i++)
        slab[i] = value(i);
    zero_from_slab(&s, mine, slab);
    memset(slab, 0, n * sizeof *slab);
    zero_to_slab(&s, slab, mine);
    size_t n_set = 0;
    for (size_t i = 0; i < n; i++)
        n_set += slab[i] != 0;
    ck_all(&ck_world, n_set == shard_count(&s, s.rank));
    size_t allocs = mem_n_allocs();
    ck_all(&ck_world, zero_allgather(c, &s, slab) == OK);
    ck_all(&ck_world, mem_n_allocs() == allocs);
    bool same = slab[n] == 0 && mine[shard_count(&s, s.rank)] == 0;
    for (size_t i = 0; i < n; i++)
        same = same && slab[i] == value(i);
    ck_all(&ck_world, same);
    free(slab);
    free(mine);
}

START_TEST(pieces_make_the_slab_whole_everywhere)
{
    /* Reading each other's memory, where that works, and messages. */
    struct comm messages = ck_world;
    messages.peers = NULL;
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        try_shape(&ck_world, shapes[i].n, shapes[i].bucket_bytes);
        try_shape(&messages, shapes[i].n, shapes[i].bucket_bytes);
    }
}
END_TEST

static void add(TCase *t)
{
    tcase_add_test(t, pieces_make_the_slab_whole_everywhere);
}

int main(int argc, char **argv)
{
    return run_suite_mpi(&argc, &argv, "par/zero", add);
}
