/* The bodies are a few fixed fields in the flexible encoding: compact arrays and strings carry their
 * length plus one, structs end with a count of tagged fields. */

#include "replication/control_records.h"

#include <string.h>

#include "protocol/base/byteorder.h"
#include "protocol/varint.h"

#define VOTER_BYTES_MIN    (4 + 16 + 1 + 2 + 2 + 1 + 1) /* no endpoints */
#define ENDPOINT_BYTES_MIN (1 + 1 + 2 + 1)

/* ---- writing: into space that was measured before ---- */

static uint8_t *put_i16(uint8_t *p, int16_t v)
{
    store_be16(p, (uint16_t)v);
    return p + 2;
}

static uint8_t *put_i32(uint8_t *p, int32_t v)
{
    store_be32(p, (uint32_t)v);
    return p + 4;
}

static uint8_t *put_count(uint8_t *p, size_t count)
{
    return varint_write_u32(p, (uint32_t)count + 1);
}

static uint8_t *put_no_tags(uint8_t *p)
{
    *p = 0;
    return p + 1;
}

static uint8_t *put_str(uint8_t *p, struct str s)
{
    p = put_count(p, s.size);
    if (s.size)
        memcpy(p, s.data, s.size);
    return p + s.size;
}

static struct bytes finish(uint8_t *start, uint8_t *end)
{
    return (struct bytes){start, start ? (size_t)(end - start) : 0};
}

static uint8_t *put_ids(uint8_t *p, const int32_t *ids, size_t count)
{
    p = put_count(p, count);
    for (size_t i = 0; i < count; i++)
        p = put_no_tags(put_i32(p, ids[i]));
    return p;
}

/* Version 0 also under kraft.version 1, as Kafka 4.4 writes it. */
struct bytes control_leader_change(struct arena *a, int32_t leader_id, const int32_t *voters, size_t voter_count,
                                   const int32_t *granting, size_t granting_count)
{
    uint8_t *start = arena_alloc(a, 2 + 4 + 2 * VARINT32_BYTES_MAX + 5 * (voter_count + granting_count) + 1);
    uint8_t *p = start;

    if (!start)
        return (struct bytes){NULL, 0};
    p = put_i16(p, 0);
    p = put_i32(p, leader_id);
    p = put_ids(p, voters, voter_count);
    p = put_ids(p, granting, granting_count);
    return finish(start, put_no_tags(p));
}

struct bytes control_kraft_version(struct arena *a, int16_t kraft_version)
{
    uint8_t *start = arena_alloc(a, 5);

    return start ? finish(start, put_no_tags(put_i16(put_i16(start, 0), kraft_version))) : (struct bytes){0};
}

static size_t voters_bytes_max(const struct voter_set *voters)
{
    size_t size = 2 + VARINT32_BYTES_MAX + 1;

    for (size_t i = 0; i < voter_set_count(voters); i++) {
        const struct raft_voter *v = voter_set_at(voters, i);

        size += VOTER_BYTES_MIN + VARINT32_BYTES_MAX;
        for (size_t k = 0; k < v->endpoint_count; k++)
            size += ENDPOINT_BYTES_MIN + 2 * VARINT32_BYTES_MAX + v->endpoints[k].listener.size +
                    v->endpoints[k].host.size;
    }
    return size;
}

static uint8_t *put_voter(uint8_t *p, const struct raft_voter *v)
{
    p = put_i32(p, v->key.id);
    memcpy(p, v->key.directory_id.bytes, sizeof v->key.directory_id.bytes);
    p += sizeof v->key.directory_id.bytes;
    p = put_count(p, v->endpoint_count);
    for (size_t k = 0; k < v->endpoint_count; k++) {
        p = put_str(p, v->endpoints[k].listener);
        p = put_str(p, v->endpoints[k].host);
        p = put_i16(p, (int16_t)v->endpoints[k].port);
        p = put_no_tags(p);
    }
    p = put_i16(p, v->kraft_version_min);
    p = put_i16(p, v->kraft_version_max);
    p = put_no_tags(p);
    return put_no_tags(p);
}

struct bytes control_voters(struct arena *a, const struct voter_set *voters)
{
    uint8_t *start = arena_alloc(a, voters_bytes_max(voters));
    uint8_t *p = start;

    if (!start)
        return (struct bytes){NULL, 0};
    p = put_i16(p, 0);
    p = put_count(p, voter_set_count(voters));
    for (size_t i = 0; i < voter_set_count(voters); i++)
        p = put_voter(p, voter_set_at(voters, i));
    return finish(start, put_no_tags(p));
}

struct bytes control_snapshot_header(struct arena *a, int64_t last_contained_timestamp_ms)
{
    uint8_t *start = arena_alloc(a, 11);

    if (!start)
        return (struct bytes){NULL, 0};
    put_i16(start, 0);
    store_be64(start + 2, (uint64_t)last_contained_timestamp_ms);
    return finish(start, put_no_tags(start + 10));
}

struct bytes control_snapshot_footer(struct arena *a)
{
    uint8_t *start = arena_alloc(a, 3);

    return start ? finish(start, put_no_tags(put_i16(start, 0))) : (struct bytes){0};
}

/* ---- reading: a cursor that remembers its first failure ---- */

struct cursor {
    const uint8_t *p; /* NULL once failed */
    const uint8_t *end;
};

static bool has(struct cursor *c, size_t size)
{
    if (c->p && (size_t)(c->end - c->p) < size)
        c->p = NULL;
    return c->p != NULL;
}

static int16_t get_i16(struct cursor *c)
{
    int16_t v;

    if (!has(c, 2))
        return 0;
    v = (int16_t)load_be16(c->p);
    c->p += 2;
    return v;
}

static int32_t get_i32(struct cursor *c)
{
    int32_t v;

    if (!has(c, 4))
        return 0;
    v = (int32_t)load_be32(c->p);
    c->p += 4;
    return v;
}

static uint32_t get_varint(struct cursor *c)
{
    uint32_t v = 0;

    if (c->p)
        c->p = varint_read_u32(c->p, c->end, &v);
    return v;
}

/* Of elements that take at least size_min bytes each; null counts as bad. */
static size_t get_count(struct cursor *c, size_t size_min)
{
    uint32_t coded = get_varint(c);

    if (!c->p || coded == 0 || coded - 1 > (size_t)(c->end - c->p) / size_min) {
        c->p = NULL;
        return 0;
    }
    return coded - 1;
}

static struct str get_str(struct cursor *c)
{
    size_t size = get_count(c, 1);
    struct str s;

    if (!c->p)
        return STR("");
    s = (struct str){(const char *)c->p, size};
    c->p += size;
    return s;
}

static void skip_tags(struct cursor *c)
{
    for (uint32_t left = get_varint(c); c->p && left > 0; left--) {
        uint32_t size;

        get_varint(c);
        size = get_varint(c);
        if (has(c, size))
            c->p += size;
    }
}

static struct status read_version(struct cursor *c, const char *where)
{
    int16_t version = get_i16(c);

    if (!c->p || version < 0)
        return status_error(KERR_CORRUPT_MESSAGE, where);
    return version == 0 ? STATUS_OK : status_error(KERR_UNSUPPORTED_VERSION, where);
}

static struct cursor cursor_on(struct bytes value)
{
    return (struct cursor){value.data, value.data ? value.data + value.size : NULL};
}

struct status control_read_kraft_version(struct bytes value, int16_t *out)
{
    struct cursor c = cursor_on(value);
    struct status st = read_version(&c, "KRAFT_VERSION record");
    int16_t level;

    if (status_failed(st))
        return st;
    level = get_i16(&c);
    skip_tags(&c);
    if (!c.p || level < 0)
        return status_error(KERR_CORRUPT_MESSAGE, "KRAFT_VERSION record");
    if (level > KRAFT_VERSION_MAX)
        return status_error(KERR_UNSUPPORTED_VERSION, "kraft.version");
    *out = level;
    return STATUS_OK;
}

static size_t read_endpoints(struct cursor *c, struct arena *a, const struct raft_endpoint **out)
{
    size_t count = get_count(c, ENDPOINT_BYTES_MIN);
    struct raft_endpoint *endpoints = arena_array(a, struct raft_endpoint, count);

    if (!endpoints) {
        c->p = NULL;
        return 0;
    }
    for (size_t i = 0; i < count; i++) {
        endpoints[i].listener = get_str(c);
        endpoints[i].host = get_str(c);
        endpoints[i].port = (uint16_t)get_i16(c);
        skip_tags(c);
    }
    *out = endpoints;
    return count;
}

struct status control_read_voters(struct bytes value, struct voter_set **out)
{
    struct cursor c = cursor_on(value);
    struct status st = read_version(&c, "KRAFT_VOTERS record");
    struct raft_voter voters[RAFT_VOTERS_MAX] = {0};
    struct voter_set *made = NULL;
    struct arena a;
    size_t count;

    if (status_failed(st))
        return st;
    count = get_count(&c, VOTER_BYTES_MIN);
    if (count > RAFT_VOTERS_MAX)
        return status_error(KERR_CORRUPT_MESSAGE, "KRAFT_VOTERS record: too many voters");
    arena_init(&a, 64 * 1024 + 16 * value.size);
    for (size_t i = 0; i < count && c.p; i++) {
        voters[i].key.id = get_i32(&c);
        if (has(&c, 16)) {
            memcpy(voters[i].key.directory_id.bytes, c.p, 16);
            c.p += 16;
        }
        voters[i].endpoint_count = read_endpoints(&c, &a, &voters[i].endpoints);
        voters[i].kraft_version_min = get_i16(&c);
        voters[i].kraft_version_max = get_i16(&c);
        skip_tags(&c);
        skip_tags(&c);
    }
    skip_tags(&c);
    if (c.p)
        made = voter_set_create(voters, count);
    arena_free(&a);
    if (!made)
        return status_error(KERR_CORRUPT_MESSAGE, "KRAFT_VOTERS record");
    *out = made;
    return STATUS_OK;
}

struct status control_read_snapshot_header(struct bytes value, int64_t *last_contained_timestamp_ms)
{
    struct cursor c = cursor_on(value);
    struct status st = read_version(&c, "SNAPSHOT_HEADER record");

    if (status_failed(st))
        return st;
    if (!has(&c, 8))
        return status_error(KERR_CORRUPT_MESSAGE, "SNAPSHOT_HEADER record");
    *last_contained_timestamp_ms = (int64_t)load_be64(c.p);
    return STATUS_OK;
}

struct status control_read_snapshot_footer(struct bytes value)
{
    struct cursor c = cursor_on(value);

    return read_version(&c, "SNAPSHOT_FOOTER record");
}
