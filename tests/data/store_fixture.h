/* Small token stores for tests. */
#ifndef CARAT_TEST_STORE_FIXTURE_H
#define CARAT_TEST_STORE_FIXTURE_H

#include "base/err.h"
#include "check_main.h"
#include "data/store.h"
#include "data/store_write.h"

#include <string.h>
#include <unistd.h>

static char fixture_dir[64], fixture_path[128];

static inline void fixture_enter(void)
{
    strcpy(fixture_dir, "/tmp/carat-store-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(fixture_dir));
    snprintf(fixture_path, sizeof fixture_path, "%s/tokens.h5", fixture_dir);
}

static inline void fixture_leave(void)
{
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", fixture_dir);
    ck_assert_int_eq(system(command), 0);
}

/* Token p of all, in the order of the documents, is p mod vocab. */
static inline struct store_counts fixture_write(int vocab, const int *doc_tokens, int n_docs,
                                                uint64_t n_valid, uint64_t seed)
{
    struct store_writer *w;
    struct store_counts c;
    struct store_facts f = {.tokenizer = "model", .tokenizer_bytes = 5, .tokenizer_hash = "abc"};
    struct store_division d = {.seed = seed, .n_valid = n_valid};
    int32_t next = 0;
    int failures = 0;
    ck_assert_msg(store_writer_new(&w, fixture_path, vocab) == OK, "%s", err_message());
    for (int i = 0; i < n_docs; i++) {
        for (int t = 0; t < doc_tokens[i]; t++, next = (next + 1) % vocab)
            failures += store_writer_add(w, &next, 1) != OK;
        failures += store_writer_end_document(w) != OK;
    }
    ck_assert_int_eq(failures, 0);
    ck_assert_msg(store_writer_finish(w, &f, &d, &c) == OK, "%s", err_message());
    store_writer_free(w);
    return c;
}

#endif
