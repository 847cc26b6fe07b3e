#ifndef PROTOCOL_GROUP_RECORD_H
#define PROTOCOL_GROUP_RECORD_H

/* One record of __consumer_offsets: what group coordinators write, and every replica applies.
 *
 * On disk a key is an int16 (the type of the record; it also fixes the version of the key) and the
 * key's message, a value is an int16 (its version) and the value's message; no value is a
 * tombstone: the thing named by the key is gone. The messages themselves:
 * protocol/messages/group_coordinator_records.h. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/base/arena.h"
#include "protocol/base/kerr.h"
#include "protocol/base/span.h"
#include "protocol/messages/group_coordinator_records.h"
#include "protocol/writer.h"

/* X(number, NAME, member, Kafka's name, group field of the key, version of the value that Kafka 4.4
 * writes). A member stands for struct <member>_key and struct <member>_value. */
#define GROUP_RECORD_LIST(X)                                                                       \
    X(1, OFFSET_COMMIT, offset_commit, OffsetCommit, group,                                        \
      4 /* 1 when it has an expire_timestamp */)                                                   \
    X(2, GROUP_METADATA, group_metadata, GroupMetadata, group,                                     \
      3 /* the newest that is not flexible */)                                                     \
    X(3, CONSUMER_GROUP_METADATA, consumer_group_metadata, ConsumerGroupMetadata, group_id, 0)     \
    X(4, CONSUMER_GROUP_PARTITION_METADATA, consumer_group_partition_metadata,                     \
      ConsumerGroupPartitionMetadata, group_id, 0 /* read only since 4.1 */)                       \
    X(5, CONSUMER_GROUP_MEMBER_METADATA, consumer_group_member_metadata,                           \
      ConsumerGroupMemberMetadata, group_id, 0)                                                    \
    X(6, CONSUMER_GROUP_TARGET_ASSIGNMENT_METADATA, consumer_group_target_assignment_metadata,     \
      ConsumerGroupTargetAssignmentMetadata, group_id, 0)                                          \
    X(7, CONSUMER_GROUP_TARGET_ASSIGNMENT_MEMBER, consumer_group_target_assignment_member,         \
      ConsumerGroupTargetAssignmentMember, group_id, 0)                                            \
    X(8, CONSUMER_GROUP_CURRENT_MEMBER_ASSIGNMENT, consumer_group_current_member_assignment,       \
      ConsumerGroupCurrentMemberAssignment, group_id, 0)                                           \
    X(10, SHARE_GROUP_MEMBER_METADATA, share_group_member_metadata, ShareGroupMemberMetadata,      \
      group_id, 0)                                                                                 \
    X(11, SHARE_GROUP_METADATA, share_group_metadata, ShareGroupMetadata, group_id, 0)             \
    X(12, SHARE_GROUP_TARGET_ASSIGNMENT_METADATA, share_group_target_assignment_metadata,          \
      ShareGroupTargetAssignmentMetadata, group_id, 0)                                             \
    X(13, SHARE_GROUP_TARGET_ASSIGNMENT_MEMBER, share_group_target_assignment_member,              \
      ShareGroupTargetAssignmentMember, group_id, 0)                                               \
    X(14, SHARE_GROUP_CURRENT_MEMBER_ASSIGNMENT, share_group_current_member_assignment,            \
      ShareGroupCurrentMemberAssignment, group_id, 0)                                              \
    X(15, SHARE_GROUP_STATE_PARTITION_METADATA, share_group_state_partition_metadata,              \
      ShareGroupStatePartitionMetadata, group_id, 0)                                               \
    X(16, CONSUMER_GROUP_REGULAR_EXPRESSION, consumer_group_regular_expression,                    \
      ConsumerGroupRegularExpression, group_id, 0)                                                 \
    X(17, STREAMS_GROUP_METADATA, streams_group_metadata, StreamsGroupMetadata, group_id, 0)       \
    X(19, STREAMS_GROUP_MEMBER_METADATA, streams_group_member_metadata,                            \
      StreamsGroupMemberMetadata, group_id, 0)                                                     \
    X(20, STREAMS_GROUP_TARGET_ASSIGNMENT_METADATA, streams_group_target_assignment_metadata,      \
      StreamsGroupTargetAssignmentMetadata, group_id, 0)                                           \
    X(21, STREAMS_GROUP_TARGET_ASSIGNMENT_MEMBER, streams_group_target_assignment_member,          \
      StreamsGroupTargetAssignmentMember, group_id, 0)                                             \
    X(22, STREAMS_GROUP_CURRENT_MEMBER_ASSIGNMENT, streams_group_current_member_assignment,        \
      StreamsGroupCurrentMemberAssignment, group_id, 0)                                            \
    X(23, STREAMS_GROUP_TOPOLOGY, streams_group_topology, StreamsGroupTopology, group_id, 0)

enum group_record_type {
    /* Brokers before 0.9 wrote offsets so. It is decoded into key.offset_commit and
     * value.offset_commit, and the two mean the same; but its key differs on disk, so that
     * compaction keeps both. */
    GROUP_RECORD_LEGACY_OFFSET_COMMIT = 0,
#define GROUP_RECORD_ENUM(number, NAME, member, Name, group, version)                              \
    GROUP_RECORD_##NAME = (number),
    GROUP_RECORD_LIST(GROUP_RECORD_ENUM)
#undef GROUP_RECORD_ENUM
        GROUP_RECORD_TYPE_COUNT /* one past the greatest; there are gaps (9, 18) */
};

/* The member of both unions is the type's. */
struct group_record {
    enum group_record_type type;
    bool tombstone;        /* value is not set */
    int16_t value_version; /* as decoded; encoding chooses its own */
    union {
#define GROUP_RECORD_KEY(number, NAME, member, Name, group, version) struct member##_key member;
        GROUP_RECORD_LIST(GROUP_RECORD_KEY)
#undef GROUP_RECORD_KEY
    } key;
    union {
#define GROUP_RECORD_VALUE(number, NAME, member, Name, group, version) struct member##_value member;
        GROUP_RECORD_LIST(GROUP_RECORD_VALUE)
#undef GROUP_RECORD_VALUE
    } value;
};

/* A record to be filled: key and value have their defaults (a zeroed value would not), tombstone is
 * false. `type` is one of the list. */
void group_record_init(struct group_record *r, enum group_record_type type);

/* Decodes one record; key and value are borrowed for as long as *r is used, arrays come from the
 * arena.
 *
 * value.data == NULL is a tombstone. Bytes after a message are ignored, as Kafka does.
 *
 * UNSUPPORTED_VERSION  a type of record that nobody knows yet: to be skipped, as Kafka does
 * CORRUPT_MESSAGE      no key, a message cut short, a value of an unknown version, or the arena is
 *                      spent
 *
 * After a failure nothing in *r may be looked at. */
enum kerr group_record_decode(struct group_record *r, struct bytes key, struct bytes value,
                              struct arena *a);

/* Appends the key's bytes to `key`, and unless it is a tombstone the value's to `value`, in the
 * version that Kafka 4.4 writes. False: one of the writers failed (its failure says why). */
bool group_record_encode(const struct group_record *r, struct writer *key, struct writer *value);

/* The group that the record is about; it points to where the key does. */
struct str group_record_group(const struct group_record *r);

/* A committed offset, of either type. */
static inline bool group_record_is_offset(const struct group_record *r)
{
    return r->type <= GROUP_RECORD_OFFSET_COMMIT;
}

/* Whether `number` is a type of record. */
bool group_record_type_known(int number);

/* What Kafka calls the messages, without "Key" and "Value": "OffsetCommit"; NULL for an unknown
 * type. */
const char *group_record_type_name(int number);

#endif
