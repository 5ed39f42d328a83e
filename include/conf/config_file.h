/* From defaults, a YAML job file and key=value overrides to a struct config, with each value's
 * origin; and back to text. */
#ifndef CARAT_CONF_CONFIG_FILE_H
#define CARAT_CONF_CONFIG_FILE_H

#include "conf/config_table.h"
#include <stdio.h>

#define CONF_MAX_KEYS 256

/* Where each key's value came from: "default", "job.yaml:12", "command line". */
struct conf_origins {
    char text[CONF_MAX_KEYS][64];
};

/* Loads: default < file (NULL: none) < n overrides "key=value". Errors are E_CONFIG with file, line
 * and column, the key and a near one; E_DATA when the file cannot be read. Does not check across
 * keys. */
int conf_load(struct config *c, struct conf_origins *o, const char *file, char **overrides, int n);

/* From YAML text (a run's stored configuration); `from` is named in errors. */
int conf_load_text(struct config *c, struct conf_origins *o, const char *text, const char *from);

/* n settings "key=value" over what was loaded. E_CONFIG. */
int conf_override(struct config *c, struct conf_origins *o, char **overrides, int n);

/* Checks that hold between keys (micro ≤ global, exactly one length, …): E_CONFIG. */
int conf_check(const struct config *c);

/* The whole configuration as YAML, keys in table order, one line each (mem_free): what is stored in
 * files and hashed. With origins (may be NULL) as comments. */
int conf_text(const struct config *c, const struct conf_origins *o, char **text);

/* Calls visit for each key whose text differs. */
void conf_diff(const struct config *before, const struct config *now,
               void (*visit)(void *ctx, const struct conf_key *k, const char *before_text,
                             const char *now_text),
               void *ctx);

/* The key that an unknown name may have meant, by its letters or its last part; NULL: none. */
const char *conf_nearest(const char *name);

/* Every key with its default, help and unit or choices, one line each. */
void conf_print_keys(FILE *f);

#endif
