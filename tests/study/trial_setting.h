#include "study/study.h"
#include <string.h>
__attribute__((weak)) const char *trial_setting(const struct trial_plan *p, const char *key);
__attribute__((weak)) const char *trial_setting(const struct trial_plan *p, const char *key)
{
    for (int i = 0; i < p->n_set; i++)
        if (strcmp(p->set[i].key, key) == 0)
            return p->set[i].value;
    return NULL;
}
