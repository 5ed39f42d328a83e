#include "base/watch.h"

#include "base/fault.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Visits that are remembered, and how many times their median is too long. */
enum { LAST = 32, TIMES = 10 };

const struct phase_kind PHASES[N_PHASES] = {
    [PHASE_OFF] = {"phase.off", "nothing", false},
    [PHASE_JOB] = {"phase.job", "reading the job", true},
    [PHASE_START] = {"phase.start", "setting up", true},
    [PHASE_LOAD] = {"phase.load", "first weights, or the checkpoint's", true},
    [PHASE_DATA] = {"phase.data", "waiting for a batch", false},
    [PHASE_COMPUTE] = {"phase.compute", "forward and backward passes", false},
    [PHASE_REDUCE] = {"phase.reduce", "summing up the gradient", true},
    [PHASE_AGREE] = {"phase.agree", "the step's packed reduction", true},
    [PHASE_OPTIM] = {"phase.optim", "the update", false},
    [PHASE_GATHER] = {"phase.gather", "gathering the parameters", true},
    [PHASE_METRICS] = {"phase.metrics", "rows of metrics and lines of the log", true},
    [PHASE_VALIDATE] = {"phase.validate", "the validation split", true},
    [PHASE_SAMPLE] = {"phase.sample", "a sample of text", true},
    [PHASE_SAVE] = {"phase.save", "a checkpoint", true},
    [PHASE_CLOSE] = {"phase.close", "the end: merged metrics, MPI_Finalize", true},
};

static struct watch_mark own;
static struct watch_mark *_Atomic here = &own;

/* From mark to mark, the longest of a visit, by phase; and whole visits to PHASE_COMPUTE. */
enum { WHOLE_PASS = N_PHASES, N_RINGS };
static struct ring {
    _Atomic int64_t ns[LAST];
    atomic_uint n; /* all that ever were */
} rings[N_RINGS];

/* The main thread's alone, which is the one that has entered a phase. */
static int64_t entered_ns, longest_ns;
static _Thread_local bool marks;

const char *phase_name(enum phase p)
{
    return PHASES[p].point + sizeof "phase." - 1;
}

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void remember(struct ring *r, int64_t ns)
{
    unsigned n = atomic_load_explicit(&r->n, memory_order_relaxed);
    atomic_store_explicit(&r->ns[n % LAST], ns, memory_order_relaxed);
    atomic_store_explicit(&r->n, n + 1, memory_order_release);
}

/* The clock goes first: who sees a new phase must not see it with an old one. */
static int64_t mark(struct watch_mark *m)
{
    int64_t now = now_ns(), gap = now - atomic_load_explicit(&m->at_ns, memory_order_relaxed);
    longest_ns = gap > longest_ns ? gap : longest_ns;
    atomic_store_explicit(&m->at_ns, now, memory_order_release);
    return now;
}

enum phase watch_phase(enum phase p)
{
    struct watch_mark *m = watch_here();
    enum phase before = (enum phase)atomic_load_explicit(&m->phase, memory_order_relaxed);
    marks = true;
    int64_t now = mark(m);
    remember(&rings[before], longest_ns);
    if (before == PHASE_COMPUTE)
        remember(&rings[WHOLE_PASS], now - entered_ns);
    entered_ns = now;
    longest_ns = 0;
    atomic_store_explicit(&m->phase, (int)p, memory_order_release);
    (void)fault_hit(PHASES[p].point);
    return before;
}

void watch_beat(void)
{
    if (marks)
        mark(watch_here());
}

void watch_step(int64_t step)
{
    atomic_store_explicit(&watch_here()->step, step, memory_order_relaxed);
}

void watch_share(struct watch_mark *m)
{
    struct watch_mark *from = watch_here(), *to = m != NULL ? m : &own;
    atomic_store(&to->at_ns, atomic_load(&from->at_ns));
    atomic_store(&to->step, atomic_load(&from->step));
    atomic_store(&to->phase, atomic_load(&from->phase));
    atomic_store(&here, to);
}

struct watch_mark *watch_here(void)
{
    return atomic_load_explicit(&here, memory_order_relaxed);
}

/* ---- decisions ---- */

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double watch_limit_of(double least_s, double *last_s, int n)
{
    if (n == 0)
        return least_s;
    qsort(last_s, (size_t)n, sizeof *last_s, by_size);
    double median = n % 2 ? last_s[n / 2] : (last_s[n / 2 - 1] + last_s[n / 2]) / 2;
    return TIMES * median > least_s ? TIMES * median : least_s;
}

static double limit_by(const struct ring *r, double least_s)
{
    double s[LAST] = {0};
    unsigned n = atomic_load_explicit(&r->n, memory_order_acquire);
    n = n < LAST ? n : LAST;
    for (unsigned i = 0; i < n; i++)
        s[i] = 1e-9 * (double)atomic_load_explicit(&r->ns[i], memory_order_relaxed);
    return watch_limit_of(least_s, s, (int)n);
}

double watch_limit(enum phase p, double least_s)
{
    return limit_by(&rings[p], limit_by(&rings[WHOLE_PASS], least_s));
}

void watch_forget(void)
{
    for (int i = 0; i < N_RINGS; i++)
        atomic_store(&rings[i].n, 0);
    longest_ns = 0;
    entered_ns = now_ns();
    atomic_store(&watch_here()->at_ns, entered_ns);
}

void watch_look(struct watch_seen *w, int64_t at_ns, double dt_s, double most_s)
{
    if (at_ns != w->at_ns)
        *w = (struct watch_seen){.at_ns = at_ns};
    else
        w->still_s += dt_s < most_s ? dt_s : most_s;
}
