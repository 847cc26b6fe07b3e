/* Maps the generated codecs of protocol/schemas/raft_records.schema to the values that Raft works
 * with. */

#include "replication/control_records.h"

#include <string.h>

#include "protocol/messages/raft_records.h"
#include "protocol/reader.h"
#include "protocol/writer.h"

#define VALUE_BYTES_MAX ((size_t)1024 * 1024)

/* ---- writing ---- */

/* Moves what was written into the arena. */
static struct bytes finish(struct writer *w, struct arena *a)
{
    uint8_t *kept = writer_ok(w) ? arena_alloc(a, w->size) : NULL;
    struct bytes value = {kept, kept ? w->size : 0};

    if (kept)
        memcpy(kept, w->data, w->size);
    writer_free(w);
    return value;
}

static struct leader_change_message_voter *leader_voters(struct arena *a, const int32_t *ids,
                                                         size_t count)
{
    struct leader_change_message_voter *voters =
        arena_array(a, struct leader_change_message_voter, count);

    for (size_t i = 0; voters && i < count; i++) {
        leader_change_message_voter_init(&voters[i]);
        voters[i].voter_id = ids[i];
    }
    return voters;
}

/* Version 0 also under kraft.version 1, as Kafka 4.4 writes it. */
struct bytes control_leader_change(struct arena *a, int32_t leader_id, const int32_t *voters,
                                   size_t voter_count, const int32_t *granting,
                                   size_t granting_count)
{
    struct leader_change_message m;
    struct writer w;

    writer_init(&w, VALUE_BYTES_MAX);
    leader_change_message_init(&m);
    m.leader_id = leader_id;
    m.voters = leader_voters(a, voters, voter_count);
    m.voters_count = voter_count;
    m.granting_voters = leader_voters(a, granting, granting_count);
    m.granting_voters_count = granting_count;
    if (!m.voters || !m.granting_voters)
        return (struct bytes){NULL, 0};
    leader_change_message_encode(&m, &w, 0);
    return finish(&w, a);
}

struct bytes control_kraft_version(struct arena *a, int16_t kraft_version)
{
    struct kraft_version_record m;
    struct writer w;

    writer_init(&w, VALUE_BYTES_MAX);
    kraft_version_record_init(&m);
    m.kraft_version = kraft_version;
    kraft_version_record_encode(&m, &w, 0);
    return finish(&w, a);
}

static bool fill_voter(struct arena *a, const struct raft_voter *v, struct voters_record_voter *out)
{
    voters_record_voter_init(out);
    out->voter_id = v->key.id;
    out->voter_directory_id = v->key.directory_id;
    out->kraft_version_feature.min_supported_version = v->kraft_version_min;
    out->kraft_version_feature.max_supported_version = v->kraft_version_max;
    out->endpoints_count = v->endpoint_count;
    out->endpoints = arena_array(a, struct voters_record_endpoint, v->endpoint_count);
    for (size_t i = 0; out->endpoints && i < v->endpoint_count; i++) {
        voters_record_endpoint_init(&out->endpoints[i]);
        out->endpoints[i].name = v->endpoints[i].listener;
        out->endpoints[i].host = v->endpoints[i].host;
        out->endpoints[i].port = v->endpoints[i].port;
    }
    return out->endpoints != NULL;
}

struct bytes control_voters(struct arena *a, const struct voter_set *voters)
{
    struct voters_record m;
    struct writer w;

    voters_record_init(&m);
    m.voters_count = voter_set_count(voters);
    m.voters = arena_array(a, struct voters_record_voter, m.voters_count);
    if (!m.voters)
        return (struct bytes){NULL, 0};
    for (size_t i = 0; i < m.voters_count; i++)
        if (!fill_voter(a, voter_set_at(voters, i), &m.voters[i]))
            return (struct bytes){NULL, 0};
    writer_init(&w, VALUE_BYTES_MAX);
    voters_record_encode(&m, &w, 0);
    return finish(&w, a);
}

struct bytes control_snapshot_header(struct arena *a, int64_t last_contained_timestamp_ms)
{
    struct snapshot_header_record m;
    struct writer w;

    writer_init(&w, VALUE_BYTES_MAX);
    snapshot_header_record_init(&m);
    m.last_contained_log_timestamp = last_contained_timestamp_ms;
    snapshot_header_record_encode(&m, &w, 0);
    return finish(&w, a);
}

struct bytes control_snapshot_footer(struct arena *a)
{
    struct snapshot_footer_record m;
    struct writer w;

    writer_init(&w, VALUE_BYTES_MAX);
    snapshot_footer_record_init(&m);
    snapshot_footer_record_encode(&m, &w, 0);
    return finish(&w, a);
}

/* ---- reading ---- */

/* Each value says its own version first; another one than 0 may look different. */
static struct status check_version(struct bytes value, const char *where)
{
    struct reader r = reader_of(value.data, value.size);
    int16_t version = read_int16(&r);

    if (!value.data || !reader_ok(&r) || version < 0)
        return status_error(KERR_CORRUPT_MESSAGE, where);
    return version == 0 ? STATUS_OK : status_error(KERR_UNSUPPORTED_VERSION, where);
}

struct status control_read_kraft_version(struct bytes value, int16_t *out)
{
    struct status st = check_version(value, "KRAFT_VERSION record");
    struct reader r = reader_of(value.data, value.size);
    struct kraft_version_record m;
    struct arena a;

    if (status_failed(st))
        return st;
    arena_init(&a, 0); /* it has no arrays */
    if (!kraft_version_record_decode(&m, &r, &a, 0) || m.kraft_version < 0)
        return status_error(KERR_CORRUPT_MESSAGE, "KRAFT_VERSION record");
    if (m.kraft_version > KRAFT_VERSION_MAX)
        return status_error(KERR_UNSUPPORTED_VERSION, "kraft.version");
    *out = m.kraft_version;
    return STATUS_OK;
}

static bool take_voter(struct arena *a, const struct voters_record_voter *v, struct raft_voter *out)
{
    struct raft_endpoint *endpoints = arena_array(a, struct raft_endpoint, v->endpoints_count);

    if (!endpoints)
        return false;
    for (size_t i = 0; i < v->endpoints_count; i++)
        endpoints[i] = (struct raft_endpoint){v->endpoints[i].name, v->endpoints[i].host,
                                              v->endpoints[i].port};
    *out = (struct raft_voter){
        .key = {v->voter_id, v->voter_directory_id},
        .endpoints = endpoints,
        .endpoint_count = v->endpoints_count,
        .kraft_version_min = v->kraft_version_feature.min_supported_version,
        .kraft_version_max = v->kraft_version_feature.max_supported_version,
    };
    return true;
}

static struct voter_set *decode_voters(struct bytes value, struct arena *a)
{
    struct raft_voter voters[RAFT_VOTERS_MAX];
    struct reader r = reader_of(value.data, value.size);
    struct voters_record m;

    if (!voters_record_decode(&m, &r, a, 0) || m.voters_count > RAFT_VOTERS_MAX)
        return NULL;
    for (size_t i = 0; i < m.voters_count; i++)
        if (!take_voter(a, &m.voters[i], &voters[i]))
            return NULL;
    return voter_set_create(voters, m.voters_count);
}

struct status control_read_voters(struct bytes value, struct voter_set **out)
{
    struct status st = check_version(value, "KRAFT_VOTERS record");
    struct voter_set *made;
    struct arena a;

    if (status_failed(st))
        return st;
    arena_init(&a, 64 * 1024 + 32 * value.size);
    made = decode_voters(value, &a);
    arena_free(&a);
    if (!made)
        return status_error(KERR_CORRUPT_MESSAGE, "KRAFT_VOTERS record");
    *out = made;
    return STATUS_OK;
}

struct status control_read_snapshot_header(struct bytes value, int64_t *last_contained_timestamp_ms)
{
    struct status st = check_version(value, "SNAPSHOT_HEADER record");
    struct reader r = reader_of(value.data, value.size);
    struct snapshot_header_record m;
    struct arena a;

    if (status_failed(st))
        return st;
    arena_init(&a, 0);
    if (!snapshot_header_record_decode(&m, &r, &a, 0))
        return status_error(KERR_CORRUPT_MESSAGE, "SNAPSHOT_HEADER record");
    *last_contained_timestamp_ms = m.last_contained_log_timestamp;
    return STATUS_OK;
}

struct status control_read_snapshot_footer(struct bytes value)
{
    return check_version(value, "SNAPSHOT_FOOTER record");
}
