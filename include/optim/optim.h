/* Optimizers: a rule is a row of the table, in a file of its own or of its family. State lies in
 * slots, arrays of this rank's shard.
 *
 * A rule works in passes over the parts of the shard. A pass may yield sums, over each tensor or
 * over all: they are taken per block and added exactly, so that they, and with them every update,
 * have the same bits on any number of ranks. */
#ifndef CARAT_OPTIM_OPTIM_H
#define CARAT_OPTIM_OPTIM_H

#include "par/comm.h"
#include "par/exactsum.h"
#include "par/shard.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define OPTIM_MAX_SLOTS   4
#define OPTIM_MAX_STATS   2
#define OPTIM_MAX_SCALARS 4
#define OPTIM_MAX_PASSES  3
#define OPTIM_MAX_SUMS    2

/* What one step's update needs; the same on all ranks. */
struct optim_step {
    double lr;
    double beta1, beta2, eps, momentum;
    double weight_decay;
    double grad_scale; /* multiplies the summed gradient: clip factor / counted targets */
    double dampening;
    bool nesterov;
    double trust;
    double d0, d_growth;
    double hyper_lr, hyper_cap;
    /* optim_update fills these in. */
    int64_t t;                         /* this update's number, from 1 */
    double bias1, bias2;               /* 1 - β1·β1'·…, of all updates up to this one */
    double bias1_before, bias2_before; /* of those before it */
};

/* What averages have gone through, as numbers that the next update goes on from: their weights sum
 * to 1 less the product of all β. Where β stays, the product is β^n, in the same bits whatever
 * n updates came before in one process or another. */
struct optim_past {
    double updates; /* made; those that were left out do not count */
    struct {
        double before, beta, n; /* product before β took its present value; since then */
    } of[2];                    /* β1, β2 */
};
enum { OPTIM_PAST_N = sizeof(struct optim_past) / sizeof(double) };

/* A tensor: exactly its floats. In the slab's order, without overlap. */
struct optim_group {
    struct range at;
    bool decay;
    double rate;         /* factor of the learning rate */
    double decay_factor; /* of the weight decay; 0 is taken as 1 */
    size_t rows, cols;   /* of a matrix; a vector has one column */
    bool hidden;         /* a matrix between activations: muon's */
    bool frozen;         /* no gradient, no state */
};

struct optim;

/* Neighbouring floats of one group. */
struct optim_part {
    float *w, *g;
    float *slot[OPTIM_MAX_SLOTS]; /* NULL: the group has none */
    size_t n, at;                 /* floats, and where they begin in the group */
    int group_i;
    const struct optim_group *group;
    const struct optim_step *step;
    const double *sum;    /* of the last pass with sums: the group's, or those of all */
    const double *scalar; /* the rule's */
    struct optim *o;
};

struct optim_pass {
    /* Works on a part; sum[n_sums] is to be set, of a part within one unit of its zone. May be
     * NULL. */
    void (*run)(const struct optim_part *p, double *sum);
    int n_sums;
    bool by_tensor; /* sums are kept apart by group */
    /* Follows on every rank alike, when all are through and `sum` (those of all) is known; may
     * exchange more, and change the step for the next passes. May be NULL. */
    void (*join)(struct optim *o, struct optim_step *s, const double *sum);
};

/* Where a rule lets a tensor be cut. */
enum optim_cut { OPTIM_CUT_ANYWHERE, OPTIM_CUT_ROWS, OPTIM_CUT_HIDDEN_WHOLE };

/* The settings that a rule reads beside lr and weight_decay. */
enum optim_reads {
    OPTIM_BETA1 = 1,
    OPTIM_BETA2 = 2,
    OPTIM_EPS = 4,
    OPTIM_MOMENTUM = 8,
    OPTIM_DAMPENING = 16,
    OPTIM_NESTEROV = 32,
    OPTIM_TRUST = 64,
    OPTIM_DISTANCE = 128, /* d0, d_growth */
    OPTIM_HYPER = 256     /* hyper_lr, hyper_cap */
};

struct optim_rule {
    const char *name; /* "adamw" */
    int n_slots;
    const char *slot[OPTIM_MAX_SLOTS];  /* "exp_avg", "exp_avg_sq": names in checkpoints */
    int n_saved;                        /* slots that checkpoints hold, the first ones */
    bool last_is_momentum;              /* the last slot is not needed when momentum is 0 */
    unsigned not_in_hidden;             /* bit i: hidden matrices have no slot i */
    double beta1, beta2, eps, momentum; /* where the job does not set them */
    unsigned reads;
    enum optim_cut cut;
    int n_passes;
    struct optim_pass pass[OPTIM_MAX_PASSES];
    int moves; /* floats a parameter that the passes read and write, with all slots */
    /* Fills slots in before the first step, or after they have been read; may be NULL. */
    void (*begin)(const struct optim_part *p, bool resumed);
    /* Puts the weights that are worth evaluating in place of those that gradients are taken at, and
     * back, to the same bits. NULL: they are the same ones. */
    void (*show)(const struct optim_part *p), (*hide)(const struct optim_part *p);
    int n_scalars;
    const char *scalar[OPTIM_MAX_SCALARS]; /* "prodigy.d": 0 before the first step */
    /* Small statistics that every rank has for all tensors: floats for a group; 0: none. */
    int n_stats;
    const char *stat[OPTIM_MAX_STATS];
    size_t (*stat_n)(const struct optim_group *g, int i);
    /* Scratch of a rank, and what is laid out in it. NULL: none. */
    size_t (*own_bytes)(const struct optim_group *groups, int n_groups);
    void (*own_init)(struct optim *o);
    double (*flops)(const struct optim_group *g); /* of matrix products; NULL: none */
    const char *note;                             /* one line of help, with its source */
};

/* The rule of a name; E_CONFIG with a suggestion. */
int optim_find(const struct optim_rule **rule, const char *name);
/* Rows of the table; NULL past the last. */
const struct optim_rule *optim_row(int i);
/* Slots that a job with this momentum keeps, and floats a parameter that a step then moves. */
int optim_n_slots(const struct optim_rule *rule, double momentum);
int optim_moves(const struct optim_rule *rule, double momentum);

/* The zones of the slab: for gradients, parameters and most slots, and for the slots that hidden
 * matrices do not have. */
struct optim_layout {
    size_t n; /* floats in the slab */
    struct shard_zone *zones, *few;
    int n_zones, n_few;
};

/* For so many ranks; groups are borrowed during the call. E_MEM. Release it in any case. */
int optim_layout_init(struct optim_layout *l, const struct optim_rule *rule,
                      const struct optim_group *groups, int n_groups, size_t n_elems,
                      size_t bucket_bytes, int size);
void optim_layout_release(struct optim_layout *l);
/* Shards of it, which borrow the zones; size 1 fits too. */
struct shard optim_layout_shard(const struct optim_layout *l, int size, int rank);
struct shard optim_layout_slot(const struct optim_layout *l, const struct optim_rule *rule,
                               int slot, int size, int rank);

/* A rule at work. */
struct optim {
    const struct optim_rule *rule;
    const struct optim_group *groups; /* borrowed */
    int n_groups;
    const struct optim_layout *layout; /* borrowed */
    struct comm comm;                  /* the ranks that share the state; size 1: this one has it */
    struct shard shard;                /* whose parts are updated */
    int n_slots;
    float *slot[OPTIM_MAX_SLOTS];
    struct shard slot_shard[OPTIM_MAX_SLOTS];
    float *stat[OPTIM_MAX_STATS];
    size_t stat_n[OPTIM_MAX_STATS]; /* floats of all groups */
    double scalar[OPTIM_MAX_SCALARS];
    struct optim_past past; /* to be kept with the state, as the scalars are */
    double lr;              /* that the last step took */
    void *own;              /* scratch */
    bool shown;             /* show has been called, hide not yet */
    struct exactsum *sum;
    int64_t *packed;
    double *value; /* [n_groups or 1][n_sums] */
};

/* State of zeros. The comm (copied) are the ranks that share it. E_MEM: release it all the same.
 * Local. */
int optim_init(struct optim *o, const struct optim_rule *rule, const struct optim_layout *layout,
               const struct optim_group *groups, int n_groups, double momentum,
               const struct comm *comm);
void optim_release(struct optim *o);
/* For plans, exact: bytes of a rank's slots; floats of the statistics;
 * bytes of sums and scratch. */
size_t optim_slot_bytes(const struct optim_rule *rule, const struct optim_layout *l,
                        double momentum, int size, int rank);
size_t optim_stat_floats(const struct optim_rule *rule, const struct optim_group *groups,
                         int n_groups);
size_t optim_scratch_bytes(const struct optim_rule *rule, const struct optim_group *groups,
                           int n_groups, int size);

/* The parameters are those of the first step (resumed false), or state and parameters have been
 * read. Local. */
void optim_begin(struct optim *o, float *params, bool resumed);
/* For a state that does not say what went before: so many updates, all with these. Local. */
void optim_assume(struct optim *o, int64_t updates, double beta1, double beta2);
/* Updates this rank's pieces of the parameter slab in place, from those of the gradient's, which
 * may be overwritten. Where MPI fails, the others wait: fatal(E_RANK). Collective over o->comm. */
void optim_update(struct optim *o, const struct optim_step *s, float *params, float *grad);
/* What the rule's show and hide do, for this rank's pieces; false: nothing was to be done. Local.
 */
bool optim_show(struct optim *o, float *params);
bool optim_hide(struct optim *o, float *params);

/* Clipping by global norm: min(1, max_norm / (norm + 1e-6)); 1 when max_norm is 0. */
double clip_scale(double norm, double max_norm);

#endif
