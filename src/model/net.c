#include "model/net.h"

#include "base/err.h"

static void find_offsets(struct net *n)
{
    for (int k = 0; k < TENSOR_N_KINDS; k++) {
        const struct tensor *t = tensors_get(&n->table, (enum tensor_kind)k, 0);
        if (t == NULL)
            t = tensors_get(&n->table, (enum tensor_kind)k, -1);
        n->at[k] = t == NULL ? 0 : t->offset;
    }
    const struct tensor *second = tensors_get(&n->table, TENSOR_INPUT_NORM, 1);
    n->layer_stride = second == NULL ? 0 : second->offset - n->at[TENSOR_INPUT_NORM];
}

int net_init(struct net *n, const struct model_spec *s, size_t n_rows, size_t T, enum act_use use)
{
    *n = (struct net){.spec = *s};
    TRY(spec_check(s));
    if (n_rows < 1 || T < 1)
        return ERR(E_CONFIG,
                   "a pass over %zu positions in sequences of %zu: both must be 1 or more", n_rows,
                   T);
    int rc;
    TRY_OUT(tensors_init(&n->table, s));
    TRY_OUT(acts_init(&n->acts, s, n_rows, T, use));
    find_offsets(n);
    return OK;
out:
    net_release(n);
    return rc;
}

void net_release(struct net *n)
{
    acts_release(&n->acts);
    tensors_release(&n->table);
}

size_t net_bytes(const struct model_spec *s, size_t n_rows, size_t T, enum act_use use)
{
    struct acts plan;
    return acts_plan(&plan, s, n_rows, T, use) + tensors_count(s) * sizeof(struct tensor);
}

void net_lap_products(const struct net *n, enum prof_phase phase, int n_products, size_t rows,
                      size_t cols, size_t k)
{
    double flops = 2.0 * (double)rows * (double)cols * (double)k;
    double floats = (double)(rows * k + cols * k + rows * cols);
    prof_lap(n->prof, phase, n_products * flops, n_products * floats * sizeof(float));
}

void net_lap_pass(const struct net *n, enum prof_phase phase, size_t floats)
{
    prof_lap(n->prof, phase, 0, (double)floats * sizeof(float));
}
