#include "train/sums.h"
#include "base/err.h"
#include "base/hash.h"
#include "par/agree.h"
#include <math.h>

enum { PACKED = EXACT_LIMBS + 1, N_SUMS = 3, N_COUNTS = 8 };
enum { AT_COUNTS = N_SUMS * PACKED, N_PACKED = AT_COUNTS + N_COUNTS };

void sums_add_pass(struct sums *s, const struct pass_result *r)
{
    s->given = crc32c(s->given, r, sizeof *r);
    exactsum_add(&s->loss, r->loss_sum);
    s->targets += llround(r->n_targets);
    s->correct += llround(r->n_correct);
}

int sums_reduce(const struct comm *c, struct sums *s, int rc)
{
    int64_t v[N_PACKED];
    s->errors = rc != OK;
    struct exactsum *sums[N_SUMS] = {&s->loss, &s->sumsq, &s->each};
    int64_t *counts[N_COUNTS] = {&s->targets, &s->correct, &s->n_each, &s->stop,
                                 &s->save,    &s->saving,  &s->owing,  &s->errors};
    for (int i = 0; i < N_SUMS; i++)
        exactsum_pack(sums[i], v + i * PACKED);
    for (int i = 0; i < N_COUNTS; i++)
        v[AT_COUNTS + i] = *counts[i];
    MPI_TRY(MPI_Allreduce(MPI_IN_PLACE, v, N_PACKED, MPI_INT64_T, MPI_SUM, c->world));
    for (int i = 0; i < N_SUMS; i++)
        exactsum_unpack(sums[i], v + i * PACKED);
    for (int i = 0; i < N_COUNTS; i++)
        *counts[i] = v[AT_COUNTS + i];
    return s->errors ? agree(c, rc) : OK;
}
