#include "base/clock.h"
#include "base/err.h"
#include "base/fs.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/plain.h"
#include "base/str.h"
#include "cmd/cmd.h"
#include "cmd/kind.h"
#include "cmd/opts.h"
#include "data/store.h"
#include "io/h5x.h"
#include "io/safetensors.h"
#include "par/agree.h"
#include "study/study.h"
#include "train/ckpt.h"
#include "train/events.h"
#include "train/metrics.h"

#include <errno.h>
#include <glob.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { TOKENS_AT_ONCE = 1 << 18 };

/* What has been looked at. */
struct tally {
    const struct comm *c;
    bool json;
    json_t *list; /* root's: an object a file */
    int n, n_bad;
    int first_code; /* of the first bad file, with its message */
    char first[2048];
};

static void show_progress(double done, double all)
{
    log_status("verifying %3.0f%%", 100 * done / all);
}

/* ---- token stores: root alone, since a hash has one order ---- */

static int hash_part(struct sha256 *hash, const struct store *s, uint64_t first, size_t n,
                     int32_t *ids, void *raw)
{
    int64_t at = s->token_offset + (int64_t)first * s->token_bytes;
    TRY(store_read(s, first, n, ids)); /* refuses ids outside the vocabulary */
    TRY(fs_pread(s->fd, raw, n * (size_t)s->token_bytes, at, s->path));
    sha256_add(hash, raw, n * (size_t)s->token_bytes);
    return OK;
}

static int hash_split(struct sha256 *hash, const struct store *s)
{
    int32_t *ids;
    void *raw = NULL;
    int rc = mem_alloc(&ids, TOKENS_AT_ONCE, sizeof *ids, "tokens");
    if (rc == OK)
        rc = mem_alloc(&raw, TOKENS_AT_ONCE, sizeof *ids, "tokens as stored");
    for (uint64_t first = 0; first < s->n_tokens && rc == OK; first += TOKENS_AT_ONCE) {
        uint64_t left = s->n_tokens - first;
        rc = hash_part(hash, s, first, left < TOKENS_AT_ONCE ? left : TOKENS_AT_ONCE, ids, raw);
        show_progress((double)first, (double)s->n_tokens);
    }
    mem_free(raw);
    mem_free(ids);
    return rc;
}

static int verify_tokenizer(const char *path, const char *want)
{
    void *bytes;
    size_t n;
    char hash[65];
    TRY(store_tokenizer(path, &bytes, &n));
    sha256_of(hash, bytes, n);
    mem_free(bytes);
    if (n > 0 && strcmp(hash, want) != 0)
        return ERR(E_DATA, "%s: dataset /tokenizer: its hash is not tokenizer_hash", path);
    return OK;
}

static int verify_store(const struct comm *c, const char *path)
{
    struct sha256 hash;
    struct store s;
    char text[65], want[65] = "", tokenizer[65] = "";
    (void)c;
    sha256_init(&hash);
    for (int split = SPLIT_TRAIN; split <= SPLIT_VALID; split++) {
        TRY(store_open(&s, path, (enum split)split));
        int rc = hash_split(&hash, &s);
        memcpy(want, s.data_hash, sizeof want);
        memcpy(tokenizer, s.tokenizer_hash, sizeof tokenizer);
        store_close(&s);
        TRY(rc);
    }
    sha256_hex(&hash, text);
    if (strcmp(text, want) != 0)
        return ERR(E_DATA, "%s: datasets /train/tokens, /valid/tokens: their hash is not data_hash",
                   path);
    return verify_tokenizer(path, tokenizer);
}

/* ---- metrics, events and safetensors ---- */

static int verify_segment(const struct comm *c, const char *path)
{
    struct metrics_segment s;
    (void)c;
    TRY(metrics_check(path, &s));
    if (s.n_bad > 0)
        return ERR(E_DATA, "%s: %" PRId64 " of %" PRId64 " rows have a wrong checksum", path,
                   s.n_bad, s.rows + s.n_bad);
    return OK;
}

static int verify_metrics(const struct comm *c, const char *path)
{
    hid_t file;
    struct h5x_array a;
    char name[128];
    (void)c;
    TRY(h5x_open(&file, path, false));
    int rc = OK;
    for (int i = 0; i < M_N + R_N && rc == OK; i++) {
        snprintf(name, sizeof name, "%s/%s", i < M_N ? "" : "/ranks",
                 i < M_N ? METRIC_COLUMNS[i].name : RANK_COLUMNS[i - M_N].name);
        /* Files written before there was a column are whole without it. */
        if (i > M_VALID_ACCURACY && i < M_N && H5Lexists(file, name, H5P_DEFAULT) <= 0)
            continue;
        rc = h5x_describe(file, name, &a);
    }
    if (rc != OK)
        err_context(rc, "%s", path);
    h5x_close(&file);
    return rc;
}

static int verify_events(const struct comm *c, const char *path)
{
    struct event *list;
    size_t n, n_bad;
    (void)c;
    TRY(events_read_file(path, &list, &n, &n_bad));
    mem_free(list);
    if (n_bad > 0)
        return ERR(E_DATA, "%s: %zu of %zu lines lack a field or have a wrong checksum", path,
                   n_bad, n + n_bad);
    return OK;
}

static int verify_safetensors(const struct comm *c, const char *path)
{
    struct st st;
    (void)c;
    TRY(fs_is_dir(path) ? st_open_folder(&st, path) : st_open(&st, path));
    st_close(&st);
    return OK;
}

static int verify_checkpoint(const struct comm *c, const char *path)
{
    struct ckpt_meta m;
    TRY(ckpt_verify(c, path, show_progress));
    int rc = c->rank == 0 ? ckpt_read_meta(path, &m) : OK;
    if (rc == OK && c->rank == 0)
        ckpt_meta_release(&m);
    return rc;
}

static int verify_study(const struct comm *c, const char *path)
{
    struct study s;
    struct history h;
    (void)c;
    TRY(study_read(&s, path));
    int rc = study_history(&s, &h);
    study_close(&s);
    return rc;
}

static int (*const verifiers[])(const struct comm *c, const char *path) = {
    [KIND_CHECKPOINT] = verify_checkpoint, [KIND_STORE] = verify_store,
    [KIND_SEGMENT] = verify_segment,       [KIND_METRICS] = verify_metrics,
    [KIND_EVENTS] = verify_events,         [KIND_SAFETENSORS] = verify_safetensors,
    [KIND_HF] = verify_safetensors,        [KIND_STUDY] = verify_study};

/* ---- one file ---- */

static void note_bad(struct tally *t, int rc)
{
    if (t->n_bad++ > 0)
        return;
    t->first_code = rc;
    snprintf(t->first, sizeof t->first, "%s", err_message());
}

/* What only says how much the verdict is worth. */
static const char *remark(enum kind kind)
{
    switch (kind) {
    case KIND_METRICS:
        return "its columns are there; its values have no checksums, its segments' have";
    case KIND_SAFETENSORS:
    case KIND_HF:
        return "its header fits its size; the values have no checksums";
    default:
        return "";
    }
}

/* kind -1: it could not be told. */
static void report(struct tally *t, const char *path, int64_t kind, int rc, double seconds)
{
    const char *note = rc != OK ? err_message() : remark((enum kind)kind);
    const char *state = rc == OK           ? "whole"
                        : !fs_exists(path) ? "missing"
                        : rc == E_DATA     ? "DAMAGED"
                                           : "unread";
    const char *name = kind >= 0 ? kind_name((enum kind)kind) : "file";
    double bytes = fs_exists(path) ? (double)fs_size(path) : 0;
    char size[32], time[32];
    json_t *o = json_pack("{s:s, s:s, s:b, s:I, s:f}", "path", path, "kind", name, "whole",
                          rc == OK, "bytes", (json_int_t)bytes, "seconds", seconds);
    if (*note != '\0')
        json_object_set_new(o, rc != OK ? "error" : "note", json_string(note));
    json_array_append_new(t->list, o);
    if (t->json)
        return;
    log_info("%-8s %s: %s, %s in %s%s%s", state, path, name, fmt_bytes(size, sizeof size, bytes),
             fmt_duration(time, sizeof time, seconds), *note != '\0' ? "; " : "", note);
}

static int64_t kind_or_bad(const char *path, int *rc)
{
    enum kind kind;
    *rc = kind_of(&kind, path);
    return *rc == OK ? (int64_t)kind : -1;
}

/* Collective. Whatever is wrong with the file is noted; only the machinery's own faults stop. */
static int verify_file(struct tally *t, const char *path)
{
    const struct comm *c = t->c;
    double begun = clock_now_s();
    int rc = OK;
    int64_t kind = c->rank == 0 ? kind_or_bad(path, &rc) : -1;
    rc = agree_bcast(c, 0, rc, &kind, sizeof kind);
    if (rc == OK && (kind == KIND_CHECKPOINT || c->rank == 0))
        rc = verifiers[kind](c, path);
    rc = agree(c, rc);
    log_status_end();
    t->n++;
    if (rc != OK && rc != E_DATA && rc != E_IO)
        return rc;
    if (rc != OK)
        note_bad(t, rc);
    if (c->rank == 0)
        report(t, path, kind, rc, clock_now_s() - begun);
    err_clear();
    return OK;
}

/* ---- folders ---- */

static int cannot_list(const char *folder, int error)
{
    (void)folder;
    errno = error;
    return error != ENOENT && error != ENOTDIR;
}

/* Root alone. The folder's own name matches itself, whatever is in it. */
static int list_names(glob_t *names, const char *folder, const char *inside)
{
    struct str pattern = {0};
    for (const char *at = folder; *at != '\0'; at++)
        str_addf(&pattern, strchr("*?[\\", *at) != NULL ? "\\%c" : "%c", *at);
    str_addf(&pattern, "/%s", inside);
    int rc = glob(pattern.s, 0, cannot_list, names);
    str_release(&pattern);
    if (rc == GLOB_NOSPACE)
        return ERR(E_MEM, "no memory for the names of files");
    if (rc == GLOB_ABORTED)
        return ERR(E_IO, "%s: cannot list %s: %s", folder, inside, strerror(errno));
    return OK;
}

/* Collective: root's list of names, the same on every rank. */
static int verify_names(struct tally *t, const char *folder, const char *inside)
{
    glob_t names = {0};
    int rc = t->c->rank == 0 ? list_names(&names, folder, inside) : OK;
    int n = (int)names.gl_pathc;
    rc = agree_bcast(t->c, 0, rc, &n, sizeof n);
    for (int i = 0; rc == OK && i < n; i++) {
        char path[FS_PATH_MAX] = "";
        if (names.gl_pathv != NULL &&
            snprintf(path, sizeof path, "%s", names.gl_pathv[i]) >= FS_PATH_MAX)
            rc = ERR(E_IO, "%s: too long a name", names.gl_pathv[i]);
        rc = agree_bcast(t->c, 0, rc, path, sizeof path);
        if (rc == OK)
            rc = verify_file(t, path);
    }
    globfree(&names);
    return rc;
}

/* inside: where in the folder runs are, with its slash. */
static int verify_runs(struct tally *t, const char *folder, const char *inside)
{
    static const char *const parts[] = {"checkpoints/step-*.h5", "metrics/seg-*.h5",
                                        "metrics/events.jsonl", "metrics.h5"};
    char part[64];
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        snprintf(part, sizeof part, "%s%s", inside, parts[i]);
        TRY(verify_names(t, folder, part));
    }
    return OK;
}

static int verify_one(struct tally *t, const char *path)
{
    int64_t kind = KIND_CHECKPOINT;
    if (t->c->rank == 0) {
        enum kind found = KIND_CHECKPOINT;
        if (fs_is_dir(path) && kind_of(&found, path) == OK)
            kind = found;
        err_clear();
    }
    TRY(agree_bcast(t->c, 0, OK, &kind, sizeof kind));
    int before = t->n;
    if (kind != KIND_RUN)
        TRY(verify_file(t, path));
    if (kind == KIND_RUN || kind == KIND_STUDY)
        TRY(verify_runs(t, path, kind == KIND_STUDY ? "trials/*/run/" : ""));
    if (t->n == before)
        return ERR(E_DATA, "%s: nothing to verify in this run folder yet", path);
    return OK;
}

static int print_list(const struct tally *t)
{
    char *text = json_dumps(t->list, JSON_INDENT(2));
    if (text == NULL)
        return ERR(E_MEM, "no memory for the figures");
    plain_print(stdout, "%s\n", text);
    free(text);
    return OK;
}

static int verify_all(struct tally *t, int n, char **paths)
{
    for (int i = 0; i < n; i++)
        TRY(verify_one(t, paths[i]));
    if (t->json && t->c->rank == 0)
        TRY(print_list(t));
    if (t->n_bad == 0)
        return OK;
    if (t->n == 1)
        return ERR(t->first_code, "%s", t->first);
    return ERR(t->first_code, "%d of %d files are not whole; the first: %s", t->n_bad, t->n,
               t->first);
}

static int run(struct comm *c, int argc, char **argv, bool json)
{
    struct tally t = {.c = c, .json = json, .list = json_array()};
    log_to_stderr(json);
    int rc = agree(c, verify_all(&t, argc - 1, argv + 1));
    json_decref(t.list);
    return rc;
}

int cmd_verify(int argc, char **argv)
{
    bool help = false, json = false;
    const struct opt table[] = {{"json", 0, OPT_FLAG, &json, NULL, "a JSON list, an object a file"},
                                {"help", 'h', OPT_FLAG, &help, NULL, "this text"}};
    enum { N = sizeof table / sizeof *table };
    TRY(opts_parse(table, N, &argc, argv));
    if (help) {
        opts_help(stdout, "carat verify FILE|RUN|STUDY…",
                  "Whether files are whole: reads every value of checkpoints, token stores and "
                  "metrics and compares checksums; a run folder stands for all its files, a "
                  "study's for its trials and their runs. Exits 65 "
                  "when one is damaged, naming dataset and block. Under mpirun the ranks share the "
                  "reading of checkpoints.",
                  table, N, "carat verify runs/quickstart");
        return OK;
    }
    if (argc < 2)
        return ERR(E_USAGE, "carat verify takes files or run folders");
    struct comm c;
    TRY(comm_init(&c, &argc, &argv));
    int rc = run(&c, argc, argv, json);
    comm_end(&c);
    return rc;
}
