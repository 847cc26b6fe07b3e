#include "tests/unit/test.h"

#include <stdlib.h>

#include "tests/unit/replication/raft_world.h"

/* Whatever the network, the disks and the processes do, there is one leader an epoch and committed
 * records stay (raft_world checks that after each step); once all is well again, the quorum
 * works. */
static void survive(int nodes, int voters, uint64_t seed)
{
    struct world *w = world_new_with_observers(nodes, voters, seed);
    int64_t end;

    for (int turn = 0; turn < 300; turn++) {
        int id = 1 + (int)(world_random(w) % (uint64_t)nodes);

        switch (world_random(w) % 12) {
        case 0:
            world_cut(w, id, 0);
            break;
        case 1:
            world_cut(w, id, 1 + (int)(world_random(w) % (uint64_t)nodes));
            break;
        case 2:
        case 3:
            world_heal(w, 0);
            break;
        case 4:
        case 5:
            if (!w->nodes[id].up)
                world_start(w, id);
            break;
        case 6:
            if (w->nodes[id].up)
                world_crash(w, id, world_random(w) % 2 == 0);
            break;
        case 7:
            world_stick_disk(w, id, world_random(w) % 2 == 0);
            break;
        case 8:
            w->drop_percent = (int)(world_random(w) % 30);
            break;
        default: /* deposed leaders that do not know it yet among them */
            if (voters < nodes && world_random(w) % 2) {
                enum raft_voter_change kind =
                    world_random(w) % 2 ? RAFT_ADD_VOTER : RAFT_REMOVE_VOTER;

                for (int leader = 1; leader <= nodes; leader++)
                    if (w->nodes[leader].up)
                        world_change_voters(w, leader, kind, id); /* or it is refused */
            }
            for (id = 1; id <= nodes; id++)
                world_append(w, id, "x");
            break;
        }
        world_run(w, (int64_t)(world_random(w) % 300));
    }
    w->drop_percent = 0;
    world_heal(w, 0);
    for (int id = 1; id <= nodes; id++) {
        world_stick_disk(w, id, false);
        if (!w->nodes[id].up)
            world_start(w, id);
    }
    world_run(w, 15000);
    if (world_leader(w) == 0 || !world_append(w, world_leader(w), "end")) {
        world_print(w, stderr);
        fail_msg("no leader with %d nodes and seed %llu", nodes, (unsigned long long)seed);
    }
    end = w->nodes[world_leader(w)].log_end;
    world_run(w, 2000);
    for (int id = 1; id <= nodes; id++)
        if (w->nodes[id].core.high_watermark != end) {
            world_print(w, stderr);
            fail_msg("node %d is behind with %d nodes and seed %llu", id, nodes,
                     (unsigned long long)seed);
        }
    world_free(w);
}

static void three_voters_survive_faults(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 60; seed++)
        survive(3, 3, seed);
}

static void five_voters_survive_faults(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 40; seed++)
        survive(5, 5, seed);
}

static void only_voter_survives_faults(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 40; seed++)
        survive(1, 1, seed);
}

/* KIP-853: all of that while voters come and go. */
static void changing_voters_survive_faults(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 60; seed++)
        survive(5, 1 + (int)(seed % 3), seed);
}

/* ---- requests ---- */

static struct raft_answer ask(struct world *w, int id, const struct raft_event *ev)
{
    struct raft_effects fx;

    raft_core_step(&w->nodes[id].core, ev, w->now_ms, &fx);
    return fx.answer;
}

static struct raft_event vote_request(int candidate, int32_t epoch, int32_t last_epoch,
                                      int64_t last_offset)
{
    struct raft_event ev = {.type = RAFT_VOTE_REQUEST};

    ev.vote_request.candidate.id = candidate;
    ev.vote_request.candidate.directory_id = uuid_from_number((uint8_t)(100 + candidate));
    ev.vote_request.voter.id = RAFT_NO_NODE;
    ev.vote_request.epoch = epoch;
    ev.vote_request.last_epoch = last_epoch;
    ev.vote_request.last_offset = last_offset;
    return ev;
}

static void voter_votes_once_an_epoch(void **state)
{
    struct world *w = world_new(3, 1);
    struct raft_event two = vote_request(2, 5, 0, 0);
    struct raft_event three = vote_request(3, 5, 0, 0);
    struct raft_answer a;

    (void)state;
    a = ask(w, 1, &two);
    assert_true(a.granted);
    assert_int_equal(a.epoch, 5);
    assert_int_equal(w->nodes[1].core.election.voted.id, 2);
    a = ask(w, 1, &three);
    assert_false(a.granted);
    assert_int_equal(a.error, KERR_NONE);
    assert_true(ask(w, 1, &two).granted); /* again, to the same */
    two.vote_request.candidate.directory_id = uuid_from_number(199);
    assert_false(ask(w, 1, &two).granted); /* the same id with another disk is someone else */
    world_free(w);
}

static void stale_or_senseless_vote_requests_are_refused(void **state)
{
    struct world *w = world_new(3, 1);
    struct raft_event ev = vote_request(2, 5, 0, 0);

    (void)state;
    ask(w, 1, &ev);
    ev = vote_request(3, 4, 0, 0);
    assert_int_equal(ask(w, 1, &ev).error, KERR_FENCED_LEADER_EPOCH);
    ev = vote_request(3, 6, 6, 10); /* a log of the epoch that is only to be elected */
    assert_int_equal(ask(w, 1, &ev).error, KERR_INVALID_REQUEST);
    ev = vote_request(3, 6, 0, -1);
    assert_int_equal(ask(w, 1, &ev).error, KERR_INVALID_REQUEST);
    ev = vote_request(-1, 6, 0, 0);
    assert_int_equal(ask(w, 1, &ev).error, KERR_INVALID_REQUEST);
    assert_int_equal(w->nodes[1].core.election.epoch, 5);
    ev = vote_request(3, 6, 0, 0);
    ev.vote_request.voter =
        (struct raft_replica_key){.id = 1, .directory_id = uuid_from_number(150)};
    assert_int_equal(ask(w, 1, &ev).error, KERR_INVALID_VOTER_KEY);
    world_free(w);
}

/* An epoch counts up to what 32 bits hold: one packet that names the last of them must not end the
 * quorum. */
static void epoch_that_leaves_no_room_for_another_is_refused(void **state)
{
    struct world *w = world_new(1, 1);
    struct raft_event vote = vote_request(2, INT32_MAX, 0, 100),
                      begin = {.type = RAFT_BEGIN_REQUEST}, end = {.type = RAFT_END_REQUEST},
                      answer = {.type = RAFT_VOTE_ANSWER};
    int32_t epoch;

    (void)state;
    assert_true(world_elect(w, 1));
    epoch = w->nodes[1].core.election.epoch;
    begin.begin_request.voter.id = RAFT_NO_NODE;
    begin.begin_request.leader_id = 2;
    begin.begin_request.epoch = INT32_MAX;
    end.end_request.leader_id = 2;
    end.end_request.epoch = INT32_MAX;
    answer.vote_answer.head =
        (struct raft_answer_head){.from = 2, .epoch = INT32_MAX, .leader_id = RAFT_NO_NODE};
    assert_int_equal(ask(w, 1, &vote).error, KERR_INVALID_REQUEST);
    assert_int_equal(ask(w, 1, &begin).error, KERR_INVALID_REQUEST);
    assert_int_equal(ask(w, 1, &end).error, KERR_INVALID_REQUEST);
    ask(w, 1, &answer);
    world_run(w, 5000);
    assert_int_equal(w->nodes[1].core.role, RAFT_LEADER);
    assert_int_equal(w->nodes[1].core.election.epoch, epoch);
    world_free(w);
}

static void shorter_log_is_refused_the_vote(void **state)
{
    struct world *w = world_new(3, 1);
    struct raft_event ev;

    (void)state;
    assert_true(world_elect(w, 1));
    world_append(w, 1, "a");
    world_run(w, 100);
    ev = vote_request(3, 9, 1, 1);
    assert_false(ask(w, 2, &ev).granted);
    ev = vote_request(3, 9, 1, 2);
    assert_true(ask(w, 2, &ev).granted);
    world_free(w);
}

static void fetch_of_another_epoch_is_refused(void **state)
{
    struct world *w = world_new(3, 1);
    struct raft_event ev = {.type = RAFT_FETCH_REQUEST};

    (void)state;
    assert_true(world_elect(w, 1));
    ev.fetch_request.replica.id = 2;
    ev.fetch_request.epoch = 0;
    assert_int_equal(ask(w, 1, &ev).error, KERR_FENCED_LEADER_EPOCH);
    ev.fetch_request.epoch = w->nodes[1].core.election.epoch + 1;
    assert_int_equal(ask(w, 1, &ev).error, KERR_UNKNOWN_LEADER_EPOCH);
    world_run(w, 100);
    ev.fetch_request.epoch = w->nodes[2].core.election.epoch;
    assert_int_equal(ask(w, 2, &ev).error, KERR_NOT_LEADER_OR_FOLLOWER);
    assert_int_equal(ask(w, 2, &ev).leader_id, 1);
    ev.fetch_request.offset = -1;
    assert_int_equal(ask(w, 1, &ev).error, KERR_INVALID_REQUEST);
    world_free(w);
}

static void second_leader_of_one_epoch_is_refused(void **state)
{
    struct world *w = world_new(3, 1);
    struct raft_event ev = {.type = RAFT_BEGIN_REQUEST};

    (void)state;
    assert_true(world_elect(w, 1));
    world_run(w, 100);
    ev.begin_request.voter.id = RAFT_NO_NODE;
    ev.begin_request.leader_id = 3;
    ev.begin_request.epoch = w->nodes[2].core.election.epoch;
    assert_int_equal(ask(w, 2, &ev).error, KERR_INVALID_REQUEST);
    assert_int_equal(ask(w, 1, &ev).error, KERR_INVALID_REQUEST);
    ev.begin_request.leader_id = 2; /* node 2 is told that it leads itself */
    ev.begin_request.epoch++;
    assert_int_equal(ask(w, 2, &ev).error, KERR_INVALID_REQUEST);
    assert_int_equal(w->nodes[2].core.role, RAFT_FOLLOWER);
    world_free(w);
}

/* Its answer to a fetch may name a leader before its own quorum-state does. When it dies in
 * between, it does not know what the others do; their votes, which name it, count all the same. */
static void leader_that_died_before_it_wrote_so_is_elected_again(void **state)
{
    struct world *w = world_new(2, 1);
    struct raft_election voted;
    (void)state;

    assert_true(world_elect(w, 1));
    world_run(w, 500);
    voted = (struct raft_election){.epoch = w->nodes[1].core.election.epoch,
                                   .leader_id = RAFT_NO_NODE,
                                   .voted = w->nodes[1].core.self};
    world_cut(w, 1, 2);
    assert_true(world_append(w, 1, "tail")); /* node 2 cannot win without it */
    world_run(w, 10);
    w->nodes[1].durable = voted;
    world_crash(w, 1, false);
    world_heal(w, 0);
    world_start(w, 1);
    world_run(w, 5000);
    assert_int_equal(world_leader(w), 1);
    assert_int_equal(w->nodes[2].core.high_watermark, w->nodes[1].log_end);
    world_free(w);
}

/* A peer that breaks the rules must not make us drop what we know to be committed. */
static void order_to_drop_committed_records_stops_the_node(void **state)
{
    struct world *w = world_new(3, 1);
    struct raft_event ev = {.type = RAFT_FETCH_ANSWER};
    struct raft_effects fx;

    (void)state;
    assert_true(world_elect(w, 1));
    world_append(w, 1, "a");
    world_run(w, 300);
    assert_true(w->nodes[2].core.high_watermark == 2);
    ev.fetch_answer.head = (struct raft_answer_head){
        .from = 1, .epoch = w->nodes[2].core.election.epoch, .leader_id = 1};
    ev.fetch_answer.fetch_id = w->nodes[2].core.fetch_id;
    ev.fetch_answer.outcome = RAFT_FETCH_DIVERGING;
    ev.fetch_answer.at = (struct raft_snapshot_id){1, 1};
    ev.fetch_answer.epoch_end = (struct raft_snapshot_id){2, 1};
    raft_core_step(&w->nodes[2].core, &ev, w->now_ms, &fx);
    assert_non_null(fx.broken);
    assert_int_equal(fx.truncate_to, -1);
    world_free(w);
}

static void snapshot_of_an_epoch_to_come_is_not_fetched(void **state)
{
    struct world *w = world_new(3, 1);
    struct raft_event ev = {.type = RAFT_FETCH_ANSWER};
    struct raft_effects fx;

    (void)state;
    assert_true(world_elect(w, 1));
    world_run(w, 300);
    ev.fetch_answer.head = (struct raft_answer_head){
        .from = 1, .epoch = w->nodes[2].core.election.epoch, .leader_id = 1};
    ev.fetch_answer.fetch_id = w->nodes[2].core.fetch_id;
    ev.fetch_answer.outcome = RAFT_FETCH_SNAPSHOT;
    ev.fetch_answer.at = (struct raft_snapshot_id){100, w->nodes[2].core.election.epoch + 1};
    raft_core_step(&w->nodes[2].core, &ev, w->now_ms, &fx);
    assert_false(fx.fetch_snapshot);
    assert_null(fx.broken);
    world_free(w);
}

static void replica_behind_the_log_start_is_sent_to_the_snapshot(void **state)
{
    struct world *w = world_new(3, 1);
    struct raft_event ev = {.type = RAFT_SNAPSHOT};
    struct raft_answer a;

    (void)state;
    assert_true(world_elect(w, 1));
    for (int i = 0; i < 5; i++)
        world_append(w, 1, "a");
    world_run(w, 300);
    ev.snapshot.log_start_offset = 4;
    ev.snapshot.oldest = ev.snapshot.latest =
        (struct raft_snapshot_id){4, w->nodes[1].core.election.epoch};
    world_step(w, 1, &ev);
    ev = (struct raft_event){.type = RAFT_FETCH_REQUEST};
    ev.fetch_request.replica.id = 9; /* an observer */
    ev.fetch_request.epoch = w->nodes[1].core.election.epoch;
    ev.fetch_request.epoch_end = (struct raft_snapshot_id){-1, -1};
    a = ask(w, 1, &ev);
    assert_int_equal(a.outcome, RAFT_FETCH_SNAPSHOT);
    assert_int_equal(a.at.end_offset, 4);
    ev.fetch_request.offset = 4;
    ev.fetch_request.last_epoch = w->nodes[1].core.election.epoch;
    ev.fetch_request.epoch_end = (struct raft_snapshot_id){6, w->nodes[1].core.election.epoch};
    assert_int_equal(ask(w, 1, &ev).outcome, RAFT_FETCH_RECORDS);
    world_free(w);
}

static void removed_voter_does_not_stand(void **state)
{
    struct world *w = world_new(3, 1);
    struct raft_voter left[] = {{.key = {.id = 1, .directory_id = uuid_from_number(101)}},
                                {.key = {.id = 2, .directory_id = uuid_from_number(102)}}};
    struct voter_set *two = voter_set_create(left, 2);

    (void)state;
    assert_true(raft_core_is_voter(&w->nodes[3].core));
    world_step(w, 3,
               &(struct raft_event){.type = RAFT_VOTERS, .voters = {.set = two, .offset = -1}});
    assert_false(raft_core_is_voter(&w->nodes[3].core));
    world_cut(w, 3, 0);
    world_run(w, 10000);
    assert_int_equal(w->nodes[3].core.role, RAFT_UNATTACHED);
    assert_int_equal(w->nodes[3].core.election.epoch, 0);
    voter_set_free(two);
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_voter_survives_faults),
        cmocka_unit_test(three_voters_survive_faults),
        cmocka_unit_test(five_voters_survive_faults),
        cmocka_unit_test(changing_voters_survive_faults),
        cmocka_unit_test(voter_votes_once_an_epoch),
        cmocka_unit_test(stale_or_senseless_vote_requests_are_refused),
        cmocka_unit_test(epoch_that_leaves_no_room_for_another_is_refused),
        cmocka_unit_test(shorter_log_is_refused_the_vote),
        cmocka_unit_test(fetch_of_another_epoch_is_refused),
        cmocka_unit_test(second_leader_of_one_epoch_is_refused),
        cmocka_unit_test(leader_that_died_before_it_wrote_so_is_elected_again),
        cmocka_unit_test(order_to_drop_committed_records_stops_the_node),
        cmocka_unit_test(snapshot_of_an_epoch_to_come_is_not_fetched),
        cmocka_unit_test(replica_behind_the_log_start_is_sent_to_the_snapshot),
        cmocka_unit_test(removed_voter_does_not_stand),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
