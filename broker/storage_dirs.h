#ifndef BROKER_STORAGE_DIRS_H
#define BROKER_STORAGE_DIRS_H

/* All log directories of a node, as one: whose they are, what the run before left in them, which of
 * them holds a partition.
 *
 * Opened before any thread runs. Afterwards what is marked [any] may be called from any thread (a
 * mutex guards what changes; none of it is on the data path); what is marked [pool] blocks on the
 * disk. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/base/clock.h"
#include "protocol/base/logger.h"
#include "protocol/base/span.h"
#include "protocol/base/status.h"
#include "protocol/base/uuid.h"
#include "storage/checkpoint.h"
#include "storage/log_dir.h"

struct storage_dirs;

struct storage_dirs_args {
    struct files *files;
    struct random *random;
    struct logger *logger;
    const char *const *paths; /* log.dirs */
    size_t path_count;
    const char *metadata_path; /* metadata.log.dir; may be one of the above. NULL: the first of
                                * them */
    int32_t node_id;
    const char *cluster_id; /* NULL: what the directories say; when they are empty a new random
                             * one */
    struct str boot_id;     /* empty: unknown */
};

/* Locks, checks and (when empty) formats every directory, reads what the run before left, begins
 * the run. Blocks. A directory that cannot be read or written is offline from the start, with a
 * logged reason, as long as another one and the metadata directory can be used. A directory of
 * another cluster or node, a non-empty one that is no log directory, or one in use refuses the
 * start. error->text is a sentence for the operator. */
struct status storage_dirs_open(const struct storage_dirs_args *args, struct storage_dirs **out,
                                struct meta_error *error);

/* Unlocks and frees. */
void storage_dirs_close(struct storage_dirs *d); /* NULL is fine */

const char *storage_dirs_cluster_id(const struct storage_dirs *d);
size_t storage_dirs_count(const struct storage_dirs *d);
const char *storage_dirs_path(const struct storage_dirs *d, size_t dir);
struct uuid storage_dirs_id(const struct storage_dirs *d, size_t dir);
bool storage_dirs_online(struct storage_dirs *d, size_t dir); /* [any] */
/* To be told as PreviousBrokerEpoch: the epoch all directories agree on; -1 when one does not know,
 * is offline, or lost something. */
int64_t storage_dirs_previous_epoch(const struct storage_dirs *d);

/* "<metadata dir>/__cluster_metadata-0", its directory id and how far its files can be trusted. */
const char *storage_dirs_metadata_path(const struct storage_dirs *d);
struct uuid storage_dirs_metadata_id(const struct storage_dirs *d);
enum log_trust storage_dirs_metadata_trust(const struct storage_dirs *d);
/* The metadata directory has no log or snapshot yet: raft_node_format it. */
bool storage_dirs_metadata_empty(const struct storage_dirs *d);

/* Where a partition's log is, or is to be. */
struct storage_place {
    size_t dir;
    bool exists; /* its folder was there at the start: opening it reads the disk */
    enum log_trust trust;
    int64_t recovery_point; /* the checkpoints; 0 where they say nothing */
    int64_t log_start_offset;
    int64_t high_watermark;
    int64_t cleaned_offset;
    char path[4096];
};

/* [any] The directory that holds the partition, or the one online with the fewest, which it then
 * belongs to.
 *
 * KAFKA_STORAGE_ERROR      It belongs to one that is offline, or none is online; or nobody knows
 *                          where it is, and it may be in a directory that was offline from the
 *                          start.
 * OPERATION_NOT_ATTEMPTED  A partition of that name was placed and not forgotten yet: a deleted
 *                          topic's, see storage_dirs_release. Ask again soon. */
struct status storage_dirs_place(struct storage_dirs *d, struct str topic, int32_t partition,
                                 struct storage_place *out);
/* [any] A log directory could not be read at the start: nobody knows what is in it. */
bool storage_dirs_unlisted(const struct storage_dirs *d);
/* [any] As storage_dirs_place, for a partition of which there cannot be a log yet: it was made in
 * this run. (One that moved here may have been here before, in a directory that is offline from the
 * start.) What such a directory may hold does not matter to it. */
struct status storage_dirs_place_new(struct storage_dirs *d, struct str topic, int32_t partition,
                                     struct storage_place *out);
/* [pool] The folder is another topic's of the same name, deleted while this node was away: it gets
 * the suffix "-stray", and the place is released. */
struct status storage_dirs_set_aside(struct storage_dirs *d, struct str topic, int32_t partition,
                                     const struct storage_place *place);

/* [any] The folder is another topic's of the same name, made later than the metadata tells so far:
 * it stays, and waits to be placed again. */
void storage_dirs_put_back(struct storage_dirs *d, struct str topic, int32_t partition);

/* [pool] Folders that were there at the start and belong to no partition of this node any more: it
 * was away when their topic was deleted, or the partition moved. Each gets the suffix "-stray", as
 * in Apache Kafka, and stays; *count is how many. Once every partition that the metadata places
 * here has been placed. */
struct status storage_dirs_set_strays_aside(struct storage_dirs *d, size_t dir, size_t *count);

/* [any] The partition is gone from this node; its folder has another name.
 *
 * Its own name is not free before a round of checkpoints that begins from now on is on the disk.
 * Else a crash of the machine could bring the folder back beside that of a topic of the same name
 * in another directory, and let the old topic's offsets speak for the new one's log. Until then to
 * place it is OPERATION_NOT_ATTEMPTED. */
void storage_dirs_release(struct storage_dirs *d, struct str topic, int32_t partition);
/* [any] A round of checkpoints begins: partitions are asked for their offsets from now on. */
void storage_dirs_begin_round(struct storage_dirs *d);
/* [any] Its checkpoints of that directory are on the disk, and with them the names in it: what was
 * released before it began is forgotten. */
void storage_dirs_end_round(struct storage_dirs *d, size_t dir);

/* [any] A write or sync failed there: nothing is placed or checkpointed in it any more. False when
 * it was offline already. */
bool storage_dirs_fail(struct storage_dirs *d, size_t dir);

/* [pool] A sync may have failed there (storage_dirs_fail, or a log that did not close well): the
 * next start on this boot reads from the disk what memory may only pretend to be on it
 * (log_dir_distrust). Best effort: also the disk that is to remember it has just failed. */
void storage_dirs_distrust(struct storage_dirs *d, size_t dir);
void storage_dirs_distrust_metadata(struct storage_dirs *d); /* the same, of the metadata log's */

/* [pool] One directory's checkpoints (enum log_dir_checkpoint). One call at a time per directory.
 * Does nothing offline. */
struct status
storage_dirs_write_checkpoints(struct storage_dirs *d, size_t dir,
                               const struct offset_map maps[LOG_DIR_CHECKPOINT_COUNT]);
/* [pool] Registration: to be told after a crash, in every directory (-1: a crash may lose
 * something). */
struct status storage_dirs_record_epoch(struct storage_dirs *d, int64_t broker_epoch);
/* [any] Every log is open, and what opening changed is on the disk. From now on
 * storage_dirs_record_epoch records the boot: before that a log may lie there as a restart of the
 * machine left it, and a process that dies must not make the next one believe that the page cache
 * kept it. True when that makes a difference: record it. */
bool storage_dirs_recovered(struct storage_dirs *d);
/* [pool] The last step of a clean stop. */
struct status storage_dirs_end_run(struct storage_dirs *d, int64_t broker_epoch);
/* [pool] Removes the folders of deleted partitions that were there at the start, or were made since
 * by log_delete. */
struct status storage_dirs_sweep(struct storage_dirs *d, size_t dir);

#endif
