#ifndef STORAGE_GROUP_STATE_H
#define STORAGE_GROUP_STATE_H

/* The records of __consumer_offsets in the state store: what a committed one does to it, and what
 * it says when asked.
 *
 *   STATE_OFFSETS  partition, group, topic, index  -> OffsetCommit
 *   STATE_GROUPS   partition, group, type, the rest of the record's key -> the message of that type
 *
 * Numbers are big-endian; a name stands behind its length in two bytes, so that any bytes may be in
 * it and one group's keys lie together. A type is a byte that sorts as replay needs it. Values are
 * protobuf messages: state.proto.
 *
 * `would_block`, threads and errors are those of state_store.h. What is found in the store and
 * cannot be what was written is damage: KAFKA_STORAGE_ERROR, and the store is condemned
 * (state_store_damaged). */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/group_record.h"
#include "storage/state_store.h"

/* Memory that reading one stored record may take; one that takes more counts as damage. */
#define GROUP_STATE_RECORD_BYTES_MAX ((size_t)256 << 20)

/* Adds to the batch what a committed record does: its value is put, or by a tombstone deleted.
 *
 * scratch  Used up a little; to be reset by the caller. Nothing of it is kept.
 *
 * INVALID_REQUEST  the scratch arena is spent, or a name is longer than Kafka's strings can be
 *
 * Nothing was added then. */
enum kerr group_state_apply(struct state_batch *b, int32_t partition, const struct group_record *r,
                            struct arena *scratch);

/* Visits the records of one group, offsets apart, in an order in which they can be replayed: the
 * group's own first, then its members, target assignments and current assignments.
 *
 * visit     The record is borrowed for the call. False stops.
 * position  NULL, or as in state_store_scan: zeroed at first; whoever stopped or was told that it
 *           would block goes on from there, and nothing is visited twice. */
struct status group_state_load(struct state_store *s, int32_t partition, struct str group,
                               struct state_position *position,
                               bool (*visit)(void *arg, const struct group_record *r), void *arg,
                               bool *would_block);

/* Visits each group of a partition that has records or offsets, in the order of its keys; keys in
 * between are skipped.
 *
 * visit        False stops. The name is borrowed for the call. has_records false: it has offsets
 *              only.
 * position     As above. */
struct status group_state_list_groups(struct state_store *s, int32_t partition,
                                      struct state_position *position,
                                      bool (*visit)(void *arg, struct str group, bool has_records),
                                      void *arg, bool *would_block);

struct group_state_offset {
    struct str topic;
    int32_t partition;
    int64_t offset;
    int32_t leader_epoch; /* -1: unknown */
    struct str metadata;
    int64_t commit_timestamp;
    int64_t expire_timestamp; /* -1: by retention */
    struct uuid topic_id;     /* zero: unknown */
};

/* One committed offset. Its metadata is in the arena, its topic the caller's. *found false: there
 * is none. INVALID_REQUEST: the arena is spent. */
struct status group_state_get_offset(struct state_store *s, int32_t partition, struct str group,
                                     struct str topic, int32_t index, struct arena *a,
                                     struct group_state_offset *out, bool *found,
                                     bool *would_block);

/* Visits the committed offsets of a group, topic by topic; of one topic only unless `topic` is
 * null. Visit and position as above. */
struct status group_state_list_offsets(struct state_store *s, int32_t partition, struct str group,
                                       struct str topic, struct state_position *position,
                                       bool (*visit)(void *arg, const struct group_state_offset *o),
                                       void *arg, bool *would_block);

/* Whether the group has any committed offset. */
struct status group_state_has_offsets(struct state_store *s, int32_t partition, struct str group,
                                      bool *has, bool *would_block);

#endif
