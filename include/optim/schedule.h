/* Learning-rate schedules: the rate as a function of the tokens consumed. A rule is a table row. */
#ifndef CARAT_OPTIM_SCHEDULE_H
#define CARAT_OPTIM_SCHEDULE_H

#include <stddef.h>

struct schedule;

struct schedule_rule {
    const char *name; /* "cosine" */
    /* Rate as a share of the peak at progress x in [0,1] after warmup. */
    double (*share)(const struct schedule *s, double x);
    const char *note;
};

struct schedule {
    const struct schedule_rule *rule;
    double peak;          /* rate after warmup */
    double final_share;   /* of the peak, at the end */
    double warmup_tokens; /* W */
    double total_tokens;  /* N */
};

int schedule_find(const struct schedule_rule **rule, const char *name); /* E_CONFIG, suggestion */
const struct schedule_rule *schedule_row(int i);

/* The rate of a step that begins with c tokens consumed and takes batch_tokens: linear warmup
 * min(1, (c+B)/W), never 0; then the rule at x = (c-W)/(N-W). */
double schedule_rate(const struct schedule *s, double c, double batch_tokens);

#endif
