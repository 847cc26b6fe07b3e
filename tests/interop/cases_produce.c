/* What producers send comes back as it was: codecs, headers, nulls, sizes, order,
 * acknowledgements. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/interop/client.h"

enum { ATTRIBUTES_CODEC = 7 };

/* Records with keys, values and a header, through one codec; the codec is looked up in the stored
 * batch. */
static bool codec_round_trip(struct world *w, const char *codec, int stored_as)
{
    enum { RECORDS = 500 };
    const char *topic = make_topic(w, 1, NULL);
    rd_kafka_t *producer = open_producer(
        w, SETTINGS("compression.type", codec, "linger.ms", "50", "enable.idempotence", "true"));
    rd_kafka_message_t **messages;

    EXPECT(w, topic, "%s", w->reason);
    for (int i = 0; i < RECORDS; i++) {
        char key[16], value[120];
        rd_kafka_headers_t *headers = rd_kafka_headers_new(1);
        int key_size = snprintf(key, sizeof key, "k%d", i);
        int value_size =
            snprintf(value, sizeof value, "%d %s", i, "again and again and again and again");

        rd_kafka_header_add(headers, "n", -1, key, key_size);
        EXPECT_ERROR(w,
                     produce(producer,
                             &(struct record){.topic = topic,
                                              .key = key,
                                              .key_size = (size_t)key_size,
                                              .value = value,
                                              .value_size = (size_t)value_size,
                                              .headers = headers},
                             NULL),
                     RD_KAFKA_RESP_ERR_NO_ERROR);
    }
    EXPECT_ERROR(w, rd_kafka_flush(producer, WORLD_TIMEOUT_MS), RD_KAFKA_RESP_ERR_NO_ERROR);
    EXPECT(w, read_partition(w, topic, 0, 0, RECORDS, &messages) == RECORDS, "not all came back");
    for (int i = 0; i < RECORDS; i++) {
        char key[16], value[120];
        rd_kafka_headers_t *headers;
        const void *header;
        size_t header_size;

        snprintf(key, sizeof key, "k%d", i);
        snprintf(value, sizeof value, "%d %s", i, "again and again and again and again");
        EXPECT(w, messages[i]->offset == i && value_is(messages[i], value), "record %d changed", i);
        EXPECT(w,
               messages[i]->key_len == strlen(key) && !memcmp(messages[i]->key, key, strlen(key)),
               "key %d changed", i);
        EXPECT_ERROR(w, rd_kafka_message_headers(messages[i], &headers),
                     RD_KAFKA_RESP_ERR_NO_ERROR);
        EXPECT_ERROR(w, rd_kafka_header_get_last(headers, "n", &header, &header_size),
                     RD_KAFKA_RESP_ERR_NO_ERROR);
        EXPECT(w, header_size == strlen(key) && !memcmp(header, key, header_size),
               "header %d changed", i);
    }
    if (w->data)
        EXPECT(w, (stored_attributes(w, topic, 0) & ATTRIBUTES_CODEC) == stored_as,
               "attributes 0x%x", stored_attributes(w, topic, 0));
    return true;
}

static bool records_without_codec_come_back(struct world *w)
{
    return codec_round_trip(w, "none", 0);
}

static bool records_in_gzip_come_back(struct world *w)
{
    return codec_round_trip(w, "gzip", 1);
}

static bool records_in_snappy_come_back(struct world *w)
{
    return codec_round_trip(w, "snappy", 2);
}

static bool records_in_lz4_come_back(struct world *w)
{
    return codec_round_trip(w, "lz4", 3);
}

static bool records_in_zstd_come_back(struct world *w)
{
    return codec_round_trip(w, "zstd", 4);
}

static bool headers_keep_order_repeats_and_nulls(struct world *w)
{
    static const struct {
        const char *name, *value;
    } wanted[] = {{"a", "1"}, {"b", NULL}, {"a", "2"}, {"", "unnamed"}, {"e", ""}};
    enum { HEADERS = sizeof wanted / sizeof wanted[0] };
    const char *topic = make_topic(w, 1, NULL);
    rd_kafka_headers_t *headers = rd_kafka_headers_new(HEADERS);
    rd_kafka_message_t **messages;
    struct delivery d;

    EXPECT(w, topic, "%s", w->reason);
    for (size_t i = 0; i < HEADERS; i++)
        rd_kafka_header_add(headers, wanted[i].name, -1, wanted[i].value, -1);
    d = produce_and_wait(admin(w), &(struct record){.topic = topic, .headers = headers});
    EXPECT_ERROR(w, d.error, RD_KAFKA_RESP_ERR_NO_ERROR);
    EXPECT(w, read_partition(w, topic, 0, 0, 1, &messages) == 1, "nothing came back");
    EXPECT_ERROR(w, rd_kafka_message_headers(messages[0], &headers), RD_KAFKA_RESP_ERR_NO_ERROR);
    EXPECT(w, rd_kafka_header_cnt(headers) == HEADERS, "%zu headers", rd_kafka_header_cnt(headers));
    for (size_t i = 0; i < HEADERS; i++) {
        const char *name;
        const void *value;
        size_t size;

        EXPECT_ERROR(w, rd_kafka_header_get_all(headers, i, &name, &value, &size),
                     RD_KAFKA_RESP_ERR_NO_ERROR);
        EXPECT(w, !strcmp(name, wanted[i].name), "header %zu is named '%s'", i, name);
        EXPECT(w, !value == !wanted[i].value, "header %zu: null and not null", i);
        EXPECT(w,
               !value || (size == strlen(wanted[i].value) && !memcmp(value, wanted[i].value, size)),
               "header %zu changed", i);
    }
    return true;
}

static bool null_and_empty_keys_and_values_stay_what_they_are(struct world *w)
{
    const char *topic = make_topic(w, 1, NULL);
    const struct record records[] = {
        {.topic = topic, .key = NULL, .value = NULL},
        {.topic = topic, .key = "", .value = ""},
        {.topic = topic, .key = "k", .key_size = 1, .value = NULL},
        {.topic = topic, .key = NULL, .value = "v", .value_size = 1},
    };
    enum { RECORDS = sizeof records / sizeof records[0] };
    rd_kafka_message_t **messages;

    EXPECT(w, topic, "%s", w->reason);
    for (size_t i = 0; i < RECORDS; i++)
        EXPECT_ERROR(w, produce_and_wait(admin(w), &records[i]).error, RD_KAFKA_RESP_ERR_NO_ERROR);
    EXPECT(w, read_partition(w, topic, 0, 0, RECORDS, &messages) == RECORDS, "not all came back");
    for (size_t i = 0; i < RECORDS; i++) {
        EXPECT(w,
               !messages[i]->key == !records[i].key && messages[i]->key_len == records[i].key_size,
               "the key of record %zu", i);
        EXPECT(w,
               !messages[i]->payload == !records[i].value &&
                   messages[i]->len == records[i].value_size,
               "the value of record %zu", i);
    }
    return true;
}

static bool record_as_large_as_allowed_comes_back(struct world *w)
{
    enum { SIZE = 1048588 - 100 }; /* max.message.bytes less the heads of batch and record */
    const char *topic = make_topic(w, 1, NULL);
    rd_kafka_t *producer = open_producer(w, SETTINGS("message.max.bytes", "20000000"));
    unsigned char *value = malloc(SIZE + 200);
    rd_kafka_message_t **messages;
    struct delivery fits, too_large, small;
    bool same;

    for (size_t i = 0; i < SIZE + 200; i++)
        value[i] = (unsigned char)(i * 2654435761u >> 24);
    fits = produce_and_wait(producer,
                            &(struct record){.topic = topic, .value = value, .value_size = SIZE});
    too_large = produce_and_wait(
        producer, &(struct record){.topic = topic, .value = value, .value_size = SIZE + 200});
    small = produce_and_wait(producer,
                             &(struct record){.topic = topic, .value = value, .value_size = 10});
    same = read_partition(w, topic, 0, 0, 1, &messages) == 1 && messages[0]->len == SIZE &&
           !memcmp(messages[0]->payload, value, SIZE);
    free(value);
    EXPECT_ERROR(w, fits.error, RD_KAFKA_RESP_ERR_NO_ERROR);
    EXPECT_ERROR(w, too_large.error, RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE);
    EXPECT_ERROR(w, small.error, RD_KAFKA_RESP_ERR_NO_ERROR);
    EXPECT(w, small.offset == 1, "the refused record left an offset: %d", (int)small.offset);
    EXPECT(w, same, "the record changed");
    return true;
}

static bool ten_megabytes_pass_where_the_topic_allows_them(struct world *w)
{
    enum { SIZE = 10000000 };
    const char *topic = make_topic(w, 1, SETTINGS("max.message.bytes", "12000000"));
    rd_kafka_t *producer = open_producer(w, SETTINGS("message.max.bytes", "20000000"));
    unsigned char *value = malloc(SIZE);
    rd_kafka_message_t **messages;
    struct delivery d;
    bool same;

    memset(value, 'L', SIZE);
    d = produce_and_wait(producer,
                         &(struct record){.topic = topic, .value = value, .value_size = SIZE});
    same = read_partition(w, topic, 0, 0, 1, &messages) == 1 && messages[0]->len == SIZE &&
           !memcmp(messages[0]->payload, value, SIZE);
    free(value);
    EXPECT_ERROR(w, d.error, RD_KAFKA_RESP_ERR_NO_ERROR);
    EXPECT(w, same, "the record changed");
    return true;
}

static bool create_times_are_kept(struct world *w)
{
    const char *topic = make_topic(w, 1, NULL);
    int64_t stamp = now_ms() - 3600000;
    rd_kafka_timestamp_type_t type;
    rd_kafka_message_t **messages;
    struct delivery d;

    EXPECT(w, topic, "%s", w->reason);
    d = produce_and_wait(
        admin(w),
        &(struct record){.topic = topic, .value = "x", .value_size = 1, .timestamp_ms = stamp});
    EXPECT_ERROR(w, d.error, RD_KAFKA_RESP_ERR_NO_ERROR);
    EXPECT(w, read_partition(w, topic, 0, 0, 1, &messages) == 1, "nothing came back");
    EXPECT(w, rd_kafka_message_timestamp(messages[0], &type) == stamp, "another timestamp");
    EXPECT(w, type == RD_KAFKA_TIMESTAMP_CREATE_TIME, "timestamp type %d", type);
    return true;
}

static bool idempotent_producer_with_many_in_flight_keeps_order(struct world *w)
{
    enum { RECORDS = 30000, PARTITIONS = 3 };
    const char *topic = make_topic(w, PARTITIONS, NULL);
    rd_kafka_t *producer =
        open_producer(w, SETTINGS("enable.idempotence", "true", "batch.num.messages", "20",
                                  "max.in.flight.requests.per.connection", "5"));
    rd_kafka_message_t **messages;

    EXPECT(w, topic, "%s", w->reason);
    for (int i = 0; i < RECORDS; i++) {
        char value[16];
        int size = snprintf(value, sizeof value, "%d", i / PARTITIONS);

        EXPECT_ERROR(w,
                     produce(producer,
                             &(struct record){.topic = topic,
                                              .partition = i % PARTITIONS,
                                              .value = value,
                                              .value_size = (size_t)size},
                             NULL),
                     RD_KAFKA_RESP_ERR_NO_ERROR);
    }
    EXPECT_ERROR(w, rd_kafka_flush(producer, WORLD_TIMEOUT_MS), RD_KAFKA_RESP_ERR_NO_ERROR);
    EXPECT_ERROR(w, rd_kafka_fatal_error(producer, NULL, 0), RD_KAFKA_RESP_ERR_NO_ERROR);
    for (int p = 0; p < PARTITIONS; p++) {
        int64_t low, high;

        EXPECT(w,
               read_partition(w, topic, p, 0, RECORDS / PARTITIONS, &messages) ==
                   RECORDS / PARTITIONS,
               "partition %d lost records", p);
        EXPECT(w, are_numbers(messages, RECORDS / PARTITIONS, 0), "partition %d is out of order",
               p);
        rd_kafka_query_watermark_offsets(producer, topic, p, &low, &high, WORLD_TIMEOUT_MS);
        EXPECT(w, high == RECORDS / PARTITIONS, "partition %d ends at %d", p, (int)high);
    }
    return true;
}

static bool acks(struct world *w, const char *acks_setting, bool has_offset)
{
    const char *topic = make_topic(w, 1, NULL);
    rd_kafka_t *producer = open_producer(w, SETTINGS("acks", acks_setting));
    rd_kafka_message_t **messages;
    struct delivery d;

    EXPECT(w, topic, "%s", w->reason);
    EXPECT_ERROR(w, produce_numbers(producer, topic, 0, 0, 100), RD_KAFKA_RESP_ERR_NO_ERROR);
    d = produce_and_wait(producer,
                         &(struct record){.topic = topic, .value = "100", .value_size = 3});
    EXPECT_ERROR(w, d.error, RD_KAFKA_RESP_ERR_NO_ERROR);
    EXPECT(w, !has_offset || d.offset == 100, "acknowledged at offset %d", (int)d.offset);
    EXPECT(w,
           read_partition(w, topic, 0, 0, 101, &messages) == 101 && are_numbers(messages, 101, 0),
           "records are missing");
    return true;
}

static bool acks_of_none_are_written_all_the_same(struct world *w)
{
    return acks(w, "0", false);
}

static bool acks_of_the_leader_carry_offsets(struct world *w)
{
    return acks(w, "1", true);
}

static bool acks_of_all_carry_offsets(struct world *w)
{
    return acks(w, "all", true);
}

static bool producing_creates_an_unknown_topic(struct world *w)
{
    rd_kafka_message_t **messages;
    const char *topic = new_topic_name(w);
    rd_kafka_t *producer = open_producer(w, NO_SETTINGS);

    EXPECT_ERROR(w, produce_numbers(producer, topic, RD_KAFKA_PARTITION_UA, 0, 10),
                 RD_KAFKA_RESP_ERR_NO_ERROR);
    EXPECT(w, read_partition(w, topic, 0, 0, 10, &messages) == 10, "not all came back");
    return true;
}

static bool producing_to_a_partition_beyond_the_last_fails(struct world *w)
{
    const char *topic = make_topic(w, 2, NULL);
    struct delivery d;

    EXPECT(w, topic, "%s", w->reason);
    d = produce_and_wait(
        open_producer(w, SETTINGS("message.timeout.ms", "3000")),
        &(struct record){.topic = topic, .partition = 2, .value = "x", .value_size = 1});
    EXPECT_ERROR(w, d.error, RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION);
    return true;
}

static bool several_producers_share_a_partition(struct world *w)
{
    enum { PRODUCERS = 8, RECORDS = 200 };
    const char *topic = make_topic(w, 1, NULL);
    rd_kafka_t *producers[PRODUCERS];
    rd_kafka_message_t **messages;
    int next[PRODUCERS] = {0};
    size_t count;

    EXPECT(w, topic, "%s", w->reason);
    for (int p = 0; p < PRODUCERS; p++)
        producers[p] = open_producer(w, SETTINGS("enable.idempotence", "true"));
    for (int round = 0; round < RECORDS; round++) {
        for (int p = 0; p < PRODUCERS; p++) {
            char value[16];
            int size = snprintf(value, sizeof value, "%d %d", p, round);
            struct record r = {.topic = topic, .value = value, .value_size = (size_t)size};

            EXPECT_ERROR(w, produce(producers[p], &r, NULL), RD_KAFKA_RESP_ERR_NO_ERROR);
        }
    }
    for (int p = 0; p < PRODUCERS; p++)
        EXPECT_ERROR(w, rd_kafka_flush(producers[p], WORLD_TIMEOUT_MS), RD_KAFKA_RESP_ERR_NO_ERROR);
    count = read_partition(w, topic, 0, 0, PRODUCERS * RECORDS, &messages);
    EXPECT(w, count == PRODUCERS * RECORDS, "%zu came back", count);
    for (size_t i = 0; i < count; i++) {
        char text[16];
        int p, round;

        snprintf(text, sizeof text, "%.*s", (int)messages[i]->len,
                 (const char *)messages[i]->payload);
        EXPECT(w, sscanf(text, "%d %d", &p, &round) == 2 && round == next[p]++,
               "'%s' is out of order", text);
    }
    return true;
}

const struct client_case produce_cases[] = {
    {"records_without_codec_come_back", records_without_codec_come_back},
    {"records_in_gzip_come_back", records_in_gzip_come_back},
    {"records_in_snappy_come_back", records_in_snappy_come_back},
    {"records_in_lz4_come_back", records_in_lz4_come_back},
    {"records_in_zstd_come_back", records_in_zstd_come_back},
    {"headers_keep_order_repeats_and_nulls", headers_keep_order_repeats_and_nulls},
    {"null_and_empty_keys_and_values_stay_what_they_are",
     null_and_empty_keys_and_values_stay_what_they_are},
    {"record_as_large_as_allowed_comes_back", record_as_large_as_allowed_comes_back},
    {"ten_megabytes_pass_where_the_topic_allows_them",
     ten_megabytes_pass_where_the_topic_allows_them},
    {"create_times_are_kept", create_times_are_kept},
    {"idempotent_producer_with_many_in_flight_keeps_order",
     idempotent_producer_with_many_in_flight_keeps_order},
    {"acks_of_none_are_written_all_the_same", acks_of_none_are_written_all_the_same},
    {"acks_of_the_leader_carry_offsets", acks_of_the_leader_carry_offsets},
    {"acks_of_all_carry_offsets", acks_of_all_carry_offsets},
    {"producing_creates_an_unknown_topic", producing_creates_an_unknown_topic},
    {"producing_to_a_partition_beyond_the_last_fails",
     producing_to_a_partition_beyond_the_last_fails},
    {"several_producers_share_a_partition", several_producers_share_a_partition},
    {NULL, NULL},
};
