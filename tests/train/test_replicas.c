/* Replicas of the parameters that are no longer alike are found before anything goes on.
 * ranks: 1 2 3 4 6 */
#include "tiny_run.h"

#include "base/fault.h"
#include "base/log.h"
#include "base/mem.h"
#include "train/events.h"

enum { FLIPS = 100, STEP = 3 };

static struct config conf;
static struct model_spec spec;
static struct trainer trainer;

static void flip(float *x, uint64_t bit)
{
    uint32_t bits;
    memcpy(&bits, x, sizeof bits);
    bits ^= 1u << bit;
    memcpy(x, &bits, sizeof bits);
}

/* ---- the hash ---- */

static uint64_t hash_of(const float *x, size_t n, int n_parts)
{
    uint64_t sum = 0;
    for (int part = 0; part < n_parts; part++) {
        uint64_t chunk = 5;
        sum += replicas_hash(x, n, &chunk, part, n_parts);
    }
    return sum;
}

START_TEST(a_hash_tells_every_bit)
{
    const size_t n = 2 * (size_t)REPLICA_CHUNK + 777;
    float *x;
    ck_assert_int_eq(mem_alloc(&x, n, sizeof *x, "test"), OK);
    for (size_t i = 0; i < n; i++)
        x[i] = (float)rng_normal(1, 1, i);
    uint64_t whole = hash_of(x, n, 1);
    for (int parts = 2; parts < 6; parts++)
        ck_assert_uint_eq(hash_of(x, n, parts), whole);
    for (uint64_t i = 0; i < FLIPS; i++) {
        float *at = x + rng_u64(2, 1, i) % n;
        flip(at, i % 32);
        ck_assert_uint_ne(hash_of(x, n, 1), whole);
        flip(at, i % 32);
    }
    ck_assert_uint_eq(hash_of(x, n, 1), whole);
    for (size_t i = 0; i < REPLICA_CHUNK; i++) { /* the same chunks in another order */
        float left = x[i];
        x[i] = x[REPLICA_CHUNK + i];
        x[REPLICA_CHUNK + i] = left;
    }
    ck_assert_uint_ne(hash_of(x, n, 1), whole);
    mem_free(x);
}
END_TEST

/* ---- comparing ---- */

static void begin(struct trainer *t, const struct comm *c, const char *extra)
{
    tiny_config(&conf, &spec, extra);
    ck_all(&ck_world, trainer_init(t, &conf, &spec, c, slice_of(0, 0)) == OK);
}

static void finish(struct trainer *t)
{
    err_clear();
    trainer_release(t);
    log_close();
    MPI_Barrier(ck_world.world);
    if (ck_world.rank == 0)
        tiny_remove("run");
    MPI_Barrier(ck_world.world);
}

/* The ranks in pretended nodes of `per`. */
static void on_nodes(struct comm *c, int per)
{
    char ranks[16];
    snprintf(ranks, sizeof ranks, "%d", per);
    setenv("CARAT_RANKS_PER_NODE", ranks, 1);
    ck_all(&ck_world, comm_first(c, &ck_world, ck_world.size) == OK);
    unsetenv("CARAT_RANKS_PER_NODE");
}

/* What the error says of the replica that rank `who` holds. */
static bool names(const struct trainer *t, int who, const char *what)
{
    char ranks[64];
    const struct team *team = &t->holders.team;
    int j = team_of(team, who), first = team_first(team, j), n = team_size(team, j);
    if (n == 1)
        snprintf(ranks, sizeof ranks, "wrong is rank %d on ", who);
    else
        snprintf(ranks, sizeof ranks, "wrong is ranks %d-%d on ", first, first + n - 1);
    if (team_count(team) == 2) /* one against one */
        snprintf(ranks, sizeof ranks, "no majority among ranks 0-%d on ", team->size - 1);
    bool named = err_code() == E_RANK && strstr(err_message(), what) != NULL &&
                 strstr(err_message(), ranks) != NULL;
    if (!named)
        fprintf(stderr, "not named: %s; %s; %s\n", what, ranks, err_message());
    return named;
}

/* Flips, at random places and on random ranks, each found and named. */
static void find_flips(struct trainer *t, int n_flips)
{
    ck_all(&ck_world, replicas_check(t) == OK);
    for (uint64_t i = 0; i < (uint64_t)n_flips; i++) {
        int who = (int)(rng_u64(7, 1, i) % (uint64_t)t->comm->size);
        const struct tensor *row = &t->tensors->row[rng_u64(7, 2, i) % (uint64_t)t->tensors->n];
        float *x = t->params + row->offset + rng_u64(7, 3, i) % row->n;
        MPI_Barrier(t->comm->world);
        if (t->comm->rank == who)
            flip(x, rng_u64(7, 4, i) % 32);
        MPI_Barrier(t->comm->world);
        ck_all(&ck_world, replicas_check(t) == E_RANK && names(t, who, row->name));
        MPI_Barrier(t->comm->world);
        if (t->comm->rank == who)
            flip(x, rng_u64(7, 4, i) % 32);
        MPI_Barrier(t->comm->world);
        err_clear();
    }
    ck_all(&ck_world, replicas_check(t) == OK);
}

START_TEST(a_store_to_train_on)
{
    tiny_put_store();
}
END_TEST

START_TEST(every_flip_is_found_and_named)
{
    if (ck_world.size == 1)
        return;
    begin(&trainer, &ck_world, "batch.micro: 2\nparallel.share_params: off\n");
    find_flips(&trainer, FLIPS);
    finish(&trainer);
}
END_TEST

START_TEST(nodes_that_share_a_replica_are_named_together)
{
    for (int per = 1; per < ck_world.size; per++) {
        struct comm c;
        on_nodes(&c, per);
        begin(&trainer, &c, "batch.micro: 2\n");
        ck_all(&ck_world, trainer.holders.team.per == per);
        find_flips(&trainer, 10);
        finish(&trainer);
        comm_end(&c);
    }
}
END_TEST

START_TEST(state_that_all_hold_is_compared_too)
{
    struct trainer *t = &trainer;
    struct step_result r;
    if (ck_world.size == 1)
        return;
    begin(t, &ck_world, "batch.micro: 2\nparallel.shard: none\noptimizer.name: adamw\n");
    ck_all(&ck_world, trainer_step(t, &r) == OK);
    find_flips(t, 10);
    for (int i = 0; i < t->optim.n_slots; i++) {
        float *x = t->optim.slot[i] + 12;
        if (ck_world.rank == 1)
            flip(x, 3);
        ck_all(&ck_world, replicas_check(t) == E_RANK && names(t, 1, t->rule->slot[i]));
        if (ck_world.rank == 1)
            flip(x, 3);
    }
    finish(t);
}
END_TEST

START_TEST(one_replica_has_nothing_to_be_compared_with)
{
    if (ck_world.size == 1 || ck_world.n_nodes > 1)
        return;
    begin(&trainer, &ck_world, "batch.micro: 2\n");
    if (ck_world.rank == 0)
        flip(trainer.params, 3);
    ck_all(&ck_world, replicas_check(&trainer) == OK);
    finish(&trainer);
}
END_TEST

/* ---- in a run ---- */

/* Steps until one fails, at most 8, a bit of rank `who` being flipped in STEP. */
static int run_spoiled(struct trainer *t, const char *extra, int who, int64_t seed)
{
    char text[512];
    struct step_result r;
    int rc = OK;
    snprintf(text, sizeof text, "batch.micro: 2\nparallel.share_params: off\nrun.seed: %lld\n%s",
             (long long)seed, extra);
    begin(t, &ck_world, text);
    snprintf(text, sizeof text, "replica.flip:%d:%d", who, STEP);
    setenv("CARAT_FAULT", text, 1);
    fault_rearm();
    for (int i = 0; i < 8 && rc == OK; i++)
        rc = trainer_step(t, &r);
    unsetenv("CARAT_FAULT");
    fault_rearm();
    return rc;
}

/* The run's one event is what the error says; root. */
static bool is_recorded(void)
{
    struct event *list;
    size_t n;
    char said[512];
    snprintf(said, sizeof said, "%s", err_message());
    bool yes = events_read(conf.run.dir, &list, &n, NULL) == OK && n == 1 &&
               strcmp(list[0].kind, "replica") == 0 && strcmp(list[0].action, "stop") == 0 &&
               strcmp(list[0].text, said) == 0;
    mem_free(list);
    return yes;
}

START_TEST(a_flip_ends_its_step)
{
    for (int i = 0; i < 8 && ck_world.size > 1; i++) {
        int who = i % ck_world.size;
        ck_all(&ck_world, run_spoiled(&trainer, "", who, i) == E_RANK);
        ck_all(&ck_world, trainer.at.step == STEP - 1 && names(&trainer, who, "after step 2"));
        ck_all(&ck_world, ck_world.rank != 0 || is_recorded());
        finish(&trainer);
    }
}
END_TEST

/* Where nobody writes a replica anew, what differs stays until it is looked at. */
START_TEST(a_flip_is_found_within_the_interval)
{
    if (ck_world.size == 1)
        return;
    ck_all(&ck_world, run_spoiled(&trainer, "monitor.replicas_every: 5\nparallel.shard: none\n", 1,
                                  1) == E_RANK);
    ck_all(&ck_world, trainer.at.step == 4);
    finish(&trainer);
}
END_TEST

START_TEST(nothing_is_compared_when_it_is_off)
{
    ck_all(&ck_world, run_spoiled(&trainer, "monitor.replicas_every: 0\nparallel.shard: none\n",
                                  ck_world.size - 1, 1) == OK);
    finish(&trainer);
}
END_TEST

START_TEST(what_differs_is_not_saved)
{
    char path[FS_PATH_MAX];
    struct step_result r;
    if (ck_world.size == 1)
        return;
    begin(&trainer, &ck_world, "batch.micro: 2\nparallel.share_params: off\n");
    ck_all(&ck_world, trainer_step(&trainer, &r) == OK);
    if (ck_world.rank == 1)
        flip(trainer.params, 30);
    ck_all(&ck_world, trainer_save(&trainer) == E_RANK && names(&trainer, 1, "embed"));
    ck_assert_int_eq(ckpt_path(path, conf.run.dir, 1), OK);
    ck_all(&ck_world, !fs_exists(path));
    finish(&trainer);
}
END_TEST

static void add(TCase *t)
{
    tcase_add_test(t, a_hash_tells_every_bit);
    tcase_add_test(t, a_store_to_train_on);
    tcase_add_test(t, every_flip_is_found_and_named);
    tcase_add_test(t, nodes_that_share_a_replica_are_named_together);
    tcase_add_test(t, state_that_all_hold_is_compared_too);
    tcase_add_test(t, one_replica_has_nothing_to_be_compared_with);
    tcase_add_test(t, a_flip_ends_its_step);
    tcase_add_test(t, a_flip_is_found_within_the_interval);
    tcase_add_test(t, nothing_is_compared_when_it_is_off);
    tcase_add_test(t, what_differs_is_not_saved);
}

int main(int argc, char **argv)
{
    return run_suite_mpi(&argc, &argv, "train/replicas", add);
}
