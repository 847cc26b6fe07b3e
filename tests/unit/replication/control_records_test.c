#include "tests/unit/test.h"

#include <string.h>

#include "replication/control_records.h"

static void leader_change_is_version_0(void **state)
{
    static const uint8_t expected[] = {0, 0, 0, 0, 0, 1, 3, 0, 0, 0, 1, 0,
                                       0, 0, 0, 2, 0, 2, 0, 0, 0, 2, 0, 0};
    const int32_t voters[] = {1, 2};
    struct arena a;
    struct bytes got;

    (void)state;
    arena_init(&a, 1 << 16);
    got = control_leader_change(&a, 1, voters, 2, voters + 1, 1);
    assert_int_equal(got.size, sizeof expected);
    assert_memory_equal(got.data, expected, sizeof expected);
    arena_free(&a);
}

static struct voter_set *three_voters(void)
{
    struct raft_endpoint endpoints[] = {{STR("CONTROLLER"), STR("a.example"), 9093},
                                        {STR("OTHER"), STR("b.example"), 65535}};
    struct raft_voter voters[] = {
        {.key = {.id = 3, .directory_id = {{3}}}, .kraft_version_max = 1},
        {.key = {.id = 1, .directory_id = {{1}}},
         .endpoints = endpoints,
         .endpoint_count = 2,
         .kraft_version_max = 1},
        {.key = {.id = 2, .directory_id = {{2}}}, .endpoints = endpoints, .endpoint_count = 1},
    };

    return voter_set_create(voters, 3);
}

static void voters_go_both_ways(void **state)
{
    struct voter_set *vs = three_voters();
    struct voter_set *read;
    struct bytes value;
    struct arena a;

    (void)state;
    arena_init(&a, 1 << 16);
    value = control_voters(&a, vs);
    assert_int_equal(control_read_voters(value, &read).code, KERR_NONE);
    assert_int_equal(voter_set_count(read), 3);
    assert_int_equal(voter_set_at(read, 0)->key.id, 1);
    assert_int_equal(voter_set_at(read, 0)->endpoints[1].port, 65535);
    assert_true(str_equal(voter_set_at(read, 0)->endpoints[1].host, STR("b.example")));
    assert_int_equal(voter_set_at(read, 1)->endpoint_count, 1);
    assert_int_equal(voter_set_at(read, 2)->key.directory_id.bytes[0], 3);
    for (size_t size = 0; size < value.size; size++) {
        struct voter_set *none = NULL;

        assert_int_equal(control_read_voters((struct bytes){value.data, size}, &none).code,
                         KERR_CORRUPT_MESSAGE);
        assert_null(none);
    }
    voter_set_free(read);
    voter_set_free(vs);
    arena_free(&a);
}

static void counts_larger_than_the_bytes_are_refused(void **state)
{
    static const uint8_t voters[] = {0, 0, 0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0, 0, 0};
    struct voter_set *none = NULL;

    (void)state;
    assert_int_equal(control_read_voters((struct bytes){voters, sizeof voters}, &none).code,
                     KERR_CORRUPT_MESSAGE);
}

static void no_voters_or_the_same_twice_are_refused(void **state)
{
    static const uint8_t none_at_all[] = {0, 0, 1, 0};
    struct raft_voter twice[] = {{.key = {.id = 1}}, {.key = {.id = 1}}};
    struct voter_set *none = NULL;

    (void)state;
    assert_int_equal(
        control_read_voters((struct bytes){none_at_all, sizeof none_at_all}, &none).code,
        KERR_CORRUPT_MESSAGE);
    assert_null(voter_set_create(twice, 2));
}

static void later_versions_are_refused_as_such(void **state)
{
    static const uint8_t version_1[] = {0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
    static const uint8_t level_2[] = {0, 0, 0, 2, 0};
    struct voter_set *none = NULL;
    int64_t timestamp;
    int16_t level = -1;

    (void)state;
    assert_int_equal(control_read_voters((struct bytes){version_1, sizeof version_1}, &none).code,
                     KERR_UNSUPPORTED_VERSION);
    assert_int_equal(
        control_read_snapshot_header((struct bytes){version_1, sizeof version_1}, &timestamp).code,
        KERR_UNSUPPORTED_VERSION);
    assert_int_equal(control_read_snapshot_footer((struct bytes){version_1, sizeof version_1}).code,
                     KERR_UNSUPPORTED_VERSION);
    assert_int_equal(
        control_read_kraft_version((struct bytes){level_2, sizeof level_2}, &level).code,
        KERR_UNSUPPORTED_VERSION);
    assert_int_equal(level, -1);
}

static void null_values_are_refused(void **state)
{
    struct voter_set *none = NULL;
    int16_t level;

    (void)state;
    assert_int_equal(control_read_voters((struct bytes){NULL, 0}, &none).code,
                     KERR_CORRUPT_MESSAGE);
    assert_int_equal(control_read_kraft_version((struct bytes){NULL, 0}, &level).code,
                     KERR_CORRUPT_MESSAGE);
}

static void tagged_fields_of_later_versions_are_skipped(void **state)
{
    static const uint8_t value[] = {0, 0, 0, 1, 1, 5, 2, 0xaa, 0xbb};
    int16_t level = -1;

    (void)state;
    assert_int_equal(control_read_kraft_version((struct bytes){value, sizeof value}, &level).code,
                     KERR_NONE);
    assert_int_equal(level, 1);
    assert_int_equal(
        control_read_kraft_version((struct bytes){value, sizeof value - 1}, &level).code,
        KERR_CORRUPT_MESSAGE);
}

static void spent_arena_gives_no_value(void **state)
{
    struct voter_set *vs = three_voters();
    struct arena a;

    (void)state;
    arena_init(&a, 0);
    assert_null(control_voters(&a, vs).data);
    assert_null(control_kraft_version(&a, 1).data);
    assert_null(control_snapshot_header(&a, 1).data);
    assert_null(control_snapshot_footer(&a).data);
    assert_null(control_leader_change(&a, 1, NULL, 0, NULL, 0).data);
    voter_set_free(vs);
    arena_free(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(leader_change_is_version_0),
        cmocka_unit_test(voters_go_both_ways),
        cmocka_unit_test(counts_larger_than_the_bytes_are_refused),
        cmocka_unit_test(no_voters_or_the_same_twice_are_refused),
        cmocka_unit_test(later_versions_are_refused_as_such),
        cmocka_unit_test(null_values_are_refused),
        cmocka_unit_test(tagged_fields_of_later_versions_are_skipped),
        cmocka_unit_test(spent_arena_gives_no_value),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
