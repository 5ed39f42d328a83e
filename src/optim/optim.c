#include "optim/rules.h"

#include "base/err.h"
#include "base/mem.h"
#include "optim/names.h"

#include <math.h>
#include <string.h>

static const struct optim_rule *const rules[] = {
    &optim_adamw,         &optim_adam,    &optim_sgd,    &optim_adagrad,   &optim_rmsprop,
    &optim_lars,          &optim_lamb,    &optim_lion,   &optim_adafactor, &optim_muon,
    &optim_schedule_free, &optim_prodigy, &optim_sgd_hd, &optim_adam_hd,
};

enum { N_RULES = sizeof rules / sizeof rules[0] };

const struct optim_rule *optim_row(int i)
{
    return i >= 0 && i < N_RULES ? rules[i] : NULL;
}

int optim_find(const struct optim_rule **rule, const char *name)
{
    const char *names[N_RULES];
    int at;
    for (int i = 0; i < N_RULES; i++)
        names[i] = rules[i]->name;
    TRY(names_find(&at, "optimizer.name: optimizer", name, names, N_RULES));
    *rule = rules[at];
    return OK;
}

int optim_n_slots(const struct optim_rule *rule, double momentum)
{
    return rule->n_slots - (rule->last_is_momentum && momentum == 0);
}

int optim_moves(const struct optim_rule *rule, double momentum)
{
    return rule->moves - 2 * (rule->n_slots - optim_n_slots(rule, momentum));
}

/* ---- memory ---- */

/* Places for sums: of each group, or of all. */
static size_t n_sums(const struct optim_rule *rule, int n_groups)
{
    size_t most = 0;
    for (int i = 0; i < rule->n_passes; i++) {
        const struct optim_pass *p = &rule->pass[i];
        size_t n = p->n_sums == 0 ? 0 : p->by_tensor ? (size_t)n_groups : 1;
        most = n > most ? n : most;
    }
    return most * OPTIM_MAX_SUMS;
}

static size_t stat_floats(const struct optim_rule *rule, const struct optim_group *groups,
                          int n_groups, int i)
{
    size_t n = 0;
    for (int k = 0; k < n_groups; k++)
        n += groups[k].frozen ? 0 : rule->stat_n(&groups[k], i);
    return n;
}

static size_t own_bytes(const struct optim_rule *rule, const struct optim_group *groups,
                        int n_groups)
{
    return rule->own_bytes != NULL ? rule->own_bytes(groups, n_groups) : 0;
}

size_t optim_stat_floats(const struct optim_rule *rule, const struct optim_group *groups,
                         int n_groups)
{
    size_t n = 0;
    for (int i = 0; i < rule->n_stats; i++)
        n += stat_floats(rule, groups, n_groups, i);
    return n;
}

size_t optim_scratch_bytes(const struct optim_rule *rule, const struct optim_group *groups,
                           int n_groups, int size)
{
    size_t sums = n_sums(rule, n_groups);
    size_t each = sizeof(struct exactsum) + sizeof(double);
    if (size > 1)
        each += (EXACT_LIMBS + 1) * sizeof(int64_t);
    return own_bytes(rule, groups, n_groups) + sums * each;
}

size_t optim_slot_bytes(const struct optim_rule *rule, const struct optim_layout *l,
                        double momentum, int size, int rank)
{
    size_t n = 0;
    for (int i = 0; i < optim_n_slots(rule, momentum); i++) {
        struct shard s = optim_layout_slot(l, rule, i, size, rank);
        n += shard_count(&s, rank);
    }
    return n * sizeof(float);
}

static int allocate(struct optim *o)
{
    const char *label = "optimizer state";
    size_t sums = n_sums(o->rule, o->n_groups);
    for (int i = 0; i < o->n_slots; i++) {
        const struct shard *s = &o->slot_shard[i];
        TRY(mem_alloc(&o->slot[i], shard_count(s, s->rank), sizeof(float), label));
    }
    for (int i = 0; i < o->rule->n_stats; i++)
        TRY(mem_alloc(&o->stat[i], o->stat_n[i], sizeof(float), label));
    TRY(mem_alloc(&o->own, own_bytes(o->rule, o->groups, o->n_groups), 1, "optimizer scratch"));
    if (o->rule->own_init != NULL)
        o->rule->own_init(o);
    TRY(mem_alloc(&o->sum, sums, sizeof *o->sum, label));
    TRY(mem_alloc(&o->value, sums, sizeof *o->value, label));
    if (o->comm.size > 1)
        TRY(mem_alloc(&o->packed, sums * (EXACT_LIMBS + 1), sizeof *o->packed, label));
    return OK;
}

int optim_init(struct optim *o, const struct optim_rule *rule, const struct optim_layout *layout,
               const struct optim_group *groups, int n_groups, double momentum,
               const struct comm *comm)
{
    *o = (struct optim){.rule = rule,
                        .groups = groups,
                        .n_groups = n_groups,
                        .layout = layout,
                        .comm = *comm,
                        .n_slots = optim_n_slots(rule, momentum)};
    o->shard = optim_layout_shard(layout, comm->size, comm->rank);
    for (int i = 0; i < o->n_slots; i++)
        o->slot_shard[i] = optim_layout_slot(layout, rule, i, comm->size, comm->rank);
    for (int i = 0; i < rule->n_stats; i++)
        o->stat_n[i] = stat_floats(rule, groups, n_groups, i);
    return allocate(o);
}

void optim_release(struct optim *o)
{
    for (int i = 0; i < OPTIM_MAX_SLOTS; i++)
        mem_free(o->slot[i]);
    for (int i = 0; i < OPTIM_MAX_STATS; i++)
        mem_free(o->stat[i]);
    mem_free(o->own);
    mem_free(o->sum);
    mem_free(o->value);
    mem_free(o->packed);
    memset(o, 0, sizeof *o);
}

/* ---- parts ---- */

/* A walk over this rank's pieces, and what is done with each part. */
struct walk {
    struct optim *o;
    void (*visit)(struct walk *w, struct optim_part *p);
    const struct optim_step *step;
    const struct optim_pass *pass, *summed; /* this one, and the last with sums */
    bool resumed;
    bool in_units; /* parts end where units do */
    float *params, *grad;
    int zone;      /* the one that the piece at hand lies in */
    int group;     /* groups before it end below every piece to come */
    size_t at_few; /* floats before the piece in slots that hidden matrices lack */
};

static const struct shard_zone *zone_of(const struct walk *w)
{
    return &w->o->layout->zones[w->zone];
}

static void set_slots(const struct walk *w, struct optim_part *p, size_t at, size_t at_few)
{
    const struct optim *o = w->o;
    for (int i = 0; i < o->n_slots; i++) {
        bool few = o->rule->not_in_hidden >> i & 1;
        if (!few)
            p->slot[i] = o->slot[i] + at;
        else if (zone_of(w)->unit > 0)
            p->slot[i] = o->slot[i] + at_few;
    }
}

/* The end of what may be one part from `first` on: by units, or all of it. */
static size_t part_end(const struct walk *w, size_t first, size_t end)
{
    const struct shard_zone *z = zone_of(w);
    if (!w->in_units || z->unit == 0)
        return end;
    size_t border = z->first + ((first - z->first) / z->unit + 1) * z->unit;
    return border < end ? border : end;
}

/* Floats [first, end) of group i; the piece begins at `begin`, and there in the shard is `at`. */
static void visit_group(struct walk *w, int i, size_t first, size_t end, size_t begin, size_t at)
{
    struct optim *o = w->o;
    const struct optim_group *g = &o->groups[i];
    for (size_t to; first < end; first = to) {
        to = part_end(w, first, end);
        struct optim_part p = {.w = w->params + first,
                               .g = w->grad != NULL ? w->grad + first : NULL,
                               .n = to - first,
                               .at = first - g->at.first,
                               .group_i = i,
                               .group = g,
                               .step = w->step,
                               .scalar = o->scalar,
                               .o = o};
        set_slots(w, &p, at + (first - begin), w->at_few + (first - begin));
        w->visit(w, &p);
    }
}

/* A piece may hold parts of many groups, and a group may be cut by many pieces. */
static void visit_piece(void *ctx, struct range piece, size_t at)
{
    struct walk *w = ctx;
    size_t piece_end = piece.first + piece.n;
    while (zone_of(w)->first + zone_of(w)->n <= piece.first)
        w->zone++;
    for (; w->group < w->o->n_groups; w->group++) {
        const struct optim_group *group = &w->o->groups[w->group];
        size_t first = group->at.first, end = first + group->at.n;
        if (first >= piece_end)
            break;
        first = first > piece.first ? first : piece.first;
        end = end < piece_end ? end : piece_end;
        if (first < end)
            visit_group(w, w->group, first, end, piece.first, at);
        if (group->at.first + group->at.n > piece_end)
            break;
    }
    w->at_few += zone_of(w)->unit > 0 ? piece.n : 0;
}

static void run_walk(struct walk *w)
{
    shard_each(&w->o->shard, visit_piece, w);
}

/* ---- a step ---- */

/* The place of a group's sums among all. */
static size_t sum_at(const struct optim_pass *pass, int group)
{
    return pass != NULL && pass->by_tensor ? (size_t)group * OPTIM_MAX_SUMS : 0;
}

static void run_part(struct walk *w, struct optim_part *p)
{
    double sum[OPTIM_MAX_SUMS] = {0};
    struct exactsum *to = w->o->sum + sum_at(w->pass, p->group_i);
    p->sum = w->o->value + sum_at(w->summed, p->group_i);
    w->pass->run(p, sum);
    for (int i = 0; i < w->pass->n_sums; i++)
        exactsum_add(&to[i], sum[i]);
}

/* Adds what the ranks have; the sums of fixed-point numbers depend on no order. */
static void reduce_sums(struct optim *o, size_t n)
{
    if (o->comm.size > 1) {
        int count = (int)(n * (EXACT_LIMBS + 1));
        for (size_t i = 0; i < n; i++)
            exactsum_pack(&o->sum[i], o->packed + i * (EXACT_LIMBS + 1));
        int rc = comm_check(
            MPI_Allreduce(MPI_IN_PLACE, o->packed, count, MPI_INT64_T, MPI_SUM, o->comm.world),
            "MPI_Allreduce");
        if (rc != OK)
            fatal(rc, "the optimizer's sums: %s", err_message());
        for (size_t i = 0; i < n; i++)
            exactsum_unpack(&o->sum[i], o->packed + i * (EXACT_LIMBS + 1));
    }
    for (size_t i = 0; i < n; i++)
        o->value[i] = exactsum_value(&o->sum[i]);
}

static void run_pass(struct optim *o, struct optim_step *s, const struct optim_pass *pass,
                     const struct optim_pass *summed, float *params, float *grad)
{
    size_t n = pass->n_sums == 0 ? 0 : sum_at(pass, o->n_groups - 1) + OPTIM_MAX_SUMS;
    struct walk w = {.o = o,
                     .visit = run_part,
                     .step = s,
                     .pass = pass,
                     .summed = summed,
                     .in_units = n > 0 || o->rule->cut == OPTIM_CUT_ROWS,
                     .params = params,
                     .grad = grad};
    for (size_t i = 0; i < n; i++)
        exactsum_clear(&o->sum[i]);
    if (pass->run != NULL)
        run_walk(&w);
    if (n > 0)
        reduce_sums(o, n);
    if (pass->join != NULL)
        pass->join(o, s, o->value);
}

/* 1 less the product of all β so far. */
static double bias_of(const struct optim_past *p, int i)
{
    return 1 - p->of[i].before * pow(p->of[i].beta, p->of[i].n);
}

static void count_beta(struct optim_past *p, int i, double beta)
{
    if (p->of[i].beta != beta) {
        p->of[i].before *= pow(p->of[i].beta, p->of[i].n);
        p->of[i].beta = beta;
        p->of[i].n = 0;
    }
    p->of[i].n++;
}

static void count_update(struct optim_past *p, struct optim_step *s)
{
    if (p->updates == 0)
        p->of[0].before = p->of[1].before = 1;
    s->bias1_before = bias_of(p, 0);
    s->bias2_before = bias_of(p, 1);
    count_beta(p, 0, s->beta1);
    count_beta(p, 1, s->beta2);
    s->t = (int64_t)++p->updates;
    s->bias1 = bias_of(p, 0);
    s->bias2 = bias_of(p, 1);
}

void optim_assume(struct optim *o, int64_t updates, double beta1, double beta2)
{
    double n = (double)updates;
    o->past = (struct optim_past){n, {{1, beta1, n}, {1, beta2, n}}};
}

void optim_update(struct optim *o, const struct optim_step *step, float *params, float *grad)
{
    struct optim_step s = *step;
    const struct optim_pass *summed = NULL;
    count_update(&o->past, &s);
    o->lr = s.lr;
    for (int i = 0; i < o->rule->n_passes; i++) {
        const struct optim_pass *pass = &o->rule->pass[i];
        run_pass(o, &s, pass, summed, params, grad);
        summed = pass->n_sums > 0 ? pass : summed;
    }
}

/* ---- before the first step, and around evaluation ---- */

static void begin_part(struct walk *w, struct optim_part *p)
{
    w->o->rule->begin(p, w->resumed);
}

void optim_begin(struct optim *o, float *params, bool resumed)
{
    struct walk w = {.o = o, .visit = begin_part, .resumed = resumed, .params = params};
    if (o->rule->begin != NULL)
        run_walk(&w);
    o->shown = o->rule->show != NULL; /* parameters that are read are those to be shown */
}

static void show_part(struct walk *w, struct optim_part *p)
{
    w->o->rule->show(p);
}

static void hide_part(struct walk *w, struct optim_part *p)
{
    w->o->rule->hide(p);
}

bool optim_show(struct optim *o, float *params)
{
    struct walk w = {.o = o, .visit = show_part, .params = params};
    if (o->rule->show == NULL || o->shown)
        return false;
    run_walk(&w);
    return o->shown = true;
}

bool optim_hide(struct optim *o, float *params)
{
    struct walk w = {.o = o, .visit = hide_part, .params = params};
    if (!o->shown)
        return false;
    run_walk(&w);
    o->shown = false;
    return true;
}
