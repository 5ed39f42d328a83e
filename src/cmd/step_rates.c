#include "cmd/step_rates.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/mem.h"
#include "cmd/probe.h"
#include "kern/gemm.h"
#include "kern/gemm16.h"
#include "kern/peak.h"
#include "model/model.h"
#include "train/derive.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MAX_COPIES = 256, PASSES = 4, N_TRIALS = 2 };
/* Of the peak: what a pass is expected to reach, to choose how much of it is tried. */
static const double EXPECTED_SHARE = 0.6, PEAK_SECONDS = 0.02, MEMORY_SECONDS = 0.3;
/* Products of fewer tokens, or through narrower layers, would run at another rate. */
enum { TOKENS_LEAST = 256, FFN_LEAST = 1024, HEADS_LEAST = 4, VOCAB_LEAST = 256 };

/* A pass that is small enough to be tried. */
struct trial {
    struct model_spec spec;
    int B, T;
};

struct limits {
    double flops, bytes; /* of a pass; of a process */
    struct model_options options;
    int64_t threads;
};

/* What the processes share. */
struct board {
    pthread_barrier_t start;
    double pass_s[MAX_COPIES][N_TRIALS], pack_s[MAX_COPIES][N_TRIALS];
    double backward[MAX_COPIES][N_TRIALS], bytes_per_s[MAX_COPIES];
};

static double head_flops(const struct trial *t)
{
    return 6.0 * t->spec.V * t->spec.D * t->B * t->T;
}

static double all_flops(const struct trial *t)
{
    return spec_flops_per_token(&t->spec, t->T) * t->B * t->T;
}

static double trial_bytes(const struct trial *t, const struct limits *l)
{
    return 2 * sizeof(float) * spec_n_params(&t->spec) +
           (double)model_bytes(&t->spec, t->B, t->T, &l->options) +
           (double)model_forms_bytes(&t->spec, l->options.products);
}

static bool fits(const struct trial *t, const struct limits *l)
{
    return all_flops(t) <= l->flops && trial_bytes(t, l) <= l->bytes;
}

/* ---- what is tried ---- */

static bool halve_field(struct model_spec *s, const char *field, int now, int least)
{
    int half = now / 2;
    return half >= least && spec_set(s, field, half) == OK;
}

static bool halve_heads(struct model_spec *s)
{
    int K = s->K > 1 && s->K % 2 == 0 ? s->K / 2 : s->K;
    int half = s->H / 2;
    if (s->H % 2 != 0 || half < HEADS_LEAST || half % K != 0)
        return false;
    return spec_set(s, "kv_heads", K) == OK && spec_set(s, "heads", half) == OK;
}

static bool halve_tokens(struct trial *t)
{
    if (t->B > 1 && t->B / 2 * t->T >= TOKENS_LEAST) {
        t->B /= 2;
        return true;
    }
    if (t->T / 2 < TOKENS_LEAST)
        return false;
    t->T /= 2;
    return true;
}

/* One step towards less work, the least harmful first: how many tokens a product takes at a time
 * hangs on the vocabulary. */
static bool shrink(struct trial *t, int vocab_least)
{
    struct model_spec *s = &t->spec;
    return halve_field(s, "layers", s->L, 1) || halve_tokens(t) ||
           halve_field(s, "vocab", s->V, vocab_least) || halve_field(s, "ffn", s->F, FFN_LEAST) ||
           halve_heads(s);
}

/* Trial 0 is the layers with hardly any vocabulary, trial 1 the vocabulary with one layer. */
static int cut(struct trial t[N_TRIALS], const struct limits *l)
{
    if (t[0].spec.V > VOCAB_LEAST)
        TRY(spec_set(&t[0].spec, "vocab", VOCAB_LEAST));
    TRY(spec_set(&t[1].spec, "layers", 1));
    for (int i = 0; i < N_TRIALS; i++)
        while (!fits(&t[i], l) && shrink(&t[i], i == 0 ? VOCAB_LEAST : 4 * VOCAB_LEAST))
            ;
    err_clear(); /* that a size could not be halved */
    for (int i = 0; i < N_TRIALS; i++)
        if (trial_bytes(&t[i], l) > l->bytes)
            return ERR(E_MEM,
                       "not even a layer of this model fits into half of the free memory, so "
                       "its rate cannot be measured here; give it with --gflops");
    return OK;
}

/* ---- in a process of its own ---- */

struct pass {
    struct model *model;
    float *params, *grads;
    int32_t *token;
    struct prof prof;
};

static int prepare(struct pass *p, const struct trial *t, const struct model_options *o)
{
    TRY(model_new(&p->model, &t->spec, t->B, t->T, o));
    TRY(model_set_forms(p->model, NULL));
    size_t n = model_tensors(p->model)->n_elems, N = (size_t)t->B * (size_t)t->T;
    TRY(mem_alloc(&p->params, n, sizeof *p->params, "parameters"));
    TRY(mem_alloc(&p->grads, n, sizeof *p->grads, "gradient"));
    TRY(mem_alloc(&p->token, N, sizeof *p->token, "tokens"));
    /* Values of a model's size: those of its own start would take longer than the pass. */
    for (size_t i = 0; i < n; i++)
        p->params[i] = ((float)(i * 2654435761u % 1024) - 511.5f) * 4e-5f;
    for (size_t i = 0; i < N; i++)
        p->token[i] = (int32_t)(i * 40503u % (size_t)t->spec.V);
    model_set_prof(p->model, &p->prof);
    return OK;
}

static void release(struct pass *p)
{
    model_free(p->model);
    mem_free(p->params);
    mem_free(p->grads);
    mem_free(p->token);
}

static double run_once(struct pass *p, const struct trial *t)
{
    const struct batch_view b = {.B = t->B, .T = t->T, .token = p->token, .target = p->token};
    struct pass_result r;
    double begin = clock_now_s();
    prof_start(&p->prof);
    model_grad(p->model, p->params, &b, p->grads, &r, NULL, NULL);
    return clock_now_s() - begin;
}

/* What is in the way of a short pass says nothing about long ones. */
static double least_of_passes(struct pass *p, const struct trial *t)
{
    double least = run_once(p, t);
    for (int k = 1; k < PASSES; k++) {
        double s = run_once(p, t);
        least = s < least ? s : least;
    }
    return least;
}

static double backward_share(const struct prof *p)
{
    double all = 0, backward = 0;
    for (int i = 0; i < PROF_N; i++) {
        bool pass = PROF_NAMES[i].part == PART_FORWARD || PROF_NAMES[i].part == PART_BACKWARD;
        all += pass ? p->row[i].s : 0;
        backward += PROF_NAMES[i].part == PART_BACKWARD ? p->row[i].s : 0;
    }
    return all > 0 ? backward / all : 0;
}

/* The second packing: the first wrote to pages that were not there. */
static double pack_s(struct pass *p)
{
    double begin = clock_now_s();
    prof_start(&p->prof);
    model_pack(p->model, p->params, 0, 1);
    return clock_now_s() - begin;
}

static int try_pass(struct board *b, int copy, int i, const struct trial *t,
                    const struct model_options *o)
{
    struct pass p = {0};
    int rc = prepare(&p, t, o);
    if (rc == OK) {
        prof_start(&p.prof);
        model_pack(p.model, p.params, 0, 1);
        run_once(&p, t);
        pthread_barrier_wait(&b->start);
        b->pack_s[copy][i] = pack_s(&p);
        b->pass_s[copy][i] = least_of_passes(&p, t);
        b->backward[copy][i] = backward_share(&p.prof);
    }
    release(&p);
    return rc;
}

/* As a launcher pins ranks: two on one processor would measure the scheduler. */
static void pin(int copy, int64_t threads)
{
    cpu_set_t allowed, mine;
    int64_t first = copy * threads, k = 0;
    if (sched_getaffinity(0, sizeof allowed, &allowed) != 0)
        return;
    CPU_ZERO(&mine);
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET(cpu, &allowed) && k++ >= first && k <= first + threads)
            CPU_SET(cpu, &mine);
    if (CPU_COUNT(&mine) > 0)
        sched_setaffinity(0, sizeof mine, &mine);
}

static int work(struct board *b, int copy, const struct trial *t, int n, const struct limits *l)
{
    struct peak_memory m;
    pin(copy, l->threads);
    gemm_set_threads((int)l->threads);
    for (int i = 0; i < n; i++)
        TRY(try_pass(b, copy, i, &t[i], &l->options));
    pthread_barrier_wait(&b->start);
    TRY(peak_memory(&m, MEMORY_SECONDS));
    b->bytes_per_s[copy] = m.copy > m.triad ? m.copy : m.triad;
    return OK;
}

/* ---- all processes ---- */

static int open_board(struct board **b, int copies)
{
    pthread_barrierattr_t shared;
    void *at = mmap(NULL, sizeof **b, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED)
        return ERR(E_MEM, "no memory for what %d processes share", copies);
    *b = at;
    pthread_barrierattr_init(&shared);
    pthread_barrierattr_setpshared(&shared, PTHREAD_PROCESS_SHARED);
    pthread_barrier_init(&(*b)->start, &shared, (unsigned)copies);
    pthread_barrierattr_destroy(&shared);
    return OK;
}

static void kill_all(const pid_t *pid, int n)
{
    for (int i = 0; i < n; i++)
        if (pid[i] > 0)
            kill(pid[i], SIGKILL);
}

/* One that ends early would be waited for at the barrier. */
static int wait_all(pid_t *pid, int n)
{
    int code = OK;
    for (int left = n; left > 0; left--) {
        int status;
        pid_t done = wait(&status);
        int bad = !WIFEXITED(status) ? E_BUG : WEXITSTATUS(status);
        for (int i = 0; i < n; i++)
            pid[i] = pid[i] == done ? 0 : pid[i];
        if (bad != OK && code == OK) {
            code = bad;
            kill_all(pid, n);
        }
    }
    if (code == OK)
        return OK;
    return ERR(code, "a pass could not be measured (%s); give the rate with --gflops",
               err_name(code));
}

static int run_all(struct board *b, int copies, const struct trial *t, int n,
                   const struct limits *l)
{
    pid_t pid[MAX_COPIES];
    fflush(NULL);
    for (int i = 0; i < copies; i++) {
        pid[i] = fork();
        if (pid[i] == 0)
            _exit(work(b, i, t, n, l));
        if (pid[i] < 0) {
            kill_all(pid, i);
            (void)wait_all(pid, i);
            return ERR(E_MEM, "cannot start %d processes to measure with", copies);
        }
    }
    return wait_all(pid, copies);
}

/* The slowest sets the pace. */
static double slowest(const double s[][N_TRIALS], int copies, int trial)
{
    double most = 0;
    for (int i = 0; i < copies; i++)
        most = s[i][trial] > most ? s[i][trial] : most;
    return most;
}

/* Seconds of the layers' and the vocabulary's FLOPs, from two passes that hold them in different
 * shares; scaled to the whole. */
static double scaled_s(const struct trial t[N_TRIALS], const struct trial *whole, double s0,
                       double s1)
{
    double h0 = head_flops(&t[0]), l0 = all_flops(&t[0]) - h0;
    double h1 = head_flops(&t[1]), l1 = all_flops(&t[1]) - h1;
    double det = l0 * h1 - l1 * h0;
    double layer = (s0 * h1 - s1 * h0) / det, head = (l0 * s1 - l1 * s0) / det;
    double h = head_flops(whole), l = all_flops(whole) - h;
    return l * layer + h * head;
}

static void conclude(struct step_rates *r, const struct board *b, const struct trial *t,
                     const struct trial *whole)
{
    int last = r->whole ? 0 : N_TRIALS - 1;
    double s0 = slowest(b->pass_s, r->copies, 0);
    r->micro_s = r->whole ? s0 : scaled_s(t, whole, s0, slowest(b->pass_s, r->copies, 1));
    r->pack_s = slowest(b->pack_s, r->copies, last) * spec_n_params(&whole->spec) /
                spec_n_params(&t[last].spec);
    r->backward_share = r->whole ? b->backward[0][0] : (b->backward[0][0] + b->backward[0][1]) / 2;
    r->rank_bytes_per_s = 0;
    for (int i = 0; i < r->copies; i++)
        r->rank_bytes_per_s += b->bytes_per_s[i] / r->copies;
}

static int count_copies(const struct machine *m, int ranks_a_node, int64_t threads)
{
    int most = cpuset_count(&m->allowed) / (int)threads;
    most = most < 1 ? 1 : most > MAX_COPIES ? MAX_COPIES : most;
    return ranks_a_node < most ? ranks_a_node : most;
}

static double expected_flops(const struct config *c)
{
    double bf16 = strcmp(c->numerics.precision, "bf16") == 0 ? peak_bf16_flops(PEAK_SECONDS) : 0;
    double peak = bf16 > 0 ? bf16 : peak_fma_flops(PEAK_SECONDS);
    return peak * EXPECTED_SHARE * (double)c->parallel.threads;
}

int step_rates(struct step_rates *r, const struct config *c, const struct model_spec *s,
               int ranks_a_node, double seconds)
{
    static struct machine m;
    static struct trial t[N_TRIALS], whole;
    struct board *b;
    if (derive_model(c).products == BF16 && gemm16_missing() != NULL)
        return ERR(E_CONFIG,
                   "numerics.precision bf16: %s; its rate cannot be measured here, give it "
                   "with --gflops",
                   gemm16_missing());
    probe_machine(&m);
    *r = (struct step_rates){.copies = count_copies(&m, ranks_a_node, c->parallel.threads)};
    struct limits l = {.flops = expected_flops(c) * seconds / (1 + PASSES),
                       .bytes = m.free_bytes / 2 / r->copies,
                       .options = derive_model(c),
                       .threads = c->parallel.threads};
    whole = (struct trial){*s, (int)c->batch.micro, (int)c->batch.seq_len};
    t[0] = t[1] = whole;
    r->whole = fits(&whole, &l);
    l.flops /= N_TRIALS;
    if (!r->whole)
        TRY(cut(t, &l));
    TRY(open_board(&b, r->copies));
    int rc = run_all(b, r->copies, t, r->whole ? 1 : N_TRIALS, &l);
    if (rc == OK)
        conclude(r, b, t, &whole);
    munmap(b, sizeof *b);
    return rc;
}
