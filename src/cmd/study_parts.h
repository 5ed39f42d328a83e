/* What the files of study_frame.c share. */
#ifndef CARAT_CMD_STUDY_PARTS_H
#define CARAT_CMD_STUDY_PARTS_H

#include "base/str.h"
#include "par/comm.h"
#include "study_frame.h"

/* Seconds of one rank for a token, and how that is known. */
struct trial_speed {
    double rank_s; /* 0: not known */
    int ranks;     /* on which it was measured */
    char how[160];
};

/* From the trials that have trained; false when none has. */
bool speed_of_trials(struct trial_speed *s, const struct history *h);
/* By some steps of the job on c's ranks. What goes wrong is no error but said in `how`.
 * Collective. */
void speed_of_steps(struct trial_speed *s, const struct job *j, const struct comm *c);

/* How many workers there are, and of how many ranks each. */
struct crew {
    int workers, ranks, idle;
};
/* What the study will do and cost, as lines and as a JSON member. */
void study_say_plan(const struct study_command *k, const struct study_view *v,
                    const struct trial_speed *s, const struct crew *w);
void study_json_plan(json_t *root, const struct study_command *k, const struct study_view *v,
                     const struct trial_speed *s, const struct crew *w);

/* Tokens that a trial trained on itself; 0 before its first publication. */
double study_own_tokens(const struct trial *t);
/* Counts by state, and what the trials have trained on themselves. */
struct study_counts {
    int n[TRIAL_FAILED + 1], ended;
    double tokens, rank_s;
};
void study_count(struct study_counts *c, const struct history *h);
/* "12 done, 3 pruned, 1 running". */
void study_counts_text(struct str *text, const struct study_counts *c);

/* The order of a table: by loss, those done first, those that failed last. order: mem_free. E_MEM. */
int study_order(int **order, const struct history *h);
/* At most `show` rows of a table, best first. now: the trial under way here, NULL: none. */
int study_table(struct str *text, const struct history *h, int64_t show, const struct trial *now);
/* One line about a trial that has ended. */
void study_trial_line(struct str *text, const struct trial *t);
json_t *study_json_trials(const struct history *h);

#endif
