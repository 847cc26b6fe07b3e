#ifndef STORAGE_LOG_H
#define STORAGE_LOG_H

/* One partition's log: segments as one sequence of record batches.
 *
 *   log start offset <= high watermark (the partition's business) <= flushed end <= log end offset
 *
 * A log belongs to one loop; everything here runs on it, except what is marked [pool]: those block
 * on the disk. Between log_x_begin and log_x_end of a pool call the loop goes on using the log.
 *
 * A log whose write or flush failed is offline: each later call answers KAFKA_STORAGE_ERROR, and
 * what was acknowledged before stays on the disk for the next start. Files appear at the first
 * append; an empty log that was never written has no directory. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/base/arena.h"
#include "protocol/base/clock.h"
#include "protocol/base/logger.h"
#include "protocol/base/span.h"
#include "protocol/base/status.h"
#include "protocol/base/uuid.h"
#include "protocol/record_batch_validate.h"
#include "storage/files.h"
#include "storage/log_config.h"

struct log;
struct segment;

/* Base offsets end here: whatever a batch holds, the offset behind it can be told. */
#define LOG_OFFSET_MAX (INT64_MAX - INT32_MAX - 1)

struct log_args {
    struct files *files;
    struct clock *clock;
    const char *directory; /* "<log dir>/<topic>-<partition>"; copied */
    struct uuid topic_id;  /* for partition.metadata; a directory with another id is refused */
    const struct log_config *config; /* borrowed until log_set_config or close; shared by a
                                      * topic's logs */
    int64_t producer_id_expiration_ms;
    struct compression_scratch *scratch; /* the loop's; borrowed. NULL: compressed batches are
                                          * refused */
    struct logger *logger;               /* may be NULL */
    /* Nobody is promised more than the page cache keeps: no append waits for the disk, also where
     * it would have to for the names of segments to become durable in their order. */
    bool page_cache_is_enough;
    /* What the checkpoints of the log directory say; 0 where they say nothing. */
    int64_t recovery_point;
    int64_t high_watermark; /* what lies above it may have been cut, and written anew, since that
                             * was flushed */
    int64_t log_start_offset;
    int64_t cleaned_offset; /* of the cleaner's checkpoint */
    /* How far the files can be trusted (DESIGN: recovery). CLEAN: indexes and snapshots as they
     * are. SAME_BOOT: the process died, the page cache did not: the last batches of the newest
     * segment are checked before serving. OTHER_BOOT: everything from the recovery point on is
     * checked first. */
    enum log_trust { LOG_TRUST_CLEAN, LOG_TRUST_SAME_BOOT, LOG_TRUST_OTHER_BOOT } trust;
};

struct log_recovery_report {
    int64_t truncated_bytes; /* of a torn or damaged tail */
    int64_t truncated_to;    /* log end after that */
    bool indexes_rebuilt;
    bool damaged; /* more than a torn tail: something below the recovery point was bad */
};

/* [pool] Opens and recovers. *out is owned by the caller. Errors leave nothing open:
 * KAFKA_STORAGE_ERROR     an I/O error (sys_errno), or files that cannot be a log.
 * INCONSISTENT_TOPIC_ID   partition.metadata names another topic. */
struct status log_open(const struct log_args *args, struct log **out,
                       struct log_recovery_report *report);

/* [pool] Syncs, trims the indexes, writes a producer snapshot at the log end when clean; frees the
 * log, also when that fails. No flush is under way. */
struct status log_close(struct log *l, bool clean);

/* [pool] For closing many logs at once: all that a clean close writes, but nothing synced. The
 * caller then syncs the file system of the log directory, and closes each log with clean =
 * false. */
struct status log_settle(struct log *l);
/* A clean close has nothing to write. */
bool log_settled(const struct log *l);

void log_set_config(struct log *l, const struct log_config *config);

int64_t log_start_offset(const struct log *l);
int64_t log_end_offset(const struct log *l);
int64_t log_flushed_end_offset(const struct log *l); /* all below is durable */
/* For the checkpoint: the flushed end, or what is not checked yet after a quick start
 * (log_verify_begin), so that a kill in between forgets none of it. */
int64_t log_recovery_point(const struct log *l);
int64_t log_size_bytes(const struct log *l);
/* End of what compaction has cleaned; 0: nothing. For the cleaner's checkpoint. */
int64_t log_cleaned_offset(const struct log *l);
bool log_offline(const struct log *l);
/* The newest epoch in the leader epoch cache; -1 when empty. */
int32_t log_latest_epoch(const struct log *l);
/* Why it is offline: the failed step; STATUS_OK while it is not. */
struct status log_offline_reason(const struct log *l);
/* Takes the log offline for a reason found elsewhere: its directory failed. */
void log_fail(struct log *l, struct status reason);
/* Least offset of a transaction that is open, or whose marker is not yet below the high watermark;
 * else the log end. The last stable offset is the lesser of it and the high watermark. */
int64_t log_first_unstable_offset(const struct log *l);
/* To be called when the high watermark moves: ended transactions below it become stable. */
void log_high_watermark_moved(struct log *l, int64_t high_watermark);

/* ---- writing ---- */

enum log_origin {
    LOG_ORIGIN_CLIENT,      /* validated as deeply as Kafka validates a produce request */
    LOG_ORIGIN_COORDINATOR, /* a broker's own records, control batches among them */
    LOG_ORIGIN_RAFT,        /* the metadata log: no producer state, no timestamp checks */
};

struct log_appended {
    int64_t base_offset; /* of the first record; of the old append when `duplicate` */
    int64_t last_offset;
    int64_t log_append_time_ms; /* -1 with CreateTime */
    int64_t log_start_offset;
    bool duplicate; /* an idempotent producer's batch that is there already: nothing written */
};

/* Appends whole v2 batches to a log this broker leads.
 *
 * records  The wire bytes. Borrowed; base offset and leader epoch of each batch are rewritten
 *          in place (and with LogAppendTime the max timestamp, the type bit and the CRC).
 * refusal  May be NULL. Written only when the answer is an error.
 *
 * NONE                          In the page cache, not yet flushed.
 * CORRUPT_MESSAGE               Length, magic, CRC or records do not fit.         Nothing written.
 * MESSAGE_TOO_LARGE             Of clients: max.message.bytes.                    Nothing written.
 * RECORD_LIST_TOO_LARGE         segment.bytes.                                    Nothing written.
 * INVALID_RECORD, INVALID_TIMESTAMP, UNSUPPORTED_COMPRESSION_TYPE, UNSUPPORTED_FOR_MESSAGE_FORMAT
 * OUT_OF_ORDER_SEQUENCE_NUMBER, INVALID_PRODUCER_EPOCH, INVALID_TXN_STATE,
 * TRANSACTION_COORDINATOR_FENCED                                                  Nothing written.
 * KAFKA_STORAGE_ERROR           The write failed; the log is offline. */
struct status log_append_as_leader(struct log *l, struct bytes_mut records, int32_t leader_epoch,
                                   enum log_origin origin, struct log_appended *out,
                                   struct record_refusal *refusal);

/* Appends batches as a leader gave them: offsets and epochs stay. CORRUPT_MESSAGE, or
 * OFFSET_OUT_OF_RANGE when they do not follow the log end or are beyond LOG_OFFSET_MAX: nothing
 * written. A partial batch at the end is ignored (Kafka cuts an answer at its byte limit), as are
 * batches too far behind the first one for one segment: they come again.
 *
 * Where log_starts_within them, the log is begun anew at the base offset of the first batch, and
 * its start stays: that syncs, so nothing else may be at work on the log, as in
 * log_truncate_fully. */
struct status log_append_as_follower(struct log *l, struct bytes_mut records,
                                     enum log_origin origin, struct log_appended *out);
/* The log is empty, and starts within the first batch: the leader's records were deleted up to
 * there. */
bool log_starts_within(const struct log *l, struct bytes records);

/* ---- flushing ---- */

/* What one flush covers. Zeroed before log_flush_begin; holds references until log_flush_end. */
struct log_flush {
    int64_t end_offset; /* durable up to here when it succeeded */
    int file_count;     /* files and directories that it will sync */
    void *impl;
};

/* Fills *out and answers true when there is something to flush. One at a time per log. */
bool log_flush_begin(struct log *l, struct log_flush *out);
/* [pool] Syncs segment files (and directory entries that are new). */
struct status log_flush_run(struct log_flush *f);
/* [pool] Instead of log_flush_run, when the caller then syncs the whole file system: only writes
 * what is kept beside the segments (epochs, producer snapshot). */
struct status log_flush_write(struct log_flush *f);
/* [pool] After that, and the sync: what may take its name only once it is on the disk does (epochs
 * of a compacted log); when *placed was set by it, the file system is to be synced again. `durable`
 * false: nothing was synced yet, and that file is first. */
struct status log_flush_place(struct log_flush *f, bool durable, bool *placed);
/* A range of the newest segment that the kernel is to start writing, ahead of a flush that is to
 * come. */
struct log_write_out {
    struct segment *segment; /* a reference */
    int64_t position;
    int64_t size;
};

/* Fills *out and answers true when enough has been appended since the last one to be worth a
 * call. */
bool log_write_out_begin(struct log *l, struct log_write_out *out);
/* [pool] Asks the kernel, which may take its time over it. */
void log_write_out_run(struct log_write_out *w);
/* On the loop again; the log may be gone by then. */
void log_write_out_end(struct log_write_out *w);

/* Moves the flushed end, or takes the log offline when result failed. */
void log_flush_end(struct log *l, struct log_flush *f, struct status result);

/* ---- reading ---- */

/* Bytes of one segment that hold whole batches, with a reference on the segment: deletion and
 * truncation of the log leave the bytes readable until log_slice_release. */
struct log_slice {
    struct segment *segment; /* owned reference; NULL when empty */
    int64_t position;        /* in the segment's .log file */
    size_t size;             /* 0: nothing to read at that offset now */
    int64_t base_offset;     /* of the first batch (may be below the asked offset) */
    int64_t log_start_offset;
    bool cold; /* the lookup itself would have waited for the disk: see log_slice_locate */
    /* what log_slice_locate needs */
    int64_t wanted_offset;
    int64_t end_offset;
    size_t max_bytes;
    bool min_one;
    int64_t limit;          /* bytes of the segment that could be read then */
    int64_t limit_offset;   /* what follows them */
    uint32_t index_entries; /* of its offset index, in the file then */
};

struct log_read_args {
    int64_t offset;
    int64_t end_offset; /* exclusive: high watermark, last stable offset or log end, as the
                         * reader may */
    size_t max_bytes;
    bool min_one; /* give the first batch even if it is larger than max_bytes */
};

/* Finds the bytes; reads at most index entries and batch heads, and none of them from the disk:
 * where they are not in memory the slice is `cold`, holds the segment, and is to be located in the
 * pool.
 *
 * OFFSET_OUT_OF_RANGE  Below the log start or above the log end. *out untouched. */
struct status log_read(struct log *l, const struct log_read_args *args, struct log_slice *out);
/* [pool] Completes a cold slice. */
struct status log_slice_locate(struct log_slice *s);
/* [pool] or when warm: copies part of a slice. `cold_out` NULL: waits for the disk. */
struct status log_slice_read(const struct log_slice *s, size_t at, void *buffer, size_t size,
                             bool *cold_out);
/* Whether all bytes of the slice are, as far as can be told cheaply, in the page cache. */
bool log_slice_is_warm(const struct log_slice *s);
/* A descriptor for sendfile (-1: none, use log_slice_read), valid until unpin. Any thread. */
int log_slice_pin(const struct log_slice *s);
void log_slice_unpin(const struct log_slice *s);
/* Any thread. */
void log_slice_release(struct log_slice *s);

/* ---- looking things up ---- */

struct log_time_offset {
    int64_t offset; /* -1: no such record */
    int64_t timestamp_ms;
    int32_t leader_epoch;
};

/* A lookup by time: it holds what it needs to know of the log, and references on the segments; the
 * log may go on, and go. NULL: no memory. */
struct log_lookup;
/* The first record whose timestamp is at least timestamp_ms, below end_offset. */
struct log_lookup *log_lookup_time(struct log *l, int64_t timestamp_ms, int64_t end_offset);
/* The record with the largest timestamp (ListOffsets -3), the first of them. */
struct log_lookup *log_lookup_max_timestamp(struct log *l);
/* [pool], or with `cold` anywhere: *cold says that the answer would have had to wait for the disk,
 * and *out is not written; it may be run again. KAFKA_STORAGE_ERROR, CORRUPT_MESSAGE. */
struct status log_lookup_run(struct log_lookup *k, bool *cold, struct log_time_offset *out);
/* Any thread. */
void log_lookup_free(struct log_lookup *k);

/* Leader epoch that an offset belongs to; -1 when unknown. */
int32_t log_epoch_of_offset(const struct log *l, int64_t offset);
/* OffsetForLeaderEpoch: the largest known epoch <= epoch, and where it ends; of one that ended at
 * or below the log start, the epoch itself, and the log start. {-1, -1} when unknown. */
void log_end_of_epoch(const struct log *l, int32_t epoch, int32_t *epoch_out,
                      int64_t *end_offset_out);
/* The same between replicas: where epochs ended that are deleted, as long as that is remembered
 * (storage/epoch_cache.h). False: it is not, and the epoch ended at *end_offset_out or before. */
bool log_end_of_past_epoch(const struct log *l, int32_t epoch, int32_t *epoch_out,
                           int64_t *end_offset_out);
/* The leader of `epoch` starts at the log end. */
struct status log_start_epoch(struct log *l, int32_t epoch);

/* [pool] where the files may be cold.
 *
 * Aborted transactions that a read-committed reader of [from, to) must know, in the arena. NULL
 * *out and count 0 when there are none. */
struct log_aborted {
    int64_t producer_id;
    int64_t first_offset;
};
struct status log_aborted_transactions(struct log *l, int64_t from, int64_t to, struct arena *a,
                                       struct log_aborted **out, size_t *count);

/* ---- shrinking ---- */

/* Drops everything from offset on. The caller has made sure no one was promised it. Waits for no
 * reader: readers of old segments keep them. Syncs before it returns [pool or the metadata log]. */
struct status log_truncate_to(struct log *l, int64_t offset);
/* Drops everything and starts again at offset. */
struct status log_truncate_fully(struct log *l, int64_t offset);
/* DeleteRecords and followers: raises the log start; whole segments below go at the next
 * maintenance. */
struct status log_raise_start_offset(struct log *l, int64_t offset);

/* Forgets expired producers, and applies retention by time, size and log start to segments wholly
 * below high_watermark: renames them to .deleted and forgets them. Their files are removed by
 * log_take_garbage after file.delete.delay.ms. True when something changed. Reads nothing from the
 * disk: a segment whose age is not known yet stays, with all behind it; see log_ages_begin.
 * Segments wait while a compaction is under way, and while they and the name of the one behind them
 * are not flushed: log_names_wanted says after it that a flush would help. */
bool log_maintain(struct log *l, int64_t high_watermark, int64_t now_ms);
bool log_names_wanted(const struct log *l);
/* Retention by time goes by a segment's largest timestamp, which after a start is in its time
 * index, or by when its file was last written. Begin is to be called after log_maintain: NULL when
 * that knew all it needed (or there is no memory); else it holds references on the segments that
 * come next, and log_maintain is to be called again after end. A failed result takes the log
 * offline. l NULL: the log is gone meanwhile. */
struct log_ages;
struct log_ages *log_ages_begin(struct log *l, int64_t high_watermark, int64_t now_ms);
struct status log_ages_run(struct log_ages *a); /* [pool] */
void log_ages_end(struct log *l, struct log_ages *a, struct status result);

/* [pool] Takes over what is due for removal, and removes it. */
struct log_garbage;
struct log_garbage *log_take_garbage(struct log *l, int64_t now_ms); /* NULL: nothing due */
struct status log_garbage_run(struct log_garbage *g);                /* frees g */

/* ---- checking in the background ---- */

/* After a start on the same boot the batches between the recovery point and the newest ones were
 * not checked. */
bool log_unverified(const struct log *l);
/* Holds references on their segments; NULL when there is nothing to check, or no memory. */
struct log_verify;
struct log_verify *log_verify_begin(struct log *l);
/* [pool] Checks about bytes_max further bytes, so that others get a turn; *done after the last
 * step. CORRUPT_MESSAGE: a batch is damaged; KAFKA_STORAGE_ERROR: reading failed. */
struct status log_verify_run(struct log_verify *v, int64_t bytes_max, bool *done);
/* Frees v; a failed result takes the log offline and logs where. l NULL: the log is gone
 * meanwhile. */
void log_verify_end(struct log *l, struct log_verify *v, struct status result);

/* [pool] The log's directory is renamed to "….<uuid>-delete" and removed later by the log
 * directory; frees l, also when that fails. No flush is under way. */
struct status log_delete(struct log *l, struct uuid unique);

#endif
