#ifndef STORAGE_LOG_CONFIG_H
#define STORAGE_LOG_CONFIG_H

/* The topic settings that a log acts on; names and defaults are Kafka's (docs: topic
 * configuration). */

#include <stdbool.h>
#include <stdint.h>

struct log_config {
    int64_t retention_ms;    /* -1: unlimited */
    int64_t retention_bytes; /* -1: unlimited */
    int64_t segment_ms;
    int64_t segment_jitter_ms;
    int32_t segment_bytes;
    int32_t segment_index_bytes;
    int32_t index_interval_bytes;
    int32_t max_message_bytes; /* of a batch as stored */
    int32_t max_decompressed_message_bytes;
    int64_t file_delete_delay_ms;
    int64_t flush_messages;
    int64_t flush_ms;
    int64_t message_timestamp_before_max_ms;
    int64_t message_timestamp_after_max_ms;
    bool message_timestamp_log_append; /* message.timestamp.type=LogAppendTime */
    bool cleanup_delete;
    bool cleanup_compact;
    bool preallocate;
    int8_t compression_type; /* enum compression_type, or LOG_COMPRESSION_PRODUCER */
    int32_t compression_gzip_level;
    int32_t compression_lz4_level;
    int32_t compression_zstd_level;
    /* with cleanup_compact */
    double min_cleanable_dirty_ratio;
    int64_t min_compaction_lag_ms;
    int64_t max_compaction_lag_ms;
    int64_t delete_retention_ms;
};

#define LOG_COMPRESSION_PRODUCER (-1)

#endif
