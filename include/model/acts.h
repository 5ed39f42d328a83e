/* A pass's working memory: one table says what each buffer is, one allocation holds them all. */
#ifndef CARAT_MODEL_ACTS_H
#define CARAT_MODEL_ACTS_H

#include "model/spec.h"

/* Rows are the N = B·T positions of a pass. */
enum act {
    ACT_X,        /* [L+1][N,D] residual stream at each layer's entry, and behind the last */
    ACT_X_MID,    /* [N,D] residual stream between attention and MLP; rebuilt with post-norms */
    ACT_XN,       /* [N,D] normed input of a product; rebuilt in the backward pass */
    ACT_RSTD,     /* [N] of ACT_XN's norm */
    ACT_RAW,      /* [N,(H+2K)Hd] queries, keys, values before their norms */
    ACT_RAW_RSTD, /* [H+K,N] of the norms on queries and keys */
    ACT_QKV,      /* [N,(H+2K)Hd] normed and turned; rebuilt where there are norms */
    ACT_ATT,      /* [N,H·Hd] attention's output */
    ACT_LSE,      /* [B,H,T] */
    ACT_O,        /* [N,D] o_proj's output, before its norm */
    ACT_O_RSTD,   /* [N] */
    ACT_GU,       /* [N,2F] gate, up; their gradient in the backward pass */
    ACT_H,        /* [N,F] gated; first its gradient in the backward pass */
    ACT_Y,        /* [N,D] down_proj's output, before its norm */
    ACT_Y_RSTD,   /* [N] */
    ACT_DX,       /* [N,D] gradient of the residual stream */
    ACT_DXN,      /* [N,D] gradient of a branch's input or output */
    ACT_DATT,     /* [N,H·Hd] */
    ACT_DQKV,     /* [N,(H+2K)Hd] */
    ACT_LOSS,     /* [N] */
    ACT_CORRECT,  /* N bytes */
    ACT_LOGITS,   /* [rows of a chunk, V] */
    ACT_ROPE,     /* [T,Hd] angles of global layers */
    ACT_ROPE_LOCAL,
    ACT_SCRATCH, /* attention's */
    N_ACTS
};

/* What the memory is for. */
enum act_use { USE_DECODE = 1, USE_LOSS = 2, USE_TRAIN = 4 };

struct acts {
    enum act_use use;
    float *base;
    size_t at[N_ACTS];     /* floats from base */
    size_t stride[N_ACTS]; /* floats from layer to layer; 0: all layers share one */
    size_t n_rows;         /* N */
    size_t n_positions;    /* T: what the tables of angles hold */
    size_t n_scratch;      /* floats at ACT_SCRATCH */
};

/* Where everything goes for at most n_rows positions in all, in sequences of at most T (with
 * USE_DECODE, more than n_rows: they are read piece by piece); bytes in all. Nothing is allocated.
 */
size_t acts_plan(struct acts *a, const struct model_spec *s, size_t n_rows, size_t T,
                 enum act_use use);
/* Plans, allocates and fills the tables of angles. E_MEM. */
int acts_init(struct acts *a, const struct model_spec *s, size_t n_rows, size_t T,
              enum act_use use);
void acts_release(struct acts *a);
/* A layer's buffer. */
static inline float *act(const struct acts *a, enum act id, int layer)
{
    return a->base + a->at[id] + (size_t)layer * a->stride[id];
}

/* Rows whose logits exist at a time, for n rows in all: depends on n and V alone. */
size_t acts_chunk_rows(size_t n, size_t V);

#endif
