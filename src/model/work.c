#include "model/work.h"

#include "model/linear.h"

static bool is_trained(const bool *frozen, int row)
{
    return frozen == NULL || !frozen[row];
}

static int lowest_trained(const struct tensor_table *t, const bool *frozen)
{
    int row = 0;
    while (row < t->n && !is_trained(frozen, row))
        row++;
    return row;
}

/* Attention is gone through for what lies before it: its norms of q and k, or v. */
static bool reaches_attention(const struct tensor_table *t, const struct model_spec *s, int layer,
                              int lowest)
{
    const struct tensor *last = tensors_get(t, s->qk_norm ? TENSOR_K_NORM : TENSOR_V, layer);
    return last - t->row >= lowest;
}

static double attention_flops(const struct tensor_table *t, const struct model_spec *s, int lowest,
                              int T)
{
    double flops = 0;
    for (int l = 0; l < s->L; l++)
        flops += (reaches_attention(t, s, l, lowest) ? 6.0 : 2.0) * spec_keys_kept(s, l, T);
    return flops * s->H * s->Hd;
}

double work_flops_per_token(const struct tensor_table *t, const struct model_spec *s,
                            const bool *frozen, int T)
{
    int lowest = lowest_trained(t, frozen);
    double flops = attention_flops(t, s, lowest, T);
    bool own = false; /* any of the tensors of one matrix is trained */
    for (int i = 0; i < t->n; i++) {
        enum matrix m = linear_matrix(t->row[i].kind);
        own = own || is_trained(frozen, i);
        if (i + 1 < t->n && m < N_MATRICES && linear_matrix(t->row[i + 1].kind) == m)
            continue;
        if (m < N_MATRICES) {
            struct matrix_shape z = linear_shape(s, m);
            /* The embedding is the output layer, through which everything goes. */
            bool through = m == MATRIX_EMBED || i >= lowest;
            flops += 2.0 * (double)z.out * (double)z.in * (1 + through + own);
        }
        own = false;
    }
    return flops;
}
