#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/watch.h"
#include "cmd/cmd.h"
#include "cmd/job.h"
#include "cmd/opts.h"
#include "par/agree.h"
#include "train/loop.h"
#include "train/stop.h"
#include "train/watchdog.h"
#include <stdbool.h>

static int run(const struct job *j, const struct comm *c, double begun_s)
{
    static struct trainer t;
    double asked_s = j->conf.train.time_limit_s;
    struct slice slice = c->rank == 0 ? slice_of_job(begun_s, asked_s) : slice_of(begun_s, asked_s);
    TRY(agree_bcast(c, 0, OK, &slice, sizeof slice));
    TRY(trainer_init(&t, &j->conf, &j->spec, c, slice));
    int rc = train_loop(&t);
    if (rc != OK)
        trainer_failed(&t, rc);
    trainer_release(&t);
    return rc;
}

int cmd_train(int argc, char **argv)
{
    double begun_s = clock_now_s();
    bool help = false;
    const struct opt table[] = {{"help", 'h', OPT_FLAG, &help, NULL, "this text"}, JOB_OPTIONS};
    enum { N = sizeof table / sizeof *table };
    TRY(opts_parse(table, N, &argc, argv));
    if (help) {
        opts_help(stdout, "carat train JOB [key=value …]",
                  "Trains a job, or resumes the run in its folder when that holds a checkpoint. "
                  "SIGUSR1, SIGTERM, a file `stop` in the run folder, train.time_limit or the end "
                  "of the Slurm job: saves and exits 75; run the same command to go on, on any "
                  "number of ranks. A file "
                  "`save` asks for a checkpoint.",
                  table, N, "mpirun -n 2 carat train jobs/quickstart.yaml train.steps=200");
        return OK;
    }
    struct comm c;
    static struct job j;
    stop_install();
    TRY(comm_init(&c, &argc, &argv));
    watchdog_begin(&c, WATCHDOG_FIRST_S, NULL);
    watch_phase(PHASE_JOB);
    int rc = agree(&c, job_load(&j, argc, argv));
    if (rc == OK && !j.print_only)
        rc = run(&j, &c, begun_s);
    log_close();
    watch_phase(PHASE_CLOSE);
    watchdog_end();
    comm_end(&c);
    return rc;
}
