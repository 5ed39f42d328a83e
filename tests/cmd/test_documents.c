/* Documents of every kind, against a plain way of telling them apart; text that is no UTF-8 is
 * found at its byte and line. */
#include "../../src/cmd/prepare.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/rng.h"
#include "base/str.h"
#include "base/utf8.h"
#include "check_main.h"

#include <string.h>
#include <unistd.h>

static char path[] = "/tmp/carat-documents-XXXXXX";

/* Documents with a 0x1e behind each, which no test text holds. */
enum { MARK = 0x1e };

static int read_documents(struct str *out, const char *rule, bool jsonl)
{
    struct source source = {.path = path, .jsonl = jsonl, .fd = -1};
    struct source_list list = {.item = &source, .n = 1};
    struct documents_options o = {.field = "text"};
    struct documents *d;
    struct piece p;
    int rc;
    ck_assert(document_rule_parse(&o.rule, rule));
    ck_assert_int_eq(documents_new(&d, &list, &o), OK);
    while ((rc = documents_next(d, &p)) == OK && p.text != NULL) {
        /* One line may reach beyond a piece's size by what a line end costs. */
        ck_assert_uint_le(p.n, INPUT_PIECE_MAX);
        str_addn(out, p.text, p.n);
        if (p.ends)
            str_addf(out, "%c", MARK);
    }
    documents_free(d);
    return rc;
}

static void write_text(const char *text, size_t n)
{
    FILE *f = fopen(path, "w");
    ck_assert_uint_eq(fwrite(text, 1, n, f), n);
    ck_assert_int_eq(fclose(f), 0);
}

/* Text of about n bytes: lines of up to longest bytes, some of them blank, some characters wide. */
static void make_text(struct str *s, uint64_t seed, size_t n, size_t longest)
{
    static const char *const parts[] = {"word ", "x", "ü", "日本", "😀 ", "12 "};
    for (uint64_t i = 0; s->len < n; i++) {
        uint64_t r = rng_u64(seed, 2, i);
        size_t length = (size_t)(r >> 8) % longest;
        if (r % 8 == 0)
            length = 0;
        for (size_t end = s->len + length; s->len < end; r = r * 6364136223846793005u + 1)
            str_add(s, parts[(r >> 40) % 6]);
        str_add(s, (r >> 20) % 16 == 0 ? " \t\n" : "\n");
    }
}

static bool blank(const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (strchr(" \t\n", p[i]) == NULL)
            return false;
    return true;
}

/* Each line that is not blank. */
static void lines_plainly(struct str *out, const struct str *text)
{
    for (size_t at = 0, k; at < text->len; at += k + 1) {
        k = strcspn(text->s + at, "\n");
        if (blank(text->s + at, k))
            continue;
        str_addn(out, text->s + at, k);
        str_addf(out, "%c", MARK);
    }
}

/* Runs of lines that are not blank, without the last line's break. */
static void paragraphs_plainly(struct str *out, const struct str *text)
{
    bool open = false;
    for (size_t at = 0, k; at < text->len; at += k + 1) {
        k = strcspn(text->s + at, "\n");
        bool is_blank = blank(text->s + at, k);
        if (is_blank && open)
            str_addf(out, "%c", MARK);
        if (!is_blank) {
            str_add(out, open ? "\n" : "");
            str_addn(out, text->s + at, k);
        }
        open = !is_blank;
    }
    if (open)
        str_addf(out, "%c", MARK);
}

static void same(const struct str *got, const struct str *want, const char *what)
{
    size_t i = 0;
    while (i < got->len && i < want->len && got->s[i] == want->s[i])
        i++;
    ck_assert_msg(got->len == want->len && i == got->len, "%s: differs at %zu of %zu/%zu", what, i,
                  got->len, want->len);
}

static void check_kind(uint64_t seed, size_t n, size_t longest, const char *rule,
                       void (*plainly)(struct str *out, const struct str *text))
{
    struct str text = {0}, got = {0}, want = {0};
    make_text(&text, seed, n, longest);
    write_text(text.s, text.len);
    ck_assert_msg(read_documents(&got, rule, false) == OK, "%s", err_message());
    plainly(&want, &text);
    same(&got, &want, rule);
    str_release(&text);
    str_release(&got);
    str_release(&want);
}

START_TEST(lines_are_documents)
{
    for (uint64_t seed = 0; seed < 8; seed++)
        check_kind(seed, 3000, 60, "line", lines_plainly);
    check_kind(50, 5 << 20, 3000, "line", lines_plainly);
    check_kind(51, 6 << 20, 3 << 20, "line", lines_plainly);
}
END_TEST

START_TEST(paragraphs_are_documents)
{
    for (uint64_t seed = 0; seed < 8; seed++)
        check_kind(seed, 3000, 60, "blank", paragraphs_plainly);
    check_kind(50, 5 << 20, 3000, "blank", paragraphs_plainly);
}
END_TEST

static void whole_plainly(struct str *out, const struct str *text)
{
    str_addn(out, text->s, text->len);
    str_addf(out, "%c", MARK);
}

START_TEST(files_are_documents)
{
    check_kind(1, 10, 60, "file", whole_plainly);
    check_kind(2, 5 << 20, 3000, "file", whole_plainly);
    check_kind(3, 6 << 20, 3 << 20, "file", whole_plainly);
}
END_TEST

/* Pieces of a size give the text back, end at line ends, and keep to the size unless a line does
 * not. */
static void check_sizes(uint64_t seed, size_t n, size_t longest, const char *rule, size_t size)
{
    struct str text = {0}, got = {0}, joined = {0};
    make_text(&text, seed, n, longest);
    write_text(text.s, text.len);
    ck_assert_msg(read_documents(&got, rule, false) == OK, "%s", err_message());
    for (size_t at = 0, k; at < got.len; at += k + 1) {
        k = strcspn(got.s + at, (char[]){MARK, '\0'});
        ck_assert_int_eq(got.s[at + k], MARK);
        ck_assert_uint_gt(k, 0);
        ck_assert_int_eq(got.s[at + k - 1], '\n');
        const char *first_line = memchr(got.s + at, '\n', k);
        ck_assert(k <= size || first_line == got.s + at + k - 1);
        str_addn(&joined, got.s + at, k);
        /* The next line would not have found room. */
        const char *next = text.s + joined.len;
        if (joined.len < text.len)
            ck_assert_uint_gt(k + strcspn(next, "\n") + 1, size);
    }
    same(&joined, &text, rule);
    str_release(&text);
    str_release(&got);
    str_release(&joined);
}

START_TEST(sizes_are_kept)
{
    for (uint64_t seed = 0; seed < 8; seed++) {
        check_sizes(seed, 5000, 60, "100", 100);
        check_sizes(seed, 5000, 300, "1000", 1000);
    }
    check_sizes(50, 6 << 20, 3000, "64KiB", 64 << 10);
    check_sizes(51, 5 << 20, 3000, "3MiB", 3 << 20);
}
END_TEST

START_TEST(rules_are_parsed)
{
    struct document_rule r;
    ck_assert(document_rule_parse(&r, "16KiB") && r.kind == DOCUMENT_BYTES && r.bytes == 16384);
    ck_assert(document_rule_parse(&r, "blank") && r.kind == DOCUMENT_BLANK);
    static const char *const bad[] = {"", "page", "63", "-1", "16KiBs", "nan", "1e30"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        ck_assert_msg(!document_rule_parse(&r, bad[i]), "%s", bad[i]);
}
END_TEST

START_TEST(json_lines_longer_than_a_window)
{
    enum { N = 6 << 20 };
    struct str line = {0}, got = {0};
    str_add(&line, "{\"text\": \"a\"}\n{\"text\": \"");
    for (int i = 0; i < N / 4; i++)
        str_add(&line, "ab\\n");
    str_add(&line, "\"}\n{\"text\": \"z\"}");
    write_text(line.s, line.len);
    ck_assert_msg(read_documents(&got, "file", true) == OK, "%s", err_message());
    ck_assert_uint_eq(got.len, 2 + N / 4 * 3 + 1 + 2);
    ck_assert_int_eq(got.s[0], 'a');
    ck_assert_int_eq(got.s[1], MARK);
    ck_assert_int_eq(got.s[got.len - 3], MARK);
    ck_assert_int_eq(got.s[got.len - 2], 'z');
    str_release(&line);
    str_release(&got);
}
END_TEST

/* Deep in a large file, the place is still exact. */
START_TEST(bad_bytes_are_placed)
{
    struct str text = {0}, got = {0};
    char want[64];
    make_text(&text, 9, 7 << 20, 200);
    size_t at = 5 << 20, line = 1;
    at = utf8_boundary(text.s, at);
    for (size_t i = 0; i < at; i++)
        line += text.s[i] == '\n';
    text.s[at] = '\xff';
    write_text(text.s, text.len);
    snprintf(want, sizeof want, ":%zu: byte %zu (0xFF)", line, at);
    static const char *const rules[] = {"file", "line", "blank", "4KiB", "2MiB"};
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++) {
        ck_assert_int_eq(read_documents(&got, rules[i], false), E_DATA);
        ck_assert_msg(strstr(err_message(), want) != NULL, "%s: want %s in %s", rules[i], want,
                      err_message());
    }
    str_release(&text);
    str_release(&got);
}
END_TEST

START_TEST(nothing_is_left_behind)
{
    unlink(path);
    ck_assert_uint_eq(mem_bytes(), 0);
}
END_TEST

static void add(TCase *t)
{
    tcase_add_test(t, lines_are_documents);
    tcase_add_test(t, paragraphs_are_documents);
    tcase_add_test(t, files_are_documents);
    tcase_add_test(t, sizes_are_kept);
    tcase_add_test(t, rules_are_parsed);
    tcase_add_test(t, json_lines_longer_than_a_window);
    tcase_add_test(t, bad_bytes_are_placed);
    tcase_add_test(t, nothing_is_left_behind);
}

int main(void)
{
    close(mkstemp(path));
    return run_suite("cmd/documents", add);
}
