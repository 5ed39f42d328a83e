/* The configuration: one plain struct, const after loading. Each member is a row of the table in
 * conf/config_table.h, under the key that is written beside it here. */
#ifndef CARAT_CONF_CONFIG_H
#define CARAT_CONF_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#define CONF_STR 512

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
        int64_t global;  /* batch.global, sequences */
        int64_t micro;   /* batch.micro, sequences */
        int64_t seq_len; /* batch.seq_len, tokens */
    } batch;
    struct {
        struct amount length; /* train.steps, train.tokens, train.epochs: exactly one of them */
        double time_limit_s;  /* train.time_limit; 0: none */
        int64_t log_every;    /* train.log_every, steps */
    } train;
    struct {
        char name[32]; /* optimizer.name */
        double lr;     /* optimizer.lr: peak rate at scaling.base_batch */
        double beta1, beta2, eps;
        double weight_decay; /* optimizer.weight_decay, on matrices */
        double clip_norm;    /* optimizer.clip_norm; 0: none */
    } optimizer;
    struct {
        char name[32];        /* schedule.name: constant | linear | cosine */
        struct amount warmup; /* schedule.warmup */
        double final;         /* schedule.final: last rate as a share of the peak */
    } schedule;
    struct {
        char rule[32];      /* scaling.rule: none | linear | sqrt */
        int64_t base_batch; /* scaling.base_batch, sequences; 0: batch.global */
    } scaling;
    struct {
        char reduce[16];      /* parallel.reduce: exact | fast */
        char shard[16];       /* parallel.shard: optimizer | none */
        int64_t threads;      /* parallel.threads, per rank */
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
};

#endif
