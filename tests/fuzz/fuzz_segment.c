/* A segment of metrics, alone and as a run's only one. */
#include "base/err.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "fuzz.h"
#include "train/metrics.h"

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc, (void)argv;
    log_mute(true);
    return 0;
}

static void look_at_run(const char *run, size_t file_bytes)
{
    double *rows;
    int64_t n, n_bad, n_groups;
    struct metrics_ranks ranks;
    MUST(metrics_read(run, &rows, &n, &n_bad) == OK);
    MUST((size_t)n <= file_bytes / sizeof(double));
    mem_free(rows);
    if (metrics_read_layers(run, &rows, &n, &n_groups) == OK)
        mem_free(rows);
    if (metrics_read_ranks(run, &ranks) == OK)
        mem_free(ranks.mean);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    const char *path = fuzz_file("run/metrics/seg-0000-0000.h5", data, n);
    char run[FS_PATH_MAX];
    struct metrics_segment s;
    MUST(fs_join(run, fuzz_dir(), "run") == OK);
    if (metrics_check(path, &s) == OK)
        MUST(s.rows + s.n_bad <= (int64_t)(n / sizeof(double)));
    look_at_run(run, n);
    err_clear();
    return 0;
}
