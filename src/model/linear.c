#include "model/linear.h"

#include "base/mem.h"
#include "kern/gemm.h"
#include "model/net.h"

/* Rows of a matrix that are packed as one task, into both forms while they are in the cache. */
enum { TASK_ROWS = 128 };
_Static_assert(TASK_ROWS % GEMM16_SLICE == 0, "tasks are slices");

enum tensor_kind linear_tensor(enum matrix m)
{
    static const enum tensor_kind first[] = {[MATRIX_QKV] = TENSOR_Q,
                                             [MATRIX_O] = TENSOR_O,
                                             [MATRIX_GATE_UP] = TENSOR_GATE,
                                             [MATRIX_DOWN] = TENSOR_DOWN,
                                             [MATRIX_EMBED] = TENSOR_EMBED};
    return first[m];
}

enum matrix linear_matrix(enum tensor_kind k)
{
    switch (k) {
    case TENSOR_Q:
    case TENSOR_K:
    case TENSOR_V:
        return MATRIX_QKV;
    case TENSOR_O:
        return MATRIX_O;
    case TENSOR_GATE:
    case TENSOR_UP:
        return MATRIX_GATE_UP;
    case TENSOR_DOWN:
        return MATRIX_DOWN;
    case TENSOR_EMBED:
        return MATRIX_EMBED;
    default:
        return N_MATRICES;
    }
}

struct matrix_shape linear_shape(const struct model_spec *s, enum matrix m)
{
    size_t D = (size_t)s->D, Q = (size_t)(s->H * s->Hd), KV = (size_t)(s->K * s->Hd);
    size_t F = (size_t)s->F, V = (size_t)s->V;
    const struct matrix_shape shape[] = {
        [MATRIX_QKV] = {Q + 2 * KV, D, gemm16_ld(Q + 2 * KV)},
        [MATRIX_O] = {D, Q, D},
        [MATRIX_GATE_UP] = {2 * F, D, gemm16_ld(2 * F)},
        [MATRIX_DOWN] = {D, F, D},
        [MATRIX_EMBED] = {V, D, gemm16_ld(V)},
    };
    return shape[m];
}

void forms_plan(struct forms *f, const struct model_spec *s)
{
    size_t end = 0;
    for (int m = 0; m < N_MATRICES; m++) {
        struct matrix_shape z = linear_shape(s, (enum matrix)m);
        if (m == MATRIX_EMBED) {
            f->layer_stride = end;
            end *= (size_t)s->L;
        }
        for (int k = 0; k < N_FORMS; k++) {
            size_t bytes = gemm16_form_bytes(z.ld, z.in, (enum gemm16_form)k);
            f->at[m][k] = end;
            end += (bytes + MEM_ALIGN - 1) / MEM_ALIGN * MEM_ALIGN;
        }
    }
    f->bytes = end;
}

static void *form(const struct net *n, enum matrix m, int layer, enum gemm16_form k)
{
    return n->packed + n->forms.at[m][k] + (size_t)layer * n->forms.layer_stride;
}

void linear_fwd(const struct net *n, enum matrix m, int layer, const float *params, struct rows y,
                struct rows x, size_t N)
{
    struct matrix_shape z = linear_shape(&n->spec, m);
    if (n->products != NULL)
        gemm16_forward(n->products, y.at, y.type, x.at, form(n, m, layer, FORM_FORWARD), N, z.ld,
                       z.in);
    else
        gemm_nt(y.at, y.ld, x.at, x.ld, params + net_at(n, linear_tensor(m), layer), z.in, N, z.out,
                z.in, 1, 0);
}

void linear_bwd_input(const struct net *n, enum matrix m, int layer, const float *params,
                      struct rows dx, struct rows dy, size_t N)
{
    struct matrix_shape z = linear_shape(&n->spec, m);
    if (n->products != NULL)
        gemm16_backward(n->products, dx.at, dx.type, dy.at, form(n, m, layer, FORM_BACKWARD), N,
                        z.ld, z.in);
    else
        gemm_nn(dx.at, dx.ld, dy.at, dy.ld, params + net_at(n, linear_tensor(m), layer), z.in, N,
                z.in, z.out, 1, 0);
}

int linear_bwd_weight(const struct net *n, enum matrix m, int layer, float *grads, struct rows dy,
                      struct rows x, size_t N, bool add)
{
    if (n->untrained[m][layer])
        return 0;
    struct matrix_shape z = linear_shape(&n->spec, m);
    float *dw = grads + net_at(n, linear_tensor(m), layer);
    if (n->products != NULL)
        gemm16_weight(n->products, dw, dy.at, dy.ld, x.at, N, z.out, z.in, add);
    else
        gemm_tn(dw, z.in, dy.at, dy.ld, x.at, x.ld, z.out, z.in, N, 1, add ? 1 : 0);
    return 1;
}

/* ---- packing ---- */

/* This part's share of all elements to be packed, of which `done` have been gone through. */
struct share {
    size_t done, from, to;
};

static void pack_rows(const struct net *n, const float *w, enum matrix m, int layer, size_t first,
                      size_t rows)
{
    struct matrix_shape z = linear_shape(&n->spec, m);
    for (int k = 0; k < N_FORMS; k++)
        gemm16_pack(n->products, (enum gemm16_form)k, form(n, m, layer, (enum gemm16_form)k), w,
                    z.ld, z.in, first, rows);
}

static void pack_matrix(const struct net *n, const float *params, enum matrix m, int layer,
                        struct share *share)
{
    struct matrix_shape z = linear_shape(&n->spec, m);
    const float *w = params + net_at(n, linear_tensor(m), layer);
    for (size_t first = 0, rows; first < z.out; first += rows) {
        rows = z.out - first < TASK_ROWS ? z.out - first : TASK_ROWS;
        if (share->done >= share->from && share->done < share->to)
            pack_rows(n, w, m, layer, first, rows);
        share->done += rows * z.in;
    }
}

static size_t elements(const struct model_spec *s)
{
    size_t sum = 0;
    for (int m = 0; m < N_MATRICES; m++) {
        struct matrix_shape z = linear_shape(s, (enum matrix)m);
        sum += z.out * z.in * (m == MATRIX_EMBED ? 1 : (size_t)s->L);
    }
    return sum;
}

void linear_pack(const struct net *n, const float *params, int part, int n_parts)
{
    double all = (double)elements(&n->spec);
    struct share share = {.from = (size_t)(all * part / n_parts),
                          .to = (size_t)(all * (part + 1) / n_parts)};
    for (int l = 0; l < n->spec.L; l++)
        for (int m = 0; m < MATRIX_EMBED; m++)
            pack_matrix(n, params, (enum matrix)m, l, &share);
    pack_matrix(n, params, MATRIX_EMBED, 0, &share);
}
