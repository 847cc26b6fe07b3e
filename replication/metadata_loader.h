#ifndef REPLICATION_METADATA_LOADER_H
#define REPLICATION_METADATA_LOADER_H

/* Turns the committed records of the metadata log into images, and images into records again.
 *
 * Records of a metadata transaction (Begin … End) show only in the images after its end; an Abort
 * forgets them. Runs on one thread; the images and deltas it gives out may go anywhere. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/base/span.h"
#include "protocol/base/status.h"
#include "replication/config_defs.h"
#include "replication/metadata_image.h"

struct metadata_loader;

/* given (borrowed for the loader's life) and node_id: whose settings lie behind the topics'. */
struct metadata_loader *metadata_loader_create(int32_t node_id, const struct config_values *given);
void metadata_loader_free(struct metadata_loader *l); /* NULL is fine */

/* Forgets everything; the records of a snapshot follow. */
void metadata_loader_begin_snapshot(struct metadata_loader *l);
/* CORRUPT_MESSAGE, UNSUPPORTED_VERSION: as metadata_loader_apply. */
struct status metadata_loader_apply_snapshot(struct metadata_loader *l, const struct bytes *values,
                                             size_t count);

struct snapshot_position {
    int64_t last_offset; /* of the last record it stands for; -1 for the 0-0 snapshot */
    int32_t epoch;
    int64_t timestamp_ms;
};
/* CORRUPT_MESSAGE: the snapshot is not whole. */
struct status metadata_loader_end_snapshot(struct metadata_loader *l, struct snapshot_position at);

struct metadata_batch {
    int64_t base_offset; /* value i has offset base_offset + i */
    int32_t epoch;
    int64_t timestamp_ms;
    const struct bytes *values; /* frames of metadata records; borrowed for the call */
    size_t count;
};

/* Applies committed records.
 *
 * UNSUPPORTED_VERSION  A record of a type or version we do not know.   \ The loader is of no use
 *                      any more;
 * CORRUPT_MESSAGE      A damaged record, or one that makes no sense.   / a node must stop. `where`
 *                      says why. */
struct status metadata_loader_apply(struct metadata_loader *l, const struct metadata_batch *batch);

/* Whether the records so far end within a metadata transaction. */
bool metadata_loader_in_transaction(const struct metadata_loader *l);

/* What changed since the last time: a new image and its delta, both owned by the caller (a
 * reference each). False when there is nothing new. While a transaction is open: the state before
 * it. */
bool metadata_loader_publish(struct metadata_loader *l, const struct metadata_image **image,
                             const struct metadata_delta **delta);

/* ---- back to records ---- */

struct metadata_dump;

/* Walks the records that make up an image, which it holds a reference of. Any thread, one at a
 * time. */
struct metadata_dump *metadata_dump_create(const struct metadata_image *img);
/* The next records (values borrowed until the following call); a count of 0 ends it. */
void metadata_dump_next(struct metadata_dump *d, const struct bytes **values, size_t *count);
void metadata_dump_free(struct metadata_dump *d); /* NULL is fine */

#endif
