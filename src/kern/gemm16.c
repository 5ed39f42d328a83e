#include "kern/gemm16.h"

#include "base/err.h"
#include "base/mem.h"
#include "onednn.h"

#include <string.h>

/* Blocks of 32 rows of the sum by 64 columns, pairs of rows interleaved. */
static size_t usual_form_bytes(size_t out, size_t in, enum gemm16_form f)
{
    size_t k = f == FORM_FORWARD ? in : out, cols = f == FORM_FORWARD ? out : in;
    return (k + 31) / 32 * 32 * ((cols + 63) / 64 * 64) * sizeof(uint16_t);
}

size_t gemm16_ld(size_t n)
{
    /* Rows a multiple of 4 KiB apart fall into the same sets of the first cache. */
    enum { BAD = 2048, STEP = 32 };
    return n % BAD == 0 ? n + STEP : n;
}

static int refused(const char *why)
{
    return ERR(E_CONFIG,
               "numerics.precision bf16 is not possible here: %s; set numerics.precision=fp32",
               why);
}

#ifdef HAVE_DNNL

enum op { PACK, FORWARD, BACKWARD, WEIGHT };

/* What a primitive is made for. */
struct key {
    enum op op;
    int detail; /* PACK: the form; products: the result's type; WEIGHT: whether it adds */
    size_t n, out, in;
    size_t at; /* PACK: the first row of an end; WEIGHT: the distance between dy's rows */
};

struct entry {
    struct key key;
    dnnl_primitive_t primitive;
    dnnl_memory_t from, weights, to; /* descriptions; the data is set in each call */
    dnnl_memory_desc_t form;         /* PACK: of the whole */
};

struct gemm16 {
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    struct entry *entry;
    size_t n_entries, room;
};

/* A wide operand that is transposed is read faster by another kernel than the library's first
 * choice (at 93 against 83 % of peak), a narrow one by the first (95 against 90). */
enum { FEW_COLUMNS = 512 };

/* Room for the shapes of a model's passes; it grows where there are more. */
enum { FIRST_ROOM = 256 };

static void must(dnnl_status_t s, const char *what)
{
    if (s != dnnl_success)
        fatal(s == dnnl_out_of_memory ? E_MEM : E_BUG, "oneDNN: %s failed (%d)", what, (int)s);
}

const char *gemm16_missing(void)
{
    return onednn_has(dnnl_cpu_isa_avx512_core_bf16)
               ? NULL
               : "this CPU has no instructions for bfloat16 products (AVX512_BF16 or AMX)";
}

static dnnl_data_type_t type_of(enum dtype t)
{
    return t == BF16 ? dnnl_bf16 : dnnl_f32;
}

static dnnl_memory_desc_t matrix(dnnl_data_type_t t, size_t rows, size_t cols,
                                 dnnl_format_tag_t tag)
{
    dnnl_memory_desc_t d;
    const dnnl_dims_t dims = {(dnnl_dim_t)rows, (dnnl_dim_t)cols};
    must(dnnl_memory_desc_init_by_tag(&d, 2, dims, t, tag), "a matrix");
    return d;
}

static dnnl_primitive_attr_t adding(void)
{
    dnnl_primitive_attr_t attr;
    dnnl_post_ops_t ops;
    must(dnnl_primitive_attr_create(&attr), "attributes");
    must(dnnl_post_ops_create(&ops), "attributes");
    must(dnnl_post_ops_append_sum(ops, 1), "attributes");
    must(dnnl_primitive_attr_set_post_ops(attr, ops), "attributes");
    must(dnnl_post_ops_destroy(ops), "attributes");
    return attr;
}

static bool is_called(const_dnnl_primitive_desc_t pd, const char *name)
{
    const char *info = NULL;
    must(dnnl_primitive_desc_query(pd, dnnl_query_impl_info_str, 0, &info), "a product's name");
    return strncmp(info, name, strlen(name)) == 0;
}

/* The library's first choice of a kernel for a product; with transposed the one that copies such
 * operands best, if it is among the choices. */
static dnnl_primitive_desc_t kernel_for(dnnl_engine_t engine, const dnnl_memory_desc_t *from,
                                        const dnnl_memory_desc_t *weights,
                                        const dnnl_memory_desc_t *to, bool add, bool transposed)
{
    dnnl_matmul_desc_t product;
    dnnl_primitive_desc_iterator_t it;
    dnnl_primitive_attr_t attr = add ? adding() : NULL;
    must(dnnl_matmul_desc_init(&product, from, weights, NULL, to), "a product");
    must(dnnl_primitive_desc_iterator_create(&it, &product, attr, engine, NULL), "a product");
    dnnl_primitive_desc_t found = dnnl_primitive_desc_iterator_fetch(it);
    bool better = is_called(found, "gemm:jit");
    while (transposed && !better && dnnl_primitive_desc_iterator_next(it) == dnnl_success) {
        dnnl_primitive_desc_t next = dnnl_primitive_desc_iterator_fetch(it);
        better = is_called(next, "gemm:jit");
        dnnl_primitive_desc_destroy(better ? found : next);
        found = better ? next : found;
    }
    must(dnnl_primitive_desc_iterator_destroy(it), "a product");
    if (attr != NULL)
        must(dnnl_primitive_attr_destroy(attr), "attributes");
    return found;
}

/* The layout that the library picks for a form. It follows from the weight's shape alone: asked for
 * with any number of rows, it is then given to the products of all. */
static dnnl_memory_desc_t form_of(dnnl_engine_t engine, size_t out, size_t in, enum gemm16_form f)
{
    enum { ANY_ROWS = 512 };
    size_t k = f == FORM_FORWARD ? in : out, cols = f == FORM_FORWARD ? out : in;
    dnnl_memory_desc_t from = matrix(dnnl_bf16, ANY_ROWS, k, dnnl_ab);
    dnnl_memory_desc_t weights = matrix(dnnl_bf16, k, cols, dnnl_format_tag_any);
    dnnl_memory_desc_t to = matrix(dnnl_f32, ANY_ROWS, cols, dnnl_ab);
    dnnl_primitive_desc_t pd = kernel_for(engine, &from, &weights, &to, false, false);
    weights = *dnnl_primitive_desc_query_md(pd, dnnl_query_weights_md, 0);
    dnnl_primitive_desc_destroy(pd);
    return weights;
}

size_t gemm16_form_bytes(size_t out, size_t in, enum gemm16_form f)
{
    dnnl_engine_t engine;
    if (gemm16_missing() != NULL)
        return usual_form_bytes(out, in, f);
    must(dnnl_engine_create(&engine, dnnl_cpu, 0), "an engine");
    dnnl_memory_desc_t d = form_of(engine, out, in, f);
    dnnl_engine_destroy(engine);
    return dnnl_memory_desc_get_size(&d);
}

int gemm16_new(struct gemm16 **out)
{
    struct gemm16 *g;
    *out = NULL;
    const char *missing = gemm16_missing();
    if (missing != NULL)
        return refused(missing);
    TRY(mem_alloc(&g, 1, sizeof *g, "bf16 products"));
    int rc = mem_alloc(&g->entry, FIRST_ROOM, sizeof *g->entry, "bf16 products");
    if (rc != OK) {
        mem_free(g);
        return rc;
    }
    g->room = FIRST_ROOM;
    must(dnnl_engine_create(&g->engine, dnnl_cpu, 0), "an engine");
    must(dnnl_stream_create(&g->stream, g->engine, dnnl_stream_default_flags), "a stream");
    *out = g;
    return OK;
}

size_t gemm16_bytes(void)
{
    return sizeof(struct gemm16) + FIRST_ROOM * sizeof(struct entry);
}

void gemm16_free(struct gemm16 *g)
{
    if (g == NULL)
        return;
    for (size_t i = 0; i < g->n_entries; i++) {
        struct entry *e = &g->entry[i];
        dnnl_primitive_destroy(e->primitive);
        dnnl_memory_destroy(e->from);
        dnnl_memory_destroy(e->to);
        if (e->weights != NULL)
            dnnl_memory_destroy(e->weights);
    }
    dnnl_stream_destroy(g->stream);
    dnnl_engine_destroy(g->engine);
    mem_free(g->entry);
    mem_free(g);
}

static dnnl_memory_t memory_of(struct gemm16 *g, const dnnl_memory_desc_t *d)
{
    dnnl_memory_t m;
    must(dnnl_memory_create(&m, d, g->engine, DNNL_MEMORY_NONE), "a memory");
    return m;
}

/* The place of rows first … first+n-1 of the weight in a form. */
static dnnl_memory_desc_t slice_of(const dnnl_memory_desc_t *form, enum gemm16_form f, size_t first,
                                   size_t n, size_t in)
{
    dnnl_memory_desc_t part;
    const dnnl_dim_t rows = (dnnl_dim_t)n, cols = (dnnl_dim_t)in, at = (dnnl_dim_t)first;
    const dnnl_dims_t fwd[2] = {{cols, rows}, {0, at}}, bwd[2] = {{rows, cols}, {at, 0}};
    const dnnl_dims_t *how = f == FORM_FORWARD ? fwd : bwd;
    must(dnnl_memory_desc_init_submemory(&part, form, how[0], how[1]), "a slice of a form");
    return part;
}

static void make_pack(struct gemm16 *g, struct entry *e)
{
    const struct key *k = &e->key;
    enum gemm16_form f = (enum gemm16_form)k->detail;
    dnnl_memory_desc_t rows = f == FORM_FORWARD ? matrix(dnnl_f32, k->in, k->n, dnnl_ba)
                                                : matrix(dnnl_f32, k->n, k->in, dnnl_ab);
    dnnl_primitive_desc_t pd;
    e->form = form_of(g->engine, k->out, k->in, f);
    dnnl_memory_desc_t part = slice_of(&e->form, f, k->at, k->n, k->in);
    must(dnnl_reorder_primitive_desc_create(&pd, &rows, g->engine, &part, g->engine, NULL),
         "packing");
    must(dnnl_primitive_create(&e->primitive, pd), "packing");
    dnnl_primitive_desc_destroy(pd);
    e->from = memory_of(g, &rows);
    e->to = memory_of(g, &part);
}

static void make_product(struct gemm16 *g, struct entry *e)
{
    const struct key *k = &e->key;
    dnnl_memory_desc_t from, weights, to;
    bool gradient = k->op == WEIGHT;
    if (gradient) {
        const dnnl_dims_t dims = {(dnnl_dim_t)k->out, (dnnl_dim_t)k->n};
        const dnnl_dims_t strides = {1, (dnnl_dim_t)k->at};
        must(dnnl_memory_desc_init_by_strides(&from, 2, dims, dnnl_bf16, strides), "a matrix");
        weights = matrix(dnnl_bf16, k->n, k->in, dnnl_ab);
        to = matrix(dnnl_f32, k->out, k->in, dnnl_ab);
    } else {
        bool fwd = k->op == FORWARD;
        from = matrix(dnnl_bf16, k->n, fwd ? k->in : k->out, dnnl_ab);
        weights = form_of(g->engine, k->out, k->in, fwd ? FORM_FORWARD : FORM_BACKWARD);
        to = matrix(type_of((enum dtype)k->detail), k->n, fwd ? k->out : k->in, dnnl_ab);
    }
    dnnl_primitive_desc_t pd = kernel_for(g->engine, &from, &weights, &to, gradient && k->detail,
                                          gradient && k->out > FEW_COLUMNS);
    must(dnnl_primitive_create(&e->primitive, pd), "a product");
    dnnl_primitive_desc_destroy(pd);
    e->from = memory_of(g, &from);
    e->weights = memory_of(g, &weights);
    e->to = memory_of(g, &to);
}

static void grow(struct gemm16 *g)
{
    struct entry *more;
    if (mem_alloc(&more, 2 * g->room, sizeof *more, "bf16 products") != OK)
        fatal(E_MEM, "%s", err_message());
    memcpy(more, g->entry, g->n_entries * sizeof *more);
    mem_free(g->entry);
    g->entry = more;
    g->room *= 2;
}

static struct entry *entry_for(struct gemm16 *g, const struct key *k)
{
    for (size_t i = 0; i < g->n_entries; i++) {
        const struct key *have = &g->entry[i].key;
        if (have->op == k->op && have->detail == k->detail && have->n == k->n &&
            have->out == k->out && have->in == k->in && have->at == k->at)
            return &g->entry[i];
    }
    if (g->n_entries == g->room)
        grow(g);
    struct entry *e = &g->entry[g->n_entries++];
    *e = (struct entry){.key = *k};
    if (k->op == PACK)
        make_pack(g, e);
    else
        make_product(g, e);
    return e;
}

/* oneDNN takes what it only reads by pointers to what may be written. */
static void *unconst(const void *p)
{
    void *q;
    memcpy(&q, &p, sizeof q);
    return q;
}

static void run(struct gemm16 *g, const struct entry *e, const void *from, const void *weights,
                void *to)
{
    must(dnnl_memory_set_data_handle(e->from, unconst(from)), "a memory");
    must(dnnl_memory_set_data_handle(e->to, to), "a memory");
    if (weights != NULL)
        must(dnnl_memory_set_data_handle(e->weights, unconst(weights)), "a memory");
    const dnnl_exec_arg_t args[] = {
        {DNNL_ARG_FROM, e->from}, {DNNL_ARG_TO, e->to}, {DNNL_ARG_WEIGHTS, e->weights}};
    must(dnnl_primitive_execute(e->primitive, g->stream, weights == NULL ? 2 : 3, args),
         "a product");
    must(dnnl_stream_wait(g->stream), "a product");
}

/* Slices of equal size are packed alike wherever they lie: one primitive does for all. An end that
 * is no whole block has its own. */
void gemm16_pack(struct gemm16 *g, enum gemm16_form f, void *form, const float *w, size_t out,
                 size_t in, size_t first, size_t n)
{
    size_t made_at = n % GEMM16_SLICE == 0 ? 0 : first;
    const struct entry *e = entry_for(g, &(struct key){PACK, (int)f, n, out, in, made_at});
    dnnl_memory_desc_t here = slice_of(&e->form, f, first, n, in);
    dnnl_memory_desc_t made = slice_of(&e->form, f, made_at, n, in);
    run(g, e, w + first * in, NULL, (uint16_t *)form + (here.offset0 - made.offset0));
}

void gemm16_forward(struct gemm16 *g, void *y, enum dtype ty, const uint16_t *x, const void *form,
                    size_t n, size_t out, size_t in)
{
    run(g, entry_for(g, &(struct key){FORWARD, (int)ty, n, out, in, 0}), x, form, y);
}

void gemm16_backward(struct gemm16 *g, void *dx, enum dtype tx, const uint16_t *dy,
                     const void *form, size_t n, size_t out, size_t in)
{
    run(g, entry_for(g, &(struct key){BACKWARD, (int)tx, n, out, in, 0}), dy, form, dx);
}

void gemm16_weight(struct gemm16 *g, float *dw, const uint16_t *dy, size_t lddy, const uint16_t *x,
                   size_t n, size_t out, size_t in, bool add)
{
    run(g, entry_for(g, &(struct key){WEIGHT, add, n, out, in, lddy}), dy, x, dw);
}

#else

const char *gemm16_missing(void)
{
    return "this program was built without oneDNN";
}

size_t gemm16_form_bytes(size_t out, size_t in, enum gemm16_form f)
{
    return usual_form_bytes(out, in, f);
}

int gemm16_new(struct gemm16 **g)
{
    *g = NULL;
    return refused(gemm16_missing());
}

size_t gemm16_bytes(void)
{
    return 0;
}

void gemm16_free(struct gemm16 *g)
{
    (void)g;
}

/* There is no struct gemm16 with which the others could be called. */
#pragma GCC diagnostic ignored "-Wunused-parameter"

void gemm16_pack(struct gemm16 *g, enum gemm16_form f, void *form, const float *w, size_t out,
                 size_t in, size_t first, size_t n)
{
}

void gemm16_forward(struct gemm16 *g, void *y, enum dtype ty, const uint16_t *x, const void *form,
                    size_t n, size_t out, size_t in)
{
}

void gemm16_backward(struct gemm16 *g, void *dx, enum dtype tx, const uint16_t *dy,
                     const void *form, size_t n, size_t out, size_t in)
{
}

void gemm16_weight(struct gemm16 *g, float *dw, const uint16_t *dy, size_t lddy, const uint16_t *x,
                   size_t n, size_t out, size_t in, bool add)
{
}
#endif
