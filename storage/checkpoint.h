#ifndef STORAGE_CHECKPOINT_H
#define STORAGE_CHECKPOINT_H

/* The text checkpoints of a log directory, as Apache Kafka reads and writes them:
 *
 *   0                        version
 *   2                        number of entries
 *   topic-a 0 4711           topic, partition, offset (in any order)
 *   topic-a 1 17
 *
 * Files of this form: recovery-point-offset-checkpoint, replication-offset-checkpoint (high
 * watermarks), log-start-offset-checkpoint, cleaner-offset-checkpoint; and with "epoch startOffset"
 * lines leader-epoch-checkpoint (epoch_cache.h). A file of 0 bytes holds no entries. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/base/span.h"
#include "protocol/base/status.h"
#include "storage/files.h"

/* What is wrong with a text, for a log line: the first bad line, counted from 1. */
struct checkpoint_error {
    int32_t line;
    const char *message; /* static */
};

/* ---- the format, without files ---- */

#define CHECKPOINT_FIELDS_MAX 3

struct checkpoint_row {
    struct str fields[CHECKPOINT_FIELDS_MAX]; /* borrowed from the text */
};

/* False refuses the row, with error->message set. */
typedef bool checkpoint_visit(void *arg, const struct checkpoint_row *row,
                              struct checkpoint_error *error);

/* Visits every row of a text whose rows have field_count fields, separated by single blanks.
 * Strict: another version, a count that does not fit, a malformed line are KAFKA_STORAGE_ERROR with
 * *error set (NULL is allowed); rows before the bad one have been visited. */
struct status checkpoint_parse(struct bytes text, size_t field_count, checkpoint_visit *visit,
                               void *arg, struct checkpoint_error *error);

/* Blocks. The whole text of a checkpoint file, the caller's to free(); a missing file is empty. */
struct status checkpoint_read_file(struct files *fs, const char *path, struct bytes_mut *out);

/* A base-10 number from -max-1 to max, nothing else around it; false when it is none. */
bool checkpoint_parse_number(struct str text, int64_t max, int64_t *out);

/* ---- offsets of partitions ---- */

#define OFFSET_MAP_TOPIC_CHARS_MAX 249 /* what Kafka allows a topic */

/* A map (topic, partition) -> offset. One owner, one thread at a time. Zeroed is empty. */
struct offset_map {
    struct offset_map_entry *entries;
};

typedef void offset_map_visit(void *arg, const char *topic, int32_t partition, int64_t offset);

void offset_map_free(struct offset_map *m); /* empty again */
bool offset_map_get(const struct offset_map *m, struct str topic, int32_t partition, int64_t *out);
/* topic: 1 to OFFSET_MAP_TOPIC_CHARS_MAX characters. */
void offset_map_set(struct offset_map *m, struct str topic, int32_t partition, int64_t offset);
/* fine when not there */
void offset_map_remove(struct offset_map *m, struct str topic, int32_t partition);
size_t offset_map_count(const struct offset_map *m);
/* In the order of first insertion. */
void offset_map_each(const struct offset_map *m, offset_map_visit *visit, void *arg);

/* The text of a map; the caller frees out->data. */
void offset_map_encode(const struct offset_map *m, struct bytes_mut *out);
/* Adds the entries of a text. KAFKA_STORAGE_ERROR: malformed, *error says where (NULL is allowed);
 * the map is empty. A partition named twice keeps its last offset. */
struct status offset_map_decode(struct offset_map *m, struct bytes text,
                                struct checkpoint_error *error);

/* Blocks. A missing file reads as an empty map. Written is one by files_replace, so that it is old
 * or new. */
struct status offset_checkpoint_read(struct files *fs, const char *path, struct offset_map *m,
                                     struct checkpoint_error *error);

#endif
