/* A trial's files: what is tried, and what came of it, as JSON. */
#include "folder.h"

#include "base/err.h"
#include "base/mem.h"
#include "base/str.h"
#include "conf/config_table.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *const STATES[] = {"waiting", "running", "done", "pruned", "diverged", "failed"};
enum { N_STATES = sizeof STATES / sizeof STATES[0] };

const char *trial_state_name(enum trial_state state)
{
    return STATES[state];
}

int trial_path(char *path, const struct study *s, int number)
{
    int n = snprintf(path, FS_PATH_MAX, "%s/trials/%06d", s->dir, number);
    return n < FS_PATH_MAX ? OK : ERR(E_CONFIG, "%.60s…: the path is too long", s->dir);
}

int trial_file(char *path, const struct study *s, int trial, const char *name, int number)
{
    char number_text[16] = "";
    if (number > 0)
        snprintf(number_text, sizeof number_text, "-%04d", number);
    int n = snprintf(path, FS_PATH_MAX, "%s/trials/%06d/%s%s%s", s->dir, trial, name, number_text,
                     strcmp(name, "claim") == 0 ? "" : ".json");
    return n < FS_PATH_MAX ? OK : ERR(E_CONFIG, "%.60s…: the path is too long", s->dir);
}

const char *trial_setting(const struct trial_plan *p, const char *key)
{
    for (int i = 0; i < p->n_set; i++)
        if (strcmp(p->set[i].key, key) == 0)
            return p->set[i].value;
    return NULL;
}

double trial_number_of(const struct trial *t, const char *key)
{
    double v;
    const char *text = trial_setting(&t->plan, key);
    return text != NULL && parse_f64(text, &v) ? v : NAN;
}

bool trial_is(const struct trial *t, const char *role)
{
    return strcmp(t->plan.role, role) == 0;
}

const struct trial *history_best(const struct history *h)
{
    const struct trial *best = NULL;
    for (int i = 0; i < h->n; i++) {
        const struct trial *t = &h->trial[i];
        if (t->state == TRIAL_DONE && isfinite(t->value) &&
            (best == NULL || t->value < best->value))
            best = t;
    }
    return best;
}

void trial_plan_free(struct trial_plan *p)
{
    MEM_FREE(p->set);
    MEM_FREE(p->milestones);
}

void trial_free(struct trial *t)
{
    trial_plan_free(&t->plan);
    MEM_FREE(t->curve);
}

static json_t *number(double v)
{
    return isfinite(v) ? json_real(v) : json_null();
}

json_t *trial_plan_json(const struct trial_plan *p)
{
    json_t *o = json_object(), *set = json_object(), *milestones = json_array();
    for (int i = 0; i < p->n_set; i++)
        json_object_set_new(set, p->set[i].key, json_string(p->set[i].value));
    for (int i = 0; i < p->n_milestones; i++)
        json_array_append_new(milestones, number(p->milestones[i]));
    json_object_set_new(o, "format", json_integer(STUDY_FORMAT));
    json_object_set_new(o, "role", json_string(p->role));
    json_object_set_new(o, "settings", set);
    json_object_set_new(o, "milestones_tokens", milestones);
    json_object_set_new(o, "target_loss", number(p->target));
    json_object_set_new(o, "watch_loss", number(p->watch));
    json_object_set_new(o, "most_tokens", number(p->most_tokens));
    json_object_set_new(o, "validations", json_integer(p->validations));
    json_object_set_new(o, "parent", json_integer(p->parent));
    json_object_set_new(o, "parent_tokens", number(p->parent_tokens));
    json_object_set_new(o, "origin", json_string(p->origin));
    return o;
}

static int copy_text(char *to, size_t n, const json_t *o, const char *key)
{
    const char *text;
    TRY(json_str(o, key, "", &text));
    if (strlen(text) >= n)
        return ERR(E_DATA, "%s is longer than %zu bytes", key, n - 1);
    memcpy(to, text, strlen(text) + 1);
    return OK;
}

static int read_settings(struct trial_plan *p, const json_t *o)
{
    const char *key;
    json_t *value, *set = json_object_get(o, "settings");
    if (!json_is_object(set))
        return ERR(E_DATA, "settings is not an object");
    TRY(mem_alloc(&p->set, json_object_size(set), sizeof *p->set, "settings"));
    json_object_foreach(set, key, value)
    {
        struct setting *to = &p->set[p->n_set++];
        if (!json_is_string(value) || strlen(key) >= sizeof to->key ||
            json_string_length(value) >= sizeof to->value)
            return ERR(E_DATA, "the setting %.60s is not a text of %zu bytes at most", key,
                       sizeof to->value - 1);
        if (conf_find(key) == NULL)
            return ERR(E_DATA, "the setting %.60s is none that this carat knows", key);
        snprintf(to->key, sizeof to->key, "%s", key);
        snprintf(to->value, sizeof to->value, "%s", json_string_value(value));
    }
    return OK;
}

/* n numbers; null: not known. */
static int read_numbers(double *to, const json_t *list, size_t n, const char *what)
{
    if (json_array_size(list) != n)
        return ERR(E_DATA, "%s has %zu numbers where %zu belong", what, json_array_size(list), n);
    for (size_t i = 0; i < n; i++) {
        const json_t *v = json_array_get(list, i);
        if (!json_is_number(v) && !json_is_null(v))
            return ERR(E_DATA, "%s holds something that is no number", what);
        to[i] = json_is_null(v) ? NAN : json_number_value(v);
    }
    return OK;
}

static int read_milestones(struct trial_plan *p, const json_t *o)
{
    const json_t *list = json_object_get(o, "milestones_tokens");
    if (!json_is_array(list))
        return ERR(E_DATA, "milestones_tokens is not a list");
    TRY(mem_alloc(&p->milestones, json_array_size(list), sizeof(double), "milestones"));
    p->n_milestones = (int)json_array_size(list);
    return read_numbers(p->milestones, list, json_array_size(list), "milestones_tokens");
}

static int check_format(const json_t *o)
{
    int64_t format;
    TRY(json_i64(o, "format", -1, &format));
    return format == STUDY_FORMAT
               ? OK
               : ERR(E_DATA,
                     "it has format %lld, and this program reads %d: use the program that "
                     "made the study, or begin another one in a folder of its own",
                     (long long)format, STUDY_FORMAT);
}

static int plan_of(struct trial_plan *p, const json_t *o)
{
    int64_t validations, parent;
    TRY(check_format(o));
    TRY(copy_text(p->role, sizeof p->role, o, "role"));
    TRY(copy_text(p->origin, sizeof p->origin, o, "origin"));
    TRY(json_f64(o, "target_loss", 0, &p->target));
    TRY(json_f64(o, "watch_loss", 0, &p->watch));
    TRY(json_f64(o, "most_tokens", 0, &p->most_tokens));
    TRY(json_f64(o, "parent_tokens", 0, &p->parent_tokens));
    TRY(json_i64(o, "validations", 0, &validations));
    TRY(json_i64(o, "parent", -1, &parent));
    p->validations = (int)validations;
    p->parent = (int)parent;
    TRY(read_settings(p, o));
    return read_milestones(p, o);
}

int trial_plan_read(struct trial_plan *p, const char *path)
{
    json_t *o;
    TRY(json_read_file(path, &o));
    int rc = plan_of(p, o);
    json_decref(o);
    if (rc != OK)
        trial_plan_free(p);
    return rc == OK ? OK : err_context(rc, "%s", path);
}

json_t *trial_outcome_json(const struct trial *t)
{
    json_t *o = json_object(), *curve = json_array();
    for (int i = 0; i < t->n_curve; i++) {
        const struct curve_point *c = &t->curve[i];
        json_t *row = json_array();
        json_array_append_new(row, number(c->step));
        json_array_append_new(row, number(c->tokens));
        json_array_append_new(row, number(c->loss));
        json_array_append_new(row, number(c->train_s));
        json_array_append_new(curve, row);
    }
    json_object_set_new(o, "format", json_integer(STUDY_FORMAT));
    json_object_set_new(o, "state", json_string(STATES[t->state]));
    json_object_set_new(o, "why", json_string(t->why));
    json_object_set_new(o, "value", number(t->value));
    json_object_set_new(o, "steps", number(t->steps));
    json_object_set_new(o, "tokens", number(t->tokens));
    json_object_set_new(o, "train_s", number(t->train_s));
    json_object_set_new(o, "step_s", number(t->step_s));
    json_object_set_new(o, "noise_scale", number(t->noise_scale));
    json_object_set_new(o, "spikes", number(t->spikes));
    json_object_set_new(o, "ranks", number(t->ranks));
    json_object_set_new(o, "step_tokens_loss_seconds", curve);
    return o;
}

static int read_curve(struct trial *t, const json_t *o)
{
    const json_t *list = json_object_get(o, "step_tokens_loss_seconds");
    if (!json_is_array(list))
        return ERR(E_DATA, "step_tokens_loss_seconds is not a list");
    MEM_FREE(t->curve);
    t->n_curve = 0;
    TRY(mem_alloc(&t->curve, json_array_size(list), sizeof *t->curve, "curve"));
    for (; (size_t)t->n_curve < json_array_size(list); t->n_curve++) {
        double v[4];
        TRY(read_numbers(v, json_array_get(list, (size_t)t->n_curve), 4,
                         "a row of step_tokens_loss_seconds"));
        t->curve[t->n_curve] = (struct curve_point){v[0], v[1], v[2], v[3]};
    }
    return OK;
}

static int state_of(enum trial_state *state, const json_t *o)
{
    const char *name;
    TRY(json_str(o, "state", "", &name));
    for (int i = 0; i < N_STATES; i++)
        if (strcmp(name, STATES[i]) == 0) {
            *state = (enum trial_state)i;
            return OK;
        }
    return ERR(E_DATA, "state \"%.40s\" is none", name);
}

static int outcome_of(struct trial *t, const json_t *o)
{
    const struct {
        const char *key;
        double *to;
    } numbers[] = {{"value", &t->value},   {"steps", &t->steps},
                   {"tokens", &t->tokens}, {"train_s", &t->train_s},
                   {"step_s", &t->step_s}, {"noise_scale", &t->noise_scale},
                   {"spikes", &t->spikes}, {"ranks", &t->ranks}};
    enum trial_state state;
    TRY(check_format(o));
    TRY(state_of(&state, o));
    TRY(copy_text(t->why, sizeof t->why, o, "why"));
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        TRY(json_f64(o, numbers[i].key, NAN, numbers[i].to));
    TRY(read_curve(t, o));
    t->state = state; /* the last, as a trial that has ended is not read again */
    return OK;
}

int trial_outcome_read(struct trial *t, const char *path)
{
    json_t *o;
    TRY(json_read_file(path, &o));
    int rc = outcome_of(t, o);
    json_decref(o);
    return rc == OK ? OK : err_context(rc, "%s", path);
}
