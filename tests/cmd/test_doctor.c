/* The doctor's warnings, each from a machine that lacks nothing else. */
#include "check_main.h"
#include "cmd/doctor.h"

#include <string.h>

static const double GIB = 1024.0 * 1024 * 1024;

static struct patient_node node[2];
static struct patient p;

static const char *const variables[][2] = {
    {"OMPI_MCA_fbtl_posix_write_datasieving", "0"},
    {"OMPI_MCA_fbtl_posix_read_datasieving", "0"},
    {"OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1"},
    {"OMPI_MCA_btl_vader_single_copy_mechanism", "none"},
    {"OMPI_MCA_pml", "ucx"},
    {"OMPI_MCA_mpi_yield_when_idle", NULL},
    {"HDF5_USE_FILE_LOCKING", "FALSE"},
    {"OPENBLAS_CORETYPE", NULL},
    {"OPENBLAS_L2_SIZE", NULL},
    {"ONEDNN_MAX_CPU_ISA", NULL},
    {"DNNL_MAX_CPU_ISA", NULL},
    {"OPENBLAS_THREAD_TIMEOUT", "16"},
    {"GOMP_SPINCOUNT", "10000"},
    {"OMP_PROC_BIND", NULL},
    {"OMP_PLACES", NULL},
    {"GOMP_CPU_AFFINITY", NULL},
    {"KMP_AFFINITY", NULL},
};

static void set_env(const char *name, const char *value)
{
    if (value != NULL)
        setenv(name, value, 1);
    else
        unsetenv(name);
}

/* Two nodes of two sockets and 16 cores, two ranks of 2 threads on each. */
static void make_healthy(void)
{
    for (size_t i = 0; i < sizeof variables / sizeof variables[0]; i++)
        set_env(variables[i][0], variables[i][1]);
    for (int i = 0; i < 2; i++) {
        node[i] = (struct patient_node){
            .ranks = 2,
            .machine = {.cpu = "Some CPU",
                        .blas = "SkylakeX",
                        .blas_multiplies = true,
                        .cpus = 16,
                        .cores = 16,
                        .sockets = 2,
                        .numa_nodes = 2,
                        .memory_bytes = 64 * GIB,
                        .shm_free_bytes = 32 * GIB,
                        .avx2 = true,
                        .avx512 = true,
                        .huge_pages = "madvise",
                        .governor = "performance",
                        .freq_driver = "acpi-cpufreq"},
            .place = {.kind = PLACE_SHARED, .threads = 4, .usable = 16, .n_numa = 1}};
        snprintf(node[i].host, sizeof node[i].host, "n%d", i + 1);
    }
    p = (struct patient){.ranks = 4,
                         .threads = 2,
                         .node = node,
                         .n_nodes = 2,
                         .peak_flops = 100e9,
                         .gemm_flops = 85e9,
                         .gemm_flops_n = 160e9,
                         .open_mpi = 40104,
                         .root = true,
                         .container = true,
                         .infiniband = true,
                         .kernels_avx512 = true,
                         .parallel_hdf5 = true,
                         .folder_type = "nfs",
                         .folder_network = true,
                         .folder_free_bytes = 100 * GIB,
                         .srun_mpi = "MPI plugin types are: none pmix"};
}

/* Exactly one warning, with these words in it and in its fix. */
static void expect(const char *what, const char *fix)
{
    json_t *w = json_array();
    doctor_warn(w, &p);
    char *text = json_dumps(w, 0);
    ck_assert_msg(json_array_size(w) == 1, "not only \"%s\": %s", what, text);
    json_t *row = json_array_get(w, 0);
    ck_assert_msg(strstr(json_string_value(json_object_get(row, "what")), what) != NULL, "%s: %s",
                  what, text);
    ck_assert_msg(strstr(json_string_value(json_object_get(row, "fix")), fix) != NULL, "%s: %s",
                  fix, text);
    free(text);
    json_decref(w);
    make_healthy();
}

static void expect_none(void)
{
    json_t *w = json_array();
    doctor_warn(w, &p);
    char *text = json_dumps(w, 0);
    ck_assert_msg(json_array_size(w) == 0, "%s", text);
    free(text);
    json_decref(w);
    make_healthy();
}

static void copy(char *to, const char *from)
{
    memcpy(to, from, strlen(from) + 1);
}

START_TEST(nothing_is_wrong)
{
    make_healthy();
    expect_none();
}
END_TEST

START_TEST(environment)
{
    static const struct {
        const char *name, *value, *what, *fix;
    } rows[] = {
        {"OMPI_MCA_fbtl_posix_read_datasieving", NULL, "corrupt files", "read_datasieving=0"},
        {"OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", NULL, "as root", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1"},
        {"OMPI_MCA_btl_vader_single_copy_mechanism", "cma", "container", "mechanism=none"},
        {"OMPI_MCA_pml", "ob1", "InfiniBand", "OMPI_MCA_pml=ucx"},
        {"HDF5_USE_FILE_LOCKING", NULL, "file system (nfs)", "HDF5_USE_FILE_LOCKING=FALSE"},
        {"OPENBLAS_CORETYPE", "SkylakeX", "(OPENBLAS_CORETYPE=SkylakeX)", "unset it"},
        {"OPENBLAS_L2_SIZE", "512", "(OPENBLAS_L2_SIZE=512)", "unset it"},
        {"ONEDNN_MAX_CPU_ISA", "AVX2", "(ONEDNN_MAX_CPU_ISA=AVX2)", "unset it"},
        {"GOMP_SPINCOUNT", "1000000", "(GOMP_SPINCOUNT=1000000)", "GOMP_SPINCOUNT=10000"},
        {"GOMP_SPINCOUNT", "infinity", "(GOMP_SPINCOUNT=infinity)", "unset it"},
        {"GOMP_SPINCOUNT", "0", "(GOMP_SPINCOUNT=0)", "unset it"},
        {"OPENBLAS_THREAD_TIMEOUT", "26", "(OPENBLAS_THREAD_TIMEOUT=26)", "TIMEOUT=16"},
        {"OMP_PROC_BIND", "close", "(OMP_PROC_BIND=close)", "parallel.pin"},
        {"GOMP_CPU_AFFINITY", "0-3", "(GOMP_CPU_AFFINITY=0-3)", "parallel.pin"},
    };
    make_healthy();
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        set_env(rows[i].name, rows[i].value);
        expect(rows[i].what, rows[i].fix);
    }
    setenv("OMP_PROC_BIND", "false", 1);
    expect_none();
    setenv("GOMP_SPINCOUNT", "0", 1); /* one thread waits for none */
    p.threads = 1;
    expect_none();
}
END_TEST

START_TEST(kernels)
{
    make_healthy();
    for (int i = 0; i < 2; i++)
        copy(node[i].machine.blas, "Haswell");
    p.n_nodes = 1;
    setenv("OPENBLAS_CORETYPE", "Haswell", 1);
    expect("(Haswell, but the processor has AVX-512)", "unset OPENBLAS_CORETYPE");
    p.n_nodes = 1;
    copy(node[0].machine.blas, "Zen");
    p.gemm_flops = 40e9; /* said once, by its cause */
    expect("(Zen, but the processor has AVX-512)", "export OPENBLAS_CORETYPE=SkylakeX");
    p.gemm_flops = 40e9;
    expect("(40 of 100 GFLOP/s)", "other programs");
    p.gemm_flops_n = 90e9;
    expect("(2 threads multiply 1.06 times as fast as one)", "slot:PE=");
    p.kernels_avx512 = false;
    expect("AVX-512", "build without ARCH");
    copy(node[1].machine.cpu, "Other CPU");
    expect("n2: nodes differ", "--constraint");
}
END_TEST

START_TEST(places)
{
    static const struct {
        enum place_kind kind;
        const char *what, *fix;
    } rows[] = {{PLACE_SIBLINGS, "share cores", "one thread a core"},
                {PLACE_NARROW, "fewer processors than they have threads", "slot:PE="},
                {PLACE_OVERLAP, "overlap", "--bind-to none"},
                {PLACE_CROWDED, "more threads than processors", "fewer ranks"}};
    make_healthy();
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        node[1].place.kind = rows[i].kind;
        expect(rows[i].what, rows[i].fix);
    }
    node[0].place = (struct place){.kind = PLACE_CROWDED, .threads = 4, .usable = 2.5};
    node[0].machine.cpu_quota = 2.5;
    expect("n1: more threads than processors: ranks wait for each other (2 ranks, 4 threads in "
           "all, 2.5 processors by the container's limit)",
           "fewer ranks");
    node[1].ranks = 17;
    expect("(17 ranks on 16 processors)", "OMPI_MCA_mpi_yield_when_idle=1");
    node[1].ranks = 17;
    setenv("OMPI_MCA_mpi_yield_when_idle", "1", 1);
    expect_none();
}
END_TEST

START_TEST(memory)
{
    make_healthy();
    node[0].place.n_numa = 2;
    expect("n1: a rank lies on several NUMA nodes: some of its memory is far (2 nodes)",
           "--map-by numa");
    node[0].place.n_numa = 2; /* as it must, with that many threads */
    p.threads = 16;
    p.gemm_flops_n = 16 * p.gemm_flops;
    expect_none();
    node[0].machine.memory_policy = true;
    expect("memory policy", "numactl");
    node[0].machine.memory_policy = true;
    node[0].machine.numa_nodes = 1;
    expect_none();
    node[0].machine.shm_free_bytes = 64 << 20;
    expect("(64.0 MiB free)", "--shm-size");
    node[0].machine.shm_free_bytes = 8 * GIB;
    expect("parameters and its ranks' gradients", "remount,size=");
    node[0].machine.shm_free_bytes = -1;
    expect_none();
    node[1].name_s = 5;
    expect("n2: to look this node's own name up takes long, and every start does (5.0 s)",
           "/etc/hosts");
    copy(node[1].machine.huge_pages, "never");
    expect("n2: huge pages are off", "echo madvise");
    copy(node[0].machine.governor, "powersave");
    expect("low clock rate", "cpupower");
    copy(node[0].machine.governor, "powersave");
    copy(node[0].machine.freq_driver, "intel_pstate");
    expect_none();
}
END_TEST

START_TEST(files_and_programs)
{
    make_healthy();
    p.parallel_hdf5 = false;
    expect("not parallel", "libhdf5-openmpi-dev");
    p.folder_free_bytes = 1e9;
    expect("nearly full", "run.dir");
    copy(p.folder_type, "tmpfs");
    p.folder_network = false;
    expect("in memory", "a disk");
    copy(p.srun_mpi, "MPI plugin types are: none pmi2");
    expect("no PMIx", "mpirun");
    p.srun_mpi[0] = '\0';
    expect_none();
    p.open_mpi = 0; /* another MPI: none of Open MPI's settings matter */
    unsetenv("OMPI_MCA_fbtl_posix_read_datasieving");
    unsetenv("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM");
    unsetenv("OMPI_MCA_pml");
    expect_none();
}
END_TEST

static void add(TCase *t)
{
    tcase_add_test(t, nothing_is_wrong);
    tcase_add_test(t, environment);
    tcase_add_test(t, kernels);
    tcase_add_test(t, places);
    tcase_add_test(t, memory);
    tcase_add_test(t, files_and_programs);
}

int main(void)
{
    return run_suite("cmd/doctor", add);
}
