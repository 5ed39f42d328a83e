#include "par/peers.h"

#include "base/err.h"
#include "base/mem.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/uio.h>
#include <unistd.h>

/* What a rank says of itself, and where it can be checked. */
struct card {
    int64_t pid;
    uint64_t sign;
    const uint64_t *sign_at;
};

struct peers {
    uint64_t sign;
    int n;
    struct card card[]; /* [n] */
};

/* One call moves at most 2 GiB. */
#define READ_MAX ((size_t)1 << 30)

int peers_read(const struct peers *p, int rank, void *to, const void *from, size_t n)
{
    for (size_t done = 0; done < n;) {
        size_t part = n - done < READ_MAX ? n - done : READ_MAX;
        struct iovec local = {(char *)to + done, part};
        struct iovec remote = {(char *)(uintptr_t)from + done, part};
        ssize_t got = process_vm_readv((pid_t)p->card[rank].pid, &local, 1, &remote, 1, 0);
        if (got <= 0)
            return ERR(E_RANK, "cannot read the memory of rank %d (process %lld): %s", rank,
                       (long long)p->card[rank].pid, got < 0 ? strerror(errno) : "nothing came");
        done += (size_t)got;
    }
    return OK;
}

/* True when every other rank's sign is found where its card says: process numbers mean something
 * else where ranks do not share a namespace of them. */
static bool all_readable(const struct peers *p, int rank)
{
    for (int r = 0; r < p->n; r++) {
        uint64_t sign = 0;
        if (r == rank)
            continue;
        if (peers_read(p, r, &sign, p->card[r].sign_at, sizeof sign) != OK)
            return false;
        if (sign != p->card[r].sign)
            return false;
    }
    return true;
}

static int exchange_cards(struct peers *p, const struct comm *c, bool *readable)
{
    /* Some kernels let only a parent read; this asks for siblings too, and fails where there is no
     * such rule. */
    prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY, 0, 0, 0);
    p->sign = ((uint64_t)getpid() << 32 | (uint64_t)c->rank) * 0x9e3779b97f4a7c15u;
    p->n = c->size;
    struct card mine = {getpid(), p->sign, &p->sign};
    MPI_TRY(MPI_Allgather(&mine, (int)sizeof mine, MPI_BYTE, p->card, (int)sizeof mine, MPI_BYTE,
                          c->world));
    int ok = all_readable(p, c->rank);
    MPI_TRY(MPI_Allreduce(MPI_IN_PLACE, &ok, 1, MPI_INT, MPI_LAND, c->world));
    *readable = ok;
    return OK;
}

int peers_new(struct peers **out, const struct comm *c)
{
    struct peers *p = NULL;
    bool readable = false;
    *out = NULL;
    if (c->size == 1 || c->n_nodes > 1)
        return OK;
    TRY(mem_alloc(&p, 1, sizeof *p + (size_t)c->size * sizeof p->card[0], "peers"));
    int rc = exchange_cards(p, c, &readable);
    if (rc == OK && readable) {
        *out = p;
        return OK;
    }
    peers_free(p);
    if (rc == OK)
        err_clear(); /* that it cannot be done is no error */
    return rc;
}

void peers_free(struct peers *p)
{
    mem_free(p);
}
