/* A model of a step's time on any number of nodes, from rates measured on one.
 *
 * A rank's passes take what they were measured to take. Inside a node every rank sums its piece
 * straight from its neighbours' gradients, at the memory's bandwidth and not hidden behind
 * anything. Between nodes a message of n bytes takes latency + n / bandwidth (Hockney's α–β model):
 * each bucket's pieces go to all other nodes in turn (reduce-scatter), the new parameters come back
 * the same way (all-gather), and the ranks of a node share its link. The gradient's messages run
 * beside the backward pass of the last micro-batch, all but those of the bucket that is done last;
 * the parameters' are waited for.
 *
 * Not modelled: contention between nodes, stragglers, jitter, topology, files; a network whose
 * bandwidth falls with the number of nodes. So it is a bound from below where nodes are many. */
#ifndef CARAT_CMD_STEP_MODEL_H
#define CARAT_CMD_STEP_MODEL_H

#include <stdbool.h>
#include <stdint.h>

struct step_model {
    /* The job. */
    double n_params;       /* floats that are summed and handed out */
    double n_trained;      /* of them, that are updated: the others are frozen */
    int64_t global, micro; /* sequences */
    double seq_len;
    int moves;           /* floats a parameter that an update reads and writes */
    double update_flops; /* of the update's matrix products; each is one rank's */
    double most_flops;   /* of the largest of them */
    bool sharded;        /* optimizer state over all ranks; else every rank updates everything */
    bool shared;         /* a node's parameters lie there once, so that ranks need not copy them */
    double bucket_bytes; /* of gradient: what travels at a time */
    double wire_bytes;   /* of a gradient's float between nodes: 4 or 2 */
    /* The machine. */
    int ranks_a_node;
    double micro_s;          /* passes over a full micro-batch */
    double pack_s;           /* one rank packs all weights for products to read, after an update */
    double backward_share;   /* of them, that gradients can travel beside */
    double rank_bytes_per_s; /* memory, all ranks of a node at work */
    double rank_flops_per_s; /* of the passes */
    double latency_s;        /* of a message between nodes */
    double link_bytes_per_s; /* of a node, each way */
};

struct step_time {
    int64_t nodes, ranks, per_rank; /* micro-batches of the busiest rank */
    double passes_s;                /* of the busiest rank */
    double sum_s;                   /* gradients summed in memory */
    double hidden_s, exposed_s;     /* gradients' messages: beside the passes, and waited for */
    double optim_s;
    double gather_s; /* parameters' messages and copies */
    double pack_s;
    double agree_s; /* loss, norm and flags: one small reduction */
    double step_s;  /* all but hidden_s */
    double tokens_per_s;
};

/* `ranks` on as few nodes as hold them. */
struct step_time step_model_time(const struct step_model *m, int64_t ranks);
/* Tokens/s a rank over those of one node (or of fewer ranks, when it has no more). */
double step_model_efficiency(const struct step_model *m, int64_t ranks);
/* The smallest batch.global, in whole micro-batches for every rank, that has this efficiency
 * against a node with the job's own batch; 0: none of at most 2^40 sequences has. */
int64_t step_model_batch_for(const struct step_model *m, int64_t ranks, double efficiency);

#endif
