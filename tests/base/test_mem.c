/* Allocations are aligned, zeroed and counted; arenas stack. */
#include "base/err.h"
#include "base/mem.h"
#include "check_main.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static bool all_zero(const unsigned char *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (p[i] != 0)
            return false;
    return true;
}

START_TEST(blocks_are_aligned_and_zeroed)
{
    static const size_t size[] = {1, 63, 64, 65, 4096, (4u << 20) - 1, 4u << 20, (9u << 20) + 5};
    /* Twice: the second round meets memory that the first has dirtied. */
    for (int round = 0; round < 2; round++)
        for (size_t i = 0; i < sizeof size / sizeof size[0]; i++) {
            unsigned char *p;
            ck_assert_int_eq(mem_alloc(&p, size[i], 1, "block"), OK);
            ck_assert_uint_eq((uintptr_t)p % MEM_ALIGN, 0);
            ck_assert(all_zero(p, size[i]));
            memset(p, 0xa5, size[i]);
            mem_free(p);
        }
}
END_TEST

START_TEST(counts_what_is_held)
{
    size_t n = mem_n_allocs(), held = mem_bytes();
    char *a, *b;
    ck_assert_int_eq(mem_alloc(&a, 1000, 1, "a"), OK);
    ck_assert_int_eq(mem_alloc(&b, 1 << 20, 8, "b"), OK);
    ck_assert_uint_eq(mem_n_allocs(), n + 2);
    ck_assert_uint_eq(mem_bytes(), held + 1000 + (8u << 20));
    ck_assert_uint_ge(mem_peak_bytes(), held + 1000 + (8u << 20));
    size_t peak = mem_peak_bytes();
    MEM_FREE(a);
    MEM_FREE(b);
    ck_assert_ptr_null(a);
    MEM_FREE(a);
    ck_assert_uint_eq(mem_bytes(), held);
    ck_assert_uint_eq(mem_peak_bytes(), peak);
}
END_TEST

START_TEST(nothing_is_null)
{
    size_t n = mem_n_allocs();
    char *p = (char *)&n;
    ck_assert_int_eq(mem_alloc(&p, 0, 8, "none"), OK);
    ck_assert_ptr_null(p);
    p = (char *)&n;
    ck_assert_int_eq(mem_alloc(&p, 8, 0, "none"), OK);
    ck_assert_ptr_null(p);
    mem_free(NULL);
    ck_assert_uint_eq(mem_n_allocs(), n);
}
END_TEST

START_TEST(too_much_is_refused_by_name)
{
    static const size_t count[] = {SIZE_MAX, SIZE_MAX / 2 + 1, SIZE_MAX / 4, (size_t)1 << 58};
    for (size_t i = 0; i < sizeof count / sizeof count[0]; i++) {
        char *p = (char *)count;
        ck_assert_int_eq(mem_alloc(&p, count[i], 2, "weights"), E_MEM);
        ck_assert_ptr_null(p);
        ck_assert_ptr_nonnull(strstr(err_message(), "weights"));
    }
}
END_TEST

enum { THREADS = 4, ROUNDS = 2000 };

static void *churn(void *arg)
{
    for (int i = 0; i < ROUNDS; i++) {
        char *p;
        if (mem_alloc(&p, (size_t)(i % 100) + 1, 1, "churn") != OK)
            return arg;
        mem_free(p);
    }
    return NULL;
}

START_TEST(counts_hold_across_threads)
{
    size_t n = mem_n_allocs(), held = mem_bytes();
    pthread_t t[THREADS];
    for (int i = 0; i < THREADS; i++)
        ck_assert_int_eq(pthread_create(&t[i], NULL, churn, t), 0);
    for (int i = 0; i < THREADS; i++) {
        void *failed;
        pthread_join(t[i], &failed);
        ck_assert_ptr_null(failed);
    }
    ck_assert_uint_eq(mem_n_allocs(), n + THREADS * ROUNDS);
    ck_assert_uint_eq(mem_bytes(), held);
}
END_TEST

START_TEST(arena_stacks)
{
    struct arena a;
    size_t need = arena_need(3, 4) + arena_need(100, 1) + arena_need(1, 64);
    ck_assert_uint_eq(need, 64 + 128 + 64);
    ck_assert_int_eq(arena_init(&a, need, "scratch"), OK);
    char *first = arena_push(&a, 3, 4);
    size_t mark = arena_mark(&a);
    char *second = arena_push(&a, 100, 1), *third = arena_push(&a, 1, 64);
    ck_assert_ptr_eq(second, first + 64);
    ck_assert_ptr_eq(third, second + 128);
    ck_assert_uint_eq((uintptr_t)third % MEM_ALIGN, 0);
    ck_assert_uint_eq(a.used, need);
    arena_pop(&a, mark);
    ck_assert_ptr_eq(arena_push(&a, 1, 1), second);
    ck_assert_uint_eq(a.peak, need);
    arena_release(&a);
    ck_assert_ptr_null(a.base);
}
END_TEST

static void overrun(void)
{
    struct arena a;
    if (arena_init(&a, 128, "scratch") == OK) {
        arena_push(&a, 65, 1);
        arena_push(&a, 1, 1);
    }
}

static void overflow(void)
{
    arena_need(SIZE_MAX / 2, 3);
}

START_TEST(arena_misuse_is_fatal)
{
    static void (*const misuse[])(void) = {overrun, overflow};
    for (int i = 0; i < 2; i++) {
        int status;
        fflush(NULL);
        pid_t child = fork();
        if (child == 0) {
            close(STDERR_FILENO);
            misuse[i]();
            _exit(0);
        }
        ck_assert_int_eq(waitpid(child, &status, 0), child);
        ck_assert(WIFEXITED(status));
        ck_assert_int_eq(WEXITSTATUS(status), E_BUG);
    }
}
END_TEST

static void add(TCase *t)
{
    tcase_add_test(t, blocks_are_aligned_and_zeroed);
    tcase_add_test(t, counts_what_is_held);
    tcase_add_test(t, nothing_is_null);
    tcase_add_test(t, too_much_is_refused_by_name);
    tcase_add_test(t, counts_hold_across_threads);
    tcase_add_test(t, arena_stacks);
    tcase_add_test(t, arena_misuse_is_fatal);
}

int main(void)
{
    return run_suite("base/mem", add);
}
