/* Record batches from anywhere: iterated, validated, decompressed, turned to another codec.
 *
 * Input: one byte of rules, then the bytes of a log or a produce request. CRCs are put right first,
 * or nothing behind them would ever be reached. */

#include <stdlib.h>
#include <string.h>

#include "protocol/base/check.h"
#include "protocol/record_batch_build.h"
#include "protocol/record_batch_validate.h"

#define DECOMPRESSED_MAX ((size_t)1 << 20)

enum rules_bit { RULE_CLIENT = 1, RULE_COMPACTED = 2, RULE_TIMESTAMPS = 4, RULE_CODEC_SHIFT = 4 };

static struct compression_scratch *scratch;

/* Reads each byte that a record points to, so that ASan sees it. */
static uint64_t touch(struct bytes b)
{
    uint64_t sum = b.size;

    for (size_t i = 0; i < b.size; i++)
        sum = sum * 31 + b.data[i];
    return sum;
}

/* Number of records, and a sum over all that they say; -1 when one is corrupt. */
static int64_t read_records(struct bytes batch, uint64_t *sum)
{
    struct record_iter it;
    struct record r;
    int64_t count = 0;

    *sum = 0;
    record_iter_open(&it, batch, scratch, DECOMPRESSED_MAX);
    for (; record_iter_next(&it, &r); count++) {
        struct bytes headers = r.headers;
        struct record_header h;
        int32_t header_count = 0;

        *sum = *sum * 31 + touch(r.key) + 7 * touch(r.value) + (uint64_t)r.offset;
        *sum = *sum * 31 + (uint64_t)r.timestamp_ms + (uint64_t)control_record_type(&r);
        for (; record_headers_next(&headers, &h); header_count++)
            *sum += touch((struct bytes){(const uint8_t *)h.key.data, h.key.size}) + touch(h.value);
        CHECK(header_count == r.header_count);
    }
    return status_failed(it.status) ? -1 : count;
}

/* What passed validation can be read, and says the same under another codec. */
static void check_accepted(struct bytes batch, const struct record_validated *validated, int codec)
{
    enum compression_type to = (enum compression_type)(codec % COMPRESSION_COUNT);
    struct bytes_mut made;
    struct bytes copy;
    uint64_t sum_before;
    uint64_t sum_after;

    if (validated->records_bytes > DECOMPRESSED_MAX)
        return;
    CHECK(read_records(batch, &sum_before) == record_batch_record_count(batch.data));
    if (status_failed(record_batch_recompress(batch, to, compression_levels(to).initial,
                                              DECOMPRESSED_MAX, scratch, &made)))
        abort();
    copy = (struct bytes){made.data, made.size};
    CHECK(!status_failed(record_batch_check(copy)));
    CHECK(read_records(copy, &sum_after) == record_batch_record_count(batch.data));
    CHECK(sum_before == sum_after);
}

static void try_batch(struct bytes_mut batch, uint8_t rules_bits)
{
    struct bytes view = {batch.data, batch.size};
    struct record_validation rules = {
        .from_client = rules_bits & RULE_CLIENT,
        .compacted = rules_bits & RULE_COMPACTED,
        .check_timestamps = rules_bits & RULE_TIMESTAMPS,
        .now_ms = 1700000000000,
        .timestamp_before_max_ms = INT64_MAX,
        .timestamp_after_max_ms = 3600000,
        .decompressed_max = DECOMPRESSED_MAX,
    };
    struct record_refusal refusal = {0};
    struct record_validated validated;
    struct status st;
    uint64_t sum;

    record_batch_set_crc(batch);
    CHECK(!status_failed(record_batch_check(view)));
    read_records(view, &sum);
    st = record_batch_validate(view, &rules, scratch, &validated, &refusal);
    if (status_failed(st))
        CHECK(refusal.message != NULL && refusal.error_count <= RECORD_ERRORS_MAX);
    else
        check_accepted(view, &validated, rules_bits >> RULE_CODEC_SHIFT);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct record_batches it;
    struct bytes batch;
    uint8_t *copy;

    if (size < 1)
        return 0;
    if (!scratch)
        scratch = compression_scratch_new();
    copy = malloc(size);
    if (!copy || !scratch)
        abort();
    memcpy(copy, data + 1, size - 1);
    record_batch_check_produce((struct bytes){copy, size - 1}, data[0], NULL);
    it = record_batches((struct bytes){copy, size - 1});
    while (record_batches_next(&it, &batch))
        try_batch((struct bytes_mut){copy + (batch.data - copy), batch.size}, data[0]);
    compression_scratch_trim(scratch);
    free(copy);
    return 0;
}
