#ifndef BROKER_STORAGE_DIRS_INTERNAL_H
#define BROKER_STORAGE_DIRS_INTERNAL_H

/* What storage_dirs.c and storage_dirs_open.c share. */

#include <pthread.h>

#include <uthash.h>

#include "broker/storage_dirs.h"

#define STORAGE_DIRS_MAX 17   /* log.dirs, and a metadata directory of its own */
#define STORAGE_PATH_MAX 4096 /* storage_place's path */

/* A partition's place, by the name of its folder. */
struct storage_entry {
    char name[LOG_DIR_FOLDER_CHARS_MAX + 1];
    size_t dir;
    bool exists; /* it was there at the start */
    bool taken;  /* placed, and not forgotten yet */
    bool gone;   /* let go; forgotten when a round of checkpoints that began later is written */
    uint64_t gone_round;
    UT_hash_handle hh;
};

struct storage_dir {
    char *path; /* owned */
    struct log_dir dir;
    bool online; /* guarded by the mutex once threads run; false also while not opened */
    struct log_dir_history history;
    bool distrusted; /* guarded by the run mutex */
    bool recovered;  /* nothing in it waits for the recovery that a restart of the machine asks
                     * for */
    struct offset_map checkpoints[LOG_DIR_CHECKPOINT_COUNT]; /* as they were at the start */
    bool rewritten; /* the checkpoints on the disk are of this run */
    size_t partition_count;
    bool has_cleaned; /* there may be a cleaner-offset-checkpoint */
};

struct storage_dirs {
    pthread_mutex_t mutex; /* guards random, online, recovered, entries, round, partition_count
                            * and checkpoints */
    pthread_mutex_t run;   /* taken before `mutex`, by who changes what a directory says of this
                          * run; held over its writes */
    struct storage_dir all[STORAGE_DIRS_MAX];
    struct files *files;
    struct random *random;
    size_t count;     /* log.dirs come first */
    size_t all_count; /* count, or one more: the metadata directory */
    size_t metadata_dir;
    char *metadata_path;
    bool metadata_empty;
    bool unlisted; /* some directory could not be read: nobody knows what is in it */
    int64_t previous_epoch;
    char cluster_id[META_CLUSTER_ID_CHARS_MAX + 1];
    char boot_id[LOG_DIR_BOOT_ID_CHARS + 1];
    struct storage_entry *entries;
    uint64_t round; /* of checkpoints */
    size_t gone_count;
};

/* Before threads run, or with the mutex held. */
struct storage_entry *storage_dirs_add(struct storage_dirs *d, const char *name, size_t dir);
/* The boot to be recorded in a directory. Before threads run, or with both mutexes held. */
struct str storage_dirs_boot(const struct storage_dirs *d, size_t dir);
/* NULL: not there */
struct storage_entry *storage_dirs_find(struct storage_dirs *d, const char *name);

#endif
