#include "base/err.h"
#include "cmd/cmd.h"
#include "study_modes.h"

#include <stdio.h>

int cmd_study(int argc, char **argv)
{
    struct study_request q = STUDY_REQUEST;
    bool rules = false, branch = false, past = false;
    const struct opt table[] = {
        {"rules", 0, OPT_FLAG, &rules, NULL,
         "put study.rules to test at study.batches, against a tuned rate of each"},
        {"branch", 0, OPT_FLAG, &branch, NULL,
         "branch off from a run's checkpoints to find the largest harmless batch"},
        {"past", 0, OPT_FLAG, &past, NULL,
         "show what runs and studies under study.past say of the rate"},
        STUDY_OPTIONS(q)};
    enum { N = sizeof table / sizeof *table };
    TRY(opts_parse(table, N, &argc, argv));
    if (q.help) {
        opts_help(stdout, "carat study JOB [key=value …] --rules | --branch | --past",
                  "Studies how a job's learning rate follows its batch.", table, N,
                  "mpirun -n 2 carat study jobs/quickstart.yaml --rules study.ranks=1");
        return OK;
    }
    if (rules + branch + past != 1)
        return ERR(E_USAGE, "one of --rules, --branch and --past");
    if (past)
        return study_past(&q, argc, argv);
    return study_frame(rules ? &STUDY_RULES : &STUDY_BRANCH, &q, argc, argv);
}
