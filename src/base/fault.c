#include "base/fault.h"

#include "base/err.h"
#include "base/str.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { POINT_MAX = 64, SLOW_US = 100000 };

struct action {
    const char *name;
    bool (*act)(void);
    bool lasts; /* from its turn on */
};

static struct {
    atomic_int state; /* -1: CARAT_FAULT not read yet; 0: not armed; 1: armed */
    char point[POINT_MAX];
    int64_t rank; /* -1: every rank */
    int64_t nth;
    const struct action *action;
} armed = {.state = -1};

static atomic_long visits;
static int my_rank;

/* Cuts the text up to the next ':' off *rest; NULL when nothing is left. */
static char *next_field(char **rest)
{
    return strsep(rest, ":");
}

static bool fail(void)
{
    return true;
}

static bool kill_self(void)
{
    raise(SIGKILL);
    return false;
}

static bool stop_self(void)
{
    raise(SIGSTOP);
    return false;
}

/* As a rank goes that knows nothing of the others: without MPI_Finalize, buffers or handlers. */
static bool leave(void)
{
    _exit(EXIT_FAILURE);
}

static bool hang(void)
{
    for (volatile int forever = 1; forever;)
        ;
    return false;
}

static bool dawdle(void)
{
    usleep(SLOW_US);
    return false;
}

static const struct action actions[] = {
    {"fail", fail, false},  {"kill", kill_self, false}, {"stop", stop_self, false},
    {"exit", leave, false}, {"hang", hang, false},      {"slow", dawdle, true},
};

static bool parse_action(const char *s)
{
    for (size_t i = 0; i < sizeof actions / sizeof *actions; i++)
        if (strcmp(s != NULL ? s : "fail", actions[i].name) == 0) {
            armed.action = &actions[i];
            return true;
        }
    return false;
}

static bool parse_spec(char *spec)
{
    const char *point = next_field(&spec), *rank = next_field(&spec);
    const char *nth = next_field(&spec), *action = next_field(&spec);
    if (*point == '\0' || strlen(point) >= POINT_MAX || rank == NULL || spec != NULL)
        return false;
    memcpy(armed.point, point, strlen(point) + 1);
    armed.rank = -1;
    armed.nth = 1;
    if (strcmp(rank, "*") != 0 && (!parse_i64(rank, &armed.rank) || armed.rank < 0))
        return false;
    if (nth != NULL && (!parse_i64(nth, &armed.nth) || armed.nth < 1))
        return false;
    return parse_action(action);
}

static int arm_from_environment(void)
{
    const char *env = getenv("CARAT_FAULT");
    int state = 0;
    if (env != NULL && *env != '\0') {
        char spec[256];
        if (strlen(env) >= sizeof spec)
            fatal(E_USAGE, "CARAT_FAULT is too long");
        memcpy(spec, env, strlen(env) + 1);
        /* A mistyped fault would let a test pass that tests nothing. */
        if (!parse_spec(spec))
            fatal(E_USAGE,
                  "CARAT_FAULT=%s: want <point>:<rank>[:<nth>[:fail|kill|stop|exit|hang|slow]]",
                  env);
        state = 1;
    }
    atomic_store(&armed.state, state);
    return state;
}

void fault_set_rank(int rank)
{
    my_rank = rank;
}

bool fault_hit(const char *point)
{
    int state = atomic_load_explicit(&armed.state, memory_order_acquire);
    if (__builtin_expect(state == 0, 1))
        return false;
    if (state < 0 && arm_from_environment() == 0)
        return false;
    if ((armed.rank >= 0 && armed.rank != my_rank) || strcmp(point, armed.point) != 0)
        return false;
    int64_t visit = atomic_fetch_add(&visits, 1) + 1;
    if (visit < armed.nth || (visit > armed.nth && !armed.action->lasts))
        return false;
    return armed.action->act();
}

void fault_rearm(void)
{
    atomic_store(&visits, 0);
    atomic_store(&armed.state, -1);
}
