#include "train/regularize.h"
#include "base/err.h"
#include "base/mem.h"
#include "train/trainer.h"

/* The matrices in layers; the embedding, which is the output layer too, is left out as the source
 * of the rule leaves out output layers. Counts them where out is NULL. */
static int list_matrices(const struct tensor_table *t, struct row_matrix *out)
{
    int n = 0;
    for (int i = 0; i < t->n; i++) {
        const struct tensor *row = &t->row[i];
        if (row->layer < 0 || row->n_dims != 2)
            continue;
        if (out != NULL)
            out[n] = (struct row_matrix){row->offset, row->dims[0], row->dims[1]};
        n++;
    }
    return n;
}

static int init_rows(struct row_clip *rows, const struct tensor_table *t)
{
    struct row_matrix *list;
    int n = list_matrices(t, NULL);
    TRY(mem_alloc(&list, (size_t)n, sizeof *list, "row norms"));
    list_matrices(t, list);
    int rc = row_clip_init(rows, list, n);
    mem_free(list);
    return rc;
}

int regularizer_init(struct regularizer *r, const struct config *c, const struct tensor_table *t)
{
    *r = (struct regularizer){.shaping = {.clip_adaptive = c->optimizer.clip_adaptive,
                                          .clip_value = c->optimizer.clip_value,
                                          .l1 = c->regularize.l1,
                                          .l2 = c->regularize.l2}};
    return c->optimizer.clip_adaptive > 0 ? init_rows(&r->rows, t) : OK;
}

void regularizer_release(struct regularizer *r)
{
    row_clip_release(&r->rows);
}

double regularizer_bytes(const struct config *c, const struct tensor_table *t)
{
    double bytes = 0;
    if (c->optimizer.clip_adaptive == 0)
        return 0;
    for (int i = 0; i < t->n; i++) {
        const struct tensor *row = &t->row[i];
        struct row_matrix m = {row->offset, row->dims[0], row->dims[1]};
        if (row->layer >= 0 && row->n_dims == 2)
            bytes += (double)row_clip_bytes(&m, 1);
    }
    return bytes;
}

void regularizer_apply(struct trainer *t, float *grad, double grad_scale, double grad_norm,
                       double targets)
{
    struct regularizer *r = &t->regularizer;
    bool shared = t->state.size > 1;
    double norm = grad_norm * targets;
    if (r->shaping.clip_adaptive > 0) {
        /* A rank that fails here cannot tell those that wait for it. */
        int rc = row_clip(&r->rows, shared ? t->comm : NULL, &t->state, t->params, grad, grad_scale,
                          norm * norm, r->shaping.clip_adaptive);
        if (rc != OK)
            fatal(E_RANK, "the norms of the gradient's rows: %s", err_message());
    }
    shape_elements(&r->shaping, &t->state, t->groups, t->n_groups, t->params, grad, grad_scale);
}
