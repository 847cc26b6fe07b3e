#include "broker/format.h"

#include <stdlib.h>

#include "protocol/messages/metadata_records.h"
#include "replication/control_records.h"
#include "replication/raft_node.h"

/* Levels and order as `format --standalone` of Apache Kafka 4.4 writes them. */
static const struct {
    const char *name;
    int16_t level;
} default_features[] = {
    {"metadata.version", 33}, {"eligible.leader.replicas.version", 1},
    {"group.version", 1},     {"share.version", 2},
    {"streams.version", 1},   {"transaction.version", 2},
};

#define FEATURE_COUNT   (sizeof default_features / sizeof default_features[0])
#define FRAME_VERSION   1
#define FRAME_BYTES_MAX 1024

struct raft_voter format_voter(struct raft_replica_key key, const struct raft_endpoint *endpoint)
{
    return (struct raft_voter){.key = key,
                               .endpoints = endpoint,
                               .endpoint_count = 1,
                               .kraft_version_max = KRAFT_VERSION_MAX};
}

struct status format_metadata(struct files *files, struct clock *clock, const char *directory,
                              const struct raft_voter *voters, size_t voter_count)
{
    struct writer writers[FEATURE_COUNT];
    struct bytes values[FEATURE_COUNT];
    struct raft_format_args args = {.files = files,
                                    .clock = clock,
                                    .directory = directory,
                                    .voters = voters,
                                    .voter_count = voter_count,
                                    .values = values,
                                    .count = FEATURE_COUNT};
    struct status st;

    for (size_t i = 0; i < FEATURE_COUNT; i++) {
        struct feature_level_record record = {str_from(default_features[i].name),
                                              default_features[i].level};
        struct writer *w = &writers[i];

        writer_init(w, FRAME_BYTES_MAX);
        write_unsigned_varint(w, FRAME_VERSION);
        write_unsigned_varint(w, FEATURE_LEVEL_RECORD_KEY);
        write_unsigned_varint(w, 0);
        feature_level_record_encode(&record, w, 0);
        values[i] = (struct bytes){w->data, w->size};
    }
    st = raft_node_format(&args);
    for (size_t i = 0; i < FEATURE_COUNT; i++)
        writer_free(&writers[i]);
    return st;
}
