#include "metrics_parts.h"

#include "base/err.h"
#include "base/fault.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/str.h"
#include "par/agree.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Rows a segment: few in an attempt's first, since many runs are short, and where many ranks would
 * make it large. */
enum { ROWS_FIRST = 512, ROWS_MAX = 4096, ROWS_MIN = 256, SEGMENT_BYTES = 64 << 20 };
static const double SYNC_EVERY_S = 30;

const struct metric_column METRIC_COLUMNS[M_N] = {
    [M_STEP] = {"step", "1", "optimizer steps completed"},
    [M_ATTEMPT] = {"attempt", "1", "how often the run had been resumed when the row was written"},
    [M_SAMPLES] = {"samples", "1", "sequences consumed since the run began, all ranks"},
    [M_TOKENS] = {"tokens", "1", "counted targets consumed since the run began, all ranks"},
    [M_LOSS] = {"loss", "nat", "mean cross entropy a counted target of this step's batch"},
    [M_ACCURACY] = {"accuracy", "1", "share of targets that were the likeliest token"},
    [M_LR] = {"lr", "1", "learning rate of this step"},
    [M_GRAD_NORM] = {"grad_norm", "1", "Euclidean norm of the mean gradient before clipping"},
    [M_CLIP] = {"clip", "1", "factor that clipping put on the gradient"},
    [M_STEP_S] = {"step_s", "s", "wall time of the step"},
    [M_TOKENS_PER_S] = {"tokens_per_s", "1/s", "tokens of the batch over the step's wall time"},
    [M_PEAK_FRACTION] = {"peak_fraction", "1", "model FLOPs a second over the measured peak"},
    [M_VALID_LOSS] = {"valid_loss", "nat",
                      "mean cross entropy on the validation split after the step"},
    [M_VALID_ACCURACY] = {"valid_accuracy", "1", "accuracy on the validation split after the step"},
    [M_PERPLEXITY] = {"perplexity", "1", "exponential of the loss"},
    [M_LOSS_SMOOTH] = {"loss_smooth", "nat", "exponential average of the loss"},
    [M_BATCH] = {"batch", "1", "sequences of this step, all ranks"},
    [M_UPDATE_RATIO] = {"update_ratio", "1",
                        "Euclidean norm of the step's change of the weights over that of the "
                        "weights before it"},
    [M_CLIP_RATE] = {"clip_rate", "1", "share of steps that clipped, an exponential average"},
    [M_ATTENTION_LOGIT] = {"attention_logit", "1",
                           "greatest attention logit of the step's batch, soft cap included"},
    [M_NOISE_SCALE] = {"noise_scale", "1", "gradient noise scale B_simple, in sequences"},
    [M_NOISE_ERROR] = {"noise_error", "1", "standard error of the noise scale, in sequences"},
    [M_CRITICAL_BATCH] = {"critical_batch", "1",
                          "critical batch of the run so far by its noise scales, in sequences"},
    [M_NOISE_TRACE] = {"noise_trace", "1",
                       "variance of one sequence's gradient, measured in this step"},
    [M_NOISE_SIGNAL] = {"noise_signal", "1",
                        "squared norm of the true gradient, measured in this step"},
};

const struct metric_column LAYER_COLUMNS[L_N] = {
    [L_GRAD_NORM] = {"grad_norm", "1",
                     "Euclidean norm of the mean gradient before clipping; row 0 the embedding, "
                     "then the layers, last the final norm"},
    [L_UPDATE_RATIO] = {"update_ratio", "1",
                        "norm of the step's change of the weights over theirs before it; the same "
                        "rows"},
};

const struct metric_column RANK_COLUMNS[R_N] = {
    [R_LOAD_S] = {"load_s", "s", "waiting for the batch"},
    [R_COMPUTE_S] = {"compute_s", "s", "forward and backward passes, without waiting"},
    [R_REDUCE_S] = {"reduce_s", "s", "reduction of gradients, with waiting for other ranks"},
    [R_OPTIM_S] = {"optim_s", "s", "optimizer"},
    [R_GATHER_S] = {"gather_s", "s", "gathering the parameters from all ranks"},
    [R_SAVE_S] = {"save_s", "s", "writing checkpoints"},
    [R_MEM_BYTES] = {"mem_bytes", "B", "memory that carat holds"},
};

struct metrics {
    const struct comm *c;
    char run_dir[FS_PATH_MAX];
    struct metrics_attempt attempt;
    int64_t n_groups; /* rows by layer */
    struct segment segment;
    int fd;
    int64_t used;      /* rows written into the segment */
    int64_t last_step; /* of the newest row, in whichever; -1: none of this attempt */
    int64_t asked;     /* the step of this segment that is published once all have synced it */
    struct metrics_sync *sync;
    int (*may_write)(void *ctx);
    void *may_write_ctx;
};

/* ---- rows ---- */

void metrics_seal(double *row, int width)
{
    row[width - 1] = (double)crc32c(0, row, sizeof *row * (size_t)(width - 1));
}

bool metrics_is_sealed(const double *row, int width)
{
    return row[width - 1] == (double)crc32c(0, row, sizeof *row * (size_t)(width - 1));
}

bool metrics_is_count(double v)
{
    return v >= 0 && v < 9007199254740992.0; /* 2^53: above it counts are not exact */
}

bool metrics_is_empty(const double *row, int width)
{
    for (int i = 0; i < width; i++)
        if (!isnan(row[i]))
            return false;
    return true;
}

static int write_step_row(const struct metrics *m, int64_t at, const double row[M_N])
{
    double sealed[STEP_WIDTH];
    memcpy(sealed, row, sizeof(double) * M_N);
    metrics_seal(sealed, STEP_WIDTH);
    return fs_pwrite(m->fd, sealed, sizeof sealed, segment_step_at(&m->segment, at),
                     m->segment.path);
}

static int write_beside(const struct metrics *m, enum side side, int64_t at, int64_t i,
                        const double row[M_N], const double *values)
{
    const struct side_kind *k = &SIDES[side];
    double sealed[SIDE_MOST] = {row[M_STEP], row[M_ATTEMPT]};
    memcpy(sealed + SIDE_HEAD, values, sizeof(double) * (size_t)k->n_columns);
    metrics_seal(sealed, k->width);
    return fs_pwrite(m->fd, sealed, sizeof(double) * (size_t)k->width,
                     segment_beside_at(&m->segment, side, at, i), m->segment.path);
}

/* ---- segments ---- */

static int64_t rows_for(const struct segment *s)
{
    int64_t width = STEP_WIDTH;
    for (int i = 0; i < N_SIDES; i++)
        width += s->n_beside[i] * SIDES[i].width;
    int64_t rows = SEGMENT_BYTES / (width * (int64_t)sizeof(double));
    int64_t most = s->n == 0 ? ROWS_FIRST : ROWS_MAX;
    return rows > most ? most : rows < ROWS_MIN ? ROWS_MIN : rows;
}

/* Without the thread, which would else take a failure that is told once and let this pass. */
static int sync_file(struct metrics *m)
{
    metrics_sync_file(m->sync, -1);
    TRY(metrics_sync_error(m->sync, m->segment.path));
    return fault_hit("metrics.fsync") || fsync(m->fd) != 0
               ? ERR(E_IO, "%s: cannot fsync", m->segment.path)
               : OK;
}

/* Root, once all ranks have synced what they wrote. */
static int publish_end(const struct metrics *m)
{
    TRY(segment_put_durable(&m->segment, m->fd, m->last_step, m->segment.attempt));
    return fdatasync(m->fd) == 0
               ? OK
               : ERR(E_IO, "%s: cannot fdatasync: %s", m->segment.path, strerror(errno));
}

/* Collective. */
static int sync_and_close(struct metrics *m)
{
    int rc = agree(m->c, m->fd >= 0 ? sync_file(m) : OK);
    if (m->fd < 0)
        return rc;
    if (rc == OK && m->c->rank == 0 && m->used > 0)
        rc = publish_end(m);
    if (close(m->fd) != 0 && rc == OK)
        rc = ERR(E_IO, "%s: cannot close: %s", m->segment.path, strerror(errno));
    m->fd = -1;
    return rc;
}

/* The attempt's n-th. Collective. */
static int begin_segment(struct metrics *m, int64_t n)
{
    m->segment = (struct segment){.attempt = m->attempt.number, .n = n, .after = m->attempt.after};
    memcpy(m->segment.path_hash, m->attempt.path, sizeof m->segment.path_hash);
    m->segment.n_beside[SIDE_RANKS] = m->c->size;
    m->segment.n_beside[SIDE_LAYERS] = m->n_groups;
    m->segment.rows = rows_for(&m->segment);
    m->used = 0;
    m->asked = -1;
    TRY(segment_create(m->c, &m->segment, m->run_dir));
    m->fd = open(m->segment.path, O_WRONLY | O_CLOEXEC);
    metrics_sync_file(m->sync, m->fd);
    return agree(
        m->c, m->fd >= 0 ? OK : ERR(E_IO, "%s: cannot open: %s", m->segment.path, strerror(errno)));
}

int metrics_next_attempt(const char *run_dir, int64_t *attempt)
{
    struct segment *list;
    size_t k;
    *attempt = 0;
    TRY(segment_list(run_dir, &list, &k));
    for (size_t i = 0; i < k; i++)
        if (list[i].attempt >= *attempt)
            *attempt = list[i].attempt + 1;
    mem_free(list);
    return OK;
}

/* A run that begins again at the same attempt (there was no checkpoint yet) goes on counting. */
static int first_free(const char *run_dir, int64_t attempt, int64_t *n)
{
    struct segment *list;
    size_t k;
    *n = 0;
    TRY(segment_list(run_dir, &list, &k));
    for (size_t i = 0; i < k; i++)
        if (list[i].attempt == attempt && list[i].n >= *n)
            *n = list[i].n + 1;
    mem_free(list);
    return OK;
}

static int prepare_folder(const char *run_dir, int64_t attempt, int64_t *n)
{
    char folder[FS_PATH_MAX];
    TRY(segment_folder(folder, run_dir));
    TRY(fs_mkdirs(folder));
    TRY(segment_clean(run_dir));
    return first_free(run_dir, attempt, n);
}

/* CARAT_METRICS_SYNC_S: for tests, which cannot wait. */
static double sync_every_s(void)
{
    const char *text = getenv("CARAT_METRICS_SYNC_S");
    double s;
    return text != NULL && parse_f64(text, &s) && s > 0 ? s : SYNC_EVERY_S;
}

int metrics_open(struct metrics **out, const struct comm *c, const char *run_dir,
                 const struct metrics_attempt *attempt, int64_t n_groups)
{
    int64_t n = 0;
    struct metrics *m;
    *out = NULL;
    int rc = mem_alloc(&m, 1, sizeof *m, "metrics");
    if (rc == OK)
        *m = (struct metrics){.fd = -1, .last_step = -1};
    if (rc == OK && strlen(run_dir) >= sizeof m->run_dir)
        rc = ERR(E_CONFIG, "%.60s...: the path is too long", run_dir);
    if (rc == OK && c->rank == 0)
        rc = prepare_folder(run_dir, attempt->number, &n);
    rc = agree_bcast(c, 0, rc, &n, sizeof n);
    if (rc == OK) {
        m->c = c;
        m->attempt = *attempt;
        m->n_groups = n_groups;
        memcpy(m->run_dir, run_dir, strlen(run_dir) + 1);
        rc = agree(c, metrics_sync_new(&m->sync, sync_every_s()));
    }
    if (rc == OK)
        rc = begin_segment(m, n);
    if (rc != OK) {
        metrics_free(m);
        return rc;
    }
    *out = m;
    return OK;
}

void metrics_ask(struct metrics *m, int (*may_write)(void *ctx), void *ctx)
{
    m->may_write = may_write;
    m->may_write_ctx = ctx;
}

/* Ends the segment; then root asks whether there may be more. Collective. */
static int end_segment(struct metrics *m)
{
    int rc = sync_and_close(m);
    if (rc == OK && m->c->rank == 0 && m->may_write != NULL)
        rc = m->may_write(m->may_write_ctx);
    return agree(m->c, rc);
}

static int next_segment(struct metrics *m)
{
    TRY(end_segment(m));
    return begin_segment(m, m->segment.n + 1);
}

int metrics_renew(struct metrics *m, const struct metrics_attempt *attempt)
{
    TRY(end_segment(m));
    m->attempt = *attempt;
    m->last_step = -1;
    return begin_segment(m, 0);
}

static int write_layers(const struct metrics *m, int64_t at, const double row[M_N],
                        const double *by_layer)
{
    for (int64_t i = 0; by_layer != NULL && i < m->n_groups; i++)
        TRY(write_beside(m, SIDE_LAYERS, at, i, row, by_layer + i * L_N));
    return OK;
}

/* On all ranks, whoever of them writes into it. */
static int take_place(struct metrics *m, int64_t step, int64_t *at)
{
    if (m->fd < 0)
        return ERR(E_IO, "%s: closed after an earlier failure", m->segment.path);
    if (m->used == m->segment.rows)
        TRY(next_segment(m));
    *at = m->used++;
    m->last_step = step;
    return OK;
}

int metrics_step(struct metrics *m, const double row[M_N], const double rank_row[R_N],
                 const double *by_layer)
{
    int64_t at;
    TRY(take_place(m, (int64_t)row[M_STEP], &at));
    if (fault_hit("metrics.row"))
        return ERR(E_IO, "%s: cannot write (fault metrics.row)", m->segment.path);
    TRY(write_beside(m, SIDE_RANKS, at, m->c->rank, row, rank_row));
    if (m->c->rank == 0) {
        TRY(write_layers(m, at, row, by_layer));
        TRY(write_step_row(m, at, row));
    }
    /* Rows are safe from a killed process once written; from a lost node once the thread has synced
     * them. */
    metrics_sync_row(m->sync, m->last_step);
    return metrics_sync_error(m->sync, m->segment.path);
}

int metrics_amend(struct metrics *m, const double row[M_N])
{
    int64_t at;
    if (m->last_step != (int64_t)row[M_STEP])
        return ERR(E_BUG, "%s: no row of step %.0f to amend", m->segment.path, row[M_STEP]);
    TRY(take_place(m, m->last_step, &at));
    if (m->c->rank == 0)
        TRY(write_step_row(m, at, row));
    metrics_sync_row(m->sync, m->last_step);
    return metrics_sync_error(m->sync, m->segment.path);
}

bool metrics_owes(const struct metrics *m)
{
    return metrics_sync_done(m->sync) < m->asked;
}

int metrics_settle(struct metrics *m)
{
    int64_t settled = m->asked;
    m->asked = m->used > 0 ? m->last_step : -1;
    if (settled < 0 || m->fd < 0 || m->c->rank != 0)
        return OK;
    return segment_put_durable(&m->segment, m->fd, settled, m->segment.attempt);
}

int metrics_close(struct metrics *m)
{
    if (m == NULL)
        return OK;
    const struct comm *c = m->c;
    int rc = end_segment(m);
    if (rc == OK)
        rc = agree(c, c->rank == 0 ? metrics_merge(m->run_dir) : OK);
    metrics_free(m);
    return rc;
}

void metrics_free(struct metrics *m)
{
    if (m == NULL)
        return;
    metrics_sync_free(m->sync);
    if (m->fd >= 0)
        close(m->fd);
    mem_free(m);
}
