#include "cmd/doctor.h"

#include "base/err.h"
#include "base/mem.h"
#include "base/str.h"
#include "cmd/cmd.h"
#include "cmd/opts.h"
#include "par/agree.h"
#include "par/pin.h"

#include <stdio.h>
#include <string.h>

/* What one rank knows of its machine and its place there. */
struct view {
    char host[64];
    int node;
    struct machine machine;
    struct place place;
    double name_s;
};

static const char *bytes_of(const json_t *node, const char *key, char *buf, size_t n)
{
    double bytes = json_number_value(json_object_get(node, key));
    return bytes < 0 ? "none" : fmt_bytes(buf, n, bytes);
}

static const char *plural(int n)
{
    return n == 1 ? "" : "s";
}

static void print_node(const json_t *node)
{
    char memory[32], free_memory[32], shm[32];
    int ranks, threads, cores, cpus, sockets, numa;
    double usable;
    const char *cpu, *blas;
    if (json_unpack((json_t *)node, "{s:i, s:i, s:F, s:i, s:i, s:i, s:i, s:s, s:s}", "ranks",
                    &ranks, "threads", &threads, "usable_cores", &usable, "cores", &cores,
                    "processors", &cpus, "sockets", &sockets, "numa_nodes", &numa, "processor",
                    &cpu, "blas_kernel", &blas) != 0)
        return;
    printf("%d rank%s, %d thread%s, %.4g of %d processors on %d core%s, %d socket%s, %d NUMA "
           "node%s\n",
           ranks, plural(ranks), threads, plural(threads), usable, cpus, cores, plural(cores),
           sockets, plural(sockets), numa, plural(numa));
    printf("  %-22s %s of memory, %s free; /dev/shm %s free\n", "",
           bytes_of(node, "memory_bytes", memory, sizeof memory),
           bytes_of(node, "free_bytes", free_memory, sizeof free_memory),
           bytes_of(node, "shm_free_bytes", shm, sizeof shm));
    printf("  %-22s %s, BLAS kernel %s\n", "", cpu, blas);
}

static void print_facts(const json_t *root)
{
    const char *name, *key;
    json_t *section, *value;
    json_object_foreach((json_t *)root, name, section)
    {
        if (!json_is_object(section))
            continue;
        printf("%s\n", name);
        json_object_foreach(section, key, value)
        {
            printf("  %-22s ", key);
            if (json_is_object(value))
                print_node(value);
            else
                puts(json_string_value(value));
        }
    }
}

static void print_warnings(const json_t *warnings)
{
    size_t i, n = json_array_size(warnings);
    const json_t *w;
    printf("\n%s\n", n == 0 ? "nothing to mend" : "warnings");
    for (i = 0; i < n; i++) {
        w = json_array_get(warnings, i);
        printf("  %s\n    fix: %s\n", json_string_value(json_object_get(w, "what")),
               json_string_value(json_object_get(w, "fix")));
    }
}

/* Ranks of a node need not follow each other; its worst placed one speaks for all. */
static void gather_nodes(struct patient_node *nodes, const struct view *v, int n)
{
    for (int i = 0; i < n; i++) {
        struct patient_node *to = &nodes[v[i].node];
        if (to->ranks++ == 0) {
            memcpy(to->host, v[i].host, sizeof to->host);
            to->machine = v[i].machine;
            to->place = v[i].place;
            to->name_s = v[i].name_s;
        } else if (v[i].place.kind > to->place.kind) {
            to->place = v[i].place;
        }
    }
}

static int examine(const struct comm *c, const struct patient_node *nodes, int threads, bool json)
{
    struct patient p = {.ranks = c->size, .threads = threads, .node = nodes, .n_nodes = c->n_nodes};
    json_t *root = json_object(), *warnings = json_array();
    int rc = doctor_look(&p, c, root);
    if (rc == OK)
        doctor_warn(warnings, &p);
    json_object_set_new(root, "warnings", warnings);
    if (rc == OK && json) {
        json_dumpf(root, stdout, JSON_INDENT(2));
        putchar('\n');
    } else if (rc == OK) {
        print_facts(root);
        print_warnings(warnings);
    }
    json_decref(root);
    return rc;
}

static int report(const struct comm *c, const struct view *views, int threads, bool json)
{
    struct patient_node *nodes = NULL;
    TRY(mem_alloc(&nodes, (size_t)c->n_nodes, sizeof *nodes, "nodes"));
    gather_nodes(nodes, views, c->size);
    int rc = examine(c, nodes, threads, json);
    mem_free(nodes);
    return rc;
}

/* Rank 0 gathers what every rank sees, and tells. Ranks are placed as training would place them. */
static int run(const struct comm *c, int threads, bool json)
{
    static struct view mine;
    struct view *all = NULL;
    struct pin pin;
    mine.node = c->node;
    snprintf(mine.host, sizeof mine.host, "%s", c->host);
    probe_machine(&mine.machine);
    mine.name_s = probe_name_s();
    TRY(pin_ranks(&pin, c, threads, true));
    mine.place = pin.place;
    int rc = OK;
    if (c->rank == 0)
        rc = mem_alloc(&all, (size_t)c->size, sizeof *all, "views of all ranks");
    TRY(agree(c, rc));
    MPI_TRY(MPI_Gather(&mine, sizeof mine, MPI_BYTE, all, sizeof mine, MPI_BYTE, 0, c->world));
    if (c->rank == 0)
        rc = report(c, all, threads, json);
    mem_free(all);
    return agree(c, rc);
}

int cmd_doctor(int argc, char **argv)
{
    bool help = false, json = false;
    int64_t threads = 1;
    const struct opt table[] = {
        {"threads", 'c', OPT_INT, &threads, "T", "threads that each rank will have [1]"},
        {"json", 0, OPT_FLAG, &json, NULL, "print JSON"},
        {"help", 'h', OPT_FLAG, &help, NULL, "this text"},
    };
    enum { N = sizeof table / sizeof *table };
    TRY(opts_parse(table, N, &argc, argv));
    if (help) {
        opts_help(
            stdout, "carat doctor [--threads T] [--json]",
            "Shows what this build and this machine have: MPI, parallel HDF5, the BLAS and the "
            "kernel it picked, processor, memory, file system, Slurm. What would make a run "
            "slow or unsafe is a warning with its fix. Alone it looks at this machine; under "
            "mpirun or srun at every node of the job, and at where each rank may run.",
            table, N, "carat doctor\nmpirun -n 4 carat doctor --threads 2");
        return OK;
    }
    if (argc > 1)
        return ERR(E_USAGE, "doctor takes no \"%s\"", argv[1]);
    if (threads < 1 || threads > CPUS_MAX)
        return ERR(E_USAGE, "--threads takes 1 to %d", CPUS_MAX);
    struct comm c;
    TRY(comm_init(&c, &argc, &argv));
    int rc = run(&c, (int)threads, json);
    comm_end(&c);
    return rc;
}
