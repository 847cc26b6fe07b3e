/* What is in the metadata log and its snapshots, once the batches around it are whole: records that
 * come in any order and name what may not be there.
 *
 * Input: one byte of how, then record frames, each behind two bytes of length. They are applied as
 * a snapshot or as batches; what came of it must survive being written as records and read again.
 * Then a node starts on a log that ends with them, and must serve or say why not. */

#include <stdlib.h>
#include <string.h>

#include "protocol/base/byteorder.h"
#include "protocol/base/check.h"
#include "protocol/messages/metadata.h"
#include "replication/metadata_loader.h"
#include "tests/unit/broker/node_world.h"
#include "tests/unit/replication/controller_world.h"

#define VALUES_MAX   64
#define METADATA_LOG "trivet-data/__cluster_metadata-0"

enum { AS_SNAPSHOT = 1, ONE_BY_ONE = 2 };

struct values {
    struct bytes items[VALUES_MAX];
    size_t count;
};

static struct values split(const uint8_t *data, size_t size)
{
    struct values v = {0};

    while (size > 2 && v.count < VALUES_MAX) {
        size_t length = load_be16(data);

        data += 2;
        size -= 2;
        if (length > size)
            length = size;
        v.items[v.count++] = (struct bytes){data, length};
        data += length;
        size -= length;
    }
    return v;
}

/* ---- images ---- */

static struct status apply(struct metadata_loader *l, const struct values *v, uint8_t how)
{
    struct metadata_batch batch = {.epoch = 1, .values = v->items, .count = v->count};
    struct status st = STATUS_OK;

    if (how & AS_SNAPSHOT) {
        metadata_loader_begin_snapshot(l);
        st = metadata_loader_apply_snapshot(l, v->items, v->count);
        return status_failed(st)
                   ? st
                   : metadata_loader_end_snapshot(l, (struct snapshot_position){100, 1, 5});
    }
    if (!(how & ONE_BY_ONE))
        return metadata_loader_apply(l, &batch);
    batch.count = 1;
    for (size_t i = 0; i < v->count && !status_failed(st); i++, batch.base_offset++) {
        batch.values = &v->items[i];
        st = metadata_loader_apply(l, &batch);
    }
    return st;
}

/* The image as a snapshot would hold it, and read back. */
static const struct metadata_image *through_records(const struct metadata_image *image,
                                                    const struct config_values *given)
{
    struct metadata_loader *l = metadata_loader_create(1, given);
    struct metadata_dump *d = metadata_dump_create(image);
    const struct metadata_image *out;
    const struct metadata_delta *delta;
    const struct bytes *values;
    size_t count;

    CHECK(l && d);
    metadata_loader_begin_snapshot(l);
    for (metadata_dump_next(d, &values, &count); count > 0; metadata_dump_next(d, &values, &count))
        CHECK(!status_failed(metadata_loader_apply_snapshot(l, values, count)));
    CHECK(!status_failed(metadata_loader_end_snapshot(l, (struct snapshot_position){100, 1, 5})));
    CHECK(metadata_loader_publish(l, &out, &delta));
    metadata_delta_release(delta);
    metadata_dump_free(d);
    metadata_loader_free(l);
    return out;
}

static void make_an_image(const struct values *v, uint8_t how)
{
    struct config_values *given = config_values_create();
    struct metadata_loader *l = metadata_loader_create(1, given);
    const struct metadata_image *image, *again;
    const struct metadata_delta *delta;

    CHECK(given && l);
    if (!status_failed(apply(l, v, how)) && !metadata_loader_in_transaction(l) &&
        metadata_loader_publish(l, &image, &delta)) {
        again = through_records(image, given);
        CHECK(images_equal(image, again));
        metadata_image_release(again);
        metadata_image_release(image);
        metadata_delta_release(delta);
    }
    metadata_loader_free(l);
    config_values_free(given);
}

/* ---- a node ---- */

static void append_to_log(struct node_world *w, const struct values *v)
{
    static const struct log_config config = {.retention_ms = -1,
                                             .retention_bytes = -1,
                                             .segment_ms = INT64_MAX,
                                             .segment_bytes = 1 << 30,
                                             .segment_index_bytes = 1 << 20,
                                             .index_interval_bytes = 4096,
                                             .max_message_bytes = INT32_MAX,
                                             .max_decompressed_message_bytes = INT32_MAX,
                                             .flush_messages = INT64_MAX,
                                             .flush_ms = INT64_MAX,
                                             .cleanup_delete = true};
    const struct log_args args = {.files = w->files,
                                  .clock = &w->loop.clock,
                                  .directory = METADATA_LOG,
                                  .topic_id = {{[15] = 1}}, /* the metadata topic's */
                                  .config = &config,
                                  .trust = LOG_TRUST_SAME_BOOT};
    struct log_recovery_report report;
    struct bytes_mut batch = {0};
    struct log_appended out;
    struct log *log;

    CHECK(!status_failed(log_open(&args, &log, &report)));
    record_batch_builder_begin(&w->builder, &RECORD_BATCH_HEAD_PLAIN);
    for (size_t i = 0; i < v->count; i++)
        record_batch_builder_append(
            &w->builder, &(struct record_content){.timestamp_ms = 5, .value = v->items[i]});
    CHECK(!status_failed(record_batch_builder_finish(&w->builder, NULL, &batch)));
    CHECK(!status_failed(
        log_append_as_leader(log, batch, log_latest_epoch(log), LOG_ORIGIN_RAFT, &out, NULL)));
    CHECK(!status_failed(log_close(log, true)));
}

static void serve(struct node_world *w)
{
    struct metadata_request m;
    struct node_ask ask = {0};

    metadata_request_init(&m);
    node_world_send(w, &ask, API_METADATA, 12, &m);
    CHECK(node_world_wait(w, &ask, 1000));
    node_ask_free(&ask);
}

static void start_a_node(const struct values *v)
{
    static struct node_world w;

    node_world_init(&w);
    node_world_start(&w);
    node_world_topic(&w, "t", 1, NULL);
    node_world_kill(&w);
    append_to_log(&w, v);
    if (node_world_try_start(&w))
        serve(&w);
    if (w.node)
        node_world_kill(&w);
    node_world_free(&w);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct values v;

    if (size < 4)
        return 0;
    v = split(data + 1, size - 1);
    if (v.count == 0)
        return 0;
    make_an_image(&v, data[0]);
    start_a_node(&v);
    return 0;
}
