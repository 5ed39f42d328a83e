/* What holds between keys. */
#include "base/err.h"
#include "conf/config_file.h"

#include <inttypes.h>
#include <string.h>

static int check_required(const struct config *c)
{
    bool preset = *c->model.preset != '\0', path = *c->model.path != '\0';
    if (preset && path)
        return ERR(E_CONFIG, "both model.preset and model.path are set; one of them is enough");
    if (!preset && !path && *c->model.init == '\0')
        return ERR(E_CONFIG, "no model is chosen; set model.preset (a name such as gemma3-270m), "
                             "model.path (a config.json) or model.init (weights to start from)");
    if (*c->data.train == '\0')
        return ERR(E_CONFIG,
                   "data.train is not set; `carat prepare` makes a token store from text");
    if (*c->run.dir == '\0')
        return ERR(E_CONFIG, "run.dir is empty; set it to the folder that the run shall live in");
    if (c->train.length.unit == UNIT_NONE)
        return ERR(E_CONFIG,
                   "the run has no length; set train.steps, train.tokens or train.epochs");
    if (c->batch.global == 0)
        return ERR(E_CONFIG, "batch.global is not set: the sequences of one step, over all ranks");
    return OK;
}

static int check_batch(const struct config *c)
{
    int64_t global = c->batch.global, micro = c->batch.micro;
    if (micro > global)
        return ERR(E_CONFIG, "batch.micro (%" PRId64 ") is greater than batch.global (%" PRId64 ")",
                   micro, global);
    return OK;
}

/* From a batch of 0, every other is infinitely far. */
static int check_scaling(const struct config *c)
{
    if (c->scaling.base_batch == 0)
        return ERR(E_CONFIG, "scaling.base_batch is 0; set it to the batch, in sequences, at which "
                             "optimizer.lr was tuned, or leave it out: then that is batch.global");
    return OK;
}

/* Which sums are rounded would follow from which ranks share a node. */
static int check_wire(const struct config *c)
{
    if (strcmp(c->parallel.wire, "bf16") == 0 && strcmp(c->parallel.reduce, "exact") == 0)
        return ERR(
            E_CONFIG,
            "parallel.wire bf16 rounds between nodes, so the bits would depend on the number "
            "of nodes, and parallel.reduce exact promises that they do not; set "
            "parallel.reduce=fast or parallel.wire=fp32");
    return OK;
}

/* Steps of which a checkpoint is kept for ever have to be steps that save one. */
static int check_checkpoints(const struct config *c)
{
    int64_t every = c->checkpoint.every, keep_every = c->checkpoint.keep_every;
    if (keep_every > 0 && every == 0)
        return ERR(E_CONFIG,
                   "checkpoint.keep_every (%" PRId64 ") keeps checkpoints that checkpoint.every 0 "
                   "does not write; set checkpoint.every=%" PRId64 " or checkpoint.keep_every=0",
                   keep_every, keep_every);
    if (keep_every > 0 && keep_every % every != 0)
        return ERR(
            E_CONFIG,
            "checkpoint.keep_every (%" PRId64 ") is no multiple of checkpoint.every (%" PRId64
            "), so that most of its steps have no checkpoint; set checkpoint.keep_every=%" PRId64,
            keep_every, every, (keep_every / every + 1) * every);
    return OK;
}

/* Source: PyTorch's SGD refuses the same. */
static int check_nesterov(const struct config *c)
{
    if (strcmp(c->optimizer.nesterov, "on") != 0)
        return OK;
    if (c->optimizer.momentum == 0)
        return ERR(E_CONFIG, "optimizer.nesterov on looks ahead along a momentum, and "
                             "optimizer.momentum is 0; set optimizer.momentum=0.9 or "
                             "optimizer.nesterov=off");
    if (c->optimizer.dampening > 0)
        return ERR(E_CONFIG,
                   "optimizer.nesterov on needs an undamped momentum, and "
                   "optimizer.dampening is %g; set optimizer.dampening=0 or "
                   "optimizer.nesterov=off",
                   c->optimizer.dampening);
    return OK;
}

static int check_back(const struct config *c)
{
    const struct {
        const char *key, *action;
    } rows[] = {{"monitor.nonfinite", c->monitor.nonfinite},
                {"monitor.spike", c->monitor.spike},
                {"monitor.diverged", c->monitor.diverged}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (strcmp(rows[i].action, "back") == 0 && c->checkpoint.every == 0)
            return ERR(E_CONFIG,
                       "%s back goes to a checkpoint, and checkpoint.every 0 writes none "
                       "before the end; set checkpoint.every, or %s=stop",
                       rows[i].key, rows[i].key);
    return OK;
}

static int check_folders(const struct config *c)
{
    if (*c->model.init != '\0' && strcmp(c->model.init, c->run.dir) == 0)
        return ERR(E_CONFIG,
                   "model.init and run.dir are the same folder (%s): a run goes on from "
                   "its own checkpoints by itself; take model.init out, or give the new "
                   "run another run.dir",
                   c->run.dir);
    return OK;
}

/* -1 stands for the rule's own; other numbers below 0 would be taken for it. */
static int check_owns(const struct config *c)
{
    const struct {
        const char *key;
        double v;
    } rows[] = {{"optimizer.beta1", c->optimizer.beta1},
                {"optimizer.beta2", c->optimizer.beta2},
                {"optimizer.eps", c->optimizer.eps},
                {"optimizer.momentum", c->optimizer.momentum}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (rows[i].v < 0 && rows[i].v != -1)
            return ERR(E_CONFIG, "%s is %g: set it to 0 or more; -1 is the rule's own", rows[i].key,
                       rows[i].v);
    return OK;
}

int conf_check(const struct config *c)
{
    TRY(check_owns(c));
    TRY(check_required(c));
    TRY(check_batch(c));
    TRY(check_scaling(c));
    TRY(check_wire(c));
    TRY(check_checkpoints(c));
    TRY(check_nesterov(c));
    TRY(check_back(c));
    return check_folders(c);
}
