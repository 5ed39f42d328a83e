#include "cmd/inspect_follow.h"

#include "base/err.h"
#include "base/log.h"
#include "train/metrics.h"
#include "train/run.h"

#include <jansson.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Rows from before that are shown, and how long nothing new is waited for. */
enum { ROWS_BEFORE = 10, WAIT_US = 300000 };

/* The columns that are shown. */
static const struct shown {
    enum metric column;
    const char *name;
    int width, digits;
} SHOWN[] = {
    {M_STEP, "step", 8, 9},
    {M_LOSS, "loss", 10, 6},
    {M_LR, "lr", 11, 4},
    {M_GRAD_NORM, "grad_norm", 10, 4},
    {M_TOKENS_PER_S, "tokens/s", 10, 4},
    {M_VALID_LOSS, "valid_loss", 11, 6},
};
enum { N_SHOWN = sizeof SHOWN / sizeof *SHOWN };

static volatile sig_atomic_t interrupted;

static void on_interrupt(int sig)
{
    (void)sig;
    interrupted = 1;
}

struct follower {
    bool json;
    int64_t attempt, step; /* of the last row; -1: none yet */
};

static void print_names(void)
{
    for (int i = 0; i < N_SHOWN; i++)
        printf("%*s", SHOWN[i].width, SHOWN[i].name);
    putchar('\n');
}

static void print_line(const double row[M_N])
{
    for (int i = 0; i < N_SHOWN; i++)
        if (isnan(row[SHOWN[i].column]))
            printf("%*s", SHOWN[i].width, i + 1 < N_SHOWN ? "-" : "");
        else
            printf("%*.*g", SHOWN[i].width, SHOWN[i].digits, row[SHOWN[i].column]);
    putchar('\n');
}

static int print_json(const double row[M_N])
{
    json_t *o = json_object();
    for (int i = 0; i < M_N; i++)
        if (i == M_STEP || i == M_ATTEMPT || i == M_SAMPLES || i == M_BATCH)
            json_object_set_new(o, METRIC_COLUMNS[i].name, json_integer((json_int_t)row[i]));
        else if (isfinite(row[i]))
            json_object_set_new(o, METRIC_COLUMNS[i].name, json_real(row[i]));
    char *text = json_dumps(o, JSON_COMPACT);
    json_decref(o);
    if (text == NULL)
        return ERR(E_MEM, "no memory for a row");
    puts(text);
    free(text);
    return OK;
}

/* A row that is seen again has its validation figures now. */
static int print_row(struct follower *f, const double row[M_N])
{
    int64_t attempt = (int64_t)row[M_ATTEMPT], step = (int64_t)row[M_STEP];
    if (!f->json && f->attempt >= 0 && attempt != f->attempt)
        printf("attempt %lld goes on from step %lld\n", (long long)attempt, (long long)step - 1);
    f->attempt = attempt;
    f->step = step;
    if (f->json)
        return print_json(row);
    print_line(row);
    return OK;
}

/* All that is there. For people the last of what was there before they looked. */
static int print_past(struct follower *f, struct metrics_tail *t)
{
    double last[ROWS_BEFORE][M_N], row[M_N];
    enum tail what;
    int64_t n = 0;
    TRY(metrics_tail_next(t, row, &what));
    for (; what != TAIL_NONE && !interrupted; n++) {
        n -= what == TAIL_AMENDED && n > 0;
        memcpy(last[n % ROWS_BEFORE], row, sizeof row);
        TRY(metrics_tail_next(t, row, &what));
    }
    print_names();
    for (int64_t i = n > ROWS_BEFORE ? n - ROWS_BEFORE : 0; i < n; i++)
        TRY(print_row(f, last[i % ROWS_BEFORE]));
    return OK;
}

static int print_new(struct follower *f, struct metrics_tail *t)
{
    double row[M_N];
    enum tail what;
    TRY(metrics_tail_next(t, row, &what));
    while (what != TAIL_NONE && !interrupted) {
        TRY(print_row(f, row));
        TRY(metrics_tail_next(t, row, &what));
    }
    return fflush(stdout) == 0 ? OK : ERR(E_IO, "standard output could not be written");
}

static bool is_at_work(const char *run)
{
    char who[256];
    bool gone;
    return run_holder(run, who, sizeof who, &gone) && !gone;
}

/* Whether somebody is at work is asked before the rows are read, so that none is missed. */
static int follow(struct follower *f, struct metrics_tail *t, const char *run)
{
    bool works = is_at_work(run);
    if (!f->json)
        TRY(print_past(f, t));
    TRY(print_new(f, t));
    while (works && !interrupted) {
        usleep(WAIT_US);
        works = is_at_work(run);
        TRY(print_new(f, t));
    }
    if (!works && f->step < 0)
        log_warn("%s has no rows, and nobody is at work in it", run);
    return OK;
}

int inspect_follow(const char *run, bool json)
{
    struct metrics_tail *t;
    struct follower f = {.json = json, .attempt = -1, .step = -1};
    const struct sigaction how = {.sa_handler = on_interrupt};
    sigaction(SIGINT, &how, NULL);
    TRY(metrics_tail_new(&t, run, 0));
    int rc = follow(&f, t, run);
    metrics_tail_free(t);
    return rc;
}
