/* What the parts of the checkpoint share beside the index: the cut into parts, the sums, the file's
 * making. */
#ifndef CARAT_TRAIN_CKPT_PARTS_H
#define CARAT_TRAIN_CKPT_PARTS_H

#include "io/h5x.h"
#include "train/ckpt.h"
#include "train/ckpt_index.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

/* What root alone writes beside the arrays. */
enum ckpt_extra { CKPT_TOKENIZER, CKPT_HISTORY, CKPT_EXTRAS };

/* ---- ckpt_index.c ---- */

/* Fills offsets from an open file whose datasets must be as the index says. E_DATA. Local. */
int ckpt_index_place(struct ckpt_index *x, hid_t file);

/* ---- ckpt_sums.c ---- */

/* A piece of one block in memory: what one rank writes or reads at once. */
struct ckpt_part {
    size_t dataset;
    uint64_t block; /* in the file's numbering */
    uint64_t first; /* bytes from the dataset's beginning */
    size_t n;       /* bytes */
    void *data;
};

/* The sum of a part, kept for joining. */
struct ckpt_sum {
    uint64_t block;
    uint32_t at, n; /* bytes from the block's beginning, and length */
    uint32_t crc;
    int32_t rank;
};

/* What all parts of a block together say. */
struct ckpt_cover {
    uint64_t n; /* bytes seen, from the block's beginning without a gap */
    uint32_t crc;
    int32_t owner; /* the rank with most of it */
    uint32_t owner_n;
};

struct ckpt_sums {
    struct ckpt_sum *row;
    size_t n, cap;
};

/* The layout of an array, where `common` is that of arrays without their own. */
const struct tensor_table *ckpt_layout(const struct ckpt_array *a,
                                       const struct tensor_table *common);
/* The tensors of all n arrays, one array after the other. */
size_t ckpt_n_tensors(const struct ckpt_array *a, int n, const struct tensor_table *common);
/* Whether the file has the tensor. */
bool ckpt_has(const struct ckpt_array *a, const struct tensor *t);
/* Whether the rank writes its pieces of the array. */
bool ckpt_writes(const struct ckpt_array *a, int rank);
/* Calls visit for every part of the array that this rank holds; dataset[i] is the number of tensor
 * i's dataset. Stops at the first error and returns it. */
int ckpt_each_part(const struct ckpt_array *a, const struct tensor_table *t,
                   const struct ckpt_index *x, const size_t *dataset,
                   int (*visit)(void *ctx, const struct ckpt_part *p), void *ctx);
/* Calls visit for the parts of a dataset that lies in memory as a whole. */
int ckpt_each_block(const struct ckpt_index *x, size_t dataset, void *data,
                    int (*visit)(void *ctx, const struct ckpt_part *p), void *ctx);

/* Makes room for n rows, of empty sums. E_MEM. */
int ckpt_sums_init(struct ckpt_sums *s, size_t n);
/* Keeps the sum of a part. E_MEM where room must be made. */
int ckpt_sums_add(struct ckpt_sums *s, const struct ckpt_part *p, const struct ckpt_index *x,
                  int rank, uint32_t crc);
void ckpt_sums_release(struct ckpt_sums *s);
/* Joins rows (sorted here) into cover[n_blocks]. E_BUG when parts overlap or leave a gap. Local. */
int ckpt_sums_join(struct ckpt_sum *row, size_t n, struct ckpt_cover *cover, size_t n_blocks);
/* All ranks' rows to root, joined there; cover is filled on root alone. Collective. */
int ckpt_sums_gather(const struct comm *c, const struct ckpt_sums *s, struct ckpt_cover *cover,
                     size_t n_blocks);

/* ---- ckpt_payload.c ---- */

/* One rank's part in a file's payload: what it writes and which blocks it reads back, by a thread
 * of its own or in place. The thread touches neither MPI nor HDF5 nor the log, and takes no memory.
 */
struct ckpt_payload {
    const struct ckpt_index *x;
    const char *path; /* borrowed */
    int rank;
    struct ckpt_part *part;
    size_t n_parts;
    bool staged; /* the parts lie in a buffer and have their sums */
    struct ckpt_sums sums;
    int32_t *reader; /* [n_blocks]: who reads the block back; set by the caller */
    void *block;     /* that is read back */
    /* The work that was begun last. */
    pthread_t thread;
    bool has_thread;
    atomic_bool busy;
    int (*work)(struct ckpt_payload *p);
    atomic_uint pieces; /* that it has written or read back */
    double seconds;
    int rc;
    char message[2048], place[128];
};

/* Lists this rank's parts of the set's arrays and of root's extras; number[]: the datasets of all
 * arrays' tensors. E_MEM. Local. */
int ckpt_payload_init(struct ckpt_payload *p, const struct ckpt_index *x,
                      const struct ckpt_set *set, const size_t *number,
                      const int64_t extra[CKPT_EXTRAS], const struct comm *c, const char *path);
/* Joins a thread that is still at work. */
void ckpt_payload_release(struct ckpt_payload *p);
/* Copies the parts into the buffer, where they may lie while the caller changes its own. E_BUG when
 * it is too small. */
int ckpt_payload_stage(struct ckpt_payload *p, void *buffer, size_t bytes);
/* Writes the parts and fsyncs, or reads the blocks back; with `aside`, in a thread where one can be
 * had. */
void ckpt_payload_write(struct ckpt_payload *p, bool aside);
void ckpt_payload_read(struct ckpt_payload *p, bool aside);
/* Waits for the end of what was begun; its error is then this thread's. E_IO. */
int ckpt_payload_join(struct ckpt_payload *p);

/* ---- ckpt_file.c ---- */

/* Creates the file with every dataset of the index. Collective. E_IO. */
int ckpt_file_create(const struct comm *c, const char *temp, struct ckpt_index *x);
/* Root's: checks that what HDF5 made is there, finds the places of the datasets, adds the
 * attributes, and reserves the file's extent. Local. */
int ckpt_file_describe(const char *temp, struct ckpt_index *x, const struct ckpt_meta *m);
/* Root's: writes the sums and the commit mark, fsyncs, and reads the result as a loader will. */
int ckpt_file_commit(const char *temp, const struct ckpt_index *x);

/* ---- ckpt_meta.c ---- */

/* The attributes of an open file. Local. */
int ckpt_meta_put(hid_t file, const struct ckpt_meta *m);
int ckpt_meta_get(hid_t file, struct ckpt_meta *m);

#endif
