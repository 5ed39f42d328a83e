/* Files that survive: full reads and writes, fsync, atomic publishing by rename. All local. */
#ifndef CARAT_BASE_FS_H
#define CARAT_BASE_FS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FS_PATH_MAX 4096

/* a/b into buf (FS_PATH_MAX bytes); E_CONFIG when too long. */
int fs_join(char *buf, const char *a, const char *b);
bool fs_exists(const char *path);
bool fs_is_dir(const char *path);
/* Neither a folder nor a pipe, terminal or the like: opening those could wait for ever. */
bool fs_is_file(const char *path);
/* Bytes of a file, or -1. */
int64_t fs_size(const char *path);
/* Makes the folder and its parents; fine when it exists. E_IO. */
int fs_mkdirs(const char *path);

/* The whole n bytes at an offset, through short writes and EINTR, at most 512 MiB a call. E_IO
 * names path (for the message only). */
int fs_pwrite(int fd, const void *buf, size_t n, int64_t offset, const char *path);
/* The same for reading; a file that ends early is E_DATA. */
int fs_pread(int fd, void *buf, size_t n, int64_t offset, const char *path);
/* Reads a file to its end and keeps nothing, with a call of `still` for each piece: E_IO when any
 * of it cannot be read, E_DATA when it is not there. For the main thread. */
int fs_read_through(const char *path, void (*still)(void *ctx), void *ctx);

/* A whole file into fresh memory (mem_free), with a NUL byte behind it. Refuses more than max
 * bytes (0: no limit) with E_DATA. */
int fs_read_file(const char *path, size_t max, char **out, size_t *n);
/* "<path>.tmp.<host>.<pid>" into FS_PATH_MAX bytes: a name beside path that no other process uses,
 * on this host or another. E_IO when too long. */
int fs_temp_name(char *temp, const char *path);
/* Writes a temporary name beside path, fsyncs, renames over path, fsyncs the folder. */
int fs_write_file(const char *path, const void *data, size_t n);
/* The same, if `may` (NULL: yes) is OK once the bytes are on the disk; its error otherwise. */
int fs_write_file_if(const char *path, const void *data, size_t n, int (*may)(void *ctx),
                     void *ctx);
/* Another name for a file that is never changed, or a copy where file systems cannot do that; what
 * is there under that name stays. */
int fs_share(const char *from, const char *to);
/* The same for a file that is written once: by link, so that of any number of processes on any
 * nodes one succeeds and the others find *exists. */
int fs_write_new(const char *path, const void *data, size_t n, bool *exists);
/* Renames and makes the rename durable. */
int fs_rename(const char *from, const char *to);
/* Takes a file's name away; its blocks may be freed a little later, while the caller goes on. A
 * name that is not there is fine. E_IO. */
int fs_remove(const char *path);
/* fsync of a file by name or of the folder that holds path. Never retried. */
int fs_fsync(const char *path);
int fs_fsync_parent(const char *path);
/* Free bytes on the file system that holds path, or -1. */
int64_t fs_free_bytes(const char *path);

#endif
