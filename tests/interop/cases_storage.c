/* What the disk must do for clients: segments, retention, restarts. The runner's settings make
 * retention checks frequent (log.retention.check.interval.ms). */

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tests/interop/client.h"

enum { VALUE_BYTES = 10000 };

/* Fills partition 0 with about a megabyte a step, the step's number first in each value. */
static rd_kafka_resp_err_t fill(rd_kafka_t *producer, const char *topic, int megabytes,
                                int64_t timestamp_ms)
{
    char value[VALUE_BYTES];

    memset(value, '.', sizeof value);
    for (int i = 0; i < megabytes * 1000000 / VALUE_BYTES; i++) {
        rd_kafka_resp_err_t error;
        int n = snprintf(value, sizeof value, "%d", i);

        value[n] = '.';
        error = produce(producer,
                        &(struct record){.topic = topic,
                                         .value = value,
                                         .value_size = sizeof value,
                                         .timestamp_ms = timestamp_ms ? timestamp_ms + i : 0},
                        NULL);
        if (error)
            return error;
    }
    return rd_kafka_flush(producer, WORLD_TIMEOUT_MS);
}

static bool log_of_many_segments_reads_as_one(struct world *w)
{
    const char *topic = make_topic(w, 1, SETTINGS("segment.bytes", "1048576"));
    rd_kafka_message_t **messages;
    size_t count;

    EXPECT(w, topic, "%s", w->reason);
    EXPECT_ERROR(
        w, fill(open_producer(w, SETTINGS("linger.ms", "5", "batch.size", "100000")), topic, 8, 0),
        RD_KAFKA_RESP_ERR_NO_ERROR);
    if (w->data)
        EXPECT(w, stored_files(w, topic, 0, ".log") >= 7, "%d segments",
               stored_files(w, topic, 0, ".log"));
    count = read_partition(w, topic, 0, 0, 800, &messages);
    EXPECT(w, count == 800, "%zu came back", count);
    for (size_t i = 0; i < count; i++)
        EXPECT(w, messages[i]->offset == (int64_t)i, "record %zu has offset %d", i,
               (int)messages[i]->offset);
    EXPECT(w, read_partition(w, topic, 0, 555, 1, &messages) == 1 && messages[0]->offset == 555,
           "an offset in the middle is not found");
    return true;
}

/* Waits until the log start of partition 0 is above an offset. */
static bool wait_log_start_above(struct world *w, const char *topic, int64_t offset, int64_t *low,
                                 int64_t *high)
{
    for (int64_t deadline = now_ms() + WORLD_TIMEOUT_MS; now_ms() < deadline; usleep(50000)) {
        if (!rd_kafka_query_watermark_offsets(admin(w), topic, 0, low, high, WORLD_TIMEOUT_MS) &&
            *low > offset)
            return true;
    }
    return world_fail(w, __FILE__, __LINE__, "the log still starts at %d", (int)*low);
}

static bool retention_by_size_drops_old_segments(struct world *w)
{
    const char *topic = make_topic(w, 1,
                                   SETTINGS("segment.bytes", "1048576", "retention.bytes",
                                            "2200000", "file.delete.delay.ms", "0"));
    rd_kafka_message_t **messages;
    int64_t low = 0, high;

    EXPECT(w, topic, "%s", w->reason);
    EXPECT_ERROR(
        w, fill(open_producer(w, SETTINGS("linger.ms", "5", "batch.size", "100000")), topic, 8, 0),
        RD_KAFKA_RESP_ERR_NO_ERROR);
    if (!wait_log_start_above(w, topic, 400, &low, &high))
        return false;
    EXPECT(w, low < 700, "more went than needed: the log starts at %d", (int)low);
    EXPECT(w,
           read_partition(w, topic, 0, RD_KAFKA_OFFSET_BEGINNING, 1, &messages) == 1 &&
               messages[0]->offset == low,
           "reading does not start at the log start");
    if (w->data) {
        for (int64_t deadline = now_ms() + WORLD_TIMEOUT_MS; now_ms() < deadline; usleep(50000))
            if (stored_files(w, topic, 0, ".log") <= 4 &&
                stored_files(w, topic, 0, ".deleted") == 0)
                break;
        EXPECT(w,
               stored_files(w, topic, 0, ".log") <= 4 && stored_files(w, topic, 0, ".deleted") == 0,
               "%d segments and %d deleted files are left", stored_files(w, topic, 0, ".log"),
               stored_files(w, topic, 0, ".deleted"));
    }
    return true;
}

static bool retention_by_time_drops_old_records(struct world *w)
{
    const char *topic =
        make_topic(w, 1, SETTINGS("segment.bytes", "1048576", "retention.ms", "3600000"));
    rd_kafka_t *producer = open_producer(w, SETTINGS("linger.ms", "5", "batch.size", "100000"));
    int64_t low = 0, high;

    EXPECT(w, topic, "%s", w->reason);
    EXPECT_ERROR(w, fill(producer, topic, 3, now_ms() - 7200000), RD_KAFKA_RESP_ERR_NO_ERROR);
    EXPECT_ERROR(w, fill(producer, topic, 3, now_ms() - 60000), RD_KAFKA_RESP_ERR_NO_ERROR);
    if (!wait_log_start_above(w, topic, 150, &low, &high))
        return false;
    EXPECT(w, low <= 300, "records of now went too: the log starts at %d", (int)low);
    return true;
}

static bool survives(struct world *w, bool hard)
{
    enum { RECORDS = 3000 };
    const char *topic = make_topic(w, 3, SETTINGS("retention.ms", "987654321"));
    rd_kafka_t *producer = open_producer(w, SETTINGS("enable.idempotence", "true"));
    rd_kafka_ConfigSource_t source;
    rd_kafka_message_t **messages;
    char value[256];

    if (!w->restartable)
        return world_skip(w, "nobody here restarts the broker");
    EXPECT(w, topic, "%s", w->reason);
    for (int p = 0; p < 3; p++)
        EXPECT_ERROR(w, produce_numbers(producer, topic, p, p, RECORDS),
                     RD_KAFKA_RESP_ERR_NO_ERROR);
    EXPECT(w, world_restart(w, hard), "the broker did not come back");
    if (!wait_led(w, topic, 3))
        return false;
    for (int p = 0; p < 3; p++)
        EXPECT(w,
               read_partition(w, topic, p, 0, RECORDS, &messages) == RECORDS &&
                   are_numbers(messages, RECORDS, p),
               "partition %d lost records", p);
    EXPECT_ERROR(w,
                 describe_config(w, RD_KAFKA_RESOURCE_TOPIC, topic, "retention.ms", value, &source),
                 RD_KAFKA_RESP_ERR_NO_ERROR);
    EXPECT(w, !strcmp(value, "987654321"), "retention.ms is '%s' now", value);
    /* The same producer goes on where it was: its sequences are known to the new broker. */
    EXPECT_ERROR(w, produce_numbers(producer, topic, 0, RECORDS, 10), RD_KAFKA_RESP_ERR_NO_ERROR);
    EXPECT(w,
           read_partition(w, topic, 0, RECORDS, 10, &messages) == 10 &&
               are_numbers(messages, 10, RECORDS),
           "records after the restart are wrong");
    return true;
}

static bool data_survive_a_clean_restart(struct world *w)
{
    return survives(w, false);
}

static bool acknowledged_data_survive_kill_9(struct world *w)
{
    return survives(w, true);
}

static bool log_start_survives_a_restart(struct world *w)
{
    const char *topic = make_topic(w, 1, NULL);
    int64_t low = 0, high = 0;

    if (!w->restartable)
        return world_skip(w, "nobody here restarts the broker");
    EXPECT(w, topic, "%s", w->reason);
    EXPECT_ERROR(w, produce_numbers(admin(w), topic, 0, 0, 20), RD_KAFKA_RESP_ERR_NO_ERROR);
    EXPECT_ERROR(w, delete_records(w, topic, 12, &low), RD_KAFKA_RESP_ERR_NO_ERROR);
    EXPECT(w, world_restart(w, false), "the broker did not come back");
    if (!wait_log_start_above(w, topic, 0, &low, &high))
        return false;
    EXPECT(w, low == 12 && high == 20, "%d to %d", (int)low, (int)high);
    return true;
}

static bool producer_retries_across_a_restart(struct world *w)
{
    enum { RECORDS = 2000 };
    const char *topic = make_topic(w, 1, NULL);
    rd_kafka_t *producer = open_producer(w, SETTINGS("enable.idempotence", "true"));
    rd_kafka_message_t **messages;
    struct delivery deliveries[RECORDS] = {0};
    size_t count;

    if (!w->restartable)
        return world_skip(w, "nobody here restarts the broker");
    EXPECT(w, topic, "%s", w->reason);
    for (int i = 0; i < RECORDS; i++) {
        char value[16];
        int size = snprintf(value, sizeof value, "%d", i);
        struct record r = {.topic = topic, .value = value, .value_size = (size_t)size};

        if (produce(producer, &r, &deliveries[i]))
            break;
        if (i == RECORDS / 2 && !world_restart(w, true))
            break;
        if (i % 100 == 0)
            rd_kafka_poll(producer, 1);
    }
    /* The deliveries are in this frame: none may stay open. */
    if (rd_kafka_flush(producer, WORLD_TIMEOUT_MS)) {
        rd_kafka_purge(producer, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
        rd_kafka_flush(producer, WORLD_TIMEOUT_MS);
    }
    for (int i = 0; i < RECORDS; i++)
        EXPECT(w, deliveries[i].done && !deliveries[i].error, "record %d: %s", i,
               rd_kafka_err2name(deliveries[i].error));
    count = read_partition(w, topic, 0, 0, RECORDS, &messages);
    EXPECT(w, count == RECORDS && are_numbers(messages, count, 0), "%zu came, or out of order",
           count);
    return true;
}

/* A waiting consumer finds its way back by itself. */
static bool consumer_goes_on_after_a_restart(struct world *w)
{
    const char *topic = make_topic(w, 1, NULL);
    rd_kafka_t *consumer = open_consumer(w, NO_SETTINGS);
    rd_kafka_message_t **messages;

    if (!w->restartable)
        return world_skip(w, "nobody here restarts the broker");
    EXPECT(w, topic, "%s", w->reason);
    EXPECT_ERROR(w, produce_numbers(admin(w), topic, 0, 0, 5), RD_KAFKA_RESP_ERR_NO_ERROR);
    if (!assign(w, consumer, topic, 0, 0))
        return false;
    EXPECT(w, consume(w, consumer, 5, WORLD_TIMEOUT_MS, NULL) == 5,
           "the first records did not come");
    EXPECT(w, world_restart(w, true), "the broker did not come back");
    EXPECT_ERROR(w, produce_numbers(admin(w), topic, 0, 5, 5), RD_KAFKA_RESP_ERR_NO_ERROR);
    EXPECT(w,
           consume(w, consumer, 5, WORLD_TIMEOUT_MS, &messages) == 5 && are_numbers(messages, 5, 5),
           "the later records did not come");
    return true;
}

static bool deleted_topics_files_go(struct world *w)
{
    const char *topic = make_topic(w, 1, SETTINGS("file.delete.delay.ms", "0"));

    if (!w->data)
        return world_skip(w, "the data directory is not at hand");
    EXPECT(w, topic, "%s", w->reason);
    EXPECT_ERROR(w, produce_numbers(admin(w), topic, 0, 0, 5), RD_KAFKA_RESP_ERR_NO_ERROR);
    EXPECT(w, stored_files(w, topic, 0, ".log") == 1, "no segment file");
    EXPECT_ERROR(w, delete_topic(w, topic), RD_KAFKA_RESP_ERR_NO_ERROR);
    for (int64_t deadline = now_ms() + WORLD_TIMEOUT_MS; now_ms() < deadline; usleep(50000))
        if (stored_files(w, topic, 0, ".log") < 0)
            return true;
    EXPECT(w, false, "the folder is still there");
    return true;
}

const struct client_case storage_cases[] = {
    {"log_of_many_segments_reads_as_one", log_of_many_segments_reads_as_one},
    {"retention_by_size_drops_old_segments", retention_by_size_drops_old_segments},
    {"retention_by_time_drops_old_records", retention_by_time_drops_old_records},
    {"deleted_topics_files_go", deleted_topics_files_go},
    {"data_survive_a_clean_restart", data_survive_a_clean_restart},
    {"acknowledged_data_survive_kill_9", acknowledged_data_survive_kill_9},
    {"log_start_survives_a_restart", log_start_survives_a_restart},
    {"producer_retries_across_a_restart", producer_retries_across_a_restart},
    {"consumer_goes_on_after_a_restart", consumer_goes_on_after_a_restart},
    {NULL, NULL},
};
