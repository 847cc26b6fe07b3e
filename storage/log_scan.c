/* Walking over the whole batches of a segment, in order. */
#include <errno.h>
#include <stdlib.h>

#include "storage/log_internal.h"

#define SCAN_BUFFER_BYTES (256 * 1024) /* grows to the largest batch */

struct scan {
    struct segment *segment;
    uint8_t *buffer;
    size_t capacity;
    int64_t at; /* what the buffer holds */
    size_t size;
};

static struct status scan_fill(struct scan *s, int64_t position, size_t need, int64_t limit)
{
    struct file *f;
    size_t want;
    struct status st;

    if (position >= s->at && position + (int64_t)need <= s->at + (int64_t)s->size)
        return STATUS_OK;
    if (need > s->capacity || !s->buffer) {
        const size_t left = (size_t)(limit - position);
        const size_t most = left < SCAN_BUFFER_BYTES ? left : SCAN_BUFFER_BYTES;
        const size_t capacity = need > most ? need : most;
        uint8_t *buffer = realloc(s->buffer, capacity);

        if (!buffer)
            return status_errno(ENOMEM, "buffer to scan a segment");
        s->buffer = buffer;
        s->capacity = capacity;
    }
    want = (size_t)(limit - position) < s->capacity ? (size_t)(limit - position) : s->capacity;
    st = segment_log_file(s->segment, &f);
    if (!status_failed(st))
        st =
            s->segment->files->ops->read(s->segment->files, f, s->buffer, want, position, &s->size);
    s->at = position;
    if (status_failed(st)) {
        s->size = 0;
        return st;
    }
    return s->size < need ? status_error(KERR_CORRUPT_MESSAGE, "segment ends within a batch")
                          : STATUS_OK;
}

static struct status scan_batch(struct scan *s, int64_t position, int64_t limit, bool check_crc,
                                struct bytes *batch)
{
    int64_t size;
    struct status st;

    if (limit - position < RECORD_BATCH_HEADER_BYTES)
        return status_error(KERR_CORRUPT_MESSAGE, "segment ends within a batch");
    st = scan_fill(s, position, RECORD_BATCH_HEADER_BYTES, limit);
    if (status_failed(st))
        return st;
    size = record_batch_size_bytes(s->buffer + (position - s->at));
    if (size < RECORD_BATCH_HEADER_BYTES || size > limit - position)
        return status_error(KERR_CORRUPT_MESSAGE, "segment ends within a batch");
    st = scan_fill(s, position, (size_t)size, limit);
    if (status_failed(st))
        return st;
    *batch = (struct bytes){s->buffer + (position - s->at), (size_t)size};
    if (!segment_may_hold(s->segment, batch->data))
        return status_error(KERR_CORRUPT_MESSAGE, "no record batch where one should start");
    return check_crc ? record_batch_check(*batch) : STATUS_OK;
}

struct status log_scan(struct segment *s, int64_t position, int64_t limit, int64_t check_crc_from,
                       log_scan_visit *visit, void *arg, int64_t *end)
{
    struct scan scan = {.segment = s};
    struct status st = STATUS_OK;

    *end = position;
    while (*end < limit) {
        struct bytes batch;

        st = scan_batch(&scan, *end, limit, *end >= check_crc_from, &batch);
        if (!status_failed(st))
            st = visit(arg, batch, *end);
        if (status_failed(st))
            break;
        *end += (int64_t)batch.size;
    }
    free(scan.buffer);
    return st;
}
