/* Weights from wherever they lie: a run folder (its newest whole checkpoint), a checkpoint file, or
 * a Hugging Face folder. */
#ifndef CARAT_TRAIN_WEIGHTS_H
#define CARAT_TRAIN_WEIGHTS_H

#include "model/tensors.h"
#include "par/comm.h"
#include "par/shard.h"
#include "text/tokenizer.h"

struct weights {
    char path[4096]; /* the file or folder that was read */
    struct model_spec spec;
    struct tensor_table tensors;
    float *params;               /* slab */
    struct tokenizer *tokenizer; /* NULL when the source holds none */
    int64_t step;                /* -1: not a checkpoint */
    char *config_text; /* the run's configuration, YAML; NULL when the source holds none */
};

/* Collective (one rank: a comm over MPI_COMM_SELF). E_DATA names what is missing. */
int weights_load(struct weights *w, const struct comm *c, const char *from);
void weights_release(struct weights *w);

/* The model's shape alone. Of a run folder, that of its newest checkpoint that can be opened.
 * E_DATA. Local. */
int weights_spec(struct model_spec *s, const char *from);

/* The values alone, into a slab that each team of c holds; E_CONFIG when the source's tensors are
 * not those of the table. The shard says which rank reads what. Collective. */
int weights_load_into(float *params, const struct tensor_table *t, const struct shard *s,
                      const struct comm *c, const char *from);

#endif
