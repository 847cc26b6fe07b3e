/* What a replica of __consumer_offsets does to the state store: logs, marks, damage, in virtual
 * time. */
#include "tests/unit/test.h"

#include <stdio.h>
#include <errno.h>
#include <stdlib.h>

#include "broker/coordinator/applier.h"
#include "protocol/group_record.h"
#include "protocol/record_batch_build.h"
#include "replication/partition_follow.h"
#include "storage/files_sim.h"
#include "storage/flusher.h"
#include "storage/group_state.h"
#include "storage/state_store_sim.h"
#include "tests/unit/replication/test_loop.h"

#define PARTITION 3
#define DIRECTORY "data/__consumer_offsets-3"
#define NOTHING   (-1)

struct world {
    struct test_loop loop;
    struct files *files;
    struct compression_scratch *scratch;
    struct log_config config;
    struct partition_env partition_env;
    struct applier_env applier_env;
    struct flusher *flusher;
    struct partition *partition;
    struct partition_watcher watcher; /* the coordinator's */
    struct state_store *store;
    struct applier *applier;
    struct record_batch_builder builder;
    struct uuid topic_id;
    int32_t epoch;
    int moves;
    int failures; /* of the store, told by the applier */
    size_t wrote;
    int jobs;
    uint64_t random;
    unsigned tells; /* of so many appends in a row, one is not told to the applier; 0: none is
                     * told */
    unsigned appends;
};

/* ---- what the applier is told and tells ---- */

static void on_moved(void *owner, struct applier *a)
{
    (void)a;
    ((struct world *)owner)->moves++;
}

/* As the node does: the store is reset, and everybody is told. */
static void on_store_failed(void *arg, uint64_t generation)
{
    struct world *w = arg;
    struct state_store_report report;

    w->failures++;
    if (generation != state_store_generation(w->store))
        return;
    assert_int_equal(state_store_reset(w->store, &report).code, KERR_NONE);
    applier_store_ready(w->applier, w->store);
}

static void on_wrote(void *arg, size_t size)
{
    ((struct world *)arg)->wrote += size;
}

static void on_job_started(void *arg)
{
    ((struct world *)arg)->jobs++;
}

static void on_job_ended(void *arg)
{
    ((struct world *)arg)->jobs--;
}

static void on_storage_failed(void *arg, struct partition *p, struct status why)
{
    (void)arg;
    (void)p;
    (void)why;
}

static void on_stopped(void *arg, struct partition *p)
{
    (void)arg;
    (void)p;
}

/* ---- the world ---- */

static void settle(struct world *w)
{
    test_loop_run(&w->loop, 50);
}

static void open_partition(struct world *w)
{
    struct log_recovery_report report;
    const struct log_args args = {
        .files = w->files,
        .clock = &w->loop.clock,
        .directory = DIRECTORY,
        .topic_id = w->topic_id,
        .config = &w->config,
        .producer_id_expiration_ms = 86400000,
        .scratch = w->scratch,
        .trust = LOG_TRUST_SAME_BOOT,
    };
    const int32_t self = 1;
    const struct partition_assignment assignment = {
        .leader_id = 1,
        .leader_epoch = ++w->epoch,
        .membership = {.self_id = 1,
                       .replicas = &self,
                       .replica_count = 1,
                       .isr = &self,
                       .isr_count = 1,
                       .min_insync_replicas = 1},
        .config = &w->config,
    };
    struct log *log;

    assert_int_equal(log_open(&args, &log, &report).code, KERR_NONE);
    w->partition =
        partition_create(&w->partition_env, STR("__consumer_offsets"), w->topic_id, PARTITION);
    partition_opened(w->partition, log, STATUS_OK, 0, w->flusher);
    partition_assign(w->partition, &assignment);
}

static void close_partition(struct world *w)
{
    partition_stop(w->partition, KERR_NOT_LEADER_OR_FOLLOWER);
    assert_int_equal(log_close(partition_free(w->partition), false).code, KERR_NONE);
    w->partition = NULL;
}

static void on_partition_changed(struct partition_watcher *watcher)
{
    applier_poke(CONTAINER_OF(watcher, struct world, watcher)->applier);
}

static void stop_applier(struct world *w)
{
    partition_unwatch(&w->watcher);
    applier_free(w->applier);
}

static void start_applier(struct world *w)
{
    w->applier = applier_create(&w->applier_env, w->partition, STATE_TOPIC_CONSUMER_OFFSETS, w);
    assert_non_null(w->applier);
    w->watcher.changed = on_partition_changed;
    partition_watch(w->partition, &w->watcher);
    applier_store_ready(w->applier, w->store);
}

static void world_start(struct world *w, unsigned would_block_per_mille)
{
    *w = (struct world){
        .config = {.retention_ms = -1,
                   .retention_bytes = -1,
                   .segment_ms = 7 * 24 * 3600 * 1000LL,
                   .segment_bytes = 1 << 20,
                   .segment_index_bytes = 1 << 20,
                   .index_interval_bytes = 4096,
                   .max_message_bytes = 1 << 20,
                   .max_decompressed_message_bytes = 8 << 20,
                   .flush_messages = INT64_MAX,
                   .flush_ms = INT64_MAX,
                   .message_timestamp_before_max_ms = INT64_MAX,
                   .message_timestamp_after_max_ms = INT64_MAX,
                   .cleanup_delete = true,
                   .compression_type = LOG_COMPRESSION_PRODUCER},
        .topic_id = {{7}},
        .random = 1,
    };
    test_loop_init(&w->loop);
    w->files = files_sim_create(&w->loop.clock);
    w->scratch = compression_scratch_new();
    w->partition_env = (struct partition_env){.loop = &w->loop.loop,
                                              .pool = &w->loop.pool,
                                              .files = w->files,
                                              .clock = &w->loop.clock,
                                              .node_id = 1,
                                              .flush_before_ack = true,
                                              .storage_failed = on_storage_failed,
                                              .stopped = on_stopped};
    w->applier_env = (struct applier_env){.loop = &w->loop.loop,
                                          .pool = &w->loop.pool,
                                          .scratch = w->scratch,
                                          .moved = on_moved,
                                          .store_failed = on_store_failed,
                                          .wrote = on_wrote,
                                          .job_started = on_job_started,
                                          .job_ended = on_job_ended,
                                          .arg = w};
    assert_int_equal(w->files->ops->make_directory(w->files, "data").code, KERR_NONE);
    w->flusher = flusher_create(&(struct flusher_args){
        .loop = &w->loop.loop, .pool = &w->loop.pool, .files = w->files, .directory = "data"});
    w->store = state_store_sim_create(&(struct state_store_sim_options){
        .seed = 7, .would_block_per_mille = would_block_per_mille});
    record_batch_builder_init(&w->builder);
    open_partition(w);
    start_applier(w);
    settle(w);
}

static void world_end(struct world *w)
{
    stop_applier(w);
    settle(w);
    assert_int_equal(w->jobs, 0);
    close_partition(w);
    flusher_free(w->flusher);
    record_batch_builder_free(&w->builder);
    state_store_close(w->store);
    compression_scratch_free(w->scratch);
    files_sim_free(w->files);
}

/* The process dies and comes back; of the store a crash keeps what it likes. */
static void restart(struct world *w)
{
    stop_applier(w);
    settle(w);
    close_partition(w);
    state_store_sim_crash(w->store);
    open_partition(w);
    start_applier(w);
    settle(w);
}

/* ---- records ---- */

static void begin(struct world *w, enum compression_type compression, uint16_t attributes,
                  int64_t producer_id)
{
    struct record_batch_head head = RECORD_BATCH_HEAD_PLAIN;

    head.compression = compression;
    head.compression_level = compression_levels(compression).initial;
    head.attributes = attributes;
    head.producer_id = producer_id;
    head.producer_epoch = producer_id < 0 ? -1 : 0;
    record_batch_builder_begin(&w->builder, &head);
}

/* offset NOTHING: a tombstone. */
static void add_offset(struct world *w, const char *group, int32_t index, int64_t offset)
{
    struct record_content content = {.timestamp_ms = 1};
    struct writer key, value;
    struct group_record r;

    group_record_init(&r, GROUP_RECORD_OFFSET_COMMIT);
    r.tombstone = offset == NOTHING;
    r.key.offset_commit.group = str_from(group);
    r.key.offset_commit.topic = STR("orders");
    r.key.offset_commit.partition = index;
    r.value.offset_commit.offset = offset;
    writer_init(&key, 1 << 20);
    writer_init(&value, 1 << 20);
    assert_true(group_record_encode(&r, &key, &value));
    content.key = (struct bytes){key.data, key.size};
    if (!r.tombstone)
        content.value = (struct bytes){value.data, value.size};
    record_batch_builder_append(&w->builder, &content);
    writer_free(&key);
    writer_free(&value);
}

static void append(struct world *w)
{
    struct log_appended appended;
    struct bytes_mut batch;

    assert_int_equal(record_batch_builder_finish(&w->builder, w->scratch, &batch).code, KERR_NONE);
    assert_int_equal(partition_append_own(w->partition, batch, &appended).code, KERR_NONE);
    if (w->tells > 0 && w->appends++ % w->tells != 0)
        applier_appended(w->applier, (struct bytes){batch.data, batch.size});
}

static void commit(struct world *w, const char *group, int32_t index, int64_t offset)
{
    begin(w, COMPRESSION_NONE, 0, NO_PRODUCER_ID);
    add_offset(w, group, index, offset);
    append(w);
}

static void transactional(struct world *w, int64_t producer_id, int32_t index, int64_t offset)
{
    begin(w, COMPRESSION_NONE, RECORD_BATCH_TRANSACTIONAL, producer_id);
    w->builder.head.base_sequence = 0;
    add_offset(w, "g", index, offset);
    append(w);
}

static void end_transaction(struct world *w, int64_t producer_id, enum control_type type)
{
    static const uint8_t value[6] = {0};

    begin(w, COMPRESSION_NONE, RECORD_BATCH_TRANSACTIONAL | RECORD_BATCH_CONTROL, producer_id);
    record_batch_builder_append_control(&w->builder, type, 1, (struct bytes){value, sizeof value});
    append(w);
}

static int64_t stored(struct world *w, const char *group, int32_t index)
{
    struct group_state_offset o;
    struct arena a;
    bool found;

    arena_init(&a, 1 << 20);
    assert_int_equal(group_state_get_offset(w->store, PARTITION, str_from(group), STR("orders"),
                                            index, &a, &o, &found, NULL)
                         .code,
                     KERR_NONE);
    arena_free(&a);
    return found ? o.offset : NOTHING;
}

static struct state_mark mark(struct world *w)
{
    struct state_mark m = {0};
    bool found;

    assert_int_equal(
        state_store_get_mark(w->store,
                             (struct state_partition){STATE_TOPIC_CONSUMER_OFFSETS, PARTITION}, &m,
                             &found, NULL)
            .code,
        KERR_NONE);
    assert_true(found);
    return m;
}

/* Something that no record of the log says, under a mark of one's choice. */
static void plant(struct world *w, const struct state_mark *m)
{
    struct state_batch *b = state_batch_new(w->store);
    struct group_record r;
    struct arena a;

    arena_init(&a, 1 << 20);
    group_record_init(&r, GROUP_RECORD_OFFSET_COMMIT);
    r.key.offset_commit.group = STR("planted");
    r.key.offset_commit.topic = STR("orders");
    r.value.offset_commit.offset = 99;
    assert_int_equal(group_state_apply(b, PARTITION, &r, &a), KERR_NONE);
    if (m)
        state_batch_set_mark(b, (struct state_partition){STATE_TOPIC_CONSUMER_OFFSETS, PARTITION},
                             m);
    assert_int_equal(state_batch_commit(b, NULL).code, KERR_NONE);
    assert_int_equal(state_store_flush(w->store).code, KERR_NONE);
    state_batch_free(b);
    arena_free(&a);
}

/* ---- the tests ---- */

static void committed_records_reach_the_store_with_their_mark(void **state)
{
    static struct world w;
    (void)state;

    world_start(&w, 0);
    commit(&w, "g", 0, 5);
    commit(&w, "g", 1, 6);
    settle(&w);
    assert_int_equal(stored(&w, "g", 0), 5);
    assert_int_equal(stored(&w, "g", 1), 6);
    assert_int_equal(applier_applied(w.applier), 2);
    assert_int_equal(mark(&w).offset, 2);
    assert_int_equal(mark(&w).leader_epoch, w.epoch);
    assert_true(uuid_equal(mark(&w).topic_id, w.topic_id));
    commit(&w, "g", 0, NOTHING);
    settle(&w);
    assert_int_equal(stored(&w, "g", 0), NOTHING);
    assert_true(w.wrote > 0);
    world_end(&w);
}

static void records_above_the_high_watermark_wait(void **state)
{
    static struct world w;
    (void)state;

    world_start(&w, 0);
    w.loop.pool_stuck = true; /* no flush: the watermark stands still */
    commit(&w, "g", 0, 5);
    settle(&w);
    assert_int_equal(stored(&w, "g", 0), NOTHING);
    assert_int_equal(applier_applied(w.applier), 0);
    w.loop.pool_stuck = false;
    settle(&w);
    assert_int_equal(stored(&w, "g", 0), 5);
    world_end(&w);
}

/* What the leader wrote itself is still in its hands. */
static void told_appends_are_applied_without_reading_the_log(void **state)
{
    static struct world w;
    uint64_t reads;
    (void)state;

    world_start(&w, 0);
    w.tells = 1000;
    commit(&w, "g", 0, 1); /* not told */
    settle(&w);
    reads = files_sim_calls(w.files, FILES_CALL_READ);
    for (int i = 0; i < 100; i++) {
        commit(&w, "g", i % 8, 100 + i);
        if (i % 7 == 0)
            settle(&w);
    }
    settle(&w);
    assert_int_equal(files_sim_calls(w.files, FILES_CALL_READ), reads);
    for (int i = 92; i < 100; i++)
        assert_int_equal(stored(&w, "g", i % 8), 100 + i);
    assert_int_equal(mark(&w).offset, 101);
    assert_int_equal(mark(&w).leader_epoch, w.epoch);
    world_end(&w);
}

static void told_appends_beyond_their_room_are_read(void **state)
{
    static struct world w;
    (void)state;

    world_start(&w, 0);
    w.tells = 1000;
    w.loop.pool_stuck = true; /* no flush: the watermark stands still */
    for (int i = 0; i < 4000; i++)
        commit(&w, "g", i % 8, i);
    w.loop.pool_stuck = false;
    settle(&w);
    for (int i = 3992; i < 4000; i++)
        assert_int_equal(stored(&w, "g", i % 8), i);
    assert_int_equal(applier_applied(w.applier), 4000);
    world_end(&w);
}

/* A batch as the applier may have been told of it, which the log does not have. */
static void tell_of(struct world *w, int64_t base_offset, int32_t epoch, int64_t says)
{
    struct bytes_mut batch;

    begin(w, COMPRESSION_NONE, 0, NO_PRODUCER_ID);
    add_offset(w, "g", 0, says);
    assert_int_equal(record_batch_builder_finish(&w->builder, w->scratch, &batch).code, KERR_NONE);
    record_batch_set_base_offset(batch.data, base_offset);
    record_batch_set_leader_epoch(batch.data, epoch);
    applier_appended(w->applier, (struct bytes){batch.data, batch.size});
}

/* Its log may have been cut and written by another leader since. */
static void told_append_of_an_older_epoch_or_elsewhere_in_the_log_does_not_count(void **state)
{
    static struct world w;
    (void)state;

    world_start(&w, 0);
    tell_of(&w, 0, w.epoch - 1, 99);
    commit(&w, "g", 0, 5);
    settle(&w);
    assert_int_equal(stored(&w, "g", 0), 5);
    tell_of(&w, 7, w.epoch, 99);
    commit(&w, "g", 0, 6);
    settle(&w);
    assert_int_equal(stored(&w, "g", 0), 6);
    tell_of(&w, 0, w.epoch, 99);
    commit(&w, "g", 0, 7);
    settle(&w);
    assert_int_equal(stored(&w, "g", 0), 7);
    tell_of(&w, 3, w.epoch, 8); /* as a true one would be */
    commit(&w, "g", 0, 9);
    settle(&w);
    assert_int_equal(stored(&w, "g", 0), 8);
    world_end(&w);
}

static void compressed_batches_count_too(void **state)
{
    static const enum compression_type codecs[] = {COMPRESSION_GZIP, COMPRESSION_SNAPPY,
                                                   COMPRESSION_LZ4, COMPRESSION_ZSTD};
    static struct world w;
    (void)state;

    world_start(&w, 0);
    for (int c = 0; c < 4; c++) {
        begin(&w, codecs[c], 0, NO_PRODUCER_ID);
        for (int i = 0; i < 100; i++)
            add_offset(&w, "g", i, 1000 * c + i);
        append(&w);
        settle(&w);
        assert_int_equal(stored(&w, "g", 99), 1000 * c + 99);
    }
    world_end(&w);
}

static void what_cannot_be_read_is_passed_over(void **state)
{
    static struct world w;
    (void)state;

    world_start(&w, 0);
    begin(&w, COMPRESSION_NONE, 0, NO_PRODUCER_ID);
    record_batch_builder_append(&w.builder,
                                &(struct record_content){.key = {(const uint8_t *)"\x7f\xff", 2}});
    record_batch_builder_append(&w.builder,
                                &(struct record_content){.key = {(const uint8_t *)"\0\1\0", 3}});
    record_batch_builder_append(&w.builder, &(struct record_content){.key = {NULL, 0}});
    add_offset(&w, "g", 0, 5);
    append(&w);
    settle(&w);
    assert_int_equal(stored(&w, "g", 0), 5);
    assert_int_equal(applier_applied(w.applier), 4);
    world_end(&w);
}

/* A value that no record of the log explains is still there afterwards: the prefix was not read
 * again. */
static void restart_reads_only_what_follows_the_mark(void **state)
{
    static struct world w;
    (void)state;

    world_start(&w, 0);
    for (int i = 0; i < 10; i++)
        commit(&w, "g", i, i);
    settle(&w);
    plant(&w, NULL);
    commit(&w, "g", 0, 77);
    restart(&w);
    assert_int_equal(stored(&w, "planted", 0), 99);
    assert_int_equal(stored(&w, "g", 0), 77);
    assert_int_equal(stored(&w, "g", 9), 9);
    assert_int_equal(applier_applied(w.applier), 11);
    world_end(&w);
}

static void mark_that_does_not_fit_the_log_starts_it_over(void **state)
{
    static struct world w;
    struct state_mark marks[4];
    (void)state;

    world_start(&w, 0);
    for (int i = 0; i < 5; i++)
        commit(&w, "g", i, i);
    settle(&w);
    marks[0] = (struct state_mark){{{9}}, 3, w.epoch};          /* another topic's */
    marks[1] = (struct state_mark){w.topic_id, 500, w.epoch};   /* beyond the end */
    marks[2] = (struct state_mark){w.topic_id, 3, w.epoch + 9}; /* an epoch the log never had */
    marks[3] = (struct state_mark){w.topic_id, 3, 0};           /* one from before its first */
    for (int i = 0; i < 4; i++) {
        plant(&w, &marks[i]);
        restart(&w);
        assert_int_equal(stored(&w, "planted", 0), NOTHING);
        for (int k = 0; k < 5; k++)
            assert_int_equal(stored(&w, "g", k), k);
        assert_int_equal(mark(&w).offset, 5);
    }
    world_end(&w);
}

/* Nobody may read what another topic of that name left, even while the new one is empty. */
static void state_of_another_topic_is_gone_before_anything_is_applied(void **state)
{
    static struct world w;
    (void)state;

    world_start(&w, 0);
    plant(&w, &(struct state_mark){{{9}}, 3, 1});
    restart(&w);
    assert_int_equal(stored(&w, "planted", 0), NOTHING);
    assert_int_equal(applier_applied(w.applier), 0);
    w.loop.pool_stuck = true;
    plant(&w, &(struct state_mark){{{9}}, 3, 1});
    state_store_sim_set_would_block(w.store, 1000); /* the drop has to wait */
    stop_applier(&w);
    start_applier(&w);
    settle(&w);
    assert_int_equal(applier_applied(w.applier), -1);
    w.loop.pool_stuck = false;
    settle(&w);
    assert_int_equal(applier_applied(w.applier), 0);
    assert_int_equal(stored(&w, "planted", 0), NOTHING);
    world_end(&w);
}

/* The epochs tell: what was applied from the tail that a new leader does not have is another
 * branch. */
static void mark_of_a_branch_that_was_cut_off_starts_it_over(void **state)
{
    static struct world w;
    struct state_mark m;
    (void)state;

    world_start(&w, 0);
    commit(&w, "g", 0, 1);
    settle(&w);
    m = mark(&w); /* of this epoch … */
    m.offset = 3; /* … and beyond where it ends */
    restart(&w);
    for (int i = 1; i < 4; i++)
        commit(&w, "g", i, i);
    settle(&w);
    plant(&w, &m);
    restart(&w);
    assert_int_equal(stored(&w, "planted", 0), NOTHING);
    assert_int_equal(stored(&w, "g", 3), 3);
    world_end(&w);
}

static void log_that_begins_behind_the_mark_starts_it_over(void **state)
{
    static struct world w;
    (void)state;

    world_start(&w, 0);
    for (int i = 0; i < 6; i++)
        commit(&w, "g", i, i);
    settle(&w);
    plant(&w, &(struct state_mark){w.topic_id, 2, w.epoch});
    assert_int_equal(log_raise_start_offset(w.partition->log, 4).code, KERR_NONE);
    stop_applier(&w);
    start_applier(&w);
    settle(&w);
    assert_int_equal(stored(&w, "planted", 0), NOTHING);
    assert_int_equal(stored(&w, "g", 3), NOTHING);
    assert_int_equal(stored(&w, "g", 5), 5);
    assert_int_equal(applier_applied(w.applier), 6);
    world_end(&w);
}

static void damaged_store_is_reset_and_filled_again(void **state)
{
    static struct world w;
    (void)state;

    world_start(&w, 0);
    for (int i = 0; i < 20; i++)
        commit(&w, "g", i, i);
    settle(&w);
    for (uint64_t calls = 0; calls < 6; calls++) {
        int failures = w.failures;

        state_store_sim_fail_after(w.store, calls, calls % 2 == 0);
        for (int i = 0; i < 10 && w.failures == failures; i++) {
            commit(&w, "g", 0, 100 + i);
            settle(&w);
        }
        assert_true(w.failures > failures);
        settle(&w);
        assert_true(stored(&w, "g", 0) >= 100);
        assert_int_equal(stored(&w, "g", 19), 19);
        assert_int_equal(applier_applied(w.applier), log_end_offset(w.partition->log));
    }
    world_end(&w);
}

/* Each job of the applier comes back after a reset that others asked for. */
static void reset_while_a_job_is_in_the_pool_loses_nothing(void **state)
{
    static struct world w;
    struct state_store_report report;
    (void)state;

    world_start(&w, 1000); /* everything goes to the pool */
    for (int i = 0; i < 20; i++) {
        commit(&w, "g", i, i);
        for (int rounds = 0; rounds < i % 7; rounds++)
            test_loop_round(&w.loop);
        assert_int_equal(state_store_reset(w.store, &report).code, KERR_NONE);
        applier_store_ready(w.applier, w.store);
    }
    settle(&w);
    for (int i = 0; i < 20; i++)
        assert_int_equal(stored(&w, "g", i), i);
    assert_int_equal(w.failures, 0);
    world_end(&w);
}

static void cold_logs_are_read_in_the_pool(void **state)
{
    static struct world w;
    (void)state;

    world_start(&w, 0);
    commit(&w, "g", 0, 5);
    settle(&w);
    state_store_sim_lose(w.store);
    files_sim_set_cold(w.files, true);
    restart(&w);
    assert_int_equal(stored(&w, "g", 0), 5);
    world_end(&w);
}

/* Whichever of its calls fails: nothing of it is left but what a later start reads again. */
static void cold_reads_that_fail_leave_nothing_behind(void **state)
{
    (void)state;

    for (uint64_t after = 0; after < 4; after++) {
        static struct world w;

        world_start(&w, 0);
        commit(&w, "g", 0, 5);
        stop_applier(&w);
        settle(&w);
        state_store_sim_lose(w.store);
        files_sim_set_cold(w.files, true);
        files_sim_fail(w.files, &(struct files_fault){.call = FILES_CALL_READ,
                                                      .after = after,
                                                      .times = 1,
                                                      .sys_errno = EIO});
        start_applier(&w);
        settle(&w);
        files_sim_heal(w.files);
        files_sim_set_cold(w.files, true);
        applier_poke(w.applier);
        settle(&w);
        restart(&w);
        assert_int_equal(stored(&w, "g", 0), 5);
        world_end(&w);
    }
}

/* What is a long way behind gives others their turn between pieces. */
static void one_turn_applies_a_bounded_piece(void **state)
{
    static struct world w;
    char group[1001];
    (void)state;

    memset(group, 'x', sizeof group - 1);
    group[sizeof group - 1] = '\0';
    world_start(&w, 0);
    for (int i = 0; i < 1000; i++) {
        begin(&w, COMPRESSION_NONE, 0, NO_PRODUCER_ID);
        add_offset(&w, group, i, i);
        append(&w);
        if (i % 100 == 99)
            settle(&w);
    }
    settle(&w);
    state_store_sim_lose(w.store);
    stop_applier(&w);
    start_applier(&w);
    w.moves = 0;
    test_loop_round(&w.loop); /* the mark */
    test_loop_round(&w.loop);
    assert_in_range(applier_applied(w.applier), 1, 500);
    settle(&w);
    assert_int_equal(applier_applied(w.applier), 1000);
    assert_true(w.moves >= 4);
    world_end(&w);
}

static void transactions_count_once_they_are_committed(void **state)
{
    static struct world w;
    (void)state;

    world_start(&w, 0);
    transactional(&w, 11, 0, 5);
    end_transaction(&w, 11, CONTROL_COMMIT);
    transactional(&w, 12, 1, 6);
    end_transaction(&w, 12, CONTROL_ABORT);
    settle(&w);
    state_store_sim_lose(w.store);
    restart(&w); /* decided before it is read */
    assert_int_equal(stored(&w, "g", 0), 5);
    assert_int_equal(stored(&w, "g", 1), NOTHING);
    transactional(&w, 13, 2, 7);
    commit(&w, "g", 3, 8);
    settle(&w);
    assert_int_equal(stored(&w, "g", 2), NOTHING); /* open */
    assert_int_equal(stored(&w, "g", 3), 8);
    assert_int_equal(applier_applied(w.applier), 6);
    assert_int_equal(mark(&w).offset, 4); /* so that the next start reads it again */
    end_transaction(&w, 13, CONTROL_COMMIT);
    restart(&w);
    assert_int_equal(stored(&w, "g", 2), 7);
    assert_int_equal(stored(&w, "g", 3), 8);
    world_end(&w);
}

static void partition_may_go_while_a_job_is_in_the_pool(void **state)
{
    static struct world w;
    (void)state;

    world_start(&w, 1000);
    commit(&w, "g", 0, 5);
    for (int i = 0; i < 4; i++)
        test_loop_round(&w.loop);
    stop_applier(&w);
    settle(&w);
    assert_int_equal(w.jobs, 0);
    start_applier(&w);
    settle(&w);
    assert_int_equal(stored(&w, "g", 0), 5);
    world_end(&w);
}

static void follow(struct world *w)
{
    struct partition_assignment a = {
        .leader_id = 2, .leader_epoch = ++w->epoch, .config = &w->config};

    partition_assign(w->partition, &a);
}

/* The pool cuts the log meanwhile: what the loop reads of it may be gone while it does. */
static void a_log_that_is_being_cut_is_left_alone(void **state)
{
    static struct world w;
    (void)state;

    world_start(&w, 0);
    for (int i = 0; i < 5; i++)
        commit(&w, "g", 0, i);
    settle(&w);
    follow(&w);
    w.loop.pool_stuck = true;
    w.partition_env.truncated = on_stopped;
    assert_true(partition_truncate(w.partition, &(struct fetcher_cut){.offset = 3}));
    state_store_sim_lose(w.store);
    stop_applier(&w);
    start_applier(&w);
    settle(&w);
    assert_int_equal(applier_applied(w.applier), -1);
    w.loop.pool_stuck = false;
    settle(&w);
    assert_int_equal(applier_applied(w.applier), 3);
    assert_int_equal(stored(&w, "g", 0), 2);
    world_end(&w);
}

/* Whatever it was at: reading its mark, or the log, or writing to the store. */
static void a_cut_may_begin_while_a_job_is_in_the_pool(void **state)
{
    static struct world w;
    (void)state;

    for (int rounds = 0; rounds < 16; rounds++) {
        world_start(&w, 1000);
        for (int i = 0; i < 5; i++)
            commit(&w, "g", 0, i);
        settle(&w);
        state_store_sim_lose(w.store);
        files_sim_set_cold(w.files, true);
        stop_applier(&w);
        start_applier(&w);
        for (int i = 0; i < rounds; i++)
            test_loop_round(&w.loop);
        w.partition->state = PARTITION_TRUNCATING;
        settle(&w);
        w.partition->state = PARTITION_LEADING;
        applier_poke(w.applier);
        settle(&w);
        assert_int_equal(applier_applied(w.applier), 5);
        assert_int_equal(stored(&w, "g", 0), 4);
        world_end(&w);
    }
}

static uint64_t next_random(struct world *w, uint64_t below)
{
    w->random = w->random * 6364136223846793005u + 1442695040888963407u;
    return (w->random >> 33) % below;
}

/* Commits and tombstones, flushes, crashes, failures and losses of the store, in any order: in the
 * end it says what the log says. */
static void store_says_what_the_log_says_after_any_history(void **state)
{
    static struct world w;
    int64_t model[8];
    (void)state;

    for (uint64_t seed = 1; seed <= 60; seed++) {
        world_start(&w, 200);
        w.random = seed;
        w.tells = (unsigned)(seed % 4);
        for (int i = 0; i < 8; i++)
            model[i] = NOTHING;
        for (int step = 0; step < 150; step++) {
            int32_t index = (int32_t)next_random(&w, 8);

            switch (next_random(&w, 20)) {
            case 0:
                restart(&w);
                break;
            case 1:
                state_store_sim_fail_after(w.store, next_random(&w, 10), next_random(&w, 2));
                break;
            case 2:
                (void)state_store_flush(w.store); /* may be the call that fails */
                break;
            case 3:
                state_store_sim_lose(w.store);
                restart(&w);
                break;
            case 4:
                test_loop_round(&w.loop);
                break;
            default:
                model[index] = next_random(&w, 5) ? step : NOTHING;
                commit(&w, "g", index, model[index]);
                break;
            }
        }
        for (int i = 0; i < 20 && applier_applied(w.applier) != log_end_offset(w.partition->log);
             i++) {
            applier_poke(w.applier);
            settle(&w);
        }
        if (state_store_damaged(w.store))
            on_store_failed(&w, state_store_generation(w.store));
        settle(&w);
        state_store_sim_fail_after(w.store, UINT64_MAX, false);
        for (int i = 0; i < 8; i++)
            if (stored(&w, "g", i) != model[i])
                fail_msg("seed %d: partition %d is %d, not %d", (int)seed, i,
                         (int)stored(&w, "g", i), (int)model[i]);
        world_end(&w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(committed_records_reach_the_store_with_their_mark),
        cmocka_unit_test(records_above_the_high_watermark_wait),
        cmocka_unit_test(told_appends_are_applied_without_reading_the_log),
        cmocka_unit_test(told_appends_beyond_their_room_are_read),
        cmocka_unit_test(told_append_of_an_older_epoch_or_elsewhere_in_the_log_does_not_count),
        cmocka_unit_test(compressed_batches_count_too),
        cmocka_unit_test(what_cannot_be_read_is_passed_over),
        cmocka_unit_test(restart_reads_only_what_follows_the_mark),
        cmocka_unit_test(mark_that_does_not_fit_the_log_starts_it_over),
        cmocka_unit_test(state_of_another_topic_is_gone_before_anything_is_applied),
        cmocka_unit_test(mark_of_a_branch_that_was_cut_off_starts_it_over),
        cmocka_unit_test(log_that_begins_behind_the_mark_starts_it_over),
        cmocka_unit_test(damaged_store_is_reset_and_filled_again),
        cmocka_unit_test(reset_while_a_job_is_in_the_pool_loses_nothing),
        cmocka_unit_test(cold_logs_are_read_in_the_pool),
        cmocka_unit_test(cold_reads_that_fail_leave_nothing_behind),
        cmocka_unit_test(one_turn_applies_a_bounded_piece),
        cmocka_unit_test(transactions_count_once_they_are_committed),
        cmocka_unit_test(a_log_that_is_being_cut_is_left_alone),
        cmocka_unit_test(a_cut_may_begin_while_a_job_is_in_the_pool),
        cmocka_unit_test(partition_may_go_while_a_job_is_in_the_pool),
        cmocka_unit_test(store_says_what_the_log_says_after_any_history),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
