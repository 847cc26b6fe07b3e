#include "tests/unit/test.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "storage/files_sim.h"
#include "tests/unit/storage/log_world.h"

static int64_t wall_ms(struct clock *c)
{
    return ((struct log_world *)(void *)((char *)c - offsetof(struct log_world, clock)))->now_ms;
}

static int64_t monotonic_us(struct clock *c)
{
    return wall_ms(c) * 1000;
}

void world_begin(struct log_world *w)
{
    *w = (struct log_world){
        .high_watermark = INT64_MAX,
        .clock = {wall_ms, monotonic_us},
        .now_ms = 1800000000000,
        .config =
            {
                .retention_ms = -1,
                .retention_bytes = -1,
                .segment_ms = 7 * 24 * 3600 * 1000,
                .segment_bytes = 16 * 1024,
                .segment_index_bytes = 1 << 20,
                .index_interval_bytes = 512,
                .max_message_bytes = 8 * 1024,
                .max_decompressed_message_bytes = 1 << 20,
                .file_delete_delay_ms = 60000,
                .flush_messages = INT64_MAX,
                .flush_ms = INT64_MAX,
                .message_timestamp_before_max_ms = INT64_MAX,
                .message_timestamp_after_max_ms = INT64_MAX,
                .cleanup_delete = true,
                .compression_type = LOG_COMPRESSION_PRODUCER,
            },
        .random = 1,
    };
    w->files = files_sim_create(&w->clock);
    w->scratch = compression_scratch_new();
    record_batch_builder_init(&w->builder);
    assert_false(status_failed(w->files->ops->make_directory(w->files, "data")));
    assert_false(status_failed(w->files->ops->sync_directory(w->files, ".")));
}

void world_end(struct log_world *w)
{
    if (w->log)
        world_close(w, false);
    record_batch_builder_free(&w->builder);
    compression_scratch_free(w->scratch);
    files_sim_free(w->files);
}

struct status world_try_open(struct log_world *w, enum log_trust trust)
{
    const struct log_args args = {
        .files = w->files,
        .clock = &w->clock,
        .directory = LOG_DIRECTORY,
        .topic_id = {{1, 2, 3}},
        .config = &w->config,
        .producer_id_expiration_ms = 86400000,
        .scratch = w->scratch,
        .recovery_point = w->recovery_point,
        .high_watermark = w->high_watermark,
        .log_start_offset = w->log_start_offset,
        .cleaned_offset = w->cleaned_offset,
        .page_cache_is_enough = w->page_cache_is_enough,
        .trust = trust,
    };

    return log_open(&args, &w->log, &w->report);
}

void world_open(struct log_world *w, enum log_trust trust)
{
    const struct status st = world_try_open(w, trust);

    if (status_failed(st))
        print_error("open: %s %s errno %d\n", kerr_name(st.code), st.where, st.sys_errno);
    assert_false(status_failed(st));
}

void world_close(struct log_world *w, bool clean)
{
    const struct status st = log_close(w->log, clean);

    w->log = NULL;
    if (clean)
        assert_false(status_failed(st));
}

static void fill_value(uint8_t *value, size_t size, int64_t offset)
{
    for (size_t i = 0; i < size; i++)
        value[i] = (uint8_t)((uint64_t)offset * 31 + i);
}

static struct bytes_mut finish(struct log_world *w)
{
    struct bytes_mut batch = {0};

    assert_false(status_failed(record_batch_builder_finish(&w->builder, w->scratch, &batch)));
    return batch;
}

static void append_records(struct log_world *w, int count, size_t size, int64_t timestamp_ms)
{
    static uint8_t value[64 * 1024];

    for (int i = 0; i < count; i++) {
        fill_value(value, size, (w->log ? log_end_offset(w->log) : 0) + i);
        record_batch_builder_append(
            &w->builder,
            &(struct record_content){.timestamp_ms = timestamp_ms, .value = {value, size}});
    }
}

struct bytes_mut world_batch(struct log_world *w, int count, size_t size, int64_t timestamp_ms)
{
    record_batch_builder_begin(&w->builder, &RECORD_BATCH_HEAD_PLAIN);
    append_records(w, count, size, timestamp_ms);
    return finish(w);
}

struct bytes_mut world_producer_batch(struct log_world *w, int64_t producer_id, int16_t epoch,
                                      int32_t sequence, int count, uint16_t attributes)
{
    struct record_batch_head head = RECORD_BATCH_HEAD_PLAIN;

    head.producer_id = producer_id;
    head.producer_epoch = epoch;
    head.base_sequence = sequence;
    head.attributes = attributes;
    record_batch_builder_begin(&w->builder, &head);
    append_records(w, count, 20, w->now_ms);
    return finish(w);
}

struct bytes_mut world_marker(struct log_world *w, int64_t producer_id, int16_t epoch, bool abort)
{
    static const uint8_t value[6] = {0};
    struct record_batch_head head = RECORD_BATCH_HEAD_PLAIN;

    head.producer_id = producer_id;
    head.producer_epoch = epoch;
    head.attributes = RECORD_BATCH_CONTROL | RECORD_BATCH_TRANSACTIONAL;
    record_batch_builder_begin(&w->builder, &head);
    record_batch_builder_append_control(&w->builder, abort ? CONTROL_ABORT : CONTROL_COMMIT,
                                        w->now_ms, (struct bytes){value, sizeof value});
    return finish(w);
}

struct status world_try_append(struct log_world *w, struct bytes_mut batch,
                               struct log_appended *out)
{
    struct log_appended ignored;
    const bool control = record_batch_is_control(batch.data);

    return log_append_as_leader(w->log, batch, w->leader_epoch,
                                control ? LOG_ORIGIN_COORDINATOR : LOG_ORIGIN_CLIENT,
                                out ? out : &ignored, NULL);
}

int64_t world_append(struct log_world *w, int count, size_t size)
{
    struct log_appended out;
    const struct status st = world_try_append(w, world_batch(w, count, size, w->now_ms), &out);

    if (status_failed(st))
        print_error("append: %s %s errno %d\n", kerr_name(st.code), st.where, st.sys_errno);
    assert_false(status_failed(st));
    assert_int_equal(out.last_offset, out.base_offset + count - 1);
    return out.base_offset;
}

struct status world_try_flush(struct log_world *w)
{
    struct log_flush f = {0};
    struct status st;

    if (!log_flush_begin(w->log, &f))
        return STATUS_OK;
    st = log_flush_run(&f);
    log_flush_end(w->log, &f, st);
    return st;
}

void world_flush(struct log_world *w)
{
    assert_false(status_failed(world_try_flush(w)));
    assert_int_equal(log_flushed_end_offset(w->log), log_end_offset(w->log));
}

struct log_slice world_read(struct log_world *w, int64_t offset, int64_t end_offset,
                            size_t max_bytes, bool min_one)
{
    const struct log_read_args args = {offset, end_offset, max_bytes, min_one};
    struct log_slice slice;

    assert_false(status_failed(log_read(w->log, &args, &slice)));
    if (slice.cold)
        assert_false(status_failed(log_slice_locate(&slice)));
    return slice;
}

static int64_t check_batch(struct bytes batch, int64_t expected)
{
    static uint8_t value[64 * 1024];
    struct record_iter it;
    struct record r;

    assert_false(status_failed(record_batch_check(batch)));
    assert_true(record_batch_last_offset(batch.data) >= expected);
    if (record_batch_is_control(batch.data))
        return record_batch_last_offset(batch.data) + 1;
    assert_false(status_failed(record_iter_open(&it, batch, NULL, 0)));
    while (record_iter_next(&it, &r)) {
        fill_value(value, r.value.size, r.offset);
        assert_memory_equal(value, r.value.data, r.value.size);
    }
    assert_false(status_failed(it.status));
    return record_batch_last_offset(batch.data) + 1;
}

int64_t world_read_all(struct log_world *w, int64_t offset)
{
    while (offset < log_end_offset(w->log)) {
        struct log_slice slice = world_read(w, offset, INT64_MAX, 5000, true);
        struct record_batches it;
        struct bytes batch;
        uint8_t *bytes;

        assert_true(slice.size > 0);
        bytes = malloc(slice.size);
        assert_false(status_failed(log_slice_read(&slice, 0, bytes, slice.size, NULL)));
        it = record_batches((struct bytes){bytes, slice.size});
        while (record_batches_next(&it, &batch)) {
            assert_true(record_batch_base_offset(batch.data) <= offset);
            offset = check_batch(batch, offset);
        }
        assert_int_equal(it.rest.size, 0);
        free(bytes);
        log_slice_release(&slice);
    }
    return offset;
}

uint8_t *world_file(struct log_world *w, const char *name, int64_t *size)
{
    struct bytes_mut content;
    char path[256];
    struct status st;

    snprintf(path, sizeof path, LOG_DIRECTORY "/%s", name);
    st = files_read_whole(w->files, path, 1 << 30, &content);
    *size = -1;
    if (st.sys_errno == ENOENT)
        return NULL;
    assert_false(status_failed(st));
    *size = (int64_t)content.size;
    return content.data;
}

uint64_t world_random(struct log_world *w, uint64_t below)
{
    w->random ^= w->random << 13;
    w->random ^= w->random >> 7;
    w->random ^= w->random << 17;
    return w->random % below;
}
