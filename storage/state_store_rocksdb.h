#ifndef STORAGE_STATE_STORE_ROCKSDB_H
#define STORAGE_STATE_STORE_ROCKSDB_H

/* The state store on RocksDB, in a directory as state_dir.h has it.
 *
 * Memory: the cache, the write buffers, some hundred KiB for the rest. Threads: three of RocksDB's
 * own, asleep when there is nothing to do; they are the process's, whichever store made them. */

#include "storage/files.h"
#include "storage/state_store.h"

struct state_store_options {
    size_t cache_bytes; /* blocks, and the indexes of files, read from the disk */
    size_t write_bytes; /* of batches in memory: from half of that on they are written to files */
    int open_files_max;
};

#define STATE_STORE_OPTIONS_DEFAULT                                                                \
    ((struct state_store_options){                                                                 \
        .cache_bytes = 32 << 20, .write_bytes = 16 << 20, .open_files_max = 128})

/* [pool] Opens the store of a directory, or makes one; missing parents are made too.
 *
 * A store of an older format, one that was not finished and one that is damaged are thrown away,
 * and a fresh one is opened: report->rebuilt and why.
 *
 * UNSUPPORTED_VERSION  its format is newer than this program's. Left as it is.
 * KAFKA_STORAGE_ERROR  sys_errno EWOULDBLOCK: another process has it. Else the disk failed, is
 *                      full, or permission is missing: nothing was thrown away for that.
 * report->why says it in a sentence in each case. `fs` (the real one: RocksDB knows no other) is
 * borrowed until close. */
struct status state_store_rocksdb_open(struct files *fs, const char *dir,
                                       const struct state_store_options *options,
                                       struct state_store_report *report, struct state_store **out);

#endif
