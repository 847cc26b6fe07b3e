#ifndef STORAGE_FILES_H
#define STORAGE_FILES_H

/* The file interface: everything Trivet does to a disk goes through here.
 *
 * Two implementations: files_real.h (Linux; descriptors from a bounded cache) and files_sim.h
 * (memory; knows what is durable, crashes on demand, fails the Nth call, fills up, slows down,
 * flips bits).
 *
 * Every call may block on the disk and may be made from any thread; calls on one file may overlap
 * as long as writers do not overlap each other. Paths are NUL-terminated. Failures are
 * KAFKA_STORAGE_ERROR with errno in sys_errno (ENOENT, EEXIST, ENOSPC, EIO … mean what they mean in
 * Linux). */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "protocol/base/span.h"
#include "protocol/base/status.h"

struct files;
struct file; /* one open file, however many descriptors it has at the moment (often none) */

enum file_open_flags {
    FILE_READ_ONLY = 0,
    FILE_WRITE = 1,     /* reading too */
    FILE_CREATE = 2,    /* with FILE_WRITE: made when missing */
    FILE_EXCLUSIVE = 4, /* with FILE_CREATE: EEXIST when there */
    FILE_TRUNCATE = 8,
};

struct file_stat {
    int64_t size;
    int64_t mtime_ms;
    bool is_directory;
};

/* name: the entry's own name, borrowed for the call. */
typedef void files_visit(void *arg, const char *name, bool is_directory);

struct files_ops {
    /* --- a file --- */
    struct status (*open)(struct files *fs, const char *path, int flags, struct file **out);
    void (*close)(struct files *fs, struct file *f);
    /* Reads until size bytes or the end of the file; *got says how many. */
    struct status (*read)(struct files *fs, struct file *f, void *buffer, size_t size, int64_t at,
                          size_t *got);
    /* As read, but never waits for the disk: *cold = true, nothing read, when any byte is not in
     * memory. */
    struct status (*read_nowait)(struct files *fs, struct file *f, void *buffer, size_t size,
                                 int64_t at, size_t *got, bool *cold);
    /* Writes all of it at a position, or fails; after a failure any part of the range may be
     * written. */
    struct status (*write)(struct files *fs, struct file *f, const struct iovec *parts,
                           int part_count, int64_t at);
    struct status (*size)(struct files *fs, struct file *f, int64_t *out);
    struct status (*truncate)(struct files *fs, struct file *f, int64_t size);
    /* Content and size are durable when it returns (fdatasync). Never retried after a failure: the
     * kernel may have dropped the dirty pages and would report success the second time. */
    struct status (*sync)(struct files *fs, struct file *f);
    /* Starts writing dirty bytes of a range without waiting; best effort. */
    void (*sync_start)(struct files *fs, struct file *f, int64_t at, int64_t size);
    /* Lets go of what memory holds of a file that is on the disk, or that a failed sync left marked
     * so, so that it is read from the disk next. Bytes that are still to be written stay. ENOENT:
     * no such file. */
    struct status (*drop_cached)(struct files *fs, const char *path);
    /* A descriptor to sendfile from, kept open until file_unpin; -1 when the implementation has
     * none. */
    int (*pin)(struct files *fs, struct file *f);
    void (*unpin)(struct files *fs, struct file *f);
    /* --- names --- */
    struct status (*rename)(struct files *fs, const char *from, const char *to); /* replaces `to` */
    /* a file; ENOENT is an error */
    struct status (*remove)(struct files *fs, const char *path);
    /* Mode 0400, as Kafka's snapshots have: written once, never again. Not durable by itself. */
    struct status (*make_read_only)(struct files *fs, const char *path);
    /* Sets the modification time. Not durable by itself. */
    struct status (*set_modified)(struct files *fs, const char *path, int64_t mtime_ms);
    struct status (*make_directory)(struct files *fs, const char *path);
    struct status (*remove_directory)(struct files *fs, const char *path); /* must be empty */
    struct status (*list)(struct files *fs, const char *path, files_visit *visit, void *arg);
    struct status (*stat)(struct files *fs, const char *path, struct file_stat *out);
    /* How large the file system is that holds path, and how much of it may still be written. */
    struct status (*space)(struct files *fs, const char *path, int64_t *total_bytes,
                           int64_t *usable_bytes);
    /* The entries of a directory are durable when it returns. */
    struct status (*sync_directory)(struct files *fs, const char *path);
    /* Everything of the file system that holds path is durable when it returns (syncfs). */
    struct status (*sync_filesystem)(struct files *fs, const char *path);
    /* Exclusive for the life of the process or until unlock; EWOULDBLOCK when another one holds
     * it. */
    struct status (*lock)(struct files *fs, const char *path, struct file **out);
    void (*unlock)(struct files *fs, struct file *f);
};

struct files {
    const struct files_ops *ops;
};

/* One small file as a whole. The bytes are the caller's to free(); at most size_max, else EFBIG. */
struct status files_read_whole(struct files *fs, const char *path, size_t size_max,
                               struct bytes_mut *out);

/* Replaces path by content, atomically and durably: writes path + ".tmp", syncs, renames, syncs the
 * directory. After a failure path is as it was, or (when only the last sync failed) has all of the
 * new content, not surely durable; a left-over .tmp is overwritten the next time. */
struct status files_replace(struct files *fs, const char *path, struct bytes content);

/* Makes a directory and its missing parents; fine when it is there. */
struct status files_make_directories(struct files *fs, const char *path);

/* drop_cached for every file in and below a directory; fine when one is gone meanwhile. */
struct status files_drop_cached_tree(struct files *fs, const char *path);

/* Removes a directory and everything in it; fine when it is not there. */
struct status files_remove_tree(struct files *fs, const char *path);

#endif
