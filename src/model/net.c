#include "model/net.h"

#include "base/err.h"
#include "base/mem.h"

#include <string.h>

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

int net_init(struct net *n, const struct model_spec *s, const struct act_plan *p)
{
    *n = (struct net){.spec = *s};
    TRY(spec_check(s));
    if (p->n_rows < 1 || p->T < 1)
        return ERR(E_CONFIG,
                   "a pass over %zu positions in sequences of %zu: both must be 1 or more",
                   p->n_rows, p->T);
    int rc;
    if (p->products == BF16)
        TRY_OUT(gemm16_new(&n->products));
    TRY_OUT(tensors_init(&n->table, s));
    TRY_OUT(acts_init(&n->acts, s, p));
    find_offsets(n);
    forms_plan(&n->forms, s);
    return OK;
out:
    net_release(n);
    return rc;
}

void net_release(struct net *n)
{
    if (n->owns_packed)
        mem_free(n->packed);
    gemm16_free(n->products);
    acts_release(&n->acts);
    tensors_release(&n->table);
}

void net_set_frozen(struct net *n, const bool *frozen)
{
    memset(n->untrained, frozen != NULL, sizeof n->untrained);
    n->lowest = n->table.n_elems;
    for (int i = n->table.n - 1; i >= 0; i--) {
        struct tensor *t = &n->table.row[i];
        enum matrix m = linear_matrix(t->kind);
        t->frozen = frozen != NULL && frozen[i];
        if (t->frozen)
            continue;
        n->lowest = t->offset;
        if (m < N_MATRICES)
            n->untrained[m][t->layer < 0 ? 0 : t->layer] = false;
    }
}

size_t net_bytes(const struct model_spec *s, const struct act_plan *p)
{
    struct acts plan;
    return acts_plan(&plan, s, p) + tensors_count(s) * sizeof(struct tensor) +
           (p->products == BF16 ? gemm16_bytes() : 0);
}
