#ifndef REPLICATION_SNAPSHOT_FILE_H
#define REPLICATION_SNAPSHOT_FILE_H

/* Snapshots of the metadata log: `<20-digit end offset>-<10-digit epoch>.checkpoint`, beside its
 * segments.
 *
 * A file is a sequence of v2 record batches whose offsets count from 0 inside it:
 *
 *   control batch  SNAPSHOT_HEADER [KRAFT_VERSION KRAFT_VOTERS]      the latter with kraft.version
 *                  >= 1
 *   data batches   metadata records
 *   control batch  SNAPSHOT_FOOTER                                   without it the file is no
 *                  snapshot
 *
 * It is written under its name + ".part", synced, renamed, and never changed again. Snapshot 0-0 is
 * what a directory is formatted with. Everything here blocks on the disk: start-up and the pool. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/base/clock.h"
#include "protocol/base/span.h"
#include "protocol/base/status.h"
#include "replication/raft_types.h"
#include "storage/files.h"

/* With the directory before it: room for SNAPSHOT_NAME_BYTES more, the NUL included. */
#define SNAPSHOT_NAME_BYTES (20 + 1 + 10 + sizeof ".checkpoint.deleted")

/* "<end offset>-<epoch>.checkpoint" */
void snapshot_name_format(struct raft_snapshot_id id, char name[SNAPSHOT_NAME_BYTES]);
/* False for any other name, those with a further suffix among them. */
bool snapshot_name_parse(struct str name, struct raft_snapshot_id *out);

/* The complete-looking snapshots of a directory in rising order, at most SNAPSHOTS_MAX of the
 * newest. Removes what unfinished writes and deletions left (".part", ".deleted"). */
#define SNAPSHOTS_MAX 64
struct status snapshot_list(struct files *fs, const char *directory,
                            struct raft_snapshot_id out[SNAPSHOTS_MAX], size_t *count);

/* Renames it to ".deleted", then removes it. */
struct status snapshot_remove(struct files *fs, const char *directory, struct raft_snapshot_id id);

/* ---- writing ---- */

struct snapshot_writer;

struct snapshot_write_args {
    struct files *files;
    struct clock *clock;
    const char *directory; /* copied */
    struct raft_snapshot_id id;
    int64_t last_contained_timestamp_ms;
    const struct voter_set *voters; /* borrowed for the call; NULL under kraft.version 0 */
};

/* Starts "….part". *out is owned by the caller, until one of finish and abort. KAFKA_STORAGE_ERROR,
 * or UNKNOWN_SERVER_ERROR without memory: nothing is left. */
struct status snapshot_writer_open(const struct snapshot_write_args *args,
                                   struct snapshot_writer **out);
/* Adds records, as few batches as RAFT_BATCH_BYTES_MAX allows. RECORD_LIST_TOO_LARGE: one is larger
 * than that. The first failure is remembered; finish answers it. */
void snapshot_writer_append(struct snapshot_writer *w, const struct bytes *values, size_t count);
/* Footer, sync, rename, sync of the directory; frees w. After a failure there is no such
 * snapshot. */
struct status snapshot_writer_finish(struct snapshot_writer *w);
void snapshot_writer_abort(struct snapshot_writer *w); /* removes the part; frees w */

/* ---- taking over another node's, byte by byte ---- */

struct snapshot_part;

/* Starts "….part". *out is owned by the caller, until one of finish and abort. Errors as
 * snapshot_writer_open. */
struct status snapshot_part_open(struct files *fs, const char *directory,
                                 struct raft_snapshot_id id, struct snapshot_part **out);
/* Appends. KAFKA_STORAGE_ERROR: abort it. */
struct status snapshot_part_append(struct snapshot_part *p, struct bytes piece);
/* Reads through all of it: only a whole, sound snapshot gets its name, and is durable then; frees
 * p. CORRUPT_MESSAGE, UNSUPPORTED_VERSION as snapshot_reader_open; after any failure there is no
 * such snapshot. */
struct status snapshot_part_finish(struct snapshot_part *p);
void snapshot_part_abort(struct snapshot_part *p); /* removes it; frees p. NULL is fine */

/* Bytes of a snapshot for another node. */
struct snapshot_piece {
    int64_t position; /* in */
    size_t size_max;  /* in; more than 0 */
    uint8_t *data;    /* malloc'd, the caller's. NULL when failed */
    size_t size;
    int64_t snapshot_size;
};

/* KAFKA_STORAGE_ERROR (ENOENT: no such snapshot); POSITION_OUT_OF_RANGE: not in the file. */
struct status snapshot_read_piece(struct files *fs, const char *directory,
                                  struct raft_snapshot_id id, struct snapshot_piece *piece);

/* ---- reading ---- */

struct snapshot_reader;

struct snapshot_head {
    int64_t last_contained_timestamp_ms;
    int16_t kraft_version;
    struct voter_set *voters; /* owned by the reader; NULL under kraft.version 0 */
};

/* Opens it and reads its header. *out is owned by the caller.
 * CORRUPT_MESSAGE       not a snapshot, or a damaged one; `where` says how.
 * UNSUPPORTED_VERSION   a control record of a later version.
 * KAFKA_STORAGE_ERROR   I/O; ENOENT when there is none. */
struct status snapshot_reader_open(struct files *fs, const char *directory,
                                   struct raft_snapshot_id id, struct snapshot_reader **out);
/* The same of a file of any name. */
struct status snapshot_reader_open_path(struct files *fs, const char *path,
                                        struct snapshot_reader **out);
const struct snapshot_head *snapshot_reader_head(const struct snapshot_reader *r);
/* The next records (of one batch); they live until the next call. A count of 0: the footer was
 * reached, the snapshot is whole. Errors as open, and then for good. */
struct status snapshot_reader_next(struct snapshot_reader *r, const struct bytes **values,
                                   size_t *count);
void snapshot_reader_close(struct snapshot_reader *r); /* NULL is fine */

#endif
