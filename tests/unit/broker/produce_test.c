/* Produce on a whole node: through the shards and back, what is acknowledged when, and what is
 * refused. */
#include "tests/unit/test.h"

#include <errno.h>
#include <stdlib.h>

#include "protocol/base/byteorder.h"
#include "protocol/base/crc32c.h"
#include "protocol/messages/produce.h"
#include "protocol/record_batch.h"
#include "tests/unit/broker/second_broker.h"

#define TOPIC      "t"
#define PARTITIONS 4
#define VERSION    12

struct call {
    struct produce_request_partition_produce_data partitions[PARTITIONS];
    struct produce_request_topic_produce_data topic;
    struct produce_request m;
    struct bytes_mut batch;
    struct node_ask ask;
};

/* One batch of one record for each of the first `count` partitions. */
static void call_init(struct node_world *w, struct call *c, int count, int16_t acks)
{
    *c = (struct call){.batch = node_world_batch(w, 1, 20, clock_wall_ms(&w->loop.clock))};
    produce_request_init(&c->m);
    produce_request_topic_produce_data_init(&c->topic);
    for (int i = 0; i < count; i++)
        c->partitions[i] = (struct produce_request_partition_produce_data){
            i, {c->batch.data, c->batch.size, NULL}};
    c->topic.name = STR(TOPIC);
    c->topic.partition_data = c->partitions;
    c->topic.partition_data_count = (size_t)count;
    c->m.acks = acks;
    c->m.timeout_ms = 500;
    c->m.topic_data = &c->topic;
    c->m.topic_data_count = 1;
}

static void call_send(struct node_world *w, struct call *c, int16_t version)
{
    node_world_send(w, &c->ask, API_PRODUCE, version, &c->m);
}

static const struct produce_response_partition_produce_response *call_wait(struct node_world *w,
                                                                           struct call *c)
{
    const struct produce_response *answer = node_world_wait(w, &c->ask, 2000);

    return answer ? answer->responses[0].partition_responses : NULL;
}

static void call_free(struct call *c)
{
    free(c->batch.data);
    node_ask_free(&c->ask);
}

static struct uuid begin(struct node_world *w)
{
    node_world_init(w);
    node_world_start(w);
    return node_world_topic(w, TOPIC, PARTITIONS, NULL);
}

/* Its topic has a replica on node 2 too, and one partition. */
static struct uuid begin_with_two(struct node_world *w, struct second_broker *other)
{
    node_world_init(w);
    node_world_start(w);
    second_broker_register(other, w);
    second_broker_live(other, 300);
    return second_broker_topic(other, TOPIC, NULL);
}

static void assert_end(struct node_world *w, struct uuid topic, int32_t index, int64_t end)
{
    assert_int_equal(log_end_offset(node_world_partition(w, topic, index)->log), end);
}

static void every_level_of_acks_is_answered_as_it_should(void **state)
{
    static struct node_world w;
    struct call c;
    struct uuid topic;
    (void)state;

    topic = begin(&w);
    for (int16_t acks = -1; acks <= 1; acks++) {
        call_init(&w, &c, 1, acks);
        call_send(&w, &c, VERSION);
        if (acks == 0) {
            assert_null(call_wait(&w, &c));
            assert_true(c.ask.nothing);
        } else {
            assert_int_equal(call_wait(&w, &c)[0].error_code, KERR_NONE);
            assert_int_equal(call_wait(&w, &c)[0].base_offset, acks + 1);
        }
        call_free(&c);
    }
    assert_end(&w, topic, 0, 3);
    call_init(&w, &c, 1, 2);
    call_send(&w, &c, VERSION);
    assert_int_equal(call_wait(&w, &c)[0].error_code, KERR_INVALID_REQUIRED_ACKS);
    call_free(&c);
    assert_end(&w, topic, 0, 3);
    node_world_free(&w);
}

/* acks=all waits for the disk, acks=1 does not. */
static void acks_all_is_not_told_before_the_disk_has_it(void **state)
{
    static struct node_world w;
    struct call all, one;
    (void)state;

    begin(&w);
    w.loop.pool_stuck = true;
    call_init(&w, &all, PARTITIONS, -1);
    call_init(&w, &one, PARTITIONS, 1);
    call_send(&w, &all, VERSION);
    call_send(&w, &one, VERSION);
    test_loop_run(&w.loop, 50);
    assert_false(all.ask.answered);
    assert_true(one.ask.answered);
    w.loop.pool_stuck = false;
    for (int i = 0; i < PARTITIONS; i++) {
        assert_int_equal(call_wait(&w, &all)[i].error_code, KERR_NONE);
        assert_int_equal(call_wait(&w, &all)[i].base_offset, 0);
        assert_int_equal(call_wait(&w, &one)[i].base_offset, 1);
    }
    call_free(&all);
    call_free(&one);
    node_world_free(&w);
}

/* The record may be there all the same: the producer must not take it for lost. */
static void deadline_is_told_when_the_disk_is_slow(void **state)
{
    static struct node_world w;
    struct call c;
    struct uuid topic;
    (void)state;

    topic = begin(&w);
    w.loop.pool_stuck = true;
    call_init(&w, &c, 2, -1);
    call_send(&w, &c, VERSION);
    test_loop_run(&w.loop, 400);
    assert_false(c.ask.answered);
    test_loop_run(&w.loop, 200);
    assert_int_equal(call_wait(&w, &c)[0].error_code, KERR_REQUEST_TIMED_OUT);
    assert_int_equal(call_wait(&w, &c)[1].error_code, KERR_REQUEST_TIMED_OUT);
    w.loop.pool_stuck = false;
    call_free(&c);
    assert_end(&w, topic, 0, 1);
    node_world_free(&w);
}

static void one_bad_partition_does_not_spoil_the_others(void **state)
{
    static struct node_world w;
    struct bytes_mut bad;
    struct call c;
    struct uuid topic;
    (void)state;

    topic = begin(&w);
    call_init(&w, &c, PARTITIONS, -1);
    bad = node_world_batch(&w, 1, 20, 5);
    bad.data[bad.size - 1] ^= 1;
    c.partitions[1].records = (struct records){bad.data, bad.size, NULL};
    c.partitions[2].index = 99;
    call_send(&w, &c, VERSION);
    assert_int_equal(call_wait(&w, &c)[0].error_code, KERR_NONE);
    assert_int_equal(call_wait(&w, &c)[1].error_code, KERR_CORRUPT_MESSAGE);
    assert_int_equal(call_wait(&w, &c)[2].error_code, KERR_UNKNOWN_TOPIC_OR_PARTITION);
    assert_int_equal(call_wait(&w, &c)[3].error_code, KERR_NONE);
    call_free(&c);
    free(bad.data);
    assert_end(&w, topic, 0, 1);
    assert_end(&w, topic, 1, 0);
    assert_end(&w, topic, 3, 1);
    node_world_free(&w);
}

static void unknown_topics_are_refused_by_name_and_by_id(void **state)
{
    static struct node_world w;
    struct call c;
    struct uuid topic;
    (void)state;

    topic = begin(&w);
    call_init(&w, &c, 1, -1);
    c.topic.name = STR("nowhere");
    call_send(&w, &c, VERSION);
    assert_int_equal(call_wait(&w, &c)[0].error_code, KERR_UNKNOWN_TOPIC_OR_PARTITION);
    call_free(&c);
    for (int known = 0; known < 2; known++) {
        call_init(&w, &c, 1, -1);
        c.topic.name = STR("");
        c.topic.topic_id = known ? topic : (struct uuid){{7}};
        call_send(&w, &c, 13);
        assert_int_equal(call_wait(&w, &c)[0].error_code,
                         known ? KERR_NONE : KERR_UNKNOWN_TOPIC_ID);
        call_free(&c);
    }
    node_world_free(&w);
}

/* A failing disk is an error of the partitions on it, for all who wait. */
static void failed_flush_is_told_to_all_who_wait(void **state)
{
    static struct node_world w;
    struct call a, b;
    (void)state;

    begin(&w);
    call_init(&w, &a, 1, -1);
    call_init(&w, &b, 1, -1);
    files_sim_fail(w.files, &(struct files_fault){.call = FILES_CALL_SYNC,
                                                  .prefix = "./trivet-data/t-0",
                                                  .sys_errno = EIO});
    files_sim_fail(w.files, &(struct files_fault){.call = FILES_CALL_SYNC,
                                                  .prefix = "trivet-data/t-0",
                                                  .sys_errno = EIO});
    files_sim_fail(w.files,
                   &(struct files_fault){.call = FILES_CALL_SYNC_FILESYSTEM, .sys_errno = EIO});
    call_send(&w, &a, VERSION);
    call_send(&w, &b, VERSION);
    assert_int_equal(call_wait(&w, &a)[0].error_code, KERR_KAFKA_STORAGE_ERROR);
    assert_int_equal(call_wait(&w, &b)[0].error_code, KERR_KAFKA_STORAGE_ERROR);
    call_free(&a);
    call_free(&b);
    files_sim_heal(w.files);
    node_world_kill(&w);
    node_world_free(&w);
}

/* A node that stops answers those who wait, so that their clients look for another leader. */
static void stopping_node_answers_those_who_wait(void **state)
{
    static struct node_world w;
    struct call c;
    (void)state;

    begin(&w);
    call_init(&w, &c, 1, -1);
    c.m.timeout_ms = 600000;
    w.loop.pool_stuck = true;
    call_send(&w, &c, VERSION);
    test_loop_run(&w.loop, 50);
    assert_false(c.ask.answered);
    w.loop.pool_stuck = false;
    node_world_stop(&w);
    assert_true(c.ask.answered);
    call_free(&c);
    node_world_free(&w);
}

/* Sends one batch as an idempotent producer; the error code. */
static enum kerr produce_sequence(struct node_world *w, uint8_t sequence)
{
    struct call c;
    enum kerr code;
    uint8_t *batch;

    call_init(w, &c, 1, 1);
    batch = c.batch.data;
    memset(batch + 43, 0, 14); /* producer id 0, epoch 0 */
    batch[56] = sequence;
    store_be32(batch + 17, crc32c(batch + 21, c.batch.size - 21));
    call_send(w, &c, VERSION);
    code = (enum kerr)call_wait(w, &c)[0].error_code;
    call_free(&c);
    return code;
}

/* It may have been deposed while it was paused or cut off, and lack what its successor has: for
 * librdkafka a sequence out of order is the end of the producer. */
static void leader_in_doubt_does_not_judge_sequences(void **state)
{
    static struct node_world w;
    struct second_broker other = {0};
    struct uuid topic;
    (void)state;

    topic = begin_with_two(&w, &other);
    assert_int_equal(produce_sequence(&w, 0), KERR_NONE);
    assert_int_equal(produce_sequence(&w, 5), KERR_OUT_OF_ORDER_SEQUENCE_NUMBER);
    assert_false(node_in_doubt(w.node, clock_monotonic_us(&w.loop.clock)));
    atomic_store(&w.node->trusted_until_us, clock_monotonic_us(&w.loop.clock));
    assert_int_equal(produce_sequence(&w, 5), KERR_NOT_LEADER_OR_FOLLOWER);
    atomic_store(&w.node->trusted_until_us, clock_monotonic_us(&w.loop.clock));
    assert_int_equal(produce_sequence(&w, 1), KERR_NONE);
    assert_end(&w, topic, 0, 2);
    test_loop_run(&w.loop, 1000); /* heartbeats again */
    assert_int_equal(produce_sequence(&w, 5), KERR_OUT_OF_ORDER_SEQUENCE_NUMBER);
    node_world_free(&w);
}

/* Nobody can have deposed it: what looks wrong to it is. */
static void leader_without_other_replicas_has_no_doubts(void **state)
{
    static struct node_world w;
    (void)state;

    begin(&w);
    assert_int_equal(produce_sequence(&w, 0), KERR_NONE);
    atomic_store(&w.node->trusted_until_us, clock_monotonic_us(&w.loop.clock));
    assert_int_equal(produce_sequence(&w, 5), KERR_OUT_OF_ORDER_SEQUENCE_NUMBER);
    node_world_free(&w);
}

/* The bits of a batch of a transaction; its checksum again. */
static void call_make_transactional(struct call *c)
{
    uint8_t *batch = c->batch.data;

    batch[RECORD_BATCH_AT_ATTRIBUTES + 1] |= RECORD_BATCH_TRANSACTIONAL;
    memset(batch + 43, 0, 14); /* producer id 0, epoch 0, sequence 0 */
    store_be32(batch + 17, crc32c(batch + 21, c->batch.size - 21));
}

/* Nobody would ever end it: readers of committed records would wait for it for ever. */
static void batch_of_a_transaction_that_never_began_is_refused(void **state)
{
    static const struct {
        const char *id;
        enum kerr own, others;
    } cases[] = {
        {NULL, KERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
         KERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED},
        {"hers", KERR_NOT_ENOUGH_REPLICAS, KERR_NONE},
    };
    static struct node_world w;
    struct bytes_mut plain;
    struct uuid topic;
    struct call c;
    (void)state;

    topic = begin(&w);
    for (size_t i = 0; i < 2; i++) {
        call_init(&w, &c, 2, -1);
        plain = node_world_batch(&w, 1, 20, clock_wall_ms(&w.loop.clock));
        c.partitions[1].records = (struct records){plain.data, plain.size, NULL};
        c.m.transactional_id = str_from(cases[i].id);
        call_make_transactional(&c);
        call_send(&w, &c, VERSION);
        assert_int_equal(call_wait(&w, &c)[0].error_code, cases[i].own);
        assert_int_equal(call_wait(&w, &c)[1].error_code, cases[i].others);
        call_free(&c);
        free(plain.data);
    }
    assert_end(&w, topic, 0, 0);
    assert_end(&w, topic, 1, 1);
    node_world_free(&w);
}

/* KIP-951: its producer goes there without asking for metadata. */
static void refusal_of_a_partition_elsewhere_names_its_leader(void **state)
{
    static struct node_world w;
    const struct produce_response *answer;
    struct second_broker b = {0};
    struct call c;
    (void)state;

    node_world_init(&w);
    node_world_start(&w);
    second_broker_register(&b, &w);
    second_broker_live(&b, 300);
    second_broker_own_topic(&b, TOPIC);
    for (int16_t version = 9; version <= 10; version++) {
        call_init(&w, &c, 1, -1);
        call_send(&w, &c, version);
        assert_int_equal(call_wait(&w, &c)[0].error_code, KERR_NOT_LEADER_OR_FOLLOWER);
        answer = c.ask.answer;
        assert_int_equal(answer->node_endpoints_count, version >= 10);
        if (version >= 10) {
            assert_int_equal(call_wait(&w, &c)[0].current_leader.leader_id, SECOND_BROKER);
            assert_int_equal(call_wait(&w, &c)[0].current_leader.leader_epoch, 0);
            assert_int_equal(answer->node_endpoints[0].node_id, SECOND_BROKER);
            assert_int_equal(answer->node_endpoints[0].port, 9);
        }
        call_free(&c);
    }
    node_world_free(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_level_of_acks_is_answered_as_it_should),
        cmocka_unit_test(acks_all_is_not_told_before_the_disk_has_it),
        cmocka_unit_test(deadline_is_told_when_the_disk_is_slow),
        cmocka_unit_test(one_bad_partition_does_not_spoil_the_others),
        cmocka_unit_test(unknown_topics_are_refused_by_name_and_by_id),
        cmocka_unit_test(failed_flush_is_told_to_all_who_wait),
        cmocka_unit_test(leader_in_doubt_does_not_judge_sequences),
        cmocka_unit_test(leader_without_other_replicas_has_no_doubts),
        cmocka_unit_test(stopping_node_answers_those_who_wait),
        cmocka_unit_test(batch_of_a_transaction_that_never_began_is_refused),
        cmocka_unit_test(refusal_of_a_partition_elsewhere_names_its_leader),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
