#include "tests/unit/test.h"

#include <string.h>

#include "replication/quorum_state.h"

static struct bytes text(const char *t)
{
    return (struct bytes){(const uint8_t *)t, strlen(t)};
}

static void written_as_kafka_writes_it(void **state)
{
    struct raft_election e = {.epoch = 1, .leader_id = 100, .voted = {.id = -1}};
    char got[QUORUM_STATE_BYTES_MAX];
    const char *expected = "{\"leaderId\":100,\"leaderEpoch\":1,\"votedId\":-1,"
                           "\"votedDirectoryId\":\"AAAAAAAAAAAAAAAAAAAAAA\",\"data_version\":1}";

    (void)state;
    assert_int_equal(quorum_state_format(&e, got), 106);
    assert_memory_equal(got, expected, 106);
}

static void largest_values_fit(void **state)
{
    struct raft_election e = {
        .epoch = INT32_MAX, .leader_id = INT32_MAX, .voted = {.id = INT32_MAX}};
    struct raft_election read;
    char got[QUORUM_STATE_BYTES_MAX];
    size_t size;

    (void)state;
    memset(e.voted.directory_id.bytes, 0xff, sizeof e.voted.directory_id.bytes);
    size = quorum_state_format(&e, got);
    assert_int_equal(quorum_state_parse((struct bytes){(const uint8_t *)got, size}, &read).code,
                     KERR_NONE);
    assert_memory_equal(&e, &read, sizeof e);
}

static void version_0_of_kafka_is_read(void **state)
{
    struct raft_election e;

    (void)state;
    assert_int_equal(
        quorum_state_parse(
            text("{\"clusterId\":\"\",\"leaderId\":100,\"leaderEpoch\":1,\"votedId\":-1,"
                 "\"appliedOffset\":0,\"currentVoters\":[],\"data_version\":0}"),
            &e)
            .code,
        KERR_NONE);
    assert_int_equal(e.leader_id, 100);
    assert_int_equal(e.epoch, 1);
    assert_int_equal(e.voted.id, -1);
}

static void what_is_missing_or_wrong_is_refused(void **state)
{
    static const char *const bad[] = {
        "",
        "[]",
        "null",
        "{",
        "{}",
        "{\"leaderId\":1,\"leaderEpoch\":1,\"votedId\":-1}",
        "{\"leaderId\":1,\"leaderEpoch\":-1,\"votedId\":-1,\"data_version\":0}",
        "{\"leaderId\":1,\"leaderEpoch\":2147483648,\"votedId\":-1,\"data_version\":0}",
        "{\"leaderId\":-2,\"leaderEpoch\":1,\"votedId\":-1,\"data_version\":0}",
        "{\"leaderId\":1,\"leaderEpoch\":1,\"votedId\":\"2\",\"data_version\":0}",
        "{\"leaderId\":1,\"leaderEpoch\":1,\"votedId\":2,\"data_version\":1}",
        ("{\"leaderId\":1,\"leaderEpoch\":1,\"votedId\":2,\"votedDirectoryId\":\"short\","
         "\"data_version\":1}"),
        "{\"leaderId\":1,\"leaderId\":2,\"leaderEpoch\":1,\"votedId\":2,\"data_version\":0}",
    };
    struct raft_election e = {.epoch = 42};

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(quorum_state_parse(text(bad[i]), &e).code, KERR_CORRUPT_MESSAGE);
        assert_int_equal(e.epoch, 42);
    }
}

static void later_version_is_refused_as_such(void **state)
{
    struct raft_election e;

    (void)state;
    assert_int_equal(quorum_state_parse(text("{\"data_version\":2}"), &e).code,
                     KERR_UNSUPPORTED_VERSION);
    assert_int_equal(quorum_state_parse(text("{\"data_version\":-1}"), &e).code,
                     KERR_UNSUPPORTED_VERSION);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(written_as_kafka_writes_it),
        cmocka_unit_test(largest_values_fit),
        cmocka_unit_test(version_0_of_kafka_is_read),
        cmocka_unit_test(what_is_missing_or_wrong_is_refused),
        cmocka_unit_test(later_version_is_refused_as_such),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
