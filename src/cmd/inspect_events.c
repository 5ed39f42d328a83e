#include "cmd/inspect_events.h"

#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/plain.h"
#include "cmd/opts.h"
#include "train/events.h"

#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* A file has the ids of small batches alone; more than that are reckoned here. A forged event may
 * claim any number. */
enum { IDS_SHOWN = 1 << 20 };

static uint64_t n_ids(const struct event *e)
{
    uint64_t n = e->order_n > 0 ? e->sample_n : 0;
    return n < IDS_SHOWN ? n : IDS_SHOWN;
}

static json_t *ids_of(const struct event *e)
{
    json_t *ids = json_array();
    for (uint64_t i = 0; i < n_ids(e); i++)
        json_array_append_new(ids, json_integer((json_int_t)event_sample_id(e, i)));
    return ids;
}

static json_t *object_of(const struct event *e)
{
    json_t *o =
        json_pack("{s:I, s:I, s:s, s:s, s:I, s:I}", "step", (json_int_t)e->step, "attempt",
                  (json_int_t)e->attempt, "kind", e->kind, "action", e->action, "sample_first",
                  (json_int_t)e->sample_first, "sample_n", (json_int_t)e->sample_n);
    json_object_set_new(o, "value", isfinite(e->value) ? json_real(e->value) : json_null());
    json_object_set_new(o, "sample_ids", ids_of(e));
    json_object_set_new(o, "text", json_string(e->text));
    return o;
}

static int print_json(const struct event *list, size_t n)
{
    json_t *all = json_array();
    for (size_t i = 0; i < n; i++)
        json_array_append_new(all, object_of(&list[i]));
    char *text = json_dumps(all, JSON_INDENT(2));
    json_decref(all);
    if (text == NULL)
        return ERR(E_MEM, "no memory for the events");
    plain_print(stdout, "%s\n", text);
    free(text);
    return OK;
}

static void print_samples(const struct event *e)
{
    if (e->sample_n == 0)
        return;
    printf("  places %" PRIu64 " to %" PRIu64 " of the training order\n", e->sample_first,
           e->sample_first + e->sample_n - 1);
    if (e->order_n == 0)
        return;
    printf("  sample ids");
    for (uint64_t i = 0; i < n_ids(e); i++)
        printf(" %" PRIu64, event_sample_id(e, i));
    if (n_ids(e) < e->sample_n)
        printf(" and %" PRIu64 " more", e->sample_n - n_ids(e));
    printf("\n");
}

static void print_event(const struct event *e)
{
    plain_print(stdout, "step %" PRId64 ", attempt %" PRId64 ", %s: %s\n  ", e->step, e->attempt,
                e->kind, e->action);
    text_wrap(stdout, e->text, 2, 2);
    print_samples(e);
}

int inspect_events(const char *run, bool json)
{
    struct event *list;
    size_t n, n_bad;
    TRY(events_read(run, &list, &n, &n_bad));
    int rc = json ? print_json(list, n) : OK;
    if (n == 0 && !json)
        puts("no events");
    for (size_t i = 0; i < n && !json; i++)
        print_event(&list[i]);
    mem_free(list);
    if (n_bad > 0)
        log_warn("%s: %zu events are damaged and left out", run, n_bad);
    return rc;
}
