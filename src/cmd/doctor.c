#include "base/err.h"
#include "base/fs.h"
#include "base/isa.h"
#include "base/mem.h"
#include "base/str.h"
#include "cmd/cmd.h"
#include "cmd/opts.h"
#include "cmd/probe.h"
#include "kern/gemm.h"
#include "kern/peak.h"
#include "par/agree.h"
#include "version.h"

#include <hdf5.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const double RATE_SECONDS = 0.1;          /* of each of the two measurements */
static const double SHM_BYTES_A_RANK = 64 << 20; /* what shared-memory transport may take */
static const double LOW_DISK_BYTES = 2e9;

/* What one rank knows of its machine and its neighbours. */
struct view {
    char host[64];
    int node, rank;
    struct machine machine;
};

/* The result: sections of facts (each a JSON object of texts and numbers), and warnings. */
struct result {
    json_t *root, *section, *warnings;
};

static void begin(struct result *r, const char *name)
{
    r->section = json_object();
    json_object_set_new(r->root, name, r->section);
}

static void fact(struct result *r, const char *name, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
static void fact(struct result *r, const char *name, const char *fmt, ...)
{
    char text[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    json_object_set_new(r->section, name, json_string(text));
}

static void warn(struct result *r, const char *fix, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
static void warn(struct result *r, const char *fix, const char *fmt, ...)
{
    char text[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    json_array_append_new(r->warnings, json_pack("{s:s, s:s}", "what", text, "fix", fix));
}

/* The environment's value, or "not set". */
static const char *env(const char *name)
{
    const char *v = getenv(name);
    return v != NULL ? v : "not set";
}

static bool env_is(const char *name, const char *value)
{
    const char *v = getenv(name);
    return v != NULL && strcasecmp(v, value) == 0;
}

/* A command's output, blanks and line ends made one blank each; empty when it fails. */
static void output_of(const char *command, char *out, size_t n)
{
    size_t len = 0;
    int ch;
    FILE *p = popen(command, "re");
    while (p != NULL && (ch = fgetc(p)) != EOF) {
        bool blank = ch == ' ' || ch == '\n' || ch == '\t';
        if (len + 1 < n && !(blank && (len == 0 || out[len - 1] == ' ')))
            out[len++] = blank ? ' ' : (char)ch;
    }
    if (p != NULL)
        pclose(p);
    out[len > 0 && out[len - 1] == ' ' ? len - 1 : len] = '\0';
}

static void look_at_build(struct result *r)
{
    begin(r, "carat");
    fact(r, "version", "%s", CARAT_VERSION);
    fact(r, "kernels", "%s", isa_name());
#if __has_include(<oneapi/dnnl/dnnl.h>)
    fact(r, "oneDNN header", "present at build");
#else
    fact(r, "oneDNN header", "absent at build");
#endif
}

#ifdef OMPI_MAJOR_VERSION
static void warn_open_mpi(struct result *r, bool many)
{
    int version = OMPI_MAJOR_VERSION * 10000 + OMPI_MINOR_VERSION * 100 + OMPI_RELEASE_VERSION;
    if (version < 40107 && (!env_is("OMPI_MCA_fbtl_posix_write_datasieving", "0") ||
                            !env_is("OMPI_MCA_fbtl_posix_read_datasieving", "0")))
        warn(r,
             "export OMPI_MCA_fbtl_posix_write_datasieving=0 "
             "OMPI_MCA_fbtl_posix_read_datasieving=0",
             "data sieving of Open MPI before 4.1.7 can corrupt files");
    if (geteuid() == 0 && !env_is("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1"))
        warn(r, "export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1",
             "mpirun refuses to start as root");
    if (probe_container() && !env_is("OMPI_MCA_btl_vader_single_copy_mechanism", "none"))
        warn(r, "export OMPI_MCA_btl_vader_single_copy_mechanism=none",
             "in a container ranks may not read each other's memory, and every message says so");
    if (fs_exists("/sys/class/infiniband") && !env_is("OMPI_MCA_pml", "ucx") && many)
        warn(r, "export OMPI_MCA_pml=ucx",
             "there is InfiniBand, but Debian's Open MPI leaves UCX off");
}
#else
static void warn_open_mpi(struct result *r, bool many)
{
    (void)r;
    (void)many;
}
#endif

static void look_at_mpi(struct result *r, const struct comm *c)
{
    static const char *const levels[] = {"single", "funneled", "serialized", "multiple"};
    char version[MPI_MAX_LIBRARY_VERSION_STRING] = "unknown", transports[256];
    int n, level = 0;
    begin(r, "MPI");
    MPI_Get_library_version(version, &n);
    MPI_Query_thread(&level);
    output_of(
        "timeout 10 ompi_info --parsable 2>/dev/null | grep -E '^mca:(pml|btl):[a-z0-9]*:version' "
        "| cut -d: -f2,3 | sort -u",
        transports, sizeof transports);
    fact(r, "library", "%.*s", (int)strcspn(version, ",\n"), version);
    fact(r, "threads", "%s",
         level == MPI_THREAD_MULTIPLE     ? levels[3]
         : level == MPI_THREAD_SERIALIZED ? levels[2]
         : level == MPI_THREAD_FUNNELED   ? levels[1]
                                          : levels[0]);
    fact(r, "transports", "%s", *transports != '\0' ? transports : "unknown");
    fact(r, "chosen by OMPI_MCA_pml", "%s", env("OMPI_MCA_pml"));
    fact(r, "ranks", "%d on %d node%s", c->size, c->n_nodes, c->n_nodes == 1 ? "" : "s");
    warn_open_mpi(r, c->n_nodes > 1);
}

static void look_at_hdf5(struct result *r)
{
    unsigned major = 0, minor = 0, release = 0;
    begin(r, "HDF5");
    H5get_libversion(&major, &minor, &release);
    fact(r, "version", "%u.%u.%u", major, minor, release);
#ifdef H5_HAVE_PARALLEL
    fact(r, "parallel", "yes");
#else
    fact(r, "parallel", "no");
    warn(r, "build with libhdf5-openmpi-dev and mpicc", "this HDF5 is not parallel");
#endif
    fact(r, "HDF5_USE_FILE_LOCKING", "%s", env("HDF5_USE_FILE_LOCKING"));
}

/* Whether the BLAS took a kernel for an older processor than this one. */
static bool kernel_too_small(const struct machine *m)
{
    static const char *const avx512[] = {"SkylakeX", "Cooperlake", "SapphireRapids", "Zen4"};
    static const char *const old[] = {"Prescott",  "Core2",     "Penryn",      "Nehalem",
                                      "Barcelona", "Bulldozer", "Sandybridge", "Generic"};
    if (m->avx512) {
        for (size_t i = 0; i < sizeof avx512 / sizeof avx512[0]; i++)
            if (strcasecmp(m->blas, avx512[i]) == 0)
                return false;
        return true;
    }
    for (size_t i = 0; m->avx2 && i < sizeof old / sizeof old[0]; i++)
        if (strcasecmp(m->blas, old[i]) == 0)
            return true;
    return false;
}

static int look_at_blas(struct result *r, const struct machine *m)
{
    double rate, peak = peak_fma_flops(RATE_SECONDS);
    TRY(probe_gemm_flops(&rate, 1, RATE_SECONDS));
    begin(r, "BLAS");
    fact(r, "version", "%s", gemm_version());
    fact(r, "kernel", "%s", m->blas);
    fact(r, "one thread", "%.0f GFLOP/s in products of %.0f GFLOP/s peak (%.0f%%), measured now",
         rate / 1e9, peak / 1e9, 100 * rate / peak);
    fact(r, "OPENBLAS_CORETYPE", "%s", env("OPENBLAS_CORETYPE"));
    if (kernel_too_small(m))
        warn(r,
             getenv("OPENBLAS_CORETYPE") != NULL ? "unset OPENBLAS_CORETYPE"
             : m->avx512                         ? "export OPENBLAS_CORETYPE=SkylakeX"
                                                 : "export OPENBLAS_CORETYPE=Haswell",
             "the BLAS kernel %s is for an older processor than this one (%s)", m->blas,
             m->avx512 ? "AVX-512" : "AVX2");
    else if (getenv("OPENBLAS_CORETYPE") != NULL)
        warn(r, "unset OPENBLAS_CORETYPE, unless bits must match another machine's",
             "OPENBLAS_CORETYPE=%s is exported: the kernel does not follow the processor",
             getenv("OPENBLAS_CORETYPE"));
    return OK;
}

static void look_at_cpu(struct result *r, const struct machine *m)
{
    begin(r, "processor");
    fact(r, "name", "%s", m->cpu);
    fact(r, "instructions", "%s%s%s%s", m->avx2 ? "AVX2" : "no AVX2", m->avx512 ? " AVX-512" : "",
         m->bf16 ? " AVX-512-BF16" : "", m->amx ? " AMX-BF16" : "");
    if (m->avx512 && strstr(isa_name(), "v4") == NULL)
        warn(r, "unset CARAT_ISA, or build without ARCH: make clean; make",
             "the kernels use %s, less than the processor knows", isa_name());
}

static int popcount(const uint64_t *bits)
{
    int n = 0;
    for (int i = 0; i < PROBE_MAX_CPUS / 64; i++)
        n += __builtin_popcountll(bits[i]);
    return n;
}

static void add_node(struct result *r, const char *host, int ranks, double usable,
                     const struct machine *m)
{
    json_t *node =
        json_pack("{s:i, s:f, s:i, s:i, s:i, s:f, s:f, s:f, s:s, s:s}", "ranks", ranks,
                  "usable_cores", usable, "cores", m->cpus, "sockets", m->sockets, "numa_nodes",
                  m->numa_nodes, "memory_bytes", m->memory_bytes, "free_bytes", m->free_bytes,
                  "shm_free_bytes", m->shm_free_bytes, "processor", m->cpu, "blas_kernel", m->blas);
    json_object_set_new(r->section, host, node);
}

/* One node, from the views of its ranks (in a row of n). */
static void look_at_node(struct result *r, const struct view *v, int n)
{
    const struct machine *m = &v->machine;
    struct machine all = *m;
    char shm[32];
    for (int i = 1; i < n; i++)
        for (int w = 0; w < PROBE_MAX_CPUS / 64; w++)
            all.allowed[w] |= v[i].machine.allowed[w];
    double usable = popcount(all.allowed);
    if (m->cpu_quota > 0 && m->cpu_quota < usable)
        usable = m->cpu_quota;
    add_node(r, v->host, n, usable, m);
    if (n > usable && !env_is("OMPI_MCA_mpi_yield_when_idle", "1"))
        warn(r, "start fewer ranks, or export OMPI_MCA_mpi_yield_when_idle=1",
             "%s has %d ranks on %.4g cores: waiting ranks keep the others from working", v->host,
             n, usable);
    else if (n > usable)
        warn(r, "start at most one rank a core", "%s has %d ranks on %.4g cores", v->host, n,
             usable);
    if (m->shm_free_bytes >= 0 && m->shm_free_bytes < SHM_BYTES_A_RANK * n)
        warn(r, "remove old files there, or start the container with --shm-size=1g",
             "%s has %s free in /dev/shm, where ranks exchange messages", v->host,
             fmt_bytes(shm, sizeof shm, m->shm_free_bytes));
}

static void look_at_nodes(struct result *r, const struct view *v, int n)
{
    bool alike = true;
    begin(r, "nodes");
    for (int node = 0, first, count; node < n; node++) {
        /* Ranks of a node need not follow each other. */
        struct view *here = NULL;
        first = count = 0;
        if (mem_alloc(&here, (size_t)n, sizeof *here, "views of a node") != OK)
            return;
        for (int i = 0; i < n; i++)
            if (v[i].node == node)
                here[count++] = v[i];
        if (count > 0)
            look_at_node(r, &here[first], count);
        if (count > 0)
            alike = alike && strcmp(here->machine.blas, v->machine.blas) == 0 &&
                    strcmp(here->machine.cpu, v->machine.cpu) == 0;
        mem_free(here);
    }
    if (!alike)
        warn(r, "ask for nodes of one kind (sbatch --constraint)",
             "the nodes' processors or BLAS kernels differ: the same bits are not to be expected");
}

static void look_at_files(struct result *r)
{
    char buf[32], room[32], cwd[FS_PATH_MAX] = ".";
    bool network;
    const char *type = probe_fs_type(".", buf, sizeof buf, &network);
    double bytes = (double)fs_free_bytes(".");
    begin(r, "files");
    if (getcwd(cwd, sizeof cwd) == NULL)
        snprintf(cwd, sizeof cwd, ".");
    fact(r, "this folder", "%s, %s free (%s)", type, fmt_bytes(room, sizeof room, bytes), cwd);
    if (bytes < LOW_DISK_BYTES)
        warn(r, "free some, or set run.dir to another file system", "this folder has %s free",
             room);
    if (strcmp(type, "tmpfs") == 0)
        warn(r, "set run.dir to a disk", "this folder is in memory: a reboot takes its files");
    if (network && !env_is("HDF5_USE_FILE_LOCKING", "FALSE"))
        warn(r, "export HDF5_USE_FILE_LOCKING=FALSE",
             "HDF5's file locks often fail on a network file system (%s)", type);
}

static void look_at_tools(struct result *r)
{
    char types[256];
    begin(r, "tools");
    fact(r, "container", "%s", probe_container() ? "yes" : "no");
    fact(r, "gnuplot", "%s", probe_program("gnuplot") ? "yes" : "no; figures need it");
    if (!probe_program("srun")) {
        fact(r, "Slurm", "no srun here");
        return;
    }
    output_of("timeout 5 srun --mpi=list 2>&1", types, sizeof types);
    if (strstr(types, "error:") != NULL || *types == '\0') {
        fact(r, "Slurm", "srun is there, but no cluster answers");
        return;
    }
    fact(r, "srun --mpi=list", "%s", types);
    if (strstr(types, "pmix") == NULL)
        warn(r, "start ranks by mpirun inside the allocation (carat slurm does)",
             "srun has no PMIx: it would start every rank as a run of its own");
}

static const char *bytes_of(const json_t *node, const char *key, char *buf, size_t n)
{
    double bytes = json_number_value(json_object_get(node, key));
    return bytes < 0 ? "none" : fmt_bytes(buf, n, bytes);
}

static void print_node(const json_t *node)
{
    char memory[32], free_memory[32], shm[32];
    int ranks, cores, sockets, numa;
    double usable;
    const char *cpu, *blas;
    if (json_unpack((json_t *)node, "{s:i, s:F, s:i, s:i, s:i, s:s, s:s}", "ranks", &ranks,
                    "usable_cores", &usable, "cores", &cores, "sockets", &sockets, "numa_nodes",
                    &numa, "processor", &cpu, "blas_kernel", &blas) != 0)
        return;
    printf("%d rank%s, %.4g of %d cores, %d socket%s, %d NUMA node%s\n", ranks,
           ranks == 1 ? "" : "s", usable, cores, sockets, sockets == 1 ? "" : "s", numa,
           numa == 1 ? "" : "s");
    printf("  %-22s %s of memory, %s free; /dev/shm %s free\n", "",
           bytes_of(node, "memory_bytes", memory, sizeof memory),
           bytes_of(node, "free_bytes", free_memory, sizeof free_memory),
           bytes_of(node, "shm_free_bytes", shm, sizeof shm));
    printf("  %-22s %s, BLAS kernel %s\n", "", cpu, blas);
}

static void print_facts(const json_t *root)
{
    const char *name, *key;
    json_t *section, *value;
    json_object_foreach((json_t *)root, name, section)
    {
        if (!json_is_object(section))
            continue;
        printf("%s\n", name);
        json_object_foreach(section, key, value)
        {
            printf("  %-22s ", key);
            if (json_is_object(value))
                print_node(value);
            else
                puts(json_string_value(value));
        }
    }
}

static void print_warnings(const json_t *warnings)
{
    size_t i, n = json_array_size(warnings);
    const json_t *w;
    printf("\n%s\n", n == 0 ? "nothing to mend" : "warnings");
    for (i = 0; i < n; i++) {
        w = json_array_get(warnings, i);
        printf("  %s\n    fix: %s\n", json_string_value(json_object_get(w, "what")),
               json_string_value(json_object_get(w, "fix")));
    }
}

static int examine(struct result *r, const struct comm *c, const struct view *views)
{
    look_at_build(r);
    look_at_mpi(r, c);
    look_at_hdf5(r);
    look_at_cpu(r, &views[0].machine);
    TRY(look_at_blas(r, &views[0].machine));
    look_at_nodes(r, views, c->size);
    look_at_files(r);
    look_at_tools(r);
    return OK;
}

static int report(const struct comm *c, const struct view *views, bool json)
{
    struct result r = {.root = json_object(), .warnings = json_array()};
    int rc = examine(&r, c, views);
    json_object_set_new(r.root, "warnings", r.warnings);
    if (rc == OK && json) {
        json_dumpf(r.root, stdout, JSON_INDENT(2));
        putchar('\n');
    } else if (rc == OK) {
        print_facts(r.root);
        print_warnings(r.warnings);
    }
    json_decref(r.root);
    return rc;
}

/* Rank 0 gathers what every rank sees, and tells. */
static int run(const struct comm *c, bool json)
{
    struct view mine = {.node = c->node, .rank = c->rank}, *all = NULL;
    snprintf(mine.host, sizeof mine.host, "%s", c->host);
    probe_machine(&mine.machine);
    int rc = OK;
    if (c->rank == 0)
        rc = mem_alloc(&all, (size_t)c->size, sizeof *all, "views of all ranks");
    TRY(agree(c, rc));
    MPI_TRY(MPI_Gather(&mine, sizeof mine, MPI_BYTE, all, sizeof mine, MPI_BYTE, 0, c->world));
    if (c->rank == 0)
        rc = report(c, all, json);
    mem_free(all);
    return agree(c, rc);
}

int cmd_doctor(int argc, char **argv)
{
    bool help = false, json = false;
    const struct opt table[] = {
        {"json", 0, OPT_FLAG, &json, NULL, "print JSON"},
        {"help", 'h', OPT_FLAG, &help, NULL, "this text"},
    };
    enum { N = sizeof table / sizeof *table };
    TRY(opts_parse(table, N, &argc, argv));
    if (help) {
        opts_help(
            stdout, "carat doctor [--json]",
            "Shows what this build and this machine have: MPI, parallel HDF5, the BLAS and the "
            "kernel it picked, processor, memory, file system, Slurm. What would make a run "
            "slow or unsafe is a warning with its fix. Alone it looks at this machine; under "
            "mpirun or srun at every node of the job.",
            table, N, "carat doctor\nmpirun -n 4 carat doctor");
        return OK;
    }
    if (argc > 1)
        return ERR(E_USAGE, "doctor takes no \"%s\"", argv[1]);
    struct comm c;
    TRY(comm_init(&c, &argc, &argv));
    int rc = run(&c, json);
    comm_end(&c);
    return rc;
}
