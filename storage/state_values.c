/* Stored values: protobuf-c with its memory from an arena, and the fields that are not numbers. */

#include "storage/state_values.h"

#include <string.h>

#include "protocol/wire.h"

static void *allocate(void *arena, size_t size)
{
    return arena_alloc(arena, size);
}

static void leave(void *arena, void *pointer)
{
    (void)arena;
    (void)pointer;
}

static const struct state_value_type *type_of(const struct group_record *r)
{
    return &state_value_types[r->type == GROUP_RECORD_LEGACY_OFFSET_COMMIT
                                  ? GROUP_RECORD_OFFSET_COMMIT
                                  : r->type];
}

struct bytes state_value_pack(const struct group_record *r, struct arena *a)
{
    const ProtobufCMessage *m = type_of(r)->to_message(r, a);
    uint8_t *out;
    size_t size;

    if (!m)
        return (struct bytes){NULL, 0};
    size = protobuf_c_message_get_packed_size(m);
    out = arena_alloc(a, size);
    if (!out)
        return (struct bytes){NULL, 0};
    return (struct bytes){out, protobuf_c_message_pack(m, out)};
}

bool state_value_unpack(struct group_record *r, struct bytes value, struct arena *a)
{
    ProtobufCAllocator in_arena = {.alloc = allocate, .free = leave, .allocator_data = a};
    const struct state_value_type *type = type_of(r);
    const ProtobufCMessage *m =
        protobuf_c_message_unpack(type->descriptor, &in_arena, value.size, value.data);

    return m && type->from_message(m, r, a);
}

/* ---- fields ---- */

ProtobufCBinaryData state_pack_string(struct str s)
{
    return (ProtobufCBinaryData){s.size, (uint8_t *)(uintptr_t)s.data};
}

ProtobufCBinaryData state_pack_bytes(struct bytes b)
{
    return (ProtobufCBinaryData){b.size, (uint8_t *)(uintptr_t)b.data};
}

ProtobufCBinaryData state_pack_uuid(const struct uuid *id)
{
    return (ProtobufCBinaryData){sizeof id->bytes, (uint8_t *)(uintptr_t)id->bytes};
}

ProtobufCBinaryData *state_pack_strings(const struct str *items, size_t count, struct arena *a)
{
    ProtobufCBinaryData *out = arena_zalloc(a, count, sizeof *out);

    for (size_t i = 0; out && i < count; i++)
        out[i] = state_pack_string(items[i]);
    return out;
}

int32_t *state_pack_int16s(const int16_t *items, size_t count, struct arena *a)
{
    int32_t *out = arena_zalloc(a, count, sizeof *out);

    for (size_t i = 0; out && i < count; i++)
        out[i] = items[i];
    return out;
}

bool state_unpack_bytes(bool has, ProtobufCBinaryData in, bool nullable, struct bytes *out)
{
    if (has && in.len > 0)
        *out = (struct bytes){in.data, in.len};
    else if (has || !nullable)
        *out = WIRE_EMPTY_BYTES;
    else
        *out = (struct bytes){NULL, 0};
    return true;
}

bool state_unpack_string(bool has, ProtobufCBinaryData in, bool nullable, struct str *out)
{
    struct bytes b;

    state_unpack_bytes(has, in, nullable, &b);
    *out = (struct str){(const char *)b.data, b.size};
    return out->size <= WIRE_STRING_BYTES_MAX;
}

bool state_unpack_uuid(bool has, ProtobufCBinaryData in, struct uuid *out)
{
    *out = UUID_ZERO;
    if (!has)
        return true;
    if (in.len != sizeof out->bytes)
        return false;
    memcpy(out->bytes, in.data, sizeof out->bytes);
    return true;
}

struct str *state_unpack_strings(const ProtobufCBinaryData *in, size_t count, struct arena *a)
{
    struct str *out = arena_zalloc(a, count, sizeof *out);

    for (size_t i = 0; out && i < count; i++)
        if (!state_unpack_string(true, in[i], false, &out[i]))
            return NULL;
    return out;
}

int16_t *state_unpack_int16s(const int32_t *in, size_t count, struct arena *a)
{
    int16_t *out = arena_zalloc(a, count, sizeof *out);

    for (size_t i = 0; out && i < count; i++) {
        if (in[i] < INT16_MIN || in[i] > INT16_MAX)
            return NULL;
        out[i] = (int16_t)in[i];
    }
    return out;
}
