/* Samples depend on their place in the training order alone; targets are the next tokens; epochs
 * reorder; documents are kept apart as asked. */
#include "base/fault.h"
#include "base/mem.h"
#include "data/loader.h"
#include "data/perm.h"
#include "store_fixture.h"

enum { VOCAB = 5000 };

static struct store store;

/* A store of one split whose token p is p. */
static void open_docs(const int *docs, int n)
{
    fixture_enter();
    fixture_write(VOCAB, docs, n, 0, 0);
    ck_assert_int_eq(store_open(&store, fixture_path, SPLIT_TRAIN), OK);
}

static void close_docs(void)
{
    store_close(&store);
    fixture_leave();
}

static struct loader *start(int T, bool shuffle, enum boundary boundary, int max_samples)
{
    struct loader *l;
    struct loader_options o = {T, 99, shuffle, boundary, max_samples};
    ck_assert_msg(loader_new(&l, &store, &o) == OK, "%s", err_message());
    return l;
}

static struct sample_block fetch(struct loader *l, uint64_t first, int n)
{
    struct sample_block b;
    loader_want(l, first, n);
    ck_assert_msg(loader_next(l, &b) == OK, "%s", err_message());
    ck_assert_int_eq(b.n, n);
    return b;
}

START_TEST(targets_are_the_next_tokens)
{
    const int docs[] = {1000};
    enum { T = 10, N = 99 }; /* (1000 - 1) / 10 */
    open_docs(docs, 1);
    struct loader *l = start(T, false, BOUNDARY_NONE, N);
    ck_assert_uint_eq(loader_n_samples(l), N);
    struct sample_block b = fetch(l, 0, N);
    ck_assert_ptr_null(b.weight);
    ck_assert_ptr_null(b.start);
    for (int i = 0; i < N * T; i++) {
        ck_assert_int_eq(b.token[i], i);
        ck_assert_int_eq(b.target[i], i + 1);
    }
    loader_free(l);
    close_docs();
}
END_TEST

START_TEST(the_last_token_is_a_target)
{
    const int docs[] = {21};
    open_docs(docs, 1);
    struct loader *l = start(10, false, BOUNDARY_NONE, 2);
    ck_assert_uint_eq(loader_n_samples(l), 2);
    ck_assert_int_eq(fetch(l, 1, 1).target[9], 20);
    loader_free(l);
    close_docs();
}
END_TEST

/* The first token of each sample of a stretch of the order, read in requests of a given size. */
static void read_in(int *out, int total, int request, bool two_ahead)
{
    struct loader *l = start(7, true, BOUNDARY_NONE, request);
    int wanted = 0, got = 0;
    while (got < total) {
        while (wanted < total && wanted - got < (two_ahead ? 2 : 1) * request) {
            int n = total - wanted < request ? total - wanted : request;
            loader_want(l, (uint64_t)wanted, n);
            wanted += n;
        }
        struct sample_block b;
        ck_assert_int_eq(loader_next(l, &b), OK);
        for (int i = 0; i < b.n; i++)
            out[got++] = b.token[i * 7];
    }
    loader_free(l);
}

START_TEST(request_sizes_do_not_matter)
{
    const int docs[] = {600, 400};
    enum { TOTAL = 300 }; /* more than two epochs of 142 samples */
    int want[TOTAL], got[TOTAL];
    open_docs(docs, 2);
    read_in(want, TOTAL, TOTAL, false);
    for (int request = 1; request < 60; request = request * 2 + 1) {
        read_in(got, TOTAL, request, true);
        ck_assert_mem_eq(want, got, sizeof want);
    }
    close_docs();
}
END_TEST

START_TEST(epochs_hold_each_sample_once)
{
    const int docs[] = {1000};
    enum { T = 8, N = 124 };
    int place[3][N];
    open_docs(docs, 1);
    struct loader *l = start(T, true, BOUNDARY_NONE, N);
    ck_assert_uint_eq(loader_n_samples(l), N);
    for (int epoch = 0; epoch < 3; epoch++) {
        char seen[N] = {0};
        struct sample_block b = fetch(l, (uint64_t)epoch * N, N);
        for (int i = 0; i < N; i++) {
            int sample = b.token[i * T] / T;
            ck_assert_int_eq(b.token[i * T] % T, 0);
            ck_assert(!seen[sample]);
            seen[sample] = 1;
            place[epoch][i] = sample;
            ck_assert_uint_eq((uint64_t)sample, perm_at(99, (uint64_t)epoch, N, (uint64_t)i));
        }
    }
    ck_assert_mem_ne(place[0], place[1], sizeof place[0]);
    ck_assert_mem_ne(place[1], place[2], sizeof place[0]);
    /* A request may reach over the end of an epoch. */
    struct sample_block b = fetch(l, N - 1, 2);
    ck_assert_int_eq(b.token[0] / T, place[0][N - 1]);
    ck_assert_int_eq(b.token[T] / T, place[1][0]);
    loader_free(l);
    close_docs();
}
END_TEST

START_TEST(file_order_repeats)
{
    const int docs[] = {21};
    open_docs(docs, 1);
    struct loader *l = start(10, false, BOUNDARY_NONE, 5);
    struct sample_block b = fetch(l, 0, 5);
    static const int32_t first[] = {0, 10, 0, 10, 0};
    for (int i = 0; i < 5; i++)
        ck_assert_int_eq(b.token[i * 10], first[i]);
    loader_free(l);
    close_docs();
}
END_TEST

/* What the header says, position by position, from the lengths of the documents. */
static void check_row(const struct sample_block *b, int row, int T, uint64_t base,
                      enum boundary boundary)
{
    for (int t = 0; t < T; t++) {
        uint64_t in = base + (uint64_t)t, out = in + 1, begin = 0;
        bool target_begins = false;
        for (uint64_t d = 0; d < store.n_docs; d++) {
            if (store.doc_offset[d] <= in)
                begin = store.doc_offset[d];
            target_begins = target_begins || store.doc_offset[d] == out;
        }
        int at = row * T + t;
        ck_assert_float_eq(b->weight[at], target_begins ? 0 : 1);
        if (boundary == BOUNDARY_ATTENTION)
            ck_assert_int_eq(b->start[at], begin < base ? 0 : (int)(begin - base));
    }
}

START_TEST(documents_are_kept_apart)
{
    const int docs[] = {1, 1, 5, 12, 3, 40, 1, 2, 30, 8, 1};
    enum { TOTAL = 104 };
    open_docs(docs, sizeof docs / sizeof docs[0]);
    for (int T = 1; T < 30; T += 3)
        for (int mode = BOUNDARY_LOSS; mode <= BOUNDARY_ATTENTION; mode++) {
            int n = (TOTAL - 1) / T;
            struct loader *l = start(T, false, (enum boundary)mode, n);
            struct sample_block b = fetch(l, 0, n);
            ck_assert((b.start != NULL) == (mode == BOUNDARY_ATTENTION));
            for (int i = 0; i < n; i++)
                check_row(&b, i, T, (uint64_t)(i * T), (enum boundary)mode);
            loader_free(l);
        }
    close_docs();
}
END_TEST

START_TEST(requests_may_be_dropped)
{
    const int docs[] = {1000};
    struct sample_block b;
    open_docs(docs, 1);
    struct loader *l = start(10, false, BOUNDARY_NONE, 4);
    loader_drop(l); /* none */
    loader_want(l, 0, 4);
    loader_want(l, 4, 4);
    loader_drop(l);
    loader_want(l, 20, 2);
    loader_want(l, 30, 2); /* two may be outstanding again */
    ck_assert_int_eq(loader_next(l, &b), OK);
    ck_assert_int_eq(b.token[0], 200);
    ck_assert_int_eq(loader_next(l, &b), OK);
    ck_assert_int_eq(b.token[0], 300);
    loader_free(l);
    close_docs();
}
END_TEST

START_TEST(a_block_stays_while_two_are_read)
{
    const int docs[] = {1000};
    struct sample_block b, next;
    open_docs(docs, 1);
    struct loader *l = start(10, false, BOUNDARY_NONE, 4);
    loader_want(l, 0, 4);
    ck_assert_int_eq(loader_next(l, &b), OK);
    loader_want(l, 4, 4);
    loader_want(l, 8, 4);
    usleep(20000); /* the thread would have overwritten it by now */
    for (int i = 0; i < 40; i++)
        ck_assert_int_eq(b.token[i], i);
    ck_assert_int_eq(loader_next(l, &next), OK);
    ck_assert_int_eq(next.token[0], 40);
    ck_assert_int_eq(loader_next(l, &next), OK);
    ck_assert_int_eq(next.token[0], 80);
    loader_free(l);
    close_docs();
}
END_TEST

START_TEST(a_split_too_short)
{
    const int docs[] = {10};
    struct loader *l;
    struct loader_options o = {.T = 10, .max_samples = 1};
    open_docs(docs, 1);
    ck_assert_int_eq(loader_new(&l, &store, &o), E_DATA);
    ck_assert_ptr_null(l);
    ck_assert_ptr_nonnull(strstr(err_message(), "10 tokens"));
    o.T = 9;
    ck_assert_int_eq(loader_new(&l, &store, &o), OK);
    ck_assert_uint_eq(loader_n_samples(l), 1);
    loader_free(l);
    store_close(&store);
    ck_assert_int_eq(store_open(&store, fixture_path, SPLIT_VALID), OK);
    ck_assert_int_eq(loader_new(&l, &store, &o), E_DATA);
    ck_assert_ptr_nonnull(strstr(err_message(), "valid"));
    close_docs();
}
END_TEST

START_TEST(errors_of_the_thread_arrive)
{
    const int docs[] = {1000};
    struct sample_block b;
    open_docs(docs, 1);
    struct loader *l = start(10, false, BOUNDARY_NONE, 4);
    err_clear();
    setenv("CARAT_FAULT", "store.read:0:6", 1); /* the second sample of the second request */
    fault_rearm();
    loader_want(l, 0, 4);
    loader_want(l, 4, 4);
    ck_assert_int_eq(loader_next(l, &b), OK);
    ck_assert_int_eq(loader_next(l, &b), E_IO);
    ck_assert_ptr_nonnull(strstr(err_message(), "token 50"));
    unsetenv("CARAT_FAULT");
    fault_rearm();
    ck_assert_int_eq(fetch(l, 4, 4).token[0], 40);
    loader_free(l);
    close_docs();
}
END_TEST

START_TEST(freed_with_requests_outstanding)
{
    const int docs[] = {1000};
    open_docs(docs, 1);
    for (int i = 0; i < 50; i++) {
        struct loader *l = start(10, true, BOUNDARY_ATTENTION, 50);
        loader_want(l, 0, 50);
        loader_want(l, 50, 50);
        loader_free(l);
    }
    loader_free(NULL);
    close_docs();
}
END_TEST

START_TEST(steps_allocate_nothing)
{
    const int docs[] = {700, 300};
    open_docs(docs, 2);
    struct loader *l = start(10, true, BOUNDARY_ATTENTION, 16);
    fetch(l, 0, 16);
    size_t before = mem_n_allocs();
    for (uint64_t i = 1; i < 100; i++)
        fetch(l, 16 * i, 16);
    ck_assert_uint_eq(mem_n_allocs(), before);
    loader_free(l);
    close_docs();
    ck_assert_uint_eq(mem_bytes(), 0);
}
END_TEST

static void add(TCase *t)
{
    tcase_add_test(t, targets_are_the_next_tokens);
    tcase_add_test(t, the_last_token_is_a_target);
    tcase_add_test(t, request_sizes_do_not_matter);
    tcase_add_test(t, epochs_hold_each_sample_once);
    tcase_add_test(t, file_order_repeats);
    tcase_add_test(t, documents_are_kept_apart);
    tcase_add_test(t, requests_may_be_dropped);
    tcase_add_test(t, a_block_stays_while_two_are_read);
    tcase_add_test(t, a_split_too_short);
    tcase_add_test(t, errors_of_the_thread_arrive);
    tcase_add_test(t, freed_with_requests_outstanding);
    tcase_add_test(t, steps_allocate_nothing);
}

int main(void)
{
    return run_suite("data/loader", add);
}
