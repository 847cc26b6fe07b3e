#ifndef STORAGE_LOG_DIR_H
#define STORAGE_LOG_DIR_H

/* One log directory: a folder of log.dirs, with its partitions' folders and a few files of its own.
 *
 *   .lock                              held while the node runs
 *   meta.properties                    whose directory it is (meta_properties.h)
 *   .kafka_cleanshutdown               written by a clean stop, consumed at the next start
 *   .trivet-run                        ours: boot id and broker epoch of the newest run
 *   recovery-point-offset-checkpoint, replication-offset-checkpoint, log-start-offset-checkpoint,
 *   cleaner-offset-checkpoint
 *   <topic>-<partition>/               one log
 *   <topic>-<partition>.<id>-delete/   one being removed; likewise -future and -stray
 *
 * Apache Kafka refuses folders that it cannot name, but not unknown files: .trivet-run is a file.
 *
 * Everything blocks on the disk: start-up and the pool. One caller at a time per directory. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/base/clock.h"
#include "protocol/base/span.h"
#include "protocol/base/status.h"
#include "protocol/base/uuid.h"
#include "storage/checkpoint.h"
#include "storage/files.h"
#include "storage/log.h"
#include "storage/meta_properties.h"

#define LOG_DIR_BOOT_ID_CHARS 36 /* /proc/sys/kernel/random/boot_id without its newline */

#define LOG_DIR_CHECKPOINT_KINDS 4 /* enum log_dir_checkpoint */

struct log_dir {
    struct files *files;         /* borrowed */
    char *path;                  /* owned */
    struct file *lock;           /* held */
    bool formatted;              /* has a meta.properties */
    struct meta_properties meta; /* when formatted */
    /* owned: the checkpoints as this run wrote them last */
    struct bytes_mut written[LOG_DIR_CHECKPOINT_KINDS];
};

/* Locks the directory, making it when missing, and reads its meta.properties.
 *
 * KAFKA_STORAGE_ERROR  sys_errno EWOULDBLOCK: another process has it. Others as the file calls say.
 *                      A file that is no meta.properties: sys_errno 0.
 * error->text is a sentence for the operator in each case. Nothing stays open. */
struct status log_dir_open(struct files *fs, const char *path, struct log_dir *out,
                           struct meta_error *error);

/* Unlocks; frees what log_dir_open took. Fine on a zeroed one. */
void log_dir_close(struct log_dir *d);

/* Gives an empty directory its meta.properties, or one of version 0 or without directory.id what it
 * lacks. The directory id comes from random unless the caller put one into d->meta. No-op when
 * nothing is missing. cluster_id has at most META_CLUSTER_ID_CHARS_MAX characters. */
struct status log_dir_format(struct log_dir *d, const char *cluster_id, int32_t node_id,
                             struct random *random);

/* ---- what the run before left ---- */

struct log_dir_history {
    enum log_trust trust;
    bool cache_distrusted; /* what memory holds of its files may not be what the disk has:
                            * files_drop_cached_tree first */
    int64_t broker_epoch;  /* of the run before, whether it stopped or crashed; -1 unknown */
};

/* What .trivet-run says. */
struct log_dir_run {
    char boot_id[LOG_DIR_BOOT_ID_CHARS + 1];
    int64_t broker_epoch; /* -1 unknown */
};

/* The two files' texts, for those who only look. The epoch of a clean-shutdown file, -1 when it
 * says none; false when the other is not one of ours. */
int64_t log_dir_parse_clean_shutdown(struct bytes text);
bool log_dir_parse_run(struct bytes text, struct log_dir_run *out);

/* Reads .kafka_cleanshutdown and .trivet-run. boot_id: the machine's now, LOG_DIR_BOOT_ID_CHARS
 * characters; empty when it cannot be known, which is another boot. An unreadable clean-shutdown
 * file still means a clean stop. */
struct status log_dir_read_history(struct log_dir *d, struct str boot_id,
                                   struct log_dir_history *out);

/* Before the first write of a run: removes .kafka_cleanshutdown, durably, and records the boot.
 * broker_epoch is the history's (a registration may never come). */
struct status log_dir_begin_run(struct log_dir *d, struct str boot_id, int64_t broker_epoch);

/* At registration: the epoch to be told as PreviousBrokerEpoch after a crash; -1 when a crash of
 * this run could lose something acknowledged (log.flush.before.ack=false) or recovery found
 * damage. */
struct status log_dir_record_epoch(struct log_dir *d, struct str boot_id, int64_t broker_epoch);

/* A sync failed: what the disk refused may stay in memory, marked as written. The boot is taken out
 * of what the run has recorded, in place: no space is asked of the disk, and whoever reads it back
 * on this boot reads it from that very memory. On the next boot it matters no more. */
struct status log_dir_distrust(struct log_dir *d);

/* After everything else of a clean stop. */
struct status log_dir_end_run(struct log_dir *d, int64_t broker_epoch);

/* ---- checkpoints ---- */

enum log_dir_checkpoint {
    LOG_DIR_RECOVERY_POINTS,
    LOG_DIR_HIGH_WATERMARKS,
    LOG_DIR_LOG_STARTS,
    LOG_DIR_CLEANED, /* how far compaction has cleaned */
    LOG_DIR_CHECKPOINT_COUNT,
};

/* Adds to *out what the file says; a missing file says nothing. A damaged one is
 * KAFKA_STORAGE_ERROR with sys_errno 0, *error set and *out empty: the caller may go on as if it
 * were missing, at the cost of a longer recovery. */
struct status log_dir_read_checkpoint(struct log_dir *d, enum log_dir_checkpoint which,
                                      struct offset_map *out, struct checkpoint_error *error);
/* A checkpoint that says nothing new is not written again: an idle broker leaves its disk alone,
 * and each of these writes is a commit of the file system's journal that flushes wait for.
 * *written: it was, and every name in the directory is durable with it. */
struct status log_dir_write_checkpoint(struct log_dir *d, enum log_dir_checkpoint which,
                                       const struct offset_map *offsets, bool *written);

/* ---- partitions' folders ---- */

enum log_dir_entry_kind {
    LOG_DIR_LOG,     /* <topic>-<partition>; __cluster_metadata-0 too */
    LOG_DIR_DELETED, /* <topic>-<partition>.<id>-delete */
    LOG_DIR_FUTURE,
    LOG_DIR_STRAY,
    LOG_DIR_FOREIGN, /* a folder that is none of these */
};

struct log_dir_entry {
    enum log_dir_entry_kind kind;
    struct str topic; /* borrowed from the name; null when foreign */
    int32_t partition;
};

/* What a folder's name says. */
struct log_dir_entry log_dir_parse_name(struct str name);

/* entry and name are borrowed for the call. */
typedef void log_dir_visit(void *arg, const struct log_dir_entry *entry, const char *name);

/* Visits each folder of the directory. "lost+found" and names that start with '.' are left out. */
struct status log_dir_list(struct log_dir *d, log_dir_visit *visit, void *arg);

#define LOG_DIR_FOLDER_CHARS_MAX 255

/* "<topic>-<partition>"; with a suffix other than LOG_DIR_LOG "<topic>-<partition>.<32 hex
 * digits>-delete", the topic cut so that the name stays within 255 characters, as Apache Kafka
 * does. False when topic is too long. */
bool log_dir_format_name(struct str topic, int32_t partition, enum log_dir_entry_kind kind,
                         struct uuid unique, char out[LOG_DIR_FOLDER_CHARS_MAX + 1]);

#endif
