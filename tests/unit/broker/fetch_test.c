/* Fetch on a whole node: what comes at once, what waits, what is cold, what is refused. */
#include "tests/unit/test.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/messages/fetch.h"
#include "protocol/record_batch.h"
#include "tests/unit/broker/second_broker.h"

#define TOPIC      "t"
#define PARTITIONS 4
#define VERSION    12
#define LONG_MS    1000000

struct call {
    struct fetch_request_partition partitions[PARTITIONS];
    struct fetch_request_topic topic;
    struct fetch_request m;
    struct node_ask ask;
};

static void call_init(struct call *c, int count, int64_t offset)
{
    memset(c, 0, sizeof *c);
    fetch_request_init(&c->m);
    for (int i = 0; i < count; i++) {
        fetch_request_partition_init(&c->partitions[i]);
        c->partitions[i].partition = i;
        c->partitions[i].fetch_offset = offset;
        c->partitions[i].partition_max_bytes = 1 << 20;
    }
    c->topic.topic = STR(TOPIC);
    c->topic.partitions = c->partitions;
    c->topic.partitions_count = (size_t)count;
    c->m.max_bytes = 1 << 20;
    c->m.min_bytes = 1;
    c->m.topics = &c->topic;
    c->m.topics_count = 1;
}

static const struct fetch_response *call_wait(struct node_world *w, struct call *c, int64_t ms)
{
    return node_world_wait(w, &c->ask, ms);
}

static void call_send(struct node_world *w, struct call *c, int16_t version)
{
    node_world_send(w, &c->ask, API_FETCH, version, &c->m);
}

/* Of the one topic asked for. */
static const struct fetch_response_partition_data *found(const struct fetch_response *answer,
                                                         int index)
{
    assert_non_null(answer);
    assert_int_equal(answer->responses_count, 1);
    for (size_t i = 0; i < answer->responses[0].partitions_count; i++)
        if (answer->responses[0].partitions[i].partition_index == index)
            return &answer->responses[0].partitions[i];
    return NULL;
}

static size_t bytes_of(const struct fetch_response *answer)
{
    size_t size = 0;

    for (size_t i = 0; answer && i < answer->responses_count; i++)
        for (size_t k = 0; k < answer->responses[i].partitions_count; k++)
            size += answer->responses[i].partitions[k].records.size;
    return size;
}

static struct uuid begin(struct node_world *w)
{
    node_world_init(w);
    node_world_start(w);
    return node_world_topic(w, TOPIC, PARTITIONS, NULL);
}

static void produce_everywhere(struct node_world *w, int batches)
{
    for (int n = 0; n < batches; n++)
        for (int32_t p = 0; p < PARTITIONS; p++)
            assert_int_equal(node_world_produce(w, TOPIC, p, -1, 1, 200), KERR_NONE);
}

static void what_is_there_comes_at_once(void **state)
{
    static struct node_world w;
    const struct fetch_response *answer;
    struct call c;
    (void)state;

    begin(&w);
    produce_everywhere(&w, 3);
    call_init(&c, PARTITIONS, 1);
    c.m.max_wait_ms = LONG_MS;
    call_send(&w, &c, VERSION);
    answer = call_wait(&w, &c, 5);
    for (int p = 0; p < PARTITIONS; p++) {
        const struct fetch_response_partition_data *data = found(answer, p);

        assert_int_equal(data->error_code, KERR_NONE);
        assert_int_equal(data->high_watermark, 3);
        assert_int_equal(record_batch_base_offset(data->records.data), 1);
        assert_false(status_failed(record_batch_check((struct bytes){
            data->records.data, (size_t)record_batch_size_bytes(data->records.data)})));
    }
    node_ask_free(&c.ask);
    node_world_free(&w);
}

/* The wait ends with the first record in any of the partitions, on whatever shard. */
static void fetch_waits_for_records(void **state)
{
    static struct node_world w;
    struct call c;
    (void)state;

    begin(&w);
    for (int32_t p = 0; p < PARTITIONS; p++) {
        call_init(&c, PARTITIONS, 0);
        for (int32_t i = 0; i < PARTITIONS; i++)
            c.partitions[i].fetch_offset = i < p;
        c.m.max_wait_ms = LONG_MS;
        call_send(&w, &c, VERSION);
        assert_null(call_wait(&w, &c, 300));
        assert_int_equal(node_world_produce(&w, TOPIC, p, -1, 1, 50), KERR_NONE);
        assert_true(found(call_wait(&w, &c, 50), p)->records.size > 0);
        node_ask_free(&c.ask);
    }
    node_world_free(&w);
}

static void wait_ends_by_time_and_by_size(void **state)
{
    static struct node_world w;
    struct call c;
    (void)state;

    begin(&w);
    call_init(&c, PARTITIONS, 0);
    c.m.max_wait_ms = 200;
    call_send(&w, &c, VERSION);
    assert_null(call_wait(&w, &c, 150));
    assert_int_equal(bytes_of(call_wait(&w, &c, 100)), 0);
    node_ask_free(&c.ask);
    call_init(&c, PARTITIONS, 0);
    c.m.max_wait_ms = LONG_MS;
    c.m.min_bytes = 700; /* three of them */
    call_send(&w, &c, VERSION);
    for (int32_t p = 0; p < 3; p++) {
        assert_null(call_wait(&w, &c, 100));
        assert_int_equal(node_world_produce(&w, TOPIC, p, -1, 1, 200), KERR_NONE);
    }
    assert_true(bytes_of(call_wait(&w, &c, 50)) >= 700);
    node_ask_free(&c.ask);
    node_world_free(&w);
}

static int32_t partition_of_another_shard(const struct node_world *w, struct uuid topic)
{
    int32_t index = 0;

    while (node_shard_of(w->node, topic, index) == 0) /* requests come in on shard 0 */
        assert_true(++index < PARTITIONS);
    return index;
}

/* The usual fetch of a reader at the end: no way back to be sent out again. */
static void a_shard_that_has_all_that_is_asked_for_watches_at_once(void **state)
{
    static struct node_world w;
    struct call c;
    struct uuid topic;
    int32_t index;
    (void)state;

    topic = begin(&w);
    index = partition_of_another_shard(&w, topic);
    call_init(&c, 1, 0);
    c.partitions[0].partition = index;
    c.m.max_wait_ms = 200;
    call_send(&w, &c, VERSION);
    assert_true(test_loop_round(&w.loop)); /* the message there */
    assert_non_null(node_world_partition(&w, topic, index)->watchers);
    assert_null(call_wait(&w, &c, 150));
    assert_int_equal(bytes_of(call_wait(&w, &c, 100)), 0);
    assert_null(node_world_partition(&w, topic, index)->watchers);
    node_ask_free(&c.ask);
    node_world_free(&w);
}

static void a_lone_shard_reports_when_min_bytes_are_there(void **state)
{
    static struct node_world w;
    struct call c;
    struct uuid topic;
    int32_t index;
    (void)state;

    topic = begin(&w);
    index = partition_of_another_shard(&w, topic);
    call_init(&c, 1, 0);
    c.partitions[0].partition = index;
    c.m.max_wait_ms = LONG_MS;
    c.m.min_bytes = 700; /* three of them */
    call_send(&w, &c, VERSION);
    for (int n = 0; n < 3; n++) {
        assert_null(call_wait(&w, &c, 100));
        assert_int_equal(node_world_produce(&w, TOPIC, index, -1, 1, 200), KERR_NONE);
    }
    assert_true(bytes_of(call_wait(&w, &c, 50)) >= 700);
    node_ask_free(&c.ask);
    node_world_free(&w);
}

/* Bounds are kept in the order asked; the first batch comes however large it is. */
static void limits_of_bytes_are_kept(void **state)
{
    static struct node_world w;
    const struct fetch_response *answer;
    struct call c;
    (void)state;

    begin(&w);
    produce_everywhere(&w, 4);
    call_init(&c, PARTITIONS, 0);
    c.m.max_bytes = 1;
    call_send(&w, &c, VERSION);
    answer = call_wait(&w, &c, 50);
    assert_true(found(answer, 0)->records.size > 200);
    assert_true(found(answer, 0)->records.size < 400);
    assert_int_equal(bytes_of(answer), found(answer, 0)->records.size);
    node_ask_free(&c.ask);
    call_init(&c, 1, 0);
    c.partitions[0].partition_max_bytes = 600;
    call_send(&w, &c, VERSION);
    assert_in_range(bytes_of(call_wait(&w, &c, 50)), 400, 600);
    node_ask_free(&c.ask);
    node_world_free(&w);
}

static void cold_bytes_are_the_same_bytes(void **state)
{
    static struct node_world w;
    struct call warm, cold;
    size_t jobs;
    (void)state;

    begin(&w);
    produce_everywhere(&w, 20);
    call_init(&warm, PARTITIONS, 7);
    call_send(&w, &warm, VERSION);
    assert_non_null(call_wait(&w, &warm, 50));
    node_world_stop(&w);
    node_world_start(&w);
    test_loop_run(&w.loop, 100);
    files_sim_set_cold(w.files, true);
    jobs = w.loop.jobs_run;
    call_init(&cold, PARTITIONS, 7);
    call_send(&w, &cold, VERSION);
    assert_non_null(call_wait(&w, &cold, 50));
    assert_true(w.loop.jobs_run > jobs);
    /* What is not located yet counts as all that it may be: a cold answer may hold fewer
     * partitions. */
    assert_true(found(cold.ask.answer, 0)->records.size > 13 * 200);
    for (int p = 0; p < PARTITIONS; p++) {
        const struct fetch_response_partition_data *a = found(warm.ask.answer, p),
                                                   *b = found(cold.ask.answer, p);

        if (b->records.size == 0)
            continue;
        assert_int_equal(a->records.size, b->records.size);
        assert_memory_equal(a->records.data, b->records.data, a->records.size);
    }
    files_sim_set_cold(w.files, false);
    node_ask_free(&warm.ask);
    node_ask_free(&cold.ask);
    node_world_free(&w);
}

/* A consumer behind a successor of ours may be ahead of our log: it is to ask who leads, not to
 * reset its offset. */
static void leader_in_doubt_does_not_judge_offsets_past_its_end(void **state)
{
    static struct node_world w;
    struct second_broker other = {0};
    struct call c;
    (void)state;

    node_world_init(&w);
    node_world_start(&w);
    second_broker_register(&other, &w);
    second_broker_live(&other, 300);
    second_broker_topic(&other, TOPIC, NULL);
    for (int doubt = 0; doubt < 2; doubt++) {
        call_init(&c, 1, 99);
        if (doubt)
            atomic_store(&w.node->trusted_until_us, clock_monotonic_us(&w.loop.clock));
        call_send(&w, &c, VERSION);
        assert_int_equal(found(call_wait(&w, &c, 50), 0)->error_code,
                         doubt ? KERR_NOT_LEADER_OR_FOLLOWER : KERR_OFFSET_OUT_OF_RANGE);
        node_ask_free(&c.ask);
    }
    node_world_free(&w);
}

/* An error is an answer: nobody waits beside it. */
static void errors_end_the_wait(void **state)
{
    static struct node_world w;
    struct call c;
    (void)state;

    begin(&w);
    call_init(&c, PARTITIONS, 0);
    c.m.max_wait_ms = LONG_MS;
    c.partitions[1].fetch_offset = 99;
    c.partitions[2].current_leader_epoch = 50;
    c.partitions[3].partition = 77;
    call_send(&w, &c, VERSION);
    assert_int_equal(found(call_wait(&w, &c, 50), 0)->error_code, KERR_NONE);
    assert_int_equal(found(c.ask.answer, 1)->error_code, KERR_OFFSET_OUT_OF_RANGE);
    assert_int_equal(found(c.ask.answer, 2)->error_code, KERR_UNKNOWN_LEADER_EPOCH);
    assert_int_equal(found(c.ask.answer, 77)->error_code, KERR_UNKNOWN_TOPIC_OR_PARTITION);
    node_ask_free(&c.ask);
    call_init(&c, 1, 0);
    c.topic.topic_id = (struct uuid){{9}};
    c.topic.topic = STR("");
    c.m.max_wait_ms = LONG_MS;
    call_send(&w, &c, 13);
    assert_int_equal(found(call_wait(&w, &c, 50), 0)->error_code, KERR_UNKNOWN_TOPIC_ID);
    node_ask_free(&c.ask);
    node_world_free(&w);
}

/* KIP-227: after the first answer only partitions with news are in it. */
static void session_tells_only_news(void **state)
{
    static struct node_world w;
    struct call c;
    int32_t id;
    (void)state;

    begin(&w);
    call_init(&c, PARTITIONS, 0);
    c.m.session_epoch = 0;
    call_send(&w, &c, VERSION);
    id = call_wait(&w, &c, 50) ? ((const struct fetch_response *)c.ask.answer)->session_id : 0;
    assert_true(id > 0);
    node_ask_free(&c.ask);
    assert_int_equal(node_world_produce(&w, TOPIC, 2, -1, 1, 50), KERR_NONE);
    call_init(&c, 0, 0);
    c.m.topics_count = 0;
    c.m.session_id = id;
    c.m.session_epoch = 1;
    call_send(&w, &c, VERSION);
    assert_int_equal(
        call_wait(&w, &c, 50) ? ((const struct fetch_response *)c.ask.answer)->session_id : 0, id);
    assert_non_null(found(c.ask.answer, 2));
    assert_null(found(c.ask.answer, 0));
    node_ask_free(&c.ask);
    call_init(&c, 0, 0);
    c.m.topics_count = 0;
    c.m.session_id = id;
    c.m.session_epoch = 5;
    call_send(&w, &c, VERSION);
    assert_non_null(call_wait(&w, &c, 50));
    assert_int_equal(((const struct fetch_response *)c.ask.answer)->error_code,
                     KERR_INVALID_FETCH_SESSION_EPOCH);
    node_ask_free(&c.ask);
    node_world_free(&w);
}

/* Nobody reads the answer of a client that went: its wait ends at once, its memory is given
 * back. */
static void fetch_of_a_client_that_went_does_not_wait(void **state)
{
    static struct node_world w;
    struct call c;
    struct uuid topic;
    (void)state;

    topic = begin(&w);
    call_init(&c, PARTITIONS, 0);
    c.m.max_wait_ms = LONG_MS;
    call_send(&w, &c, VERSION);
    assert_null(call_wait(&w, &c, 100));
    assert_non_null(c.ask.under_way);
    request_abandon(c.ask.under_way);
    test_loop_run(&w.loop, 5);
    assert_false(c.ask.answered); /* and it was not told: under ASan, nothing is left either */
    for (int32_t p = 0; p < PARTITIONS; p++)
        assert_null(node_world_partition(&w, topic, p)->watchers);
    node_world_free(&w);
}

/* ---- replicas ---- */

#define REPLICA_VERSION 17

/* As if the metadata had said that nodes 1 and 2 hold the partition, in sync. */
static struct partition *replicated(struct node_world *w, struct uuid topic, int32_t index)
{
    static const int32_t both[] = {1, 2};
    struct partition *p = node_world_partition(w, topic, index);
    struct partition_assignment a = {.leader_id = 1,
                                     .leader_epoch = p->leader_epoch,
                                     .partition_epoch = p->partition_epoch + 1,
                                     .membership = {1, both, 2, both, 2, 1, p->partition_epoch + 1},
                                     .config = p->config};

    partition_assign(p, &a);
    return p;
}

static void replica_call(struct call *c, struct uuid topic, int32_t replica_id, int64_t offset)
{
    call_init(c, 1, offset);
    c->topic.topic_id = topic;
    c->m.replica_state.replica_id = replica_id;
    c->m.max_wait_ms = LONG_MS;
}

/* What it asks for it has on its disk: the high watermark follows, and with it those who wait for
 * acks=all. */
static void fetch_of_a_replica_moves_the_high_watermark(void **state)
{
    static struct node_world w;
    struct partition *p;
    struct call c;
    struct uuid topic;
    (void)state;

    topic = begin(&w);
    p = replicated(&w, topic, 0);
    assert_int_equal(node_world_produce(&w, TOPIC, 0, 1, 1, 50), KERR_NONE);
    test_loop_run(&w.loop, 20);
    assert_int_equal(partition_high_watermark(p), 0);
    replica_call(&c, topic, 2, 0);
    call_send(&w, &c, REPLICA_VERSION);
    assert_true(found(call_wait(&w, &c, 5), 0)->records.size > 0); /* above the high watermark */
    assert_int_equal(found(c.ask.answer, 0)->high_watermark, 0);
    node_ask_free(&c.ask);
    replica_call(&c, topic, 2, 1);
    c.m.max_wait_ms = 0;
    call_send(&w, &c, REPLICA_VERSION);
    /* which its own offset brought */
    assert_int_equal(found(call_wait(&w, &c, 5), 0)->high_watermark, 1);
    node_ask_free(&c.ask);
    node_world_free(&w);
}

static void replica_that_waits_is_woken_by_each_append(void **state)
{
    static struct node_world w;
    struct call c;
    struct uuid topic;
    (void)state;

    topic = begin(&w);
    replicated(&w, topic, 0);
    for (int64_t i = 0; i < 3; i++) {
        replica_call(&c, topic, 2, i);
        call_send(&w, &c, REPLICA_VERSION);
        assert_null(call_wait(&w, &c, 100));
        w.loop.pool_stuck = true; /* no flush is waited for */
        assert_int_equal(node_world_produce(&w, TOPIC, 0, 1, 1, 50), KERR_NONE);
        assert_true(found(call_wait(&w, &c, 5), 0)->records.size > 0);
        w.loop.pool_stuck = false;
        node_ask_free(&c.ask);
    }
    node_world_free(&w);
}

/* Its own offset moves the high watermark, of which it hears soon though no record comes; then it
 * waits. */
static void replica_in_a_session_hears_soon_of_the_high_watermark(void **state)
{
    static struct node_world w;
    struct call c;
    struct uuid topic;
    int32_t id;
    (void)state;

    topic = begin(&w);
    replicated(&w, topic, 0);
    assert_int_equal(node_world_produce(&w, TOPIC, 0, 1, 1, 50), KERR_NONE);
    replica_call(&c, topic, 2, 0);
    c.m.session_epoch = 0;
    call_send(&w, &c, REPLICA_VERSION);
    assert_int_equal(found(call_wait(&w, &c, 5), 0)->high_watermark, 0);
    id = ((const struct fetch_response *)c.ask.answer)->session_id;
    node_ask_free(&c.ask);
    for (int32_t epoch = 1; epoch <= 2; epoch++) {
        replica_call(&c, topic, 2, 1);
        c.m.session_id = id;
        c.m.session_epoch = epoch;
        call_send(&w, &c, REPLICA_VERSION);
        if (epoch == 1)
            assert_int_equal(found(call_wait(&w, &c, 20), 0)->high_watermark, 1);
        else
            assert_null(call_wait(&w, &c, 400));
        if (epoch == 1)
            node_ask_free(&c.ask);
    }
    assert_int_equal(node_world_produce(&w, TOPIC, 0, 1, 1, 50), KERR_NONE);
    assert_true(found(call_wait(&w, &c, 5), 0)->records.size > 0);
    node_ask_free(&c.ask);
    node_world_free(&w);
}

static enum kerr refusal_of(struct node_world *w, struct call *c, int16_t version)
{
    enum kerr code;

    call_send(w, c, version);
    code = (enum kerr)found(call_wait(w, c, 5), 0)->error_code;
    node_ask_free(&c->ask);
    return code;
}

/* Offsets count only when they come from a replica, of this run of its broker, and lie in our
 * log. */
static void fetch_of_whoever_is_no_replica_moves_nothing(void **state)
{
    static struct node_world w;
    struct second_broker second = {0};
    struct partition *p;
    struct call c;
    struct uuid topic;
    (void)state;

    topic = begin(&w);
    p = replicated(&w, topic, 0);
    assert_int_equal(node_world_produce(&w, TOPIC, 0, 1, 1, 50), KERR_NONE);
    test_loop_run(&w.loop, 20);
    replica_call(&c, topic, 3, 1);
    assert_int_equal(refusal_of(&w, &c, REPLICA_VERSION), KERR_NOT_LEADER_OR_FOLLOWER);
    replica_call(&c, topic, 3, 1);
    c.partitions[0].current_leader_epoch = p->leader_epoch;
    assert_int_equal(refusal_of(&w, &c, REPLICA_VERSION), KERR_UNKNOWN_LEADER_EPOCH);
    replica_call(&c, topic, 2, 2);
    assert_int_equal(refusal_of(&w, &c, REPLICA_VERSION), KERR_OFFSET_OUT_OF_RANGE);
    replica_call(&c, topic, 2, 1);
    c.partitions[0].last_fetched_epoch = p->leader_epoch + 4; /* a history that we do not have */
    assert_int_equal(refusal_of(&w, &c, REPLICA_VERSION), KERR_OFFSET_OUT_OF_RANGE);
    replica_call(&c, topic, 2, 1); /* a late one of its run before this */
    second_broker_register(&second, &w);
    c.m.replica_state.replica_epoch = second.epoch - 1;
    assert_int_equal(refusal_of(&w, &c, REPLICA_VERSION), KERR_NOT_LEADER_OR_FOLLOWER);
    replica_call(&c, topic, 1, 1); /* nobody but ourselves speaks for us */
    assert_int_equal(refusal_of(&w, &c, REPLICA_VERSION), KERR_NOT_LEADER_OR_FOLLOWER);
    assert_int_equal(partition_high_watermark(p), 0);
    call_init(&c, 1, 1); /* before version 15 the id stands elsewhere */
    c.m.replica_id = 2;
    call_send(&w, &c, VERSION);
    assert_int_equal(found(call_wait(&w, &c, 5), 0)->high_watermark, 1);
    node_ask_free(&c.ask);
    node_world_free(&w);
}

static const struct fetch_response_partition_data *ends_at(struct node_world *w, struct call *c,
                                                           struct uuid topic, int64_t log_start,
                                                           int32_t epoch)
{
    replica_call(c, topic, 2, 3);
    c->m.max_wait_ms = 0;
    c->partitions[0].log_start_offset = log_start;
    c->partitions[0].last_fetched_epoch = epoch;
    call_send(w, c, REPLICA_VERSION);
    return found(call_wait(w, c, 5), 0);
}

/* Its own records of that time are gone; what a replica has below the log start comes back with a
 * crash that makes it forget that it was deleted. */
static void leader_tells_a_replica_that_ends_at_its_log_start_whether_it_has_what_was_committed(
    void **state)
{
    static struct node_world w;
    const struct fetch_response_partition_data *data;
    struct partition *p;
    struct call c;
    struct uuid topic;
    int64_t to = 3;
    (void)state;

    topic = begin(&w);
    p = node_world_partition(&w, topic, 0);
    for (int32_t epoch = 10; epoch < 40; epoch += 10) { /* each leader wrote one */
        assert_false(status_failed(log_start_epoch(p->log, epoch)));
        assert_int_equal(node_world_produce(&w, TOPIC, 0, -1, 1, 50), KERR_NONE);
    }
    assert_false(status_failed(partition_delete_records(p, &to)));
    replicated(&w, topic, 0);
    data = ends_at(&w, &c, topic, 0, 20);
    assert_int_equal(data->error_code, KERR_NONE);
    assert_int_equal(data->diverging_epoch.epoch, 20);
    assert_int_equal(data->diverging_epoch.end_offset, 2);
    node_ask_free(&c.ask);
    data = ends_at(&w, &c, topic, 0, 25);
    assert_int_equal(data->diverging_epoch.epoch, 20);
    assert_int_equal(data->diverging_epoch.end_offset, 2);
    node_ask_free(&c.ask);
    data = ends_at(&w, &c, topic, 0, 30);
    assert_int_equal(data->error_code, KERR_NONE);
    assert_int_equal(data->diverging_epoch.epoch, -1);
    node_ask_free(&c.ask);
    node_world_free(&w);
}

static void replica_whose_history_is_forgotten_begins_at_the_log_start(void **state)
{
    static struct node_world w;
    struct partition *p;
    struct call c;
    struct uuid topic;
    (void)state;

    topic = begin(&w);
    p = node_world_partition(&w, topic, 0);
    assert_false(status_failed(log_truncate_fully(p->log, 3)));
    assert_false(status_failed(log_start_epoch(p->log, 10)));
    replicated(&w, topic, 0);
    assert_int_equal(ends_at(&w, &c, topic, 0, 5)->error_code, KERR_OFFSET_OUT_OF_RANGE);
    node_ask_free(&c.ask);
    assert_int_equal(partition_high_watermark(p), 0); /* it does not count as in sync */
    assert_int_equal(ends_at(&w, &c, topic, 3, 5)->error_code, KERR_NONE);
    node_ask_free(&c.ask);
    node_world_free(&w);
}

/* A replica that was made while the topic was compacted has no batch of the epochs before, though
 * its log begins with theirs. When it leads, one that was away since goes on where it stopped: it
 * would be told for ever that nobody knows it, from within the leader's log. */
static void replica_that_ends_in_what_compaction_took_goes_on(void **state)
{
    static struct node_world w;
    const struct record_batch_head head = RECORD_BATCH_HEAD_PLAIN;
    struct record_content content = {.value = {(const uint8_t *)"v", 1}};
    const struct fetch_response_partition_data *data;
    struct log_appended appended;
    struct bytes_mut batch;
    struct partition *p;
    struct call c;
    struct uuid topic;
    (void)state;

    topic = begin(&w);
    p = node_world_partition(&w, topic, 0);
    assert_false(status_failed(log_truncate_fully(p->log, 1)));
    content.timestamp_ms = clock_wall_ms(&w.loop.clock);
    record_batch_builder_begin(&w.builder, &head);
    record_batch_builder_append(&w.builder, &content);
    assert_false(status_failed(record_batch_builder_finish(&w.builder, NULL, &batch)));
    record_batch_set_base_offset(batch.data, 5);
    record_batch_set_leader_epoch(batch.data, 10);
    assert_false(
        status_failed(log_append_as_follower(p->log, batch, LOG_ORIGIN_CLIENT, &appended)));
    replicated(&w, topic, 0);
    data = ends_at(&w, &c, topic, 0, 5);
    assert_int_equal(data->error_code, KERR_NONE);
    assert_int_equal(data->diverging_epoch.epoch, -1);
    assert_true(data->records.size > 0);
    node_ask_free(&c.ask);
    node_world_free(&w);
}

/* As a log of Apache Kafka may have it that this broker was given: a transaction, and its end. */
static void abort_a_transaction(struct node_world *w, struct partition *p)
{
    static const uint8_t value[6] = {0};
    struct record_content content = {.value = {value, sizeof value}};

    for (int control = 0; control < 2; control++) {
        struct record_batch_head head = RECORD_BATCH_HEAD_PLAIN;
        struct log_appended appended;
        struct bytes_mut batch;

        head.producer_id = 7;
        head.producer_epoch = 0;
        head.base_sequence = control ? -1 : 0;
        head.attributes =
            RECORD_BATCH_TRANSACTIONAL | (uint16_t)(control ? RECORD_BATCH_CONTROL : 0);
        record_batch_builder_begin(&w->builder, &head);
        content.timestamp_ms = clock_wall_ms(&w->loop.clock);
        if (control)
            record_batch_builder_append_control(&w->builder, CONTROL_ABORT, content.timestamp_ms,
                                                content.value);
        else
            record_batch_builder_append(&w->builder, &content);
        assert_false(status_failed(record_batch_builder_finish(&w->builder, NULL, &batch)));
        assert_false(status_failed(partition_append_own(p, batch, &appended)));
    }
}

/* Each shard finds those of its partitions at the same time as the others. */
static void aborted_transactions_are_told_from_an_arena_of_each_shard(void **state)
{
    static struct node_world w;
    struct uuid topic;
    struct call c;
    (void)state;

    topic = begin(&w);
    for (int i = 0; i < PARTITIONS; i++)
        abort_a_transaction(&w, node_world_partition(&w, topic, i));
    test_loop_run(&w.loop, 50);
    call_init(&c, PARTITIONS, 0);
    c.m.isolation_level = 1;
    call_send(&w, &c, VERSION);
    for (int i = 0; i < PARTITIONS; i++) {
        const struct fetch_response_partition_data *f = found(call_wait(&w, &c, 50), i);

        assert_int_equal(f->error_code, KERR_NONE);
        assert_int_equal(f->last_stable_offset, 2);
        assert_int_equal(f->aborted_transactions_count, 1);
        assert_int_equal(f->aborted_transactions[0].producer_id, 7);
        assert_int_equal(f->aborted_transactions[0].first_offset, 0);
    }
    assert_int_equal(c.ask.rq->part_arena_count, NODE_WORLD_SHARDS);
    for (int i = 0; i < NODE_WORLD_SHARDS; i++)
        assert_true(c.ask.rq->part_arenas[i].used > 0);
    node_ask_free(&c.ask);
    node_world_free(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_there_comes_at_once),
        cmocka_unit_test(fetch_waits_for_records),
        cmocka_unit_test(wait_ends_by_time_and_by_size),
        cmocka_unit_test(a_shard_that_has_all_that_is_asked_for_watches_at_once),
        cmocka_unit_test(a_lone_shard_reports_when_min_bytes_are_there),
        cmocka_unit_test(limits_of_bytes_are_kept),
        cmocka_unit_test(cold_bytes_are_the_same_bytes),
        cmocka_unit_test(leader_in_doubt_does_not_judge_offsets_past_its_end),
        cmocka_unit_test(errors_end_the_wait),
        cmocka_unit_test(aborted_transactions_are_told_from_an_arena_of_each_shard),
        cmocka_unit_test(session_tells_only_news),
        cmocka_unit_test(fetch_of_a_client_that_went_does_not_wait),
        cmocka_unit_test(fetch_of_a_replica_moves_the_high_watermark),
        cmocka_unit_test(replica_that_waits_is_woken_by_each_append),
        cmocka_unit_test(replica_in_a_session_hears_soon_of_the_high_watermark),
        cmocka_unit_test(
            leader_tells_a_replica_that_ends_at_its_log_start_whether_it_has_what_was_committed),
        cmocka_unit_test(replica_whose_history_is_forgotten_begins_at_the_log_start),
        cmocka_unit_test(replica_that_ends_in_what_compaction_took_goes_on),
        cmocka_unit_test(fetch_of_whoever_is_no_replica_moves_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
