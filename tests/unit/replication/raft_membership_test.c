/* What a node wants changed about itself in the voter set: KIP-853. */

#include "replication/raft_membership.h"

#include "tests/unit/test.h"

static const struct raft_endpoint here = {{"CONTROLLER", 10}, {"here", 4}, 9093};
static const struct raft_endpoint there = {{"CONTROLLER", 10}, {"there", 5}, 9093};

static struct raft_replica_key key(int32_t id, uint8_t disk)
{
    return (struct raft_replica_key){id, uuid_from_number(disk)};
}

static struct raft_member member(bool auto_join)
{
    return (struct raft_member){.key = key(2, 22),
                                .endpoints = &here,
                                .endpoint_count = 1,
                                .kraft_version_max = 1,
                                .auto_join = auto_join};
}

static enum raft_wish wish(const struct raft_member *m, struct raft_replica_key listed,
                           const struct raft_endpoint *endpoint, int16_t kraft_version)
{
    struct raft_voter voters[] = {
        {.key = key(1, 11), .endpoints = &there, .endpoint_count = 1, .kraft_version_max = 1},
        {.key = listed, .endpoints = endpoint, .endpoint_count = 1, .kraft_version_max = 1},
    };
    struct voter_set *vs = voter_set_create(voters, 2);
    enum raft_wish found = raft_member_wish(m, vs, kraft_version);

    voter_set_free(vs);
    return found;
}

static void voter_that_moved_wants_to_be_updated(void **state)
{
    struct raft_member m = member(false);
    (void)state;

    assert_int_equal(wish(&m, key(2, 22), &here, 1), RAFT_WISH_NOTHING);
    assert_int_equal(wish(&m, key(2, 22), &there, 1), RAFT_WISH_UPDATE);
    m.kraft_version_max = 2;
    assert_int_equal(wish(&m, key(2, 22), &here, 1), RAFT_WISH_UPDATE);
}

static void only_who_is_to_join_by_itself_asks_for_it(void **state)
{
    struct raft_member m = member(false);
    (void)state;

    assert_int_equal(wish(&m, key(3, 33), &there, 1), RAFT_WISH_NOTHING);
    assert_int_equal(wish(&m, key(2, 99), &here, 1), RAFT_WISH_NOTHING);
    m.auto_join = true;
    assert_int_equal(wish(&m, key(3, 33), &there, 1), RAFT_WISH_JOIN);
}

static void node_with_a_new_disk_has_its_old_self_removed_first(void **state)
{
    struct raft_member m = member(true);
    (void)state;

    assert_int_equal(wish(&m, key(2, 99), &here, 1), RAFT_WISH_REMOVE_OLD);
}

/* Nobody can join a quorum whose voters are in the settings; but their leader must know their disks
 * before they can be written into the log. */
static void static_voter_introduces_itself_to_each_leader(void **state)
{
    struct raft_member m = member(true);
    (void)state;

    assert_int_equal(wish(&m, key(3, 33), &there, 0), RAFT_WISH_NOTHING);
    assert_int_equal(wish(&m, key(2, 0), &here, 0), RAFT_WISH_UPDATE);
    m.introduced = true;
    assert_int_equal(wish(&m, key(2, 0), &here, 0), RAFT_WISH_NOTHING);
}

/* A node may have several controller listeners, in any order: the quorum speaks over one of
 * them. */
static void endpoint_is_the_one_of_the_quorums_listener(void **state)
{
    const struct raft_endpoint several[] = {{STR("TLS"), STR("elsewhere"), 9094}, here};
    (void)state;

    assert_ptr_equal(raft_endpoint_for(several, 2, STR("CONTROLLER")), &several[1]);
    assert_ptr_equal(raft_endpoint_for(several, 2, STR("OTHER")), &several[0]);
    assert_null(raft_endpoint_for(several, 0, STR("CONTROLLER")));
}

static void sets_with_and_without_a_voter(void **state)
{
    struct raft_voter one = {.key = key(1, 11), .endpoints = &here, .endpoint_count = 1};
    struct raft_voter two = {.key = key(2, 22), .endpoints = &there, .endpoint_count = 1};
    struct raft_voter moved = {.key = key(1, 12), .endpoints = &there, .endpoint_count = 1};
    struct voter_set *empty = voter_set_create_empty();
    struct voter_set *first = voter_set_with(empty, &one);
    struct voter_set *both = voter_set_with(first, &two);
    struct voter_set *replaced = voter_set_with(both, &moved);
    struct voter_set *left = voter_set_without(both, 1);
    (void)state;

    assert_int_equal(voter_set_count(empty), 0);
    assert_int_equal(voter_set_count(both), 2);
    assert_int_equal(voter_set_count(replaced), 2);
    assert_true(raft_replica_key_equal(voter_set_find(replaced, 1)->key, moved.key));
    assert_int_equal(voter_set_count(left), 1);
    assert_null(voter_set_find(left, 1));
    assert_null(voter_set_without(left, 2)); /* nobody would vote */
    voter_set_free(empty);
    voter_set_free(first);
    voter_set_free(both);
    voter_set_free(replaced);
    voter_set_free(left);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(voter_that_moved_wants_to_be_updated),
        cmocka_unit_test(only_who_is_to_join_by_itself_asks_for_it),
        cmocka_unit_test(node_with_a_new_disk_has_its_old_self_removed_first),
        cmocka_unit_test(static_voter_introduces_itself_to_each_leader),
        cmocka_unit_test(endpoint_is_the_one_of_the_quorums_listener),
        cmocka_unit_test(sets_with_and_without_a_voter),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
