/* Errors: one code and one message per thread, recorded where the fault is found.
 *
 * A function that can fail returns a code from enum err, 0 for success. The code is also the exit
 * status of the program, so no second table of codes exists. Only main prints errors. */
#ifndef CARAT_BASE_ERR_H
#define CARAT_BASE_ERR_H

#include <stdbool.h>

enum err {
    OK = 0,
    E_USAGE = 64,    /* the command line is wrong */
    E_DATA = 65,     /* an input file or its content is bad */
    E_RANK = 69,     /* a rank failed or hung */
    E_BUG = 70,      /* carat itself is wrong */
    E_MEM = 71,      /* out of memory */
    E_IO = 74,       /* reading or writing failed */
    E_STOPPED = 75,  /* saved before the end; run again to go on */
    E_DIVERGED = 76, /* training diverged */
    E_CONFIG = 78    /* the job's configuration is wrong */
};

/* Records a message (printf style) and its place; returns code. The latest call wins. Local. */
int err_set(int code, const char *file, int line, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* Its value is the code itself, so that the compiler knows that a failing branch returns no OK. */
#define ERR(code, ...)                                                                             \
    ({                                                                                             \
        const int err_rc_ = (code);                                                                \
        err_set(err_rc_, __FILE__, __LINE__, __VA_ARGS__);                                         \
        err_rc_;                                                                                   \
    })

/* Puts "<prefix>: " before the recorded message; returns code. For a caller that knows more. */
int err_context(int code, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* The recorded message, its place ("src/io/h5x.c:41") and its code; empty and 0 when none. */
const char *err_message(void);
const char *err_place(void);
int err_code(void);

/* Replaces what is recorded by an error that another rank or thread found. */
void err_adopt(int code, const char *message, const char *place);

/* For cleaning up behind an error: what is recorded, to be recorded again afterwards. */
struct err_kept {
    int code;
    char message[2048], place[128];
};
void err_keep(struct err_kept *k);
void err_restore(const struct err_kept *k);

/* Forgets the recorded error: its cause has been dealt with. */
void err_clear(void);

/* The name of a code, for people: "bad data or file". */
const char *err_name(int code);

/* Prints one line on stderr and ends the process through the abort hook (MPI_Abort once par/ has
 * set it, else _exit). For faults after which ranks cannot agree. Never returns. */
_Noreturn void fatal(int code, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void err_set_abort_hook(void (*hook)(int code));
/* Called by fatal() with what it is to print, which it does unless the hook returns false: another
 * rank has spoken. NULL: it always does. */
void err_set_last_words(bool (*hook)(int code, const char *message));

/* Passes a callee's error up at once. Not between two collectives: see par/agree.h. */
#define TRY(call)                                                                                  \
    do {                                                                                           \
        int try_rc_ = (call);                                                                      \
        if (try_rc_ != OK)                                                                         \
            return try_rc_;                                                                        \
    } while (0)

/* The same where resources are held: needs `int rc` and a label `out:` that releases them. */
#define TRY_OUT(call)                                                                              \
    do {                                                                                           \
        rc = (call);                                                                               \
        if (rc != OK)                                                                              \
            goto out;                                                                              \
    } while (0)

#endif
