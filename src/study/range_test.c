#include "study/range_test.h"

#include "base/err.h"
#include "train/mark.h"
#include "train/monitor.h"
#include "train/stop.h"

#include <math.h>
#include <stdio.h>

static const double NO_END = 1e9;

static void set(char *out, size_t n, const char *text)
{
    snprintf(out, n, "%s", text);
}
#define SET(member, text) set(member, sizeof(member), text)

void range_config(struct config *out, const struct config *job, int64_t batch)
{
    struct config *c = out;
    *c = *job;
    c->batch.global = batch;
    c->batch.micro = job->batch.micro < batch ? job->batch.micro : batch;
    SET(c->batch.ramp, "");
    c->train.length = (struct amount){NO_END, UNIT_STEPS};
    c->train.time_limit_s = 0;
    SET(c->schedule.name, "constant");
    c->schedule.warmup = (struct amount){0, UNIT_STEPS};
    SET(c->scaling.rule, "none");
    c->scaling.base_batch = batch;
    monitor_quiet(c);
    c->noise.every = 0;
}

/* What all ranks do next. */
struct order {
    double lr;
    int go_on;
};

/* Ranks on other processors may round a power otherwise, and a rate has to be the same on all. */
static int give_order(struct order *o, const struct trainer *t)
{
    MPI_TRY(MPI_Bcast(o, (int)sizeof *o, MPI_BYTE, 0, t->comm->world));
    return OK;
}

static int climb(struct range_curve *curve, struct trainer *t,
                 void (*each)(void *, const struct range_curve *), void *ctx)
{
    struct order o = {range_rate(&curve->ramp, 0), true};
    TRY(give_order(&o, t));
    while (o.go_on) {
        struct step_result r;
        t->forced_lr = o.lr;
        TRY(trainer_step(t, &r));
        o.go_on = range_add(curve, o.lr, r.finite ? r.loss : NAN);
        o.lr = range_rate(&curve->ramp, curve->n);
        if (each != NULL)
            each(ctx, curve);
        if (r.stop)
            return ERR(E_STOPPED, "stopped by signal %d after %lld steps of %lld", stop_signal(),
                       (long long)curve->n, (long long)curve->ramp.steps);
        TRY(give_order(&o, t));
    }
    return OK;
}

int range_test(struct range_curve *curve, struct trainer *t,
               void (*each)(void *ctx, const struct range_curve *curve), void *ctx)
{
    struct mark *m;
    TRY(mark_take(&m, t));
    int rc = climb(curve, t, each, ctx);
    t->forced_lr = 0;
    if (rc == OK)
        rc = mark_return(m, t);
    mark_free(m);
    return rc;
}
