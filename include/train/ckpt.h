/* Checkpoints: one HDF5 file a saved step, whole or absent.
 *
 * /params/<tensor>, /<slot>/<tensor> (for instance /exp_avg/model.norm.weight): float32, true
 * shape, contiguous, under Hugging Face names; /tokenizer, /history: bytes and text; /sums: a row
 * for each 4 MiB block of every dataset, in the columns dataset (its name), block (its number
 * there) and crc32c; the rest are attributes of /, among them sums_sha256 (of the three columns'
 * bytes, one after the other) and committed (1). The file is created through HDF5, its payload
 * written by each rank with pwrite at H5Dget_offset, read back by another rank, and published by
 * rename. */
#ifndef CARAT_TRAIN_CKPT_H
#define CARAT_TRAIN_CKPT_H

#include "model/tensors.h"
#include "par/comm.h"
#include "par/shard.h"
#include <stdbool.h>

#define CKPT_FORMAT     1 /* major version: others are refused */
#define CKPT_MAX_ARRAYS 8

/* What a checkpoint says about its run, all of it the same on every rank. Strings are owned by the
 * struct (mem_alloc'd or NULL); release with ckpt_meta_release. */
struct ckpt_meta {
    int64_t step;                   /* completed optimizer steps */
    uint64_t samples;               /* consumed: the position in the training order */
    double tokens;                  /* counted targets consumed so far */
    double sched_tokens;            /* the schedule's clock: tokens consumed, B·T a step */
    int64_t attempt;                /* of the run: 0, then one more with each resume */
    double train_s;                 /* seconds spent in steps by all attempts */
    int64_t skipped;                /* updates left out in a row */
    char run_id[37], parent_id[37]; /* UUIDs; parent: where the weights came from, or empty */
    char created[32];               /* UTC */
    char tokenizer_hash[65], data_hash[65];
    char blas[64], cpu[64], build[64]; /* the bits' conditions */
    int64_t ranks, micro, threads;
    char *config_text; /* canonical configuration, YAML */
    char *spec_json;   /* the model's config.json */
    char *state;       /* train/state.h; empty in files that have none */
    char *history;     /* JSON text: what training keeps for its curves; may be NULL */
    void *tokenizer;   /* the tokenizer's bytes; may be NULL */
    size_t n_tokenizer;
};
void ckpt_meta_release(struct ckpt_meta *m);
/* Fact i of a meta (all but the long texts), for people and for comparing; false past the last. */
struct ckpt_fact {
    const char *name; /* "step" */
    bool is_number;
    char text[128];
};
bool ckpt_meta_fact(const struct ckpt_meta *m, int i, struct ckpt_fact *f);

/* One kind of values, with the layout of a tensor table. What its shard gives to nobody is not in
 * the file. */
struct ckpt_array {
    const char *kind; /* "params", "exp_avg": the group's name */
    float *data;
    bool slab; /* data is a whole slab of which this rank writes or reads its
                  pieces; else data is this rank's shard */
    const struct tensor_table *tensors; /* NULL: the set's, or the reader's */
    const struct shard *shard; /* who owns what; a shard of size 1 with more ranks: rank 0 writes,
                                  every rank reads all */
};

struct ckpt_set {
    struct ckpt_meta meta;
    const struct tensor_table *tensors;
    struct ckpt_array array[CKPT_MAX_ARRAYS];
    int n_arrays;
    /* May be NULL. Asked by root between the last write and the rename: is the run folder still
     * ours? Its error ends the save and nothing is left. */
    int (*may_publish)(void *ctx);
    void *may_publish_ctx;
};

/* What a save took: its work on the slowest rank, without steps in between. */
struct ckpt_cost {
    double seconds, bytes;
    double staging_s; /* this rank's copy */
};
/* Writes `path` whole or not at all: temporary name beside it, fsync, read-back, rename, fsync of
 * the folder. Collective. E_IO names dataset, file and cause; nothing is left then, but where the
 * folder alone could not be synced: the whole file, in the place of one of that name. cost may be
 * NULL. */
int ckpt_write(const struct comm *c, const char *path, const struct ckpt_set *set,
               struct ckpt_cost *cost);

/* The same in stages, between which the caller goes on. `aside`: what this rank writes is copied to
 * the staging buffer, so that it may change once this returns; a thread writes the copy, and after
 * the next advance one reads back what another rank wrote. Else each call does its work itself. The
 * buffer, c and the set are borrowed until the save is freed. On error *s is NULL and nothing is
 * left. Collective. */
struct ckpt_save;
int ckpt_save_begin(struct ckpt_save **s, const struct comm *c, const char *path,
                    const struct ckpt_set *set, bool aside, void *staging, size_t bytes);
/* Bytes that the rank of this number stages of an array with such a shard. */
size_t ckpt_staging_bytes(const struct shard *shard, int rank);
/* Whether this rank's thread is at work. Local. */
bool ckpt_save_busy(const struct ckpt_save *s);
/* On to the next stage; waits for ranks that are busy. After an error nothing is left but to free
 * it. Collective. */
int ckpt_save_advance(struct ckpt_save *s);
/* Published: there is no further stage. */
bool ckpt_save_done(const struct ckpt_save *s);
/* Advances until it is published. Collective. */
int ckpt_save_finish(struct ckpt_save *s);
/* So far; all of it once it is published. */
struct ckpt_cost ckpt_save_cost(const struct ckpt_save *s);
/* Joins the thread; what is not published is removed. s may be NULL. Local. */
void ckpt_save_free(struct ckpt_save *s);

/* Opens and checks the file (format, commit mark), gives its meta. Local: HDF5's serial driver. */
int ckpt_read_meta(const char *path, struct ckpt_meta *m);
/* Fills the arrays from the file; tensors missing or of another shape are E_DATA naming them. With
 * `optional` kinds absent from the file return E_DATA as well. Collective. */
int ckpt_read(const struct comm *c, const char *path, const struct tensor_table *t,
              struct ckpt_array *array, int n_arrays);
/* Whether the file holds that kind ("exp_avg"), by root's look at it. Collective. */
int ckpt_has_kind(const struct comm *c, const char *path, const char *kind, bool *has);

/* Recomputes every checksum; E_DATA names dataset and block of the first fault. progress may be
 * NULL. Ranks share the blocks. Collective. */
int ckpt_verify(const struct comm *c, const char *path, void (*progress)(double done, double all));

/* The run folder's checkpoints: newest verified file into path (FS_PATH_MAX); OK with an empty path
 * when there is none at all, E_DATA when there are some and none verifies. A damaged file is passed
 * over, with a warning that names dataset and block, and the next older is tried; one that cannot
 * be read is E_IO. `ours`: the caller holds the run's lock; then a damaged file is renamed to
 * *.damaged and `latest` names what is found, else the folder is left as it is. Collective. */
int ckpt_newest(const struct comm *c, const char *run_dir, bool ours, char *path);
/* The same for the run itself, which holds the lock and goes on from what is found: counts the
 * start (train/restart.h), and renames to *.failed, with a warning, a file from which too many came
 * to nothing. Collective. */
int ckpt_restart(const struct comm *c, const char *run_dir, char *path);
/* Sets aside (as *.left) the checkpoints of steps from `before` on, which a run that goes back
 * leaves; where all are, the oldest stays, with a warning. Root alone does the work. Collective.
 * E_IO; E_DATA when there is none at all. */
int ckpt_leave(const struct comm *c, const char *run_dir, int64_t before);
/* "<run_dir>/checkpoints/step-000001000.h5". */
int ckpt_path(char *path, const char *run_dir, int64_t step);
/* Which checkpoints stay. */
struct ckpt_keep {
    int64_t newest; /* so many, never under two */
    int64_t every;  /* and those of multiples of this step; 0: none */
    int64_t before; /* and the newest of a step below this; 0: none */
    /* Asked before every file that is removed or replaced: its error ends the rest. NULL: yes. */
    int (*may_publish)(void *ctx);
    void *may_publish_ctx;
};
/* Deletes what is not to stay of those up to step `newest`, then writes `latest`; where that fails
 * there is a warning and no more. Root alone does the work. Collective. E_IO, may_publish's. */
int ckpt_retain(const struct comm *c, const char *run_dir, int64_t newest,
                const struct ckpt_keep *keep);
/* Removes what saves that were killed left behind. For the holder of the run's lock, at the start,
 * root alone. Local. */
int ckpt_clean_temporaries(const char *run_dir);

/* The published checkpoints of a run folder by their names, newest first, unverified; *step is
 * mem_free'd. aside (may be NULL): files that were set aside. Local. */
struct ckpt_aside {
    size_t damaged; /* they do not verify */
    size_t failed;  /* they end whoever starts from them */
};
int ckpt_list(const char *run_dir, int64_t **step, size_t *n, struct ckpt_aside *aside);

#endif
