/* How a whole node starts, stops and is killed; in virtual time. */
#include "tests/unit/test.h"

#include <errno.h>
#include <stdlib.h>

#include "broker/hosting.h"
#include "broker/shard.h"
#include "broker/storage_dirs.h"
#include "protocol/messages/delete_topics.h"
#include "storage/log_dir.h"
#include "tests/unit/broker/node_world.h"

#define PARTITIONS 60

static void produce_everywhere(struct node_world *w, const char *topic, int partitions)
{
    for (int i = 0; i < partitions; i++)
        assert_int_equal(node_world_produce(w, topic, i, -1, 2, 100), KERR_NONE);
}

static void assert_all_there(struct node_world *w, struct uuid topic, int partitions)
{
    for (int i = 0; i < partitions; i++) {
        struct partition *p = node_world_partition(w, topic, i);

        assert_non_null(p);
        assert_int_equal(log_end_offset(p->log), 2);
        assert_int_equal(partition_high_watermark(p), 2);
        assert_false(log_unverified(p->log));
    }
}

/* Many logs: one sync of the file system, and all is there though the machine dies right after. */
static void clean_stop_syncs_many_logs_at_once(void **state)
{
    static struct node_world w;
    uint64_t syncs, filesystem_syncs;
    struct uuid topic;
    (void)state;

    node_world_init(&w);
    node_world_start(&w);
    topic = node_world_topic(&w, "many", PARTITIONS, NULL);
    produce_everywhere(&w, "many", PARTITIONS);
    syncs = files_sim_calls(w.files, FILES_CALL_SYNC);
    filesystem_syncs = files_sim_calls(w.files, FILES_CALL_SYNC_FILESYSTEM);
    node_world_stop(&w);
    assert_int_equal(files_sim_calls(w.files, FILES_CALL_SYNC_FILESYSTEM) - filesystem_syncs, 1);
    assert_true(files_sim_calls(w.files, FILES_CALL_SYNC) - syncs < PARTITIONS / 2);
    files_sim_crash_losing_all(w.files);
    node_world_start(&w);
    assert_all_there(&w, topic, PARTITIONS);
    node_world_free(&w);
}

/* Few logs are not worth a sync of everything that others have written to that disk. */
static void clean_stop_syncs_few_logs_one_by_one(void **state)
{
    static struct node_world w;
    uint64_t filesystem_syncs;
    struct uuid topic;
    (void)state;

    node_world_init(&w);
    node_world_start(&w);
    topic = node_world_topic(&w, "few", 3, NULL);
    produce_everywhere(&w, "few", 3);
    filesystem_syncs = files_sim_calls(w.files, FILES_CALL_SYNC_FILESYSTEM);
    node_world_stop(&w);
    assert_int_equal(files_sim_calls(w.files, FILES_CALL_SYNC_FILESYSTEM), filesystem_syncs);
    files_sim_crash_losing_all(w.files);
    node_world_start(&w);
    assert_all_there(&w, topic, 3);
    node_world_free(&w);
}

static bool marked_clean(struct node_world *w)
{
    struct file_stat stat;

    return !status_failed(w->files->ops->stat(w->files, "trivet-data/.kafka_cleanshutdown", &stat));
}

static void stop_whose_sync_fails_is_not_marked_clean(void **state)
{
    static struct node_world w;
    (void)state;

    for (int fails = 0; fails < 2; fails++) {
        node_world_init(&w);
        node_world_start(&w);
        node_world_topic(&w, "many", PARTITIONS, NULL);
        produce_everywhere(&w, "many", PARTITIONS);
        if (fails)
            files_sim_fail(w.files, &(struct files_fault){.call = FILES_CALL_SYNC_FILESYSTEM,
                                                          .sys_errno = EIO});
        node_world_stop(&w);
        assert_int_equal(marked_clean(&w), !fails);
        node_world_free(&w);
    }
}

static void log_that_cannot_be_settled_leaves_no_clean_mark(void **state)
{
    static struct node_world w;
    struct uuid topic;
    (void)state;

    node_world_init(&w);
    node_world_start(&w);
    topic = node_world_topic(&w, "many", PARTITIONS, NULL);
    produce_everywhere(&w, "many", PARTITIONS);
    files_sim_fail(w.files, &(struct files_fault){.call = FILES_CALL_WRITE,
                                                  .prefix = "./trivet-data/many-7/",
                                                  .sys_errno = EIO});
    files_sim_fail(w.files, &(struct files_fault){.call = FILES_CALL_WRITE,
                                                  .prefix = "trivet-data/many-7/",
                                                  .sys_errno = EIO});
    node_world_stop(&w);
    assert_false(marked_clean(&w));
    files_sim_heal(w.files);
    node_world_start(&w);
    for (int i = 0; i < PARTITIONS; i++)
        assert_int_equal(log_end_offset(node_world_partition(&w, topic, i)->log), 2);
    node_world_free(&w);
}

static int led(struct node_world *w, struct uuid topic, int partitions)
{
    int count = 0;

    for (int i = 0; i < partitions; i++) {
        struct partition *p = node_world_partition(w, topic, i);

        count += p && p->state == PARTITION_LEADING;
    }
    return count;
}

/* One that cannot be read at the start takes its own partitions offline, and no others. */
static void unreadable_directory_leaves_the_other_one_alone(void **state)
{
    static struct node_world w;
    struct uuid topic;
    (void)state;

    node_world_init(&w);
    node_world_set(&w, "log.dirs=one,two");
    node_world_start(&w);
    topic = node_world_topic(&w, "spread", 6, NULL);
    produce_everywhere(&w, "spread", 6);
    node_world_stop(&w);
    files_sim_fail(
        w.files, &(struct files_fault){.call = FILES_CALL_ANY, .prefix = "two", .sys_errno = EIO});
    node_world_start(&w);
    test_loop_run(&w.loop, 100);
    assert_false(w.failed);
    assert_int_equal(led(&w, topic, 6), 3);
    node_world_stop(&w);
    files_sim_heal(w.files);
    node_world_start(&w);
    assert_all_there(&w, topic, 6);
    node_world_free(&w);
}

static void damaged_log_takes_only_its_partition_offline(void **state)
{
    static struct node_world w;
    const struct iovec junk = {"version: 9", 10};
    struct file *f;
    struct uuid topic;
    (void)state;

    node_world_init(&w);
    node_world_start(&w);
    topic = node_world_topic(&w, "some", 3, NULL);
    produce_everywhere(&w, "some", 3);
    node_world_stop(&w);
    assert_false(status_failed(w.files->ops->open(w.files, "trivet-data/some-1/partition.metadata",
                                                  FILE_WRITE | FILE_TRUNCATE, &f)));
    assert_false(status_failed(w.files->ops->write(w.files, f, &junk, 1, 0)));
    w.files->ops->close(w.files, f);
    node_world_start(&w);
    test_loop_run(&w.loop, 100);
    assert_false(w.failed);
    assert_int_equal(led(&w, topic, 3), 2);
    assert_int_equal(node_world_produce(&w, "some", 1, -1, 1, 10), KERR_KAFKA_STORAGE_ERROR);
    assert_int_equal(node_world_produce(&w, "some", 2, -1, 1, 10), KERR_NONE);
    node_world_free(&w);
}

/* Acknowledged with acks=all: there after the worst that a power failure may do. */
static void acknowledged_records_survive_the_machine(void **state)
{
    static struct node_world w;
    struct uuid topic;
    (void)state;

    node_world_init(&w);
    node_world_start(&w);
    topic = node_world_topic(&w, "kept", 5, NULL);
    produce_everywhere(&w, "kept", 5);
    node_world_kill(&w);
    files_sim_crash_losing_all(w.files);
    w.boot_id = "two";
    node_world_start(&w);
    assert_all_there(&w, topic, 5);
    node_world_free(&w);
}

static void delete_topic(struct node_world *w, const char *name)
{
    struct delete_topics_request_delete_topic_state topic = {.name = str_from(name)};
    struct delete_topics_request m;
    const struct delete_topics_response *answer;
    struct node_ask ask = {0};

    delete_topics_request_init(&m);
    m.topics = &topic;
    m.topics_count = 1;
    m.timeout_ms = 10000;
    node_world_send(w, &ask, DELETE_TOPICS_REQUEST_KEY, 6, &m);
    answer = node_world_wait(w, &ask, 10000);
    assert_non_null(answer);
    assert_int_equal(answer->responses[0].error_code, KERR_NONE);
    node_ask_free(&ask);
    test_loop_run(&w->loop, 1000);
}

/* The metadata snapshot that a start begins with still names the topic that was deleted; the folder
 * of the one made since is not taken for that one's remains. */
static void a_topic_made_anew_since_the_snapshot_survives_a_restart(void **state)
{
    static struct node_world w;
    struct uuid topic;
    (void)state;

    for (int clean = 0; clean < 2; clean++) {
        node_world_init(&w);
        node_world_set(&w, "metadata.log.max.record.bytes.between.snapshots=1");
        node_world_start(&w);
        node_world_topic(&w, "anew", 5, NULL);
        produce_everywhere(&w, "anew", 3);
        node_world_stop(&w);
        w.sets[w.set_count - 1] = "metadata.log.max.record.bytes.between.snapshots=20971520";
        node_world_start(&w);
        delete_topic(&w, "anew");
        topic = node_world_topic(&w, "anew", 5, NULL);
        produce_everywhere(&w, "anew", 5);
        if (clean)
            node_world_stop(&w);
        else
            node_world_kill(&w);
        node_world_start(&w);
        test_loop_run(&w.loop, 1000);
        assert_all_there(&w, topic, 5);
        assert_int_equal(node_world_produce(&w, "anew", 0, -1, 1, 10), KERR_NONE);
        node_world_free(&w);
    }
}

/* The name is free only once checkpoints without it are on the disk (storage_dirs_release). */
static void what_waits_for_a_name_is_looked_at_again_by_itself(void **state)
{
    static struct node_world w;
    struct storage_place place;
    struct uuid other;
    (void)state;

    node_world_init(&w);
    node_world_start(&w);
    other = node_world_topic(&w, "other", 2 * NODE_WORLD_SHARDS, NULL);
    for (int i = 0; i < 2 * NODE_WORLD_SHARDS; i++) {
        assert_int_equal(storage_dirs_place_new(w.node->dirs, STR("waits"), i, &place).code,
                         KERR_NONE);
        storage_dirs_release(w.node->dirs, STR("waits"), i);
        node_world_partition(&w, other, i)->partition_epoch = 77; /* any assignment undoes it */
    }
    node_world_topic(&w, "waits", 2 * NODE_WORLD_SHARDS, NULL);
    produce_everywhere(&w, "waits", 2 * NODE_WORLD_SHARDS);
    for (int i = 0; i < 2 * NODE_WORLD_SHARDS; i++)
        assert_int_equal(node_world_partition(&w, other, i)->partition_epoch, 77);
    for (size_t i = 0; i < NODE_WORLD_SHARDS; i++)
        hosting_look_again(w.node->shards[i], other);
    test_loop_run(&w.loop, 10);
    for (int i = 0; i < 2 * NODE_WORLD_SHARDS; i++)
        assert_int_equal(node_world_partition(&w, other, i)->partition_epoch, 0);
    node_world_free(&w);
}

/* The settings that a start begins with are of the past, and without a quorum it stays so. */
static void nothing_is_let_go_before_the_metadata_knows_of_this_run(void **state)
{
    const char *const settings[] = {"retention.ms", "1", NULL};
    static struct node_world w;
    struct partition *p;
    struct uuid topic;
    (void)state;

    node_world_init(&w);
    node_world_start(&w);
    topic = node_world_topic(&w, "kept", 1, settings);
    produce_everywhere(&w, "kept", 1);
    p = node_world_partition(&w, topic, 0);
    for (int i = 0; i < 4; i++) {
        const bool registered = i >= 2;

        for (size_t s = 0; s < NODE_WORLD_SHARDS; s++) {
            w.node->shards[s]->registered = registered;
            hosting_maintain(w.node->shards[s]);
        }
        assert_int_equal(log_start_offset(p->log), i == 3 ? 2 : 0);
        test_loop_run(&w.loop, 20);
    }
    node_world_free(&w);
}

/* A sync fails, and the process is started again on the same boot: the page cache still has the
 * batch that the disk refused, and the next sync would not write it. It is let go before anything
 * is acknowledged behind it. */
static void what_the_disk_refused_is_not_built_upon(void **state)
{
    static struct node_world w;
    struct uuid topic;
    (void)state;

    node_world_init(&w);
    node_world_set(&w, "log.dirs=one,two");
    node_world_set(&w, "metadata.log.dir=two");
    node_world_start(&w);
    topic = node_world_topic(&w, "kept", 2, NULL);
    produce_everywhere(&w, "kept", 2);
    files_sim_fail(w.files, &(struct files_fault){
                                .call = FILES_CALL_SYNC, .prefix = "one/kept", .sys_errno = EIO});
    for (int i = 0; i < 2; i++)
        (void)node_world_produce(&w, "kept", i, -1, 1, 100); /* one of them is in that directory */
    test_loop_run(&w.loop, 100);
    assert_int_equal(led(&w, topic, 2), 1);
    node_world_kill(&w);
    files_sim_kill(w.files);
    files_sim_heal(w.files);
    node_world_start(&w);
    test_loop_run(&w.loop, 100);
    assert_int_equal(led(&w, topic, 2), 2);
    produce_everywhere(&w, "kept", 2);
    node_world_kill(&w);
    files_sim_crash_losing_all(w.files);
    w.boot_id = "two";
    node_world_start(&w);
    for (int i = 0; i < 2; i++) {
        struct partition *p = node_world_partition(&w, topic, i);

        assert_int_equal(log_end_offset(p->log), p->log_dir == 0 ? 4 : 5);
    }
    node_world_free(&w);
}

static struct file *open_in(struct node_world *w, const char *path)
{
    struct file *f;

    assert_false(status_failed(w->files->ops->open(w->files, path, FILE_WRITE, &f)));
    return f;
}

/* What the next start is told of this run, should it crash now. */
static int64_t recorded_epoch(struct node_world *w)
{
    struct log_dir_run run;
    struct bytes_mut text;

    assert_false(status_failed(files_read_whole(w->files, "trivet-data/.trivet-run", 4096, &text)));
    assert_true(log_dir_parse_run((struct bytes){text.data, text.size}, &run));
    free(text.data);
    return run.broker_epoch;
}

static const struct metadata_partition *in_image(struct node_world *w, struct uuid topic,
                                                 int32_t index)
{
    return metadata_topic_partition(metadata_image_topic_by_id(w->node->shards[0]->image, topic),
                                    index);
}

/* A crash keeps what was acknowledged, so the broker stays in sync across it. Not when a log turns
 * out to have lost its end: then it says so before it serves, though it had registered already. */
static void a_log_that_lost_its_end_makes_the_end_before_an_unclean_one(void **state)
{
    static struct node_world w;
    struct uuid topic;
    (void)state;

    for (int damaged = 0; damaged < 2; damaged++) {
        int32_t epoch_before, partition_epoch_before;
        struct file *f;

        node_world_init(&w);
        node_world_start(&w);
        topic = node_world_topic(&w, "some", 3, NULL);
        produce_everywhere(&w, "some", 3);
        test_loop_run(&w.loop, 100);
        assert_true(recorded_epoch(&w) > 0);
        epoch_before = in_image(&w, topic, 0)->leader_epoch;
        partition_epoch_before = in_image(&w, topic, 0)->partition_epoch;
        node_world_stop(&w);
        f = open_in(&w, "trivet-data/some-1/00000000000000000000.log");
        if (damaged)
            assert_false(status_failed(w.files->ops->truncate(w.files, f, 70)));
        w.files->ops->close(w.files, f);
        node_world_start(&w);
        test_loop_run(&w.loop, 500);
        assert_false(w.failed);
        assert_int_equal(led(&w, topic, 3), 3); /* there is nobody else */
        assert_int_equal(log_end_offset(node_world_partition(&w, topic, 1)->log), damaged ? 0 : 2);
        assert_int_equal(in_image(&w, topic, 0)->isr.count, 1);
        assert_true(in_image(&w, topic, 0)->leader_epoch > epoch_before);
        /* out of sync, and back as the last that was: not just led anew */
        assert_int_equal(in_image(&w, topic, 0)->partition_epoch - partition_epoch_before,
                         damaged ? 3 : 2);
        assert_int_equal(recorded_epoch(&w),
                         metadata_image_broker(w.node->shards[0]->image, 1)->epoch);
        node_world_free(&w);
    }
}

/* Damage that the check in the background finds once the broker serves: neither a crash nor a stop
 * of this run is taken for one that kept everything. The start after it says so. */
static void damage_found_while_serving_is_told_at_the_next_start(void **state)
{
    static struct node_world w;
    int64_t epoch;
    (void)state;

    node_world_init(&w);
    node_world_start(&w);
    node_world_topic(&w, "some", 2, NULL);
    test_loop_run(&w.loop, 100);
    epoch = recorded_epoch(&w);
    assert_true(epoch > 0);
    node_damaged(w.node);
    test_loop_run(&w.loop, 100);
    assert_int_equal(recorded_epoch(&w), -1);
    assert_int_equal(w.registrations, 1); /* what it serves it goes on to serve */
    node_world_stop(&w);
    node_world_start(&w);
    test_loop_run(&w.loop, 500);
    assert_true(recorded_epoch(&w) > epoch);
    node_world_free(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(clean_stop_syncs_many_logs_at_once),
        cmocka_unit_test(clean_stop_syncs_few_logs_one_by_one),
        cmocka_unit_test(stop_whose_sync_fails_is_not_marked_clean),
        cmocka_unit_test(log_that_cannot_be_settled_leaves_no_clean_mark),
        cmocka_unit_test(unreadable_directory_leaves_the_other_one_alone),
        cmocka_unit_test(damaged_log_takes_only_its_partition_offline),
        cmocka_unit_test(acknowledged_records_survive_the_machine),
        cmocka_unit_test(what_waits_for_a_name_is_looked_at_again_by_itself),
        cmocka_unit_test(nothing_is_let_go_before_the_metadata_knows_of_this_run),
        cmocka_unit_test(a_topic_made_anew_since_the_snapshot_survives_a_restart),
        cmocka_unit_test(what_the_disk_refused_is_not_built_upon),
        cmocka_unit_test(a_log_that_lost_its_end_makes_the_end_before_an_unclean_one),
        cmocka_unit_test(damage_found_while_serving_is_told_at_the_next_start),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
