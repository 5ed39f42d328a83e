/* What holds between keys. */
#include "base/err.h"
#include "conf/amount.h"
#include "conf/config_file.h"

#include <inttypes.h>

static int check_required(const struct config *c)
{
    bool preset = *c->model.preset != '\0', path = *c->model.path != '\0';
    if (preset == path)
        return ERR(E_CONFIG,
                   "%s; set model.preset (a name such as gemma3-270m) or model.path (a "
                   "config.json)",
                   preset ? "both model.preset and model.path are set" : "no model is chosen");
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
    if (global % micro != 0) {
        int64_t below = global / micro * micro;
        return ERR(E_CONFIG,
                   "batch.global (%" PRId64 ") is no multiple of batch.micro (%" PRId64
                   "); %" PRId64 " or %" PRId64 " would be",
                   global, micro, below, below + micro);
    }
    return OK;
}

static int check_warmup(const struct config *c)
{
    /* Epochs come to tokens only where the data is known; one stands for all lengths here. */
    const double epoch = 1e6;
    char warmup[64], length[64];
    bool warmup_epochs = c->schedule.warmup.unit == UNIT_EPOCHS;
    bool length_epochs = c->train.length.unit == UNIT_EPOCHS;
    if (c->schedule.warmup.unit == UNIT_PERCENT || warmup_epochs != length_epochs)
        return OK;
    if (conf_warmup_tokens(c, epoch) <= conf_total_tokens(c, epoch))
        return OK;
    return ERR(E_CONFIG, "schedule.warmup (%s) is longer than the run (%s)",
               amount_text(&c->schedule.warmup, warmup, sizeof warmup),
               amount_text(&c->train.length, length, sizeof length));
}

int conf_check(const struct config *c)
{
    TRY(check_required(c));
    TRY(check_batch(c));
    return check_warmup(c);
}
