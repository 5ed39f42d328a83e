#include "par/vigil.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/watch.h"

static const double EVERY_S = 5;

static void tell(struct vigil *v, int works)
{
    int rc = comm_check(MPI_Bcast(&works, 1, MPI_INT, 0, v->c->world), "MPI_Bcast");
    v->rc = v->rc != OK ? v->rc : rc;
    v->told_s = clock_now_s();
}

void vigil_begin(struct vigil *v, const struct comm *c)
{
    *v = (struct vigil){.c = c, .told_s = clock_now_s()};
}

void vigil_still(void *vigil)
{
    struct vigil *v = vigil;
    watch_beat();
    if (v->c->size > 1 && clock_now_s() - v->told_s >= EVERY_S)
        tell(v, 1);
}

int vigil_end(struct vigil *v)
{
    if (v->c->size > 1)
        tell(v, 0);
    return v->rc;
}

int vigil_wait(const struct comm *c)
{
    for (int works = 1; works;) {
        MPI_TRY(MPI_Bcast(&works, 1, MPI_INT, 0, c->world));
        watch_beat();
    }
    return OK;
}
