/* Room on the disk before HDF5 wants it: HDF5 1.10 does not survive a write that fails. Where the
 * close of a file fails it frees the file but keeps its number, and crashes over it in the end. */
#ifndef CARAT_IO_H5X_PARTS_H
#define CARAT_IO_H5X_PARTS_H

#include <hdf5.h>
#include <stdint.h>

/* Reserves the file's first `bytes` bytes without making it longer. File systems that cannot are
 * asked for their free space. E_IO. */
int room_reserve(const char *path, int64_t bytes);
/* An empty piece of memory behind a descriptor. E_IO. */
int room_memory(int *memory);
/* Every descriptor of the file that this process has becomes one of the memory: HDF5 finds only
 * there what it wrote before, and what it writes from then on cannot fail. */
void room_divert(const char *path, int memory);
/* Copies what was written into the memory, and the length, to the file. E_IO. */
int room_copy(int memory, const char *path);

/* h5x_create with all of HDF5's own structures in one place at the beginning, up to so many bytes;
 * 0: wherever they come to lie. */
int create_packed(hid_t *file, const char *path, hsize_t own_bytes);

#endif
