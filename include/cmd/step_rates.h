/* What a step's parts take on this machine, measured without MPI: passes and memory, by as many
 * processes at once as a node would have ranks. */
#ifndef CARAT_CMD_STEP_RATES_H
#define CARAT_CMD_STEP_RATES_H

#include "conf/config.h"
#include "model/spec.h"

#include <stdbool.h>

struct step_rates {
    double micro_s;          /* forward and backward pass over a full micro-batch */
    double backward_share;   /* of it */
    double pack_s;           /* all weights into the form that bf16 products read; 0 in fp32 */
    double rank_bytes_per_s; /* memory, read and written */
    int copies;              /* processes that measured at once */
    bool whole; /* the micro-batch itself was passed; else fewer layers and a smaller vocabulary,
                   scaled by FLOPs */
};

/* About `seconds`. The micro-batch is cut to what that time and half of the free memory allow.
 * E_MEM when not even that fits; E_BUG when a process died. Local. */
int step_rates(struct step_rates *r, const struct config *c, const struct model_spec *s,
               int ranks_a_node, double seconds);

#endif
