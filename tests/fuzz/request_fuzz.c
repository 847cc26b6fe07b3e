/* Messages from anywhere: requests, responses, records.
 *
 * Input: kind (0 request, 1 response, else a record), key (of a record: which one), version, then
 * the message. Whatever decodes must encode in the same version, and what that gives must decode
 * and encode to itself. */

#include <stdlib.h>
#include <string.h>

#include "protocol/base/check.h"
#include "protocol/message_type.h"

#define ARENA_BYTES_MAX  ((size_t)64 << 20)
#define WRITER_BYTES_MAX ((size_t)64 << 20)
#define HEAD_BYTES       3

static const struct message_type *choose_type(uint8_t kind, uint8_t key)
{
    size_t first = 0;

    if (kind <= MESSAGE_RESPONSE)
        return message_type_by_key((enum message_kind)kind, key);
    while (message_types[first].kind <= MESSAGE_RESPONSE)
        first++;
    return &message_types[first + key % (message_type_count - first)];
}

/* Decodes and encodes; false when it was refused. */
static bool round_trip(const struct message_type *type, int16_t version, struct bytes in,
                       struct writer *out)
{
    struct arena arena;
    struct reader r = reader_of(in.data, in.size);
    void *m = malloc(type->size);
    bool decoded;

    CHECK(m);
    arena_init(&arena, ARENA_BYTES_MAX);
    decoded = type->decode(m, &r, &arena, version);
    CHECK(decoded == reader_ok(&r));
    if (decoded)
        CHECK(type->encode(m, out, version));
    arena_free(&arena);
    free(m);
    return decoded;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct message_type *type;
    struct writer once, twice;
    uint8_t *exact; /* no more than the message, so that ASan sees a read past it */

    type = size < HEAD_BYTES ? NULL : choose_type(data[0], data[1]);
    if (!type)
        return 0;
    exact = malloc(size);
    CHECK(exact);
    memcpy(exact + HEAD_BYTES, data + HEAD_BYTES, size - HEAD_BYTES);
    writer_init(&once, WRITER_BYTES_MAX);
    writer_init(&twice, WRITER_BYTES_MAX);
    if (round_trip(type, data[2], (struct bytes){exact + HEAD_BYTES, size - HEAD_BYTES}, &once)) {
        CHECK(round_trip(type, data[2], (struct bytes){once.data, once.size}, &twice));
        CHECK(once.size == twice.size);
        CHECK(once.size == 0 || memcmp(once.data, twice.data, once.size) == 0);
    }
    writer_free(&once);
    writer_free(&twice);
    free(exact);
    return 0;
}
