/* A pass's working memory: one table says what each buffer is, one allocation holds them all. */
#ifndef CARAT_MODEL_ACTS_H
#define CARAT_MODEL_ACTS_H

#include "base/half.h"
#include "model/spec.h"

/* Rows are the N = B·T positions of a pass. */
enum act {
    ACT_X,        /* [L+1][N,D] residual stream at each layer's entry, and behind the last */
    ACT_X_MID,    /* [N,D] residual stream between attention and MLP */
    ACT_XN,       /* [N,D] normed input of a product */
    ACT_RSTD,     /* [L+1][N] of the norms at ACT_X */
    ACT_MID_RSTD, /* [N] of the norm at ACT_X_MID */
    ACT_RAW,      /* [N,(H+2K)Hd] queries, keys, values before their norms */
    ACT_RAW_RSTD, /* [N,H+K] of the norms on queries and keys */
    ACT_QKV,     /* [N,(H+2K)Hd] normed and turned; ACT_RAW's own memory where there are no norms */
    ACT_ATT,     /* [N,H·Hd] attention's output */
    ACT_LSE,     /* [B,H,T] */
    ACT_O,       /* [N,D] o_proj's output, before its norm */
    ACT_O_RSTD,  /* [N] */
    ACT_GU,      /* [N,2F] gate, up; their gradient in the backward pass */
    ACT_H,       /* [N,F] gated; first its gradient in the backward pass */
    ACT_Y,       /* [N,D] down_proj's output, before its norm */
    ACT_Y_RSTD,  /* [N] */
    ACT_DX,      /* [N,D] gradient of the residual stream */
    ACT_DXN,     /* [N,D] gradient of a branch's input */
    ACT_DBRANCH, /* [N,D] gradient of ACT_O or ACT_Y */
    ACT_DATT,    /* [N,H·Hd] */
    ACT_DQKV,    /* [N,(H+2K)Hd] */
    ACT_DRAW,    /* [N,(H+2K)Hd]; ACT_DQKV's own memory in single precision */
    ACT_DROP,    /* [N,D] a branch, or its gradient, with a part dropped */
    ACT_LOSS,    /* [N] */
    ACT_CORRECT, /* N bytes */
    ACT_LOGITS,  /* [rows of a chunk, V] of a loss without gradients */
    ACT_FINAL_NORM, /* [D] the final norm's weight, where logits are divided by a number */
    ACT_ROPE,       /* [T,Hd] angles of global layers */
    ACT_ROPE_LOCAL,
    ACT_SCRATCH, /* attention's */
    N_ACTS
};

/* What the memory is for. */
enum act_use { USE_DECODE = 1, USE_LOSS = 2, USE_TRAIN = 4 };

/* What the backward pass computes again rather than keep, besides what a cheap pass gives:
 * selective: the products that cost least for their size, of sums over D (ACT_RAW, ACT_GU);
 * full: all but each layer's input. The results have the same bits. */
enum recompute { RECOMPUTE_NONE, RECOMPUTE_SELECTIVE, RECOMPUTE_FULL };

struct act_plan {
    size_t n_rows, T; /* N in all; the longest sequence */
    enum act_use use;
    enum dtype products; /* what products read */
    enum recompute recompute;
    bool dropout;
};

struct acts {
    struct act_plan plan;
    char *base;
    size_t at[N_ACTS];     /* bytes from base */
    size_t stride[N_ACTS]; /* bytes from layer to layer; 0: all layers share one */
    size_t ld[N_ACTS];     /* elements from row to row */
    enum dtype type[N_ACTS];
    bool kept[N_ACTS];    /* each layer has its own */
    size_t n_logits;      /* floats at ACT_LOGITS */
    size_t n_grad_logits; /* floats of the layers' gradients, where those of training lie */
};

/* Where everything goes; bytes in all. With USE_DECODE T may be more than n_rows: they are read
 * piece by piece. Nothing is allocated. */
size_t acts_plan(struct acts *a, const struct model_spec *s, const struct act_plan *p);
/* Plans, allocates and fills the tables of angles. E_MEM. */
int acts_init(struct acts *a, const struct model_spec *s, const struct act_plan *p);
void acts_release(struct acts *a);

/* Rows of elements of one type. */
struct rows {
    void *at;
    enum dtype type;
    size_t ld; /* elements from row to row */
};

static inline void *act_any(const struct acts *a, enum act id, int layer)
{
    return a->base + a->at[id] + (size_t)layer * a->stride[id];
}
/* A layer's buffer: of floats, or of what it is made of. */
static inline float *act(const struct acts *a, enum act id, int layer)
{
    return act_any(a, id, layer);
}
static inline struct rows act_rows(const struct acts *a, enum act id, int layer)
{
    return (struct rows){act_any(a, id, layer), a->type[id], a->ld[id]};
}
/* The same from a row on. */
static inline struct rows rows_from(struct rows r, size_t first)
{
    r.at = (char *)r.at + first * r.ld * dtype_size(r.type);
    return r;
}

/* The distance between rows of logits. */
size_t acts_logits_ld(const struct model_spec *s, enum dtype products);
/* Rows of equal chunks in which n rows go through room for so many floats, ld a row. */
size_t acts_chunk_rows(size_t n, size_t ld, size_t room);

#endif
