/* A batch script from a template in which a directive "#SBATCH --name=" and an assignment "name="
 * at the start of a line are the places to fill; and sbatch, to which it is given. */
#ifndef CARAT_CMD_SLURM_SCRIPT_H
#define CARAT_CMD_SLURM_SCRIPT_H

#include "base/str.h"

#include <stdbool.h>
#include <stdint.h>

/* slurm/train.sbatch and slurm/study.sbatch. */
extern const char *const SCRIPT_TRAIN, *const SCRIPT_STUDY;

enum place { DIRECTIVE, ASSIGNMENT };

/* A place in the template and what belongs there; no value: the line stays as it is. */
struct fill {
    enum place place;
    const char *key;
    struct str value;
};

/* Adds text as one word of a shell. A control character could begin a line of its own, which sbatch
 * reads before any shell does: refused. E_USAGE. */
int script_quote(struct str *b, const char *text);
/* A value of a directive stands unquoted: letters, digits and a few signs. NULL: none. E_USAGE. */
int fill_word(struct fill *f, const char *text);
/* A number from least on; -1: none. E_USAGE. */
int fill_count(struct fill *f, const char *option, int64_t n, int64_t least);
/* The program that the job runs: this one, unless told. E_USAGE. */
int fill_program(struct fill *f, const char *asked);

void script_write(struct str *out, const char *script, struct fill *fill, int n);

/* Gives the script to sbatch, `times` times, each job to begin when the one before has ended. Says
 * so on the terminal. E_USAGE: there is no sbatch; E_CONFIG: it refused. */
int script_submit(const struct str *script, int64_t times);

#endif
