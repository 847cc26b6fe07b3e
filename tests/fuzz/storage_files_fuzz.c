/* The small files of a log directory, as bytes from anywhere. What is accepted must mean the same
 * after it was written and read again.
 *
 * Input: one byte that says which file, then its content. A producer snapshot's CRC is put right
 * first. */

#include <stdlib.h>
#include <string.h>

#include "protocol/base/byteorder.h"
#include "protocol/base/check.h"
#include "protocol/base/crc32c.h"
#include "storage/checkpoint.h"
#include "storage/epoch_cache.h"
#include "storage/log_dir.h"
#include "storage/meta_properties.h"
#include "storage/producer_state.h"

static struct bytes view(struct bytes_mut b)
{
    return (struct bytes){b.data, b.size};
}

static void same(struct bytes_mut a, struct bytes_mut b)
{
    CHECK(a.size == b.size);
    CHECK(memcmp(a.data, b.data, a.size) == 0);
    free(a.data);
    free(b.data);
}

static void offset_checkpoint(struct bytes text)
{
    struct offset_map m = {0}, again = {0};
    struct checkpoint_error error = {0};
    struct bytes_mut first, second;

    if (status_failed(offset_map_decode(&m, text, &error))) {
        CHECK(error.message != NULL);
        return;
    }
    offset_map_encode(&m, &first);
    CHECK(!status_failed(offset_map_decode(&again, view(first), &error)));
    offset_map_encode(&again, &second);
    same(first, second);
    offset_map_free(&m);
    offset_map_free(&again);
}

static void epoch_checkpoint(struct bytes text)
{
    struct epoch_cache c = {0}, again = {0};
    struct checkpoint_error error = {0};
    struct bytes_mut first, second;

    if (!status_failed(epoch_cache_decode(&c, text, &error))) {
        epoch_cache_encode(&c, INT64_MAX, &first);
        CHECK(!status_failed(epoch_cache_decode(&again, view(first), &error)));
        epoch_cache_encode(&again, INT64_MAX, &second);
        same(first, second);
        for (uint32_t i = 0; i < c.count; i++)
            CHECK(epoch_cache_epoch_of(&c, c.entries[i].start_offset) == c.entries[i].epoch);
        epoch_cache_raise_start(&c, c.count ? c.entries[c.count / 2].start_offset : 0);
        epoch_cache_truncate_from_end(&c, c.count ? c.entries[c.count / 2].start_offset : 0);
    } else {
        CHECK(error.message != NULL);
    }
    epoch_cache_free(&c);
    epoch_cache_free(&again);
}

static void meta_properties(struct bytes text)
{
    struct meta_properties m, again;
    struct meta_error error = {{0}};
    struct bytes_mut written;

    if (status_failed(meta_properties_parse(text, &m, &error))) {
        CHECK(error.text[0] != '\0');
        return;
    }
    meta_properties_format(&m, &written);
    CHECK(!status_failed(meta_properties_parse(view(written), &again, &error)));
    free(written.data);
    CHECK(m.version == again.version);
    CHECK(m.node_id == again.node_id);
    CHECK(strcmp(m.cluster_id, again.cluster_id) == 0);
    CHECK(uuid_equal(m.directory_id, again.directory_id));
}

static void clean_shutdown(struct bytes text)
{
    CHECK(log_dir_parse_clean_shutdown(text) >= -1);
}

static void run_file(struct bytes text)
{
    struct log_dir_run run;

    if (log_dir_parse_run(text, &run))
        CHECK(strlen(run.boot_id) <= LOG_DIR_BOOT_ID_CHARS);
}

/* Every producer goes on: whatever the snapshot said, what is in the log can be applied. */
static void go_on(void *arg, const struct producer_view *p)
{
    struct producer_state *s = arg;
    struct producer_batch b = {.producer_id = p->producer_id,
                               .producer_epoch = p->producer_epoch,
                               .first_sequence = p->last_sequence,
                               .last_offset_delta = p->last_offset_delta,
                               .first_offset = p->last_offset,
                               .last_offset = p->last_offset,
                               .max_timestamp_ms = p->last_timestamp_ms,
                               .transactional = p->producer_id % 2 == 0};
    struct producer_marker m = {.producer_id = p->producer_id,
                                .offset = p->last_offset,
                                .coordinator_epoch = p->coordinator_epoch,
                                .producer_epoch = p->producer_epoch};
    struct producer_duplicate duplicate;
    struct producer_completed done;

    if (p->last_offset == INT64_MAX || p->transaction_first_offset == INT64_MAX)
        return; /* no log gets so far: recovery refuses a snapshot that says so */
    (void)producer_state_check_batch(s, &b, PRODUCER_ORIGIN_CLIENT, &duplicate);
    producer_state_apply_batch(s, &b);
    (void)producer_state_check_marker(s, &m);
    producer_state_apply_marker(s, &m, &done);
}

static void producer_snapshot(struct bytes bytes)
{
    struct producer_state s = {0}, again = {0};
    struct bytes_mut first, second, input = {malloc(bytes.size + 1), bytes.size};

    CHECK(input.data != NULL);
    memcpy(input.data, bytes.data, bytes.size);
    if (input.size >= 6)
        store_be32(input.data + 2, crc32c(input.data + 6, input.size - 6));
    if (!status_failed(producer_snapshot_load(&s, view(input), 0, INT64_MAX))) {
        producer_snapshot_encode(&s, &first);
        CHECK(!status_failed(producer_snapshot_load(&again, view(first), 0, INT64_MAX)));
        producer_snapshot_encode(&again, &second);
        same(first, second);
        producer_state_each(&again, go_on, &s);
        producer_state_high_watermark(&s, INT64_MAX);
        producer_state_expire(&s, INT64_MAX, 0);
    }
    free(input.data);
    producer_state_free(&s);
    producer_state_free(&again);
}

static void folder_name(struct bytes name)
{
    const struct str text = {(const char *)name.data, name.size};
    struct log_dir_entry e = log_dir_parse_name(text);
    char formed[LOG_DIR_FOLDER_CHARS_MAX + 1];

    if (e.kind == LOG_DIR_FOREIGN)
        return;
    CHECK(e.topic.size > 0);
    CHECK(e.partition >= 0);
    if (!memchr(e.topic.data, '\0', e.topic.size) &&
        log_dir_format_name(e.topic, e.partition, e.kind, UUID_ZERO, formed))
        CHECK(log_dir_parse_name(str_from(formed)).kind == e.kind);
}

static void (*const files[])(struct bytes) = {
    offset_checkpoint, epoch_checkpoint,  meta_properties, clean_shutdown,
    run_file,          producer_snapshot, folder_name,
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > 0)
        files[data[0] % (sizeof files / sizeof files[0])]((struct bytes){data + 1, size - 1});
    return 0;
}
