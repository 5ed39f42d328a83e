#include "train/trainer.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/watch.h"
#include "conf/config_file.h"
#include "kern/gemm.h"
#include "kern/peak.h"
#include "model/work.h"
#include "par/agree.h"
#include "train/budget.h"
#include "train/conditions.h"
#include "train/effect.h"
#include "train/feed.h"
#include "train/restart.h"
#include "train/resume.h"
#include "train/watchdog.h"
#include "train/weights.h"
#include <string.h>

static int boundary_of(const char *name)
{
    if (strcmp(name, "attention") == 0)
        return BOUNDARY_ATTENTION;
    return strcmp(name, "loss") == 0 ? BOUNDARY_LOSS : BOUNDARY_NONE;
}

static int new_loader(const struct trainer *t, struct loader **l, const struct store *s,
                      bool shuffle)
{
    const struct loader_options o = {.T = (int)t->conf->batch.seq_len,
                                     .seed = (uint64_t)t->conf->run.seed,
                                     .shuffle = shuffle,
                                     .boundary = boundary_of(t->conf->data.boundary),
                                     .max_samples = (int)t->conf->batch.micro};
    return loader_new(l, s, &o);
}

static int open_data(struct trainer *t)
{
    const struct config *c = t->conf;
    TRY(store_open(&t->train_store, c->data.train, SPLIT_TRAIN));
    TRY(store_open(&t->valid_store, c->data.valid[0] ? c->data.valid : c->data.train, SPLIT_VALID));
    if (t->train_store.vocab > t->spec.V)
        return ERR(E_CONFIG,
                   "%s has a vocabulary of %d, the model of %d; set model.vocab=%d or use the "
                   "model's own tokenizer",
                   c->data.train, t->train_store.vocab, t->spec.V, t->train_store.vocab);
    if (strcmp(t->train_store.tokenizer_hash, t->valid_store.tokenizer_hash) != 0)
        return ERR(E_CONFIG, "data.train and data.valid were made by different tokenizers");
    TRY(new_loader(t, &t->feed.loader, &t->train_store, true));
    /* A store without enough held-out text trains all the same. */
    if (t->valid_store.n_tokens > (uint64_t)c->batch.seq_len)
        TRY(new_loader(t, &t->valid_loader, &t->valid_store, false));
    return OK;
}

struct ramp_at trainer_at(const struct trainer *t)
{
    return (struct ramp_at){t->at.step, t->at.sched_samples};
}

int trainer_derive(struct trainer *t)
{
    const struct config *c = t->conf;
    str_release(&t->lr_derivation);
    str_release(&t->lr_warnings);
    TRY(derive_course(&t->course, c, loader_n_samples(t->feed.loader), trainer_at(t)));
    t->n_micro = derive_n_micro(c);
    if (t->course.n_steps < 1)
        return ERR(E_CONFIG, "the run has no step; set train.steps, train.tokens or train.epochs");
    TRY(optim_find(&t->rule, c->optimizer.name));
    TRY(derive_scaling(&t->scaling, c));
    t->n_steps = derive_end(&t->course, &t->scaling, trainer_at(t), &t->gain);
    scaling_describe(&t->scaling, &t->lr_derivation);
    scaling_warn(&t->scaling, c, &t->lr_warnings);
    TRY(derive_schedule(&t->schedule, c, &t->course, &t->scaling, &t->lr_derivation));
    course_describe(&t->course, c, &t->scaling, &t->lr_derivation);
    course_warn(&t->course, c, &t->lr_warnings);
    course_warn_idle(&t->course, c, t->comm->size, &t->lr_warnings);
    return OK;
}

/* Once, where trainer_derive is called again when a run goes on. */
static int keep_plateau(struct trainer *t)
{
    if (!schedule_has_plateau(&t->schedule))
        return OK;
    if (t->valid_loader == NULL)
        return ERR(E_CONFIG,
                   "schedule.name %s follows the validation loss, and there is no text "
                   "to validate on; set data.valid",
                   t->conf->schedule.name);
    return state_add(&t->state_rows, "plateau", t->schedule.plateau, PLATEAU_N);
}

static int keep_gain(struct trainer *t)
{
    return t->scaling.rule->per_step ? state_add(&t->state_rows, "adascale", &t->gain.trace, GAIN_N)
                                     : OK;
}

/* One slab a node in shared memory, where that is wanted and there is room. Collective. */
static int hold_params(struct trainer *t)
{
    size_t bytes = t->tensors->n_elems * sizeof(float);
    size_t mine = team_leads(&t->comm->team) ? bytes : 0;
    bool fits = false;
    if (budget_shares_params(t->conf))
        TRY(window_fits(&fits, t->comm, mine, "parameters"));
    t->holders = fits ? *t->comm : comm_without_teams(t->comm);
    TRY(window_new(&t->shared, &t->holders, fits ? mine : bytes, "parameters"));
    t->params = window_part(t->shared, 0);
    return OK;
}

/* Like the parameters they are made from. */
static int hold_forms(struct trainer *t)
{
    size_t bytes = model_forms_bytes(&t->spec, derive_model(t->conf).products);
    size_t mine = team_leads(&t->holders.team) ? bytes : 0;
    bool fits;
    if (bytes == 0)
        return OK;
    TRY(window_fits(&fits, &t->holders, mine, "bf16 weights"));
    t->packers = fits ? t->holders : comm_without_teams(t->comm);
    TRY(window_new(&t->forms, &t->packers, fits ? mine : bytes, "bf16 weights"));
    return model_set_forms(t->model, window_part(t->forms, 0));
}

int trainer_pack(struct trainer *t)
{
    const struct team *team = &t->packers.team;
    if (t->forms == NULL)
        return OK;
    int j = team_of(team, team->rank);
    model_pack(t->model, t->params, team->rank - team_first(team, j), team_size(team, j));
    int rc = window_meet(&t->packers);
    prof_lap(t->prof, PROF_PACK, 0, 0);
    return rc;
}

/* How fast each tensor learns, and whether at all. */
static int set_rates(struct trainer *t)
{
    TRY(rates_init(&t->rates, t->conf, &t->spec, t->tensors));
    rates_describe(&t->rates, t->tensors, &t->lr_derivation);
    model_set_frozen(t->model, t->rates.frozen);
    t->flops_token =
        work_flops_per_token(t->tensors, &t->spec, t->rates.frozen, (int)t->conf->batch.seq_len);
    TRY(optimizer_groups(&t->groups, t->tensors));
    t->n_groups = t->tensors->n;
    rates_apply(&t->rates, t->groups);
    return regularizer_init(&t->regularizer, t->conf, t->tensors);
}

static int lay_out(struct trainer *t)
{
    const struct config *c = t->conf;
    const struct model_options o = derive_model(c);
    TRY(model_new(&t->model, &t->spec, (int)c->batch.micro, (int)c->batch.seq_len, &o));
    t->tensors = model_tensors(t->model);
    TRY(set_rates(t));
    TRY(optimizer_warn(c, t->rule));
    TRY(optimizer_init(t));
    TRY(stragglers_init(&t->stragglers, t->comm));
    TRY(state_add(&t->state_rows, "watch.noise", (double *)&t->noise, NOISE_N));
    TRY(replicas_init(t));
    return monitor_init(&t->monitor, c, t->tensors, &t->shard, &t->state_rows);
}

static int start_fresh(struct trainer *t)
{
    const struct config *c = t->conf;
    TRY(agree_bcast(t->comm, 0, t->comm->rank == 0 ? run_new_id(t->run_id) : OK, t->run_id,
                    sizeof t->run_id));
    if (c->model.init[0] != '\0') {
        log_info("weights         from %s; optimizer state and data order start anew",
                 c->model.init);
        return weights_load_into(t->params, t->tensors, &t->whole, &t->holders, c->model.init);
    }
    log_info("weights         random, run.seed %lld", (long long)c->run.seed);
    if (team_leads(&t->holders.team))
        tensors_init_values(t->tensors, &t->spec, (uint64_t)c->run.seed, t->params);
    return window_meet(&t->holders);
}

/* The resolved configuration as a job file, so that the folder tells how it was made and can be
 * named in place of the job. */
static int write_job_file(const struct trainer *t)
{
    char path[FS_PATH_MAX], *text = NULL;
    if (t->comm->rank != 0)
        return OK;
    TRY(fs_join(path, t->conf->run.dir, "job.yaml"));
    TRY(conf_text(t->conf, NULL, &text));
    int rc = fs_write_file(path, text, strlen(text));
    mem_free(text);
    TRY(rc);
    TRY(fs_join(path, t->conf->run.dir, "log.txt"));
    return log_open(path);
}

/* Threads without a processor of their own add nothing. */
static int measure_peak(struct trainer *t)
{
    const struct place *at = &t->pin.place;
    bool bf16 = derive_model(t->conf).products == BF16;
    double core = bf16 ? peak_bf16_flops(0.05) : 0;
    double mine = (core > 0 ? core : peak_fma_flops(0.05)) * (double)t->conf->parallel.threads;
    if (at->usable > 0 && at->usable < at->threads)
        mine *= at->usable / at->threads;
    MPI_TRY(MPI_Allreduce(&mine, &t->peak_flops, 1, MPI_DOUBLE, MPI_SUM, t->comm->world));
    return OK;
}

/* Later than the checkpoint's and than any that left metrics without a checkpoint. */
static int number_attempt(struct trainer *t)
{
    int64_t next = 0;
    int rc = t->comm->rank == 0 ? metrics_next_attempt(t->conf->run.dir, &next) : OK;
    TRY(agree_bcast(t->comm, 0, rc, &next, sizeof next));
    t->at.attempt = next > t->at.attempt ? next : t->at.attempt;
    return OK;
}

/* Root. */
static void look_for_a_cut(struct trainer *t)
{
    const struct cut_terms terms = {.run_dir = t->conf->run.dir,
                                    .lock = &t->lock,
                                    .ranks = t->comm->size,
                                    .slice = t->slice,
                                    .init_s = t->init_s,
                                    .save_s = t->save_s};
    cut_watch_begin(&t->cut, &terms);
}

/* The run folder is this trainer's from here on. */
static int take_folder(struct trainer *t)
{
    const char *dir = t->conf->run.dir;
    int rc = OK;
    TRY(run_claim(t->comm, dir, &t->lock));
    run_note_fatal(dir, t->comm, &t->at.step);
    watchdog_keep_record(dir);
    if (t->comm->rank == 0) {
        rc = ckpt_clean_temporaries(dir);
        rc = rc != OK ? rc : slice_check(dir, &t->slice, t->comm->size);
        t->save_s = slice_save_s(dir);
    }
    TRY(agree_bcast(t->comm, 0, rc, &t->save_s, sizeof t->save_s));
    if (t->comm->rank == 0)
        look_for_a_cut(t);
    return OK;
}

static int is_ours(void *ctx)
{
    struct trainer *t = ctx;
    return run_still_ours(&t->lock);
}

struct metrics_attempt trainer_attempt(const struct trainer *t)
{
    struct sha256 path;
    struct metrics_attempt a = {.number = t->at.attempt, .after = t->at.step};
    sha256_init(&path);
    effect_path(&path, t->conf);
    sha256_add(&path, t->train_store.data_hash, strlen(t->train_store.data_hash));
    sha256_add(&path, &t->monitor.back.times, sizeof t->monitor.back.times);
    sha256_hex(&path, a.path);
    return a;
}

/* What the run folder tells of this attempt. */
static int open_run(struct trainer *t)
{
    TRY(number_attempt(t));
    TRY(agree(t->comm, write_job_file(t)));
    if (t->comm->rank == 0)
        run_drop_stale(t->conf->run.dir, &t->lock);
    const struct metrics_attempt attempt = trainer_attempt(t);
    TRY(metrics_open(&t->metrics, t->comm, t->conf->run.dir, &attempt, t->monitor.vitals.n_groups));
    metrics_ask(t->metrics, is_ours, t);
    return OK;
}

/* Parameters and state of the first step. */
static int take_state(struct trainer *t)
{
    bool resumed = false;
    if (t->start != START_ANEW)
        TRY(resume_newest(t, &resumed));
    if (!resumed && t->start == START_NEWEST)
        return ERR(E_DATA, "%s holds no checkpoint to start from", t->conf->run.dir);
    if (!resumed)
        TRY(start_fresh(t));
    TRY(optimizer_begin(t, resumed));
    return trainer_pack(t);
}

static int build(struct trainer *t)
{
    const struct config *c = t->conf;
    TRY(pin_ranks(&t->pin, t->comm, (int)c->parallel.threads,
                  strcmp(c->parallel.pin, "auto") == 0));
    int rc = open_data(t);
    if (rc == OK)
        rc = trainer_derive(t);
    if (rc == OK)
        rc = keep_plateau(t);
    if (rc == OK)
        rc = keep_gain(t);
    if (rc == OK)
        rc = lay_out(t);
    TRY(agree(t->comm, rc));
    gemm_set_threads((int)c->parallel.threads);
    TRY(conditions_compare(t->comm));
    TRY(hold_params(t));
    TRY(hold_forms(t));
    const struct reduce_options o = budget_reduction(c);
    TRY(reducer_new(&t->reducer, t->comm, &t->shard, &o));
    reducer_set_groups(t->reducer, &t->monitor.vitals.by, vitals_gradient(&t->monitor.vitals));
    if (t->start == START_RUN)
        TRY(take_folder(t));
    if (t->start == START_RUN)
        TRY(save_init(t));
    TRY(measure_peak(t));
    watch_phase(PHASE_LOAD);
    TRY(take_state(t));
    watch_phase(PHASE_START);
    if (t->start == START_RUN)
        TRY(open_run(t));
    feed_restart(t);
    return OK;
}

static int init(struct trainer *t, const struct config *conf, const struct model_spec *spec,
                const struct comm *comm, struct slice slice, enum trainer_start start)
{
    memset(t, 0, sizeof *t);
    t->conf = conf;
    t->spec = *spec;
    t->comm = comm;
    t->slice = slice;
    t->init_s = clock_now_s();
    t->start = start;
    t->saved_step = -1;
    t->train_store.fd = t->valid_store.fd = -1;
    watchdog_begin(comm, conf->run.watchdog_s, "run.watchdog");
    watch_phase(PHASE_START);
    int rc = build(t);
    if (rc != OK) {
        trainer_failed(t, rc);
        trainer_release(t);
    }
    return rc;
}

int trainer_init(struct trainer *t, const struct config *conf, const struct model_spec *spec,
                 const struct comm *comm, struct slice slice)
{
    return init(t, conf, spec, comm, slice, START_RUN);
}

int trainer_init_apart(struct trainer *t, const struct config *conf, const struct model_spec *spec,
                       const struct comm *comm, enum trainer_start start)
{
    return init(t, conf, spec, comm, slice_of(clock_now_s(), conf->train.time_limit_s), start);
}

/* What carat says in good order is no fault of the checkpoint that it started from, unless that
 * could not be loaded: machinery and settings fail from any. */
static bool checkpoint_is_to_blame(const struct trainer *t, int rc)
{
    return rc == E_RANK || rc == E_BUG || (rc == E_DATA && !t->loaded);
}

void trainer_failed(struct trainer *t, int rc)
{
    if (!t->lock.held || run_is_lost(&t->lock))
        return;
    if (!checkpoint_is_to_blame(t, rc))
        restart_forgive(t->conf->run.dir);
    if (rc != E_STOPPED)
        (void)run_write_failed(t->conf->run.dir, t->comm, (long)t->at.step, rc);
}

void trainer_release(struct trainer *t)
{
    watch_phase(PHASE_CLOSE);
    cut_watch_end(&t->cut);
    save_release(t);
    metrics_free(t->metrics);
    loader_free(t->feed.loader);
    loader_free(t->valid_loader);
    store_close(&t->train_store);
    store_close(&t->valid_store);
    reducer_free(t->reducer);
    optimizer_release(t);
    mem_free(t->groups);
    rates_release(&t->rates);
    regularizer_release(&t->regularizer);
    monitor_release(&t->monitor);
    replicas_release(&t->replicas);
    stragglers_release(&t->stragglers);
    model_free(t->model);
    window_free(t->forms);
    window_free(t->shared);
    str_release(&t->lr_derivation);
    str_release(&t->lr_warnings);
    if (t->start == START_RUN)
        run_note_fatal(NULL, NULL, NULL);
    if (t->lock.held)
        run_give_back(&t->lock);
    memset(t, 0, sizeof *t);
    watchdog_end();
    watch_phase(PHASE_OFF);
}

void trainer_set_prof(struct trainer *t, struct prof *p)
{
    t->prof = p;
    model_set_prof(t->model, p);
    reducer_set_prof(t->reducer, p);
}

int trainer_may_write(struct trainer *t)
{
    return agree(t->comm, t->comm->rank == 0 ? run_still_ours(&t->lock) : OK);
}
