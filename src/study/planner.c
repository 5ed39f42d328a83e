#include "study/branch.h"
#include "study/rules.h"

#include <stddef.h>
#include <string.h>

static const struct planner *const PLANNERS[] = {&PLANNER_SEARCH, &PLANNER_STUDY, &PLANNER_BRANCH,
                                                 &PLANNER_RULES};

const struct planner *planner_find(const char *kind)
{
    for (size_t i = 0; i < sizeof PLANNERS / sizeof PLANNERS[0]; i++)
        if (strcmp(PLANNERS[i]->kind, kind) == 0)
            return PLANNERS[i];
    return NULL;
}
