#ifndef PROTOCOL_WIRE_H
#define PROTOCOL_WIRE_H

/* What reader and writer share: how a value is laid out, and the `records` type. */

#include <stddef.h>
#include <stdint.h>

#include "protocol/base/span.h"

/* How a string, byte or array field is written; the values may be or-ed. */
enum wire_form {
    WIRE_PLAIN = 0,    /* fixed-size lengths, -1 for null */
    WIRE_FLEXIBLE = 1, /* unsigned varint of length + 1, 0 for null (KIP-482) */
    WIRE_NULLABLE = 2, /* null is allowed */
};

/* Record batches inside a message. data == NULL and no splice: null on the wire.
 *
 * Decoded records are a view of the frame. In a message to encode, splice == NULL means that data
 * is copied; else nothing is copied: the writer notes that `size` bytes belong at this place and
 * keeps the cookie (a file range, say) for whoever sends the frame. */
struct records {
    const uint8_t *data;
    size_t size;
    const void *splice;
};

/* The same bytes for writing. Only for the owner of the frame they were decoded from: base offset
 * and leader epoch of produced batches are set in place. */
static inline struct bytes_mut records_mutable(struct records records)
{
    return (struct bytes_mut){(uint8_t *)(uintptr_t)records.data, records.size};
}

/* Where an empty array that is not null points. Never read or written through. */
extern const uint64_t wire_empty[2];

#define WIRE_EMPTY_ARRAY ((void *)(uintptr_t)wire_empty)
#define WIRE_EMPTY_BYTES ((struct bytes){(const uint8_t *)wire_empty, 0})

#define WIRE_STRING_BYTES_MAX INT16_MAX /* of any string, compact ones too */

#endif
