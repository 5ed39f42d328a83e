/* What the parts of a study's folder share; src/study alone. */
#ifndef CARAT_STUDY_FOLDER_H
#define CARAT_STUDY_FOLDER_H

#include "io/json.h"
#include "study/study.h"

/* A claim that is not this process's, as it was last seen. */
struct sighting {
    int generation;
    unsigned long long beat;
    double since_s; /* clock: this beat was first seen */
};

/* Everything read so far, by a trial's number. */
struct folder {
    struct trial *trial;
    struct sighting *seen;
    int n, room;
};

/* "<trial's folder>/<name>-0003.json", without the number where it is 0. */
int trial_file(char *path, const struct study *s, int trial, const char *name, int number);
/* Writes an object beside path and links it there: of several processes one is first (*taken
 * false), and what is there is whole. E_IO, E_MEM. */
int publish_once(const char *path, json_t *object, bool *taken);
/* Makes a network file system ask its server what the folder holds now. */
void folder_revalidate(const char *path);
/* Removes what dead workers have left: all files that were being written in a trial's folder; in
 * the study's those of this host's dead, and trials that another was the first to publish. */
void remove_temporaries(const char *folder);
void remove_leftovers(const struct study *s);

json_t *trial_plan_json(const struct trial_plan *p);
int trial_plan_read(struct trial_plan *p, const char *path);
void trial_plan_free(struct trial_plan *p);
/* What came of a trial so far. */
json_t *trial_outcome_json(const struct trial *t);
int trial_outcome_read(struct trial *t, const char *path);
void trial_free(struct trial *t);

/* The state of the claim's file. */
enum hold { HOLD_NONE, HOLD_HELD, HOLD_RELEASED };
/* Whether the worker of this claim saved a checkpoint before the next claim was made. */
bool claim_made_way(const struct study *s, int trial, int generation);
enum hold claim_look(const struct study *s, int trial, int generation, unsigned long long *beat);

void folder_free(struct folder *f);

#endif
