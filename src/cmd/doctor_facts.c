/* The facts that `carat doctor` shows, a section after the other; those that a warning can rest on
 * are kept in struct patient as well. */
#include "base/err.h"
#include "base/fs.h"
#include "base/isa.h"
#include "base/str.h"
#include "cmd/doctor.h"
#include "kern/gemm.h"
#include "kern/gemm16.h"
#include "kern/peak.h"
#include "version.h"

#include <hdf5.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const double RATE_SECONDS = 0.1; /* of each measurement */

static json_t *begin(json_t *root, const char *name)
{
    json_t *section = json_object();
    json_object_set_new(root, name, section);
    return section;
}

static void fact(json_t *section, const char *name, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
static void fact(json_t *section, const char *name, const char *fmt, ...)
{
    char text[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    json_object_set_new(section, name, json_string(text));
}

static void env_fact(json_t *section, const char *name)
{
    const char *v = getenv(name);
    fact(section, name, "%s", v != NULL ? v : "not set");
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

static void look_at_build(struct patient *p, json_t *root)
{
    json_t *s = begin(root, "carat");
    fact(s, "version", "%s", CARAT_VERSION);
    fact(s, "kernels", "%s", isa_name());
    p->kernels_avx512 = strstr(isa_name(), "v4") != NULL;
    const char *missing = gemm16_missing();
    fact(s, "products", "%s", gemm_kernel());
    fact(s, "bf16 products", "%s", missing != NULL ? missing : "by oneDNN");
    p->root = geteuid() == 0;
    p->container = probe_container();
    p->infiniband = fs_exists("/sys/class/infiniband");
}

static const char *thread_level(void)
{
    int level = 0;
    MPI_Query_thread(&level);
    return level == MPI_THREAD_MULTIPLE     ? "multiple"
           : level == MPI_THREAD_SERIALIZED ? "serialized"
           : level == MPI_THREAD_FUNNELED   ? "funneled"
                                            : "single";
}

static void look_at_mpi(struct patient *p, const struct comm *c, json_t *root)
{
    char version[MPI_MAX_LIBRARY_VERSION_STRING] = "unknown", transports[256];
    int n;
    json_t *s = begin(root, "MPI");
    MPI_Get_library_version(version, &n);
    output_of(
        "timeout 10 ompi_info --parsable 2>/dev/null | grep -E '^mca:(pml|btl):[a-z0-9]*:version' "
        "| cut -d: -f2,3 | sort -u",
        transports, sizeof transports);
#ifdef OMPI_MAJOR_VERSION
    p->open_mpi = OMPI_MAJOR_VERSION * 10000 + OMPI_MINOR_VERSION * 100 + OMPI_RELEASE_VERSION;
#endif
    fact(s, "library", "%.*s", (int)strcspn(version, ",\n"), version);
    fact(s, "threads", "%s", thread_level());
    fact(s, "transports", "%s", *transports != '\0' ? transports : "unknown");
    env_fact(s, "OMPI_MCA_pml");
    fact(s, "ranks", "%d on %d node%s", c->size, c->n_nodes, c->n_nodes == 1 ? "" : "s");
}

static void look_at_hdf5(struct patient *p, json_t *root)
{
    unsigned major = 0, minor = 0, release = 0;
    json_t *s = begin(root, "HDF5");
    H5get_libversion(&major, &minor, &release);
#ifdef H5_HAVE_PARALLEL
    p->parallel_hdf5 = true;
#endif
    fact(s, "version", "%u.%u.%u", major, minor, release);
    fact(s, "parallel", "%s", p->parallel_hdf5 ? "yes" : "no");
    env_fact(s, "HDF5_USE_FILE_LOCKING");
}

static void look_at_cpu(const struct machine *m, json_t *root)
{
    json_t *s = begin(root, "processor");
    fact(s, "name", "%s", m->cpu);
    fact(s, "instructions", "%s%s%s%s", m->avx2 ? "AVX2" : "no AVX2", m->avx512 ? " AVX-512" : "",
         m->bf16 ? " AVX-512-BF16" : "", m->amx ? " AMX-BF16" : "");
    fact(s, "clock", "%s",
         m->governor[0] != '\0' ? m->governor : "the governor cannot be read here");
    fact(s, "huge pages", "%s; in shared memory %s", m->huge_pages, m->shm_huge_pages);
}

static int look_at_blas(struct patient *p, json_t *root)
{
    p->peak_flops = peak_fma_flops(RATE_SECONDS);
    TRY(probe_gemm_flops(&p->gemm_flops, 1, RATE_SECONDS));
    p->gemm_flops_n = p->gemm_flops;
    if (p->threads > 1)
        TRY(probe_gemm_flops(&p->gemm_flops_n, p->threads, RATE_SECONDS));
    json_t *s = begin(root, "BLAS");
    fact(s, "version", "%s", gemm_version());
    fact(s, "kernel", "%s", p->node->machine.blas);
    fact(s, "one thread", "%.0f GFLOP/s in products of %.0f GFLOP/s peak (%.0f%%), measured now",
         p->gemm_flops / 1e9, p->peak_flops / 1e9, 100 * p->gemm_flops / p->peak_flops);
    if (p->threads > 1)
        fact(s, "its threads", "%d: %.0f GFLOP/s, %.2f times one", p->threads,
             p->gemm_flops_n / 1e9, p->gemm_flops_n / p->gemm_flops);
    env_fact(s, "OPENBLAS_CORETYPE");
    env_fact(s, "OPENBLAS_THREAD_TIMEOUT");
    env_fact(s, "GOMP_SPINCOUNT");
    return OK;
}

static void look_at_nodes(const struct patient *p, json_t *root)
{
    json_t *s = begin(root, "nodes");
    for (int i = 0; i < p->n_nodes; i++) {
        const struct patient_node *n = &p->node[i];
        const struct machine *m = &n->machine;
        json_t *node = json_pack("{s:i, s:i, s:f, s:i, s:i, s:i, s:i, s:f, s:f, s:f, s:s, s:s}",
                                 "ranks", n->ranks, "threads", n->place.threads, "usable_cores",
                                 n->place.usable, "cores", m->cores, "processors", m->cpus,
                                 "sockets", m->sockets, "numa_nodes", m->numa_nodes, "memory_bytes",
                                 m->memory_bytes, "free_bytes", m->free_bytes, "shm_free_bytes",
                                 m->shm_free_bytes, "processor", m->cpu, "blas_kernel", m->blas);
        json_object_set_new(s, n->host, node);
    }
}

static void look_at_files(struct patient *p, json_t *root)
{
    char buf[32], room[32], cwd[FS_PATH_MAX] = ".";
    json_t *s = begin(root, "files");
    snprintf(p->folder_type, sizeof p->folder_type, "%s",
             probe_fs_type(".", buf, sizeof buf, &p->folder_network));
    p->folder_free_bytes = (double)fs_free_bytes(".");
    if (getcwd(cwd, sizeof cwd) == NULL)
        snprintf(cwd, sizeof cwd, ".");
    fact(s, "this folder", "%s, %s free (%s)", p->folder_type,
         fmt_bytes(room, sizeof room, p->folder_free_bytes), cwd);
}

static void look_at_tools(struct patient *p, json_t *root)
{
    json_t *s = begin(root, "tools");
    fact(s, "container", "%s", p->container ? "yes" : "no");
    fact(s, "gnuplot", "%s", probe_program("gnuplot") ? "yes" : "no; figures need it");
    if (!probe_program("srun")) {
        fact(s, "Slurm", "no srun here");
        return;
    }
    output_of("timeout 5 srun --mpi=list 2>&1", p->srun_mpi, sizeof p->srun_mpi);
    if (strstr(p->srun_mpi, "error:") != NULL)
        p->srun_mpi[0] = '\0';
    if (p->srun_mpi[0] == '\0')
        fact(s, "Slurm", "srun is there, but no cluster answers");
    else
        fact(s, "srun --mpi=list", "%s", p->srun_mpi);
}

int doctor_look(struct patient *p, const struct comm *c, json_t *root)
{
    look_at_build(p, root);
    look_at_mpi(p, c, root);
    look_at_hdf5(p, root);
    look_at_cpu(&p->node->machine, root);
    TRY(look_at_blas(p, root));
    look_at_nodes(p, root);
    look_at_files(p, root);
    look_at_tools(p, root);
    return OK;
}
