#ifndef STORAGE_FILES_SIM_DISK_H
#define STORAGE_FILES_SIM_DISK_H

/* The disk behind files_sim.c: inodes, each as it is now and as a crash would leave it.
 *
 * Content is kept in extents of 4 KiB. An extent that differs from the disk has a mask of dirty
 * sectors, and `disk` holds what the disk has. Names live in a directory's table, each with the
 * inode it has now and the one it has on the disk; the changes between the two are a list of
 * operations, in the order in which they were made, until the directory is synced. Not
 * thread-safe. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <uthash.h>

#include "protocol/base/span.h"

#define SIM_EXTENT_BYTES 4096
#define SIM_SECTOR_BYTES 512

struct sim_extent {
    uint8_t *now;   /* NULL: zeros */
    uint8_t *disk;  /* when a sector is dirty or doomed; NULL: zeros */
    uint8_t dirty;  /* sectors not synced */
    uint8_t doomed; /* sectors whose sync failed: no later sync writes them, unless written again */
};

struct sim_entry;

struct sim_inode {
    uint32_t references; /* entries (now and disk), operations, handles */
    uint32_t links; /* entries that name it now, and handles: it takes space while there is one */
    bool is_directory;
    uint64_t locked_by; /* the process (counted from 1) that holds the lock; 0: none */
    uint64_t warm;      /* the cold round in which it was last read or written */
    int64_t mtime_ms;
    /* a file's */
    struct sim_extent *extents;
    size_t extent_count;
    size_t dirty_from, dirty_end; /* extents outside are clean */
    int64_t size;
    int64_t disk_size;
    uint64_t failed_syncs; /* that left doomed sectors */
    /* a directory's */
    uint64_t sync_failed_by; /* the process whose sync of the file system at it failed; 0: none */
    struct sim_entry *entries;
};

struct sim_entry {
    struct sim_inode *now;  /* NULL: no such name now */
    struct sim_inode *disk; /* NULL: no such name on the disk */
    UT_hash_handle hh;
    char name[];
};

/* A change of names that is not on the disk yet: from (may be null) loses inode, to (may be null)
 * gets it. */
struct sim_operation {
    struct sim_operation *prev, *next;
    struct sim_inode *inode;
    struct sim_inode *from_directory, *to_directory;
    char *from_name, *to_name;
};

struct sim_disk {
    struct sim_inode *root;
    struct sim_operation *operations; /* oldest first */
    int64_t used_extents;
    int64_t extents_max; /* 0: no bound */
};

void sim_disk_init(struct sim_disk *d);
void sim_disk_free(struct sim_disk *d);

/* ---- names: 0 or an errno ---- */

/* The inode of a path; NULL with *error ENOENT or ENOTDIR. */
struct sim_inode *sim_find(struct sim_disk *d, const char *path, int *error);
/* The directory of a path and its last component; NULL with *error. */
struct sim_inode *sim_find_parent(struct sim_disk *d, const char *path, struct str *name,
                                  int *error);
struct sim_inode *sim_child(const struct sim_inode *directory, struct str name);
/* Makes an empty file or directory; the name must be free. */
struct sim_inode *sim_make(struct sim_disk *d, struct sim_inode *directory, struct str name,
                           bool is_directory);
int sim_remove(struct sim_disk *d, const char *path, bool is_directory);
int sim_rename(struct sim_disk *d, const char *from, const char *to);
bool sim_is_empty(const struct sim_inode *directory);
/* Whether each name on the way is on the disk as it is now. */
bool sim_path_is_durable(const struct sim_disk *d, const char *path);
/* What was done to the names of a directory is on the disk. NULL: of all directories. */
void sim_sync_names(struct sim_disk *d, struct sim_inode *directory);

/* A handle holds the inode. */
void sim_hold(struct sim_disk *d, struct sim_inode *i);
void sim_drop(struct sim_disk *d, struct sim_inode *i);

/* ---- content ---- */

void sim_read(const struct sim_inode *i, void *buffer, size_t size, int64_t at, size_t *got);
/* 0 or ENOSPC, after the part that fits was written. */
int sim_write(struct sim_disk *d, struct sim_inode *i, const uint8_t *data, size_t size,
              int64_t at);
void sim_resize(struct sim_disk *d, struct sim_inode *i, int64_t size);
void sim_sync(struct sim_inode *i);
void sim_fail_sync(struct sim_inode *i);
/* What a failed sync left in memory alone gives way to what the disk has. */
void sim_drop_cached(struct sim_disk *d, struct sim_inode *i);
bool sim_pretends(const struct sim_inode *i); /* a sync failed, and what it was to write is only
                                               * in memory */
bool sim_is_synced(const struct sim_inode *i);
bool sim_flip(struct sim_inode *i, int64_t at, unsigned bit);
void sim_each_file(struct sim_inode *directory, void (*visit)(void *arg, struct sim_inode *i),
                   void *arg);

/* ---- crashes ---- */

/* keep_1024: of 1024 volatile changes, how many are kept, on average. */
struct sim_crash {
    uint64_t random;
    unsigned keep_names_1024;
    unsigned keep_sectors_1024;
};

void sim_disk_crash(struct sim_disk *d, struct sim_crash *c);

#endif
