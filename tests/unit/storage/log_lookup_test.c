#include "tests/unit/test.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "storage/files_sim.h"
#include "tests/unit/storage/log_world.h"

/* Once without waiting for the disk, where nothing may be cold, and once in the pool's way: the
 * same answer. */
static struct status find(struct log_lookup *k, struct log_time_offset *out)
{
    struct log_time_offset warm = {-2, -2, -2};
    struct status st, waited;
    bool cold;

    st = log_lookup_run(k, &cold, &warm);
    waited = log_lookup_run(k, NULL, out);
    if (status_failed(st) != status_failed(waited) ||
        (!cold && !status_failed(st) && memcmp(&warm, out, sizeof warm) != 0))
        waited = status_error(KERR_UNKNOWN_SERVER_ERROR, "two answers to one question");
    log_lookup_free(k);
    return waited;
}

static struct status find_by_time(struct log *l, int64_t timestamp_ms, int64_t end_offset,
                                  struct log_time_offset *out)
{
    return find(log_lookup_time(l, timestamp_ms, end_offset), out);
}

static struct status find_max_timestamp(struct log *l, struct log_time_offset *out)
{
    return find(log_lookup_max_timestamp(l), out);
}

/* ListOffsets by time: the first record at or after it, over segments, whatever the order of
 * times. */
static void lookup_by_time_finds_the_first_record_at_or_after_it(void **state)
{
    struct log_world w;
    struct log_time_offset found;
    (void)state;

    world_begin(&w);
    world_open(&w, LOG_TRUST_CLEAN);
    for (int i = 0; i < 300; i++)
        assert_false(
            status_failed(world_try_append(&w, world_batch(&w, 2, 100, 1000 + i * 10), NULL)));
    for (int i = 0; i < 300; i++) {
        for (int off = -9; off <= 0; off += 9) {
            assert_false(
                status_failed(find_by_time(w.log, 1000 + i * 10 + off, INT64_MAX, &found)));
            assert_int_equal(found.offset, 2 * i);
            assert_int_equal(found.timestamp_ms, 1000 + i * 10);
            assert_int_equal(found.leader_epoch, 0);
        }
    }
    assert_false(status_failed(find_by_time(w.log, 100000, INT64_MAX, &found)));
    assert_int_equal(found.offset, -1);
    assert_false(status_failed(find_by_time(w.log, 2000, 100, &found)));
    assert_int_equal(found.offset, -1);
    world_end(&w);
}

/* ListOffsets -3 (KIP-734): the record with the largest timestamp, also when later ones are
 * older. */
static void max_timestamp_is_found_wherever_it_lies(void **state)
{
    struct log_world w;
    struct log_time_offset found;
    (void)state;

    for (int peak = 0; peak < 200; peak += 7) {
        world_begin(&w);
        world_open(&w, LOG_TRUST_CLEAN);
        assert_false(status_failed(find_max_timestamp(w.log, &found)));
        assert_int_equal(found.offset, -1);
        for (int i = 0; i < 200; i++)
            assert_false(status_failed(world_try_append(
                &w, world_batch(&w, 2, 100, i == peak ? 5000 : 1000 + i % 5), NULL)));
        for (int reopened = 0; reopened < 3; reopened++) {
            assert_false(status_failed(find_max_timestamp(w.log, &found)));
            assert_int_equal(found.offset, 2 * peak);
            assert_int_equal(found.timestamp_ms, 5000);
            world_close(&w, reopened == 0);
            world_open(&w, reopened == 0 ? LOG_TRUST_CLEAN : LOG_TRUST_SAME_BOOT);
        }
        world_end(&w);
    }
}

/* A sparse time index must not hide records: times that go up and down are found as a scan finds
 * them. */
static void lookup_by_time_agrees_with_a_scan(void **state)
{
    enum { BATCHES = 250 };
    int64_t times[BATCHES];
    struct log_world w;
    struct log_time_offset found;
    (void)state;

    world_begin(&w);
    world_open(&w, LOG_TRUST_CLEAN);
    for (int i = 0; i < BATCHES; i++) {
        times[i] = 1000 + (int64_t)world_random(&w, 500) + i;
        assert_false(status_failed(world_try_append(&w, world_batch(&w, 1, 150, times[i]), NULL)));
    }
    for (int64_t t = 990; t < 1800; t++) {
        int64_t expected = -1;

        for (int i = 0; i < BATCHES && expected < 0; i++)
            if (times[i] >= t)
                expected = i;
        assert_false(status_failed(find_by_time(w.log, t, INT64_MAX, &found)));
        assert_int_equal(found.offset, expected);
    }
    world_end(&w);
}

static size_t aborted(struct log_world *w, int64_t from, int64_t to, struct log_aborted *first)
{
    struct log_aborted *list;
    struct arena a;
    size_t count;

    arena_init(&a, 1 << 20);
    assert_false(status_failed(log_aborted_transactions(w->log, from, to, &a, &list, &count)));
    if (count)
        *first = list[0];
    else
        assert_null(list);
    arena_free(&a);
    return count;
}

static void append_ok(struct log_world *w, struct bytes_mut batch)
{
    assert_false(status_failed(world_try_append(w, batch, NULL)));
}

/* The .txnindex entry that Apache Kafka 4.4 writes for the abort of producer 1001 (data at 7,
 * marker at 8). */
static void aborted_transactions_are_indexed_as_in_kafka(void **state)
{
    static const uint8_t golden[] = {0, 0, /* version */
                                     0, 0, 0, 0, 0, 0, 0x03, 0xe9, 0, 0, 0, 0, 0, 0, 0, 7,
                                     0, 0, 0, 0, 0, 0, 0,    8,    0, 0, 0, 0, 0, 0, 0, 9};
    struct log_world w;
    struct log_aborted a;
    uint8_t *content;
    int64_t size;
    (void)state;

    world_begin(&w);
    world_open(&w, LOG_TRUST_CLEAN);
    world_append(&w, 5, 10);
    append_ok(&w, world_producer_batch(&w, 1001, 0, 0, 1, RECORD_BATCH_TRANSACTIONAL));
    assert_int_equal(log_first_unstable_offset(w.log), 5);
    append_ok(&w, world_marker(&w, 1001, 0, false));
    append_ok(&w, world_producer_batch(&w, 1001, 1, 0, 1, RECORD_BATCH_TRANSACTIONAL));
    append_ok(&w, world_marker(&w, 1001, 1, true));
    assert_int_equal(log_first_unstable_offset(w.log), 5);
    log_high_watermark_moved(w.log, 9);
    assert_int_equal(log_first_unstable_offset(w.log), 9);
    for (int round = 0; round < 4; round++) {
        assert_int_equal(aborted(&w, 0, 9, &a), 1);
        assert_int_equal(a.producer_id, 1001);
        assert_int_equal(a.first_offset, 7);
        assert_int_equal(aborted(&w, 0, 7, &a), 0);
        assert_int_equal(aborted(&w, 9, 10, &a), 0);
        content = world_file(&w, "00000000000000000000.txnindex", &size);
        assert_int_equal(size, sizeof golden);
        assert_memory_equal(content, golden, sizeof golden);
        free(content);
        world_close(&w, round == 0);
        world_open(&w, (enum log_trust)(round % 3));
    }
    world_end(&w);
}

/* A shard asks without waiting: where a byte is not in memory it learns that, and nothing else. */
static void cold_lookups_say_so_and_wait_in_the_pool(void **state)
{
    struct log_time_offset found = {-7, -7, -7};
    struct log_lookup *k;
    struct log_world w;
    bool cold;
    (void)state;

    world_begin(&w);
    world_open(&w, LOG_TRUST_CLEAN);
    for (int i = 0; i < 300; i++)
        append_ok(&w, world_batch(&w, 2, 100, 1000 + i));
    for (int reopened = 0; reopened < 2; reopened++) {
        files_sim_set_cold(w.files, true);
        for (int which = 0; which < 2; which++) {
            found.offset = -7;
            k = which ? log_lookup_max_timestamp(w.log) : log_lookup_time(w.log, 1100, INT64_MAX);
            assert_false(status_failed(log_lookup_run(k, &cold, &found)));
            assert_true(cold);
            assert_int_equal(found.offset, -7);
            files_sim_set_cold(w.files, false); /* another reader brought it in */
            assert_false(status_failed(log_lookup_run(k, NULL, &found)));
            assert_int_equal(found.offset, which ? 598 : 200);
            assert_false(status_failed(log_lookup_run(k, &cold, &found)));
            assert_false(cold);
            log_lookup_free(k);
            files_sim_set_cold(w.files, true);
        }
        files_sim_set_cold(w.files, false);
        world_close(&w, true);
        world_open(&w, LOG_TRUST_CLEAN);
    }
    world_end(&w);
}

/* A lookup holds what it reads: the log may drop its segments, and be closed. */
static void lookup_outlives_its_log(void **state)
{
    struct log_time_offset found;
    struct log_lookup *k;
    struct log_world w;
    (void)state;

    world_begin(&w);
    world_open(&w, LOG_TRUST_CLEAN);
    for (int i = 0; i < 300; i++)
        append_ok(&w, world_batch(&w, 2, 100, 1000 + i));
    k = log_lookup_time(w.log, 1100, INT64_MAX);
    assert_false(status_failed(log_truncate_fully(w.log, 10000)));
    world_close(&w, false);
    assert_false(status_failed(log_lookup_run(k, NULL, &found)));
    assert_int_equal(found.offset, 200);
    log_lookup_free(k);
    world_end(&w);
}

static void lookup_in_an_offline_log_fails(void **state)
{
    struct log_time_offset found;
    struct log_world w;
    (void)state;

    world_begin(&w);
    world_open(&w, LOG_TRUST_CLEAN);
    append_ok(&w, world_batch(&w, 2, 100, 1000));
    log_fail(w.log, status_error(KERR_KAFKA_STORAGE_ERROR, "its directory failed"));
    assert_int_equal(find_by_time(w.log, 1000, INT64_MAX, &found).code, KERR_KAFKA_STORAGE_ERROR);
    assert_int_equal(find_max_timestamp(w.log, &found).code, KERR_KAFKA_STORAGE_ERROR);
    world_end(&w);
}

struct lookups {
    struct log_world *w;
    atomic_bool done;
    atomic_int wrong;
    int count;
};

/* What the pool does to a log while its loop goes on: assertions are left to the test's own
 * thread. */
static void *look_up_all_the_time(void *arg)
{
    struct lookups *k = arg;

    while (!atomic_load(&k->done)) {
        struct log_time_offset found;
        struct log_aborted *list;
        struct arena a;
        size_t count;

        arena_init(&a, 1 << 20);
        if (status_failed(find_by_time(k->w->log, 1500, INT64_MAX, &found)) ||
            (found.offset >= 0 && found.timestamp_ms < 1500) ||
            status_failed(find_max_timestamp(k->w->log, &found)) ||
            status_failed(log_aborted_transactions(k->w->log, 0, INT64_MAX, &a, &list, &count)))
            atomic_fetch_add(&k->wrong, 1);
        arena_free(&a);
        k->count++;
    }
    return NULL;
}

/* Lookups in the pool run while the loop appends, rolls, reads, flushes and deletes. */
static void lookups_run_beside_the_loop(void **state)
{
    struct log_world w;
    struct lookups k = {.w = &w};
    struct log_garbage *g;
    pthread_t thread;
    (void)state;

    world_begin(&w);
    w.config.retention_bytes = 30000;
    w.config.segment_bytes = 6000;
    world_open(&w, LOG_TRUST_CLEAN);
    world_append(&w, 1, 10);
    assert_int_equal(pthread_create(&thread, NULL, look_up_all_the_time, &k), 0);
    for (int i = 0; i < 1500; i++) {
        append_ok(&w, world_producer_batch(&w, 3, 0, i, 1, RECORD_BATCH_TRANSACTIONAL));
        append_ok(&w, world_marker(&w, 3, 0, i % 3 == 0));
        append_ok(&w, world_batch(&w, 2, 150, 1000 + i));
        if (i % 50 == 0) {
            world_flush(&w);
            log_high_watermark_moved(w.log, log_end_offset(w.log));
            (void)log_maintain(w.log, log_end_offset(w.log), 1000);
            g = log_take_garbage(w.log, INT64_MAX);
            if (g)
                assert_false(status_failed(log_garbage_run(g)));
            assert_int_equal(world_read_all(&w, log_start_offset(w.log)), log_end_offset(w.log));
        }
    }
    atomic_store(&k.done, true);
    pthread_join(thread, NULL);
    assert_int_equal(atomic_load(&k.wrong), 0);
    world_end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lookup_by_time_finds_the_first_record_at_or_after_it),
        cmocka_unit_test(max_timestamp_is_found_wherever_it_lies),
        cmocka_unit_test(lookup_by_time_agrees_with_a_scan),
        cmocka_unit_test(aborted_transactions_are_indexed_as_in_kafka),
        cmocka_unit_test(cold_lookups_say_so_and_wait_in_the_pool),
        cmocka_unit_test(lookup_outlives_its_log),
        cmocka_unit_test(lookup_in_an_offline_log_fails),
        cmocka_unit_test(lookups_run_beside_the_loop),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
