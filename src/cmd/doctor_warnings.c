/* What can make a run slow or unsafe: a warning is a row of the table at the end. */
#include "base/str.h"
#include "cmd/doctor.h"
#include "kern/blas_core.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const double SHM_BYTES_A_RANK = 64 << 20; /* what messages in shared memory may take */
static const double SHM_OF_MEMORY = 0.25;        /* tmpfs gives half when nothing is said */
static const double LOW_DISK_BYTES = 2e9;
static const double LONG_LOOKUP_S = 1;    /* a name server that does not answer takes 5 */
static const double SLOW_PRODUCTS = 0.65; /* of the peak; an undisturbed fitting kernel has 0.8 */
static const double THREADS_PAY = 0.65;   /* of the speed-up that as many ranks would have */
static const double LEAST_SPIN = 3e3, MOST_SPIN = 1e5; /* rounds; measured around carat's 10000 */
static const double MOST_TIMEOUT = 20;                 /* 2^20 cycles: half a millisecond */

/* A row asked of a patient. The condition may add a detail, and put words that fit better in place
 * of the row's. */
struct question {
    const struct patient *p;
    const struct patient_node *n;
    const char *what, *fix;
    struct str detail;
};

static bool env_is(const char *name, const char *value)
{
    const char *v = getenv(name);
    return v != NULL && strcasecmp(v, value) == 0;
}

/* Adds "NAME=value" of the first of these variables that is set; the list ends with NULL. */
static bool any_set(struct question *q, const char *const *names)
{
    for (; *names != NULL; names++) {
        const char *v = getenv(*names);
        if (v == NULL || strcasecmp(v, "false") == 0)
            continue;
        str_addf(&q->detail, "%s=%s", *names, v);
        return true;
    }
    return false;
}
#define ANY_SET(q, ...) any_set(q, (const char *const[]){__VA_ARGS__, NULL})

static void add_bytes(struct question *q, double bytes)
{
    char buf[32];
    str_addf(&q->detail, "%s free", fmt_bytes(buf, sizeof buf, bytes));
}

static bool data_is_sieved(struct question *q)
{
    return q->p->open_mpi > 0 && q->p->open_mpi < 40107 &&
           (!env_is("OMPI_MCA_fbtl_posix_write_datasieving", "0") ||
            !env_is("OMPI_MCA_fbtl_posix_read_datasieving", "0"));
}

static bool root_is_refused(struct question *q)
{
    return q->p->open_mpi > 0 && q->p->root && !env_is("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1");
}

static bool memory_is_closed(struct question *q)
{
    return q->p->open_mpi > 0 && q->p->container &&
           !env_is("OMPI_MCA_btl_vader_single_copy_mechanism", "none");
}

static bool fabric_is_idle(struct question *q)
{
    return q->p->open_mpi > 0 && q->p->infiniband && q->p->n_nodes > 1 &&
           !env_is("OMPI_MCA_pml", "ucx");
}

static bool hdf5_is_serial(struct question *q)
{
    return !q->p->parallel_hdf5;
}

static bool build_is_narrow(struct question *q)
{
    return q->n->machine.avx512 && !q->p->kernels_avx512;
}

static enum simd simd_of(const struct machine *m)
{
    return m->avx512 ? SIMD_AVX512 : m->avx2 ? SIMD_AVX2 : SIMD_UNKNOWN;
}

static const char *kernel_fix(const struct machine *m)
{
    return m->blas_multiplies ? blas_core_fix(m->blas, simd_of(m), getenv("OPENBLAS_CORETYPE"))
                              : NULL;
}

static bool kernel_is_small(struct question *q)
{
    if (kernel_fix(&q->n->machine) == NULL)
        return false;
    q->fix = kernel_fix(&q->n->machine);
    str_addf(&q->detail, "%s, but the processor has %s", q->n->machine.blas,
             simd_name(simd_of(&q->n->machine)));
    return true;
}

static bool kernel_is_forced(struct question *q)
{
    bool said = kernel_fix(&q->n->machine) != NULL && getenv("OPENBLAS_CORETYPE") != NULL;
    return (!said && ANY_SET(q, "OPENBLAS_CORETYPE")) ||
           ANY_SET(q, "OPENBLAS_L2_SIZE", "ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA");
}

static bool products_are_slow(struct question *q)
{
    if (kernel_fix(&q->n->machine) != NULL || q->p->gemm_flops >= SLOW_PRODUCTS * q->p->peak_flops)
        return false;
    str_addf(&q->detail, "%.0f of %.0f GFLOP/s", q->p->gemm_flops / 1e9, q->p->peak_flops / 1e9);
    if (q->n->machine.blas_multiplies)
        q->fix = "look for other programs on these processors; compare OPENBLAS_CORETYPE=SkylakeX "
                 "and Haswell";
    return true;
}

static bool threads_do_not_pay(struct question *q)
{
    if (q->p->gemm_flops_n >= THREADS_PAY * q->p->threads * q->p->gemm_flops)
        return false;
    str_addf(&q->detail, "%d threads multiply %.2f times as fast as one", q->p->threads,
             q->p->gemm_flops_n / q->p->gemm_flops);
    return true;
}

static bool idle_threads_wait_badly(struct question *q)
{
    const char *timeout = getenv("OPENBLAS_THREAD_TIMEOUT"), *spin = getenv("GOMP_SPINCOUNT");
    if (q->p->threads == 1)
        return false;
    if (spin != NULL && (atof(spin) < LEAST_SPIN || atof(spin) > MOST_SPIN))
        return ANY_SET(q, "GOMP_SPINCOUNT");
    return timeout != NULL && atof(timeout) > MOST_TIMEOUT && ANY_SET(q, "OPENBLAS_THREAD_TIMEOUT");
}

static bool openmp_binds_too(struct question *q)
{
    return ANY_SET(q, "OMP_PROC_BIND", "OMP_PLACES", "GOMP_CPU_AFFINITY", "KMP_AFFINITY");
}

static bool ranks_do_not_yield(struct question *q)
{
    if (q->n->ranks <= q->n->place.usable || env_is("OMPI_MCA_mpi_yield_when_idle", "1"))
        return false;
    str_addf(&q->detail, "%d ranks on %.4g processors", q->n->ranks, q->n->place.usable);
    return true;
}

/* What it is, and the way out, stand beside the arithmetic of places. */
static bool place_is_bad(struct question *q)
{
    const struct place *at = &q->n->place;
    double quota = q->n->machine.cpu_quota;
    if (place_trouble(at->kind) == NULL)
        return false;
    q->what = place_trouble(at->kind);
    q->fix = place_fix(at->kind);
    str_addf(&q->detail, "%d rank%s, %d threads in all, %.4g processor%s%s", q->n->ranks,
             q->n->ranks == 1 ? "" : "s", at->threads, at->usable, at->usable == 1 ? "" : "s",
             quota > 0 && quota <= at->usable ? " by the container's limit" : "");
    return true;
}

static bool rank_spans_nodes(struct question *q)
{
    const struct machine *m = &q->n->machine;
    if (q->n->place.n_numa < 2 || q->p->threads * m->numa_nodes > m->cores)
        return false;
    str_addf(&q->detail, "%d nodes", q->n->place.n_numa);
    return true;
}

static bool memory_is_placed_elsewhere(struct question *q)
{
    return q->n->machine.memory_policy && q->n->machine.numa_nodes > 1;
}

static bool shm_is_full(struct question *q)
{
    double bytes = q->n->machine.shm_free_bytes;
    if (bytes < 0 || bytes >= SHM_BYTES_A_RANK * q->n->ranks)
        return false;
    add_bytes(q, bytes);
    return true;
}

static bool shm_is_small(struct question *q)
{
    const struct machine *m = &q->n->machine;
    if (q->n->ranks < 2 || m->shm_free_bytes < SHM_BYTES_A_RANK * q->n->ranks ||
        m->shm_free_bytes >= SHM_OF_MEMORY * m->memory_bytes)
        return false;
    add_bytes(q, m->shm_free_bytes);
    return true;
}

static bool huge_pages_are_off(struct question *q)
{
    return strcmp(q->n->machine.huge_pages, "never") == 0;
}

/* The drivers that steer by hardware call their normal state powersave. */
static bool clock_is_low(struct question *q)
{
    const struct machine *m = &q->n->machine;
    if (strcmp(m->governor, "powersave") != 0 || strstr(m->freq_driver, "pstate") != NULL)
        return false;
    str_addf(&q->detail, "governor %s of %s", m->governor, m->freq_driver);
    return true;
}

static bool name_is_unknown(struct question *q)
{
    if (q->n->name_s < LONG_LOOKUP_S)
        return false;
    str_addf(&q->detail, "%.1f s", q->n->name_s);
    return true;
}

static bool nodes_differ(struct question *q)
{
    return strcmp(q->n->machine.blas, q->p->node->machine.blas) != 0 ||
           strcmp(q->n->machine.cpu, q->p->node->machine.cpu) != 0;
}

static bool disk_is_full(struct question *q)
{
    if (q->p->folder_free_bytes >= LOW_DISK_BYTES)
        return false;
    add_bytes(q, q->p->folder_free_bytes);
    return true;
}

static bool folder_is_memory(struct question *q)
{
    return strcmp(q->p->folder_type, "tmpfs") == 0;
}

static bool locks_may_fail(struct question *q)
{
    if (!q->p->folder_network || env_is("HDF5_USE_FILE_LOCKING", "FALSE"))
        return false;
    str_add(&q->detail, q->p->folder_type);
    return true;
}

static bool srun_has_no_pmix(struct question *q)
{
    return q->p->srun_mpi[0] != '\0' && strstr(q->p->srun_mpi, "pmix") == NULL;
}

enum scope { PROGRAM, NODES }; /* asked once with the first node, or of every node */

static const struct row {
    enum scope scope;
    bool (*holds)(struct question *q);
    const char *what, *fix;
} ROWS[] = {
    {PROGRAM, data_is_sieved, "data sieving of Open MPI before 4.1.7 can corrupt files",
     "export OMPI_MCA_fbtl_posix_write_datasieving=0 OMPI_MCA_fbtl_posix_read_datasieving=0"},
    {PROGRAM, root_is_refused, "mpirun refuses to start as root",
     "export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1"},
    {PROGRAM, memory_is_closed,
     "in a container ranks may not read each other's memory, and every message says so",
     "export OMPI_MCA_btl_vader_single_copy_mechanism=none"},
    {PROGRAM, fabric_is_idle, "there is InfiniBand, but Debian's Open MPI leaves UCX off",
     "export OMPI_MCA_pml=ucx"},
    {PROGRAM, hdf5_is_serial, "this HDF5 is not parallel",
     "build with libhdf5-openmpi-dev and mpicc"},
    {PROGRAM, build_is_narrow, "the kernels do not use the processor's AVX-512",
     "unset CARAT_ISA, or build without ARCH: make clean; make"},
    {NODES, kernel_is_small,
     "the BLAS kernel is for an older processor than this one: half the speed or less", NULL},
    {PROGRAM, kernel_is_forced, "kernels of products do not follow the processor",
     "unset it, unless bits must match another machine's"},
    {PROGRAM, products_are_slow, "matrix products are far from the processor's peak",
     "look for other programs on these processors"},
    {PROGRAM, threads_do_not_pay, "threads hardly speed up products",
     "mpirun --map-by slot:PE=THREADS or --bind-to none; or one rank a core"},
    {PROGRAM, idle_threads_wait_badly,
     "idle threads spin for too long, or not long enough: up to twice the time",
     "unset it: carat sets GOMP_SPINCOUNT=10000 and OPENBLAS_THREAD_TIMEOUT=16"},
    {PROGRAM, openmp_binds_too, "OpenMP binds the threads of all ranks by one list",
     "unset it: parallel.pin gives each rank processors of its own"},
    {NODES, place_is_bad, NULL, NULL},
    {NODES, ranks_do_not_yield, "waiting ranks keep the others from working",
     "start fewer ranks, or export OMPI_MCA_mpi_yield_when_idle=1"},
    {NODES, rank_spans_nodes, "a rank lies on several NUMA nodes: some of its memory is far",
     "start a rank a NUMA node or more: mpirun --map-by numa --bind-to numa"},
    {NODES, memory_is_placed_elsewhere, "a memory policy keeps pages from the rank that uses them",
     "start without numactl --interleave, --membind or --preferred"},
    {NODES, shm_is_full, "/dev/shm, where ranks exchange messages, has too little room",
     "remove old files there, or start the container with --shm-size=1g"},
    {NODES, shm_is_small,
     "/dev/shm is small: a node's parameters and its ranks' gradients lie there (carat plan says "
     "how much)",
     "mount -o remount,size=50% /dev/shm, or start the container with a larger --shm-size"},
    {NODES, huge_pages_are_off,
     "huge pages are off: a step of a small model was measured to take 2 to 7% longer",
     "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled (as root)"},
    {NODES, clock_is_low, "the processors are kept at a low clock rate",
     "cpupower frequency-set -g performance (as root)"},
    {NODES, name_is_unknown, "to look this node's own name up takes long, and every start does",
     "add its name to /etc/hosts, behind 127.0.1.1"},
    {NODES, nodes_differ, "nodes differ in processor or BLAS kernel: not the same bits",
     "ask for nodes of one kind (sbatch --constraint)"},
    {PROGRAM, disk_is_full, "this folder's file system is nearly full",
     "free some, or set run.dir to another file system"},
    {PROGRAM, folder_is_memory, "this folder is in memory: a reboot takes its files",
     "set run.dir to a disk"},
    {PROGRAM, locks_may_fail, "HDF5's file locks often fail on a network file system",
     "export HDF5_USE_FILE_LOCKING=FALSE"},
    {PROGRAM, srun_has_no_pmix, "srun has no PMIx: it would start every rank as a run of its own",
     "start ranks by mpirun inside the allocation (carat slurm does)"},
};

static void ask(json_t *warnings, const struct row *row, struct question *q)
{
    struct str what = {0};
    if (!row->holds(q))
        return;
    if (row->scope == NODES && q->p->n_nodes > 1)
        str_addf(&what, "%s: ", q->n->host);
    str_add(&what, q->what);
    if (q->detail.len > 0)
        str_addf(&what, " (%s)", q->detail.s);
    json_array_append_new(warnings, json_pack("{s:s, s:s}", "what", what.s, "fix", q->fix));
    str_release(&what);
}

void doctor_warn(json_t *warnings, const struct patient *p)
{
    for (size_t i = 0; i < sizeof ROWS / sizeof ROWS[0]; i++)
        for (int n = 0; n < (ROWS[i].scope == NODES ? p->n_nodes : 1); n++) {
            struct question q = {p, &p->node[n], ROWS[i].what, ROWS[i].fix, {0}};
            ask(warnings, &ROWS[i], &q);
            str_release(&q.detail);
        }
}
