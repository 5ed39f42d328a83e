#include "par/who.h"

#include "base/err.h"
#include "base/mem.h"
#include "par/agree.h"

#include <stdio.h>
#include <string.h>

struct answer {
    char host[sizeof((struct comm *)0)->host];
    bool me;
};

/* Behind the last of the ranks from r on that are meant and on one host. */
static int end_of_run(const struct answer *a, int n, int r)
{
    int end = r + 1;
    while (end < n && a[end].me && strcmp(a[end].host, a[r].host) == 0)
        end++;
    return end;
}

static void write_text(char *text, size_t size, const struct answer *a, int n)
{
    static const char more[] = " and others";
    size_t used = (size_t)snprintf(text, size, "no rank");
    for (int r = 0, written = 0, end; r < n; r = end) {
        char entry[128];
        end = r + 1;
        if (!a[r].me)
            continue;
        end = end_of_run(a, n, r);
        size_t len = (size_t)snprintf(
            entry, sizeof entry, end - r > 1 ? "%sranks %d-%d on %s" : "%srank %d%.0d on %s",
            written > 0 ? ", " : "", r, end - r > 1 ? end - 1 : 0, a[r].host);
        used = written++ > 0 ? used : 0;
        if (used + len + sizeof more > size) {
            snprintf(text + used, size - used, "%s", more);
            return;
        }
        used += (size_t)snprintf(text + used, size - used, "%s", entry);
    }
}

int who(char *text, size_t size, const struct comm *c, bool me)
{
    struct answer mine = {.me = me}, *all;
    TRY(agree(c, mem_alloc(&all, (size_t)c->size, sizeof *all, "names of ranks")));
    memcpy(mine.host, c->host, sizeof mine.host);
    int rc = comm_check(
        MPI_Allgather(&mine, sizeof mine, MPI_BYTE, all, sizeof mine, MPI_BYTE, c->world),
        "MPI_Allgather");
    if (rc == OK)
        write_text(text, size, all, c->size);
    mem_free(all);
    return rc;
}
