#ifndef PROTOCOL_RECORD_BATCH_VALIDATE_H
#define PROTOCOL_RECORD_BATCH_VALIDATE_H

/* What a leader checks in a batch before it appends it: all that Kafka's LogValidator checks, and
 * that offset deltas are 0, 1, 2 … (Kafka would rewrite or store a batch whose deltas are not).
 *
 * One pass, no copies, no allocation for uncompressed batches; compressed ones stream through a 64
 * KiB window, so that a bomb costs no memory beyond its codec's (compression.h) and at most
 * decompressed_max bytes of work. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/record_batch.h"

#define RECORD_ERRORS_MAX 8 /* of a batch, that are told to its producer */

/* For ProduceResponse.RecordErrors. */
struct record_error {
    int32_t index;       /* of the record in its batch */
    const char *message; /* static */
};

/* Why a batch was refused, in words for its producer. */
struct record_refusal {
    const char *message; /* static; NULL: none */
    struct record_error errors[RECORD_ERRORS_MAX];
    size_t error_count;
};

struct record_validation {
    bool from_client;      /* control batches, a base offset and odd producer fields are refused */
    bool compacted;        /* the topic's cleanup.policy has compact: keys must not be null */
    bool check_timestamps; /* false for LogAppendTime and for a node's own records */
    int64_t now_ms;
    int64_t timestamp_before_max_ms;
    int64_t timestamp_after_max_ms;
    size_t decompressed_max; /* max.decompressed.message.bytes */
};

struct record_validated {
    /* Largest timestamp of the records, NO_TIMESTAMP when they have none. Where the header says
     * otherwise, record_batch_set_max_timestamp puts it right, as Kafka does. */
    int64_t max_timestamp_ms;
    size_t records_bytes; /* of the records, uncompressed */
};

/* The records field of a produce request: exactly one whole batch of magic 2, of a codec that this
 * version of the request may carry. Looks at the header only.
 *
 * INVALID_RECORD                None, several, or of another magic.
 * CORRUPT_MESSAGE               A length that is impossible, or bytes that are no whole batch.
 * UNSUPPORTED_COMPRESSION_TYPE  zstd before version 7, or a codec that does not exist.
 * *refusal (may be NULL) gets the words. */
struct status record_batch_check_produce(struct bytes records, int16_t api_version,
                                         struct record_refusal *refusal);

/* One whole batch whose length, magic and CRC were checked (record_batch_check).
 *
 * out      Written only on success.
 * refusal  May be NULL. Written only on failure.
 *
 * INVALID_RECORD     Header and records do not agree, a record is malformed, the records cannot be
 *                    decompressed (the CRC was right, so sending again cannot help), a null key
 * where the topic is compacted, or something that only brokers may write. INVALID_TIMESTAMP  A
 * record's timestamp is out of the window, or the producer set LogAppendTime. MESSAGE_TOO_LARGE
 * More than decompressed_max bytes of records. UNSUPPORTED_COMPRESSION_TYPE, UNKNOWN_SERVER_ERROR
 * (no memory) */
struct status record_batch_validate(struct bytes batch, const struct record_validation *rules,
                                    struct compression_scratch *scratch,
                                    struct record_validated *out, struct record_refusal *refusal);

#endif
