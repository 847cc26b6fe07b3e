/* A hostile or damaged leader, against a whole node that follows it: what it answers to fetches and
 * to questions for its offsets.
 *
 * Input: steps. One byte says what happens, and what it needs follows (bytes that are missing are
 * 0):
 *
 *   0  the fetch is answered with bytes as they are: two bytes of length, the bytes
 *   1  the fetch is answered for one partition: a byte of which, its error code, high watermark,
 *      log start, diverging
 *      epoch and end, then records: 0 none, 1 a good batch (epoch, offset behind the log end,
 *      count), 2 bytes that get a head that fits and a right CRC, 3 a good batch with one byte
 *      changed
 *   2  the fetch fails
 *   3  the question for an offset is answered: an error code, the offset
 *   4  some time passes, and node 2 goes on living
 *   5  more time passes, and it does not: leadership comes to this node
 *
 * Whatever came: the node goes on, its offsets make sense, and after a kill it opens what it
 * took. */

#include <stdlib.h>
#include <string.h>

#include "protocol/api.h"
#include "protocol/base/byteorder.h"
#include "protocol/base/check.h"
#include "protocol/base/crc32c.h"
#include "protocol/messages/api_versions.h"
#include "protocol/record_batch.h"
#include "replication/partition_follow.h"
#include "tests/unit/broker/scripted_leader.h"

#define PARTITIONS  2
#define STEPS_MAX   64
#define ROUND_MS    30
#define RECORDS_MAX 4096

struct input {
    const uint8_t *data;
    size_t size;
};

static uint64_t take(struct input *in, size_t bytes)
{
    uint64_t value = 0;

    for (size_t i = 0; i < bytes; i++) {
        value = value << 8 | (in->size > 0 ? *in->data : 0);
        if (in->size > 0) {
            in->data++;
            in->size--;
        }
    }
    return value;
}

/* Small numbers mostly, and any at all. */
static int64_t take_offset(struct input *in)
{
    uint8_t small = (uint8_t)take(in, 1);

    return small < 0xf0 ? small : (int64_t)take(in, 8);
}

static struct bytes take_bytes(struct input *in, size_t size)
{
    struct bytes out = {in->data, size < in->size ? size : in->size};

    in->data += out.size;
    in->size -= out.size;
    return out;
}

/* ---- answers ---- */

/* The bytes behind a head that says what they are: length, magic and CRC are right. */
static struct bytes_mut dressed(struct input *in, int64_t offset)
{
    struct bytes body = take_bytes(in, take(in, 2) % RECORDS_MAX);
    size_t size = RECORD_BATCH_AT_ATTRIBUTES + body.size;
    struct bytes_mut out;

    if (size < RECORD_BATCH_HEADER_BYTES)
        size = RECORD_BATCH_HEADER_BYTES;
    out = (struct bytes_mut){calloc(1, size), size};
    CHECK(out.data);
    if (body.size)
        memcpy(out.data + RECORD_BATCH_AT_ATTRIBUTES, body.data, body.size);
    store_be64(out.data, (uint64_t)offset);
    store_be32(out.data + RECORD_BATCH_AT_LENGTH, (uint32_t)(size - RECORD_BATCH_OVERHEAD_BYTES));
    out.data[RECORD_BATCH_AT_MAGIC] = RECORD_BATCH_MAGIC;
    store_be32(out.data + RECORD_BATCH_AT_CRC,
               crc32c(out.data + RECORD_BATCH_AT_ATTRIBUTES, size - RECORD_BATCH_AT_ATTRIBUTES));
    return out;
}

static struct bytes_mut take_records(struct input *in, struct node_world *w, int64_t end_offset)
{
    uint8_t kind = (uint8_t)take(in, 1) % 4;
    struct bytes_mut out;

    if (kind == 0)
        return (struct bytes_mut){calloc(1, 1), 0};
    if (kind == 2)
        return dressed(in, end_offset);
    out = node_world_batch(w, 1 + (int)take(in, 1) % 8, 20, 1000);
    record_batch_set_leader_epoch(out.data, (int32_t)(int8_t)take(in, 1));
    record_batch_set_base_offset(out.data, end_offset + (int8_t)take(in, 1));
    if (kind == 3)
        out.data[take(in, 2) % out.size] ^= (uint8_t)(1 + take(in, 1) % 255);
    return out;
}

static void answer_partition(struct input *in, struct scripted_leader *l, struct uuid topic_id)
{
    struct fetch_response_partition_data data;
    struct fetch_response_fetchable_topic_response topic;
    struct fetch_response m;
    const struct partition *p;
    struct bytes_mut records;

    fetch_response_init(&m);
    fetch_response_fetchable_topic_response_init(&topic);
    fetch_response_partition_data_init(&data);
    data.partition_index = (int32_t)take(in, 1) % PARTITIONS;
    data.error_code = (int16_t)(int8_t)take(in, 1);
    data.high_watermark = take_offset(in);
    data.log_start_offset = take_offset(in);
    data.diverging_epoch.epoch = (int32_t)(int8_t)take(in, 1);
    data.diverging_epoch.end_offset = take_offset(in);
    p = node_world_partition(l->w, topic_id, data.partition_index);
    records = take_records(in, l->w, p && p->fetching.fetcher ? p->fetching.at.end_offset : 0);
    data.records = (struct records){.data = records.data, .size = records.size};
    topic.topic_id = topic_id;
    topic.partitions = &data;
    topic.partitions_count = 1;
    m.session_id = 5;
    m.responses = &topic;
    m.responses_count = 1;
    /* To each shard that asks: the one that has the partition is among them. */
    for (size_t n = scripted_leader_waiting(l, API_FETCH); n > 0; n--)
        scripted_leader_answer(l, API_FETCH, &m);
    free(records.data);
}

static void answer_offsets(struct input *in, struct scripted_leader *l)
{
    const struct list_offsets_request *question = scripted_leader_list_offsets(l, ROUND_MS);
    struct list_offsets_response_partition_response partition;
    struct list_offsets_response_topic_response topic;
    struct list_offsets_response m;

    if (!question)
        return;
    list_offsets_response_init(&m);
    list_offsets_response_topic_response_init(&topic);
    list_offsets_response_partition_response_init(&partition);
    partition.partition_index = question->topics[0].partitions[0].partition_index;
    partition.error_code = (int16_t)(int8_t)take(in, 1);
    partition.offset = take_offset(in);
    topic.name = str_from("t");
    topic.partitions = &partition;
    topic.partitions_count = 1;
    m.topics = &topic;
    m.topics_count = 1;
    scripted_leader_answer(l, API_LIST_OFFSETS, &m);
}

static void step(struct input *in, struct scripted_leader *l, struct uuid topic)
{
    uint8_t what = (uint8_t)take(in, 1) % 6;
    bool asked = what < 3 && scripted_leader_fetch(l, ROUND_MS);

    if (what == 0 && asked)
        scripted_leader_answer_bytes(l, API_FETCH, take_bytes(in, take(in, 2)));
    else if (what == 1 && asked)
        answer_partition(in, l, topic);
    else if (what == 2 && asked)
        scripted_leader_fail(l, API_FETCH, status_error(KERR_NETWORK_EXCEPTION, "closed"));
    else if (what == 3)
        answer_offsets(in, l);
    else if (what == 4)
        second_broker_live(&l->broker, 50);
    else if (what == 5)
        test_loop_run(&l->w->loop, 3000);
}

/* ---- what must hold ---- */

static void offsets_make_sense(struct node_world *w, struct uuid topic)
{
    for (int32_t i = 0; i < PARTITIONS; i++) {
        const struct partition *p = node_world_partition(w, topic, i);

        if (!p || p->state == PARTITION_OPENING || p->state == PARTITION_TRUNCATING ||
            p->state == PARTITION_OFFLINE)
            continue;
        CHECK(log_start_offset(p->log) >= 0);
        CHECK(log_start_offset(p->log) <= partition_high_watermark(p));
        CHECK(partition_high_watermark(p) <= log_end_offset(p->log));
    }
}

static void another_client_is_served(struct node_world *w)
{
    struct node_ask ask = {0};
    struct api_versions_request m;

    api_versions_request_init(&m);
    node_world_send(w, &ask, API_API_VERSIONS, 0, &m);
    CHECK(node_world_wait(w, &ask, 1000));
    node_ask_free(&ask);
}

static void opens_what_it_took(struct node_world *w, struct uuid topic)
{
    int64_t flushed[PARTITIONS];

    test_loop_run(&w->loop, ROUND_MS);
    for (int32_t i = 0; i < PARTITIONS; i++) {
        const struct partition *p = node_world_partition(w, topic, i);

        flushed[i] = 0;
        /* Of a log that was let go up to its end nothing has to be there; nor of one without any
         * epoch, which is cut to the high watermark when it follows anew
         * (replica_fetcher_assign). */
        if (p && p->log && p->state != PARTITION_TRUNCATING && p->state != PARTITION_OFFLINE &&
            log_latest_epoch(p->log) >= 0 &&
            log_start_offset(p->log) < log_flushed_end_offset(p->log))
            flushed[i] = log_flushed_end_offset(p->log);
    }
    node_world_kill(w);
    node_world_start(w);
    test_loop_run(&w->loop, ROUND_MS); /* an empty one may come a moment later */
    for (int32_t i = 0; i < PARTITIONS; i++) {
        const struct partition *p = node_world_partition(w, topic, i);

        CHECK(p);
        CHECK(p->state != PARTITION_OFFLINE);
        CHECK(log_end_offset(p->log) >= flushed[i]);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct node_world w;
    static struct scripted_leader l;
    struct input in = {data, size};
    struct uuid topic;

    node_world_init(&w);
    scripted_leader_init(&l, &w);
    node_world_start(&w);
    scripted_leader_join(&l);
    topic = scripted_leader_topic(&l, "t", PARTITIONS, NULL);
    for (int i = 0; i < STEPS_MAX && in.size > 0; i++) {
        step(&in, &l, topic);
        test_loop_run(&w.loop, 1);
        offsets_make_sense(&w, topic);
    }
    CHECK(!w.failed);
    another_client_is_served(&w);
    opens_what_it_took(&w, topic);
    node_world_kill(&w);
    node_world_free(&w);
    scripted_leader_free(&l);
    return 0;
}
