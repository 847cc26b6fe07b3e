#ifndef STORAGE_LOG_INTERNAL_H
#define STORAGE_LOG_INTERNAL_H

/* What the files of the log share: log.c (state, closing), log_append.c, log_flush.c, log_read.c,
 * log_lookup.c, log_open.c, log_recovery.c, log_scan.c, log_producers.c, log_truncate.c,
 * log_retention.c, log_verify.c, log_compaction*.c.
 *
 * The loop alone writes here. Lookups in the pool take `lock`, copy what they need of the segments
 * with a reference on each, and go on without it; so the loop holds it whenever it changes what
 * they copy: the array of segments, size and largest timestamp of a segment, start offset, config
 * and failure. */

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "storage/epoch_cache.h"
#include "storage/log.h"
#include "storage/producer_state.h"
#include "storage/segment.h"

struct log_listing;

/* A batch boundary that was met lately, so that the next read starts without a search. */
struct log_hint {
    int64_t segment_base; /* -1: empty */
    int64_t offset;
    int64_t position;
};

#define LOG_READ_HINTS 8 /* readers that go on where they stopped */
#define LOG_END_HINTS  4 /* flushed ends: high watermarks that readers are bound by */

/* A segment whose files wait for file.delete.delay.ms under their .deleted names. */
struct log_doomed {
    struct log_doomed *next;
    struct segment *segment; /* owned reference */
    int64_t base_offset;
    int64_t due_ms;
};

struct log {
    struct files *files;
    struct clock *clock;
    struct logger *logger;
    struct compression_scratch *scratch;
    const struct log_config *config;
    char *directory; /* owned */
    struct uuid topic_id;
    int64_t producer_id_expiration_ms;
    bool page_cache_is_enough;

    pthread_mutex_t lock;
    struct segment **segments; /* ascending; empty until the first append */
    size_t segment_count;
    size_t segment_capacity;

    int64_t start_offset;
    int64_t end_offset;
    int64_t flushed_end;
    int64_t size_bytes;
    struct status failure; /* offline when it is one */

    bool directory_exists;
    bool directory_new; /* partition.metadata and the directory's own name are not synced yet */
    bool flushing;
    bool names_wanted;      /* retention waits for a flush */
    bool unsettled;         /* not as a clean close leaves it */
    uint32_t truncations;   /* a flush that began before one says nothing about the log after it */
    int64_t roll_jitter_ms; /* of the active segment */

    struct epoch_cache epochs;
    struct producer_state producers;
    int64_t snapshot_offset;     /* of the newest snapshot file; -1: none */
    int64_t snapshot_size_bytes; /* log bytes appended since it */
    int64_t verify_from;         /* batches in [verify_from, verify_to) were not checked at open */
    int64_t verify_to;

    struct log_hint read_hints[LOG_READ_HINTS];
    struct log_hint end_hints[LOG_END_HINTS];
    uint8_t read_hint_next;
    uint8_t end_hint_next;

    struct log_doomed *doomed; /* oldest first */

    /* Held while names of sealed segments change, by who cuts the log and by steps of a compaction.
     * Taken before `lock`, and by nothing that may not wait for a disk. */
    pthread_mutex_t names;
    struct log_compaction *compaction; /* under way; NULL: none */
    int64_t cleaned_offset;            /* a compaction has cleaned what is below */
};

/* ---- log.c ---- */

/* A log that knows nothing of its files; NULL: no memory. log_discard frees one in any state. */
struct log *log_new(const struct log_args *args);
void log_discard(struct log *l);
/* Takes the log offline, once, and gives back the reason as KAFKA_STORAGE_ERROR. */
struct status log_go_offline(struct log *l, struct status reason);
/* STATUS_OK, or why nothing more can be done. */
struct status log_check_online(const struct log *l);
void log_set_start_offset(struct log *l, int64_t offset);
struct segment *log_active_segment(const struct log *l); /* NULL when there is none */
/* Index of the segment whose range holds offset; the first one when it is below. Not of an empty
 * log. */
size_t log_segment_index(const struct log *l, int64_t offset);
/* takes the reference; ENOMEM: not */
struct status log_add_segment(struct log *l, struct segment *s);
/* Path of a file in the log's directory. */
struct status log_path(const struct log *l, char out[SEGMENT_PATH_BYTES], const char *name);
struct status log_snapshot_path(const char *directory, char out[SEGMENT_PATH_BYTES], int64_t offset,
                                const char *suffix);
void log_add_hint(struct log_hint *ring, uint8_t count, uint8_t *next, struct log_hint hint);
const struct log_hint *log_find_hint(const struct log_hint *ring, uint8_t count, int64_t offset);
void log_clear_hints(struct log *l);
/* Durably, when they differ from what was saved last and the directory exists. */
struct status log_save_epochs(struct log *l);
/* Writes a file in one go, not synced. */
struct status log_write_file(struct files *files, const char *path, struct bytes content);
/* The content of partition.metadata, and writing it: not synced. */
void log_metadata_text(struct uuid topic_id, char text[64]);
struct status log_write_metadata(struct log *l);
/* Makes directory and partition.metadata when they are missing. Not synced. */
struct status log_make_directory(struct log *l);
/* Makes them durable, the directory's own name too. */
struct status log_sync_new_directory(struct files *files, const char *directory);
/* Applies one batch that is in the log to the producer state, and to the transaction index of s. */
struct status log_apply_batch(struct producer_state *producers, struct segment *s,
                              struct bytes batch, bool with_txn_index);

/* False when the batch is no COMMIT or ABORT marker. */
bool log_parse_marker(struct bytes batch, struct producer_marker *out);
struct producer_batch log_producer_batch(const uint8_t *head);
/* Writes <offset>.snapshot of the producer state as it is now; not synced. */
struct status log_write_snapshot(struct log *l, int64_t offset);

/* ---- log_flush.c ---- */

/* As log_flush_begin, after the newest segment was sealed and a snapshot written for closing: they
 * are covered too, also when all batches are flushed. */
bool log_flush_begin_closing(struct log *l, struct log_flush *out);
/* The snapshot at `offset` is the newest now; one that it makes useless is removed. */
void log_replace_snapshot(struct log *l, int64_t offset);

/* ---- log_append.c ---- */

/* Seals the active segment and starts one at the log end (at base_offset), which is past the base
 * of the active one: two of one base would share their files. */
struct status log_roll(struct log *l, int64_t base_offset);

/* ---- log_scan.c ---- */

/* Reads whole batches of [position, limit) of a segment in order. */
typedef struct status log_scan_visit(void *arg, struct bytes batch, int64_t position);
/* Stops at the first failure of visit, or CORRUPT_MESSAGE at the first bytes that are no valid
 * batch; *end is where it stopped. check_crc_from: batches that start at or after it have their CRC
 * checked. */
struct status log_scan(struct segment *s, int64_t position, int64_t limit, int64_t check_crc_from,
                       log_scan_visit *visit, void *arg, int64_t *end);

/* ---- log_producers.c ---- */

/* Adds what the newest usable snapshot at or below `end` says to the producer state; *from is its
 * offset, or the log start when there is none. */
void log_load_snapshot(struct log *l, const struct log_listing *files, int64_t end, int64_t *from);
/* Adds the batches in [from, end) of the segments. */
struct status log_replay_producers(struct log *l, int64_t from, int64_t end);
/* Producer state as of offset `end`: newest usable snapshot, then the batches behind it. */
struct status log_rebuild_producers(struct log *l, const struct log_listing *files, int64_t end);

/* ---- log_recovery.c ---- */

/* Loads the leader epochs, and with them those of the `doomed` oldest segments, which are about to
 * be dropped: their batches may be all that tells of an epoch, and a gap in what is remembered
 * would pass for the end of another one. What is new is saved. Of a log with a segment at least.
 *
 * After a crash of the machine, which may have lost any of them, and when one of the segments is
 * damaged, the end of the newest epoch of the checkpoint is not known if it began below what is
 * kept: nothing is remembered. One that began above was saved by a flush that came up to there, so
 * that the checkpoint is whole below it, and stays: compaction may have taken batches that began
 * epochs since, which the checkpoint alone knows then. What that flush has not seen compaction has
 * left alone; recovery finds it in the batches. What a checkpoint says is true of a log that lost
 * its end too, once the epochs that began behind that are cut off: it is written behind the sync of
 * what it tells of, by a cut before anything else is appended, and by a start after a kill of what
 * is in the files. */
struct status log_recover_epochs(struct log *l, const struct log_args *args, size_t doomed);
/* After that. Checks what may not be trusted, cuts the log behind its last good batch, and brings
 * indexes, producers and epochs up to its end. */
struct status log_recover(struct log *l, const struct log_args *args,
                          const struct log_listing *files, struct log_recovery_report *report);
/* Batches below it were flushed, and are the ones that were. */
int64_t log_flushed_before(const struct log_args *args);

/* ---- log_retention.c ---- */

/* Renames the files of the oldest segments to .deleted and forgets them. After a crash that undid
 * some of that a .deleted file among the others tells that all before it were let go. */
struct status log_drop_oldest(struct log *l, size_t count);
/* Removes the files of the newest segments, one after the other, each durably: a crash leaves a log
 * without gaps, and nothing that could be taken for what log_drop_oldest left. */
struct status log_cut_newest(struct log *l, size_t count);
/* Renames one segment's files to .deleted; what is not there is fine. */
struct status log_rename_doomed(struct files *files, const char *path);
void log_append_doomed(struct log *l, struct log_doomed *d); /* owned from now on */
/* Removes the producer snapshot at the base of a segment that is gone, unless it is the one in
 * use. */
void log_remove_snapshot_of(struct log *l, int64_t base_offset);
void log_free_doomed(struct log *l);

/* ---- log_compaction_swap.c ---- */

/* The log is about to be cut, under `names`: a compaction that is under way changes nothing any
 * more. What it has changed on the disk the log knows when this returns. */
struct status log_compaction_interrupt(struct log *l);

#endif
