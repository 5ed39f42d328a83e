#include "par/pin.h"

#include "base/err.h"
#include "base/mem.h"
#include "par/agree.h"

#include <stdlib.h>
#include <unistd.h>

/* True when Open MPI bound this process without having been told how. */
static bool bound_by_default(void)
{
    return getenv("OMPI_MCA_orte_bound_at_launch") != NULL &&
           getenv("OMPI_MCA_hwloc_base_binding_policy") == NULL &&
           getenv("OMPI_MCA_rmaps_base_mapping_policy") == NULL;
}

/* What the rank may use before carat binds it. The parent of a rank is Open MPI's daemon, which
 * was left what the job was given. */
static struct cpuset processors_of_rank(int threads)
{
    struct cpuset own, parent;
    cpuset_of_process(&own, 0);
    if (threads <= cpuset_count(&own) || !bound_by_default())
        return own;
    cpuset_of_process(&parent, getppid());
    return cpuset_count(&parent) > cpuset_count(&own) ? parent : own;
}

/* Well-defined where processors are unknown: then there is nothing to share out. */
static void decide(struct pin *p, const struct comm *c, const struct cpuset *seen, int threads)
{
    static struct topology t;
    topology_read(&t, "");
    p->place = (struct place){.kind = PLACE_KEPT};
    for (int i = 0; i < c->node_size; i++)
        if (cpuset_count(&seen[i]) == 0)
            return;
    place_rank(&p->place, &t, seen, c->node_size, c->node_rank, threads, topology_quota(""));
}

static int gather(struct cpuset *seen, const struct cpuset *mine, const struct comm *c)
{
    MPI_Comm node;
    MPI_TRY(MPI_Comm_split_type(c->world, MPI_COMM_TYPE_SHARED, c->rank, MPI_INFO_NULL, &node));
    int rc =
        comm_check(MPI_Allgather(mine, sizeof *mine, MPI_BYTE, seen, sizeof *seen, MPI_BYTE, node),
                   "gathering the ranks' processors");
    MPI_Comm_free(&node);
    return rc;
}

static bool well_placed(enum place_kind kind)
{
    return kind <= PLACE_SIBLINGS;
}

static void apply(struct pin *p)
{
    struct cpuset now;
    cpuset_of_process(&now, 0);
    if (well_placed(p->place.kind) && cpuset_count(&p->place.cpus) > 0 &&
        !cpuset_equal(&now, &p->place.cpus))
        p->bound = cpuset_bind(&p->place.cpus);
}

int pin_ranks(struct pin *p, const struct comm *c, int threads, bool bind)
{
    struct cpuset *seen = NULL, mine = processors_of_rank(threads);
    *p = (struct pin){0};
    TRY(agree(c, mem_alloc(&seen, (size_t)c->node_size, sizeof *seen, "processors of ranks")));
    int rc = gather(seen, &mine, c);
    if (rc == OK)
        decide(p, c, seen, threads);
    mem_free(seen);
    TRY(rc);
    if (bind)
        apply(p);
    int worst = (int)p->place.kind;
    MPI_TRY(MPI_Allreduce(MPI_IN_PLACE, &worst, 1, MPI_INT, MPI_MAX, c->world));
    p->worst = (enum place_kind)worst;
    return OK;
}
