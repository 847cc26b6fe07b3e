#include "tests/unit/test.h"

#include <stdlib.h>

#include "protocol/group_record.h"

/* Kafka's own bytes of every type: tests/vectors, "group-records". Here is what stands around
 * them. */

struct world {
    struct arena arena;
    struct writer key;
    struct writer value;
};

static int setup(void **state)
{
    struct world *w = calloc(1, sizeof *w);

    arena_init(&w->arena, 1 << 20);
    writer_init(&w->key, 1 << 20);
    writer_init(&w->value, 1 << 20);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;

    arena_free(&w->arena);
    writer_free(&w->key);
    writer_free(&w->value);
    free(w);
    return 0;
}

static struct bytes written(const struct writer *w)
{
    return (struct bytes){w->data, w->size};
}

static const struct bytes no_value = {NULL, 0};

static struct group_record offset_commit(void)
{
    struct group_record r;

    group_record_init(&r, GROUP_RECORD_OFFSET_COMMIT);
    r.key.offset_commit = (struct offset_commit_key){STR("g"), STR("t"), 3};
    r.value.offset_commit.offset = 42;
    r.value.offset_commit.leader_epoch = 7;
    r.value.offset_commit.metadata = STR("note");
    r.value.offset_commit.commit_timestamp = 1000;
    r.value.offset_commit.topic_id = (struct uuid){{1, 2, 3}};
    return r;
}

static void encode(struct world *w, const struct group_record *r)
{
    writer_reset(&w->key);
    writer_reset(&w->value);
    assert_true(group_record_encode(r, &w->key, &w->value));
}

static enum kerr decode(struct world *w, struct group_record *r)
{
    return group_record_decode(r, written(&w->key), written(&w->value), &w->arena);
}

static void a_committed_offset_is_written_in_version_4_as_kafka_4_4_does(void **state)
{
    struct world *w = *state;
    struct group_record r = offset_commit();
    struct group_record again;

    encode(w, &r);
    assert_int_equal(load_be16(w->key.data), 1);
    assert_int_equal(load_be16(w->value.data), 4);
    assert_int_equal(decode(w, &again), KERR_NONE);
    assert_int_equal(again.type, GROUP_RECORD_OFFSET_COMMIT);
    assert_false(again.tombstone);
    assert_int_equal(again.value_version, 4);
    assert_true(str_equal(group_record_group(&again), STR("g")));
    assert_true(str_equal(again.key.offset_commit.topic, STR("t")));
    assert_int_equal(again.key.offset_commit.partition, 3);
    assert_int_equal(again.value.offset_commit.offset, 42);
    assert_int_equal(again.value.offset_commit.leader_epoch, 7);
    assert_true(str_equal(again.value.offset_commit.metadata, STR("note")));
    assert_int_equal(again.value.offset_commit.commit_timestamp, 1000);
    assert_int_equal(again.value.offset_commit.expire_timestamp, -1);
    assert_true(uuid_equal(again.value.offset_commit.topic_id, r.value.offset_commit.topic_id));
}

/* Only version 1 can carry it: clients of OffsetCommit 2 to 4 may still say how long an offset is
 * to be kept. */
static void an_offset_with_its_own_expiry_is_written_in_version_1(void **state)
{
    struct world *w = *state;
    struct group_record r = offset_commit();
    struct group_record again;

    r.value.offset_commit.expire_timestamp = 5000;
    encode(w, &r);
    assert_int_equal(load_be16(w->value.data), 1);
    assert_int_equal(decode(w, &again), KERR_NONE);
    assert_int_equal(again.value.offset_commit.expire_timestamp, 5000);
    assert_int_equal(again.value.offset_commit.leader_epoch, -1);
}

static void a_classic_group_is_written_in_version_3(void **state)
{
    struct world *w = *state;
    struct group_record r;

    group_record_init(&r, GROUP_RECORD_GROUP_METADATA);
    r.key.group_metadata.group = STR("g");
    encode(w, &r);
    assert_int_equal(load_be16(w->key.data), 2);
    assert_int_equal(load_be16(w->value.data), 3);
}

static void a_commit_of_a_broker_before_0_9_reads_as_a_commit_and_keeps_its_type(void **state)
{
    struct world *w = *state;
    struct group_record r = offset_commit();
    struct group_record again;

    r.type = GROUP_RECORD_LEGACY_OFFSET_COMMIT;
    encode(w, &r);
    assert_int_equal(load_be16(w->key.data), 0);
    assert_int_equal(load_be16(w->value.data), 0);
    assert_int_equal(decode(w, &again), KERR_NONE);
    assert_int_equal(again.type, GROUP_RECORD_LEGACY_OFFSET_COMMIT);
    assert_true(group_record_is_offset(&again));
    assert_true(str_equal(group_record_group(&again), STR("g")));
    assert_int_equal(again.key.offset_commit.partition, 3);
    assert_int_equal(again.value.offset_commit.offset, 42);
    assert_true(str_equal(again.value.offset_commit.metadata, STR("note")));
    assert_int_equal(again.value.offset_commit.commit_timestamp, 1000);
    assert_int_equal(again.value.offset_commit.leader_epoch, -1);
    assert_int_equal(again.value.offset_commit.expire_timestamp, -1);
    assert_true(uuid_is_zero(again.value.offset_commit.topic_id));
}

static void a_tombstone_has_a_key_and_no_value(void **state)
{
    struct world *w = *state;
    struct group_record r = offset_commit();
    struct group_record again;

    r.tombstone = true;
    encode(w, &r);
    assert_int_equal(w->value.size, 0);
    assert_int_equal(group_record_decode(&again, written(&w->key), no_value, &w->arena), KERR_NONE);
    assert_true(again.tombstone);
    assert_true(str_equal(again.key.offset_commit.topic, STR("t")));
}

static void every_type_has_a_name_a_group_and_comes_back(void **state)
{
    struct world *w = *state;
    unsigned types = 0;

    for (int number = 0; number < GROUP_RECORD_TYPE_COUNT; number++) {
        struct group_record r, again;

        if (!group_record_type_known(number)) {
            assert_null(group_record_type_name(number));
            continue;
        }
        types++;
        assert_non_null(group_record_type_name(number));
        group_record_init(&r, (enum group_record_type)number);
        encode(w, &r);
        assert_int_equal(decode(w, &again), KERR_NONE);
        assert_int_equal(again.type, number);
        assert_non_null(group_record_group(&again).data);
        assert_int_equal(group_record_group(&again).size, 0);
    }
    assert_int_equal(types, 22);
}

/* What Apache Kafka 4.4.0 wrote of a member of the new protocol: that it is no classic one is a
 * tagged struct that is null, marked by a varint of 0 and not by the byte -1 of other structs. The
 * vectors have no such null. */
static void a_member_that_is_not_classic_is_written_as_kafka_does(void **state)
{
    static const uint8_t key[] = "\0\5\0\5new-g\0\x16_SkZSXooQ7yuLJhuf2Jt8g";
    static const uint8_t value[] = {
        0x00, 0x00, 0x00, 0x00, 0x11, 0x63, 0x6f, 0x6e, 0x73, 0x6f, 0x6c, 0x65, 0x2d,
        0x63, 0x6f, 0x6e, 0x73, 0x75, 0x6d, 0x65, 0x72, 0x0b, 0x2f, 0x31, 0x32, 0x37,
        0x2e, 0x30, 0x2e, 0x30, 0x2e, 0x31, 0x02, 0x07, 0x6f, 0x72, 0x64, 0x65, 0x72,
        0x73, 0x01, 0x00, 0x04, 0x93, 0xe0, 0x00, 0x01, 0x00, 0x01, 0x00,
    };
    const struct bytes kafkas = {value, sizeof value};
    struct world *w = *state;
    struct group_record r;

    assert_int_equal(
        group_record_decode(&r, (struct bytes){key, sizeof key - 1}, kafkas, &w->arena), KERR_NONE);
    assert_null(r.value.consumer_group_member_metadata.classic_member_metadata);
    assert_int_equal(r.value.consumer_group_member_metadata.rebalance_timeout_ms, 300000);
    encode(w, &r);
    assert_int_equal(w->key.size, sizeof key - 1);
    assert_memory_equal(w->key.data, key, sizeof key - 1);
    assert_int_equal(w->value.size, sizeof value);
    assert_memory_equal(w->value.data, value, sizeof value);
}

static void types_of_the_future_are_unsupported_not_corrupt(void **state)
{
    struct world *w = *state;
    const int16_t unknown[] = {9, 18, GROUP_RECORD_TYPE_COUNT, INT16_MAX, -1, INT16_MIN};

    for (size_t i = 0; i < sizeof unknown / sizeof unknown[0]; i++) {
        struct group_record r;

        writer_reset(&w->key);
        write_int16(&w->key, unknown[i]);
        write_raw(&w->key, "whatever", 8);
        assert_int_equal(group_record_decode(&r, written(&w->key), no_value, &w->arena),
                         KERR_UNSUPPORTED_VERSION);
    }
}

static void a_value_of_an_unknown_version_is_corrupt(void **state)
{
    struct world *w = *state;
    struct group_record r = offset_commit();

    encode(w, &r);
    store_be16(w->value.data, 5);
    assert_int_equal(decode(w, &r), KERR_CORRUPT_MESSAGE);
    store_be16(w->value.data, 0xffff);
    assert_int_equal(decode(w, &r), KERR_CORRUPT_MESSAGE);
}

static void a_record_without_a_key_is_corrupt(void **state)
{
    struct world *w = *state;
    struct group_record r;

    assert_int_equal(group_record_decode(&r, no_value, no_value, &w->arena), KERR_CORRUPT_MESSAGE);
    assert_int_equal(group_record_decode(&r, WIRE_EMPTY_BYTES, no_value, &w->arena),
                     KERR_CORRUPT_MESSAGE);
}

/* Cut keys, and cut values; an empty value is no tombstone. */
static void a_record_cut_anywhere_is_corrupt(void **state)
{
    struct world *w = *state;
    struct group_record r = offset_commit();
    struct bytes key, value;

    encode(w, &r);
    key = written(&w->key);
    value = written(&w->value);
    for (size_t size = 0; size < key.size; size++)
        assert_int_equal(group_record_decode(&r, (struct bytes){key.data, size}, value, &w->arena),
                         KERR_CORRUPT_MESSAGE);
    for (size_t size = 0; size < value.size; size++)
        assert_int_equal(group_record_decode(&r, key, (struct bytes){value.data, size}, &w->arena),
                         KERR_CORRUPT_MESSAGE);
}

static void bytes_after_a_message_are_ignored_as_kafka_does(void **state)
{
    struct world *w = *state;
    struct group_record r = offset_commit();

    encode(w, &r);
    write_int8(&w->key, 1);
    write_int8(&w->value, 1);
    assert_int_equal(decode(w, &r), KERR_NONE);
    assert_int_equal(r.value.offset_commit.offset, 42);
}

static void a_spent_arena_is_a_failure(void **state)
{
    struct world *w = *state;
    struct arena none;
    struct str topics[] = {STR("a"), STR("b")};
    struct group_record r;

    group_record_init(&r, GROUP_RECORD_CONSUMER_GROUP_REGULAR_EXPRESSION);
    r.value.consumer_group_regular_expression.topics = topics;
    r.value.consumer_group_regular_expression.topics_count = 2;
    encode(w, &r);
    arena_init(&none, 0);
    assert_int_equal(group_record_decode(&r, written(&w->key), written(&w->value), &none),
                     KERR_CORRUPT_MESSAGE);
    arena_free(&none);
}

static void a_full_writer_is_told(void **state)
{
    struct group_record r = offset_commit();
    struct writer small, enough;
    (void)state;

    writer_init(&enough, 1000);
    writer_init(&small, 4);
    assert_false(group_record_encode(&r, &small, &enough));
    writer_reset(&enough);
    writer_reset(&small);
    assert_false(group_record_encode(&r, &enough, &small));
    writer_free(&small);
    writer_free(&enough);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        TEST(a_committed_offset_is_written_in_version_4_as_kafka_4_4_does),
        TEST(an_offset_with_its_own_expiry_is_written_in_version_1),
        TEST(a_classic_group_is_written_in_version_3),
        TEST(a_commit_of_a_broker_before_0_9_reads_as_a_commit_and_keeps_its_type),
        TEST(a_tombstone_has_a_key_and_no_value),
        TEST(every_type_has_a_name_a_group_and_comes_back),
        TEST(a_member_that_is_not_classic_is_written_as_kafka_does),
        TEST(types_of_the_future_are_unsupported_not_corrupt),
        TEST(a_value_of_an_unknown_version_is_corrupt),
        TEST(a_record_without_a_key_is_corrupt),
        TEST(a_record_cut_anywhere_is_corrupt),
        TEST(bytes_after_a_message_are_ignored_as_kafka_does),
        TEST(a_spent_arena_is_a_failure),
        TEST(a_full_writer_is_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
