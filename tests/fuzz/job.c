#include "job.h"

#include "base/err.h"
#include "base/mem.h"
#include "fuzz.h"

static void differs(void *ctx, const struct conf_key *k, const char *before, const char *now)
{
    (void)ctx;
    fprintf(stderr, "%s: \"%s\" came back as \"%s\"\n", k->name, before, now);
    abort();
}

void fuzz_config(const struct config *c, const struct conf_origins *o)
{
    struct config again;
    struct conf_origins origins;
    char *text;
    if (conf_check(c) != OK)
        err_clear();
    MUST(conf_text(c, o, &text) == OK);
    MUST(conf_load_text(&again, &origins, text, "printed") == OK);
    conf_diff(c, &again, differs, NULL);
    mem_free(text);
}
