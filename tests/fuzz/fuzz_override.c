/* Settings of the command line, one a line. */
#include "base/err.h"
#include "fuzz.h"
#include "job.h"

#include <string.h>

enum { MOST = 64 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static struct config c;
    static struct conf_origins o;
    char *pair[MOST], *rest = fuzz_text(data, n);
    int n_pairs = 0;
    while (n_pairs < MOST && (pair[n_pairs] = strsep(&rest, "\n")) != NULL)
        n_pairs++;
    if (conf_load(&c, &o, NULL, pair, n_pairs) == OK)
        fuzz_config(&c, &o);
    err_clear();
    return 0;
}
