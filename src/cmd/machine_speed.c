#include "cmd/machine_speed.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/mem.h"
#include "kern/peak.h"
#include "par/agree.h"

#include <pthread.h>
#include <string.h>

static const double PEAK_SECONDS = 0.1, MEMORY_SECONDS = 0.4;
enum { SMALL = 8, LARGE = 8 << 20, SMALL_ROUNDS = 200, LARGE_ROUNDS = 9, MAX_THREADS = 1024 };

struct core {
    pthread_t thread;
    double (*peak)(double seconds);
    double rate;
};

static void *measure_core(void *ctx)
{
    struct core *c = ctx;
    c->rate = c->peak(PEAK_SECONDS);
    return NULL;
}

/* Of a core, while all of a rank's threads are busy. */
static double peak_of(double (*peak)(double seconds), int threads)
{
    static struct core core[MAX_THREADS];
    int started = 1;
    for (int i = 0; i < threads && i < MAX_THREADS; i++)
        core[i].peak = peak;
    while (started < threads && started < MAX_THREADS &&
           pthread_create(&core[started].thread, NULL, measure_core, &core[started]) == 0)
        started++;
    measure_core(&core[0]);
    double sum = core[0].rate;
    for (int i = 1; i < started; i++) {
        pthread_join(core[i].thread, NULL);
        sum += core[i].rate;
    }
    return sum / started;
}

static int measure_cores(struct machine_speed *m, const struct comm *c, int threads)
{
    double sum[2], least;
    MPI_TRY(MPI_Barrier(c->world));
    sum[0] = peak_of(peak_fma_flops, threads);
    MPI_TRY(MPI_Barrier(c->world));
    sum[1] = least = peak_of(peak_bf16_flops, threads);
    MPI_TRY(MPI_Allreduce(MPI_IN_PLACE, sum, 2, MPI_DOUBLE, MPI_SUM, c->world));
    MPI_TRY(MPI_Allreduce(MPI_IN_PLACE, &least, 1, MPI_DOUBLE, MPI_MIN, c->world));
    m->cores = c->size * threads;
    m->fma = sum[0] / c->size;
    m->bf16 = least > 0 ? sum[1] / c->size : 0;
    m->isa = peak_isa();
    return OK;
}

static int measure_memory(struct machine_speed *m, const struct comm *c)
{
    struct peak_memory mine = {0};
    MPI_TRY(MPI_Barrier(c->world));
    int rc = peak_memory(&mine, MEMORY_SECONDS);
    double sum[2] = {mine.copy, mine.triad};
    MPI_TRY(MPI_Allreduce(MPI_IN_PLACE, sum, 2, MPI_DOUBLE, MPI_SUM, c->world));
    m->copy = sum[0] / c->size;
    m->triad = sum[1] / c->size;
    return rc;
}

/* Half of the median round trip. Both ranks of the pair call it. */
static int one_way(double *s, const struct comm *c, int other, bool first, char *buf, int n,
                   int rounds)
{
    double took[SMALL_ROUNDS] = {0};
    for (int i = 0; i < rounds; i++) {
        double begin = clock_now_s();
        if (first)
            MPI_TRY(MPI_Send(buf, n, MPI_CHAR, other, 0, c->world));
        MPI_TRY(MPI_Recv(buf, n, MPI_CHAR, other, 0, c->world, MPI_STATUS_IGNORE));
        if (!first)
            MPI_TRY(MPI_Send(buf, n, MPI_CHAR, other, 0, c->world));
        double t = clock_now_s() - begin;
        int k = i;
        for (; k > 0 && took[k - 1] > t; k--)
            took[k] = took[k - 1];
        took[k] = t;
    }
    *s = took[rounds / 2] / 2;
    return OK;
}

static int ping_pong(struct link *l, const struct comm *c, int other, bool first, char *buf)
{
    double small, large;
    TRY(one_way(&small, c, other, first, buf, SMALL, SMALL_ROUNDS));
    TRY(one_way(&large, c, other, first, buf, LARGE, LARGE_ROUNDS));
    *l = (struct link){small, large > small ? LARGE / (large - small) : 0};
    return OK;
}

/* Rank 0 and the lowest other rank that is, or is not, on its node; the others wait. */
static int measure_link(struct link *l, const struct comm *c, bool same_node, char *buf)
{
    int other = c->rank > 0 && (c->node == 0) == same_node ? c->rank : c->size;
    MPI_TRY(MPI_Allreduce(MPI_IN_PLACE, &other, 1, MPI_INT, MPI_MIN, c->world));
    if (other == c->size)
        return OK;
    if (c->rank == 0)
        TRY(ping_pong(l, c, other, true, buf));
    else if (c->rank == other)
        TRY(ping_pong(l, c, 0, false, buf));
    MPI_TRY(MPI_Bcast(l, (int)sizeof *l, MPI_BYTE, 0, c->world));
    return OK;
}

int machine_speed(struct machine_speed *m, const struct comm *c, int threads)
{
    static char buf[LARGE];
    memset(m, 0, sizeof *m);
    memset(buf, 1, sizeof buf);
    TRY(measure_cores(m, c, threads));
    TRY(agree(c, measure_memory(m, c)));
    TRY(measure_link(&m->node, c, true, buf));
    return measure_link(&m->net, c, false, buf);
}

void machine_speed_add(struct machine_speed *m, const struct machine_speed *later)
{
    m->fma = (m->fma + later->fma) / 2;
    m->bf16 = (m->bf16 + later->bf16) / 2;
    m->copy = (m->copy + later->copy) / 2;
    m->triad = (m->triad + later->triad) / 2;
}

double machine_bandwidth(const struct machine_speed *m)
{
    return m->copy > m->triad ? m->copy : m->triad;
}
