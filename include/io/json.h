/* JSON, by jansson: reading with the place of an error, and getters that check types.
 *
 * In the getters a key that is absent or null yields the default, and a value of another type is
 * E_DATA with the key in the message; the caller adds the file with err_context. All local. */
#ifndef CARAT_IO_JSON_H
#define CARAT_IO_JSON_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A file's (or n bytes' of text, called `from` in messages) one JSON value; json_decref it. E_DATA
 * with file, line and column when it is not JSON or names a key twice. *out is NULL on error. */
int json_read_file(const char *path, json_t **out);
int json_parse(const char *text, size_t n, const char *from, json_t **out);

/* True when the object has the key with a value other than null. */
bool json_has(const json_t *object, const char *key);

int json_f64(const json_t *object, const char *key, double otherwise, double *out);
/* Whole numbers alone: 3.0 is refused. */
int json_i64(const json_t *object, const char *key, int64_t otherwise, int64_t *out);
int json_bool(const json_t *object, const char *key, bool otherwise, bool *out);
/* *out belongs to the object (or is the default). */
int json_str(const json_t *object, const char *key, const char *otherwise, const char **out);

#endif
