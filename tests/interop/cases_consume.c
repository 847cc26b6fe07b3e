/* Consumers without groups: where they start, what they wait for, which offsets they are told. */

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tests/interop/client.h"

/* A topic of one partition that holds the numbers 0 to count - 1. */
static const char *topic_of_numbers(struct world *w, int count)
{
    const char *topic = make_topic(w, 1, NULL);
    rd_kafka_resp_err_t error = topic ? produce_numbers(admin(w), topic, 0, 0, count) : 0;

    if (topic && error) {
        world_fail(w, __FILE__, __LINE__, "producing: %s", rd_kafka_err2name(error));
        return NULL;
    }
    return topic;
}

static bool reading_from_the_beginning_gives_everything(struct world *w)
{
    const char *topic = topic_of_numbers(w, 1000);
    rd_kafka_message_t **messages;

    EXPECT(w, topic, "%s", w->reason);
    EXPECT(w, read_partition(w, topic, 0, RD_KAFKA_OFFSET_BEGINNING, 1000, &messages) == 1000,
           "not all came back");
    EXPECT(w, are_numbers(messages, 1000, 0), "out of order");
    return true;
}

static bool reading_from_the_end_gives_only_what_follows(struct world *w)
{
    const char *topic = topic_of_numbers(w, 100);
    rd_kafka_t *consumer = open_consumer(w, NO_SETTINGS);
    rd_kafka_message_t **messages;

    EXPECT(w, topic, "%s", w->reason);
    if (!assign(w, consumer, topic, 0, RD_KAFKA_OFFSET_END))
        return false;
    EXPECT(w, consume(w, consumer, 1, 1500, NULL) == 0, "an old record came");
    EXPECT_ERROR(w, produce_numbers(admin(w), topic, 0, 100, 3), RD_KAFKA_RESP_ERR_NO_ERROR);
    EXPECT(w, consume(w, consumer, 3, WORLD_TIMEOUT_MS, &messages) == 3,
           "the new records did not come");
    EXPECT(w, are_numbers(messages, 3, 100), "other records came");
    return true;
}

static bool reading_from_an_offset_inside_a_batch_starts_there(struct world *w)
{
    const char *topic = make_topic(w, 1, NULL);
    rd_kafka_message_t **messages;

    EXPECT(w, topic, "%s", w->reason);
    EXPECT_ERROR(w,
                 produce_numbers(open_producer(w, SETTINGS("linger.ms", "100")), topic, 0, 0, 100),
                 RD_KAFKA_RESP_ERR_NO_ERROR);
    EXPECT(w, read_partition(w, topic, 0, 57, 43, &messages) == 43, "not all came back");
    EXPECT(w, messages[0]->offset == 57 && are_numbers(messages, 43, 57), "it starts at %d",
           (int)messages[0]->offset);
    return true;
}

static bool offset_out_of_range_resets_to_the_earliest(struct world *w)
{
    const char *topic = topic_of_numbers(w, 10);
    rd_kafka_t *consumer = open_consumer(w, SETTINGS("auto.offset.reset", "earliest"));
    rd_kafka_message_t **messages;

    EXPECT(w, topic, "%s", w->reason);
    if (!assign(w, consumer, topic, 0, 5000))
        return false;
    EXPECT(w, consume(w, consumer, 10, WORLD_TIMEOUT_MS, &messages) == 10, "not all came back");
    EXPECT(w, are_numbers(messages, 10, 0), "other records came");
    return true;
}

/* The first error that a consumer is told about a partition; none after the time-out. */
static rd_kafka_resp_err_t partition_error(rd_kafka_t *consumer, const char *topic)
{
    for (int64_t deadline = now_ms() + WORLD_TIMEOUT_MS; now_ms() < deadline;) {
        rd_kafka_message_t *m = rd_kafka_consumer_poll(consumer, 200);
        rd_kafka_resp_err_t error = m ? m->err : RD_KAFKA_RESP_ERR_NO_ERROR;
        bool ours = m && m->rkt && !strcmp(rd_kafka_topic_name(m->rkt), topic);

        if (m)
            rd_kafka_message_destroy(m);
        if (ours && error)
            return error;
    }
    return RD_KAFKA_RESP_ERR_NO_ERROR;
}

static bool offset_out_of_range_is_told_when_no_reset_is_wanted(struct world *w)
{
    const char *topic = topic_of_numbers(w, 10);
    rd_kafka_t *consumer = open_consumer(w, SETTINGS("auto.offset.reset", "error"));

    EXPECT(w, topic, "%s", w->reason);
    if (!assign(w, consumer, topic, 0, 5000))
        return false;
    EXPECT_ERROR(w, partition_error(consumer, topic), RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET);
    return true;
}

static bool consumer_of_an_unknown_topic_is_told(struct world *w)
{
    rd_kafka_t *consumer = open_consumer(w, SETTINGS("allow.auto.create.topics", "false"));
    const char *topic = new_topic_name(w);
    rd_kafka_topic_t *handle = rd_kafka_topic_new(consumer, topic, NULL);
    const struct rd_kafka_metadata *metadata;
    rd_kafka_resp_err_t error = rd_kafka_metadata(consumer, 0, handle, &metadata, WORLD_TIMEOUT_MS);

    rd_kafka_topic_destroy(handle);
    if (!error) {
        error = metadata->topic_cnt == 1 ? metadata->topics[0].err : RD_KAFKA_RESP_ERR__BAD_MSG;
        rd_kafka_metadata_destroy(metadata);
    }
    EXPECT_ERROR(w, error, RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART);
    EXPECT(w, led_partitions(w, topic) == 0, "asking created it");
    return true;
}

static bool watermarks_tell_both_ends(struct world *w)
{
    const char *topic = topic_of_numbers(w, 42);
    int64_t low, high, cut;

    EXPECT(w, topic, "%s", w->reason);
    EXPECT_ERROR(
        w, rd_kafka_query_watermark_offsets(admin(w), topic, 0, &low, &high, WORLD_TIMEOUT_MS),
        RD_KAFKA_RESP_ERR_NO_ERROR);
    EXPECT(w, low == 0 && high == 42, "%d to %d", (int)low, (int)high);
    EXPECT_ERROR(w, delete_records(w, topic, 40, &cut), RD_KAFKA_RESP_ERR_NO_ERROR);
    EXPECT_ERROR(
        w, rd_kafka_query_watermark_offsets(admin(w), topic, 0, &low, &high, WORLD_TIMEOUT_MS),
        RD_KAFKA_RESP_ERR_NO_ERROR);
    EXPECT(w, low == 40 && high == 42, "%d to %d after the cut", (int)low, (int)high);
    return true;
}

/* Asks for the first offset at or after a time. */
static int64_t offset_of_time(struct world *w, const char *topic, int64_t time_ms)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_resp_err_t error;
    int64_t offset;

    rd_kafka_topic_partition_list_add(list, topic, 0)->offset = time_ms;
    error = rd_kafka_offsets_for_times(admin(w), list, WORLD_TIMEOUT_MS);
    offset = error || list->elems[0].err ? -1000 - list->elems[0].err : list->elems[0].offset;
    rd_kafka_topic_partition_list_destroy(list);
    return offset;
}

static bool offsets_are_found_by_time(struct world *w)
{
    enum { RECORDS = 300, STEP_MS = 1000 };
    const char *topic = make_topic(w, 1, NULL);
    int64_t start = now_ms() - 1000000;
    rd_kafka_t *producer = open_producer(w, SETTINGS("linger.ms", "5", "batch.num.messages", "10"));

    EXPECT(w, topic, "%s", w->reason);
    for (int i = 0; i < RECORDS; i++)
        EXPECT_ERROR(w,
                     produce(producer,
                             &(struct record){.topic = topic,
                                              .value = "x",
                                              .value_size = 1,
                                              .timestamp_ms = start + i * STEP_MS},
                             NULL),
                     RD_KAFKA_RESP_ERR_NO_ERROR);
    EXPECT_ERROR(w, rd_kafka_flush(producer, WORLD_TIMEOUT_MS), RD_KAFKA_RESP_ERR_NO_ERROR);
    EXPECT(w, offset_of_time(w, topic, start - 5) == 0, "before the first");
    for (int i = 0; i < RECORDS; i += 37) {
        int64_t exact = offset_of_time(w, topic, start + i * STEP_MS);
        int64_t between = offset_of_time(w, topic, start + i * STEP_MS + 1);

        EXPECT(w, exact == i, "the time of record %d gave %d", i, (int)exact);
        EXPECT(w, between == i + 1, "just after record %d gave %d", i, (int)between);
    }
    EXPECT(w, offset_of_time(w, topic, start + RECORDS * STEP_MS) == RD_KAFKA_OFFSET_END,
           "after the last: %d", (int)offset_of_time(w, topic, start + RECORDS * STEP_MS));
    return true;
}

static bool deleted_records_are_not_read_again(struct world *w)
{
    const char *topic = topic_of_numbers(w, 20);
    rd_kafka_message_t **messages;
    int64_t low = -1;

    EXPECT(w, topic, "%s", w->reason);
    EXPECT_ERROR(w, delete_records(w, topic, 7, &low), RD_KAFKA_RESP_ERR_NO_ERROR);
    EXPECT(w, low == 7, "the log starts at %d", (int)low);
    EXPECT(w, read_partition(w, topic, 0, RD_KAFKA_OFFSET_BEGINNING, 13, &messages) == 13,
           "not all came back");
    EXPECT(w, messages[0]->offset == 7 && are_numbers(messages, 13, 7), "it starts at %d",
           (int)messages[0]->offset);
    EXPECT_ERROR(w, delete_records(w, topic, 21, &low), RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE);
    EXPECT_ERROR(w, delete_records(w, topic, RD_KAFKA_OFFSET_END, &low),
                 RD_KAFKA_RESP_ERR_NO_ERROR);
    EXPECT(w, low == 20, "after deleting all the log starts at %d", (int)low);
    return true;
}

static bool hundred_partitions_are_read_at_once(struct world *w)
{
    enum { PARTITIONS = 100, EACH = 20 };
    const char *topic = make_topic(w, PARTITIONS, NULL);
    rd_kafka_t *consumer = open_consumer(w, NO_SETTINGS);
    rd_kafka_t *producer = open_producer(w, SETTINGS("linger.ms", "5"));
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(PARTITIONS);
    int seen[PARTITIONS] = {0};
    rd_kafka_message_t **messages;
    rd_kafka_resp_err_t error;
    size_t count;

    for (int p = 0; p < PARTITIONS; p++)
        rd_kafka_topic_partition_list_add(list, topic ? topic : "", p)->offset = 0;
    error = rd_kafka_assign(consumer, list);
    rd_kafka_topic_partition_list_destroy(list);
    EXPECT(w, topic, "%s", w->reason);
    EXPECT_ERROR(w, error, RD_KAFKA_RESP_ERR_NO_ERROR);
    for (int i = 0; i < EACH; i++)
        for (int p = 0; p < PARTITIONS; p++)
            EXPECT_ERROR(w,
                         produce(producer,
                                 &(struct record){
                                     .topic = topic, .partition = p, .value = "x", .value_size = 1},
                                 NULL),
                         RD_KAFKA_RESP_ERR_NO_ERROR);
    EXPECT_ERROR(w, rd_kafka_flush(producer, WORLD_TIMEOUT_MS), RD_KAFKA_RESP_ERR_NO_ERROR);
    count = consume(w, consumer, PARTITIONS * EACH, WORLD_TIMEOUT_MS, &messages);
    EXPECT(w, count == PARTITIONS * EACH, "%zu came back", count);
    for (size_t i = 0; i < count; i++)
        EXPECT(w, messages[i]->offset == seen[messages[i]->partition]++,
               "partition %d is out of order", messages[i]->partition);
    return true;
}

/* KIP-74: the first batch comes even when it is larger than every limit of the consumer. */
static bool record_larger_than_the_fetch_limits_still_comes(struct world *w)
{
    static char value[300000];
    const char *topic = make_topic(w, 1, NULL);
    rd_kafka_t *consumer =
        open_consumer(w, SETTINGS("fetch.message.max.bytes", "1000", "fetch.max.bytes", "1000",
                                  "message.max.bytes", "1000"));
    rd_kafka_message_t **messages;
    struct delivery d;

    EXPECT(w, topic, "%s", w->reason);
    for (int i = 0; i < 3; i++) {
        d = produce_and_wait(
            admin(w), &(struct record){.topic = topic, .value = value, .value_size = sizeof value});
        EXPECT_ERROR(w, d.error, RD_KAFKA_RESP_ERR_NO_ERROR);
    }
    if (!assign(w, consumer, topic, 0, 0))
        return false;
    EXPECT(w, consume(w, consumer, 3, WORLD_TIMEOUT_MS, &messages) == 3, "not all came back");
    EXPECT(w, messages[2]->len == sizeof value, "the record changed");
    return true;
}

/* A fetch that waits for data is woken by it, long before its time is up. */
static bool waiting_fetch_is_woken_by_a_record(struct world *w)
{
    const char *topic = make_topic(w, 1, NULL);
    rd_kafka_t *consumer =
        open_consumer(w, SETTINGS("fetch.wait.max.ms", "10000", "socket.timeout.ms", "60000"));
    int64_t sent, took;

    EXPECT(w, topic, "%s", w->reason);
    if (!assign(w, consumer, topic, 0, 0))
        return false;
    EXPECT(w, consume(w, consumer, 1, 1500, NULL) == 0, "the topic is not empty");
    sent = now_ms();
    EXPECT_ERROR(w, produce_numbers(admin(w), topic, 0, 0, 1), RD_KAFKA_RESP_ERR_NO_ERROR);
    EXPECT(w, consume(w, consumer, 1, 15000, NULL) == 1, "the record did not come");
    took = now_ms() - sent;
    EXPECT(w, took < 3000, "it took %d ms", (int)took);
    return true;
}

static bool fetch_waits_until_enough_bytes_or_its_time_is_up(struct world *w)
{
    const char *topic = make_topic(w, 1, NULL);
    rd_kafka_t *consumer =
        open_consumer(w, SETTINGS("fetch.min.bytes", "100000", "fetch.wait.max.ms", "3000",
                                  "socket.timeout.ms", "60000"));
    static char value[150000];
    int64_t sent, took;
    struct delivery d;

    EXPECT(w, topic, "%s", w->reason);
    if (!assign(w, consumer, topic, 0, 0))
        return false;
    EXPECT(w, consume(w, consumer, 1, 1000, NULL) == 0, "the topic is not empty");
    /* Too few bytes: they come when the time is up, at the latest. */
    EXPECT_ERROR(w, produce_numbers(admin(w), topic, 0, 0, 1), RD_KAFKA_RESP_ERR_NO_ERROR);
    EXPECT(w, consume(w, consumer, 1, 10000, NULL) == 1, "the small record did not come");
    usleep(200000);
    /* Enough bytes: they come at once. */
    sent = now_ms();
    d = produce_and_wait(
        admin(w), &(struct record){.topic = topic, .value = value, .value_size = sizeof value});
    EXPECT_ERROR(w, d.error, RD_KAFKA_RESP_ERR_NO_ERROR);
    EXPECT(w, consume(w, consumer, 1, 10000, NULL) == 1, "the large record did not come");
    took = now_ms() - sent;
    EXPECT(w, took < 2000, "enough bytes took %d ms", (int)took);
    return true;
}

static bool end_of_partition_is_where_the_records_end(struct world *w)
{
    const char *topic = topic_of_numbers(w, 25);
    rd_kafka_t *consumer = open_consumer(w, SETTINGS("enable.partition.eof", "true"));
    int64_t end = -1;

    EXPECT(w, topic, "%s", w->reason);
    if (!assign(w, consumer, topic, 0, 0))
        return false;
    for (int64_t deadline = now_ms() + WORLD_TIMEOUT_MS; end < 0 && now_ms() < deadline;) {
        rd_kafka_message_t *m = rd_kafka_consumer_poll(consumer, 500);

        if (m && m->err == RD_KAFKA_RESP_ERR__PARTITION_EOF)
            end = m->offset;
        if (m)
            rd_kafka_message_destroy(m);
    }
    EXPECT(w, end == 25, "the end is told at %d", (int)end);
    return true;
}

static bool consumer_follows_a_producer_as_it_writes(struct world *w)
{
    enum { RECORDS = 5000 };
    const char *topic = make_topic(w, 1, NULL);
    rd_kafka_t *consumer = open_consumer(w, NO_SETTINGS);
    rd_kafka_t *producer = open_producer(w, SETTINGS("linger.ms", "1"));
    rd_kafka_message_t **messages;
    size_t count = 0;

    EXPECT(w, topic, "%s", w->reason);
    if (!assign(w, consumer, topic, 0, 0))
        return false;
    for (int i = 0; i < RECORDS; i++) {
        char value[16];
        int size = snprintf(value, sizeof value, "%d", i);

        produce(producer,
                &(struct record){.topic = topic, .value = value, .value_size = (size_t)size}, NULL);
        if (i % 50 == 0)
            count += consume(w, consumer, 1000, 1, NULL);
    }
    count += consume(w, consumer, RECORDS - count, WORLD_TIMEOUT_MS, NULL);
    messages = w->messages;
    EXPECT(w, count == RECORDS && are_numbers(messages, count, 0), "%zu came", count);
    return true;
}

const struct client_case consume_cases[] = {
    {"reading_from_the_beginning_gives_everything", reading_from_the_beginning_gives_everything},
    {"reading_from_the_end_gives_only_what_follows", reading_from_the_end_gives_only_what_follows},
    {"reading_from_an_offset_inside_a_batch_starts_there",
     reading_from_an_offset_inside_a_batch_starts_there},
    {"offset_out_of_range_resets_to_the_earliest", offset_out_of_range_resets_to_the_earliest},
    {"offset_out_of_range_is_told_when_no_reset_is_wanted",
     offset_out_of_range_is_told_when_no_reset_is_wanted},
    {"consumer_of_an_unknown_topic_is_told", consumer_of_an_unknown_topic_is_told},
    {"watermarks_tell_both_ends", watermarks_tell_both_ends},
    {"offsets_are_found_by_time", offsets_are_found_by_time},
    {"deleted_records_are_not_read_again", deleted_records_are_not_read_again},
    {"hundred_partitions_are_read_at_once", hundred_partitions_are_read_at_once},
    {"record_larger_than_the_fetch_limits_still_comes",
     record_larger_than_the_fetch_limits_still_comes},
    {"waiting_fetch_is_woken_by_a_record", waiting_fetch_is_woken_by_a_record},
    {"fetch_waits_until_enough_bytes_or_its_time_is_up",
     fetch_waits_until_enough_bytes_or_its_time_is_up},
    {"end_of_partition_is_where_the_records_end", end_of_partition_is_where_the_records_end},
    {"consumer_follows_a_producer_as_it_writes", consumer_follows_a_producer_as_it_writes},
    {NULL, NULL},
};
