/* The job that a command takes: its file, settings from the command line, and the model that
 * follows from them. */
#ifndef CARAT_CMD_JOB_H
#define CARAT_CMD_JOB_H

#include "base/fs.h"
#include "cmd/opts.h"
#include "conf/config_file.h"
#include "model/spec.h"

#include <stdbool.h>

struct job {
    struct config conf;
    struct conf_origins origins;
    struct model_spec spec;
    char name[64];          /* of the job file or run folder, without its ending */
    char file[FS_PATH_MAX]; /* the job file */
    bool without_data;      /* set by the caller: a token store that is not there is no error; the
                               preset's vocabulary is used then, and epochs have no length */
    bool without_run;  /* set by the caller: keys of a run (data.train, its length) that are not set
                          are no error; a step is made of them */
    bool has_data;     /* the token store could be opened: the two counts are its */
    uint64_t n_tokens; /* of the training split */
    uint64_t n_samples; /* of batch.seq_len tokens in it */
    bool from_study;    /* JOB is a study's folder */
    bool print_only;    /* --print-config was asked for and is done: nothing else is filled */
};

/* For the command's table of options. */
extern bool job_print_config;
#define JOB_OPTIONS                                                                                \
    {                                                                                              \
        "print-config", 0, OPT_FLAG, &job_print_config, NULL,                                      \
            "print every setting with its origin, and end"                                         \
    }

/* Takes JOB (a job file, or the folder of a run or study, whose own job is used) and key=value
 * settings from what opts_parse left, loads and checks them and builds the model's shape. Zero *j
 * before. E_USAGE, E_CONFIG, E_DATA. Local. */
int job_load(struct job *j, int argc, char **argv);

/* The job file's text with the command line's settings (mem_free), for a job to be written; of a
 * study's folder the job that it holds. Then settings one by one, comments kept. E_CONFIG, E_IO. */
int job_text(char **text, const struct job *j);
int job_text_set(char **text, const struct job *j, const char *key, const char *value);
/* Whether the folder of a file that is to be written is there; whether the file is not there yet or
 * may be replaced. E_USAGE names the option. */
int job_check_folder(const char *option, const char *path);
int job_check_output(const char *option, const char *path, bool force);

#endif
