/* Events: every one that was written is read back; what is torn or damaged takes only itself. */
#include "base/err.h"
#include "base/fs.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "data/perm.h"
#include "io/h5x.h"
#include "mpi_main.h"
#include "train/events.h"
#include "train/metrics.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static struct event make(int i)
{
    struct event e = {.step = 10 + i,
                      .attempt = i / 2,
                      .value = 0.1 * i,
                      .sample_first = 64,
                      .sample_n = 8,
                      .order_seed = 5,
                      .order_n = 70};
    snprintf(e.kind, sizeof e.kind, "spike");
    snprintf(e.action, sizeof e.action, i % 2 ? "warn" : "back");
    snprintf(e.text, sizeof e.text, "the \"loss\" \\ of %d,\"crc32c\":\n ±", i);
    return e;
}

static const char *fresh(const char *name)
{
    static char run[FS_PATH_MAX];
    char folder[FS_PATH_MAX];
    ck_assert_int_eq(fs_join(run, ck_folder(), name), OK);
    ck_assert_int_eq(fs_join(folder, run, "metrics"), OK);
    ck_assert_int_eq(fs_mkdirs(folder), OK);
    return run;
}

static void append(const char *run, int first, int n)
{
    for (int i = first; i < first + n; i++) {
        struct event e = make(i);
        ck_assert_msg(events_append(run, &e) == OK, "%s", err_message());
    }
}

static void check(const char *run, const int *want, size_t n_want, size_t want_bad)
{
    struct event *list;
    size_t n, n_bad;
    ck_assert_msg(events_read(run, &list, &n, &n_bad) == OK, "%s", err_message());
    ck_assert_uint_eq(n, n_want);
    ck_assert_uint_eq(n_bad, want_bad);
    for (size_t i = 0; i < n; i++) {
        struct event e = make(want[i]);
        ck_assert_int_eq(list[i].step, e.step);
        ck_assert_int_eq(list[i].attempt, e.attempt);
        ck_assert(list[i].value == e.value);
        ck_assert_str_eq(list[i].kind, e.kind);
        ck_assert_str_eq(list[i].action, e.action);
        ck_assert_str_eq(list[i].text, e.text);
        ck_assert_uint_eq(list[i].sample_first, 64);
        ck_assert_uint_eq(list[i].sample_n, 8);
        ck_assert_uint_eq(list[i].order_seed, 5);
        ck_assert_uint_eq(list[i].order_n, 70);
    }
    mem_free(list);
}

START_TEST(events_are_read_back)
{
    const char *run = fresh("plain");
    check(run, NULL, 0, 0);
    append(run, 0, 3);
    check(run, (const int[]){0, 1, 2}, 3, 0);
}
END_TEST

START_TEST(a_value_may_be_nan)
{
    const char *run = fresh("nan");
    struct event e = make(0), *list;
    size_t n;
    e.value = NAN;
    ck_assert_int_eq(events_append(run, &e), OK);
    ck_assert_int_eq(events_read(run, &list, &n, NULL), OK);
    ck_assert(n == 1 && isnan(list[0].value));
    mem_free(list);
}
END_TEST

/* A sentence that was too long for its room ends in the middle of a character. */
START_TEST(a_cut_sentence_is_still_text)
{
    const char *run = fresh("cut");
    struct event e = make(0), *list;
    size_t n, n_bad;
    for (size_t i = 0; i + 1 < sizeof e.text; i++)
        e.text[i] = "\xc2\xb1"[i % 2];
    e.text[sizeof e.text - 1] = '\0'; /* behind half a character, as the room is even */
    ck_assert_int_eq(events_append(run, &e), OK);
    ck_assert_int_eq(events_read(run, &list, &n, &n_bad), OK);
    ck_assert_uint_eq(n, 1);
    ck_assert_uint_eq(strlen(list->text), utf8_valid(list->text, strlen(list->text)));
    ck_assert_uint_eq(strlen(list->text), sizeof e.text - 2);
    mem_free(list);
}
END_TEST

START_TEST(a_torn_or_damaged_line_takes_itself_alone)
{
    const char *run = fresh("torn");
    char path[FS_PATH_MAX], *text;
    size_t n;
    append(run, 0, 3);
    ck_assert_int_eq(fs_join(path, run, "metrics/events.jsonl"), OK);
    ck_assert_int_eq(fs_read_file(path, 0, &text, &n), OK);
    text[30] ^= 1; /* in the first line */
    ck_assert_int_eq(fs_write_file(path, text, n - 20), OK);
    mem_free(text);
    check(run, (const int[]){1}, 1, 1); /* a torn end is what a killed run leaves */
    append(run, 3, 1);
    check(run, (const int[]){1, 3}, 2, 1);
}
END_TEST

static void put_line(const char *run, const char *object)
{
    char path[FS_PATH_MAX], line[512];
    size_t n = strlen(object) - 1;
    snprintf(line, sizeof line, "%.*s,\"crc32c\":%lu}\n", (int)n, object,
             (unsigned long)crc32c(0, object, n));
    ck_assert_int_eq(fs_join(path, run, "metrics/events.jsonl"), OK);
    ck_assert_int_eq(fs_write_file(path, line, strlen(line)), OK);
}

START_TEST(a_line_has_its_fields)
{
    const char *run = fresh("fields");
    struct event *list;
    size_t n, n_bad;
    put_line(run, "{\"step\":3,\"attempt\":0,\"kind\":\"spike\",\"action\":\"warn\",\"value\":1.5,"
                  "\"sample_first\":2,\"sample_n\":4,\"text\":\"of an older version\"}");
    ck_assert_int_eq(events_read(run, &list, &n, &n_bad), OK);
    ck_assert(n == 1 && n_bad == 0 && list[0].sample_n == 4 && event_n_ids(&list[0]) == 0);
    mem_free(list);
    put_line(run, "{\"step\":3,\"attempt\":0,\"kind\":\"spike\",\"value\":1.5,"
                  "\"sample_first\":2,\"sample_n\":4,\"text\":\"without its action\"}");
    ck_assert_int_eq(events_read(run, &list, &n, &n_bad), OK);
    ck_assert(n == 0 && n_bad == 1);
    mem_free(list);
}
END_TEST

/* Places 64 to 71 of a split of 70 samples: the end of the first pass and the second's beginning.
 */
START_TEST(the_ids_of_its_samples_are_there)
{
    const char *run = fresh("ids");
    struct event e = make(0);
    char path[FS_PATH_MAX], want[128] = "\"sample_ids\":[", *text;
    size_t n;
    for (uint64_t i = 0; i < 8; i++) {
        uint64_t id = i < 6 ? perm_at(5, 0, 70, 64 + i) : perm_at(5, 1, 70, i - 6);
        ck_assert_uint_eq(event_sample_id(&e, i), id);
        snprintf(want + strlen(want), sizeof want - strlen(want), "%llu%s", (unsigned long long)id,
                 i < 7 ? "," : "]");
    }
    append(run, 0, 1);
    e.sample_n = EVENT_IDS_MAX + 1;
    ck_assert_int_eq(events_append(run, &e), OK);
    ck_assert_int_eq(fs_join(path, run, "metrics/events.jsonl"), OK);
    ck_assert_int_eq(fs_read_file(path, 0, &text, &n), OK);
    char *found = strstr(text, want);
    ck_assert_msg(found != NULL, "no %s in %s", want, text);
    ck_assert_msg(strstr(found + strlen(want), "sample_ids") == NULL, "too many are listed");
    mem_free(text);
}
END_TEST

START_TEST(the_merged_file_has_them)
{
    const char *run = fresh("merged");
    char path[FS_PATH_MAX];
    hid_t f;
    int64_t *step;
    char *text;
    size_t n;
    append(run, 0, 3);
    ck_assert_msg(metrics_merge(run) == OK, "%s", err_message());
    ck_assert_int_eq(fs_join(path, run, "metrics.h5"), OK);
    ck_assert_int_eq(h5x_open(&f, path, false), OK);
    ck_assert_int_eq(h5x_get_array(f, "/events/step", H5T_NATIVE_INT64, 3, (void **)&step, &n), OK);
    ck_assert(n == 3 && step[0] == 10 && step[2] == 12);
    struct h5x_array a;
    ck_assert_int_eq(h5x_describe(f, "/events/text", &a), OK);
    hid_t type = H5Tcopy(H5T_C_S1);
    H5Tset_size(type, a.elem_bytes);
    ck_assert_int_eq(h5x_get_array(f, "/events/text", type, 3, (void **)&text, &n), OK);
    ck_assert_str_eq(text + a.elem_bytes, make(1).text);
    H5Tclose(type);
    uint64_t *id;
    const struct event e = make(2);
    ck_assert_int_eq(
        h5x_get_array(f, "/events/sample_ids", H5T_NATIVE_UINT64, 24, (void **)&id, &n), OK);
    ck_assert(n == 24 && id[16] == event_sample_id(&e, 0) && id[23] == event_sample_id(&e, 7));
    mem_free(id);
    mem_free(step);
    mem_free(text);
    h5x_close(&f);
}
END_TEST

static void add(TCase *t)
{
    tcase_add_test(t, events_are_read_back);
    tcase_add_test(t, a_value_may_be_nan);
    tcase_add_test(t, a_cut_sentence_is_still_text);
    tcase_add_test(t, a_torn_or_damaged_line_takes_itself_alone);
    tcase_add_test(t, a_line_has_its_fields);
    tcase_add_test(t, the_ids_of_its_samples_are_there);
    tcase_add_test(t, the_merged_file_has_them);
}

int main(int argc, char **argv)
{
    return run_suite_mpi(&argc, &argv, "train/events", add);
}
