#include "io/json.h"

#include "base/err.h"
#include "base/fs.h"
#include "base/mem.h"

/* No file that is read whole as JSON comes near this. */
#define FILE_MAX_BYTES ((size_t)256 << 20)

int json_parse(const char *text, size_t n, const char *from, json_t **out)
{
    json_error_t e;
    *out = json_loadb(text, n, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &e);
    if (*out != NULL)
        return OK;
    if (json_error_code(&e) == json_error_out_of_memory)
        return ERR(E_MEM, "%s: no memory for its JSON", from);
    return ERR(E_DATA, "%s:%d:%d: not valid JSON: %s", from, e.line, e.column, e.text);
}

int json_read_file(const char *path, json_t **out)
{
    char *text;
    size_t n;
    *out = NULL;
    TRY(fs_read_file(path, FILE_MAX_BYTES, &text, &n));
    int rc = json_parse(text, n, path, out);
    mem_free(text);
    return rc;
}

static const char *type_name(const json_t *v)
{
    switch (json_typeof(v)) {
    case JSON_OBJECT:
        return "an object";
    case JSON_ARRAY:
        return "an array";
    case JSON_STRING:
        return "a string";
    case JSON_INTEGER:
        return "a whole number";
    case JSON_REAL:
        return "a number with a fraction";
    case JSON_TRUE:
    case JSON_FALSE:
        return "true or false";
    default:
        return "null";
    }
}

/* The value of a key, or NULL when it is absent or null. */
static const json_t *lookup(const json_t *object, const char *key)
{
    const json_t *v = json_object_get(object, key);
    return v == NULL || json_is_null(v) ? NULL : v;
}

static int wrong_type(const char *key, const char *want, const json_t *v)
{
    return ERR(E_DATA, "\"%s\" must be %s, not %s", key, want, type_name(v));
}

bool json_has(const json_t *object, const char *key)
{
    return lookup(object, key) != NULL;
}

int json_f64(const json_t *object, const char *key, double otherwise, double *out)
{
    const json_t *v = lookup(object, key);
    *out = otherwise;
    if (v == NULL)
        return OK;
    if (!json_is_number(v))
        return wrong_type(key, "a number", v);
    *out = json_number_value(v);
    return OK;
}

int json_i64(const json_t *object, const char *key, int64_t otherwise, int64_t *out)
{
    const json_t *v = lookup(object, key);
    *out = otherwise;
    if (v == NULL)
        return OK;
    if (!json_is_integer(v))
        return wrong_type(key, "a whole number", v);
    *out = json_integer_value(v);
    return OK;
}

int json_bool(const json_t *object, const char *key, bool otherwise, bool *out)
{
    const json_t *v = lookup(object, key);
    *out = otherwise;
    if (v == NULL)
        return OK;
    if (!json_is_boolean(v))
        return wrong_type(key, "true or false", v);
    *out = json_is_true(v);
    return OK;
}

int json_str(const json_t *object, const char *key, const char *otherwise, const char **out)
{
    const json_t *v = lookup(object, key);
    *out = otherwise;
    if (v == NULL)
        return OK;
    if (!json_is_string(v))
        return wrong_type(key, "a string", v);
    *out = json_string_value(v);
    return OK;
}
