#include "conf/config_table.h"

#include <string.h>

#define AT(member) offsetof(struct config, member), sizeof(((struct config *)0)->member)
#define WHOLE      9e15 /* counts stay exact in a double */

#define INT(name, member, min, max, def, unit, effect, help)                                       \
    {                                                                                              \
        name, CONF_INT, AT(member), min, max, NULL, def, unit, effect, help                        \
    }
#define F64(name, member, min, max, def, unit, effect, help)                                       \
    {                                                                                              \
        name, CONF_F64, AT(member), min, max, NULL, def, unit, effect, help                        \
    }
#define TEXT(name, member, def, unit, effect, help)                                                \
    {                                                                                              \
        name, CONF_TEXT, AT(member), 0, 0, NULL, def, unit, effect, help                           \
    }
#define CHOICE(name, member, choices, def, effect, help)                                           \
    {                                                                                              \
        name, CONF_CHOICE, AT(member), 0, 0, choices, def, "", effect, help                        \
    }
#define AMOUNT(name, member, min, max, units, def, unit, effect, help)                             \
    {                                                                                              \
        name, CONF_AMOUNT, AT(member), min, max, units, def, unit, effect, help                    \
    }
#define DURATION(name, member, max, def, effect, help)                                             \
    {                                                                                              \
        name, CONF_DURATION, AT(member), 0, max, NULL, def, "s", effect, help                      \
    }

#define SAFE  EFFECT_SAFE
#define PATH  EFFECT_TRAJECTORY
#define NEVER EFFECT_IMPOSSIBLE

/* An amount's choices are its units; a plain number takes the first. */
const struct conf_key CONF_KEYS[] = {
    TEXT("run.dir", run.dir, "", "folder", SAFE,
         "The run folder; by default runs/ and the job file's name."),
    INT("run.seed", run.seed, 0, WHOLE, "1", "", NEVER,
        "Decides the first weights and the order of the data."),

    TEXT("model.preset", model.preset, "", "name", NEVER,
         "A Gemma shape by name; this or model.path."),
    TEXT("model.path", model.path, "", "file or folder", NEVER,
         "A Hugging Face config.json, or the folder that holds one; this or model.preset."),
    TEXT("model.init", model.init, "", "file or folder", NEVER,
         "Run, checkpoint or Hugging Face folder to start from, which also sets the model's shape "
         "where no other key does; empty: random weights."),
    INT("model.vocab", model.vocab, -1, 1 << 24, "-1", "token ids", NEVER,
        "Vocabulary; -1: the token store's."),
    INT("model.width", model.width, -1, 1 << 20, "-1", "", NEVER,
        "Model width; -1: as the preset has it."),
    INT("model.layers", model.layers, -1, 256, "-1", "", NEVER,
        "Number of layers; -1: as the preset has it."),
    INT("model.heads", model.heads, -1, 1 << 16, "-1", "", NEVER,
        "Query heads; -1: as the preset has it."),
    INT("model.kv_heads", model.kv_heads, -1, 1 << 16, "-1", "", NEVER,
        "Key and value heads; -1: as the preset has it."),
    INT("model.head_dim", model.head_dim, -1, 1 << 16, "-1", "", NEVER,
        "Size of a head; -1: as the preset has it."),
    INT("model.ffn", model.ffn, -1, 1 << 22, "-1", "", NEVER,
        "Width of the feed-forward layer; -1: as the preset has it."),
    INT("model.window", model.window, -1, 1 << 30, "-1", "tokens", NEVER,
        "Keys that a sliding-window layer sees; -1: as the preset has it."),
    INT("model.window_pattern", model.window_pattern, -1, 256, "-1", "layers", NEVER,
        "Every nth layer sees all keys, the others a window; -1: as the preset has it."),

    TEXT("data.train", data.train, "", "file", SAFE,
         "Token store to train on, made by `carat prepare`; its content is checked on resume."),
    TEXT("data.valid", data.valid, "", "file", SAFE,
         "Token store to validate on; empty: the validation split of data.train."),
    CHOICE("data.boundary", data.boundary, "none|loss|attention", "none", PATH,
           "Where documents meet: none: they run on; loss: a document's first token is no target; "
           "attention: nor is the document before it seen."),

    INT("batch.global", batch.global, 0, 1 << 24, "0", "sequences", PATH,
        "Sequences in one optimizer step, over all ranks. Has to be set."),
    INT("batch.micro", batch.micro, 1, 1 << 16, "1", "sequences", PATH,
        "Sequences in one pass of one rank: more is faster and takes more memory."),
    INT("batch.seq_len", batch.seq_len, 1, 1 << 20, "256", "tokens", NEVER,
        "Tokens in one sequence."),

    AMOUNT("train.steps", train.length, 1, WHOLE, "steps", "", "steps", PATH,
           "Length of the run; this, train.tokens or train.epochs."),
    AMOUNT("train.tokens", train.length, 1, WHOLE, "tokens", "", "tokens", PATH,
           "Length of the run, rounded up to whole steps."),
    AMOUNT("train.epochs", train.length, 1e-6, 1e9, "epochs", "", "epochs", PATH,
           "Length of the run in passes over the training split."),
    DURATION("train.time_limit", train.time_limit_s, 1e9, "0", SAFE,
             "Save and stop (exit 75) before this much wall time has passed; 0: none."),
    INT("train.log_every", train.log_every, 1, WHOLE, "1", "steps", SAFE,
        "A line of the log every so many steps."),

    TEXT("optimizer.name", optimizer.name, "adamw", "name", NEVER, "The update rule."),
    F64("optimizer.lr", optimizer.lr, 0, 1e3, "1e-3", "", PATH,
        "Peak learning rate, tuned at scaling.base_batch."),
    F64("optimizer.beta1", optimizer.beta1, 0, 0.999999, "0.9", "", PATH,
        "Decay of the average gradient."),
    F64("optimizer.beta2", optimizer.beta2, 0, 0.999999, "0.95", "", PATH,
        "Decay of the average squared gradient."),
    F64("optimizer.eps", optimizer.eps, 0, 1, "1e-8", "", PATH,
        "Added to the root of the average squared gradient."),
    F64("optimizer.weight_decay", optimizer.weight_decay, 0, 100, "0.1", "", PATH,
        "Decoupled weight decay, on matrices; norms take none."),
    F64("optimizer.clip_norm", optimizer.clip_norm, 0, 1e9, "1", "", PATH,
        "Gradients of a greater global norm are scaled down to it; 0: no clipping."),

    TEXT("schedule.name", schedule.name, "cosine", "name", PATH,
         "How the rate goes on after the warmup: constant, linear or cosine."),
    AMOUNT("schedule.warmup", schedule.warmup, 0, WHOLE, "steps|tokens|samples|epochs|%", "2%",
           "steps", PATH, "Linear warmup: an amount or a share of the run."),
    F64("schedule.final", schedule.final, 0, 1, "0.1", "", PATH,
        "Last learning rate as a share of the peak."),

    TEXT("scaling.rule", scaling.rule, "none", "name", PATH,
         "How the rate follows the batch: none, linear or sqrt."),
    INT("scaling.base_batch", scaling.base_batch, 0, 1 << 24, "0", "sequences", PATH,
        "The batch at which optimizer.lr was tuned; 0: batch.global."),

    CHOICE("parallel.reduce", parallel.reduce, "exact|fast", "exact", PATH,
           "exact: the same bits on any number of ranks; fast: less memory and traffic."),
    CHOICE("parallel.shard", parallel.shard, "optimizer|none", "optimizer", SAFE,
           "optimizer: each rank keeps its share of the optimizer's state; none: all of it."),
    INT("parallel.threads", parallel.threads, 1, 1024, "1", "per rank", PATH,
        "Threads of matrix products in one rank; one rank a core is faster."),
    INT("parallel.bucket_mib", parallel.bucket_mib, 1, 4096, "16", "MiB", SAFE,
        "Gradients travel in pieces of this size."),
    CHOICE("parallel.share_params", parallel.share_params, "on|off", "on", SAFE,
           "on: the ranks of a node hold the parameters once, in shared memory; off, or with "
           "parallel.shard none: each rank holds its own."),
    CHOICE("parallel.wire", parallel.wire, "fp32|bf16", "fp32", PATH,
           "What gradients are rounded to between nodes; bf16 needs parallel.reduce fast."),

    CHOICE(
        "numerics.precision", numerics.precision, "fp32|bf16", "fp32", PATH,
        "bf16: matrix products read bfloat16 and sum in single precision; weights, norms, softmax, "
        "loss, gradients and optimizer stay fp32."),

    CHOICE(
        "memory.recompute", memory.recompute, "none|selective|full", "none", SAFE,
        "What the backward pass computes again rather than keep: selective: the q, k, v and gate, "
        "up products; full: each layer. The bits stay the same."),

    INT("checkpoint.every", checkpoint.every, 0, WHOLE, "500", "steps", SAFE,
        "Save every so many steps; 0: only at the end."),
    INT("checkpoint.keep", checkpoint.keep, 2, 1 << 20, "3", "files", SAFE,
        "The newest checkpoints that are kept."),
    INT("checkpoint.keep_every", checkpoint.keep_every, 0, WHOLE, "0", "steps", SAFE,
        "Checkpoints at multiples of this step are kept for ever; 0: none."),

    INT("validate.every", validate.every, 0, WHOLE, "250", "steps", SAFE,
        "Validate every so many steps; 0: only at the end."),
    INT("validate.samples", validate.samples, 0, WHOLE, "512", "sequences", SAFE,
        "The most sequences of the validation split that are used; 0: all."),

    INT("sample.every", sample.every, 0, WHOLE, "0", "steps", SAFE,
        "Show generated text every so many steps; 0: never."),
    TEXT("sample.prompt", sample.prompt, "", "text", SAFE, "What the generated text goes on from."),
    INT("sample.tokens", sample.tokens, 1, 1 << 20, "64", "tokens", SAFE,
        "Length of the generated text."),
    F64("sample.temperature", sample.temperature, 0, 100, "0.8", "", SAFE,
        "0: always the likeliest token; 1: as the model has it."),
    INT("sample.top_k", sample.top_k, 0, 1 << 24, "40", "tokens", SAFE,
        "Choose among the k likeliest tokens; 0: all."),
    F64("sample.top_p", sample.top_p, 0, 1, "0.95", "", SAFE,
        "Choose among the likeliest tokens that together have this probability; 1: all."),
};
const int CONF_N_KEYS = sizeof CONF_KEYS / sizeof CONF_KEYS[0];

_Static_assert(sizeof CONF_KEYS / sizeof CONF_KEYS[0] <= 256, "more keys than CONF_MAX_KEYS");

const struct conf_key *conf_find(const char *name)
{
    for (int i = 0; i < CONF_N_KEYS; i++)
        if (strcmp(CONF_KEYS[i].name, name) == 0)
            return &CONF_KEYS[i];
    return NULL;
}

void *conf_member(const struct conf_key *k, struct config *c)
{
    return (char *)c + k->offset;
}
