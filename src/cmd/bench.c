#include "bench.h"

#include "base/err.h"
#include "base/log.h"
#include "cmd/cmd.h"
#include "cmd/opts.h"
#include "par/agree.h"
#include "train/stop.h"

#include <inttypes.h>

static int check(const struct bench_request *r)
{
    if (r->steps < 0 || r->steps > 1000000)
        return ERR(E_USAGE, "--steps %" PRId64 ": 1 to 1000000", r->steps);
    if (r->warmup < 0 || r->warmup > 1000000)
        return ERR(E_USAGE, "--warmup %" PRId64 ": 0 to 1000000", r->warmup);
    if (r->seconds < 0)
        return ERR(E_USAGE, "--seconds %g: more than 0", r->seconds);
    if (r->ranks != NULL && !r->scaling)
        return ERR(E_USAGE, "--ranks goes with --scaling; mpirun -n decides how many ranks there "
                            "are");
    return OK;
}

struct figures {
    struct machine_speed machine;
    struct bench_steps steps;
    struct bench_scaling scaling;
};

static int measure(struct figures *g, const struct job *j, const struct comm *c,
                   const struct bench_folder *f, const struct bench_request *r)
{
    int threads = (int)j->conf.parallel.threads;
    struct machine_speed later;
    TRY(machine_speed(&g->machine, c, threads));
    TRY(bench_steps(&g->steps, &j->conf, &j->spec, c, f, r));
    TRY(machine_speed(&later, c, threads));
    machine_speed_add(&g->machine, &later);
    return r->scaling ? bench_scaling(&g->scaling, j, c, f, r) : OK;
}

static int show(const struct figures *g, const struct job *j, const struct bench_folder *f,
                const struct bench_request *r)
{
    if (r->json)
        return bench_print_json(j, f, &g->steps, &g->machine, r->scaling ? &g->scaling : NULL);
    bench_print(j, f, &g->steps, &g->machine);
    if (r->scaling)
        bench_print_scaling(&g->scaling);
    return OK;
}

static int run(const struct job *j, const struct comm *c, const struct bench_request *r)
{
    static struct figures figures;
    static struct bench_folder folder;
    if (r->scaling)
        TRY(bench_check_counts(r, c));
    int rc = bench_folder_make(&folder, j, c);
    if (rc == OK)
        rc = measure(&figures, j, c, &folder, r);
    bench_folder_remove(&folder, c);
    if (rc == OK && c->rank == 0)
        rc = show(&figures, j, &folder, r);
    return rc;
}

static int bench(const struct bench_request *r, int argc, char **argv)
{
    struct comm c;
    static struct job j;
    stop_install();
    TRY(comm_init(&c, &argc, &argv));
    j.without_data = j.without_run = true;
    int rc = agree(&c, job_load(&j, argc, argv));
    log_quiet(true);
    if (rc == OK && !j.print_only)
        rc = run(&j, &c, r);
    comm_end(&c);
    return rc;
}

int cmd_bench(int argc, char **argv)
{
    struct bench_request r = {.warmup = 2, .seconds = 10};
    const struct opt table[] = {
        {"steps", 'n', OPT_INT, &r.steps, "N", "measure so many steps"},
        {"seconds", 0, OPT_F64, &r.seconds, "S",
         "or as many as fit into S seconds, at least 3 (default 10)"},
        {"warmup", 0, OPT_INT, &r.warmup, "N", "steps before the first that counts (default 2)"},
        {"scaling", 0, OPT_FLAG, &r.scaling, NULL,
         "then the same batch (strong) and the same batch a rank (weak) on fewer ranks, with "
         "Amdahl's fit"},
        {"ranks", 0, OPT_STR, &r.ranks, "1,2,4",
         "the counts of --scaling (default: powers of two, and all)"},
        {"json", 0, OPT_FLAG, &r.json, NULL, "print JSON"},
        JOB_OPTIONS,
        {"help", 'h', OPT_FLAG, &r.help, NULL, "this text"},
    };
    enum { N = sizeof table / sizeof *table };
    TRY(opts_parse(table, N, &argc, argv));
    if (r.help) {
        opts_help(stdout, "carat bench JOB [key=value …] [options]",
                  "Measures the FMA peak, memory and message bandwidth of the ranks it runs on, "
                  "then steps of the job as training makes them: medians by phase beside their "
                  "floors, tokens/s, share of the peak in the job's precision, memory beside "
                  "`carat plan`. The phases are those of the busiest rank. Tokens are made up "
                  "where data.train is not there; no run folder and no checkpoint is left.",
                  table, N,
                  "mpirun -n 2 carat bench jobs/bench-w1.yaml --steps 20 --scaling --ranks 1,2");
        return OK;
    }
    TRY(check(&r));
    return bench(&r, argc, argv);
}
