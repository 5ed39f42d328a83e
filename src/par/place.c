#include "par/place.h"

#include <string.h>

/* The processors of a set in order of their cores, cut into units: cores, or single processors. */
struct units {
    int n, n_cpus;
    int cpu[CPUS_MAX];                    /* [n_cpus] */
    int unit[CPUS_MAX];                   /* [n_cpus], ascending */
    int numa[CPUS_MAX], socket[CPUS_MAX]; /* [n] */
};

static void add_cpu(struct units *u, const struct topology *t, int cpu, bool begins_unit)
{
    if (begins_unit) {
        u->numa[u->n] = t->cpu[cpu].numa;
        u->socket[u->n] = t->cpu[cpu].socket;
        u->n++;
    }
    u->cpu[u->n_cpus] = cpu;
    u->unit[u->n_cpus++] = u->n - 1;
}

static void cut_units(struct units *u, const struct topology *t, const struct cpuset *s,
                      bool whole_cores)
{
    u->n = u->n_cpus = 0;
    for (int core = 0; core < t->n_cores; core++) {
        bool first = true;
        for (int cpu = 0; cpu < CPUS_MAX; cpu++)
            if (t->cpu[cpu].core == core && cpuset_has(s, cpu)) {
                add_cpu(u, t, cpu, first || !whole_cores);
                first = false;
            }
    }
}

/* The numbers of the cores that a set's processors belong to. */
static struct cpuset cores_of(const struct topology *t, const struct cpuset *s)
{
    struct cpuset cores = {0};
    for (int cpu = 0; cpu < CPUS_MAX; cpu++)
        if (cpuset_has(s, cpu) && t->cpu[cpu].core >= 0)
            cpuset_add(&cores, t->cpu[cpu].core);
    return cores;
}

static int count_numa(const struct topology *t, const struct cpuset *s)
{
    struct cpuset nodes = {0};
    for (int cpu = 0; cpu < CPUS_MAX; cpu++)
        if (cpuset_has(s, cpu))
            cpuset_add(&nodes, t->cpu[cpu].numa);
    return cpuset_count(&nodes);
}

/* A NUMA node's units, one after the other, and the ranks dealt to it. */
struct bin {
    int first, n, socket, ranks;
};

static int make_bins(struct bin *bin, const struct units *u)
{
    int n = 0;
    for (int i = 0; i < u->n; i++) {
        if (i == 0 || u->numa[i] != u->numa[i - 1])
            bin[n++] = (struct bin){.first = i, .socket = u->socket[i]};
        bin[n - 1].n++;
    }
    return n;
}

static int ranks_on_socket(const struct bin *bin, int n, int socket)
{
    int ranks = 0;
    for (int i = 0; i < n; i++)
        ranks += bin[i].socket == socket ? bin[i].ranks : 0;
    return ranks;
}

/* True when one more rank had better go to a than to b: more units for each there, then a socket
 * with fewer ranks. */
static bool better(const struct bin *bin, int n, int a, int b)
{
    int left = bin[a].n * (bin[b].ranks + 1), right = bin[b].n * (bin[a].ranks + 1);
    if (left != right)
        return left > right;
    return ranks_on_socket(bin, n, bin[a].socket) < ranks_on_socket(bin, n, bin[b].socket);
}

/* Deals ranks to nodes where all their threads fit; false when some rank fits nowhere. */
static bool deal(struct bin *bin, int n, int ranks, int threads)
{
    for (int r = 0; r < ranks; r++) {
        int best = -1;
        for (int i = 0; i < n; i++)
            if ((bin[i].ranks + 1) * threads <= bin[i].n && (best < 0 || better(bin, n, i, best)))
                best = i;
        if (best < 0)
            return false;
        bin[best].ranks++;
    }
    return true;
}

/* Units [*first, *end) of one of `ranks` ranks that share all units. */
static void share(int *first, int *end, const struct units *u, int ranks, int rank, int threads)
{
    struct bin bin[CPUS_MAX];
    int n = make_bins(bin, u), i = 0;
    struct bin whole = {.n = u->n, .ranks = ranks}, *b = &whole;
    if (deal(bin, n, ranks, threads)) {
        for (; rank >= bin[i].ranks; i++)
            rank -= bin[i].ranks;
        b = &bin[i];
    }
    *first = b->first + b->n * rank / b->ranks;
    *end = b->first + b->n * (rank + 1) / b->ranks;
}

static void take_share(struct place *p, const struct topology *t, int ranks, int rank, int threads)
{
    struct cpuset cores = cores_of(t, &p->cpus);
    struct units u;
    int first, end;
    cut_units(&u, t, &p->cpus, ranks * threads <= cpuset_count(&cores));
    share(&first, &end, &u, ranks, rank, threads);
    p->cpus = (struct cpuset){0};
    for (int i = 0; i < u.n_cpus; i++)
        if (u.unit[i] >= first && u.unit[i] < end)
            cpuset_add(&p->cpus, u.cpu[i]);
}

/* How a rank stands to the others of its node. */
struct relation {
    int alike, before;  /* ranks that see what it sees: itself included, and those before it */
    bool overlap, core; /* another set has some of its processors; some of its cores */
    struct cpuset all;  /* what any rank sees */
};

static struct relation relate(const struct topology *t, const struct cpuset *seen, int n, int rank)
{
    const struct cpuset *mine = &seen[rank], my_cores = cores_of(t, mine);
    struct relation r = {0};
    for (int i = 0; i < n; i++) {
        cpuset_unite(&r.all, &seen[i]);
        if (cpuset_equal(&seen[i], mine)) {
            r.before += i < rank;
            r.alike++;
            continue;
        }
        struct cpuset cores = cores_of(t, &seen[i]);
        r.overlap = r.overlap || cpuset_meets(&seen[i], mine);
        r.core = r.core || cpuset_meets(&cores, &my_cores);
    }
    return r;
}

static double least_of(double cpus, double quota)
{
    return quota > 0 && quota < cpus ? quota : cpus;
}

static enum place_kind judge(const struct relation *r, const struct topology *t,
                             const struct cpuset *mine, int threads)
{
    struct cpuset cores = cores_of(t, mine);
    if (r->overlap)
        return PLACE_OVERLAP;
    if (r->alike * threads > cpuset_count(mine))
        return PLACE_NARROW;
    if (r->core || r->alike * threads > cpuset_count(&cores))
        return PLACE_SIBLINGS;
    return r->alike > 1 ? PLACE_SHARED : PLACE_KEPT;
}

void place_rank(struct place *p, const struct topology *t, const struct cpuset *seen, int n,
                int rank, int threads, double quota)
{
    struct relation r = relate(t, seen, n, rank);
    *p = (struct place){.cpus = seen[rank], .threads = n * threads};
    p->usable = least_of(cpuset_count(&r.all), quota);
    p->kind = p->threads > least_of(t->n_cpus, quota) ? PLACE_CROWDED
                                                      : judge(&r, t, &seen[rank], threads);
    if (r.alike > 1 && (p->kind == PLACE_SHARED || p->kind == PLACE_SIBLINGS))
        take_share(p, t, r.alike, r.before, threads);
    p->n_numa = count_numa(t, &p->cpus);
}

static const struct {
    const char *trouble, *fix;
} TEXTS[PLACE_N] = {
    [PLACE_SIBLINGS] = {"threads share cores, and with them the units that multiply",
                        "start at most one thread a core: fewer ranks or parallel.threads; under "
                        "Slurm --hint=nomultithread"},
    [PLACE_NARROW] = {"ranks are bound to fewer processors than they have threads",
                      "mpirun --map-by slot:PE=THREADS, or --bind-to none; srun "
                      "--cpus-per-task=THREADS"},
    [PLACE_OVERLAP] = {"ranks are bound to different sets of processors that overlap",
                       "mpirun --bind-to none or srun --cpu-bind=none, and carat shares them out"},
    [PLACE_CROWDED] = {"more threads than processors: ranks wait for each other",
                       "start fewer ranks, or lower parallel.threads"},
};

const char *place_trouble(enum place_kind kind)
{
    return TEXTS[kind].trouble;
}

const char *place_fix(enum place_kind kind)
{
    return TEXTS[kind].fix;
}
