/* The datasets of a checkpoint and the checksums of their blocks, as /sums tells them.
 *
 * Datasets, in the order in which they were made, are cut into blocks of 4 MiB that begin at each
 * dataset's beginning; blocks are numbered through the whole file. */
#ifndef CARAT_TRAIN_CKPT_INDEX_H
#define CARAT_TRAIN_CKPT_INDEX_H

#include "par/comm.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CKPT_BLOCK    ((uint64_t)4 << 20)
#define CKPT_NAME_MAX 128
#define CKPT_KIND     "carat checkpoint" /* the attribute `kind` of such a file */

struct ckpt_dataset {
    char name[CKPT_NAME_MAX]; /* "/params/model.norm.weight" */
    bool is_f32, is_text;
    int n_dims;
    uint64_t dims[2];
    uint64_t bytes;
    int64_t offset;       /* in the file */
    uint64_t first_block; /* its number in the file; the dataset has ckpt_n_blocks(bytes) */
};

struct ckpt_index {
    struct ckpt_dataset *dataset;
    size_t n;
    uint32_t *crc; /* [n_blocks] */
    size_t n_blocks;
};

static inline uint64_t ckpt_n_blocks(uint64_t bytes)
{
    return bytes / CKPT_BLOCK + (bytes % CKPT_BLOCK != 0);
}

/* Zeroed room for n datasets. E_MEM. */
int ckpt_index_init(struct ckpt_index *x, size_t n);
void ckpt_index_release(struct ckpt_index *x);
/* Numbers the blocks from the datasets' sizes and makes room for their sums. E_MEM. */
int ckpt_index_number(struct ckpt_index *x);
/* Opens a published file and checks all that can be checked without reading the payload: format,
 * commit mark, the table's hash, and each dataset's type and place. E_DATA. Local. */
int ckpt_index_load(struct ckpt_index *x, const char *path);
/* The same by root, for every rank. Collective. */
int ckpt_index_open(const struct comm *c, struct ckpt_index *x, const char *path);
/* The number of the dataset, or -1. */
int64_t ckpt_index_find(const struct ckpt_index *x, const char *name);
/* Dataset of a block; *at and *n (may be NULL): where the block lies in the dataset, bytes. */
const struct ckpt_dataset *ckpt_block(const struct ckpt_index *x, size_t block, uint64_t *at,
                                      size_t *n);
/* Reads a block into buf (CKPT_BLOCK bytes) and compares its sum; the fault, named with dataset and
 * block, has the code `code`. Local. */
int ckpt_block_check(const struct ckpt_index *x, size_t block, int fd, void *buf, const char *path,
                     int code);
/* "/kind/tensor" into buf of CKPT_NAME_MAX. E_BUG when too long. */
int ckpt_dataset_name(char *buf, const char *kind, const char *tensor);
/* The format number that a file names, or -1 when it is no readable checkpoint. */
int64_t ckpt_format(const char *path);

#endif
