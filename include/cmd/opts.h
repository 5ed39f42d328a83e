/* Command-line options of one command, as a table. */
#ifndef CARAT_CMD_OPTS_H
#define CARAT_CMD_OPTS_H

#include <stdio.h>

/* OPT_FLAG_STR: alone it yields "", with a value it is written --name=value. */
enum opt_kind { OPT_FLAG, OPT_STR, OPT_FLAG_STR, OPT_INT, OPT_F64 };

struct opt {
    const char *name; /* "output" for --output */
    char letter;      /* 'o' for -o; 0: none */
    enum opt_kind kind;
    void *out;       /* bool *, const char **, int64_t *, double * */
    const char *arg; /* what the help calls the value: "FILE" */
    const char *help;
};

/* Takes the options out of argv (argc is lowered; argv[0] and the positionals stay in order).
 * "--" ends them; "--name=value" and "--name value" both work. Unknown or incomplete: E_USAGE with
 * the nearest name. */
int opts_parse(const struct opt *table, int n, int *argc, char **argv);

/* The help of one command, on one screen: usage line, what it does, options, an example. */
void opts_help(FILE *f, const char *usage, const char *what, const struct opt *table, int n,
               const char *example);

/* Prints words from column `at` on, wrapped at 80 columns and indented; a newline in text ends a
 * line. */
void text_wrap(FILE *f, const char *text, int at, int indent);

#endif
