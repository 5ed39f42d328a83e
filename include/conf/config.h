/* The configuration: one plain struct, const after loading. Each member is a row of the table in
 * conf/config_table.h, under the key that is written beside it here. */
#ifndef CARAT_CONF_CONFIG_H
#define CARAT_CONF_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#define CONF_STR 512
/* Room for any value as text, quoted. */
#define CONF_VALUE_MAX 4096

/* An amount with its unit, as the user wrote it: "20Mtok", "500 steps", "5%", "2 epochs". */
enum unit { UNIT_NONE, UNIT_STEPS, UNIT_TOKENS, UNIT_SAMPLES, UNIT_EPOCHS, UNIT_PERCENT };
struct amount {
    double value;
    enum unit unit; /* UNIT_NONE: not set */
};

struct config {
    struct {
        char dir[CONF_STR]; /* run.dir: the run folder */
        int64_t seed;       /* run.seed */
        double watchdog_s;  /* run.watchdog; 0: off */
    } run;
    struct {
        char preset[64];     /* model.preset */
        char path[CONF_STR]; /* model.path: a config.json or a folder that holds one */
        char init[CONF_STR]; /* model.init: checkpoint or Hugging Face folder to start from; "":
                                random */
        /* model.vocab, .width, .layers, .heads, .kv_heads, .head_dim, .ffn, .window,
         * .window_pattern: override the preset; -1: as the preset has it. model.vocab -1: the token
         * store's. */
        int64_t vocab, width, layers, heads, kv_heads, head_dim, ffn, window, window_pattern;
    } model;
    struct {
        char train[CONF_STR]; /* data.train: token store */
        char valid[CONF_STR]; /* data.valid: token store; "": the validation split of data.train */
        char boundary[16];    /* data.boundary: none | loss | attention */
    } data;
    struct {
        int64_t global;      /* batch.global, sequences */
        int64_t micro;       /* batch.micro, sequences */
        int64_t seq_len;     /* batch.seq_len, tokens */
        char ramp[CONF_STR]; /* batch.ramp; "": batch.global throughout */
    } batch;
    struct {
        struct amount length; /* train.steps, train.tokens, train.epochs: exactly one of them */
        double time_limit_s;  /* train.time_limit; 0: none */
        int64_t log_every;    /* train.log_every, steps */
    } train;
    struct {
        char name[32];                      /* optimizer.name */
        double lr;                          /* optimizer.lr: peak rate at scaling.base_batch */
        double beta1, beta2, eps, momentum; /* -1: the rule's own */
        double dampening;
        char nesterov[8];     /* optimizer.nesterov: off | on */
        double weight_decay;  /* optimizer.weight_decay, on matrices */
        double clip_norm;     /* optimizer.clip_norm; 0: none */
        double clip_value;    /* optimizer.clip_value; 0: none */
        double clip_adaptive; /* optimizer.clip_adaptive; 0: none */
        double trust;         /* optimizer.trust, of lars */
        double d0, d_growth;  /* of prodigy */
        double hyper_lr, hyper_cap;
    } optimizer;
    struct {
        double l1, l2, dropout, label_smoothing, z_loss; /* regularize.*; 0: none */
    } regularize;
    struct {
        double layer_decay;     /* rates.layer_decay; 1: none */
        char layers[CONF_STR];  /* rates.layers */
        char tensors[CONF_STR]; /* rates.tensors */
        double embed, norms;    /* rates.embed, rates.norms: factors */
        char freeze[CONF_STR];  /* rates.freeze */
        int64_t mup_base;       /* rates.mup_base, width; 0: off */
    } rates;
    struct {
        char name[32];         /* schedule.name */
        char clock[16];        /* schedule.clock: tokens | samples | steps | epochs */
        struct amount warmup;  /* schedule.warmup */
        char warmup_shape[16]; /* schedule.warmup_shape */
        double warmup_start;   /* schedule.warmup_start, share of the peak */
        double final;          /* schedule.final: last rate as a share of the peak */
        double gamma, power;
        struct amount every, cycle, decay, timescale;
        char milestones[CONF_STR];
        double cycle_mult, rise, base;
        int64_t phases;
        double momentum_low, momentum_high;
        char decay_shape[16];
        double factor, threshold; /* of reduce_on_plateau */
        int64_t patience;
        char pieces[CONF_STR];
    } schedule;
    struct {
        char rule[32];      /* scaling.rule */
        int64_t base_batch; /* scaling.base_batch, sequences; -1: batch.global */
        double noise_scale; /* scaling.noise_scale, sequences; 0: not known */
    } scaling;
    struct {
        int64_t every; /* noise.every, steps; 0: never; -1: as often as is cheap */
        double decay;  /* noise.decay */
    } noise;
    struct {
        /* What to do: off | warn | skip | stop | back, each as far as it makes sense. */
        char nonfinite[8], spike[8], diverged[8], oscillation[8], plateau[8], overfit[8];
        double spike_sigma, margin, oscillation_limit, clip_limit, back_rate;
        int64_t every, spike_window, diverged_steps, overfit_times, back_skip, back_most;
        int64_t replicas_every; /* steps; 0: never */
        char repeat[8];         /* on | off */
    } monitor;
    struct {
        char reduce[16];      /* parallel.reduce: exact | fast */
        char shard[16];       /* parallel.shard: optimizer | none */
        int64_t threads;      /* parallel.threads, per rank */
        char pin[8];          /* parallel.pin: auto | off */
        int64_t bucket_mib;   /* parallel.bucket_mib */
        char share_params[8]; /* parallel.share_params: on | off */
        char wire[8];         /* parallel.wire: fp32 | bf16 */
    } parallel;
    struct {
        char precision[16]; /* numerics.precision: fp32 | bf16 */
    } numerics;
    struct {
        char recompute[16]; /* memory.recompute: none | selective | full */
    } memory;
    struct {
        int64_t every; /* checkpoint.every, steps; 0: only at the end */
        int64_t keep;  /* checkpoint.keep, newest files */
        int64_t
            keep_every; /* checkpoint.keep_every, steps: and multiples of it for ever; 0: none */
        char async[8];  /* checkpoint.async: on | off */
    } checkpoint;
    struct {
        int64_t every;   /* validate.every, steps; 0: only at the end */
        int64_t samples; /* validate.samples: the most sequences used; 0: all */
    } validate;
    struct {
        int64_t every;         /* sample.every, steps; 0: never */
        char prompt[CONF_STR]; /* sample.prompt */
        int64_t tokens;        /* sample.tokens: length */
        double temperature;
        int64_t top_k;
        double top_p;
    } sample;
    struct {
        char dir[CONF_STR];         /* study.dir; "": run.dir with the command's name behind it */
        int64_t ranks;              /* study.ranks, of a trial; 0: all */
        int64_t ahead;              /* study.ahead, trials */
        double stale_s;             /* study.stale */
        int64_t attempts;           /* study.attempts, of a trial */
        char keep[8];               /* study.keep: best | all | none */
        struct amount budget;       /* study.budget, tokens */
        double core_hours;          /* study.core_hours; 0: no limit */
        char batches[CONF_STR];     /* study.batches, sequences */
        char targets[CONF_STR];     /* study.targets, validation losses */
        int64_t rates;              /* study.rates, of a batch at first */
        double rate_step;           /* study.rate_step, factor from one to the next */
        int64_t extend;             /* study.extend, rates more on either side */
        int64_t seeds;              /* study.seeds, of each batch's best rate */
        char center[16];            /* study.center: range | prior | job */
        double give_up;             /* study.give_up, times the best rate's tokens */
        int64_t warmup_steps;       /* study.warmup_steps, at least */
        char rank_counts[CONF_STR]; /* study.rank_counts: step times are measured on */
        char rules[CONF_STR];       /* study.rules: scaling rules put to test */
        char from[CONF_STR];        /* study.from: checkpoints that branches start from */
        char factors[CONF_STR];     /* study.factors: batches of branches, times batch.global */
        struct amount branch;       /* study.branch: length of a branch */
        double harm;                /* study.harm, nats */
        char past[CONF_STR];        /* study.past: folder of earlier runs and studies */
    } study;
    struct {
        char space[2048];    /* search.space */
        char rule[16];       /* search.rule: grid | random | halton | tpe | gp | pbt | bandit */
        int64_t trials;      /* search.trials */
        int64_t points;      /* search.points, of a grid in each number */
        int64_t seed;        /* search.seed */
        int64_t startup;     /* search.startup, random trials before tpe and gp */
        int64_t candidates;  /* search.candidates, of tpe */
        char prune[16];      /* search.prune: none | median | halving | asha */
        int64_t milestones;  /* search.milestones */
        int64_t eta;         /* search.eta, of halving and asha */
        char equal_flops[8]; /* search.equal_flops: off | on */
    } search;
};

#endif
