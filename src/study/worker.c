#include "study/worker.h"

#include "base/err.h"
#include "base/mem.h"
#include "par/agree.h"
#include "train/stop.h"

#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* Between two looks at a study whose next trial hangs on others: often at first. */
#define LOOK_AGAIN_S      0.1
#define LOOK_AGAIN_MOST_S 2.0

/* ---- checkpoints that nobody needs ---- */

static int delete_files(const char *folder, const char *begin, const char *ending)
{
    char path[FS_PATH_MAX];
    DIR *dir = opendir(folder);
    int rc = OK;
    if (dir == NULL)
        return errno == ENOENT ? OK : ERR(E_IO, "%s: cannot list: %s", folder, strerror(errno));
    for (const struct dirent *e; rc == OK && (e = readdir(dir)) != NULL;) {
        size_t n = strlen(e->d_name), m = strlen(ending);
        if (strncmp(e->d_name, begin, strlen(begin)) != 0 || n < m ||
            strcmp(e->d_name + n - m, ending) != 0)
            continue;
        rc = fs_join(path, folder, e->d_name);
        if (rc == OK && unlink(path) != 0 && errno != ENOENT)
            rc = ERR(E_IO, "%s: cannot remove: %s", path, strerror(errno));
    }
    closedir(dir);
    return rc;
}

static int delete_of(const struct study *s, int number, bool run, bool milestones)
{
    char folder[FS_PATH_MAX], checkpoints[FS_PATH_MAX];
    TRY(trial_path(folder, s, number));
    TRY(fs_join(checkpoints, folder, "run/checkpoints"));
    if (run)
        TRY(delete_files(checkpoints, "step-", ".h5"));
    return milestones ? delete_files(folder, "at-", ".h5") : OK;
}

/* A trial that is planned from an ended one may still read that one's own checkpoints. */
static bool is_awaited(const struct history *h, int i)
{
    for (int j = 0; j < h->n; j++)
        if (h->trial[j].plan.parent == i && h->trial[j].state <= TRIAL_RUNNING)
            return true;
    return false;
}

int worker_tidy(struct study *s, const char *keep, bool ended)
{
    struct history h;
    if (strcmp(keep, "all") == 0)
        return OK;
    TRY(study_history(s, &h));
    const struct trial *best = strcmp(keep, "none") == 0 ? NULL : history_best(&h);
    for (int i = 0; i < h.n; i++)
        if (h.trial[i].state > TRIAL_RUNNING)
            TRY(delete_of(s, i, &h.trial[i] != best && !is_awaited(&h, i), ended));
    return OK;
}

/* ---- the loop ---- */

/* What root tells the others to do next. */
enum order { WORK, WAIT, LEAVE };

static int look_for_work(struct worker *w, struct task *task, enum order *order)
{
    enum answer answer;
    TRY(study_next(w->study, w->planner, w->self, task, &answer));
    *order = answer == ANSWER_GO ? WORK : answer == ANSWER_WAIT ? WAIT : LEAVE;
    return OK;
}

/* A signal reaches some ranks sooner than others. */
static int all_may_go_on(const struct comm *c)
{
    int stop = stop_signal();
    MPI_TRY(MPI_Allreduce(MPI_IN_PLACE, &stop, 1, MPI_INT, MPI_MAX, c->world));
    return stop == 0 ? OK : ERR(E_STOPPED, "stopped by signal %d", stop);
}

static void nap(double s)
{
    struct timespec t = {(time_t)s, (long)((s - floor(s)) * 1e9)};
    nanosleep(&t, NULL);
}

static int tidy_and_tabulate(struct worker *w, bool ended)
{
    struct history h;
    TRY(worker_tidy(w->study, w->keep, ended));
    TRY(study_history(w->study, &h));
    return study_tabulate(w->study, &h);
}

static int publish(struct worker *w, struct task *task, enum trial_outcome outcome)
{
    int rc = OK;
    if (outcome == OUTCOME_REACHED)
        rc = study_reached(w->study, &task->claim, &task->trial);
    else if (outcome == OUTCOME_ENDED)
        rc = study_end(w->study, &task->claim, &task->trial);
    if (rc == E_STOPPED) { /* lost on the last metre */
        err_clear();
        rc = OK;
    }
    claim_give_back(&task->claim);
    MEM_FREE(task->trial.curve);
    if (rc == OK && outcome == OUTCOME_ENDED)
        rc = tidy_and_tabulate(w, false);
    if (w->tell != NULL)
        w->tell(w->ctx, NULL, 0);
    return rc;
}

static int do_task(struct worker *w, struct task *task)
{
    enum trial_outcome outcome;
    const struct comm *c = w->comm;
    struct trial_setup setup = {.comm = c, .begun_s = w->begun_s, .ctx = w->ctx};
    if (c->rank == 0) {
        setup.study = w->study;
        setup.step = w->tell;
        setup.keeps_milestones = w->planner->branches != NULL && w->planner->branches(w->self);
    }
    int rc = trial_run(&setup, task, &outcome);
    if (rc != OK) {
        if (c->rank == 0)
            claim_give_back(&task->claim);
        return rc;
    }
    TRY(agree(c, c->rank == 0 ? publish(w, task, outcome) : OK));
    return outcome == OUTCOME_STOPPED
               ? ERR(E_STOPPED, "stopped before the study's end; the same command goes on")
               : OK;
}

int worker_run(struct worker *w)
{
    const struct comm *c = w->comm;
    double pause = LOOK_AGAIN_S;
    for (;;) {
        struct task task = {0};
        enum order order = LEAVE;
        TRY(all_may_go_on(c));
        int rc = c->rank == 0 ? look_for_work(w, &task, &order) : OK;
        TRY(agree_bcast(c, 0, rc, &order, sizeof order));
        if (order == LEAVE)
            break;
        if (order == WORK) {
            TRY(do_task(w, &task));
            pause = LOOK_AGAIN_S;
            continue;
        }
        if (c->rank == 0 && w->tell != NULL)
            w->tell(w->ctx, NULL, 0);
        nap(pause);
        pause = fmin(2 * pause, LOOK_AGAIN_MOST_S);
    }
    return agree(c, c->rank == 0 ? tidy_and_tabulate(w, true) : OK);
}
