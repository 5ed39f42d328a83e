/* The table of configuration keys: name, type, range, default, unit, effect on a resumed run, help.
 */
#ifndef CARAT_CONF_CONFIG_TABLE_H
#define CARAT_CONF_CONFIG_TABLE_H

#include "conf/config.h"
#include <stdbool.h>
#include <stddef.h>

enum conf_kind { CONF_INT, CONF_F64, CONF_TEXT, CONF_CHOICE, CONF_AMOUNT, CONF_DURATION };

/* What a changed value means for a run that is resumed. */
enum conf_effect {
    EFFECT_SAFE,       /* same weights: log intervals, folders, rank layout */
    EFFECT_TRAJECTORY, /* the run goes on, on another path: rate, batch, length */
    EFFECT_IMPOSSIBLE  /* another model or other data order: refused */
};

struct conf_key {
    const char *name; /* "optimizer.lr" */
    enum conf_kind kind;
    size_t offset, size; /* of the member in struct config */
    double min, max;     /* allowed range of numbers, inclusive */
    const char *choices; /* "exact|fast" */
    const char *def;     /* default as text */
    const char *unit;    /* for help: "sequences" */
    enum conf_effect effect;
    const char *help;   /* one sentence */
    const char *source; /* paper and equation, or other program; NULL: none is needed */
    bool rows;          /* a text of rows, each of which begins with a key's name: a file may give
                           them as a map */
};

extern const struct conf_key CONF_KEYS[];
extern const int CONF_N_KEYS;

/* The row of a key, NULL when unknown. */
const struct conf_key *conf_find(const char *name);
/* The member's address in a config. */
void *conf_member(const struct conf_key *k, struct config *c);
/* A value as text, in the form a job file takes; returns buf. */
char *conf_value_text(const struct conf_key *k, const struct config *c, char *buf, size_t n);
/* Sets a key from text; E_CONFIG with range, choices or units in the message. */
int conf_set_text(const struct conf_key *k, struct config *c, const char *text);

#endif
