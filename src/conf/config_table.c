#include "conf/config_table.h"

#include <string.h>

#define AT(member) offsetof(struct config, member), sizeof(((struct config *)0)->member)
#define WHOLE      9e15 /* counts stay exact in a double */

/* Last come the help and, where there is one, its source. */
#define HELP(...)                 HELP_FIRST_TWO(__VA_ARGS__, NULL, 0)
#define HELP_FIRST_TWO(h, s, ...) h, s
#define INT(name, member, min, max, def, unit, effect, ...)                                        \
    {                                                                                              \
        name, CONF_INT, AT(member), min, max, NULL, def, unit, effect, HELP(__VA_ARGS__), false    \
    }
#define F64(name, member, min, max, def, unit, effect, ...)                                        \
    {                                                                                              \
        name, CONF_F64, AT(member), min, max, NULL, def, unit, effect, HELP(__VA_ARGS__), false    \
    }
#define TEXT(name, member, def, unit, effect, ...)                                                 \
    {                                                                                              \
        name, CONF_TEXT, AT(member), 0, 0, NULL, def, unit, effect, HELP(__VA_ARGS__), false       \
    }
#define ROWS(name, member, def, unit, effect, ...)                                                 \
    {                                                                                              \
        name, CONF_TEXT, AT(member), 0, 0, NULL, def, unit, effect, HELP(__VA_ARGS__), true        \
    }
#define CHOICE(name, member, choices, def, effect, ...)                                            \
    {                                                                                              \
        name, CONF_CHOICE, AT(member), 0, 0, choices, def, "", effect, HELP(__VA_ARGS__), false    \
    }
#define AMOUNT(name, member, min, max, units, def, unit, effect, ...)                              \
    {                                                                                              \
        name, CONF_AMOUNT, AT(member), min, max, units, def, unit, effect, HELP(__VA_ARGS__),      \
            false                                                                                  \
    }
#define DURATION(name, member, max, def, effect, ...)                                              \
    {                                                                                              \
        name, CONF_DURATION, AT(member), 0, max, NULL, def, "s", effect, HELP(__VA_ARGS__), false  \
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
    DURATION("run.watchdog", run.watchdog_s, 1e9, "120s", SAFE,
             "A rank that gets no further for so long, or for 10 times what is usual, ends the job "
             "(exit 69) and says where it was; 0: never."),

    TEXT("model.preset", model.preset, "", "name", NEVER,
         "A Gemma shape by name; this or model.path.",
         "Gemma Team 2024 (Gemma; Gemma 2) and 2025 (Gemma 3)"),
    TEXT("model.path", model.path, "", "file or folder", NEVER,
         "A Hugging Face config.json, or the folder that holds one; this or model.preset."),
    TEXT("model.init", model.init, "", "file or folder", NEVER,
         "Run, checkpoint or Hugging Face folder to start from, which also sets the model's shape "
         "where no other key does; empty: random weights."),
    INT("model.vocab", model.vocab, -1, 1 << 24, "-1", "token ids", NEVER,
        "Vocabulary; -1: the token store's."),
    INT("model.width", model.width, -1, 1 << 20, "-1", "elements", NEVER,
        "Model width; -1: as the preset has it."),
    INT("model.layers", model.layers, -1, 256, "-1", "layers", NEVER,
        "Number of layers; -1: as the preset has it."),
    INT("model.heads", model.heads, -1, 1 << 16, "-1", "heads", NEVER,
        "Query heads; -1: as the preset has it."),
    INT("model.kv_heads", model.kv_heads, -1, 1 << 16, "-1", "heads", NEVER,
        "Key and value heads; -1: as the preset has it.", "Shazeer 2019; Ainslie et al. 2023"),
    INT("model.head_dim", model.head_dim, -1, 1 << 16, "-1", "elements", NEVER,
        "Size of a head; -1: as the preset has it."),
    INT("model.ffn", model.ffn, -1, 1 << 22, "-1", "elements", NEVER,
        "Width of the feed-forward layer; -1: as the preset has it."),
    INT("model.window", model.window, -1, 1 << 30, "-1", "tokens", NEVER,
        "Keys that a sliding-window layer sees; -1: as the preset has it.",
        "Beltagy et al. 2020; Gemma Team 2024 (Gemma 2), section 2"),
    INT("model.window_pattern", model.window_pattern, -1, 256, "-1", "layers", NEVER,
        "Every nth layer sees all keys, the others a window; -1: as the preset has it.",
        "Gemma Team 2025 (Gemma 3), section 2"),

    TEXT("data.train", data.train, "", "file", SAFE,
         "Token store to train on, made by `carat prepare`; its content is checked on resume."),
    TEXT("data.valid", data.valid, "", "file", SAFE,
         "Token store to validate on; empty: the validation split of data.train."),
    CHOICE("data.boundary", data.boundary, "none|loss|attention", "none", PATH,
           "Where documents meet: none: they run on; loss: a document's first token is no target; "
           "attention: nor is the document before it seen.",
           "Grattafiori et al. 2024 (Llama 3), section 3.2 (attention within documents)"),

    INT("batch.global", batch.global, 0, 1 << 24, "0", "sequences", PATH,
        "Sequences in one optimizer step, over all ranks. Has to be set.",
        "McCandlish et al. 2018 (how large a batch still pays)"),
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
             "Save and stop (exit 75) before this much wall time has passed; 0: none. carat train "
             "goes by the end of its Slurm job as well."),
    INT("train.log_every", train.log_every, 1, WHOLE, "1", "steps", SAFE,
        "A line of the log every so many steps."),

    TEXT("batch.ramp", batch.ramp, "", "AMOUNT:BATCH ...", PATH,
         "A global batch that grows: \"0:64 2Mtok:128 20Mtok:256\" takes 64 sequences a step at "
         "first, 128 from 2M tokens on, and so on up to batch.global; the rate follows it by "
         "scaling.rule. Empty: batch.global throughout.",
         "Smith et al. 2018; Megatron-LM and OLMo ramp in this form"),

    TEXT("optimizer.name", optimizer.name, "adamw", "name", NEVER,
         "The update rule; `carat help optimizers` lists them.",
         "each rule's own, in `carat help optimizers`"),
    F64("optimizer.lr", optimizer.lr, 0, 1e3, "1e-3", "", PATH,
        "Peak learning rate, tuned at scaling.base_batch.",
        "Robbins & Monro 1951 (the step size); Goyal et al. 2017, section 2.1 (tuned at a base "
        "batch)"),
    F64("optimizer.beta1", optimizer.beta1, -1, 0.999999, "-1", "", PATH,
        "Decay of the average gradient; -1: the rule's own.", "Kingma & Ba 2015, algorithm 1"),
    F64("optimizer.beta2", optimizer.beta2, -1, 0.999999, "-1", "", PATH,
        "Decay of the average squared gradient; -1: the rule's own.",
        "Kingma & Ba 2015, algorithm 1"),
    F64("optimizer.eps", optimizer.eps, -1, 1, "-1", "", PATH,
        "Added to the root of the average squared gradient; -1: the rule's own.",
        "Kingma & Ba 2015, algorithm 1"),
    F64("optimizer.momentum", optimizer.momentum, -1, 0.999999, "-1", "", PATH,
        "Momentum of sgd, rmsprop, lars and muon; -1: the rule's own.",
        "Polyak 1964; Sutskever et al. 2013"),
    F64("optimizer.dampening", optimizer.dampening, 0, 1, "0", "", PATH,
        "The gradient's part in sgd's momentum is 1 less this.", "torch.optim's SGD"),
    CHOICE("optimizer.nesterov", optimizer.nesterov, "off|on", "off", PATH,
           "sgd looks ahead along its momentum.", "Nesterov 1983; Sutskever et al. 2013"),
    F64("optimizer.weight_decay", optimizer.weight_decay, 0, 100, "0.1", "", PATH,
        "Weight decay in the rule's own way, decoupled in adamw; on matrices, norms take none.",
        "Loshchilov & Hutter 2019 (decoupled weight decay)"),
    F64("optimizer.clip_norm", optimizer.clip_norm, 0, 1e9, "1", "", PATH,
        "Gradients of a greater global norm are scaled down to it; 0: no clipping.",
        "Pascanu et al. 2013 (difficulty of training recurrent networks)"),
    F64("optimizer.clip_value", optimizer.clip_value, 0, 1e9, "0", "", PATH,
        "Each element of the mean gradient, clipped by norms where that is on, is cut to this "
        "size; "
        "0: no clipping.",
        "Mikolov 2012 (statistical language models)"),
    F64("optimizer.clip_adaptive", optimizer.clip_adaptive, 0, 1e9, "0", "", PATH,
        "In the layers' matrices a row's mean gradient may have at most this share of the row's "
        "own norm (0.01 is usual); the embedding, which is the output layer, is left alone. After "
        "optimizer.clip_norm; 0: no clipping.",
        "Brock et al. 2021, eq. 3"),
    F64("optimizer.trust", optimizer.trust, 0, 1, "0.001", "", PATH, "Trust coefficient of lars.",
        "You et al. 2017 (LARS)"),
    F64("optimizer.d0", optimizer.d0, 1e-30, 1, "1e-6", "", PATH,
        "First guess of prodigy's distance to the solution.", "Mishchenko & Defazio 2024, alg. 4"),
    F64("optimizer.d_growth", optimizer.d_growth, 0, 1e9, "0", "", PATH,
        "The most by which prodigy's distance grows in a step, as a factor; 0: no limit.",
        "Mishchenko & Defazio 2024 (Prodigy)"),
    F64("optimizer.hyper_lr", optimizer.hyper_lr, 0, 1e9, "1e-4", "", PATH,
        "How fast the hypergradient rules change their rate.",
        "Baydin et al. 2018 (hypergradient descent)"),
    F64("optimizer.hyper_cap", optimizer.hyper_cap, 1, 1e9, "10", "", PATH,
        "Hypergradient rules keep their rate between the scheduled one divided by this and "
        "multiplied by it."),

    F64("regularize.l1", regularize.l1, 0, 100, "0", "", PATH,
        "The sign of a matrix's weight times this joins its mean gradient, after clipping.",
        "Tibshirani 1996 (the lasso)"),
    F64("regularize.l2", regularize.l2, 0, 100, "0", "", PATH,
        "A matrix's weight times this joins its mean gradient, after clipping: decay that goes "
        "through the rule, where optimizer.weight_decay of adamw does not.",
        "Krogh & Hertz 1992 (weight decay)"),
    F64("regularize.dropout", regularize.dropout, 0, 0.99, "0", "", PATH,
        "Share of the values that attention and feed-forward layers add to the residual stream "
        "which training sets to zero, drawn by seed and sample: the same on any number of ranks. "
        "None in validation.",
        "Srivastava et al. 2014 (dropout)"),
    F64("regularize.label_smoothing", regularize.label_smoothing, 0, 0.99, "0", "", PATH,
        "Share of a target's probability that is spread evenly over the vocabulary. The loss that "
        "is reported stays the plain cross-entropy.",
        "Szegedy et al. 2016 (Inception, label smoothing)"),
    F64("regularize.z_loss", regularize.z_loss, 0, 1, "0", "", PATH,
        "Weight of the squared logarithm of the softmax's sum in what is trained on; 1e-4 is "
        "usual. The loss that is reported stays the plain cross-entropy.",
        "Chowdhery et al. 2022, section 5"),

    F64("rates.layer_decay", rates.layer_decay, 1e-6, 1, "1", "", PATH,
        "The last layer and the final norm have the full rate, each layer this share of the one "
        "above it, the embedding that of a layer below the first. All factors under rates.* "
        "multiply.",
        "Howard & Ruder 2018 (discriminative fine-tuning)"),
    TEXT("rates.layers", rates.layers, "", "FROM-TO:FACTOR ...", PATH,
         "Factors of the rate by layer, counted from 0: \"0-3:0.1 4-11:0.5\"; ranges may not "
         "overlap.",
         "Howard & Ruder 2018 (discriminative fine-tuning)"),
    TEXT("rates.tensors", rates.tensors, "", "PATTERN:FACTOR ...", PATH,
         "Factors of the rate by tensor name, with * and ?: \"*.mlp.*:0.5\"; the last that fits "
         "counts.",
         "torch.optim's parameter groups"),
    F64("rates.embed", rates.embed, 0, 1e6, "1", "", PATH,
        "Factor of the embedding's rate; the output layer is the same tensor.",
        "Yang et al. 2022 (a rate for input weights of their own)"),
    F64("rates.norms", rates.norms, 0, 1e6, "1", "", PATH, "Factor of the norms' rate.",
        "torch.optim's parameter groups"),
    TEXT("rates.freeze", rates.freeze, "", "layers and patterns", NEVER,
         "What is not trained: layers, patterns of tensor names, and embed, which is the output "
         "layer too: \"embed 0-5 *norm*\". No gradient is computed for it, nor any below the "
         "lowest tensor that is trained, and no optimizer state is kept.",
         "Howard & Ruder 2018 (freezing and unfreezing of layers)"),
    INT("rates.mup_base", rates.mup_base, 0, 1 << 20, "0", "width", NEVER,
        "Width at which the rate was tuned; a model m times as wide keeps the best rate (muP): in "
        "its layers' matrices variance of the first values / m, rate / m, weight decay · m; logits "
        "/ m; embedding and norms as they were. Widen by more heads of the same size. For adamw "
        "and its kin; 0: off.",
        "Yang et al. 2022, table 8"),

    TEXT("schedule.name", schedule.name, "cosine", "name", PATH,
         "How the rate goes on after the warmup; `carat help schedules` lists the rules.",
         "each rule's own, in `carat help schedules`"),
    CHOICE("schedule.clock", schedule.clock, "tokens|samples|steps|epochs", "tokens", PATH,
           "What the schedule counts; steps differ from the others with batch.ramp. Epochs are "
           "counted in "
           "samples, as fractions.",
           "Johnson et al. 2020 (progress that a batch makes, against steps)"),
    AMOUNT("schedule.warmup", schedule.warmup, 0, WHOLE, "steps|tokens|samples|epochs|%", "2%",
           "steps", PATH, "Length of the warmup: an amount or a share of the run.",
           "Goyal et al. 2017, section 2.2"),
    CHOICE("schedule.warmup_shape", schedule.warmup_shape,
           "linear|constant|gradual|exponential|none", "linear", PATH,
           "linear: from 0; constant: at schedule.warmup_start; gradual: from it up; exponential: "
           "1 - exp(-(1 - β2)·t) throughout, the schedule going on after schedule.warmup; none: no "
           "warmup.",
           "Goyal et al. 2017, section 2.2; Ma & Yarats 2021 (untuned warmup for Adam)"),
    F64("schedule.warmup_start", schedule.warmup_start, 0, 1, "0.1", "", PATH,
        "Where a constant or gradual warmup begins, as a share of the peak.",
        "Goyal et al. 2017, section 2.2"),
    F64("schedule.final", schedule.final, -1, 1, "-1", "", PATH,
        "Last learning rate as a share of the peak, lowest of restarts and of reduce_on_plateau; "
        "-1: the rule's own, 0.1 of most.",
        "Rae et al. 2021 (Gopher) and Hoffmann et al. 2022 (Chinchilla): a decay to a tenth of the "
        "peak"),
    F64("schedule.gamma", schedule.gamma, 1e-9, 1, "0.1", "", PATH,
        "Factor of step, multi_step, exponential and cyclical_exp.",
        "torch.optim.lr_scheduler's StepLR, MultiStepLR, ExponentialLR and CyclicLR"),
    AMOUNT("schedule.every", schedule.every, 0, WHOLE, "steps|tokens|samples|epochs|%", "30%",
           "steps", PATH,
           "Time from the warmup's end to the first fall of step and between two, and in which "
           "exponential and cyclical_exp fall by schedule.gamma; %: of what follows the warmup.",
           "torch.optim.lr_scheduler's StepLR"),
    TEXT("schedule.milestones", schedule.milestones, "", "AMOUNT ...", PATH,
         "When multi_step falls, counted from the start of the run or of its piece: \"50% 75%\", "
         "\"1000 steps, 4Mtok\".",
         "torch.optim.lr_scheduler's MultiStepLR"),
    F64("schedule.power", schedule.power, -10, 10, "0", "", PATH,
        "Exponent of polynomial (above 0) and of power (below 0); 0: the rule's own, 1 and -0.51.",
        "Shen et al. 2024 (Power scheduler)"),
    AMOUNT("schedule.cycle", schedule.cycle, 0, WHOLE, "steps|tokens|samples|epochs|%", "10%",
           "steps", PATH,
           "First cycle of restarts; rise and fall together of the cyclical rules; %: of what "
           "follows the warmup.",
           "Loshchilov & Hutter 2017; Smith 2017"),
    F64("schedule.cycle_mult", schedule.cycle_mult, 1, 1e3, "1", "", PATH,
        "Each cycle of restarts is so many times as long as the one before.",
        "Loshchilov & Hutter 2017 (SGDR: T_mult)"),
    F64("schedule.rise", schedule.rise, -1, 1, "-1", "", PATH,
        "The rise's share of a cycle; -1: the rule's own, 0.3 of one_cycle, 0.5 of the cyclical "
        "rules.",
        "Smith & Topin 2018"),
    F64("schedule.base", schedule.base, -1, 1, "-1", "", PATH,
        "Lowest rate of the cyclical rules and first of one_cycle, as a share of the peak; -1: the "
        "rule's own, 0.25 and 0.04.",
        "Smith 2017; Smith & Topin 2018"),
    INT("schedule.phases", schedule.phases, 2, 3, "2", "", PATH,
        "one_cycle: 2: up, then down to the end; 3: up, down the same way, then to the end.",
        "Smith & Topin 2018; torch.optim.lr_scheduler's OneCycleLR"),
    F64("schedule.momentum_low", schedule.momentum_low, 0, 0.999999, "0.85", "", PATH,
        "one_cycle: momentum, or beta1, where the rate is highest.",
        "Smith 2018 (a disciplined approach: cyclical momentum)"),
    F64("schedule.momentum_high", schedule.momentum_high, 0, 0.999999, "0.95", "", PATH,
        "one_cycle: momentum, or beta1, where the rate is lowest; equal to the low one: the "
        "optimizer's own is kept.",
        "Smith 2018 (a disciplined approach: cyclical momentum)"),
    AMOUNT("schedule.decay", schedule.decay, 0, WHOLE, "steps|tokens|samples|epochs|%", "20%",
           "steps", PATH,
           "warmup_stable_decay: length of the decay at the run's end; %: of what follows the "
           "warmup.",
           "Hu et al. 2024 (MiniCPM, the WSD schedule)"),
    CHOICE("schedule.decay_shape", schedule.decay_shape, "sqrt|linear|square|cosine", "sqrt", PATH,
           "warmup_stable_decay: 1 - sqrt(x), 1 - x, 1 - x² or half a cosine.",
           "Hägele et al. 2024 (constant rate with a cooldown)"),
    AMOUNT("schedule.timescale", schedule.timescale, 0, WHOLE, "steps|tokens|samples|epochs|%", "0",
           "steps", PATH,
           "inverse_sqrt: time after which the rate has fallen by √2; power: by 2^power; 0: the "
           "warmup's length.",
           "Vaswani et al. 2017, eq. 3"),
    F64("schedule.factor", schedule.factor, 1e-9, 1, "0.1", "", PATH,
        "reduce_on_plateau: the rate is multiplied by this.",
        "torch.optim.lr_scheduler's ReduceLROnPlateau"),
    INT("schedule.patience", schedule.patience, 0, 1 << 20, "10", "validations", PATH,
        "reduce_on_plateau: validations without a better loss that are borne with.",
        "torch.optim.lr_scheduler's ReduceLROnPlateau"),
    F64("schedule.threshold", schedule.threshold, 0, 1, "1e-4", "", PATH,
        "reduce_on_plateau: a loss is better below the best times 1 less this.",
        "torch.optim.lr_scheduler's ReduceLROnPlateau"),
    TEXT("schedule.pieces", schedule.pieces, "", "NAME AMOUNT KEY=VALUE ..., ...", PATH,
         "piecewise: rules in turn, each with its length and keys of its own: \"constant 1000 "
         "steps, cosine 50% final=0.3, exponential gamma=0.5\"; % in keys is of the piece. A piece "
         "begins at the rate where the one before ended, or at from=SHARE of the peak; the last "
         "goes on to the end.",
         "torch.optim.lr_scheduler's SequentialLR"),

    TEXT("scaling.rule", scaling.rule, "none", "name", PATH,
         "How rate, averages and decay follow the batch; `carat help scaling` lists the rules.",
         "Goyal et al. 2017, section 2.1 (linear); Krizhevsky 2014 and Malladi et al. 2022 (square "
         "root); Wang & Aitchison 2024 (decay); Marek et al. 2025 (half-life); Li et al. 2024 "
         "(surge); Johnson et al. 2020 (AdaScale)"),
    INT("scaling.base_batch", scaling.base_batch, -1, 1 << 24, "-1", "sequences", PATH,
        "The batch at which optimizer.lr was tuned; -1: batch.global.",
        "Goyal et al. 2017, section 2.1"),
    F64("scaling.noise_scale", scaling.noise_scale, 0, 1e9, "0", "sequences", PATH,
        "Gradient noise scale of an earlier run: surge needs it, the other rules warn beyond it; "
        "0: not known.",
        "McCandlish et al. 2018, section 2.2; Li et al. 2024 (surge)"),

    INT("noise.every", noise.every, -1, WHOLE, "-1", "steps", SAFE,
        "Measure the gradient noise scale every so many steps; 0: never; -1: as often as takes no "
        "more than about 1 % of a step, which is each one from micro-batches of 512 tokens on.",
        "McCandlish et al. 2018, appendix A.1"),
    F64("noise.decay", noise.decay, 0, 0.9999999, "0.99", "", SAFE,
        "Smoothing of its numerator and denominator, a measurement.",
        "McCandlish et al. 2018, appendix A.1"),

    INT("monitor.every", monitor.every, 0, WHOLE, "1", "steps", SAFE,
        "Measure norms by layer, the size of the update and the greatest attention logit every so "
        "many steps; 0: never.",
        "You et al. 2017 (weights against their gradients); Dehghani et al. 2023 (growth of "
        "attention logits)"),
    CHOICE("monitor.nonfinite", monitor.nonfinite, "skip|stop|back", "skip", PATH,
           "A loss or gradient that is not finite: skip: leave the update out; stop: end with exit "
           "code 76; back: go back to a checkpoint, lower the rate, leave the samples out.",
           "Micikevicius et al. 2018, section 3.2"),
    CHOICE("monitor.spike", monitor.spike, "off|warn|skip|stop|back", "warn", PATH,
           "A loss or gradient norm far above those of the steps before it: warn: say so; skip: "
           "leave the update out; stop: end with exit code 76; back: go back to a checkpoint, "
           "lower the rate, leave the samples out.",
           "Chowdhery et al. 2022, section 5.1"),
    F64("monitor.spike_sigma", monitor.spike_sigma, 1, 1e6, "6", "standard deviations", PATH,
        "How far above the mean of the window a spike is."),
    INT("monitor.spike_window", monitor.spike_window, 4, 1024, "128", "steps", PATH,
        "Steps that a spike is compared with; detection begins at half of them."),
    CHOICE("monitor.diverged", monitor.diverged, "off|warn|stop|back", "stop", PATH,
           "A smoothed loss that stays above its start, or above its best by monitor.margin: warn, "
           "stop or back, as in monitor.spike.",
           "Zhang et al. 2022 (OPT), section 2.5"),
    F64("monitor.margin", monitor.margin, 0, 1e6, "0.5", "nat", PATH,
        "Divergence: above the best smoothed loss by this and by a tenth of it, or above the "
        "first by half of this."),
    INT("monitor.diverged_steps", monitor.diverged_steps, 1, WHOLE, "200", "steps", PATH,
        "Divergence: for so many steps in a row."),
    CHOICE("monitor.oscillation", monitor.oscillation, "off|warn|stop", "warn", PATH,
           "A loss that swings from step to step: warn: say so; stop: save and end with exit code "
           "76."),
    F64("monitor.oscillation_limit", monitor.oscillation_limit, -1, 0, "-0.3", "", PATH,
        "Oscillation: autocorrelation of the detrended loss from one step to the next below this."),
    CHOICE("monitor.plateau", monitor.plateau, "off|warn|stop", "warn", PATH,
           "A loss whose slope over the last tenth of the tokens may be zero: warn or stop, as in "
           "monitor.oscillation."),
    CHOICE("monitor.overfit", monitor.overfit, "off|warn|stop", "warn", PATH,
           "A validation loss that rises while the training loss falls: warn or stop, as in "
           "monitor.oscillation.",
           "Prechelt 1998 (the criterion UP)"),
    INT("monitor.overfit_times", monitor.overfit_times, 1, 1 << 20, "3", "validations", PATH,
        "Overfitting: rises in a row.", "Prechelt 1998 (the criterion UP)"),
    F64("monitor.clip_limit", monitor.clip_limit, 0, 1, "0.5", "", PATH,
        "Warn where more than this share of the recent steps was clipped; 1: never.",
        "Pascanu et al. 2013 (clipping, and the norm that it begins at)"),
    F64("monitor.back_rate", monitor.back_rate, 1e-6, 1, "0.5", "", PATH,
        "Each going back multiplies the rate by this.", "Zhang et al. 2022 (OPT), section 2.5"),
    INT("monitor.back_skip", monitor.back_skip, 0, WHOLE, "0", "steps", PATH,
        "Batches left out after going back, from the checkpoint's on; 0: up to and with the "
        "offending one.",
        "Chowdhery et al. 2022, section 5.1"),
    INT("monitor.back_most", monitor.back_most, 1, 1 << 20, "3", "times", PATH,
        "How often a run goes back before it ends with exit code 76."),
    INT("monitor.replicas_every", monitor.replicas_every, 0, WHOLE, "1", "steps", SAFE,
        "Compare hashes of the parameters of all ranks, or of nodes that share them, every so many "
        "steps and before each save; a difference ends the run with exit code 69, naming tensor "
        "and ranks. With parallel.shard optimizer a step writes them anew from their owners, so "
        "only flips of the steps that are compared are found; 0: never."),
    CHOICE("monitor.repeat", monitor.repeat, "on|off", "on", SAFE,
           "on: a step whose loss or gradient is not finite or a spike is computed again before "
           "anything is done: the same bits clear the hardware; other bits are outvoted by a third "
           "result, and the rank is named, by its gradient where noise.every measures the step. "
           "Without two that agree the run ends with exit code 69."),

    CHOICE("parallel.reduce", parallel.reduce, "exact|fast", "exact", PATH,
           "exact: the same bits on any number of ranks; fast: less memory and traffic."),
    CHOICE("parallel.shard", parallel.shard, "optimizer|none", "optimizer", SAFE,
           "optimizer: each rank keeps its share of the optimizer's state; none: all of it.",
           "Rajbhandari et al. 2020 (ZeRO, stage 1)"),
    INT("parallel.threads", parallel.threads, 1, 1024, "1", "per rank", PATH,
        "Threads of matrix products in one rank; one rank a core is faster."),
    CHOICE("parallel.pin", parallel.pin, "auto|off", "auto", SAFE,
           "auto: ranks of a node that see the same processors share them out, near memory."),
    INT("parallel.bucket_mib", parallel.bucket_mib, 1, 4096, "16", "MiB", SAFE,
        "Gradients travel in pieces of this size.", "Li et al. 2020 (PyTorch Distributed)"),
    CHOICE("parallel.share_params", parallel.share_params, "on|off", "on", SAFE,
           "on: the ranks of a node hold the parameters once, in shared memory; off, or with "
           "parallel.shard none: each rank holds its own."),
    CHOICE("parallel.wire", parallel.wire, "fp32|bf16", "fp32", PATH,
           "What gradients are rounded to between nodes; bf16 needs parallel.reduce fast."),

    CHOICE(
        "numerics.precision", numerics.precision, "fp32|bf16", "fp32", PATH,
        "bf16: matrix products read bfloat16 and sum in single precision; weights, norms, softmax, "
        "loss, gradients and optimizer stay fp32.",
        "Kalamkar et al. 2019 (bfloat16); Micikevicius et al. 2018 (master weights)"),

    CHOICE(
        "memory.recompute", memory.recompute, "none|selective|full", "none", SAFE,
        "What the backward pass computes again rather than keep: selective: the q, k, v and gate, "
        "up products; full: each layer. The bits stay the same.",
        "Chen et al. 2016; Korthikanti et al. 2022, section 5 (selective)"),

    INT("checkpoint.every", checkpoint.every, 0, WHOLE, "500", "steps", SAFE,
        "Save every so many steps; 0: only at the end."),
    INT("checkpoint.keep", checkpoint.keep, 2, 1 << 20, "3", "files", SAFE,
        "The newest checkpoints that are kept."),
    INT("checkpoint.keep_every", checkpoint.keep_every, 0, WHOLE, "0", "steps", SAFE,
        "Checkpoints at multiples of this step are kept for ever; 0: none."),
    CHOICE("checkpoint.async", checkpoint.async, "on|off", "on", SAFE,
           "on: training goes on while a copy of what is saved is written, which takes as much "
           "memory again; off: it waits."),

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
        "0: always the likeliest token; 1: as the model has it.", "Ackley et al. 1985"),
    INT("sample.top_k", sample.top_k, 0, 1 << 24, "40", "tokens", SAFE,
        "Choose among the k likeliest tokens; 0: all.", "Fan et al. 2018"),
    F64("sample.top_p", sample.top_p, 0, 1, "0.95", "", SAFE,
        "Choose among the likeliest tokens that together have this probability; 1: all.",
        "Holtzman et al. 2020, section 3.1"),

    TEXT("study.dir", study.dir, "", "folder", SAFE,
         "Where trials and results lie; empty: run.dir with -search or -study behind it."),
    INT("study.ranks", study.ranks, 0, 1 << 20, "0", "ranks", SAFE,
        "Ranks that a trial runs on; the others run further trials beside it; 0: all."),
    INT("study.ahead", study.ahead, 1, 1 << 16, "4", "trials", SAFE,
        "A new trial learns from those that are at least so many numbers older, which makes a "
        "study the same whatever number of workers runs it; more of it keeps more workers busy."),
    DURATION("study.stale", study.stale_s, 1e6, "2m", SAFE,
             "A trial whose worker gave no sign of life for so long is taken over."),
    INT("study.attempts", study.attempts, 1, 1000, "3", "times", SAFE,
        "A trial whose workers died so often, none having saved a checkpoint, counts as failed, "
        "and "
        "the study goes on."),
    CHOICE("study.keep", study.keep, "best|all|none", "best", SAFE,
           "Whose checkpoints stay once trials have ended; metrics always do."),
    AMOUNT("study.budget", study.budget, 1, 1e18, "tokens", "", "tokens", SAFE,
           "The most that all trials together may train on; empty: no limit."),
    F64("study.core_hours", study.core_hours, 0, 1e12, "0", "core-hours", SAFE,
        "The most that all trials together may take; 0: no limit."),
    TEXT("study.batches", study.batches, "", "sequences", SAFE,
         "Batches to study, such as 8,16,32,64; empty: batch.global times 1/4 to 4."),
    TEXT("study.targets", study.targets, "", "nats", SAFE,
         "Validation losses to reach, such as 2.5,2.3,2.1: steps to each are fitted.",
         "Shallue et al. 2019, section 4.1"),
    INT("study.rates", study.rates, 1, 1000, "3", "rates", SAFE,
        "Learning rates tried at each batch before more are added at an edge."),
    F64("study.rate_step", study.rate_step, 1.01, 100, "2", "", SAFE,
        "From one learning rate of the grid to the next: a factor."),
    INT("study.extend", study.extend, 0, 1000, "4", "rates", SAFE,
        "How many rates may be added beyond the first ones at each batch, on either side, while "
        "the best one is at an edge.",
        "Shallue et al. 2019, section 4.2"),
    INT("study.seeds", study.seeds, 1, 1000, "1", "seeds", SAFE,
        "How often each batch's best rate is trained, each time from another run.seed."),
    CHOICE("study.center", study.center, "range|prior|job", "range", SAFE,
           "Where the rates of the grid begin: a range test at each batch, the law fitted to past "
           "studies, or optimizer.lr by scaling.rule."),
    F64("study.give_up", study.give_up, 1, 1e6, "2", "", SAFE,
        "A trial is given up past so many times the tokens that the batch's best one took."),
    INT("study.warmup_steps", study.warmup_steps, 0, WHOLE, "0", "steps", SAFE,
        "A study keeps the job's warmup in tokens, which are few steps of a large batch: at least "
        "so many."),
    TEXT("study.rank_counts", study.rank_counts, "", "ranks", SAFE,
         "Numbers of ranks on which step times are measured, such as 1,2,4; empty: a trial's own."),
    TEXT("study.rules", study.rules, "none,linear,sqrt", "rules", SAFE,
         "Scaling rules that are put to test against the tuned rate of each batch."),
    TEXT("study.from", study.from, "", "steps", SAFE,
         "Checkpoints of run.dir that branches start from, such as 1000,2000,4000; empty: up to "
         "four of those that are there, evenly."),
    TEXT("study.factors", study.factors, "1,2,4,8", "factors", SAFE,
         "Batches of the branches from a checkpoint, times its own.",
         "Merrill et al. 2025, branched training"),
    AMOUNT("study.branch", study.branch, 0, 1e18, "tokens|samples|steps|epochs|%", "", "tokens",
           SAFE, "How long each branch trains; empty: a tenth of the run."),
    F64("study.harm", study.harm, 0, 100, "0.01", "nats", SAFE,
        "A batch is harmless while its branch's loss is at most this above the least of smaller "
        "batches; a scaling rule holds while its loss is at most this above the tuned rate's.",
        "Merrill et al. 2025"),
    TEXT("study.past", study.past, "", "folder", SAFE,
         "Folder whose finished runs and studies tell where to look for rates; empty: none."),

    ROWS("search.space", search.space, "", "space", SAFE,
         "What is searched: for each key a line: uniform, log or int with two ends, or choice with "
         "values, and perhaps a condition (`if key=value`)."),
    CHOICE("search.rule", search.rule, "grid|random|halton|tpe|gp|pbt|bandit", "tpe", SAFE,
           "How the next trial is chosen.",
           "Bergstra et al. 2011 (tpe); Jaderberg et al. 2017 (pbt); Halton 1964"),
    INT("search.trials", search.trials, 1, 1e6, "20", "trials", SAFE,
        "How many trials; a grid has as many as it has points, a bandit two at each milestone."),
    INT("search.points", search.points, 1, 1000, "3", "points", SAFE,
        "Points of a grid in each range of numbers."),
    INT("search.seed", search.seed, 0, WHOLE, "1", "", SAFE,
        "Decides what random choices a search makes."),
    INT("search.startup", search.startup, 0, 1e6, "10", "trials", SAFE,
        "Random trials before tpe and gp begin to learn."),
    INT("search.candidates", search.candidates, 1, 1e6, "24", "points", SAFE,
        "Points that tpe draws and compares for each trial.", "Bergstra et al. 2011"),
    CHOICE("search.prune", search.prune, "none|median|halving|asha", "none", SAFE,
           "How trials that do badly at a milestone are given up.",
           "Jamieson and Talwalkar 2016 (halving); Li et al. 2020 (asha)"),
    INT("search.milestones", search.milestones, 0, 1000, "4", "milestones", SAFE,
        "At so many points before the end trials are compared, at equal tokens; also pbt's "
        "generations."),
    INT("search.eta", search.eta, 2, 1000, "3", "", SAFE,
        "One of so many trials goes on at each milestone of halving and asha."),
    CHOICE("search.equal_flops", search.equal_flops, "off|on", "off", SAFE,
           "Gives each trial as many tokens as make its FLOPs those of the job's own model."),
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
