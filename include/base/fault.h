/* Fault points: named places where a test can make one rank fail.
 *
 * CARAT_FAULT=<point>:<rank>[:<nth>[:<action>]] arms one point; the nth visit (1-based, default 1)
 * by that rank (or '*') performs the action: `fail` (default: fault_hit returns true),
 * `kill` (SIGKILL to itself), `stop` (SIGSTOP to itself), `exit` (ends at once with status 1, as a
 * rank that leaves the others alone), `hang` (an endless loop) or `slow` (0.1 s longer, in this
 * visit and every later one). Costs one branch when not armed.
 */
#ifndef CARAT_BASE_FAULT_H
#define CARAT_BASE_FAULT_H

#include <stdbool.h>

/* Tells which rank this process is; before that it counts as rank 0. */
void fault_set_rank(int rank);

/* True when the armed point has the given name and its turn has come. */
bool fault_hit(const char *point);

/* Reads CARAT_FAULT again and counts visits from 0: for a test that arms several points in turn. */
void fault_rearm(void);

#endif
