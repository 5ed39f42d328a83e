/* Going back: the run takes up the newest checkpoint before the trouble and goes on as another
 * attempt, with a lower rate and past the samples. */
#include "base/err.h"
#include "base/log.h"
#include "base/watch.h"
#include "train/events.h"
#include "train/feed.h"
#include "train/resume.h"
#include "train/trainer.h"

#include <stdio.h>

/* What the run has consumed, and what it keeps of itself beside the checkpoint's state. */
struct left {
    int64_t step, attempt;
    uint64_t samples;
    struct monitor_back back;
};

/* Where the data go on: behind the trouble, or so many batches behind the checkpoint. */
static uint64_t data_after(const struct trainer *t, const struct left *left)
{
    const struct config *c = t->conf;
    uint64_t skip = (uint64_t)(c->monitor.back_skip * ramp_batch(&t->course.ramp, trainer_at(t)));
    uint64_t to = c->monitor.back_skip > 0 ? t->at.samples + skip : left->samples;
    return to > t->at.samples ? to : t->at.samples;
}

static void tell(struct trainer *t, const struct left *left, uint64_t from)
{
    struct event e = {.step = left->step,
                      .value = t->monitor.back.rate,
                      .sample_first = from,
                      .sample_n = t->at.samples - from};
    snprintf(e.kind, sizeof e.kind, "back");
    snprintf(e.action, sizeof e.action, "back");
    snprintf(
        e.text, sizeof e.text,
        "went back from step %lld to step %lld (time %.0f of %lld): the rate is multiplied by "
        "%.3g from here, %llu samples of the training order, from sample %llu on, are left out",
        (long long)left->step, (long long)t->at.step, t->monitor.back.times,
        (long long)t->conf->monitor.back_most, t->monitor.back.rate, (unsigned long long)e.sample_n,
        (unsigned long long)from);
    log_warn("%s", e.text);
    monitor_record(t, &e);
}

/* The run's state after the checkpoint's: what goes on from here rather than from there. */
static void adjust(struct trainer *t, const struct left *left)
{
    t->monitor.back.times = left->back.times + 1;
    t->monitor.back.rate = left->back.rate * t->conf->monitor.back_rate;
    t->at.attempt = left->attempt + 1;
    t->at.samples = data_after(t, left);
}

int monitor_go_back(struct trainer *t)
{
    const struct left left = {t->at.step, t->at.attempt, t->at.samples, t->monitor.back};
    save_settle(t);
    watch_phase(PHASE_LOAD);
    TRY(resume_before(t, t->monitor.before));
    TRY(optimizer_begin(t, true));
    uint64_t from = t->at.samples;
    adjust(t, &left);
    TRY(trainer_pack(t));
    const struct metrics_attempt attempt = trainer_attempt(t);
    TRY(metrics_renew(t->metrics, &attempt));
    tell(t, &left, from);
    feed_restart(t);
    t->monitor.goes_back = false;
    /* So that a run which is killed now goes on from here, not from before. */
    return trainer_save(t);
}
