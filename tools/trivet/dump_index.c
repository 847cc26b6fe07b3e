/* The files beside a segment: offset, time and transaction index, producer snapshot. Indexes are
 * compared with their segment when it lies beside them. */

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "protocol/base/crc32c.h"
#include "tools/trivet/dump.h"

#define PATH_BYTES_MAX 4096

/* ---- the segment beside an index ---- */

struct segment_heads {
    char path[PATH_BYTES_MAX];
    struct dump_input in;
    bool open;
    int64_t position;
    uint8_t head[RECORD_BATCH_HEADER_BYTES]; /* of the batch at position */
};

/* ".../00000000000000000000.index" -> ".../00000000000000000000.log"; closed when there is none. */
static void segment_heads_open(struct dump *d, const struct dump_input *index,
                               struct segment_heads *s)
{
    const char *dot = strchr(index->name, '.');
    size_t stem = (size_t)(dot - index->path);

    s->open = false;
    s->position = 0;
    if (!dot || stem + sizeof ".log" > sizeof s->path)
        return;
    memcpy(s->path, index->path, stem);
    memcpy(s->path + stem, ".log", sizeof ".log");
    if (access(s->path, F_OK) == 0)
        s->open = dump_input_open(d, s->path, &s->in);
}

static void segment_heads_close(struct segment_heads *s)
{
    if (s->open)
        dump_input_close(&s->in);
    s->open = false;
}

/* Loads the head of the batch at a position; false: none fits there. */
static bool segment_heads_at(struct dump *d, struct segment_heads *s, int64_t position)
{
    int64_t size;

    if (position < 0 || position > s->in.size - RECORD_BATCH_HEADER_BYTES ||
        !dump_input_read(d, &s->in, s->head, sizeof s->head, position))
        return false;
    size = record_batch_size_bytes(s->head);
    s->position = position;
    return size >= RECORD_BATCH_HEADER_BYTES && size <= s->in.size - position &&
           record_batch_magic(s->head) == RECORD_BATCH_MAGIC;
}

/* Goes forward to the first batch whose last offset is not below `offset`. */
static bool segment_heads_seek(struct dump *d, struct segment_heads *s, int64_t offset)
{
    int64_t position = s->position;

    while (segment_heads_at(d, s, position)) {
        if (record_batch_last_offset(s->head) >= offset)
            return true;
        position += record_batch_size_bytes(s->head);
    }
    return false;
}

static int64_t base_offset_of(const struct dump_input *in)
{
    return strtoll(in->name, NULL, 10);
}

/* Whole entries of a file; what is left over is a problem. */
static int64_t entry_count(struct dump *d, const struct dump_input *in, int64_t entry_bytes)
{
    if (in->size % entry_bytes != 0)
        dump_problem(d, "%s: %" PRId64 " bytes are no multiple of %" PRId64, in->path, in->size,
                     entry_bytes);
    if (in->size < entry_bytes)
        dump_text(d, "%s is empty.", in->path);
    return in->size / entry_bytes;
}

/* ---- offset index: int32 relative offset, int32 position ---- */

#define OFFSET_ENTRY_BYTES 8

static void check_offset_entry(struct dump *d, const struct dump_input *in,
                               struct segment_heads *log, int64_t offset, int64_t position)
{
    if (!log->open)
        return;
    if (!segment_heads_at(d, log, position))
        dump_problem(d, "%s: no batch at position %" PRId64 " (offset %" PRId64 ")", in->path,
                     position, offset);
    else if (record_batch_last_offset(log->head) != offset)
        dump_problem(d, "%s: index offset %" PRId64 ", log offset %" PRId64, in->path, offset,
                     record_batch_last_offset(log->head));
}

void dump_offset_index(struct dump *d, const struct dump_input *in)
{
    int64_t count = entry_count(d, in, OFFSET_ENTRY_BYTES);
    struct segment_heads log;

    segment_heads_open(d, in, &log);
    for (int64_t i = 0; i < count; i++) {
        uint8_t entry[OFFSET_ENTRY_BYTES];
        int64_t offset;
        int64_t position;

        if (!dump_input_read(d, in, entry, sizeof entry, i * OFFSET_ENTRY_BYTES))
            break;
        offset = base_offset_of(in) + (int64_t)load_be32(entry);
        position = (int64_t)load_be32(entry + 4);
        if (i > 0 && load_be32(entry) == 0)
            break; /* the unused rest of an index that was not trimmed */
        check_offset_entry(d, in, &log, offset, position);
        dump_line(
            d, "offsetIndex", "",
            json_pack("{sIsI}", "offset", (json_int_t)offset, "position", (json_int_t)position));
    }
    segment_heads_close(&log);
}

/* ---- time index: int64 timestamp, int32 relative offset ---- */

#define TIME_ENTRY_BYTES 12

static void check_time_entry(struct dump *d, const struct dump_input *in, struct segment_heads *log,
                             int64_t offset, int64_t timestamp_ms)
{
    if (!log->open)
        return;
    if (!segment_heads_seek(d, log, offset) || record_batch_last_offset(log->head) != offset)
        dump_problem(d, "%s: no batch ends at offset %" PRId64, in->path, offset);
    else if (record_batch_max_timestamp(log->head) != timestamp_ms)
        dump_problem(d, "%s: index timestamp %" PRId64 ", log timestamp %" PRId64, in->path,
                     timestamp_ms, record_batch_max_timestamp(log->head));
}

void dump_time_index(struct dump *d, const struct dump_input *in)
{
    int64_t count = entry_count(d, in, TIME_ENTRY_BYTES);
    int64_t previous_ms = NO_TIMESTAMP;
    struct segment_heads log;

    segment_heads_open(d, in, &log);
    for (int64_t i = 0; i < count; i++) {
        uint8_t entry[TIME_ENTRY_BYTES];
        int64_t timestamp_ms;
        int64_t offset;

        if (!dump_input_read(d, in, entry, sizeof entry, i * TIME_ENTRY_BYTES))
            break;
        timestamp_ms = (int64_t)load_be64(entry);
        offset = base_offset_of(in) + (int64_t)load_be32(entry + 8);
        if (i > 0 && load_be32(entry + 8) == 0)
            break;
        check_time_entry(d, in, &log, offset, timestamp_ms);
        if (timestamp_ms <= previous_ms)
            dump_problem(d, "%s: timestamp %" PRId64 " follows %" PRId64, in->path, timestamp_ms,
                         previous_ms);
        previous_ms = timestamp_ms;
        dump_line(d, "timeIndex", "",
                  json_pack("{sIsI}", "timestamp", (json_int_t)timestamp_ms, "offset",
                            (json_int_t)offset));
    }
    segment_heads_close(&log);
}

/* ---- transaction index: int16 version, four int64 ---- */

#define TRANSACTION_ENTRY_BYTES 34

void dump_transaction_index(struct dump *d, const struct dump_input *in)
{
    int64_t count = entry_count(d, in, TRANSACTION_ENTRY_BYTES);

    for (int64_t i = 0; i < count; i++) {
        uint8_t entry[TRANSACTION_ENTRY_BYTES];
        int version;

        if (!dump_input_read(d, in, entry, sizeof entry, i * TRANSACTION_ENTRY_BYTES))
            break;
        version = (int16_t)load_be16(entry);
        if (version != 0)
            dump_problem(d, "%s: entry %" PRId64 " has version %d", in->path, i, version);
        dump_line(d, "transactionIndex", "",
                  json_pack("{sisIsIsIsI}", "version", version, "producerId",
                            (json_int_t)load_be64(entry + 2), "firstOffset",
                            (json_int_t)load_be64(entry + 10), "lastOffset",
                            (json_int_t)load_be64(entry + 18), "lastStableOffset",
                            (json_int_t)load_be64(entry + 26)));
    }
}

/* ---- producer snapshot ----
 *
 * int16 version 1, CRC-32C of all from byte 6, int32 count; each producer: int64 id, int16 epoch,
 * int32 last sequence, int64 last offset, int32 offset delta, int64 timestamp, int32 coordinator
 * epoch, int64 first offset of its open transaction (-1: none). */

#define SNAPSHOT_HEAD_BYTES  10
#define SNAPSHOT_CRC_FROM    6
#define PRODUCER_ENTRY_BYTES 46
#define SNAPSHOT_BYTES_MAX   ((int64_t)256 << 20)

/* As Kafka numbers them: they wrap from INT32_MAX to 0. */
static int32_t first_sequence(int32_t last, int32_t delta)
{
    return (int32_t)(((uint32_t)last - (uint32_t)delta) & INT32_MAX);
}

static void dump_producer(struct dump *d, const uint8_t *p)
{
    int32_t last_sequence = (int32_t)load_be32(p + 10);
    int64_t last_offset = (int64_t)load_be64(p + 14);
    int32_t delta = (int32_t)load_be32(p + 22);
    int64_t first_offset = (int64_t)load_be64(p + 38);
    json_int_t timestamp = (json_int_t)load_be64(p + 26);
    json_t *line =
        json_pack("{sIsisi}", "producerId", (json_int_t)load_be64(p), "producerEpoch",
                  (int16_t)load_be16(p + 8), "coordinatorEpoch", (int32_t)load_be32(p + 34));

    json_object_set_new(line, "currentTxnFirstOffset",
                        first_offset < 0 ? json_null() : json_integer(first_offset));
    json_object_set_new(line, "lastTimestamp", json_integer(timestamp));
    if (last_offset >= 0) { /* the last batch, when there is one */
        json_object_set_new(line, "firstSequence",
                            json_integer(first_sequence(last_sequence, delta)));
        json_object_set_new(line, "lastSequence", json_integer(last_sequence));
        json_object_set_new(line, "lastOffset", json_integer(last_offset));
        json_object_set_new(line, "offsetDelta", json_integer(delta));
        json_object_set_new(line, "timestamp", json_integer(timestamp));
    }
    dump_line(d, "producer", "", line);
}

/* What is wrong with a snapshot's bytes; NULL: nothing. */
static const char *snapshot_problem(const uint8_t *p, size_t size)
{
    if (size < SNAPSHOT_HEAD_BYTES)
        return "too short";
    if (load_be16(p) != 1)
        return "unknown version";
    if (load_be32(p + 2) != crc32c(p + SNAPSHOT_CRC_FROM, size - SNAPSHOT_CRC_FROM))
        return "wrong CRC";
    if (size - SNAPSHOT_HEAD_BYTES != (uint64_t)load_be32(p + 6) * PRODUCER_ENTRY_BYTES)
        return "size and number of producers do not agree";
    return NULL;
}

void dump_producer_snapshot(struct dump *d, const struct dump_input *in)
{
    size_t size = (size_t)in->size;
    uint8_t *bytes = in->size <= SNAPSHOT_BYTES_MAX ? malloc(size ? size : 1) : NULL;
    const char *problem;

    if (!bytes) {
        dump_problem(d, "%s: %" PRId64 " bytes are too many", in->path, in->size);
        return;
    }
    if (dump_input_read(d, in, bytes, size, 0)) {
        problem = snapshot_problem(bytes, size);
        if (problem)
            dump_problem(d, "%s: corrupt: %s", in->path, problem);
        else
            for (size_t at = SNAPSHOT_HEAD_BYTES; at < size; at += PRODUCER_ENTRY_BYTES)
                dump_producer(d, bytes + at);
    }
    free(bytes);
}
