/* A text to prepare: JSON lines, and the same bytes as plain text in documents of each kind. What
 * comes out is UTF-8. Bytes that begin like gzip are unpacked first. */
#include "../../src/cmd/prepare.h"
#include "base/err.h"
#include "base/utf8.h"
#include "fuzz.h"

static void read_all(const char *path, const char *rule)
{
    struct source source = {.path = (char *)path, .jsonl = *rule == '\0', .fd = -1};
    struct source_list list = {.item = &source, .n = 1};
    struct documents_options o = {.field = "text"};
    struct documents *d;
    struct piece p;
    bool ended = true;
    int rc;
    MUST(document_rule_parse(&o.rule, *rule != '\0' ? rule : "file"));
    MUST(documents_new(&d, &list, &o) == OK);
    while ((rc = documents_next(d, &p)) == OK && p.text != NULL) {
        MUST(utf8_valid(p.text, p.n) == p.n || source.jsonl);
        ended = p.ends;
    }
    MUST(rc == E_DATA || (rc == OK && ended));
    documents_free(d);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    const char *path = fuzz_file("text.jsonl", data, n);
    read_all(path, "");
    read_all(path, n % 2 == 0 ? "line" : "blank");
    err_clear();
    return 0;
}
