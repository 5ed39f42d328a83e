#include "cmd/probe.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/topology.h"
#include "kern/gemm.h"

#include <linux/mempolicy.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { LINE_MAX_BYTES = 8192 };

/* The value of the first line "key : value" or "key: value"; false when there is none. */
static bool read_line_of(const char *path, const char *key, char *out, size_t n)
{
    static char line[LINE_MAX_BYTES];
    FILE *f = fopen(path, "re");
    bool found = false;
    while (f != NULL && !found && fgets(line, sizeof line, f) != NULL) {
        char *colon = strchr(line, ':');
        if (strncmp(line, key, strlen(key)) != 0 || colon == NULL)
            continue;
        colon += 1 + strspn(colon + 1, " \t");
        snprintf(out, n, "%.*s", (int)strcspn(colon, "\n"), colon);
        found = true;
    }
    if (f != NULL)
        fclose(f);
    return found;
}

/* The first number of a one-line file; -1 when there is none ("max"). */
static double read_number(const char *path)
{
    double v = -1;
    FILE *f = fopen(path, "re");
    if (f == NULL)
        return -1;
    if (fscanf(f, "%lf", &v) != 1)
        v = -1;
    fclose(f);
    return v;
}

static bool has_flag(const char *flags, const char *name)
{
    size_t n = strlen(name);
    for (const char *at = flags; (at = strstr(at, name)) != NULL; at += n)
        if ((at == flags || at[-1] == ' ') && (at[n] == ' ' || at[n] == '\0'))
            return true;
    return false;
}

static void read_cpu(struct machine *m)
{
    static char flags[LINE_MAX_BYTES];
    if (!read_line_of("/proc/cpuinfo", "model name", m->cpu, sizeof m->cpu))
        snprintf(m->cpu, sizeof m->cpu, "unknown");
    if (!read_line_of("/proc/cpuinfo", "flags", flags, sizeof flags))
        flags[0] = '\0';
    m->avx2 = has_flag(flags, "avx2") && has_flag(flags, "fma");
    m->avx512 = has_flag(flags, "avx512f") && has_flag(flags, "avx512vl");
    m->bf16 = has_flag(flags, "avx512_bf16");
    m->amx = has_flag(flags, "amx_bf16");
    snprintf(m->blas, sizeof m->blas, "%s", gemm_core());
    m->blas_multiplies = gemm_library() == GEMM_OPENBLAS;
}

static void read_topology(struct machine *m)
{
    static struct topology t;
    topology_read(&t, "");
    m->cpus = t.n_cpus;
    m->cores = t.n_cores;
    m->sockets = t.n_sockets;
    m->numa_nodes = t.n_numa;
    m->cpu_quota = topology_quota("");
    cpuset_of_process(&m->allowed, 0);
}

/* The first word of a file, or the one in brackets ("always [madvise] never"); else empty. */
static void read_choice(char *out, size_t n, const char *path)
{
    char line[128] = "";
    FILE *f = fopen(path, "re");
    if (f != NULL && fgets(line, sizeof line, f) == NULL)
        line[0] = '\0';
    if (f != NULL)
        fclose(f);
    const char *word = strchr(line, '[') != NULL ? strchr(line, '[') + 1 : line;
    snprintf(out, n, "%.*s", (int)strcspn(word, "] \n"), word);
}

static void read_kernel_settings(struct machine *m)
{
#define HUGE "/sys/kernel/mm/transparent_hugepage/"
#define FREQ "/sys/devices/system/cpu/cpu0/cpufreq/"
    int policy = MPOL_DEFAULT;
    read_choice(m->huge_pages, sizeof m->huge_pages, HUGE "enabled");
    read_choice(m->shm_huge_pages, sizeof m->shm_huge_pages, HUGE "shmem_enabled");
    read_choice(m->governor, sizeof m->governor, FREQ "scaling_governor");
    read_choice(m->freq_driver, sizeof m->freq_driver, FREQ "scaling_driver");
    m->memory_policy = syscall(SYS_get_mempolicy, &policy, NULL, 0, NULL, 0) == 0 &&
                       policy != MPOL_DEFAULT && policy != MPOL_LOCAL;
#undef HUGE
#undef FREQ
}

static double meminfo_bytes(const char *key)
{
    char text[64];
    double kib = 0;
    if (read_line_of("/proc/meminfo", key, text, sizeof text))
        kib = strtod(text, NULL);
    return kib * 1024;
}

/* The least limit of a control group and those it lies in; `bytes` when none is less. */
static double group_limit(const char *base, const char *group, const char *file, double bytes)
{
    char path[FS_PATH_MAX];
    for (size_t n = strlen(group);; n--) {
        if (n != 0 && group[n] != '/' && group[n] != '\0')
            continue;
        snprintf(path, sizeof path, "%s%.*s/%s", base, (int)n, group, file);
        double limit = read_number(path);
        if (limit > 0 && (bytes == 0 || limit < bytes))
            bytes = limit;
        if (n == 0)
            return bytes;
    }
}

double probe_memory_bytes(void)
{
    char line[FS_PATH_MAX];
    double bytes = meminfo_bytes("MemTotal");
    FILE *f = fopen("/proc/self/cgroup", "re");
    while (f != NULL && fgets(line, sizeof line, f) != NULL) {
        /* "0::/path" in version 2, "5:memory:/path" in version 1 */
        line[strcspn(line, "\n")] = '\0';
        char *controllers = strchr(line, ':'), *group = strrchr(line, ':');
        if (controllers == NULL || group == controllers)
            continue;
        *group++ = '\0';
        if (controllers[1] == '\0')
            bytes = group_limit("/sys/fs/cgroup", group, "memory.max", bytes);
        else if (strcmp(controllers + 1, "memory") == 0)
            bytes = group_limit("/sys/fs/cgroup/memory", group, "memory.limit_in_bytes", bytes);
    }
    if (f != NULL)
        fclose(f);
    return bytes;
}

void probe_machine(struct machine *m)
{
    memset(m, 0, sizeof *m);
    read_cpu(m);
    read_topology(m);
    read_kernel_settings(m);
    m->memory_bytes = probe_memory_bytes();
    m->free_bytes = meminfo_bytes("MemAvailable");
    m->shm_free_bytes = (double)fs_free_bytes("/dev/shm");
}

double probe_name_s(void)
{
    char name[256] = "";
    struct addrinfo *found = NULL;
    double begin = clock_now_s();
    gethostname(name, sizeof name - 1);
    if (getaddrinfo(name, NULL, NULL, &found) == 0)
        freeaddrinfo(found);
    return clock_now_s() - begin;
}

const char *probe_fs_type(const char *path, char *buf, size_t n, bool *network)
{
    static const struct {
        unsigned type; /* statfs(2) */
        const char *name;
        bool network;
    } rows[] = {
        {0xef53, "ext4", false},      {0x58465342, "xfs", false},     {0x9123683e, "btrfs", false},
        {0x01021994, "tmpfs", false}, {0x794c7630, "overlay", false}, {0x2fc12fc1, "zfs", false},
        {0x6969, "nfs", true},        {0x0bd00bd0, "lustre", true},   {0x47504653, "gpfs", true},
        {0x19830326, "beegfs", true}, {0x00c36400, "ceph", true},     {0xff534d42, "cifs", true},
        {0xfe534d42, "smb2", true},   {0x01021997, "9p", true},       {0x65735546, "fuse", true}};
    struct statfs s;
    *network = false;
    if (statfs(path, &s) != 0)
        return "unknown";
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (rows[i].type == (unsigned)s.f_type) {
            *network = rows[i].network;
            return rows[i].name;
        }
    snprintf(buf, n, "0x%x", (unsigned)s.f_type);
    return buf;
}

/* The forward product of a feed-forward layer of a small Gemma, over and over; the best round. */
int probe_gemm_flops(double *flops, int threads, double seconds)
{
    enum { M = 256, N = 2048, K = 640 };
    float *a, *b, *c;
    int rc = mem_alloc(&a, (size_t)M * K + (size_t)N * K + (size_t)M * N, sizeof *a, "gemm probe");
    if (rc != OK)
        return rc;
    b = a + (size_t)M * K;
    c = b + (size_t)N * K;
    for (size_t i = 0; i < (size_t)(M + N) * K; i++)
        a[i] = 1.0f / (float)(i % 97 + 1);
    gemm_set_threads(threads);
    double end = clock_now_s() + seconds, best = 0;
    do {
        double begin = clock_now_s();
        gemm_nt(c, N, a, K, b, K, M, N, K, 1, 0);
        double rate = 2.0 * M * N * K / (clock_now_s() - begin);
        best = rate > best ? rate : best;
    } while (clock_now_s() < end);
    *flops = best;
    mem_free(a);
    return OK;
}

bool probe_program(const char *name)
{
    char path[FS_PATH_MAX], dir[FS_PATH_MAX];
    const char *at = getenv("PATH");
    while (at != NULL && *at != '\0') {
        size_t n = strcspn(at, ":");
        snprintf(dir, sizeof dir, "%.*s", (int)n, at);
        if (n > 0 && fs_join(path, dir, name) == OK && access(path, X_OK) == 0)
            return true;
        at += n + (at[n] == ':');
    }
    err_clear();
    return false;
}

bool probe_container(void)
{
    return fs_exists("/.dockerenv") || fs_exists("/run/.containerenv") ||
           fs_exists("/.singularity.d") || getenv("container") != NULL;
}
