#include "base/err.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/plain.h"
#include "base/str.h"
#include "cmd/cmd.h"
#include "cmd/inspect_events.h"
#include "cmd/inspect_follow.h"
#include "cmd/inspect_study.h"
#include "cmd/kind.h"
#include "cmd/opts.h"
#include "data/store.h"
#include "io/h5x.h"
#include "io/safetensors.h"
#include "model/spec.h"
#include "train/ckpt.h"
#include "train/ckpt_index.h"
#include "train/events.h"
#include "train/metrics.h"

#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

struct request {
    const char *path;
    bool json, csv, events, follow, merge, tensors, config;
};

/* What is found becomes one JSON object, in the order in which it is to be read; the text for
 * people is printed from the same. */
static void add_text(json_t *o, const char *key, const char *text)
{
    if (text != NULL && text[0] != '\0')
        json_object_set_new(o, key, json_string(text));
}

static void add_count(json_t *o, const char *key, int64_t n)
{
    json_object_set_new(o, key, json_integer(n));
}

static void add_number(json_t *o, const char *key, double v)
{
    json_object_set_new(o, key, isfinite(v) ? json_real(v) : json_null());
}

/* ---- checkpoints ---- */

static void add_facts(json_t *o, const struct ckpt_meta *m)
{
    struct ckpt_fact f;
    for (int i = 0; ckpt_meta_fact(m, i, &f); i++) {
        int64_t n;
        double v;
        if (f.is_number && parse_i64(f.text, &n))
            add_count(o, f.name, n);
        else if (f.is_number && parse_f64(f.text, &v))
            add_number(o, f.name, v);
        else
            add_text(o, f.name, f.text);
    }
}

static void add_model(json_t *o, const char *spec_json, const char *from)
{
    struct model_spec s;
    char text[256];
    if (spec_json == NULL || spec_json[0] == '\0' || spec_from_json(&s, spec_json, from) != OK)
        return;
    snprintf(
        text, sizeof text,
        "Gemma %d: %d layers, width %d, %d query and %d key/value heads of %d, feed-forward %d, "
        "vocabulary %d",
        s.family, s.L, s.D, s.H, s.K, s.Hd, s.F, s.V);
    add_text(o, "model", text);
}

static size_t group_length(const char *name)
{
    const char *slash = strchr(name + 1, '/');
    return slash != NULL ? (size_t)(slash - name - 1) : 0;
}

static json_t *find_group(json_t *groups, const char *name, size_t n)
{
    size_t i;
    json_t *g;
    json_array_foreach(groups, i,
                       g) if (strlen(json_string_value(json_object_get(g, "values"))) == n &&
                              strncmp(json_string_value(json_object_get(g, "values")), name, n) ==
                                  0) return g;
    g = json_object();
    json_object_set_new(g, "values", json_stringn(name, n));
    json_array_append_new(groups, g);
    return g;
}

static void raise(json_t *o, const char *key, int64_t by)
{
    add_count(o, key, json_integer_value(json_object_get(o, key)) + by);
}

/* "params", "exp_avg", …: how many tensors and values each has. */
static void add_groups(json_t *o, const struct ckpt_index *x)
{
    json_t *groups = json_array();
    for (size_t i = 0; i < x->n; i++) {
        const struct ckpt_dataset *d = &x->dataset[i];
        size_t n = group_length(d->name);
        if (n == 0) {
            char key[CKPT_NAME_MAX + 8];
            snprintf(key, sizeof key, "%s_bytes", d->name + 1);
            add_count(o, key, (int64_t)d->bytes);
            continue;
        }
        json_t *g = find_group(groups, d->name + 1, n);
        raise(g, "tensors", 1);
        raise(g, "elements", (int64_t)(d->bytes / sizeof(float)));
        raise(g, "bytes", (int64_t)d->bytes);
    }
    json_object_set_new(o, "groups", groups);
}

static void add_tensors(json_t *o, const struct ckpt_index *x)
{
    json_t *list = json_array();
    for (size_t i = 0; i < x->n; i++) {
        const struct ckpt_dataset *d = &x->dataset[i];
        char shape[64] = "";
        for (int k = 0; k < d->n_dims; k++)
            snprintf(shape + strlen(shape), sizeof shape - strlen(shape), "%s%" PRIu64,
                     k > 0 ? "," : "", d->dims[k]);
        json_t *row = json_object();
        add_text(row, "dataset", d->name);
        json_object_set_new(row, "shape", json_sprintf("[%s]", shape));
        add_count(row, "bytes", (int64_t)d->bytes);
        json_array_append_new(list, row);
    }
    json_object_set_new(o, "datasets", list);
}

static int look_at_checkpoint(const struct request *r, json_t *o)
{
    struct ckpt_meta m;
    struct ckpt_index x;
    TRY(ckpt_read_meta(r->path, &m));
    int rc = ckpt_index_load(&x, r->path);
    if (rc == OK) {
        add_count(o, "format", CKPT_FORMAT);
        add_count(o, "bytes", fs_size(r->path));
        add_facts(o, &m);
        add_model(o, m.spec_json, r->path);
        add_groups(o, &x);
        if (r->tensors)
            add_tensors(o, &x);
        if (r->json || r->config)
            add_text(o, "config", m.config_text);
        ckpt_index_release(&x);
    }
    ckpt_meta_release(&m);
    return rc;
}

/* ---- token stores ---- */

/* What the file says of itself stays in *s; what is open is closed. */
static int look_at_split(const char *path, enum split split, json_t *list, struct store *s)
{
    TRY(store_open(s, path, split));
    json_t *row = json_object();
    add_text(row, "split", split == SPLIT_TRAIN ? "train" : "valid");
    add_count(row, "tokens", (int64_t)s->n_tokens);
    add_count(row, "documents", (int64_t)s->n_docs);
    add_count(row, "bytes", (int64_t)s->n_tokens * s->token_bytes);
    json_array_append_new(list, row);
    struct store kept = *s;
    kept.doc_offset = NULL;
    store_close(s);
    *s = kept;
    return OK;
}

static int look_at_store(const struct request *r, json_t *o)
{
    struct store s;
    json_t *list = json_array();
    void *bytes = NULL;
    size_t n = 0;
    int rc = look_at_split(r->path, SPLIT_TRAIN, list, &s);
    if (rc == OK)
        rc = look_at_split(r->path, SPLIT_VALID, list, &s);
    if (rc == OK)
        rc = store_tokenizer(r->path, &bytes, &n);
    mem_free(bytes);
    if (rc != OK) {
        json_decref(list);
        return rc;
    }
    add_count(o, "bytes", fs_size(r->path));
    add_count(o, "vocabulary", s.vocab);
    add_count(o, "bytes_per_token", s.token_bytes);
    add_text(o, "tokenizer_hash", s.tokenizer_hash);
    add_count(o, "tokenizer_bytes", (int64_t)n);
    add_text(o, "data_hash", s.data_hash);
    json_object_set_new(o, "splits", list);
    return OK;
}

/* ---- metrics ---- */

static int look_at_segment(const struct request *r, json_t *o)
{
    struct metrics_segment s;
    TRY(metrics_check(r->path, &s));
    add_count(o, "attempt", s.attempt);
    add_count(o, "ranks", s.ranks);
    add_count(o, "rows", s.rows);
    add_count(o, "room", s.room);
    add_count(o, "bad_rows", s.n_bad);
    if (s.rows > 0)
        add_count(o, "last_step", s.last_step);
    if (s.durable_step >= 0)
        add_count(o, "durable_step", s.durable_step);
    return OK;
}

static int add_column(hid_t file, const char *group, const struct metric_column *c, json_t *list,
                      int64_t *rows)
{
    char name[128];
    struct h5x_array a;
    snprintf(name, sizeof name, "%s/%s", group, c->name);
    if (H5Lexists(file, name, H5P_DEFAULT) <= 0)
        return OK; /* written before there was such a column */
    TRY(h5x_describe(file, name, &a));
    json_t *row = json_object();
    add_text(row, "column", name);
    add_text(row, "unit", c->unit);
    add_text(row, "meaning", c->help);
    json_array_append_new(list, row);
    *rows = a.n_dims > 0 ? (int64_t)a.dims[0] : 0;
    return OK;
}

static int look_at_metrics(const struct request *r, json_t *o)
{
    hid_t file;
    int64_t rows = 0;
    TRY(h5x_open(&file, r->path, false));
    json_t *list = json_array();
    int rc = OK;
    for (int i = 0; i < M_N && rc == OK; i++)
        rc = add_column(file, "", &METRIC_COLUMNS[i], list, &rows);
    for (int i = 0; i < R_N && rc == OK; i++)
        rc = add_column(file, "/ranks", &RANK_COLUMNS[i], list, &rows);
    for (int i = 0; i < L_N && rc == OK; i++)
        rc = add_column(file, "/layers", &LAYER_COLUMNS[i], list, &rows);
    if (rc != OK)
        err_context(rc, "%s", r->path);
    add_count(o, "rows", rows);
    json_object_set_new(o, "columns", list);
    h5x_close(&file);
    return rc;
}

/* ---- run folders ---- */

/* First line of a small file in the folder, or empty. */
static void first_line(char *line, size_t n, const char *folder, const char *name)
{
    char path[FS_PATH_MAX], *text = NULL;
    size_t len;
    line[0] = '\0';
    if (fs_join(path, folder, name) != OK || !fs_exists(path) ||
        fs_read_file(path, 1 << 16, &text, &len) != OK)
        return;
    snprintf(line, n, "%.*s", (int)strcspn(text, "\n"), text);
    mem_free(text);
}

static int add_last_row(const char *run, json_t *o)
{
    double *rows, valid = NAN;
    int64_t n, n_bad, durable, attempt;
    TRY(metrics_durable(run, &durable, &attempt));
    TRY(metrics_read(run, &rows, &n, &n_bad));
    add_count(o, "rows", n);
    if (n_bad > 0)
        add_count(o, "bad_rows", n_bad);
    for (int64_t i = 0; i < n; i++)
        if (!isnan(rows[i * M_N + M_VALID_LOSS]))
            valid = rows[i * M_N + M_VALID_LOSS];
    if (n > 0) {
        const double *last = rows + (n - 1) * M_N;
        add_count(o, "step", (int64_t)last[M_STEP]);
        add_count(o, "attempt", (int64_t)last[M_ATTEMPT]);
        if (durable >= 0)
            add_count(o, "durable_step", durable);
        add_number(o, "tokens", last[M_TOKENS]);
        add_number(o, "loss", last[M_LOSS]);
        if (!isnan(valid))
            add_number(o, "valid_loss", valid);
        add_number(o, "lr", last[M_LR]);
        add_number(o, "tokens_per_s", last[M_TOKENS_PER_S]);
        if (!isnan(last[M_NOISE_SCALE]))
            add_number(o, "noise_scale", last[M_NOISE_SCALE]);
        if (!isnan(last[M_CRITICAL_BATCH]))
            add_number(o, "critical_batch", last[M_CRITICAL_BATCH]);
    }
    mem_free(rows);
    return OK;
}

/* Complete: committed, and every dataset in its place; `carat verify` reads the values as well. */
static void add_checkpoint(const char *run, int64_t step, json_t *list)
{
    char path[FS_PATH_MAX];
    struct ckpt_index x;
    if (ckpt_path(path, run, step) != OK)
        return;
    bool whole = ckpt_index_load(&x, path) == OK;
    json_t *row = json_object();
    add_count(row, "step", step);
    add_count(row, "bytes", fs_size(path));
    add_text(row, "state", whole ? "complete" : "damaged");
    add_text(row, "file", path);
    if (whole)
        ckpt_index_release(&x);
    else
        add_text(row, "error", err_message());
    json_array_append_new(list, row);
}

static int add_checkpoints(const char *run, json_t *o)
{
    int64_t *step;
    size_t n;
    struct ckpt_aside aside;
    TRY(ckpt_list(run, &step, &n, &aside));
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++)
        add_checkpoint(run, step[i], list);
    mem_free(step);
    if (aside.damaged > 0)
        add_count(o, "set_aside", (int64_t)aside.damaged);
    if (aside.failed > 0)
        add_count(o, "failed_restarts", (int64_t)aside.failed);
    json_object_set_new(o, "checkpoints", list);
    return OK;
}

/* How many, and the last of them. */
static void describe_events(const struct event *list, size_t n, size_t n_bad, json_t *o)
{
    add_count(o, "events", (int64_t)n);
    if (n > 0)
        add_text(o, "last_event", list[n - 1].text);
    if (n_bad > 0)
        add_count(o, "bad_events", (int64_t)n_bad);
}

static int add_events(const char *run, json_t *o)
{
    struct event *list;
    size_t n, n_bad;
    TRY(events_read(run, &list, &n, &n_bad));
    describe_events(list, n, n_bad, o);
    mem_free(list);
    return OK;
}

static int look_at_events(const struct request *r, json_t *o)
{
    struct event *list;
    size_t n, n_bad;
    TRY(events_read_file(r->path, &list, &n, &n_bad));
    describe_events(list, n, n_bad, o);
    mem_free(list);
    return OK;
}

static int look_at_run(const struct request *r, json_t *o)
{
    char line[512];
    first_line(line, sizeof line, r->path, "lock");
    add_text(o, "locked_by", line);
    first_line(line, sizeof line, r->path, "FAILED");
    add_text(o, "failed", line);
    first_line(line, sizeof line, r->path, "STOPPED");
    add_text(o, "stopped", line);
    TRY(add_last_row(r->path, o));
    TRY(add_events(r->path, o));
    return add_checkpoints(r->path, o);
}

static int look_at_study(const struct request *r, json_t *o)
{
    return inspect_study(o, r->path, r->config || r->json);
}

/* ---- Hugging Face ---- */

static void add_rows(const struct request *r, const struct st *st, json_t *o)
{
    json_t *list = json_array();
    int64_t elements = 0, bytes = 0;
    for (size_t i = 0; i < st->n_rows; i++) {
        const struct st_row *row = &st->rows[i];
        elements += (int64_t)row->n;
        bytes += (int64_t)(row->n * st_dtype_bytes(row->dtype));
        json_t *t = json_object();
        add_text(t, "tensor", row->name);
        add_text(t, "type", st_dtype_name(row->dtype));
        add_count(t, "elements", (int64_t)row->n);
        json_array_append_new(list, t);
    }
    add_count(o, "tensors", (int64_t)st->n_rows);
    add_count(o, "elements", elements);
    add_count(o, "bytes", bytes);
    if (r->tensors)
        json_object_set(o, "datasets", list);
    json_decref(list);
}

static int look_at_safetensors(const struct request *r, json_t *o)
{
    struct st st;
    TRY(st_open(&st, r->path));
    add_rows(r, &st, o);
    st_close(&st);
    return OK;
}

static int look_at_folder(const struct request *r, json_t *o)
{
    struct model_spec s;
    struct st st;
    char *text;
    TRY(spec_from_file(&s, r->path));
    TRY(spec_to_json(&s, &text));
    add_model(o, text, r->path);
    mem_free(text);
    TRY(st_open_folder(&st, r->path));
    add_rows(r, &st, o);
    st_close(&st);
    return OK;
}

/* ---- printing ---- */

static const char *value_text(const char *key, const json_t *v, char *buf, size_t n)
{
    if (json_is_string(v))
        return json_string_value(v);
    if (json_is_integer(v) && str_ends(key, "bytes"))
        return fmt_bytes(buf, n, (double)json_integer_value(v));
    if (json_is_integer(v))
        snprintf(buf, n, "%" JSON_INTEGER_FORMAT, json_integer_value(v));
    else if (json_is_real(v))
        snprintf(buf, n, "%.9g", json_real_value(v));
    else
        snprintf(buf, n, "%s", json_is_null(v) ? "none" : "?");
    return buf;
}

/* The widest of a column: its name and its values. */
static int column_width(const json_t *list, const char *key)
{
    size_t i, most = strlen(key);
    json_t *row;
    char buf[64];
    json_array_foreach(list, i, row)
    {
        const json_t *v = json_object_get(row, key);
        size_t n = v != NULL ? strlen(value_text(key, v, buf, sizeof buf)) : 0;
        most = n > most ? n : most;
    }
    return (int)most;
}

/* Numbers to the right; nothing behind the last column. */
static void print_cell(const json_t *list, const char *key, const json_t *v, const char *text,
                       bool last)
{
    int width = column_width(list, key);
    if (json_is_number(v))
        plain_print(stdout, "  %*s", width, text);
    else
        plain_print(stdout, "  %-*s", last ? 0 : width, text);
}

static void print_cells(const json_t *list, json_t *row, bool names)
{
    const char *key;
    json_t *v;
    char buf[64];
    size_t left = json_object_size(row);
    json_object_foreach(row, key, v)
        print_cell(list, key, v, names ? key : value_text(key, v, buf, sizeof buf), --left == 0);
    plain_print(stdout, "\n");
}

static void print_table(const char *name, const json_t *list)
{
    size_t i;
    json_t *row;
    plain_print(stdout, json_array_size(list) > 0 ? "\n%s\n" : "%-15s none\n", name);
    if (json_array_size(list) > 0)
        print_cells(list, json_array_get(list, 0), true);
    json_array_foreach(list, i, row) print_cells(list, row, false);
}

static void print_text(json_t *o)
{
    const char *key;
    json_t *v;
    char buf[64];
    json_object_foreach(o, key, v)
    {
        if (json_is_array(v))
            print_table(key, v);
        else if (strcmp(key, "config") == 0)
            plain_print(stdout, "\n%s", json_string_value(v));
        else
            plain_print(stdout, "%-15s %s\n", key, value_text(key, v, buf, sizeof buf));
    }
}

/* Every digit, so that two runs can be compared bit by bit; nothing where nothing was measured. */
static void print_row(const double row[M_N])
{
    for (int k = 0; k < M_N; k++) {
        if (k > 0)
            putchar(',');
        if (!isnan(row[k]))
            plain_print(stdout, "%.17g", row[k]);
    }
    putchar('\n');
}

static int print_csv(const char *run)
{
    double *rows;
    int64_t n, n_bad;
    TRY(metrics_read(run, &rows, &n, &n_bad));
    for (int k = 0; k < M_N; k++)
        plain_print(stdout, "%s%s", k > 0 ? "," : "", METRIC_COLUMNS[k].name);
    plain_print(stdout, "\n");
    for (int64_t i = 0; i < n; i++)
        print_row(rows + i * M_N);
    mem_free(rows);
    if (n_bad > 0)
        log_warn("%s: %" PRId64 " rows or segments are damaged and left out", run, n_bad);
    return OK;
}

/* ---- command ---- */

static int (*const looks[])(const struct request *r,
                            json_t *o) = {[KIND_CHECKPOINT] = look_at_checkpoint,
                                          [KIND_STORE] = look_at_store,
                                          [KIND_SEGMENT] = look_at_segment,
                                          [KIND_METRICS] = look_at_metrics,
                                          [KIND_EVENTS] = look_at_events,
                                          [KIND_SAFETENSORS] = look_at_safetensors,
                                          [KIND_RUN] = look_at_run,
                                          [KIND_STUDY] = look_at_study,
                                          [KIND_HF] = look_at_folder};

static int print_object(const struct request *r, json_t *o)
{
    if (!r->json) {
        print_text(o);
        return OK;
    }
    char *text = json_dumps(o, JSON_INDENT(2));
    if (text == NULL)
        return ERR(E_MEM, "no memory for the figures");
    plain_print(stdout, "%s\n", text);
    free(text);
    return OK;
}

static int merge(const struct request *r)
{
    char path[FS_PATH_MAX];
    TRY(metrics_merge(r->path));
    TRY(fs_join(path, r->path, "metrics.h5"));
    log_info("merged          %s", path);
    return OK;
}

static int inspect(const struct request *r)
{
    enum kind kind;
    TRY(kind_of(&kind, r->path));
    if (r->csv && kind == KIND_STUDY)
        return inspect_study_csv(r->path);
    if ((r->csv || r->events || r->merge || r->follow) && kind != KIND_RUN)
        return ERR(E_USAGE, "--csv, --events, --follow and --merge take a run folder; %s: %s",
                   r->path, kind_name(kind));
    if (r->follow)
        return inspect_follow(r->path, r->json);
    if (r->merge)
        return merge(r);
    if (r->csv)
        return print_csv(r->path);
    if (r->events)
        return inspect_events(r->path, r->json);
    json_t *o = json_object();
    add_text(o, "path", r->path);
    add_text(o, "kind", kind_name(kind));
    int rc = looks[kind](r, o);
    if (rc == OK)
        rc = print_object(r, o);
    json_decref(o);
    return rc;
}

int cmd_inspect(int argc, char **argv)
{
    struct request r = {0};
    bool help = false;
    const struct opt table[] = {
        {"json", 0, OPT_FLAG, &r.json, NULL, "one JSON object, with the configuration"},
        {"csv", 0, OPT_FLAG, &r.csv, NULL, "a run's metrics, a row a step; a study's trials"},
        {"events", 0, OPT_FLAG, &r.events, NULL,
         "what a run's monitoring saw and did, with the ids of the samples"},
        {"follow", 'f', OPT_FLAG, &r.follow, NULL,
         "a run's last steps and then each new one, until it ends (--json: all, a line each)"},
        {"merge", 0, OPT_FLAG, &r.merge, NULL, "write a run's metrics.h5 anew from its segments"},
        {"tensors", 't', OPT_FLAG, &r.tensors, NULL, "list every dataset with its shape"},
        {"config", 'c', OPT_FLAG, &r.config, NULL, "the configuration a checkpoint was made with"},
        {"help", 'h', OPT_FLAG, &help, NULL, "this text"}};
    enum { N = sizeof table / sizeof *table };
    TRY(opts_parse(table, N, &argc, argv));
    if (help) {
        opts_help(
            stdout, "carat inspect FILE|RUN|STUDY",
            "What a file holds: a checkpoint, a token store, metrics, safetensors; or how a "
            "run or a study stands, also while it runs. Reads no values: `carat verify` does.",
            table, N, "carat inspect runs/quickstart --csv > metrics.csv");
        return OK;
    }
    if (argc != 2)
        return ERR(E_USAGE, "carat inspect takes one file or folder");
    r.path = argv[1];
    log_to_stderr(r.json || r.csv);
    return inspect(&r);
}
