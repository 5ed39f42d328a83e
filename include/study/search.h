/* The search over configurations: rules that choose the next trial and rules that give trials up.
 * A rule is a row of a table. Pure functions of the search and its history: the same trials
 * whatever the number of workers.
 *
 * Rules that learn, and those that give up, look at trials at least `ahead` numbers older, once
 * these have come far enough, and wait until they have. */
#ifndef CARAT_STUDY_SEARCH_H
#define CARAT_STUDY_SEARCH_H

#include "base/str.h"
#include "study/arch.h"
#include "study/planner.h"
#include "study/prior.h"
#include "study/space.h"
#include "study/tpe.h"

struct search {
    struct space space;
    struct config conf; /* the job */
    const struct search_rule *rule;
    const struct prune_rule *prune;
    int n;             /* trials at first; of pbt its population */
    int n_all;         /* with successors */
    double run_tokens; /* of a trial */
    double *milestone; /* [n_milestones] tokens, rising */
    int n_milestones;
    int bracket;      /* of halving: trials that are compared with each other */
    bool sets_length; /* trials get train.tokens, since the job's steps would differ in tokens */
    bool by_flops;    /* search.equal_flops: trials differ in length */
    struct arch arch; /* of by_flops */
    bool has_past;    /* study.past says where to look for the rate */
    struct prior law;
    double params; /* of has_past: the job's model */
    double *grid;  /* [n][space.n] points, of the grid alone */
};

struct search_rule {
    const char *name;
    bool learns;      /* the point of a trial follows from earlier ones' results */
    bool makes_plans; /* of whole generations: goes with no rule of giving up, n_all > n */
    /* Further checks, and what the rule adds to the search; may be NULL. E_CONFIG. */
    int (*open)(struct search *q);
    /* The point of trial h->n, from what is `seen` of the trials before it. */
    int (*choose)(const struct search *q, int number, const struct seen *seen, int n_seen,
                  double *point);
    /* Instead of choose: the whole plan of trial h->n (its milestones are those of the search,
     * unless the rule changes them). */
    int (*propose)(const struct search *q, const struct history *h, struct trial_plan *plan,
                   enum answer *answer);
    /* Instead of the rule of giving up. */
    int (*judge)(const struct search *q, const struct history *h, int i, int k, enum answer *answer,
                 char *why);
    /* Adds to the headline, behind the best trial (-1: none); may be NULL. */
    void (*remark)(const struct search *q, const struct history *h, int best, struct str *text);
};

struct prune_rule {
    const char *name;
    bool geometric; /* milestones at the run's end over powers of search.eta; else evenly */
    int (*judge)(const struct search *q, const struct history *h, int i, int k, enum answer *answer,
                 char *why);
};

/* Fills in a zeroed search from its job; released by PLANNER_SEARCH.close, also after an error.
 * E_CONFIG, and what the job's data and past give. */
int search_init(struct search *q, const struct study *s, const struct config *job);
/* Whether trials are compared in whole brackets, so that each has to be there. */
bool search_in_brackets(const struct search *q);

/* Rows by name, NULL when there is none. */
const struct search_rule *search_rule_find(const char *name);
const struct prune_rule *prune_rule_find(const char *name);

extern const struct search_rule SEARCH_PBT, SEARCH_BANDIT;
/* grid: counts and lists the points; E_CONFIG when they are too many. */
int grid_open(struct search *q);
int choose_grid(const struct search *q, int number, const struct seen *seen, int n, double *point);
int choose_random(const struct search *q, int number, const struct seen *seen, int n,
                  double *point);
/* The first trials of rules that learn: at random, but where study.past knows of rates every other
 * one draws its optimizer.lr around the law's, the first one at it. */
int choose_startup(const struct search *q, int number, double *point);
/* Fits the law, where the rule learns and the space has optimizer.lr. No best rate in the past is
 * no error. E_CONFIG, E_DATA, E_IO. */
int search_find_past(struct search *q, const struct study *s);
/* Adds what choose_startup makes of the past, in lines; nothing without study.past. */
void search_say_past(const void *self, struct str *text);
/* Halton's sequence, the digits of each axis permuted at random, each place by a permutation of its
 * own. Source: Halton 1964; Owen 1995. */
int choose_halton(const struct search *q, int number, const struct seen *seen, int n,
                  double *point);

int judge_median(const struct search *q, const struct history *h, int i, int k, enum answer *answer,
                 char *why);
int judge_halving(const struct search *q, const struct history *h, int i, int k,
                  enum answer *answer, char *why);
int judge_asha(const struct search *q, const struct history *h, int i, int k, enum answer *answer,
               char *why);
/* Trials of a bracket of n that are left after milestone k, from 0. */
int halving_left(const struct search *q, int n, int k);

/* Random numbers for one purpose of one trial. */
enum purpose { FOR_POINT, FOR_TPE, FOR_GP, FOR_HALTON, FOR_PBT, FOR_PAST };
struct dice search_dice(const struct search *q, enum purpose p, int number);

/* The trial has ended, whatever came of it. */
bool trial_ended(const struct trial *t);
/* It has published milestone k, from 0, or has ended. */
bool trial_settled(const struct trial *t, int k);
/* Its loss there; INFINITY when it never got there or the loss was not finite. */
double trial_value_at(const struct trial *t, int k);

/* What a search comes to. */
struct search_facts {
    int n_trials;
    double trial_tokens; /* of one trial that goes to its end */
    double tokens;       /* of all, as far as giving up can be foreseen */
    double most_tokens;  /* of all, if none is given up */
};
/* self: as PLANNER_SEARCH.open gives it. */
void search_facts(const void *self, struct search_facts *f);
const struct space *search_space(const void *self);

#endif
