/* metrics/events.jsonl. What is read can be written, and is then read as the same. */
#include "base/err.h"
#include "base/fs.h"
#include "base/mem.h"
#include "fuzz.h"
#include "train/events.h"

#include <string.h>
#include <unistd.h>

static void write_again(const struct event *e)
{
    struct event *again;
    char run[FS_PATH_MAX];
    size_t n, n_bad;
    unlink(fuzz_file("again/metrics/events.jsonl", "", 0));
    MUST(fs_join(run, fuzz_dir(), "again") == OK);
    MUST(events_append(run, e) == OK);
    MUST(events_read(run, &again, &n, &n_bad) == OK);
    MUST(n == 1 && n_bad == 0);
    MUST(again->step == e->step && again->sample_n == e->sample_n);
    MUST(strcmp(again->text, e->text) == 0 && strcmp(again->kind, e->kind) == 0);
    mem_free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct event *list;
    size_t n_events, n_bad;
    MUST(events_read_file(fuzz_file("events.jsonl", data, n), &list, &n_events, &n_bad) == OK);
    for (size_t i = 0; i < n_events; i++)
        for (size_t k = 0; k < event_n_ids(&list[i]); k++)
            MUST(event_sample_id(&list[i], k) < list[i].order_n);
    if (n_events > 0)
        write_again(&list[n_events - 1]);
    mem_free(list);
    err_clear();
    return 0;
}
