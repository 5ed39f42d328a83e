#include "base/log.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/plain.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define CLEAR_LINE "\r\033[K"

static struct {
    int rank;
    char who[128];
    FILE *file;
    bool to_stderr, quiet, mute;
    bool status_shown;
    int panel_lines;
} sink;

void log_set_rank(int rank, const char *host)
{
    sink.rank = rank;
    snprintf(sink.who, sizeof sink.who, "rank %d on %s", rank, host);
}

const char *log_who(void)
{
    return sink.who;
}

int log_open(const char *path)
{
    if (sink.rank != 0)
        return OK;
    FILE *f = fopen(path, "ae");
    if (f == NULL)
        return ERR(E_IO, "%s: cannot open the log: %s", path, strerror(errno));
    log_close();
    sink.file = f;
    return OK;
}

void log_close(void)
{
    if (sink.file != NULL)
        fclose(sink.file);
    sink.file = NULL;
}

/* The terminal that a person sees, or -1. Open MPI gives each rank a pseudo-terminal whatever
 * mpirun's own output is, so under it the launcher's is asked. Found once. */
static int terminal(void)
{
    static int fd = -2;
    if (fd != -2)
        return fd;
    fd = isatty(STDOUT_FILENO) ? STDOUT_FILENO : -1;
    if (fd < 0 || getenv("OMPI_COMM_WORLD_RANK") == NULL)
        return fd;
    char path[64];
    snprintf(path, sizeof path, "/proc/%ld/fd/1", (long)getppid());
    fd = open(path, O_WRONLY | O_NOCTTY | O_CLOEXEC);
    if (fd >= 0 && !isatty(fd)) {
        close(fd);
        fd = -1;
    }
    return fd;
}

bool log_is_terminal(void)
{
    return sink.rank == 0 && !sink.to_stderr && !sink.quiet && terminal() >= 0;
}

void log_to_stderr(bool yes)
{
    log_status_end();
    sink.to_stderr = yes;
}

void log_quiet(bool yes)
{
    log_status_end();
    sink.quiet = yes;
}

void log_mute(bool yes)
{
    sink.mute = yes;
}

/* The cursor stands behind the panel's last line. */
static void clear_panel(void)
{
    if (sink.panel_lines > 0)
        printf("\033[%dA\r\033[J", sink.panel_lines);
    sink.panel_lines = 0;
}

void log_status_end(void)
{
    bool shown = sink.status_shown || sink.panel_lines > 0;
    if (sink.status_shown)
        fputs(CLEAR_LINE, stdout);
    clear_panel();
    sink.status_shown = false;
    if (shown)
        fflush(stdout);
}

static void write_line(FILE *f, const char *prefix, const char *fmt, va_list ap)
{
    /* One flush a line: another process may share the terminal, and a crash must not eat lines. */
    flockfile(f);
    fputs(prefix, f);
    plain_vprint(f, fmt, ap);
    putc('\n', f);
    fflush(f);
    funlockfile(f);
}

static void write_file_line(const char *prefix, const char *fmt, va_list ap)
{
    if (sink.file == NULL)
        return;
    char stamp[32], lead[64];
    snprintf(lead, sizeof lead, "%s %s", clock_stamp(stamp, sizeof stamp), prefix);
    write_line(sink.file, lead, fmt, ap);
}

void log_info(const char *fmt, ...)
{
    if (sink.rank != 0)
        return;
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    if (!sink.quiet) {
        log_status_end();
        write_line(sink.to_stderr ? stderr : stdout, "", fmt, ap);
    }
    write_file_line("", fmt, again);
    va_end(again);
    va_end(ap);
}

void log_warn(const char *fmt, ...)
{
    if (sink.rank != 0)
        return;
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    if (!sink.mute) {
        log_status_end();
        fflush(stdout);
        write_line(stderr, "carat: warning: ", fmt, ap);
    }
    write_file_line("warning: ", fmt, again);
    va_end(again);
    va_end(ap);
}

void log_warn_lines(const char *text)
{
    for (const char *at = text; at != NULL && *at != '\0';) {
        size_t n = strcspn(at, "\n");
        log_warn("%.*s", (int)n, at);
        at += n + (at[n] == '\n');
    }
}

void log_file(const char *fmt, ...)
{
    if (sink.rank != 0)
        return;
    va_list ap;
    va_start(ap, fmt);
    write_file_line("", fmt, ap);
    va_end(ap);
}

/* Columns of the terminal; 80 when it does not tell. */
static int terminal_width(void)
{
    struct winsize w;
    if (ioctl(terminal(), TIOCGWINSZ, &w) != 0 || w.ws_col == 0)
        return 80;
    return w.ws_col;
}

void log_console(const char *fmt, ...)
{
    if (sink.rank != 0)
        return;
    log_status_end();
    va_list ap;
    va_start(ap, fmt);
    write_line(sink.to_stderr ? stderr : stdout, "", fmt, ap);
    va_end(ap);
}

bool log_has_panel(void)
{
    return sink.rank == 0 && !sink.to_stderr && terminal() >= 0;
}

/* Bytes of a line that fill at most so many columns: those that continue a character count none. */
static int fitting(const char *line, int columns)
{
    int n = 0, used = 0;
    while (line[n] != '\0' && line[n] != '\n') {
        used += ((unsigned char)line[n] & 0xc0) != 0x80;
        if (used > columns)
            break;
        n++;
    }
    return n;
}

void log_panel(const char *text)
{
    if (!log_has_panel())
        return;
    int width = terminal_width() - 1;
    log_status_end();
    for (const char *at = text; *at != '\0'; sink.panel_lines++) {
        plain_print(stdout, "%.*s\n", fitting(at, width), at);
        at += strcspn(at, "\n");
        at += *at == '\n';
    }
    fflush(stdout);
}

void log_status(const char *fmt, ...)
{
    if (!log_is_terminal())
        return;
    char text[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    /* A line that wraps could no longer be cleared. */
    fputs(CLEAR_LINE, stdout);
    plain_print(stdout, "%.*s", terminal_width() - 1, text);
    fflush(stdout);
    sink.status_shown = true;
}
