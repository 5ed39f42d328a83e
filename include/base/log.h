/* The log: lines for the user on the terminal and, once a run folder is known, in its log.txt. */
#ifndef CARAT_BASE_LOG_H
#define CARAT_BASE_LOG_H

#include <stdbool.h>

/* Names this process in messages; only rank 0 prints info and warnings. */
void log_set_rank(int rank, const char *host);
/* "rank 3 on node7", or "" before log_set_rank. */
const char *log_who(void);

/* Appends to this file from now on (rank 0 alone). E_IO when it cannot be opened. */
int log_open(const char *path);
void log_close(void);

/* One line to stdout and the log file, by rank 0; other ranks: nothing. No trailing newline. */
void log_info(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* The same with "carat: warning: " on stderr. */
void log_warn(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* A warning for each line of a text; NULL: none. */
void log_warn_lines(const char *text);
/* The log file alone, with a time stamp: for what the terminal shows in another form. */
void log_file(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* A line that replaces itself on a terminal (stdout); nothing where stdout is no terminal. */
void log_status(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* Lines that replace themselves on a terminal, until the next line of another kind; nothing where
 * stdout is no terminal, which log_has_panel tells. log_quiet does not hide them. */
void log_panel(const char *text);
bool log_has_panel(void);
/* One line to stdout (stderr after log_to_stderr) and not to the log file, also while log_quiet. */
void log_console(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* Takes the status line and the panel off the terminal, before something else is printed there. */
void log_status_end(void);
/* True when this is rank 0, stdout is a terminal and log_to_stderr has not set it aside. */
bool log_is_terminal(void);
/* Keeps stdout for a command's own output (JSON, generated text): info then goes to stderr. */
void log_to_stderr(bool yes);
/* Keeps info from stdout and stderr: the log file alone gets it. Warnings stay. */
void log_quiet(bool yes);
/* Keeps warnings from stderr: the log file alone gets them. */
void log_mute(bool yes);

#endif
