#ifndef REPLICATION_METADATA_RECORD_H
#define REPLICATION_METADATA_RECORD_H

/* Values of records in `__cluster_metadata`: unsigned varints frame version 1, record type, record
 * version, then the body. One table says which types there are. */

#include <stdbool.h>
#include <stdint.h>

#include "protocol/base/arena.h"
#include "protocol/base/span.h"
#include "protocol/base/status.h"
#include "protocol/messages/metadata_records.h"

/* X(name, NAME): all types of 4.4. */
#define METADATA_RECORD_LIST(X)                                                                    \
    X(register_broker, REGISTER_BROKER)                                                            \
    X(unregister_broker, UNREGISTER_BROKER)                                                        \
    X(topic, TOPIC)                                                                                \
    X(partition, PARTITION)                                                                        \
    X(config, CONFIG)                                                                              \
    X(partition_change, PARTITION_CHANGE)                                                          \
    X(fence_broker, FENCE_BROKER)                                                                  \
    X(unfence_broker, UNFENCE_BROKER)                                                              \
    X(remove_topic, REMOVE_TOPIC)                                                                  \
    X(delegation_token, DELEGATION_TOKEN)                                                          \
    X(user_scram_credential, USER_SCRAM_CREDENTIAL)                                                \
    X(feature_level, FEATURE_LEVEL)                                                                \
    X(client_quota, CLIENT_QUOTA)                                                                  \
    X(producer_ids, PRODUCER_IDS)                                                                  \
    X(broker_registration_change, BROKER_REGISTRATION_CHANGE)                                      \
    X(access_control_entry, ACCESS_CONTROL_ENTRY)                                                  \
    X(remove_access_control_entry, REMOVE_ACCESS_CONTROL_ENTRY)                                    \
    X(no_op, NO_OP)                                                                                \
    X(zk_migration_state, ZK_MIGRATION_STATE)                                                      \
    X(remove_user_scram_credential, REMOVE_USER_SCRAM_CREDENTIAL)                                  \
    X(begin_transaction, BEGIN_TRANSACTION)                                                        \
    X(end_transaction, END_TRANSACTION)                                                            \
    X(abort_transaction, ABORT_TRANSACTION)                                                        \
    X(remove_delegation_token, REMOVE_DELEGATION_TOKEN)                                            \
    X(register_controller, REGISTER_CONTROLLER)                                                    \
    X(clear_elr, CLEAR_ELR)                                                                        \
    X(unregister_controller, UNREGISTER_CONTROLLER)

#define METADATA_RECORD_TYPE_COUNT 30 /* one above the highest type */

/* A decoded record; which member counts is told by type (TOPIC_RECORD_KEY and so on). */
struct metadata_record {
    int16_t type;
    int16_t version;
    union {
#define METADATA_RECORD_MEMBER(name, NAME) struct name##_record name;
        METADATA_RECORD_LIST(METADATA_RECORD_MEMBER)
#undef METADATA_RECORD_MEMBER
    };
};

/* Decodes a frame; strings point into it, arrays into the arena.
 * UNSUPPORTED_VERSION  A frame version, type or version that we do not know.
 * CORRUPT_MESSAGE      Cut short, or with bytes left over. */
struct status metadata_record_decode(struct bytes frame, struct arena *a,
                                     struct metadata_record *out);

/* Appends the frame of a record. False when the writer fails. */
bool metadata_record_encode(struct writer *w, const struct metadata_record *r);

/* A record of that type with its fields at their defaults. */
void metadata_record_init(struct metadata_record *r, int16_t type, int16_t version);

/* "topic", "partition_change"; NULL for a type that is not in the table. */
const char *metadata_record_name(int16_t type);

#endif
