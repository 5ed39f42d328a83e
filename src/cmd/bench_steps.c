#include "bench.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "kern/gemm.h"
#include "par/agree.h"
#include "train/derive.h"
#include "train/loop.h"
#include "train/rates.h"
#include "train/stop.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { STEPS_LEAST = 3, STEPS_MAX = 2000 };

/* What each step took: kept until all are done, so that the median can be taken. */
struct history {
    int64_t n, room;
    double *wall;  /* [room] from the end of the step before to the end of this one */
    double *phase; /* [PROF_N][room] */
    double *io;    /* [room] */
};

static int history_init(struct history *h, int64_t room)
{
    h->room = room;
    TRY(mem_alloc(&h->wall, (size_t)room, sizeof *h->wall, "step times"));
    TRY(mem_alloc(&h->io, (size_t)room, sizeof *h->io, "step times"));
    return mem_alloc(&h->phase, (size_t)room * PROF_N, sizeof *h->phase, "step times");
}

static void history_release(struct history *h)
{
    mem_free(h->wall);
    mem_free(h->io);
    mem_free(h->phase);
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Sorts the values. */
static double median(double *v, int64_t n)
{
    qsort(v, (size_t)n, sizeof *v, by_size);
    return n % 2 ? v[n / 2] : (v[n / 2 - 1] + v[n / 2]) / 2;
}

/* A step as the training loop makes it, and what follows it there. */
static int one_step(struct trainer *t, struct prof *p, double *wall)
{
    struct step_result r;
    double row[M_N], begin = clock_now_s();
    memset(p->row, 0, sizeof p->row);
    TRY(trainer_step(t, &r));
    prof_start(p);
    loop_report(t, &r, row);
    prof_lap(p, PROF_METRICS, 0, 0);
    *wall = clock_now_s() - begin;
    if (r.stop)
        return ERR(E_STOPPED, "stopped by signal %d before all steps were measured", stop_signal());
    return OK;
}

static void keep_step(struct history *h, const struct prof *p, double wall)
{
    for (int i = 0; i < PROF_N; i++)
        h->phase[i * h->room + h->n] = p->row[i].s;
    h->io[h->n] = p->row[PROF_LOAD].s + p->row[PROF_METRICS].s;
    h->wall[h->n++] = wall;
}

/* Root's clock decides for all. */
static int time_is_up(bool *up, const struct comm *c, double end, int64_t done)
{
    int yes = done >= STEPS_LEAST && clock_now_s() >= end;
    MPI_TRY(MPI_Bcast(&yes, 1, MPI_INT, 0, c->world));
    *up = yes;
    return OK;
}

static int run_steps(struct trainer *t, struct history *h, struct prof *p,
                     const struct bench_request *r)
{
    double wall;
    bool up = false;
    for (int64_t i = 0; i < r->warmup; i++)
        TRY(one_step(t, p, &wall));
    double end = clock_now_s() + r->seconds;
    while (h->n < h->room && !up) {
        TRY(one_step(t, p, &wall));
        keep_step(h, p, wall);
        if (r->steps == 0)
            TRY(time_is_up(&up, t->comm, end, h->n));
    }
    return OK;
}

/* A line such as "Pss:  123 kB" of a file in /proc/self; 0 when there is none. */
static double own_bytes(const char *path, const char *key)
{
    char line[256];
    double kib = 0;
    FILE *f = fopen(path, "re");
    while (f != NULL && kib == 0 && fgets(line, sizeof line, f) != NULL)
        if (strncmp(line, key, strlen(key)) == 0)
            kib = strtod(line + strlen(key), NULL);
    if (f != NULL)
        fclose(f);
    return kib * 1024;
}

/* Starts the count of the most resident memory anew: what was measured before had arrays too. */
static void forget_peak(void)
{
    FILE *f = fopen("/proc/self/clear_refs", "we");
    if (f == NULL)
        return;
    fputs("5", f);
    fclose(f);
}

/* Pages that ranks share count in parts. What was held at the worst moment and given back since is
 * a rank's own. */
static double peak_bytes(void)
{
    const char *rollup = "/proc/self/smaps_rollup";
    double given_back = own_bytes("/proc/self/status", "VmHWM:") - own_bytes(rollup, "Rss:");
    return own_bytes(rollup, "Pss:") + (given_back > 0 ? given_back : 0);
}

static int sum_memory(struct bench_steps *out, const struct comm *c)
{
    /* Pages count as shared while all ranks have them. */
    MPI_TRY(MPI_Barrier(c->world));
    out->all_bytes = out->rank_bytes = peak_bytes();
    MPI_TRY(MPI_Allreduce(MPI_IN_PLACE, &out->all_bytes, 1, MPI_DOUBLE, MPI_SUM, c->world));
    MPI_TRY(MPI_Allreduce(MPI_IN_PLACE, &out->rank_bytes, 1, MPI_DOUBLE, MPI_MAX, c->world));
    return OK;
}

/* Medians of this rank's phases; operations and bytes are those of the last step. */
static double summarize(struct history *h, struct prof *p)
{
    double compute = 0;
    for (int i = 0; i < PROF_N; i++) {
        p->row[i].s = median(h->phase + i * h->room, h->n);
        if (PROF_NAMES[i].part == PART_FORWARD || PROF_NAMES[i].part == PART_BACKWARD)
            compute += p->row[i].s;
    }
    return compute;
}

static int find_busiest(struct bench_steps *out, const struct comm *c, double compute)
{
    struct {
        double s;
        int rank;
    } most = {compute, c->rank}, least = most;
    MPI_TRY(MPI_Allreduce(MPI_IN_PLACE, &most, 1, MPI_DOUBLE_INT, MPI_MAXLOC, c->world));
    MPI_TRY(MPI_Allreduce(MPI_IN_PLACE, &least, 1, MPI_DOUBLE_INT, MPI_MINLOC, c->world));
    out->busiest = most.rank;
    out->compute_s[0] = least.s;
    out->compute_s[1] = most.s;
    return OK;
}

static int summarize_all(struct bench_steps *out, struct history *h, struct prof *p,
                         const struct comm *c)
{
    out->n_steps = h->n;
    MPI_TRY(MPI_Allreduce(MPI_IN_PLACE, h->wall, (int)h->n, MPI_DOUBLE, MPI_MAX, c->world));
    out->step_s = median(h->wall, h->n);
    out->fastest_s = h->wall[0];
    out->slowest_s = h->wall[h->n - 1];
    out->io_s = median(h->io, h->n);
    MPI_TRY(MPI_Allreduce(MPI_IN_PLACE, &out->io_s, 1, MPI_DOUBLE, MPI_MAX, c->world));
    TRY(find_busiest(out, c, summarize(h, p)));
    out->profile = *p;
    MPI_TRY(MPI_Bcast(&out->profile, (int)sizeof out->profile, MPI_BYTE, out->busiest, c->world));
    return sum_memory(out, c);
}

/* Steps without an end, whose rate does not change: nothing that a step costs depends on it. */
static struct config steps_config(const struct config *conf, const struct bench_folder *f)
{
    struct config c = *conf;
    snprintf(c.run.dir, sizeof c.run.dir, "%.*s", (int)sizeof c.run.dir - 1, f->path);
    snprintf(c.data.train, sizeof c.data.train, "%.*s", (int)sizeof c.data.train - 1, f->tokens);
    if (f->synthetic)
        c.data.valid[0] = '\0';
    snprintf(c.schedule.name, sizeof c.schedule.name, "constant");
    c.schedule.warmup = (struct amount){0, UNIT_NONE};
    c.batch.ramp[0] = '\0'; /* steps of batch.global */
    c.train.length = (struct amount){1e9, UNIT_STEPS};
    monitor_quiet(&c);
    return c;
}

static int measure(struct bench_steps *out, struct trainer *t, const struct bench_request *r)
{
    struct history h = {0};
    static struct prof p;
    int rc = agree(t->comm, history_init(&h, r->steps > 0 ? r->steps : STEPS_MAX));
    trainer_set_prof(t, &p);
    if (rc == OK)
        rc = run_steps(t, &h, &p, r);
    if (rc == OK)
        rc = summarize_all(out, &h, &p, t->comm);
    trainer_set_prof(t, NULL);
    history_release(&h);
    return rc;
}

static int describe(struct bench_steps *out, const struct config *conf,
                    const struct model_spec *spec, const struct comm *c)
{
    struct rates_work work;
    struct config held = *conf;
    held.checkpoint.every = 0; /* nothing is saved, so nothing is staged */
    memset(out, 0, sizeof *out);
    out->ranks = c->size;
    out->nodes = c->n_nodes;
    out->cores = c->size * (int)conf->parallel.threads;
    out->global = conf->batch.global;
    out->tokens = derive_step_tokens(conf);
    TRY(agree(c, rates_work(&work, conf, spec)));
    out->flops = out->tokens * work.flops_token;
    snprintf(out->precision, sizeof out->precision, "%s", conf->numerics.precision);
    snprintf(out->blas, sizeof out->blas, "%s", gemm_kernel());
    return agree(c, budget_of(&out->budget, &held, spec, &c->team));
}

int bench_steps(struct bench_steps *out, const struct config *conf, const struct model_spec *spec,
                const struct comm *c, const struct bench_folder *f, const struct bench_request *r)
{
    static struct trainer t;
    struct config steps = steps_config(conf, f);
    TRY(describe(out, conf, spec, c));
    forget_peak();
    TRY(trainer_init(&t, &steps, spec, c, slice_of(clock_now_s(), 0)));
    out->crowded = t.pin.worst == PLACE_CROWDED;
    int rc = measure(out, &t, r);
    trainer_release(&t);
    log_close(); /* it lies in the folder */
    return rc;
}

double bench_peak(const struct bench_steps *s, const struct machine_speed *m)
{
    bool bf16 = strcmp(s->precision, "bf16") == 0 && m->bf16 > 0;
    return (bf16 ? m->bf16 : m->fma) * s->cores;
}
