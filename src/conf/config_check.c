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

int conf_check(const struct config *c)
{
    TRY(check_required(c));
    TRY(check_batch(c));
    TRY(check_scaling(c));
    return check_wire(c);
}
