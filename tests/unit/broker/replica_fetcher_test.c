/* A whole node that follows: its leader is node 2, which the test plays. */
#include "tests/unit/test.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "broker/shard.h"
#include "protocol/api.h"
#include "protocol/messages/alter_partition.h"
#include "protocol/messages/alter_partition_reassignments.h"
#include "protocol/record_batch.h"
#include "replication/partition_follow.h"
#include "tests/unit/broker/scripted_leader.h"

#define SESSION  77
#define ROUND_MS 20

/* One partition of an answer. */
struct told {
    struct fetch_response_partition_data data;
    struct bytes_mut records; /* owned */
};

struct follow_world {
    struct node_world w;
    struct scripted_leader l;
    struct uuid topic;
    struct told told[4];
    size_t told_count;
};

static void begin_with(struct follow_world *f, const char *set, const char *const *settings)
{
    memset(f, 0, sizeof *f);
    node_world_init(&f->w);
    node_world_set(&f->w, "replica.fetch.wait.max.ms=400");
    if (set)
        node_world_set(&f->w, set);
    scripted_leader_init(&f->l, &f->w);
    node_world_start(&f->w);
    scripted_leader_join(&f->l);
    f->topic = scripted_leader_topic(&f->l, "orders", 1, settings);
}

static void begin(struct follow_world *f)
{
    begin_with(f, NULL, NULL);
}

static void end(struct follow_world *f)
{
    node_world_free(&f->w);
    scripted_leader_free(&f->l);
}

static struct partition *partition(struct follow_world *f, int32_t index)
{
    return node_world_partition(&f->w, f->topic, index);
}

static int64_t log_end(struct follow_world *f)
{
    return log_end_offset(partition(f, 0)->log);
}

/* The fetch that waits; its only partition. */
static const struct fetch_request_partition *asked(struct follow_world *f)
{
    const struct fetch_request *m = scripted_leader_fetch(&f->l, ROUND_MS);

    assert_non_null(m);
    assert_int_equal(m->topics_count, 1);
    assert_int_equal(m->topics[0].partitions_count, 1);
    assert_true(uuid_equal(m->topics[0].topic_id, f->topic));
    return &m->topics[0].partitions[0];
}

static struct told *tell(struct follow_world *f, int32_t index, enum kerr code)
{
    struct told *t = &f->told[f->told_count++];

    fetch_response_partition_data_init(&t->data);
    t->data.partition_index = index;
    t->data.error_code = (int16_t)code;
    t->data.records = (struct records){.data = (const uint8_t *)""};
    return t;
}

/* `count` records at offset, of that epoch. */
static void with_records(struct follow_world *f, struct told *t, int64_t offset, int32_t epoch,
                         int count)
{
    t->records = node_world_batch(&f->w, count, 30, 1000);
    record_batch_set_base_offset(t->records.data, offset);
    record_batch_set_leader_epoch(t->records.data, epoch);
    t->data.records = (struct records){.data = t->records.data, .size = t->records.size};
}

/* Answers the fetch with what was told. */
static void answers(struct follow_world *f)
{
    struct fetch_response_partition_data data[4];
    struct fetch_response_fetchable_topic_response topic;
    struct fetch_response m;

    fetch_response_init(&m);
    fetch_response_fetchable_topic_response_init(&topic);
    for (size_t i = 0; i < f->told_count; i++)
        data[i] = f->told[i].data;
    topic.topic_id = f->topic;
    topic.partitions = data;
    topic.partitions_count = f->told_count;
    m.session_id = SESSION;
    m.responses = &topic;
    m.responses_count = f->told_count ? 1 : 0;
    scripted_leader_answer(&f->l, API_FETCH, &m);
    while (f->told_count > 0)
        free(f->told[--f->told_count].records.data);
    memset(f->told, 0, sizeof f->told);
}

/* The leader has so many more records at the follower's end, all committed. */
static void leader_sends(struct follow_world *f, int count)
{
    const int64_t offset = log_end(f);
    struct told *t;

    assert_non_null(scripted_leader_fetch(&f->l, ROUND_MS));
    t = tell(f, 0, KERR_NONE);
    with_records(f, t, offset, 0, count);
    t->data.high_watermark = offset + count;
    answers(f);
}

static void follower_asks_from_its_end_once_that_is_flushed(void **state)
{
    static struct follow_world f;
    const struct fetch_request *m;
    (void)state;

    begin(&f);
    m = scripted_leader_fetch(&f.l, ROUND_MS);
    assert_non_null(m);
    assert_int_equal(m->session_id, 0);
    assert_int_equal(m->session_epoch, 0);
    assert_int_equal(m->replica_state.replica_id, 1);
    assert_true(m->replica_state.replica_epoch > 0);
    assert_int_equal(m->max_wait_ms, 400);
    assert_int_equal(asked(&f)->fetch_offset, 0);
    assert_int_equal(asked(&f)->current_leader_epoch, 0);
    assert_int_equal(asked(&f)->last_fetched_epoch, -1);
    leader_sends(&f, 5);
    assert_int_equal(log_end(&f), 5);
    assert_int_equal(scripted_leader_waiting(&f.l, API_FETCH), 0); /* not before the flush */
    assert_int_equal(asked(&f)->fetch_offset, 5);
    assert_int_equal(f.l.fetch.session_id, SESSION);
    assert_int_equal(f.l.fetch.session_epoch, 1);
    assert_int_equal(asked(&f)->last_fetched_epoch, 0);
    assert_int_equal(log_flushed_end_offset(partition(&f, 0)->log), 5);
    assert_int_equal(partition_high_watermark(partition(&f, 0)), 5);
    end(&f);
}

static void log_start_of_the_leader_is_told_back(void **state)
{
    static struct follow_world f;
    struct told *t;
    (void)state;

    begin(&f);
    leader_sends(&f, 5);
    asked(&f);
    t = tell(&f, 0, KERR_NONE);
    t->data.high_watermark = 5;
    t->data.log_start_offset = 3;
    answers(&f);
    assert_int_equal(asked(&f)->log_start_offset, 3);
    end(&f);
}

/* Half a second at the old fetch would be half a second without acks=all. */
static void new_partition_is_asked_for_at_once(void **state)
{
    static struct follow_world f;
    const struct fetch_request *m;
    struct uuid other;
    size_t before;
    (void)state;

    begin(&f);
    asked(&f);
    answers(&f); /* nothing new, and a session */
    m = scripted_leader_fetch(&f.l, ROUND_MS);
    assert_int_equal(m->topics_count, 0);
    before = f.l.cancelled;
    /* one of them on the shard that fetches */
    other = scripted_leader_topic(&f.l, "others", 2, NULL);
    assert_true(f.l.cancelled > before);
    assert_non_null(node_world_partition(&f.w, other, 0));
    assert_int_equal(scripted_leader_waiting(&f.l, API_FETCH), 2);
    end(&f);
}

static void damaged_records_cost_their_partition_some_time(void **state)
{
    static struct follow_world f;
    struct told *t;
    (void)state;

    begin(&f);
    leader_sends(&f, 5);
    asked(&f);
    t = tell(&f, 0, KERR_NONE);
    with_records(&f, t, 5, 0, 3);
    t->records.data[t->records.size - 1] ^= 1;
    answers(&f);
    assert_int_equal(log_end(&f), 5);
    assert_int_equal(partition(&f, 0)->state, PARTITION_FOLLOWING);
    assert_int_equal(scripted_leader_waiting(&f.l, API_FETCH), 0);
    assert_int_equal(asked(&f)->fetch_offset, 5);
    leader_sends(&f, 3);
    assert_int_equal(log_end(&f), 8);
    end(&f);
}

static void answer_that_makes_no_sense_is_asked_for_again(void **state)
{
    static struct follow_world f;
    static const uint8_t junk[] = {0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    (void)state;

    begin(&f);
    leader_sends(&f, 5);
    asked(&f);
    scripted_leader_answer_bytes(&f.l, API_FETCH, (struct bytes){junk, sizeof junk});
    assert_int_equal(asked(&f)->fetch_offset, 5);
    assert_int_equal(f.l.fetch.session_epoch, 0);
    end(&f);
}

static void log_is_cut_where_it_parts_from_the_leaders(void **state)
{
    static struct follow_world f;
    struct told *t;
    (void)state;

    begin(&f);
    for (int i = 0; i < 5; i++)
        leader_sends(&f, 1);
    asked(&f);
    t = tell(&f, 0, KERR_NONE);
    t->data.diverging_epoch.epoch = 0;
    t->data.diverging_epoch.end_offset = 3;
    answers(&f);
    assert_int_equal(asked(&f)->fetch_offset, 3);
    assert_int_equal(log_end(&f), 3);
    leader_sends(&f, 1);
    assert_int_equal(log_end(&f), 4);
    end(&f);
}

/* A leader that was deposed, and that our metadata still names, lacks what was committed since. */
static void log_is_not_cut_for_a_leader_of_an_older_epoch_than_its_own(void **state)
{
    static struct follow_world f;
    struct told *t;
    (void)state;

    begin(&f);
    for (int i = 0; i < 5; i++)
        leader_sends(&f, 1);
    assert_int_equal(log_start_epoch(partition(&f, 0)->log, 7).code, KERR_NONE);
    asked(&f);
    t = tell(&f, 0, KERR_NONE);
    t->data.diverging_epoch.epoch = 0;
    t->data.diverging_epoch.end_offset = 3;
    answers(&f);
    assert_int_equal(asked(&f)->fetch_offset, 5);
    assert_int_equal(log_end(&f), 5);
    end(&f);
}

static void answer_offset(struct follow_world *f, int64_t timestamp, int64_t offset)
{
    const struct list_offsets_request *question = scripted_leader_list_offsets(&f->l, ROUND_MS);
    struct list_offsets_response_partition_response partition_answer;
    struct list_offsets_response_topic_response topic;
    struct list_offsets_response m;

    assert_non_null(question);
    assert_int_equal(question->replica_id, 1);
    assert_int_equal(question->topics[0].partitions[0].timestamp, timestamp);
    list_offsets_response_init(&m);
    list_offsets_response_topic_response_init(&topic);
    list_offsets_response_partition_response_init(&partition_answer);
    partition_answer.offset = offset;
    topic.name = str_from("orders");
    topic.partitions = &partition_answer;
    topic.partitions_count = 1;
    m.topics = &topic;
    m.topics_count = 1;
    scripted_leader_answer(&f->l, API_LIST_OFFSETS, &m);
}

/* The leader has deleted what we lack. */
static void follower_that_is_behind_the_leaders_start_starts_afresh_there(void **state)
{
    static struct follow_world f;
    (void)state;

    begin(&f);
    leader_sends(&f, 5);
    asked(&f);
    tell(&f, 0, KERR_OFFSET_OUT_OF_RANGE);
    answers(&f);
    answer_offset(&f, -1, 200);
    answer_offset(&f, -2, 100);
    assert_int_equal(asked(&f)->fetch_offset, 100);
    assert_int_equal(asked(&f)->log_start_offset, 100);
    leader_sends(&f, 1);
    assert_int_equal(log_end(&f), 101);
    end(&f);
}

/* Node 2 is the only one in sync: it stays the leader, whatever becomes of it. */
static void leader_drops_us_from_the_isr(struct follow_world *f)
{
    struct alter_partition_request_broker_state itself = {SECOND_BROKER, f->l.broker.epoch};
    struct alter_partition_request_partition_data p;
    struct alter_partition_request_topic_data topic;
    struct alter_partition_request m;
    struct node_ask ask = {0};

    alter_partition_request_init(&m);
    alter_partition_request_topic_data_init(&topic);
    alter_partition_request_partition_data_init(&p);
    p.leader_epoch = partition(f, 0)->leader_epoch;
    p.partition_epoch = partition(f, 0)->partition_epoch;
    p.new_isr_with_epochs = &itself;
    p.new_isr_with_epochs_count = 1;
    topic.topic_id = f->topic;
    topic.partitions = &p;
    topic.partitions_count = 1;
    m.broker_id = SECOND_BROKER;
    m.broker_epoch = f->l.broker.epoch;
    m.topics = &topic;
    m.topics_count = 1;
    node_world_send(&f->w, &ask, API_ALTER_PARTITION, 3, &m);
    assert_non_null(node_world_wait(&f->w, &ask, 1000));
    node_ask_free(&ask);
}

/* The leader's log, which starts at our end, does not remember what was committed below it, and
 * says so; the log start that we only hear of may be forgotten in a crash. */
static void what_the_next_leader_has_deleted_does_not_come_back(void **state)
{
    static struct follow_world f;
    (void)state;

    begin(&f);
    leader_drops_us_from_the_isr(&f);
    leader_sends(&f, 5);
    scripted_leader_join(&f.l);
    assert_int_equal(asked(&f)->fetch_offset, 5);
    tell(&f, 0, KERR_OFFSET_OUT_OF_RANGE);
    answers(&f);
    answer_offset(&f, -1, 8);
    answer_offset(&f, -2, 5);
    assert_int_equal(asked(&f)->fetch_offset, 5);
    assert_int_equal(asked(&f)->log_start_offset, 5);
    leader_sends(&f, 3);
    asked(&f);
    node_world_kill(&f.w);
    files_sim_kill(f.w.files);
    node_world_start(&f.w);
    assert_int_equal(log_end(&f), 8);
    assert_int_equal(log_start_offset(partition(&f, 0)->log), 5);
    end(&f);
}

static void log_start_that_no_log_can_have_moves_no_log_there(void **state)
{
    static struct follow_world f;
    struct told *t;
    (void)state;

    begin(&f);
    leader_drops_us_from_the_isr(&f);
    leader_sends(&f, 5);
    scripted_leader_join(&f.l);
    assert_int_equal(asked(&f)->fetch_offset, 5);
    t = tell(&f, 0, KERR_NONE);
    t->data.log_start_offset = t->data.high_watermark = INT64_MAX;
    answers(&f);
    assert_int_equal(asked(&f)->fetch_offset, 5);
    assert_int_equal(log_end(&f), 5);
    end(&f);
}

static void follower_that_is_beyond_the_leaders_end_is_cut_to_it(void **state)
{
    static struct follow_world f;
    (void)state;

    begin(&f);
    for (int i = 0; i < 5; i++)
        leader_sends(&f, 1);
    asked(&f);
    tell(&f, 0, KERR_OFFSET_OUT_OF_RANGE);
    answers(&f);
    answer_offset(&f, -1, 2);
    assert_int_equal(asked(&f)->fetch_offset, 2);
    end(&f);
}

/* Nobody spins at a port where nobody listens; the metadata says when somebody does. */
static void dead_leader_is_asked_at_once_when_it_is_back(void **state)
{
    static struct follow_world f;
    int32_t epoch;
    (void)state;

    begin(&f);
    leader_drops_us_from_the_isr(&f);
    asked(&f);
    answers(&f);
    epoch = partition(&f, 0)->leader_epoch;
    for (int i = 0; i < 8; i++) {
        assert_non_null(scripted_leader_fetch(&f.l, 700));
        scripted_leader_fail(&f.l, API_FETCH, status_error(KERR_NETWORK_EXCEPTION, "refused"));
        second_broker_live(&f.l.broker, 1);
    }
    assert_null(scripted_leader_fetch(&f.l, 400)); /* ever more rarely */
    scripted_leader_join(&f.l);
    assert_true(partition(&f, 0)->leader_epoch > epoch);
    assert_non_null(scripted_leader_fetch(&f.l, 2));
    end(&f);
}

/* KIP-73: what is in sync is not held back. */
static void replica_that_catches_up_fetches_slowly(void **state)
{
    static const char *const all[] = {"follower.replication.throttled.replicas", "*", NULL};
    static struct follow_world f;
    (void)state;

    begin_with(&f, "follower.replication.throttled.rate=1000", all);
    leader_sends(&f, 10);
    asked(&f);
    leader_drops_us_from_the_isr(&f);
    second_broker_live(&f.l.broker, 20);
    leader_sends(&f, 10); /* some 400 bytes */
    assert_null(scripted_leader_fetch(&f.l, 300));
    assert_non_null(scripted_leader_fetch(&f.l, 300));
    assert_int_equal(asked(&f)->fetch_offset, 20);
    end(&f);
}

static void fenced_epoch_is_not_asked_for_again(void **state)
{
    static struct follow_world f;
    (void)state;

    begin(&f);
    asked(&f);
    tell(&f, 0, KERR_FENCED_LEADER_EPOCH);
    answers(&f);
    assert_null(scripted_leader_fetch(&f.l, 1500));
    end(&f);
}

static void full_disk_of_the_follower_takes_only_its_partition_offline(void **state)
{
    static struct follow_world f;
    (void)state;

    begin(&f);
    leader_sends(&f, 5);
    asked(&f);
    partition_fail(partition(&f, 0), status_error(KERR_KAFKA_STORAGE_ERROR, "a damaged batch"));
    assert_int_equal(partition(&f, 0)->state, PARTITION_OFFLINE);
    test_loop_run(&f.w.loop, ROUND_MS);
    assert_int_equal(scripted_leader_waiting(&f.l, API_FETCH), 0);
    end(&f);
}

static void reassign(struct follow_world *f, const int32_t *replicas, size_t count)
{
    struct alter_partition_reassignments_request_reassignable_partition p;
    struct alter_partition_reassignments_request_reassignable_topic topic;
    struct alter_partition_reassignments_request m;
    const struct alter_partition_reassignments_response *answer;
    struct node_ask ask = {0};

    alter_partition_reassignments_request_init(&m);
    alter_partition_reassignments_request_reassignable_topic_init(&topic);
    alter_partition_reassignments_request_reassignable_partition_init(&p);
    p.replicas = (int32_t *)(uintptr_t)replicas;
    p.replicas_count = count;
    topic.name = str_from("orders");
    topic.partitions = &p;
    topic.partitions_count = 1;
    m.topics = &topic;
    m.topics_count = 1;
    m.timeout_ms = 1000;
    node_world_send(&f->w, &ask, API_ALTER_PARTITION_REASSIGNMENTS, 1, &m);
    answer = node_world_wait(&f->w, &ask, 1000);
    assert_non_null(answer);
    assert_int_equal(answer->error_code, KERR_NONE);
    assert_int_equal(answer->responses[0].partitions[0].error_code, KERR_NONE);
    node_ask_free(&ask);
    second_broker_live(&f->l.broker, 20);
}

static void come_back(struct follow_world *f)
{
    for (int i = 0; i < 1000 && !partition(f, 0); i++)
        second_broker_live(&f->l.broker, 10);
    assert_non_null(partition(f, 0));
}

/* And comes back as if it had never been there. */
static void partition_that_moves_away_leaves_nothing_behind(void **state)
{
    static const int32_t other[] = {2}, both[] = {2, 1};
    static struct follow_world f;
    (void)state;

    begin(&f);
    leader_sends(&f, 5);
    asked(&f);
    reassign(&f, other, 1);
    test_loop_run(&f.w.loop, 100);
    assert_null(partition(&f, 0));
    assert_int_equal(scripted_leader_waiting(&f.l, API_FETCH), 0);
    reassign(&f, both, 2);
    come_back(&f);
    assert_int_equal(asked(&f)->fetch_offset, 0);
    end(&f);
}

/* It is not made anew in another one: at the next start two directories would hold it, and nobody
 * could tell which is the one that is in sync. */
static void partition_that_comes_back_waits_for_a_directory_that_nobody_can_read(void **state)
{
    static const int32_t other[] = {2}, both[] = {2, 1};
    static const char *const dirs[] = {"one", "two"};
    static struct follow_world f;
    struct files_fault fault = {.call = FILES_CALL_ANY, .sys_errno = EIO};
    (void)state;

    memset(&f, 0, sizeof f);
    node_world_init(&f.w);
    node_world_set(&f.w, "log.dirs=one,two");
    node_world_set(&f.w, "metadata.log.dir=three");
    scripted_leader_init(&f.l, &f.w);
    node_world_start(&f.w);
    scripted_leader_join(&f.l);
    f.topic = scripted_leader_topic(&f.l, "orders", 1, NULL);
    leader_sends(&f, 5);
    asked(&f);
    fault.prefix = dirs[partition(&f, 0)->log_dir];
    node_world_stop(&f.w);
    files_sim_fail(f.w.files, &fault);
    node_world_start(&f.w);
    scripted_leader_join(&f.l);
    assert_int_equal(partition(&f, 0)->state, PARTITION_OFFLINE);
    reassign(&f, other, 1);
    test_loop_run(&f.w.loop, 100);
    assert_null(partition(&f, 0));
    reassign(&f, both, 2);
    come_back(&f);
    assert_int_equal(partition(&f, 0)->state, PARTITION_OFFLINE);
    node_world_stop(&f.w);
    files_sim_heal(f.w.files);
    node_world_start(&f.w);
    assert_int_equal(log_end(&f), 5);
    end(&f);
}

/* Its metadata may be of a time in which the leader had not been deposed yet. */
static void node_that_starts_asks_no_leader_before_it_is_registered(void **state)
{
    static struct follow_world f;
    int64_t before;
    (void)state;

    begin(&f);
    leader_sends(&f, 5);
    asked(&f);
    before = scripted_leader_follower_epoch(&f.l);
    node_world_stop(&f.w);
    f.l.fetches = 0;
    node_world_start(&f.w);
    assert_int_equal(asked(&f)->fetch_offset, 5);
    assert_true(f.l.first_fetch_epoch > before);
    end(&f);
}

/* A node that does not serve yet keeps what metadata of the past has moved away. If it went on to
 * fetch, a leader that knows that it is to come back would take it for in sync, and then it
 * goes. */
static void what_has_moved_away_is_not_followed_while_it_is_kept(void **state)
{
    static const int32_t other[] = {2};
    static struct follow_world f;
    (void)state;

    begin(&f);
    leader_sends(&f, 5);
    asked(&f);
    atomic_store(&f.w.node->serving, false);
    for (size_t s = 0; s < NODE_WORLD_SHARDS; s++)
        f.w.node->shards[s]->served = false;
    reassign(&f, other, 1);
    test_loop_run(&f.w.loop, ROUND_MS);
    assert_int_equal(log_end(&f), 5);
    assert_int_equal(scripted_leader_waiting(&f.l, API_FETCH), 0);
    end(&f);
}

static void node_ends_with_a_fetch_on_its_way(void **state)
{
    static struct follow_world f;
    (void)state;

    begin(&f);
    leader_sends(&f, 5);
    asked(&f);
    tell(&f, 0, KERR_OFFSET_OUT_OF_RANGE);
    answers(&f);
    assert_non_null(scripted_leader_list_offsets(&f.l, ROUND_MS));
    node_world_stop(&f.w);
    assert_int_equal(scripted_leader_waiting(&f.l, API_FETCH), 0);
    assert_int_equal(scripted_leader_waiting(&f.l, API_LIST_OFFSETS), 0);
    end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(follower_asks_from_its_end_once_that_is_flushed),
        cmocka_unit_test(log_start_of_the_leader_is_told_back),
        cmocka_unit_test(new_partition_is_asked_for_at_once),
        cmocka_unit_test(damaged_records_cost_their_partition_some_time),
        cmocka_unit_test(answer_that_makes_no_sense_is_asked_for_again),
        cmocka_unit_test(log_is_cut_where_it_parts_from_the_leaders),
        cmocka_unit_test(log_is_not_cut_for_a_leader_of_an_older_epoch_than_its_own),
        cmocka_unit_test(follower_that_is_behind_the_leaders_start_starts_afresh_there),
        cmocka_unit_test(what_the_next_leader_has_deleted_does_not_come_back),
        cmocka_unit_test(log_start_that_no_log_can_have_moves_no_log_there),
        cmocka_unit_test(follower_that_is_beyond_the_leaders_end_is_cut_to_it),
        cmocka_unit_test(dead_leader_is_asked_at_once_when_it_is_back),
        cmocka_unit_test(replica_that_catches_up_fetches_slowly),
        cmocka_unit_test(fenced_epoch_is_not_asked_for_again),
        cmocka_unit_test(full_disk_of_the_follower_takes_only_its_partition_offline),
        cmocka_unit_test(partition_that_moves_away_leaves_nothing_behind),
        cmocka_unit_test(partition_that_comes_back_waits_for_a_directory_that_nobody_can_read),
        cmocka_unit_test(node_that_starts_asks_no_leader_before_it_is_registered),
        cmocka_unit_test(what_has_moved_away_is_not_followed_while_it_is_kept),
        cmocka_unit_test(node_ends_with_a_fetch_on_its_way),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
