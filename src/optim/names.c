#include "optim/names.h"

#include "base/err.h"
#include "base/str.h"

#include <string.h>

int names_find(int *at, const char *what, const char *name, const char *const *names, int n)
{
    for (int i = 0; i < n; i++)
        if (strcmp(name, names[i]) == 0) {
            *at = i;
            return OK;
        }
    struct str all = {0};
    for (int i = 0; i < n; i++)
        str_addf(&all, "%s%s", i > 0 ? ", " : "", names[i]);
    const char *near = str_nearest(name, names, (size_t)n);
    int rc = near != NULL
                 ? ERR(E_CONFIG, "%s \"%.80s\" is unknown; did you mean \"%s\"? There are: %s",
                       what, name, near, all.s)
                 : ERR(E_CONFIG, "%s \"%.80s\" is unknown; there are: %s", what, name, all.s);
    str_release(&all);
    return rc;
}
