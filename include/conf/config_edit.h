/* A job file's text with another value of one key: comments, order and layout stay. */
#ifndef CARAT_CONF_CONFIG_EDIT_H
#define CARAT_CONF_CONFIG_EDIT_H

#include "conf/config_table.h"

/* text, a valid job file that errors name `from`, with k set to value: in its place where the file
 * sets it, or another key of the same member; else as the first key of its section, or of the file.
 * The result is read again and differs in nothing else. *out: mem_free. E_CONFIG when the value is
 * none for the key or the file has a form that cannot be edited; E_MEM. Local. */
int conf_edit(const char *text, const char *from, const struct conf_key *k, const char *value,
              char **out);

#endif
