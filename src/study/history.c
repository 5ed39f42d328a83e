/* What has been published of a study. What has ended is read once. */
#include "folder.h"

#include "base/err.h"
#include "base/mem.h"

#include <math.h>
#include <string.h>

void folder_free(struct folder *f)
{
    if (f == NULL)
        return;
    for (int i = 0; i < f->n; i++)
        trial_free(&f->trial[i]);
    mem_free(f->trial);
    mem_free(f->seen);
    mem_free(f);
}

static int grow(struct folder *f)
{
    struct trial *trial;
    struct sighting *seen;
    if (f->n < f->room)
        return OK;
    int room = f->room > 0 ? 2 * f->room : 64;
    TRY(mem_alloc(&trial, (size_t)room, sizeof *trial, "trials"));
    int rc = mem_alloc(&seen, (size_t)room, sizeof *seen, "sightings");
    if (rc != OK) {
        mem_free(trial);
        return rc;
    }
    if (f->n > 0) {
        memcpy(trial, f->trial, (size_t)f->n * sizeof *trial);
        memcpy(seen, f->seen, (size_t)f->n * sizeof *seen);
    }
    mem_free(f->trial);
    mem_free(f->seen);
    f->trial = trial;
    f->seen = seen;
    f->room = room;
    return OK;
}

/* Trials that are new. Numbers have no gaps: a trial is made when all before it are there. */
static int read_new(const struct study *s)
{
    struct folder *f = s->known;
    char path[FS_PATH_MAX];
    TRY(fs_join(path, s->dir, "trials"));
    if (!fs_is_dir(path))
        return ERR(E_IO, "%s: the study's folder is gone or cannot be read", path);
    folder_revalidate(path);
    for (;;) {
        TRY(trial_file(path, s, f->n, "trial", 0));
        if (!fs_exists(path))
            return OK;
        TRY(grow(f));
        struct trial *t = &f->trial[f->n];
        *t = (struct trial){.number = f->n, .value = NAN, .steps = NAN, .tokens = NAN};
        t->train_s = t->step_s = t->noise_scale = t->spikes = t->ranks = NAN;
        TRY(trial_plan_read(&t->plan, path));
        f->n++;
    }
}

/* The newest milestone's file holds what the earlier ones do. */
static int read_milestones(const struct study *s, struct trial *t)
{
    char path[FS_PATH_MAX];
    int before = t->n_reached;
    for (;; t->n_reached++) {
        TRY(trial_file(path, s, t->number, "reached", t->n_reached + 1));
        if (!fs_exists(path))
            break;
    }
    if (t->n_reached == before)
        return OK;
    TRY(trial_file(path, s, t->number, "reached", t->n_reached));
    enum trial_state state = t->state;
    TRY(trial_outcome_read(t, path));
    t->state = state;
    return OK;
}

/* Claims that were held and were not given back when a newer one was made are deaths; those before
 * a checkpoint that came meanwhile count no longer. */
static void look_at_claims(const struct study *s, struct trial *t)
{
    unsigned long long beat;
    enum hold newest = HOLD_NONE;
    for (;;) {
        enum hold next = claim_look(s, t->number, t->claims + 1, &beat);
        if (next == HOLD_NONE)
            break;
        if (t->claims > 0 && claim_look(s, t->number, t->claims, &beat) == HOLD_HELD)
            t->deaths = claim_made_way(s, t->number, t->claims) ? 0 : t->deaths + 1;
        t->claims++;
        newest = next;
    }
    if (newest == HOLD_NONE && t->claims > 0)
        newest = claim_look(s, t->number, t->claims, &beat);
    t->state = newest == HOLD_HELD ? TRIAL_RUNNING : TRIAL_WAITING;
}

static int read_end(struct trial *t, const char *path)
{
    TRY(trial_outcome_read(t, path));
    return t->state > TRIAL_RUNNING ? OK
                                    : ERR(E_DATA, "%s: its state is %s, which is no end", path,
                                          trial_state_name(t->state));
}

/* Claims first: what is seen under one that was given back is all there will be under it. */
static int refresh(const struct study *s, struct trial *t)
{
    char path[FS_PATH_MAX];
    if (t->state > TRIAL_RUNNING)
        return OK;
    TRY(trial_path(path, s, t->number));
    folder_revalidate(path);
    look_at_claims(s, t);
    TRY(read_milestones(s, t));
    TRY(trial_file(path, s, t->number, "end", 0));
    return fs_exists(path) ? read_end(t, path) : OK;
}

int study_history(struct study *s, struct history *h)
{
    struct folder *f = s->known;
    *h = (struct history){0};
    TRY(read_new(s));
    for (int i = 0; i < f->n; i++)
        TRY(refresh(s, &f->trial[i]));
    *h = (struct history){.trial = f->trial, .n = f->n};
    return OK;
}
