/* A follower that is given snapshots, or has its log cut, by leaders which the test plays. */

#include "tests/unit/replication/single_node.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/messages/fetch.h"
#include "protocol/messages/fetch_snapshot.h"
#include "replication/quorum_state.h"
#include "replication/snapshot_file.h"

#define FETCH_VERSION          18
#define FETCH_SNAPSHOT_VERSION 1
#define ASKED_MAX              8

struct follower {
    struct single *single;
    struct transport transport;
    struct transport_request *asked[ASKED_MAX]; /* not answered so far */
    char leader_directory[96];                  /* where snapshots of leaders are made */
};

static struct follower *of_transport(struct transport *t)
{
    return CONTAINER_OF(t, struct follower, transport);
}

static void keep_request(struct transport *t, const struct transport_node *node,
                         struct transport_request *r, struct bytes_mut body, int64_t timeout_us)
{
    struct follower *f = of_transport(t);
    size_t at = 0;

    (void)node;
    (void)timeout_us;
    free(body.data);
    while (at < ASKED_MAX && f->asked[at])
        at++;
    assert_true(at < ASKED_MAX);
    f->asked[at] = r;
}

static void forget_request(struct transport *t, struct transport_request *r)
{
    struct follower *f = of_transport(t);

    for (size_t i = 0; i < ASKED_MAX; i++)
        if (f->asked[i] == r)
            f->asked[i] = NULL;
}

static struct transport_request *take_request(struct follower *f, int16_t key)
{
    for (size_t i = 0; i < ASKED_MAX; i++)
        if (f->asked[i] && f->asked[i]->api_key == key) {
            struct transport_request *r = f->asked[i];

            f->asked[i] = NULL;
            return r;
        }
    fail_msg("nobody asks for api %d", key);
    return NULL;
}

static int set_up(void **state)
{
    static const struct transport_ops ops = {.send = keep_request, .cancel = forget_request};
    struct follower *f = calloc(1, sizeof *f);

    assert_non_null(f);
    f->transport.ops = &ops;
    f->single = single_new(NULL);
    f->single->args.transport = &f->transport;
    assert_int_equal(single_format(f->single, (const char *const[]){"feature"}, 1).code, KERR_NONE);
    snprintf(f->leader_directory, sizeof f->leader_directory, "%s/leader", f->single->directory);
    assert_int_equal(files_make_directories(f->single->files, f->leader_directory).code, KERR_NONE);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct follower *f = *state;

    single_free(f->single);
    free(f);
    return 0;
}

/* ---- what leaders do ---- */

static void write_snapshot(struct follower *f, const char *directory, struct raft_snapshot_id id,
                           const char *value)
{
    struct raft_endpoint endpoint = {STR("CONTROLLER"), STR("127.0.0.1"), 9093};
    struct raft_voter voter = {.key = f->single->args.self,
                               .endpoints = &endpoint,
                               .endpoint_count = 1,
                               .kraft_version_max = 1};
    struct voter_set *voters = voter_set_create(&voter, 1);
    struct snapshot_write_args args = {.files = f->single->files,
                                       .clock = &f->single->loop.clock,
                                       .directory = directory,
                                       .id = id,
                                       .voters = voters};
    struct bytes record = {(const uint8_t *)value, strlen(value)};
    struct snapshot_writer *w;

    assert_int_equal(snapshot_writer_open(&args, &w).code, KERR_NONE);
    snapshot_writer_append(w, &record, 1);
    assert_int_equal(snapshot_writer_finish(w).code, KERR_NONE);
    voter_set_free(voters);
}

static void answer(struct follower *f, int16_t key, struct writer *w)
{
    struct transport_request *r = take_request(f, key);
    struct bytes_mut body = writer_take(w);

    r->answered(r, STATUS_OK, (struct bytes){body.data, body.size});
    free(body.data);
}

static void answer_fetch(struct follower *f, struct fetch_response_partition_data *partition)
{
    struct fetch_response_fetchable_topic_response topic;
    struct fetch_response m;
    struct writer w;

    fetch_response_fetchable_topic_response_init(&topic);
    fetch_response_init(&m);
    topic.partitions = partition;
    topic.partitions_count = 1;
    m.responses = &topic;
    m.responses_count = 1;
    writer_init(&w, 4096);
    assert_true(fetch_response_encode(&m, &w, FETCH_VERSION));
    answer(f, FETCH_RESPONSE_KEY, &w);
}

static struct fetch_response_partition_data led_by(int32_t leader, int32_t epoch)
{
    struct fetch_response_partition_data partition;

    fetch_response_partition_data_init(&partition);
    partition.current_leader.leader_id = leader;
    partition.current_leader.leader_epoch = epoch;
    return partition;
}

/* The leader's log begins behind the snapshot. */
static void name_snapshot(struct follower *f, int32_t leader, int32_t epoch,
                          struct raft_snapshot_id id)
{
    struct fetch_response_partition_data partition = led_by(leader, epoch);

    partition.snapshot_id.end_offset = id.end_offset;
    partition.snapshot_id.epoch = id.epoch;
    answer_fetch(f, &partition);
}

/* The leader's log parts from ours where `common` ends. */
static void name_divergence(struct follower *f, int32_t leader, int32_t epoch,
                            struct raft_snapshot_id common)
{
    struct fetch_response_partition_data partition = led_by(leader, epoch);

    partition.diverging_epoch.end_offset = common.end_offset;
    partition.diverging_epoch.epoch = common.epoch;
    answer_fetch(f, &partition);
}

/* All of it in one piece. */
static void hand_over_snapshot(struct follower *f, int32_t leader, int32_t epoch,
                               struct raft_snapshot_id id, const char *value)
{
    struct fetch_snapshot_response_partition_snapshot partition;
    struct fetch_snapshot_response_topic_snapshot topic;
    struct snapshot_piece piece = {.size_max = 4096};
    struct fetch_snapshot_response m;
    struct writer w;

    write_snapshot(f, f->leader_directory, id, value);
    assert_int_equal(snapshot_read_piece(f->single->files, f->leader_directory, id, &piece).code,
                     KERR_NONE);
    fetch_snapshot_response_partition_snapshot_init(&partition);
    fetch_snapshot_response_topic_snapshot_init(&topic);
    fetch_snapshot_response_init(&m);
    partition.snapshot_id.end_offset = id.end_offset;
    partition.snapshot_id.epoch = id.epoch;
    partition.current_leader.leader_id = leader;
    partition.current_leader.leader_epoch = epoch;
    partition.size = piece.snapshot_size;
    partition.unaligned_records = (struct records){.data = piece.data, .size = piece.size};
    topic.name = STR("__cluster_metadata");
    topic.partitions = &partition;
    topic.partitions_count = 1;
    m.topics = &topic;
    m.topics_count = 1;
    writer_init(&w, 8192);
    assert_true(fetch_snapshot_response_encode(&m, &w, FETCH_SNAPSHOT_VERSION));
    answer(f, FETCH_SNAPSHOT_RESPONSE_KEY, &w);
    free(piece.data);
}

static void begin_answered(struct raft_request *r)
{
    assert_int_equal(r->error, KERR_NONE);
}

static struct raft_request begin_of(int32_t leader, int32_t epoch)
{
    return (struct raft_request){.type = RAFT_ASKED_BEGIN,
                                 .sender = {.id = leader},
                                 .voter = {.id = RAFT_NO_NODE},
                                 .epoch = epoch,
                                 .done = begin_answered};
}

/* ---- what is known of elections from before ---- */

static void remember_leader(struct follower *f, int32_t leader, int32_t epoch)
{
    struct raft_election election = RAFT_ELECTION_NONE;
    char path[128];

    election.epoch = epoch;
    election.leader_id = leader;
    snprintf(path, sizeof path, "%s/" QUORUM_STATE_FILE, f->single->directory);
    assert_int_equal(quorum_state_write(f->single->files, path, &election).code, KERR_NONE);
}

/* A log of epoch 1 whose records end at 13, of which nobody else knows. */
static void leave_a_log(struct follower *f)
{
    single_start_and_lead(f->single);
    for (int i = 0; i < 10; i++)
        single_append(f->single, "stale");
    test_loop_run(&f->single->loop, 0);
    assert_int_equal(raft_node_end_offset(f->single->node), 13);
    single_stop(f->single, true);
}

/* ---- a flush that takes its time ---- */

/* Follows 200 in epoch 2 with a log that begins anew at 20, behind a snapshot that was fetched
 * before a kill: there is nothing in it to be flushed, so the leader is asked at once, and a flush
 * is under way all the same, for names that may not be durable. The answer is that flush, which the
 * pool does not get to before it is given back. */
static struct test_queue start_with_a_flush_under_way(struct follower *f)
{
    struct single *s = f->single;
    struct test_queue flush;

    write_snapshot(f, s->directory, (struct raft_snapshot_id){20, 2}, "state");
    remember_leader(f, 200, 2);
    single_start(s);
    flush = s->loop.jobs;
    assert_int_equal(flush.count, 1);
    s->loop.jobs = (struct test_queue){0};
    test_loop_run(&s->loop, 0);
    assert_int_equal(raft_node_start_offset(s->node), 20);
    return flush;
}

static void flush_ends(struct single *s, struct test_queue flush)
{
    assert_int_equal(s->loop.jobs.count, 0);
    s->loop.jobs = flush;
    test_loop_run(&s->loop, 0);
}

static bool asks(const struct follower *f)
{
    for (size_t i = 0; i < ASKED_MAX; i++)
        if (f->asked[i])
            return true;
    return false;
}

/* ---- tests ---- */

static void answer_that_has_the_log_cut_under_a_flush_is_asked_for_again(void **state)
{
    static const struct raft_snapshot_id common = {20, 2};
    struct follower *f = *state;
    struct single *s = f->single;
    struct test_queue flush = start_with_a_flush_under_way(f);

    name_divergence(f, 200, 2, common);
    test_loop_run(&s->loop, 0);
    assert_false(asks(f));
    test_loop_run(&s->loop, 20); /* its backoff */
    name_divergence(f, 200, 2, common);
    test_loop_run(&s->loop, 0);
    assert_false(asks(f));
    flush_ends(s, flush);
    test_loop_run(&s->loop, 20);
    name_divergence(f, 200, 2, common);
    assert_true(asks(f)); /* the cut is done, and what follows is asked for */
}

static void log_begins_anew_when_the_flush_under_way_has_ended(void **state)
{
    static const struct raft_snapshot_id id = {30, 2};
    struct follower *f = *state;
    struct single *s = f->single;
    struct test_queue flush = start_with_a_flush_under_way(f);

    name_snapshot(f, 200, 2, id);
    hand_over_snapshot(f, 200, 2, id, "later");
    test_loop_run(&s->loop, 0);
    assert_int_equal(raft_node_end_offset(s->node), 20);
    assert_null(strstr(s->told, "later"));
    flush_ends(s, flush);
    assert_int_equal(raft_node_start_offset(s->node), 30);
    assert_int_equal(raft_node_end_offset(s->node), 30);
    assert_non_null(strstr(s->told, "{30-2 later } "));
}

/* Else it would bar the next leader's for as long as the flush takes. */
static void snapshot_that_nobody_wants_any_more_waits_for_no_flush(void **state)
{
    static const struct raft_snapshot_id old = {30, 2}, next = {32, 3};
    struct follower *f = *state;
    struct single *s = f->single;
    struct raft_request begin = begin_of(300, 3);
    struct test_queue flush = start_with_a_flush_under_way(f);

    name_snapshot(f, 200, 2, old);
    hand_over_snapshot(f, 200, 2, old, "old");
    test_loop_run(&s->loop, 0);
    raft_node_request(s->node, &begin);
    test_loop_run(&s->loop, 0);
    name_snapshot(f, 300, 3, next);
    hand_over_snapshot(f, 300, 3, next, "next");
    test_loop_run(&s->loop, 0);
    assert_int_equal(raft_node_end_offset(s->node), 20);
    flush_ends(s, flush);
    assert_int_equal(raft_node_end_offset(s->node), 32);
    assert_non_null(strstr(s->told, "{32-3 next } "));
    assert_null(strstr(s->told, "old"));
}

static void node_stops_while_a_snapshot_waits_for_a_flush(void **state)
{
    static const struct raft_snapshot_id id = {30, 2};
    struct follower *f = *state;
    struct single *s = f->single;
    struct test_queue flush = start_with_a_flush_under_way(f);

    name_snapshot(f, 200, 2, id);
    hand_over_snapshot(f, 200, 2, id, "later");
    test_loop_run(&s->loop, 0);
    s->loop.jobs = flush;
    single_stop(s, false);
    single_start(s); /* with the snapshot, which is there whole */
    assert_int_equal(raft_node_start_offset(s->node), 30);
}

static void snapshot_of_the_next_leader_counts_though_it_ends_before_that_of_the_last(void **state)
{
    static const struct raft_snapshot_id longer = {10, 1}, shorter = {5, 1};
    struct follower *f = *state;
    struct single *s = f->single;
    struct raft_request begin = begin_of(300, 2);
    struct raft_snapshot_id found[SNAPSHOTS_MAX];
    size_t count;

    remember_leader(f, 200, 1);
    single_start(s);
    test_loop_run(&s->loop, 0);
    name_snapshot(f, 200, 1, longer);
    hand_over_snapshot(f, 200, 1, longer, "longer");
    raft_node_request(s->node, &begin); /* before the pool has written it */
    test_loop_run(&s->loop, 0);
    assert_int_equal(raft_node_leader_id(s->node), 300);
    assert_int_equal(raft_node_end_offset(s->node), 0);
    name_snapshot(f, 300, 2, shorter);
    hand_over_snapshot(f, 300, 2, shorter, "shorter");
    test_loop_run(&s->loop, 0);
    assert_int_equal(raft_node_end_offset(s->node), 5);
    assert_int_equal(raft_node_high_watermark(s->node), 5);
    assert_int_equal(raft_node_latest_snapshot(s->node).end_offset, 5);
    assert_non_null(strstr(s->told, "{5-1 shorter } "));
    assert_int_equal(snapshot_list(s->files, s->directory, found, &count).code, KERR_NONE);
    assert_int_equal(count, 1);
    assert_int_equal(found[0].end_offset, 5);
}

static void who_stands_when_a_snapshot_is_in_place_has_the_log_behind_it(void **state)
{
    static const struct raft_snapshot_id id = {5, 2};
    struct follower *f = *state;
    struct single *s = f->single;

    leave_a_log(f);
    remember_leader(f, 200, 2);
    single_start(s);
    test_loop_run(&s->loop, 0);
    name_snapshot(f, 200, 2, id);
    hand_over_snapshot(f, 200, 2, id, "state");
    assert_true(test_loop_round(&s->loop));
    s->loop.now_us += 5000000; /* the process stands still: its leader's time is over */
    while (test_loop_round(&s->loop))
        ;
    assert_true(s->leads);
    assert_int_equal(s->epoch, 3);
    assert_int_equal(raft_node_start_offset(s->node), 5);
    assert_int_equal(raft_node_end_offset(s->node), 6);
    assert_non_null(strstr(s->told, "{5-2 state } "));
    assert_null(strstr(s->told, "stale"));
}

static void log_of_leaders_before_a_fetched_snapshot_begins_anew_at_the_next_start(void **state)
{
    static const struct raft_snapshot_id id = {5, 3};
    struct follower *f = *state;
    struct single *s = f->single;

    leave_a_log(f);
    write_snapshot(f, s->directory, id, "state"); /* and the node died */
    remember_leader(f, 200, 3);
    single_start(s);
    test_loop_run(&s->loop, 0);
    assert_int_equal(raft_node_start_offset(s->node), 5);
    assert_int_equal(raft_node_end_offset(s->node), 5);
    assert_int_equal(raft_node_high_watermark(s->node), 5);
    assert_string_equal(s->told, "leader(3,200) {5-3 state } ");
}

#define FOLLOWER_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        FOLLOWER_TEST(answer_that_has_the_log_cut_under_a_flush_is_asked_for_again),
        FOLLOWER_TEST(log_begins_anew_when_the_flush_under_way_has_ended),
        FOLLOWER_TEST(snapshot_that_nobody_wants_any_more_waits_for_no_flush),
        FOLLOWER_TEST(node_stops_while_a_snapshot_waits_for_a_flush),
        FOLLOWER_TEST(snapshot_of_the_next_leader_counts_though_it_ends_before_that_of_the_last),
        FOLLOWER_TEST(who_stands_when_a_snapshot_is_in_place_has_the_log_behind_it),
        FOLLOWER_TEST(log_of_leaders_before_a_fetched_snapshot_begins_anew_at_the_next_start),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
