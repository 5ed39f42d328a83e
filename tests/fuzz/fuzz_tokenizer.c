/* A SentencePiece model: what loads encodes text to ids of its vocabulary and decodes them. */
#include "base/err.h"
#include "base/mem.h"
#include "fuzz.h"
#include "text/tokenizer.h"

static const char *const texts[] = {"the quick  brown fox\n\n\t1984 ",
                                    "Größe \xe2\x96\x81 \xf0\x9f\x98\x80", "", "\n"};
enum { N_TEXTS = sizeof texts / sizeof *texts };

static void use(const struct tokenizer *t, const char *text, size_t n_text)
{
    int32_t *ids = NULL;
    size_t cap = 0, n;
    char *back;
    int rc = tokenizer_encode(t, text, n_text, &ids, &cap, &n);
    MUST(rc == OK || rc == E_DATA);
    for (size_t i = 0; i < n; i++)
        MUST(ids[i] >= 0 && ids[i] < tokenizer_vocab(t));
    if (tokenizer_decode(t, ids, n, &back) == OK)
        mem_free(back);
    mem_free(ids);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct tokenizer *t;
    if (tokenizer_from_bytes(&t, data, n, "model") == OK) {
        for (int i = 0; i < N_TEXTS; i++) {
            size_t length = 0;
            while (texts[i][length] != '\0')
                length++;
            use(t, texts[i], length);
        }
        tokenizer_free(t);
    }
    err_clear();
    return 0;
}
