#ifndef STORAGE_STATE_VALUES_H
#define STORAGE_STATE_VALUES_H

/* Values of group records as protobuf messages (storage/state.proto) and back: for group_state.c,
 * and the code that storage/gen/emit_state.py writes. */

#include <stdbool.h>

#include "protocol/base/arena.h"
#include "protocol/group_record.h"
#include "storage/state.pb-c.h"

struct state_value_type {
    const ProtobufCMessageDescriptor *descriptor; /* NULL: records of this type are not kept as
                                                   * such */
    /* The message borrows from the record, the rest of it is in the arena. NULL: that is spent. */
    const ProtobufCMessage *(*to_message)(const struct group_record *r, struct arena *a);
    /* Sets all of r's value, which borrows from the message and the arena. False: no value of such
     * a record says this, or the arena is spent. */
    bool (*from_message)(const ProtobufCMessage *m, struct group_record *r, struct arena *a);
};

/* By enum group_record_type. */
extern const struct state_value_type state_value_types[GROUP_RECORD_TYPE_COUNT];

/* The value's bytes, in the arena; data NULL: that is spent. Not for a tombstone. */
struct bytes state_value_pack(const struct group_record *r, struct arena *a);

/* Sets r's value from stored bytes; r->type is set. False: they are not what was written, or the
 * arena is spent. */
bool state_value_unpack(struct group_record *r, struct bytes value, struct arena *a);

/* ---- fields; what is null or has its default is not packed ---- */

ProtobufCBinaryData state_pack_string(struct str s);
ProtobufCBinaryData state_pack_bytes(struct bytes b);
ProtobufCBinaryData state_pack_uuid(const struct uuid *id);
/* NULL: the arena is spent. */
ProtobufCBinaryData *state_pack_strings(const struct str *items, size_t count, struct arena *a);
int32_t *state_pack_int16s(const int16_t *items, size_t count, struct arena *a);

/* False: it cannot be what was packed. */
bool state_unpack_string(bool has, ProtobufCBinaryData in, bool nullable, struct str *out);
bool state_unpack_bytes(bool has, ProtobufCBinaryData in, bool nullable, struct bytes *out);
bool state_unpack_uuid(bool has, ProtobufCBinaryData in, struct uuid *out);
/* NULL also: the arena is spent. */
struct str *state_unpack_strings(const ProtobufCBinaryData *in, size_t count, struct arena *a);
int16_t *state_unpack_int16s(const int32_t *in, size_t count, struct arena *a);

#endif
