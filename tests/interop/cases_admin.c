/* Topics come, grow and go. */

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tests/interop/client.h"

static bool created_topic_has_its_partitions(struct world *w)
{
    const char *topic = make_topic(w, 7, NULL);

    EXPECT(w, topic, "%s", w->reason);
    return true;
}

static bool partition_count_of_minus_one_is_the_brokers_default(struct world *w)
{
    struct topic_wish wish = {.name = new_topic_name(w), .partitions = -1, .replication = -1};

    EXPECT_ERROR(w, create_topic(w, &wish), RD_KAFKA_RESP_ERR_NO_ERROR);
    return wait_led(w, wish.name, 1);
}

static bool validate_only_creates_nothing(struct world *w)
{
    struct topic_wish wish = {
        .name = new_topic_name(w), .partitions = 1, .replication = 1, .validate_only = true};

    EXPECT_ERROR(w, create_topic(w, &wish), RD_KAFKA_RESP_ERR_NO_ERROR);
    usleep(200000);
    EXPECT(w, led_partitions(w, wish.name) == 0, "the topic is there");
    wish.replication = 5;
    EXPECT_ERROR(w, create_topic(w, &wish), RD_KAFKA_RESP_ERR_INVALID_REPLICATION_FACTOR);
    return true;
}

static bool existing_topic_is_not_created_again(struct world *w)
{
    const char *topic = make_topic(w, 2, NULL);
    struct topic_wish again = {.name = topic, .partitions = 3, .replication = 1};

    EXPECT(w, topic, "%s", w->reason);
    EXPECT_ERROR(w, create_topic(w, &again), RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS);
    EXPECT(w, led_partitions(w, topic) == 2, "its partitions changed");
    return true;
}

static bool illegal_topic_names_are_refused(struct world *w)
{
    static const char *const names[] = {"with blank", "with/slash", "with:colon", ".",
                                        "..",         "ümlaut",     "comma,"};
    char longest[251];

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        struct topic_wish wish = {.name = names[i], .partitions = 1, .replication = 1};
        rd_kafka_resp_err_t error = create_topic(w, &wish);

        EXPECT(w, error == RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION, "'%s': %s", names[i],
               rd_kafka_err2name(error));
    }
    memset(longest, 'x', sizeof longest - 1);
    longest[sizeof longest - 1] = 0;
    EXPECT_ERROR(
        w,
        create_topic(w, &(struct topic_wish){.name = longest, .partitions = 1, .replication = 1}),
        RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION);
    return true;
}

/* 249 bytes: the folder "<name>-<partition>" must still fit in a file name. */
static bool longest_legal_topic_name_works(struct world *w)
{
    char name[250];
    struct topic_wish wish = {.name = name, .partitions = 1, .replication = 1};
    rd_kafka_message_t **messages;

    memset(name, 'x', sizeof name - 1);
    name[sizeof name - 1] = 0;
    memcpy(name, new_topic_name(w), strlen(w->topic_name));
    EXPECT_ERROR(w, create_topic(w, &wish), RD_KAFKA_RESP_ERR_NO_ERROR);
    if (!wait_led(w, name, 1))
        return false;
    EXPECT_ERROR(w, produce_numbers(admin(w), name, 0, 0, 3), RD_KAFKA_RESP_ERR_NO_ERROR);
    EXPECT(w, read_partition(w, name, 0, 0, 3, &messages) == 3, "not all came back");
    EXPECT_ERROR(w, delete_topic(w, name), RD_KAFKA_RESP_ERR_NO_ERROR);
    return true;
}

/* "a.b" and "a_b" would have the same metric name. */
static bool names_that_collide_are_refused(struct world *w)
{
    char dots[80], underscores[80];
    struct topic_wish first = {.name = dots, .partitions = 1, .replication = 1};
    struct topic_wish second = {.name = underscores, .partitions = 1, .replication = 1};

    snprintf(dots, sizeof dots, "%s.a.b", new_topic_name(w));
    snprintf(underscores, sizeof underscores, "%s_a.b", w->topic_name);
    EXPECT_ERROR(w, create_topic(w, &first), RD_KAFKA_RESP_ERR_NO_ERROR);
    EXPECT_ERROR(w, create_topic(w, &second), RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION);
    EXPECT_ERROR(w, delete_topic(w, dots), RD_KAFKA_RESP_ERR_NO_ERROR);
    return true;
}

static bool more_replicas_than_brokers_are_refused(struct world *w)
{
    struct topic_wish wish = {.name = new_topic_name(w), .partitions = 1, .replication = 3};

    EXPECT_ERROR(w, create_topic(w, &wish), RD_KAFKA_RESP_ERR_INVALID_REPLICATION_FACTOR);
    EXPECT(w, led_partitions(w, wish.name) == 0, "the topic is there");
    return true;
}

static bool zero_partitions_are_refused(struct world *w)
{
    struct topic_wish wish = {.name = new_topic_name(w), .partitions = 0, .replication = 1};

    EXPECT_ERROR(w, create_topic(w, &wish), RD_KAFKA_RESP_ERR_INVALID_PARTITIONS);
    return true;
}

static bool replicas_may_be_assigned_by_hand(struct world *w)
{
    static const int32_t known[] = {1}, unknown[] = {99}, doubled[] = {1, 1};
    struct topic_wish wish = {
        .name = new_topic_name(w), .partitions = 1, .brokers = unknown, .broker_count = 1};

    EXPECT_ERROR(w, create_topic(w, &wish), RD_KAFKA_RESP_ERR_INVALID_REPLICA_ASSIGNMENT);
    wish.brokers = doubled;
    wish.broker_count = 2;
    EXPECT_ERROR(w, create_topic(w, &wish), RD_KAFKA_RESP_ERR_INVALID_REPLICA_ASSIGNMENT);
    wish.brokers = known;
    wish.broker_count = 1;
    EXPECT_ERROR(w, create_topic(w, &wish), RD_KAFKA_RESP_ERR_NO_ERROR);
    return wait_led(w, wish.name, 1);
}

static bool deleted_topic_is_gone_and_its_name_starts_empty_again(struct world *w)
{
    const char *topic = make_topic(w, 2, NULL);
    struct topic_wish again = {.name = topic, .partitions = 1, .replication = 1};
    rd_kafka_resp_err_t error = RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION;
    rd_kafka_t *consumer;
    int64_t low, high;

    EXPECT(w, topic, "%s", w->reason);
    EXPECT_ERROR(w, produce_numbers(admin(w), topic, 0, 0, 5), RD_KAFKA_RESP_ERR_NO_ERROR);
    EXPECT_ERROR(w, delete_topic(w, topic), RD_KAFKA_RESP_ERR_NO_ERROR);
    if (!wait_led(w, topic, 0))
        return false;
    EXPECT_ERROR(w, create_topic(w, &again), RD_KAFKA_RESP_ERR_NO_ERROR);
    if (!wait_led(w, topic, 1))
        return false;
    /* A client of its own: the other still knows the old topic. The new log waits until the disk
     * knows that the old one is gone: a moment, in which clients are told to ask again. */
    consumer = open_consumer(w, NO_SETTINGS);
    for (int tries = 0; tries < 100 && error == RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION;
         tries++) {
        error = rd_kafka_query_watermark_offsets(consumer, topic, 0, &low, &high, WORLD_TIMEOUT_MS);
        usleep(20000);
    }
    EXPECT_ERROR(w, error, RD_KAFKA_RESP_ERR_NO_ERROR);
    EXPECT(w, low == 0 && high == 0, "offsets %d to %d", (int)low, (int)high);
    return true;
}

static bool unknown_topic_is_not_deleted(struct world *w)
{
    EXPECT_ERROR(w, delete_topic(w, new_topic_name(w)), RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART);
    return true;
}

static bool topic_grows_and_keeps_its_records(struct world *w)
{
    const char *topic = make_topic(w, 2, NULL);
    rd_kafka_message_t **messages;

    EXPECT(w, topic, "%s", w->reason);
    EXPECT_ERROR(w, produce_numbers(admin(w), topic, 1, 0, 5), RD_KAFKA_RESP_ERR_NO_ERROR);
    EXPECT_ERROR(w, grow_topic(w, topic, 6), RD_KAFKA_RESP_ERR_NO_ERROR);
    if (!wait_led(w, topic, 6))
        return false;
    EXPECT_ERROR(w, produce_numbers(open_producer(w, NO_SETTINGS), topic, 5, 100, 5),
                 RD_KAFKA_RESP_ERR_NO_ERROR);
    EXPECT(w, read_partition(w, topic, 1, 0, 5, &messages) == 5 && are_numbers(messages, 5, 0),
           "the old partition lost records");
    EXPECT(w, read_partition(w, topic, 5, 0, 5, &messages) == 5 && are_numbers(messages, 5, 100),
           "the new partition lost records");
    return true;
}

static bool topic_never_shrinks(struct world *w)
{
    const char *topic = make_topic(w, 3, NULL);

    EXPECT(w, topic, "%s", w->reason);
    EXPECT_ERROR(w, grow_topic(w, topic, 2), RD_KAFKA_RESP_ERR_INVALID_PARTITIONS);
    EXPECT_ERROR(w, grow_topic(w, topic, 3), RD_KAFKA_RESP_ERR_INVALID_PARTITIONS);
    EXPECT(w, led_partitions(w, topic) == 3, "its partitions changed");
    return true;
}

static bool unknown_topic_does_not_grow(struct world *w)
{
    EXPECT_ERROR(w, grow_topic(w, new_topic_name(w), 4), RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART);
    return true;
}

static bool metadata_names_cluster_controller_and_broker(struct world *w)
{
    char *cluster = rd_kafka_clusterid(admin(w), WORLD_TIMEOUT_MS);
    const struct rd_kafka_metadata *metadata;
    char at[128] = "";

    EXPECT(w, cluster && strlen(cluster) == 22, "cluster id '%s'", cluster ? cluster : "");
    rd_kafka_mem_free(admin(w), cluster);
    EXPECT(w, rd_kafka_controllerid(admin(w), WORLD_TIMEOUT_MS) >= 0, "no controller");
    EXPECT_ERROR(w, rd_kafka_metadata(admin(w), 1, NULL, &metadata, WORLD_TIMEOUT_MS),
                 RD_KAFKA_RESP_ERR_NO_ERROR);
    if (metadata->broker_cnt == 1)
        snprintf(at, sizeof at, "%s:%d", metadata->brokers[0].host, metadata->brokers[0].port);
    rd_kafka_metadata_destroy(metadata);
    EXPECT(w, !strcmp(at, w->bootstrap), "the broker is at '%s'", at);
    return true;
}

static bool many_topics_in_a_row_are_all_there(struct world *w)
{
    enum { TOPICS = 30 };
    char names[TOPICS][64];

    for (int i = 0; i < TOPICS; i++) {
        struct topic_wish wish = {.name = names[i], .partitions = 3, .replication = 1};

        snprintf(names[i], sizeof names[i], "%s", new_topic_name(w));
        EXPECT_ERROR(w, create_topic(w, &wish), RD_KAFKA_RESP_ERR_NO_ERROR);
    }
    for (int i = 0; i < TOPICS; i++)
        if (!wait_led(w, names[i], 3))
            return false;
    for (int i = 0; i < TOPICS; i++)
        EXPECT_ERROR(w, delete_topic(w, names[i]), RD_KAFKA_RESP_ERR_NO_ERROR);
    return true;
}

const struct client_case admin_cases[] = {
    {"created_topic_has_its_partitions", created_topic_has_its_partitions},
    {"partition_count_of_minus_one_is_the_brokers_default",
     partition_count_of_minus_one_is_the_brokers_default},
    {"validate_only_creates_nothing", validate_only_creates_nothing},
    {"existing_topic_is_not_created_again", existing_topic_is_not_created_again},
    {"illegal_topic_names_are_refused", illegal_topic_names_are_refused},
    {"longest_legal_topic_name_works", longest_legal_topic_name_works},
    {"names_that_collide_are_refused", names_that_collide_are_refused},
    {"more_replicas_than_brokers_are_refused", more_replicas_than_brokers_are_refused},
    {"zero_partitions_are_refused", zero_partitions_are_refused},
    {"replicas_may_be_assigned_by_hand", replicas_may_be_assigned_by_hand},
    {"deleted_topic_is_gone_and_its_name_starts_empty_again",
     deleted_topic_is_gone_and_its_name_starts_empty_again},
    {"unknown_topic_is_not_deleted", unknown_topic_is_not_deleted},
    {"topic_grows_and_keeps_its_records", topic_grows_and_keeps_its_records},
    {"topic_never_shrinks", topic_never_shrinks},
    {"unknown_topic_does_not_grow", unknown_topic_does_not_grow},
    {"metadata_names_cluster_controller_and_broker", metadata_names_cluster_controller_and_broker},
    {"many_topics_in_a_row_are_all_there", many_topics_in_a_row_are_all_there},
    {NULL, NULL},
};
