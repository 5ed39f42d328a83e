/* Which piece of work a worker does next. */
#include "folder.h"

#include "base/err.h"
#include "base/log.h"
#include "study/planner.h"

#include <stdio.h>
#include <string.h>

static int end_with(struct study *s, struct claim *c, const struct trial *t, enum trial_state state,
                    const char *why)
{
    struct trial end = *t;
    end.state = state;
    snprintf(end.why, sizeof end.why, "%s", why);
    int rc = study_end(s, c, &end);
    claim_give_back(c);
    if (rc == E_STOPPED) {
        err_clear();
        return OK;
    }
    return rc;
}

/* Ends what nobody should go on with. *ended: it did. */
static int end_hopeless(struct study *s, struct claim *c, const struct trial *t, enum answer answer,
                        const char *why, bool *ended)
{
    char died[256];
    int deaths = t->deaths;
    if (t->state == TRIAL_RUNNING)
        deaths = claim_made_way(s, t->number, c->generation - 1) ? 0 : deaths + 1;
    *ended = true;
    if (answer == ANSWER_STOP)
        return end_with(s, c, t, TRIAL_PRUNED, why);
    if (deaths >= s->attempts) {
        snprintf(died, sizeof died,
                 "its workers died %d times; the last words may be in trials/%06d/run/log.txt",
                 deaths, t->number);
        log_warn("trial %d has failed: %s", t->number, died);
        return end_with(s, c, t, TRIAL_FAILED, died);
    }
    *ended = false;
    return OK;
}

struct search_state {
    struct study *study;
    const struct planner *p;
    void *self;
    const struct history *h;
    struct task *task;
    bool waits, again, got;
};

/* The trial i: claimed into the task where there is something to do. */
static int try_trial(struct search_state *q, int i)
{
    const struct trial *t = &q->h->trial[i];
    enum answer answer = ANSWER_GO;
    char why[256] = "";
    if (t->state > TRIAL_RUNNING)
        return OK;
    if (t->n_reached > 0)
        TRY(q->p->judge(q->self, q->h, i, t->n_reached - 1, &answer, why));
    q->waits = true;
    if (answer == ANSWER_WAIT)
        return OK;
    struct claim *c = &q->task->claim;
    TRY(claim_take(q->study, t, c, &q->got));
    if (!q->got)
        return OK;
    TRY(end_hopeless(q->study, c, t, answer, why, &q->again));
    if (q->again) {
        q->got = false;
        return OK;
    }
    q->task->trial = *t;
    q->task->milestone = t->n_reached;
    return OK;
}

static int propose(struct search_state *q, enum answer *answer)
{
    struct trial_plan plan = {.parent = -1};
    bool taken;
    int rc = q->p->propose(q->self, q->h, &plan, answer);
    if (rc == OK && *answer == ANSWER_GO) {
        rc = study_add(q->study, q->h->n, &plan, &taken);
        q->again = true;
    }
    trial_plan_free(&plan);
    return rc;
}

int study_next(struct study *s, const struct planner *p, void *self, struct task *task,
               enum answer *answer)
{
    struct history h;
    for (;;) {
        struct search_state q = {.study = s, .p = p, .self = self, .h = &h, .task = task};
        TRY(study_history(s, &h));
        for (int i = 0; i < h.n && !q.again && !q.got; i++)
            TRY(try_trial(&q, i));
        *answer = ANSWER_GO;
        if (q.got)
            return OK;
        if (q.again)
            continue;
        TRY(propose(&q, answer));
        if (q.again)
            continue;
        if (*answer == ANSWER_STOP && q.waits)
            *answer = ANSWER_WAIT;
        return OK;
    }
}
