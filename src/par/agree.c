#include "par/agree.h"

#include "base/err.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

enum { MESSAGE_MAX = 1792, PLACE_MAX = 128, HOST_MAX = 64 };

/* What a failed rank tells the others. */
struct report {
    int code;
    char message[MESSAGE_MAX];
    char place[PLACE_MAX];
    char host[HOST_MAX];
};

/* Without MPI no rank can learn what the others know, so nothing is left but to end. */
static void must(int mpi_rc, const char *what)
{
    if (comm_check(mpi_rc, what) != OK)
        fatal(E_RANK, "%s", err_message());
}
#define MUST(call) must((call), #call)

static void write_report(struct report *p, const struct comm *c, int rc)
{
    *p = (struct report){.code = rc};
    /* A function may fail without having recorded why. */
    const char *message = err_code() == rc ? err_message() : err_name(rc);
    snprintf(p->message, sizeof p->message, "%s", message);
    snprintf(p->place, sizeof p->place, "%s", err_place());
    snprintf(p->host, sizeof p->host, "%s", c->host);
}

/* When all ranks say the same, no single one is to blame: they agreed before, or each found the
 * same fault by itself. */
static bool all_say(const struct comm *c, const struct report *mine, const struct report *theirs)
{
    int same = mine->code == theirs->code && strcmp(mine->message, theirs->message) == 0;
    MUST(MPI_Allreduce(MPI_IN_PLACE, &same, 1, MPI_INT, MPI_LAND, c->world));
    return same;
}

static int adopt(const struct comm *c, int failed, int rc)
{
    struct report mine, theirs;
    write_report(&mine, c, rc);
    theirs = mine;
    MUST(MPI_Bcast(&theirs, (int)sizeof theirs, MPI_BYTE, failed, c->world));
    char text[MESSAGE_MAX + HOST_MAX + 32];
    if (all_say(c, &mine, &theirs))
        snprintf(text, sizeof text, "%s", theirs.message);
    else
        snprintf(text, sizeof text, "rank %d on %s: %s", failed, theirs.host, theirs.message);
    err_adopt(theirs.code, text, theirs.place);
    return theirs.code;
}

int agree(const struct comm *c, int rc)
{
    int failed = rc == OK ? INT_MAX : c->rank;
    MUST(MPI_Allreduce(MPI_IN_PLACE, &failed, 1, MPI_INT, MPI_MIN, c->world));
    return failed == INT_MAX ? OK : adopt(c, failed, rc);
}

int agree_bcast(const struct comm *c, int root, int rc, void *data, size_t n)
{
    TRY(agree(c, rc));
    char *at = data;
    for (size_t part; n > 0; at += part, n -= part) {
        part = n < INT_MAX / 2 ? n : INT_MAX / 2;
        MUST(MPI_Bcast(at, (int)part, MPI_BYTE, root, c->world));
    }
    return OK;
}
