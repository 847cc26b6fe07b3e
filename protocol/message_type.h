#ifndef PROTOCOL_MESSAGE_TYPE_H
#define PROTOCOL_MESSAGE_TYPE_H

/* Every message by name or key, for tools, tests and fuzzers: handlers know their own types. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/base/arena.h"
#include "protocol/reader.h"
#include "protocol/writer.h"

enum message_kind {
    MESSAGE_REQUEST,
    MESSAGE_RESPONSE,
    MESSAGE_METADATA,          /* a record of the metadata log; the key is its type */
    MESSAGE_COORDINATOR_KEY,   /* the key of a coordinator's record; the key is its type */
    MESSAGE_COORDINATOR_VALUE, /* and its value */
    MESSAGE_DATA,              /* consumer protocol, control records, quorum-state */
    MESSAGE_HEADER,            /* of requests and responses */
};

struct message_type {
    const char *name; /* as Kafka calls it: "FetchRequest", "TopicRecord" */
    enum message_kind kind;
    int16_t key; /* -1: none. Coordinators number theirs independently of each other */
    int16_t version_min;
    int16_t version_max;
    int16_t first_flexible; /* INT16_MAX: never */
    size_t size;            /* of the struct */
    void (*init)(void *m);
    bool (*decode)(void *m, struct reader *r, struct arena *a, int16_t version);
    bool (*encode)(const void *m, struct writer *w, int16_t version);
};

extern const struct message_type message_types[];
extern const size_t message_type_count;

/* NULL when there is none. */
const struct message_type *message_type_by_name(const char *name);
/* For requests, responses and metadata records, whose keys are unique. */
const struct message_type *message_type_by_key(enum message_kind kind, int16_t key);

#endif
