/* A file without a name: bytes are added at its end and read back from anywhere. Gone when the
 * process is. */
#ifndef CARAT_DATA_SPOOL_H
#define CARAT_DATA_SPOOL_H

#include <stddef.h>
#include <stdint.h>

struct spool {
    int fd;
    char *buf;
    size_t fill;
    int64_t flushed; /* bytes in the file */
};

/* In the folder that holds path. E_IO, E_MEM. Release also after a failure. */
int spool_init(struct spool *s, const char *path);
void spool_release(struct spool *s);
int spool_add(struct spool *s, const void *data, size_t n);
/* Bytes added so far. */
int64_t spool_bytes(const struct spool *s);
int spool_read(struct spool *s, void *out, size_t n, int64_t offset);
/* Writes out what is still in memory: the descriptor then shows all. */
int spool_flush(struct spool *s);

#endif
