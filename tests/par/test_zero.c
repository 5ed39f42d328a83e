/* Pieces go out to all ranks and come back unchanged.
 * ranks: 1 2 3 4 6 */
#include "mpi_main.h"

#include "base/mem.h"
#include "par/window.h"
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

/* A slab for the team, of which each rank fills its pieces. */
static void try_shape(const struct comm *c, size_t n, size_t bucket_bytes)
{
    struct shard s;
    struct window *w;
    size_t bytes = (n + 1) * sizeof(float);
    shard_init(&s, n, bucket_bytes, ck_world.size, ck_world.rank);
    ck_all(&ck_world, window_new(&w, c, team_leads(&c->team) ? bytes : 0, "test") == OK);
    float *slab = window_part(w, 0);
    if (team_leads(&c->team))
        memset(slab, 0, bytes);
    ck_all(&ck_world, window_meet(c) == OK);
    for (int k = 0; k < s.n_buckets; k++) {
        struct range p = shard_piece(&s, k, s.rank);
        for (size_t i = p.first; i < p.first + p.n; i++)
            slab[i] = value(i);
    }
    size_t allocs = mem_n_allocs();
    ck_all(&ck_world, zero_allgather(c, &s, slab) == OK);
    ck_all(&ck_world, mem_n_allocs() == allocs);
    bool same = slab[n] == 0;
    for (size_t i = 0; i < n; i++)
        same = same && slab[i] == value(i);
    ck_all(&ck_world, same);
    window_free(w);
}

START_TEST(pieces_make_the_slab_whole_everywhere)
{
    for (int per = 1; per <= ck_world.size; per++) {
        struct comm c = ck_world;
        c.team.per = per;
        MPI_Comm_split(c.world, c.rank / per, c.rank, &c.team_world);
        for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++)
            try_shape(&c, shapes[i].n, shapes[i].bucket_bytes);
        MPI_Comm_free(&c.team_world);
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
