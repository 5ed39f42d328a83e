#include "train/watchdog.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/watch.h"
#include "par/agree.h"
#include "par/window.h"
#include "train/run.h"

#include <execinfo.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { FRAMES = 64, STACK_BYTES = 1 << 16, MOST_BEHIND = 4 };

/* Looks in a limit, and their distance at most. */
static const double LOOKS = 8, LOOK_MOST_S = 1;
/* What is said must be said within this, whatever hangs: a file system may be the cause. */
static const double SPEAK_S = 3, TRACE_S = 2;
/* Who is not the first to speak gives that one so long to end the job. */
static const double LISTEN_S = 2.5;
/* Who waits lets those speak first who hang themselves, and who sees none that is behind, those who
 * do. */
static const double YIELD_S = 0.5;

/* A rank whose marks this one sees. */
struct peer {
    struct watch_mark *mark;
    struct watch_seen seen;
    int rank;
};

static struct {
    pthread_mutex_t lock; /* of what follows */
    bool has_thread;
    double base_s; /* 0: off */
    const char *key;
    char run_dir[4096];
    int rank, size;
    char host[64];
    struct window *page;
    struct peer *peer; /* [n], this rank among them */
    int n, me;
    pthread_t main;
} dog = {.lock = PTHREAD_MUTEX_INITIALIZER};

static sem_t spoken, traced;

/* ---- what is said ---- */

static const char *cause_of(const struct watchdog_report *r)
{
    if (!PHASES[r->phase].waits)
        return "it is slow, stopped or in a loop";
    if (*r->behind != '\0')
        return "another rank is slow, stopped or gone; behind it: ";
    return r->sees_all ? "all ranks are in that phase, and one does not take part"
                       : "a rank of another node is slow, stopped or gone";
}

void watchdog_text(const struct watchdog_report *r, char *text, size_t n)
{
    const struct phase_kind *p = &PHASES[r->phase];
    snprintf(text, n,
             "rank %d on %s has made no progress for %.0f s (limit %.0f s) in phase %s (%s) of "
             "step %ld: %s%s; look at that node, then run the same command again%s%s%s",
             r->rank, r->host, r->still_s, r->limit_s, phase_name((enum phase)r->phase), p->help,
             r->step, cause_of(r), p->waits ? r->behind : "",
             r->key != NULL ? ", with a greater " : "", r->key != NULL ? r->key : "",
             r->key != NULL ? " if nothing hung" : "");
}

static void say(const char *text)
{
    char line[2048];
    int n = snprintf(line, sizeof line, "carat: %s\n", text);
    if (write(STDERR_FILENO, line, (size_t)n) < 0)
        return;
}

/* On a stack of its own: the main thread's may be in the middle of a product that keeps what it
 * needs below its end. */
static void on_trace(int sig)
{
    void *frame[FRAMES];
    (void)sig;
    backtrace_symbols_fd(frame, backtrace(frame, FRAMES), STDERR_FILENO);
    sem_post(&traced);
}

static int trace_signal(void)
{
    return SIGRTMIN + 5;
}

static bool wait_for(sem_t *s, double seconds)
{
    struct timespec until = clock_after(CLOCK_REALTIME, seconds);
    return sem_timedwait(s, &until) == 0;
}

static void trace_main(void)
{
    say("its main thread is at:");
    if (pthread_kill(dog.main, trace_signal()) != 0 || !wait_for(&traced, TRACE_S))
        say("nowhere that it can tell: it does not take signals");
}

/* Whether FAILED is from before this rank hung, and not another watchdog's. */
static bool failed_before(double still_s)
{
    char path[FS_PATH_MAX];
    struct stat st;
    return fs_join(path, dog.run_dir, "FAILED") == OK && stat(path, &st) == 0 &&
           difftime(time(NULL), st.st_mtime) > still_s / 2;
}

/* Whether this rank is the first to fail, and so the one that speaks. */
static bool is_first(const struct watchdog_report *r, const char *text)
{
    bool first = dog.run_dir[0] == '\0' ||
                 run_record_failure(dog.run_dir, dog.rank, dog.host, r->step, E_RANK, text);
    /* A rank that failed earlier has not come to say why if it hangs at the end. */
    first = first || (r->phase == PHASE_CLOSE && dog.rank == 0 && failed_before(r->still_s));
    return first && atomic_exchange(&dog.peer[0].mark->spoken, 1) == 0;
}

static char last_words[2048];

static void *speak(void *report)
{
    const struct watchdog_report *r = report;
    if (is_first(r, last_words)) {
        say(last_words);
        trace_main();
    } else {
        wait_for(&traced, LISTEN_S); /* never posted here */
    }
    sem_post(&spoken);
    return NULL;
}

/* ---- what is seen ---- */

static void describe_behind(char *text, size_t n)
{
    const struct watch_mark *mine = dog.peer[dog.me].mark;
    int told = 0;
    text[0] = '\0';
    for (int i = 0; i < dog.n; i++) {
        const struct watch_mark *m = dog.peer[i].mark;
        int phase = atomic_load(&m->phase);
        long step = (long)atomic_load(&m->step);
        if (i == dog.me || phase == PHASE_OFF ||
            (phase == atomic_load(&mine->phase) && step == (long)atomic_load(&mine->step)))
            continue;
        size_t at = strlen(text);
        if (told++ < MOST_BEHIND)
            snprintf(text + at, n - at, "%srank %d (%s of step %ld)", at > 0 ? ", " : "",
                     dog.peer[i].rank, phase_name((enum phase)phase), step);
    }
    if (told > MOST_BEHIND)
        snprintf(text + strlen(text), n - strlen(text), " and %d more", told - MOST_BEHIND);
}

static _Noreturn void end(double limit_s)
{
    char behind[512];
    pthread_t speaker;
    const struct peer *me = &dog.peer[dog.me];
    describe_behind(behind, sizeof behind);
    struct watchdog_report r = {.rank = dog.rank,
                                .host = dog.host,
                                .phase = atomic_load(&me->mark->phase),
                                .step = (long)atomic_load(&me->mark->step),
                                .still_s = me->seen.still_s,
                                .limit_s = limit_s,
                                .key = dog.key,
                                .behind = behind,
                                .sees_all = dog.n == dog.size};
    watchdog_text(&r, last_words, sizeof last_words);
    if (PHASES[r.phase].waits)
        usleep((useconds_t)(YIELD_S * 1e6 * (behind[0] == '\0' ? 2 : 1)));
    if (pthread_create(&speaker, NULL, speak, &r) != 0 || !wait_for(&spoken, SPEAK_S))
        say(last_words);
    _exit(E_RANK);
}

/* Where ranks wait for each other, one that gets on is reason enough to go on waiting. */
static bool another_gets_on(double limit_s)
{
    for (int i = 0; i < dog.n; i++)
        if (i != dog.me && atomic_load(&dog.peer[i].mark->phase) != PHASE_OFF &&
            dog.peer[i].seen.still_s < limit_s / 2)
            return true;
    return false;
}

static void look(double dt_s, double most_s)
{
    for (int i = 0; i < dog.n; i++)
        watch_look(&dog.peer[i].seen, atomic_load(&dog.peer[i].mark->at_ns), dt_s, most_s);
    const struct peer *me = &dog.peer[dog.me];
    enum phase p = (enum phase)atomic_load_explicit(&me->mark->phase, memory_order_acquire);
    if (p == PHASE_OFF || me->seen.still_s < dog.base_s)
        return;
    double limit = watch_limit(p, dog.base_s);
    if (me->seen.still_s > limit && !(PHASES[p].waits && another_gets_on(limit)))
        end(limit);
}

static void *watch(void *unused)
{
    double last = clock_now_s();
    for (;;) {
        pthread_mutex_lock(&dog.lock);
        double every = dog.base_s / LOOKS;
        every = dog.base_s > 0 && every < LOOK_MOST_S ? every : LOOK_MOST_S;
        double now = clock_now_s();
        if (dog.base_s > 0)
            look(now - last, 2 * every);
        pthread_mutex_unlock(&dog.lock);
        last = now;
        usleep((useconds_t)(every * 1e6));
    }
    return unused;
}

/* ---- beginning and end ---- */

static void take_traces(void)
{
    static char stack[STACK_BYTES];
    void *frame[1];
    const stack_t alternate = {.ss_sp = stack, .ss_size = sizeof stack};
    struct sigaction how = {.sa_handler = on_trace, .sa_flags = SA_ONSTACK};
    backtrace(frame, 1); /* the first call loads a library, which a handler must not */
    sigemptyset(&how.sa_mask);
    sigaltstack(&alternate, NULL);
    sigaction(trace_signal(), &how, NULL);
}

static void start_thread(void)
{
    sigset_t all, before;
    pthread_t thread;
    sem_init(&spoken, 0, 0);
    sem_init(&traced, 0, 0);
    take_traces();
    dog.main = pthread_self();
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    dog.has_thread = pthread_create(&thread, NULL, watch, NULL) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (dog.has_thread)
        pthread_detach(thread);
    else
        log_warn("no thread for the watchdog: a rank that hangs is not noticed");
}

static void alone(void)
{
    static struct peer self;
    self = (struct peer){.mark = watch_here(), .rank = dog.rank};
    dog.peer = &self;
    dog.n = 1;
    dog.me = 0;
}

/* The marks of a team's ranks in memory that all of them see. */
static void share(const struct comm *c)
{
    int team = team_of(&c->team, c->rank), first = team_first(&c->team, team);
    int n = team_size(&c->team, team);
    struct peer *peer = NULL;
    struct window *page = NULL;
    int rc = window_new(&page, c, sizeof(struct watch_mark), "marks of progress");
    rc = agree(c, rc != OK ? rc : mem_alloc(&peer, (size_t)n, sizeof *peer, "marks of progress"));
    if (rc != OK || peer == NULL) {
        err_clear();
        mem_free(peer);
        window_free(page);
        return;
    }
    for (int i = 0; i < n; i++)
        peer[i] = (struct peer){.mark = window_part(page, i), .rank = first + i};
    pthread_mutex_lock(&dog.lock);
    watch_share(peer[c->rank - first].mark);
    dog.page = page;
    dog.peer = peer;
    dog.n = n;
    dog.me = c->rank - first;
    pthread_mutex_unlock(&dog.lock);
}

void watchdog_begin(const struct comm *c, double base_s, const char *key)
{
    watchdog_end();
    pthread_mutex_lock(&dog.lock);
    dog.base_s = base_s;
    dog.key = key;
    dog.rank = c->rank;
    dog.size = c->size;
    snprintf(dog.host, sizeof dog.host, "%s", c->host);
    dog.run_dir[0] = '\0';
    alone();
    pthread_mutex_unlock(&dog.lock);
    watch_forget();
    if (base_s > 0 && !dog.has_thread)
        start_thread();
    if (base_s > 0)
        share(c);
}

void watchdog_keep_record(const char *run_dir)
{
    pthread_mutex_lock(&dog.lock);
    snprintf(dog.run_dir, sizeof dog.run_dir, "%s", run_dir);
    pthread_mutex_unlock(&dog.lock);
}

void watchdog_end(void)
{
    if (dog.page == NULL)
        return;
    pthread_mutex_lock(&dog.lock);
    struct peer *peer = dog.peer;
    watch_share(NULL);
    alone();
    pthread_mutex_unlock(&dog.lock);
    mem_free(peer);
    window_free(dog.page);
    dog.page = NULL;
}
