/* Records of the metadata log become images, and images records. */
#include "tests/unit/test.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/base/check.h"
#include "protocol/writer.h"
#include "replication/metadata_record.h"
#include "tests/unit/replication/controller_world.h"

struct tale {
    struct metadata_loader *loader;
    struct config_values *given;
    const struct metadata_image *image;
    const struct metadata_delta *delta;
    struct writer writer;
    size_t ends[64];
    size_t count;
    int64_t next_offset;
};

static int set_up(void **state)
{
    static struct tale t;

    t = (struct tale){.given = config_values_create()};
    t.loader = metadata_loader_create(1, t.given);
    writer_init(&t.writer, SIZE_MAX);
    *state = &t;
    return 0;
}

static int tear_down(void **state)
{
    struct tale *t = *state;

    metadata_loader_free(t->loader);
    metadata_image_release(t->image);
    metadata_delta_release(t->delta);
    config_values_free(t->given);
    writer_free(&t->writer);
    return 0;
}

/* ---- the verbs: records are written down, then committed as one batch ---- */

static void put(struct tale *t, const struct metadata_record *r)
{
    CHECK(metadata_record_encode(&t->writer, r));
    t->ends[t->count++] = t->writer.size;
}

static void mark(struct tale *t, int16_t type)
{
    struct metadata_record r;

    metadata_record_init(&r, type, 0);
    put(t, &r);
}

static struct uuid id_of(uint8_t number)
{
    return (struct uuid){{0x70, number}};
}

static void topic(struct tale *t, const char *name, uint8_t number)
{
    struct metadata_record r;

    metadata_record_init(&r, TOPIC_RECORD_KEY, 0);
    r.topic.name = str_from(name);
    r.topic.topic_id = id_of(number);
    put(t, &r);
}

static void partition(struct tale *t, uint8_t number, int32_t index)
{
    static int32_t replicas[] = {1, 2};
    static struct uuid dirs[] = {{{1}}, {{2}}};
    struct metadata_record r;

    metadata_record_init(&r, PARTITION_RECORD_KEY, 2);
    r.partition.partition_id = index;
    r.partition.topic_id = id_of(number);
    r.partition.replicas = r.partition.isr = replicas;
    r.partition.replicas_count = r.partition.isr_count = 2;
    r.partition.directories = dirs;
    r.partition.directories_count = 2;
    r.partition.leader = 1;
    r.partition.leader_epoch = 3;
    r.partition.partition_epoch = 9;
    put(t, &r);
}

static struct status commit(struct tale *t)
{
    struct bytes values[64];
    struct metadata_batch batch = {t->next_offset, 4, 777, values, t->count};
    struct status st;
    size_t start = 0;

    for (size_t i = 0; i < t->count; i++) {
        values[i] = (struct bytes){t->writer.data + start, t->ends[i] - start};
        start = t->ends[i];
    }
    st = metadata_loader_apply(t->loader, &batch);
    t->next_offset += (int64_t)t->count;
    t->count = 0;
    writer_reset(&t->writer);
    return st;
}

static bool publish(struct tale *t)
{
    const struct metadata_image *image;
    const struct metadata_delta *delta;

    if (!metadata_loader_publish(t->loader, &image, &delta))
        return false;
    metadata_image_release(t->image);
    metadata_delta_release(t->delta);
    t->image = image;
    t->delta = delta;
    return true;
}

static void committed(struct tale *t)
{
    assert_int_equal(commit(t).code, KERR_NONE);
    assert_true(publish(t));
}

static bool there(struct tale *t, const char *name)
{
    return metadata_image_topic(t->image, str_from(name)) != NULL;
}

/* ---- stories ---- */

static void topic_shows_with_all_its_partitions(void **state)
{
    struct tale *t = *state;
    const struct metadata_partition *p;

    topic(t, "a", 1);
    partition(t, 1, 0);
    partition(t, 1, 1);
    committed(t);
    p = metadata_topic_partition(metadata_image_topic(t->image, STR("a")), 1);
    assert_int_equal(p->leader_epoch, 3);
    assert_int_equal(p->partition_epoch, 9);
    assert_int_equal(p->replicas.ids[1], 2);
    assert_int_equal(p->directories[1].bytes[0], 2);
    assert_null(metadata_topic_partition(metadata_image_topic(t->image, STR("a")), 2));
    assert_null(metadata_topic_partition(metadata_image_topic(t->image, STR("a")), -1));
    assert_int_equal(metadata_image_offset(t->image), 2);
    assert_int_equal(metadata_image_epoch(t->image), 4);
    assert_int_equal(metadata_image_timestamp_ms(t->image), 777);
    assert_false(publish(t));
}

static void what_did_not_change_is_the_very_same_object(void **state)
{
    struct tale *t = *state;
    const struct metadata_image *first;
    const struct metadata_topic *a, *b;
    struct metadata_record r;

    topic(t, "a", 1);
    partition(t, 1, 0);
    topic(t, "b", 2);
    partition(t, 2, 0);
    partition(t, 2, 1);
    committed(t);
    first = metadata_image_acquire(t->image);
    a = metadata_image_topic(first, STR("a"));
    b = metadata_image_topic(first, STR("b"));
    metadata_record_init(&r, PARTITION_CHANGE_RECORD_KEY, 2);
    r.partition_change.topic_id = id_of(2);
    r.partition_change.partition_id = 1;
    r.partition_change.leader = 2;
    put(t, &r);
    committed(t);
    assert_ptr_equal(metadata_image_topic(t->image, STR("a")), a);
    assert_ptr_not_equal(metadata_image_topic(t->image, STR("b")), b);
    assert_ptr_equal(metadata_image_topic(t->image, STR("b"))->partitions[0], b->partitions[0]);
    assert_ptr_equal(metadata_image_topic(t->image, STR("b"))->config, b->config);
    assert_int_equal(b->partitions[1]->leader, 1);
    assert_int_equal(metadata_image_topic(t->image, STR("b"))->partitions[1]->leader, 2);
    assert_int_equal(metadata_image_topic(t->image, STR("b"))->partitions[1]->leader_epoch, 4);
    assert_int_equal(metadata_image_topic(t->image, STR("b"))->partitions[1]->partition_epoch, 10);
    assert_int_equal(t->delta->changed_topic_count, 1);
    metadata_image_release(first);
}

static void transaction_shows_only_when_it_ends(void **state)
{
    struct tale *t = *state;

    topic(t, "before", 1);
    committed(t);
    mark(t, BEGIN_TRANSACTION_RECORD_KEY);
    topic(t, "within", 2);
    assert_int_equal(commit(t).code, KERR_NONE);
    assert_true(metadata_loader_in_transaction(t->loader));
    assert_false(publish(t));
    partition(t, 2, 0);
    mark(t, END_TRANSACTION_RECORD_KEY);
    committed(t);
    assert_true(there(t, "within"));
    assert_int_equal(t->delta->changed_topic_count, 1);
}

static void aborted_transaction_never_was(void **state)
{
    struct tale *t = *state;

    topic(t, "before", 1);
    mark(t, BEGIN_TRANSACTION_RECORD_KEY);
    topic(t, "within", 2);
    committed(t); /* what came before the transaction shows */
    assert_true(there(t, "before"));
    assert_false(there(t, "within"));
    mark(t, ABORT_TRANSACTION_RECORD_KEY);
    topic(t, "after", 3);
    committed(t);
    assert_false(there(t, "within"));
    assert_true(there(t, "before") && there(t, "after"));
    assert_int_equal(t->delta->changed_topic_count, 1);
    assert_int_equal(metadata_image_offset(t->image), 4);
}

static void transactions_out_of_place_are_damage(void **state)
{
    struct tale *t = *state;

    mark(t, END_TRANSACTION_RECORD_KEY);
    assert_int_equal(commit(t).code, KERR_CORRUPT_MESSAGE);
    mark(t, ABORT_TRANSACTION_RECORD_KEY);
    assert_int_equal(commit(t).code, KERR_CORRUPT_MESSAGE);
    mark(t, BEGIN_TRANSACTION_RECORD_KEY);
    mark(t, BEGIN_TRANSACTION_RECORD_KEY);
    assert_int_equal(commit(t).code, KERR_CORRUPT_MESSAGE);
}

static enum kerr of_frame(struct tale *t, const void *frame, size_t size)
{
    struct bytes value = {frame, size};
    struct metadata_batch batch = {t->next_offset, 4, 777, &value, 1};

    return metadata_loader_apply(t->loader, &batch).code;
}

/* As in Apache Kafka, what is not understood must not be passed over. */
static void unknown_and_damaged_records_are_fatal(void **state)
{
    struct tale *t = *state;

    assert_int_equal(of_frame(t, "\x00\x14\x00\x00", 4), KERR_UNSUPPORTED_VERSION);
    assert_int_equal(of_frame(t, "\x01\x1e\x00\x00", 4), KERR_UNSUPPORTED_VERSION);
    assert_int_equal(of_frame(t, "\x01\x06\x00\x00", 4), KERR_UNSUPPORTED_VERSION);
    assert_int_equal(of_frame(t, "\x01\x14\x01\x00", 4), KERR_UNSUPPORTED_VERSION);
    assert_int_equal(of_frame(t, "\x01\x14\x00\x00\x00", 5), KERR_CORRUPT_MESSAGE);
    assert_int_equal(of_frame(t, "\x01\x14\x00", 3), KERR_CORRUPT_MESSAGE);
    assert_int_equal(of_frame(t, "\x01", 1), KERR_CORRUPT_MESSAGE);
    assert_int_equal(of_frame(t, NULL, 0), KERR_CORRUPT_MESSAGE);
    assert_int_equal(of_frame(t, "\x01\x14\x00\x00", 4), KERR_NONE);
}

static void records_that_contradict_the_image_are_damage(void **state)
{
    struct tale *t = *state;

    topic(t, "a", 1);
    partition(t, 1, 0);
    committed(t);
    topic(t, "a", 2);
    assert_int_equal(commit(t).code, KERR_CORRUPT_MESSAGE);
    topic(t, "b", 1);
    assert_int_equal(commit(t).code, KERR_CORRUPT_MESSAGE);
    partition(t, 9, 0);
    assert_int_equal(commit(t).code, KERR_CORRUPT_MESSAGE);
    partition(t, 1, -1);
    assert_int_equal(commit(t).code, KERR_CORRUPT_MESSAGE);
    partition(t, 1, INT32_MAX);
    assert_int_equal(commit(t).code, KERR_CORRUPT_MESSAGE);
    partition(t, 1, 2); /* and no 1 */
    assert_int_equal(commit(t).code, KERR_CORRUPT_MESSAGE);
}

static void partitions_may_come_in_any_order_within_a_batch(void **state)
{
    struct tale *t = *state;

    topic(t, "a", 1);
    partition(t, 1, 2);
    partition(t, 1, 0);
    partition(t, 1, 1);
    committed(t);
    assert_int_equal(metadata_image_partition_count(t->image), 3);
}

/* ---- snapshots ---- */

static struct tale reloaded(struct tale *from)
{
    struct tale t = {.given = config_values_create()};
    struct metadata_dump *d = metadata_dump_create(from->image);
    const struct bytes *values;
    size_t count;

    t.loader = metadata_loader_create(1, t.given);
    writer_init(&t.writer, SIZE_MAX);
    metadata_loader_begin_snapshot(t.loader);
    for (metadata_dump_next(d, &values, &count); count > 0; metadata_dump_next(d, &values, &count))
        assert_int_equal(metadata_loader_apply_snapshot(t.loader, values, count).code, KERR_NONE);
    assert_int_equal(
        metadata_loader_end_snapshot(
            t.loader, (struct snapshot_position){metadata_image_offset(from->image), 4, 777})
            .code,
        KERR_NONE);
    assert_true(publish(&t));
    metadata_dump_free(d);
    return t;
}

static void others(struct tale *t, const char *user, int8_t mechanism, bool remove)
{
    struct metadata_record r;

    metadata_record_init(
        &r, remove ? REMOVE_USER_SCRAM_CREDENTIAL_RECORD_KEY : USER_SCRAM_CREDENTIAL_RECORD_KEY, 0);
    if (remove) {
        r.remove_user_scram_credential.name = str_from(user);
        r.remove_user_scram_credential.mechanism = mechanism;
    } else {
        r.user_scram_credential.name = str_from(user);
        r.user_scram_credential.mechanism = mechanism;
        r.user_scram_credential.iterations = 4096;
    }
    put(t, &r);
}

static void quota(struct tale *t, const char *user, double value, bool remove)
{
    struct client_quota_record_entity_data entity = {STR("user"), str_from(user)};
    struct metadata_record r;

    metadata_record_init(&r, CLIENT_QUOTA_RECORD_KEY, 0);
    r.client_quota.entity = &entity;
    r.client_quota.entity_count = 1;
    r.client_quota.key = STR("producer_byte_rate");
    r.client_quota.value = value;
    r.client_quota.remove = remove;
    put(t, &r);
}

static void config(struct tale *t, int8_t type, const char *resource, const char *name,
                   const char *value)
{
    struct metadata_record r;

    metadata_record_init(&r, CONFIG_RECORD_KEY, 0);
    r.config.resource_type = type;
    r.config.resource_name = str_from(resource);
    r.config.name = str_from(name);
    r.config.value = str_from(value);
    put(t, &r);
}

static void broker(struct tale *t, int32_t id)
{
    static struct register_broker_record_broker_endpoint ep = {{"L", 1}, {"h", 1}, 9, 1};
    static struct register_broker_record_broker_feature feature = {{"metadata.version", 16}, 7, 33};
    static struct uuid dirs[2] = {{{9}}, {{8}}};
    struct metadata_record r;

    metadata_record_init(&r, REGISTER_BROKER_RECORD_KEY, 4);
    r.register_broker.broker_id = id;
    r.register_broker.broker_epoch = t->next_offset;
    r.register_broker.end_points = &ep;
    r.register_broker.end_points_count = 1;
    r.register_broker.features = &feature;
    r.register_broker.features_count = 1;
    r.register_broker.rack = id == 2 ? STR("az2") : STR_NULL;
    r.register_broker.log_dirs = dirs;
    r.register_broker.log_dirs_count = 2;
    put(t, &r);
}

static void feature(struct tale *t, const char *name, int16_t level)
{
    struct metadata_record r;

    metadata_record_init(&r, FEATURE_LEVEL_RECORD_KEY, 0);
    r.feature_level.name = str_from(name);
    r.feature_level.feature_level = level;
    put(t, &r);
}

/* Everything that a cluster can hold goes through a snapshot and comes back. */
static void image_survives_being_turned_into_records(void **state)
{
    struct tale *t = *state, again;
    const struct metadata_broker *b;

    feature(t, "group.version", 1);
    feature(t, "metadata.version", 33);
    feature(t, "share.version", 2);
    feature(t, "gone.version", 1);
    feature(t, "gone.version", 0);
    broker(t, 2);
    broker(t, 1);
    topic(t, "a", 1);
    partition(t, 1, 0);
    topic(t, "b", 2);
    config(t, CONFIG_RESOURCE_TOPIC, "a", "retention.ms", "5");
    config(t, CONFIG_RESOURCE_TOPIC, "a", "segment.ms", "6");
    config(t, CONFIG_RESOURCE_TOPIC, "a", "segment.ms", NULL);
    config(t, CONFIG_RESOURCE_BROKER, "", "log.retention.ms", "50");
    config(t, CONFIG_RESOURCE_GROUP, "g", "consumer.session.timeout.ms", "45000");
    others(t, "ann", 1, false);
    others(t, "bob", 1, false);
    others(t, "bob", 2, false);
    others(t, "bob", 1, true);
    quota(t, "ann", 1, false);
    quota(t, "ann", 2, false);
    quota(t, NULL, 3, false);
    quota(t, "ben", 4, false);
    quota(t, "ben", 0, true);
    committed(t);
    again = reloaded(t);
    assert_true(images_equal(t->image, again.image));
    assert_int_equal(metadata_image_broker_count(again.image), 2);
    assert_int_equal(metadata_image_broker_at(again.image, 0)->id, 1);
    b = metadata_image_broker(again.image, 2);
    assert_int_equal(b->rack.size, 3);
    assert_int_equal(b->log_dirs[0].bytes[0], 8);
    assert_int_equal(metadata_broker_listener(b, STR("L"))->port, 9);
    assert_null(metadata_broker_listener(b, STR("M")));
    assert_int_equal(metadata_image_feature_count(again.image), 3);
    assert_int_equal(metadata_image_feature_level(again.image, STR("gone.version")), 0);
    assert_int_equal(metadata_image_topic(again.image, STR("a"))->config->settings.log.retention_ms,
                     5);
    assert_int_equal(metadata_image_topic(again.image, STR("b"))->config->settings.log.retention_ms,
                     50);
    assert_true(again.delta->snapshot);
    tear_down((void *[]){&again});
}

/* The first record tells how to read the rest. */
static void dump_begins_with_the_metadata_version(void **state)
{
    struct tale *t = *state;
    struct metadata_dump *d;
    const struct bytes *values;
    size_t count;

    feature(t, "group.version", 1);
    feature(t, "metadata.version", 33);
    committed(t);
    d = metadata_dump_create(t->image);
    metadata_dump_next(d, &values, &count);
    assert_int_equal(count, 2);
    assert_memory_equal(values[0].data, "\x01\x0c\x00\x11metadata.version\x00\x21\x00",
                        values[0].size);
    metadata_dump_next(d, &values, &count);
    assert_int_equal(count, 0);
    metadata_dump_free(d);
}

static void snapshot_replaces_everything(void **state)
{
    struct tale *t = *state;
    struct bytes value;

    topic(t, "old", 1);
    topic(t, "kept", 2);
    partition(t, 2, 0);
    committed(t);
    metadata_loader_begin_snapshot(t->loader);
    topic(t, "kept", 2);
    value = (struct bytes){t->writer.data, t->writer.size};
    assert_int_equal(metadata_loader_apply_snapshot(t->loader, &value, 1).code, KERR_NONE);
    metadata_loader_end_snapshot(t->loader, (struct snapshot_position){99, 7, 888});
    assert_true(publish(t));
    assert_false(there(t, "old"));
    assert_int_equal(metadata_image_topic(t->image, STR("kept"))->partition_count, 0);
    assert_int_equal(t->delta->removed_topic_count, 1);
    assert_string_equal(t->delta->removed_topics[0].name.data, "old");
    assert_int_equal(t->delta->changed_topic_count, 1);
    assert_int_equal(metadata_image_offset(t->image), 99);
}

static void topic_that_is_gone_and_there_again_is_told_as_both(void **state)
{
    struct tale *t = *state;
    struct metadata_record r;

    topic(t, "a", 1);
    committed(t);
    metadata_record_init(&r, REMOVE_TOPIC_RECORD_KEY, 0);
    r.remove_topic.topic_id = id_of(1);
    put(t, &r);
    topic(t, "a", 2);
    committed(t);
    assert_int_equal(t->delta->removed_topic_count, 1);
    assert_int_equal(t->delta->changed_topic_count, 1);
    assert_true(uuid_equal(t->delta->changed_topics[0], id_of(2)));
}

static void brokers_change_by_records(void **state)
{
    struct tale *t = *state;
    struct uuid dirs[1] = {{{7}}};
    struct metadata_record r;

    broker(t, 1);
    committed(t);
    assert_true(t->delta->brokers_changed);
    assert_true(metadata_image_broker(t->image, 1)->fenced);
    metadata_record_init(&r, BROKER_REGISTRATION_CHANGE_RECORD_KEY, 3);
    r.broker_registration_change.broker_id = 1;
    r.broker_registration_change.fenced = -1;
    r.broker_registration_change.in_controlled_shutdown = 1;
    r.broker_registration_change.log_dirs = dirs;
    r.broker_registration_change.log_dirs_count = 1;
    put(t, &r);
    committed(t);
    assert_false(metadata_image_broker(t->image, 1)->fenced);
    assert_true(metadata_image_broker(t->image, 1)->in_controlled_shutdown);
    assert_int_equal(metadata_image_broker(t->image, 1)->log_dir_count, 1);
    metadata_record_init(&r, FENCE_BROKER_RECORD_KEY, 0);
    r.fence_broker.id = 1;
    put(t, &r);
    committed(t);
    assert_true(metadata_image_broker(t->image, 1)->fenced);
    metadata_record_init(&r, UNREGISTER_BROKER_RECORD_KEY, 0);
    r.unregister_broker.broker_id = 1;
    r.unregister_broker.broker_epoch = 5; /* another life's */
    put(t, &r);
    assert_int_equal(commit(t).code, KERR_CORRUPT_MESSAGE);
    r.unregister_broker.broker_epoch = 0;
    put(t, &r);
    committed(t);
    assert_null(metadata_image_broker(t->image, 1));
}

/* A shard that follows the metadata: it lets each image go while the next one is made from it. */
struct shard_like {
    _Atomic(const struct metadata_image *) next;
    atomic_bool over;
};

static void *let_images_go(void *arg)
{
    struct shard_like *s = arg;

    while (!atomic_load(&s->over)) {
        const struct metadata_image *img = atomic_exchange(&s->next, NULL);

        for (int i = 0; img && i < 50; i++) /* as often as messages carry it */
            metadata_image_release(metadata_image_acquire(img));
        metadata_image_release(img);
    }
    metadata_image_release(atomic_exchange(&s->next, NULL));
    return NULL;
}

/* What an image shares with the next one is counted by several threads at once; ThreadSanitizer
 * judges. */
static void images_are_let_go_by_others_while_the_next_is_made(void **state)
{
    struct tale *t = *state;
    struct shard_like shard = {NULL};
    struct metadata_record r;
    pthread_t thread;

    broker(t, 1);
    topic(t, "a", 1);
    for (int32_t i = 0; i < 3; i++)
        partition(t, 1, i);
    committed(t);
    assert_int_equal(pthread_create(&thread, NULL, let_images_go, &shard), 0);
    for (int i = 0; i < 6000; i++) {
        metadata_record_init(&r, PARTITION_CHANGE_RECORD_KEY, 2);
        r.partition_change.topic_id = id_of(1);
        r.partition_change.partition_id = i % 3;
        r.partition_change.leader = 1 + i % 2;
        put(t, &r);
        metadata_record_init(&r, i % 2 ? FENCE_BROKER_RECORD_KEY : UNFENCE_BROKER_RECORD_KEY, 0);
        if (i % 2)
            r.fence_broker.id = 1;
        else
            r.unfence_broker.id = 1;
        put(t, &r);
        committed(t);
        metadata_image_release(atomic_exchange(&shard.next, metadata_image_acquire(t->image)));
    }
    atomic_store(&shard.over, true);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_true(metadata_image_broker(t->image, 1)->fenced);
    assert_int_equal(
        metadata_topic_partition(metadata_image_topic(t->image, STR("a")), 0)->partition_epoch,
        9 + 2000);
}

/* Older clusters wrote no directories: the brokers are asked. */
static void partition_without_directories_has_them_unknown(void **state)
{
    struct tale *t = *state;
    struct metadata_record r;
    int32_t replicas[] = {1, 2};

    topic(t, "a", 1);
    metadata_record_init(&r, PARTITION_RECORD_KEY, 0);
    r.partition.topic_id = id_of(1);
    r.partition.partition_id = 0;
    r.partition.replicas = replicas;
    r.partition.replicas_count = 2;
    put(t, &r);
    committed(t);
    assert_true(uuid_equal(metadata_image_topic(t->image, STR("a"))->partitions[0]->directories[1],
                           DIRECTORY_MIGRATING));
}

int main(void)
{
#define STORY(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        STORY(topic_shows_with_all_its_partitions),
        STORY(what_did_not_change_is_the_very_same_object),
        STORY(transaction_shows_only_when_it_ends),
        STORY(aborted_transaction_never_was),
        STORY(transactions_out_of_place_are_damage),
        STORY(unknown_and_damaged_records_are_fatal),
        STORY(records_that_contradict_the_image_are_damage),
        STORY(partitions_may_come_in_any_order_within_a_batch),
        STORY(image_survives_being_turned_into_records),
        STORY(dump_begins_with_the_metadata_version),
        STORY(snapshot_replaces_everything),
        STORY(topic_that_is_gone_and_there_again_is_told_as_both),
        STORY(brokers_change_by_records),
        STORY(images_are_let_go_by_others_while_the_next_is_made),
        STORY(partition_without_directories_has_them_unknown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
