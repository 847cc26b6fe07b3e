#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/record_batch.h"
#include "replication/control_records.h"
#include "replication/raft_node.h"
#include "replication/snapshot_file.h"

#define WINDOW_BYTES (64 * 1024)

struct snapshot_reader {
    struct files *files;
    struct file *file;
    int64_t position; /* of the next batch */
    int64_t next_offset;
    struct snapshot_head head;
    uint8_t *batch; /* owned; the present one */
    size_t capacity;
    struct bytes *values; /* owned; point into batch */
    size_t value_capacity;
    struct compression_scratch *scratch; /* made when a compressed batch turns up */
    bool ended;
    struct status status;
};

static struct status corrupt(const char *where)
{
    return status_error(KERR_CORRUPT_MESSAGE, where);
}

static struct status read_exactly(struct snapshot_reader *r, uint8_t *to, size_t size, int64_t at)
{
    size_t got;
    struct status st = r->files->ops->read(r->files, r->file, to, size, at, &got);

    if (!status_failed(st) && got < size)
        return corrupt("snapshot: ends without a footer");
    return st;
}

static struct status reserve(struct snapshot_reader *r, size_t size)
{
    uint8_t *grown;

    if (size <= r->capacity)
        return STATUS_OK;
    size = size < WINDOW_BYTES ? WINDOW_BYTES : size;
    grown = realloc(r->batch, size);
    if (!grown)
        return status_errno(ENOMEM, "snapshot batch");
    r->batch = grown;
    r->capacity = size;
    return STATUS_OK;
}

/* Loads the batch at `position` and checks it. */
static struct status load_batch(struct snapshot_reader *r, struct bytes *out)
{
    struct status st = reserve(r, RECORD_BATCH_HEADER_BYTES);
    int64_t size;

    if (!status_failed(st))
        st = read_exactly(r, r->batch, RECORD_BATCH_HEADER_BYTES, r->position);
    if (status_failed(st))
        return st;
    size = record_batch_size_bytes(r->batch);
    if (size < RECORD_BATCH_HEADER_BYTES || size > 2 * (int64_t)RAFT_BATCH_BYTES_MAX)
        return corrupt("snapshot: batch length");
    st = reserve(r, (size_t)size);
    if (!status_failed(st))
        st = read_exactly(r, r->batch + RECORD_BATCH_HEADER_BYTES,
                          (size_t)size - RECORD_BATCH_HEADER_BYTES,
                          r->position + RECORD_BATCH_HEADER_BYTES);
    if (status_failed(st))
        return st;
    *out = (struct bytes){r->batch, (size_t)size};
    st = record_batch_check(*out);
    if (status_failed(st))
        return st;
    if (record_batch_base_offset(r->batch) != r->next_offset ||
        record_batch_last_offset_delta(r->batch) < 0)
        return corrupt("snapshot: offsets do not follow each other");
    r->next_offset = record_batch_last_offset(r->batch) + 1;
    r->position += size;
    return STATUS_OK;
}

static struct status open_records(struct snapshot_reader *r, struct bytes batch,
                                  struct record_iter *it)
{
    if (record_batch_compression(batch.data) != COMPRESSION_NONE && !r->scratch) {
        r->scratch = compression_scratch_new();
        if (!r->scratch)
            return status_errno(ENOMEM, "snapshot batch");
    }
    return record_iter_open(it, batch, r->scratch, 4 * (size_t)RAFT_BATCH_BYTES_MAX);
}

static struct status take_head_record(struct snapshot_reader *r, const struct record *record,
                                      size_t index)
{
    int type = control_record_type(record);

    if (index == 0)
        return type == CONTROL_SNAPSHOT_HEADER
                   ? control_read_snapshot_header(record->value,
                                                  &r->head.last_contained_timestamp_ms)
                   : corrupt("snapshot: does not begin with its header");
    if (type == CONTROL_KRAFT_VERSION)
        return control_read_kraft_version(record->value, &r->head.kraft_version);
    if (type == CONTROL_KRAFT_VOTERS && !r->head.voters)
        return control_read_voters(record->value, &r->head.voters);
    return corrupt("snapshot: unknown control record in its header");
}

static struct status read_head(struct snapshot_reader *r)
{
    struct record_iter it;
    struct record record;
    struct bytes batch;
    struct status st = load_batch(r, &batch);

    if (!status_failed(st) && !record_batch_is_control(batch.data))
        st = corrupt("snapshot: does not begin with its header");
    if (!status_failed(st))
        st = open_records(r, batch, &it);
    for (size_t i = 0; !status_failed(st); i++) {
        if (!record_iter_next(&it, &record))
            return i == 0 ? corrupt("snapshot: empty header") : it.status;
        st = take_head_record(r, &record, i);
    }
    return st;
}

struct status snapshot_reader_open_path(struct files *fs, const char *path,
                                        struct snapshot_reader **out)
{
    struct snapshot_reader *r = calloc(1, sizeof *r);
    struct status st;

    if (!r)
        return status_errno(ENOMEM, "open snapshot");
    r->files = fs;
    st = fs->ops->open(fs, path, FILE_READ_ONLY, &r->file);
    if (!status_failed(st))
        st = read_head(r);
    if (status_failed(st)) {
        snapshot_reader_close(r);
        return st;
    }
    *out = r;
    return STATUS_OK;
}

struct status snapshot_reader_open(struct files *fs, const char *directory,
                                   struct raft_snapshot_id id, struct snapshot_reader **out)
{
    char name[SNAPSHOT_NAME_BYTES];
    char *path;
    struct status st;

    snapshot_name_format(id, name);
    if (asprintf(&path, "%s/%s", directory, name) < 0)
        return status_errno(ENOMEM, "open snapshot");
    st = snapshot_reader_open_path(fs, path, out);
    free(path);
    return st;
}

const struct snapshot_head *snapshot_reader_head(const struct snapshot_reader *r)
{
    return &r->head;
}

static struct status take_footer(struct snapshot_reader *r, struct record_iter *it)
{
    struct record record;
    uint8_t beyond;
    size_t got = 0;
    struct status st;

    if (!record_iter_next(it, &record) || control_record_type(&record) != CONTROL_SNAPSHOT_FOOTER)
        return corrupt("snapshot: control record among its data");
    st = control_read_snapshot_footer(record.value);
    if (!status_failed(st))
        st = r->files->ops->read(r->files, r->file, &beyond, 1, r->position, &got);
    if (!status_failed(st) && got > 0)
        st = corrupt("snapshot: goes on after its footer");
    r->ended = true;
    return st;
}

static struct status collect(struct snapshot_reader *r, struct record_iter *it, size_t *count)
{
    struct record record;
    size_t n = 0;

    while (record_iter_next(it, &record)) {
        if (n == r->value_capacity) {
            size_t capacity = n ? 2 * n : 256;
            struct bytes *grown = realloc(r->values, capacity * sizeof *grown);

            if (!grown)
                return status_errno(ENOMEM, "snapshot records");
            r->values = grown;
            r->value_capacity = capacity;
        }
        r->values[n++] = record.value;
    }
    *count = n;
    if (!status_failed(it->status) && n == 0)
        return corrupt("snapshot: empty batch");
    return it->status;
}

static struct status next_batch(struct snapshot_reader *r, size_t *count)
{
    struct record_iter it;
    struct bytes batch;
    struct status st = load_batch(r, &batch);

    if (!status_failed(st))
        st = open_records(r, batch, &it);
    if (status_failed(st))
        return st;
    return record_batch_is_control(batch.data) ? take_footer(r, &it) : collect(r, &it, count);
}

struct status snapshot_reader_next(struct snapshot_reader *r, const struct bytes **values,
                                   size_t *count)
{
    *count = 0;
    if (!status_failed(r->status) && !r->ended)
        r->status = next_batch(r, count);
    *values = r->values;
    return r->status;
}

void snapshot_reader_close(struct snapshot_reader *r)
{
    if (!r)
        return;
    if (r->file)
        r->files->ops->close(r->files, r->file);
    if (r->scratch)
        compression_scratch_free(r->scratch);
    voter_set_free(r->head.voters);
    free(r->values);
    free(r->batch);
    free(r);
}
