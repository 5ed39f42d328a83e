#include "ckpt_parts.h"

#include "base/err.h"
#include "base/hash.h"
#include "base/mem.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

enum { TEXT_MAX = 64000 };

enum field_kind { FIELD_I64, FIELD_F64, FIELD_CHARS, FIELD_TEXT };

/* One attribute of the file's root. `samples` is unsigned but counts far below 2^63. */
struct field {
    const char *name;
    enum field_kind kind;
    size_t at, n;
    bool newer; /* files of before it are without, which is an empty text */
};
#define AT(member) offsetof(struct ckpt_meta, member)
#define CHARS(member)                                                                              \
    {                                                                                              \
#member, FIELD_CHARS, AT(member), sizeof((struct ckpt_meta *)0)->member, false             \
    }

static const struct field fields[] = {
    {"step", FIELD_I64, AT(step), 0, false},
    {"samples", FIELD_I64, AT(samples), 0, false},
    {"tokens", FIELD_F64, AT(tokens), 0, false},
    {"sched_tokens", FIELD_F64, AT(sched_tokens), 0, false},
    {"attempt", FIELD_I64, AT(attempt), 0, false},
    {"train_s", FIELD_F64, AT(train_s), 0, false},
    {"skipped", FIELD_I64, AT(skipped), 0, false},
    CHARS(run_id),
    CHARS(parent_id),
    CHARS(created),
    CHARS(tokenizer_hash),
    CHARS(data_hash),
    CHARS(blas),
    CHARS(cpu),
    CHARS(build),
    {"ranks", FIELD_I64, AT(ranks), 0, false},
    {"micro", FIELD_I64, AT(micro), 0, false},
    {"threads", FIELD_I64, AT(threads), 0, false},
    {"config", FIELD_TEXT, AT(config_text), 0, false},
    {"spec", FIELD_TEXT, AT(spec_json), 0, false},
    {"state", FIELD_TEXT, AT(state), 0, true},
};
enum { N_FIELDS = sizeof fields / sizeof fields[0] };

static int put_field(hid_t file, const struct field *f, const struct ckpt_meta *m)
{
    const char *at = (const char *)m + f->at;
    int64_t i;
    double x;
    char *text;
    switch (f->kind) {
    case FIELD_I64:
        memcpy(&i, at, sizeof i);
        return h5x_put_i64(file, f->name, i);
    case FIELD_F64:
        memcpy(&x, at, sizeof x);
        return h5x_put_f64(file, f->name, x);
    case FIELD_CHARS:
        return h5x_put_text(file, f->name, at);
    case FIELD_TEXT:
        memcpy(&text, at, sizeof text);
        return h5x_put_text(file, f->name, text != NULL ? text : "");
    }
    return ERR(E_BUG, "checkpoint field %s has no kind", f->name);
}

static int get_field(hid_t file, const struct field *f, struct ckpt_meta *m)
{
    char *at = (char *)m + f->at;
    int64_t i;
    double x;
    char *text;
    switch (f->kind) {
    case FIELD_I64:
        TRY(h5x_get_i64(file, f->name, &i));
        memcpy(at, &i, sizeof i);
        return i >= 0 ? OK : ERR(E_DATA, "attribute %s is negative", f->name);
    case FIELD_F64:
        TRY(h5x_get_f64(file, f->name, &x));
        memcpy(at, &x, sizeof x);
        return OK;
    case FIELD_CHARS:
        return h5x_get_text(file, f->name, at, f->n);
    case FIELD_TEXT:
        if (f->newer && !h5x_has_attr(file, f->name))
            TRY(mem_alloc(&text, 1, 1, f->name));
        else
            TRY(h5x_get_text_alloc(file, f->name, TEXT_MAX, &text));
        memcpy(at, &text, sizeof text);
        return OK;
    }
    return ERR(E_BUG, "checkpoint field %s has no kind", f->name);
}

static void hash_text(char hash[65], const char *text)
{
    sha256_of(hash, text != NULL ? text : "", text != NULL ? strlen(text) : 0);
}

/* The texts on which the bits depend, and the attributes with their hashes. */
static const struct {
    const char *hash, *what;
    size_t at;
    bool newer;
} hashed[] = {
    {"config_sha256", "configuration", AT(config_text), false},
    {"state_sha256", "state", AT(state), true},
};
enum { N_HASHED = sizeof hashed / sizeof hashed[0] };

static const char *text_at(const struct ckpt_meta *m, size_t at)
{
    const char *text;
    memcpy(&text, (const char *)m + at, sizeof text);
    return text;
}

int ckpt_meta_put(hid_t file, const struct ckpt_meta *m)
{
    char hash[65];
    TRY(h5x_put_text(file, "kind", CKPT_KIND));
    TRY(h5x_put_i64(file, "format", CKPT_FORMAT));
    for (int i = 0; i < N_FIELDS; i++)
        TRY(put_field(file, &fields[i], m));
    for (int i = 0; i < N_HASHED; i++) {
        hash_text(hash, text_at(m, hashed[i].at));
        TRY(h5x_put_text(file, hashed[i].hash, hash));
    }
    return OK;
}

int ckpt_meta_get(hid_t file, struct ckpt_meta *m)
{
    char hash[65], want[65];
    for (int i = 0; i < N_FIELDS; i++)
        TRY(get_field(file, &fields[i], m));
    for (int i = 0; i < N_HASHED; i++) {
        if (hashed[i].newer && text_at(m, hashed[i].at)[0] == '\0')
            continue;
        TRY(h5x_get_text(file, hashed[i].hash, want, sizeof want));
        hash_text(hash, text_at(m, hashed[i].at));
        if (strcmp(hash, want) != 0)
            return ERR(E_DATA, "the hash of the %s does not match it", hashed[i].what);
    }
    return OK;
}

bool ckpt_meta_fact(const struct ckpt_meta *m, int i, struct ckpt_fact *f)
{
    if (i < 0 || i >= N_FIELDS || fields[i].kind == FIELD_TEXT)
        return false; /* texts are the last of the table */
    const char *at = (const char *)m + fields[i].at;
    int64_t n;
    double x;
    *f = (struct ckpt_fact){.name = fields[i].name, .is_number = fields[i].kind != FIELD_CHARS};
    if (fields[i].kind == FIELD_I64) {
        memcpy(&n, at, sizeof n);
        snprintf(f->text, sizeof f->text, "%lld", (long long)n);
    } else if (fields[i].kind == FIELD_F64) {
        memcpy(&x, at, sizeof x);
        snprintf(f->text, sizeof f->text, "%.17g", x);
    } else {
        snprintf(f->text, sizeof f->text, "%s", at);
    }
    return true;
}

void ckpt_meta_release(struct ckpt_meta *m)
{
    mem_free(m->config_text);
    mem_free(m->spec_json);
    mem_free(m->state);
    mem_free(m->history);
    mem_free(m->tokenizer);
    memset(m, 0, sizeof *m);
}
