#include "base/err.h"

#include "base/log.h"
#include "base/plain.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Of each thread its own: one that works beside the main one hands over what it met. */
static _Thread_local struct err_kept last;

enum { MESSAGE_MAX = sizeof last.message };

static void (*abort_hook)(int code);
static bool (*last_words)(int code, const char *message);

int err_set(int code, const char *file, int line, const char *fmt, ...)
{
    /* The arguments may point into the recorded message, so format beside it first. */
    char text[MESSAGE_MAX];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    plain_copy(last.message, sizeof last.message, text);
    snprintf(last.place, sizeof last.place, "%s:%d", file, line);
    last.code = code;
    return code;
}

int err_context(int code, const char *fmt, ...)
{
    char before[MESSAGE_MAX / 2], text[2 * MESSAGE_MAX];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(before, sizeof before, fmt, ap);
    va_end(ap);
    snprintf(text, sizeof text, "%s%s%s", before, *last.message ? ": " : "", last.message);
    plain_copy(last.message, sizeof last.message, text);
    last.code = code;
    return code;
}

const char *err_message(void)
{
    return last.message;
}

const char *err_place(void)
{
    return last.place;
}

int err_code(void)
{
    return last.code;
}

void err_adopt(int code, const char *message, const char *place)
{
    last.code = code;
    if (message != last.message)
        snprintf(last.message, sizeof last.message, "%s", message);
    if (place != last.place)
        snprintf(last.place, sizeof last.place, "%s", place);
}

void err_keep(struct err_kept *k)
{
    *k = last;
}

void err_restore(const struct err_kept *k)
{
    last = *k;
}

void err_clear(void)
{
    last.code = OK;
    last.message[0] = '\0';
    last.place[0] = '\0';
}

const char *err_name(int code)
{
    switch (code) {
    case OK:
        return "success";
    case E_USAGE:
        return "wrong command line";
    case E_DATA:
        return "bad data or file";
    case E_RANK:
        return "a rank failed or hung";
    case E_BUG:
        return "a bug in carat";
    case E_MEM:
        return "out of memory";
    case E_IO:
        return "input or output failed";
    case E_STOPPED:
        return "saved before the end; run again to go on";
    case E_DIVERGED:
        return "training diverged";
    case E_CONFIG:
        return "wrong configuration";
    default:
        return "unknown error";
    }
}

void err_set_abort_hook(void (*hook)(int code))
{
    abort_hook = hook;
}

void err_set_last_words(bool (*hook)(int code, const char *message))
{
    last_words = hook;
}

void fatal(int code, const char *fmt, ...)
{
    char raw[MESSAGE_MAX], text[MESSAGE_MAX];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(raw, sizeof raw, fmt, ap);
    va_end(ap);
    plain_copy(text, sizeof text, raw);
    log_status_end();
    fflush(stdout);
    const char *who = log_who();
    if (last_words == NULL || last_words(code, text))
        fprintf(stderr, "carat: fatal: %s%s%s: %s\n", who, *who ? ": " : "", err_name(code), text);
    fflush(stderr);
    if (abort_hook != NULL)
        abort_hook(code);
    _exit(code);
}
