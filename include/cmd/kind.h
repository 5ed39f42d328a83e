/* Which of carat's files or folders a path is. */
#ifndef CARAT_CMD_KIND_H
#define CARAT_CMD_KIND_H

enum kind {
    KIND_CHECKPOINT,
    KIND_STORE,       /* tokens */
    KIND_SEGMENT,     /* metrics of one attempt, being written or done */
    KIND_METRICS,     /* metrics.h5: the whole run, merged */
    KIND_EVENTS,      /* events.jsonl: what a run's monitoring saw and did */
    KIND_SAFETENSORS, /* one file */
    KIND_RUN,         /* a run folder */
    KIND_STUDY,       /* a study's folder */
    KIND_HF           /* a Hugging Face folder */
};

/* For people: "checkpoint", "token store". */
const char *kind_name(enum kind kind);
/* By what is inside; E_DATA when it is none of them, or cannot be opened. Local. */
int kind_of(enum kind *kind, const char *path);

#endif
