#include "tests/unit/test.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/base/crc32c.h"
#include "protocol/record_batch.h"
#include "storage/files_sim.h"
#include "tests/unit/storage/log_world.h"

#define FIRST_LOG "00000000000000000000.log"

static struct file *open_file(struct log_world *w, const char *name, int flags)
{
    char path[256];
    struct file *f;

    snprintf(path, sizeof path, LOG_DIRECTORY "/%s", name);
    assert_false(status_failed(w->files->ops->open(w->files, path, flags, &f)));
    return f;
}

static void write_file(struct log_world *w, const char *name, const void *bytes, size_t size,
                       int64_t at)
{
    struct iovec part = {(void *)(uintptr_t)bytes, size};
    struct file *f = open_file(w, name, FILE_WRITE | FILE_CREATE);

    assert_false(status_failed(w->files->ops->write(w->files, f, &part, 1, at)));
    w->files->ops->close(w->files, f);
}

static void resize_file(struct log_world *w, const char *name, int64_t size)
{
    struct file *f = open_file(w, name, FILE_WRITE);

    assert_false(status_failed(w->files->ops->truncate(w->files, f, size)));
    w->files->ops->close(w->files, f);
}

static void remove_file(struct log_world *w, const char *name)
{
    char path[256];

    snprintf(path, sizeof path, LOG_DIRECTORY "/%s", name);
    assert_false(status_failed(w->files->ops->remove(w->files, path)));
}

/* A kill or a crash may end the file at any byte of the last write. Whole batches before it
 * stay. */
static void log_cut_at_every_byte_of_its_last_batch_loses_only_that(void **state)
{
    struct log_world w;
    int64_t before, after;
    (void)state;

    for (int other_boot = 0; other_boot < 2; other_boot++) {
        world_begin(&w);
        world_open(&w, LOG_TRUST_CLEAN);
        for (int i = 0; i < 12; i++)
            world_append(&w, 2, 100);
        before = log_size_bytes(w.log);
        world_append(&w, 1, 60);
        after = log_size_bytes(w.log);
        for (int64_t size = after - 1; size >= before; size--) {
            world_close(&w, false);
            resize_file(&w, FIRST_LOG, size);
            world_open(&w, other_boot ? LOG_TRUST_OTHER_BOOT : LOG_TRUST_SAME_BOOT);
            assert_int_equal(log_end_offset(w.log), 24);
            assert_int_equal(log_size_bytes(w.log), before);
            assert_int_equal(w.report.truncated_bytes, size - before);
            assert_false(w.report.damaged);
            assert_int_equal(world_read_all(&w, 0), 24);
            assert_int_equal(world_append(&w, 1, 60), 24);
        }
        world_end(&w);
    }
}

/* Any single flipped bit past the recovery point: what is served after the start is valid and a
 * prefix. */
static void flipped_bits_are_never_served_after_another_boot(void **state)
{
    struct log_world w;
    uint8_t *content;
    int64_t size;
    (void)state;

    world_begin(&w);
    world_open(&w, LOG_TRUST_CLEAN);
    for (int i = 0; i < 8; i++)
        world_append(&w, 1, 40);
    world_close(&w, true);
    content = world_file(&w, FIRST_LOG, &size);
    for (int64_t at = 0; at < size; at += 3) {
        const int64_t batch = at / (size / 8), in_batch = at % (size / 8);
        const uint8_t flipped = content[at] ^ (uint8_t)(1 << at % 8);

        write_file(&w, FIRST_LOG, content, (size_t)size, 0);
        write_file(&w, FIRST_LOG, &flipped, 1, at);
        world_open(&w, LOG_TRUST_OTHER_BOOT);
        /* Base offset and leader epoch are outside the CRC; the offsets' order is checked all the
         * same. */
        if (in_batch >= RECORD_BATCH_AT_MAGIC)
            assert_int_equal(log_end_offset(w.log), batch);
        if (in_batch >= RECORD_BATCH_AT_LEADER_EPOCH)
            assert_int_equal(world_read_all(&w, 0), log_end_offset(w.log));
        world_close(&w, false);
    }
    free(content);
    world_end(&w);
}

static const char *const index_names[] = {".index", ".timeindex", ".txnindex"};

static uint32_t index_fingerprint(struct log_world *w, int64_t base)
{
    uint32_t crc = 0;

    for (int i = 0; i < 3; i++) {
        char name[64];
        int64_t size;
        uint8_t *content;

        snprintf(name, sizeof name, "%020lld%s", (long long)base, index_names[i]);
        content = world_file(w, name, &size);
        crc = crc32c_extend(crc, &size, size < 0 ? 0 : sizeof size);
        if (size > 0)
            crc = crc32c_extend(crc, content, (size_t)size);
        free(content);
    }
    return crc;
}

static void remove_indexes(struct log_world *w, int64_t base)
{
    for (int i = 0; i < 2; i++) {
        char name[64];

        snprintf(name, sizeof name, "%020lld%s", (long long)base, index_names[i]);
        remove_file(w, name);
    }
}

static void append_mixture(struct log_world *w, int count)
{
    for (int n = 0; n < count; n++) {
        const int i = w->steps++;

        w->now_ms += (int64_t)world_random(w, 50) - 10;
        if (i % 5 == 0) {
            assert_false(status_failed(world_try_append(
                w, world_producer_batch(w, 9, 0, w->sequence, 2, RECORD_BATCH_TRANSACTIONAL),
                NULL)));
            w->sequence += 2;
            assert_false(status_failed(world_try_append(w, world_marker(w, 9, 0, i % 2), NULL)));
        }
        world_append(w, 1 + i % 3, 20 + (size_t)world_random(w, 200));
    }
}

/* Whatever way the indexes came about, by appending or from the batches, their bytes are the
 * same. */
static void rebuilt_indexes_equal_the_original_ones(void **state)
{
    struct log_world w;
    uint32_t first;
    (void)state;

    world_begin(&w);
    world_open(&w, LOG_TRUST_CLEAN);
    append_mixture(&w, 60);
    world_append(&w, 1, 7000);
    while (log_size_bytes(w.log) < 40000)
        append_mixture(&w, 1);
    world_close(&w, true);
    world_open(&w, LOG_TRUST_CLEAN);
    world_close(&w, true);
    first = index_fingerprint(&w, 0);

    /* Of a sealed segment, gone missing. */
    remove_indexes(&w, 0);
    world_open(&w, LOG_TRUST_CLEAN);
    assert_true(w.report.indexes_rebuilt);
    world_close(&w, true);
    assert_int_equal(index_fingerprint(&w, 0), first);

    /* All of them, after another boot. */
    world_open(&w, LOG_TRUST_OTHER_BOOT);
    assert_int_equal(world_read_all(&w, 0), log_end_offset(w.log));
    world_close(&w, true);
    assert_int_equal(index_fingerprint(&w, 0), first);
    world_end(&w);
}

static uint32_t indexes_after(int batches, int kill_every)
{
    struct log_world w;
    uint32_t fingerprint;

    world_begin(&w);
    w.config.segment_bytes = 1 << 20;
    world_open(&w, LOG_TRUST_CLEAN);
    for (int i = 1; i <= batches; i++) {
        append_mixture(&w, 1);
        if (kill_every && i % kill_every == 0) {
            world_close(&w, false);
            world_open(&w, LOG_TRUST_SAME_BOOT);
        }
    }
    world_close(&w, true);
    fingerprint = index_fingerprint(&w, 0);
    world_end(&w);
    return fingerprint;
}

/* A kill leaves the newest index entries unwritten: the same boot finds them again by a short
 * walk. */
static void index_tails_lost_by_a_kill_come_back(void **state)
{
    (void)state;

    for (int batches = 1; batches < 60; batches += 4)
        for (int kill_every = 1; kill_every < 8; kill_every += 3)
            assert_int_equal(indexes_after(batches, kill_every), indexes_after(batches, 0));
}

/* Apache Kafka leaves the active indexes preallocated after a crash: zeros behind the entries. */
static void zero_padding_behind_index_entries_is_no_entry(void **state)
{
    struct log_world w;
    uint32_t before;
    int64_t size;
    (void)state;

    world_begin(&w);
    world_open(&w, LOG_TRUST_CLEAN);
    for (int i = 0; i < 40; i++) {
        w.now_ms++;
        world_append(&w, 2, 100);
    }
    world_close(&w, true);
    before = index_fingerprint(&w, 0);
    resize_file(&w, "00000000000000000000.index", 8000);
    resize_file(&w, "00000000000000000000.timeindex", 12000);
    world_open(&w, LOG_TRUST_SAME_BOOT);
    assert_false(w.report.indexes_rebuilt);
    assert_int_equal(world_read_all(&w, 0), 80);
    world_close(&w, true);
    assert_int_equal(index_fingerprint(&w, 0), before);
    free(world_file(&w, "00000000000000000000.index", &size));
    assert_true(size < 8000);
    world_end(&w);
}

/* Damaged index files of the newest segment, in each way that can be told: made anew. */
static void damaged_indexes_are_made_anew(void **state)
{
    static const uint8_t junk[24] = {0x7f, 1, 2, 3, 0x7f, 5, 6, 7, 0x7f, 9, 1, 2, 0x7f, 4, 5, 6};
    const char *const names[] = {"00000000000000000000.index", "00000000000000000000.timeindex"};
    struct log_world w;
    uint32_t before;
    (void)state;

    for (int which = 0; which < 2; which++) {
        for (size_t size = 1; size <= sizeof junk; size++) {
            world_begin(&w);
            world_open(&w, LOG_TRUST_CLEAN);
            for (int i = 0; i < 40; i++)
                world_append(&w, 2, 100);
            world_close(&w, true);
            before = index_fingerprint(&w, 0);
            resize_file(&w, names[which], 0);
            write_file(&w, names[which], junk, size, 0);
            world_open(&w, LOG_TRUST_SAME_BOOT);
            assert_int_equal(world_read_all(&w, 0), 80);
            world_close(&w, false);
            world_open(&w, LOG_TRUST_OTHER_BOOT);
            world_close(&w, true);
            assert_int_equal(index_fingerprint(&w, 0), before);
            world_end(&w);
        }
    }
}

/* Indexes are made anew over batches that nobody has judged: an offset that no index can name ends
 * them early. */
static void offset_beyond_its_segment_is_no_batch(void **state)
{
    static const int64_t wrong[] = {INT64_MAX, INT64_C(1) << 40, INT32_MAX, -1};
    struct log_world w;
    (void)state;

    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        uint8_t base[8];

        world_begin(&w);
        world_open(&w, LOG_TRUST_CLEAN);
        for (int n = 0; n < 200; n++)
            world_append(&w, 2, 100);
        world_close(&w, true);
        for (size_t k = 0; k < sizeof base; k++)
            base[k] = (uint8_t)((uint64_t)wrong[i] >> (56 - 8 * k));
        write_file(&w, FIRST_LOG, base, sizeof base, 0);
        assert_false(status_failed(
            w.files->ops->remove(w.files, LOG_DIRECTORY "/00000000000000000000.timeindex")));
        world_open(&w, LOG_TRUST_CLEAN);
        assert_true(w.report.indexes_rebuilt);
        assert_int_equal(log_end_offset(w.log), 400);
        world_close(&w, true);
        world_open(&w, LOG_TRUST_OTHER_BOOT);
        assert_int_equal(log_end_offset(w.log), 0);
        world_end(&w);
    }
}

static void exists(void *arg, const char *name, bool is_directory)
{
    const char **wanted = arg;

    (void)is_directory;
    if (*wanted && strcmp(*wanted, name) == 0)
        *wanted = NULL;
}

static bool has_file(struct log_world *w, const char *name)
{
    const char *wanted = name;

    assert_false(status_failed(w->files->ops->list(w->files, LOG_DIRECTORY, exists, &wanted)));
    return wanted == NULL;
}

/* What interrupted deletions, compactions and snapshots left is removed; files of others stay. */
static void leftovers_are_tidied_away(void **state)
{
    static const char *const gone[] = {
        "00000000000000000000.log.deleted", "00000000000000000003.index.deleted",
        "00000000000000000000.log.cleaned", "00000000000000000999.snapshot",
        "00000000000000000777.index",       "00000000000000000777.timeindex",
    };
    static const char *const kept[] = {
        "00000000000000000005-0000000001.checkpoint",
        "00000000000000000005-0000000001.checkpoint.deleted",
        "quorum-state",
    };
    struct log_world w;
    (void)state;

    world_begin(&w);
    world_open(&w, LOG_TRUST_CLEAN);
    for (int i = 0; i < 10; i++)
        world_append(&w, 2, 100);
    world_close(&w, true);
    for (size_t i = 0; i < sizeof gone / sizeof gone[0]; i++)
        write_file(&w, gone[i], "12345678", 8, 0);
    for (size_t i = 0; i < sizeof kept / sizeof kept[0]; i++)
        write_file(&w, kept[i], "x", 1, 0);
    world_open(&w, LOG_TRUST_CLEAN);
    for (size_t i = 0; i < sizeof gone / sizeof gone[0]; i++)
        assert_false(has_file(&w, gone[i]));
    for (size_t i = 0; i < sizeof kept / sizeof kept[0]; i++)
        assert_true(has_file(&w, kept[i]));
    assert_int_equal(world_read_all(&w, 0), 20);
    world_end(&w);
}

/* From .swap on an interrupted compaction is carried through: the new segment replaces the old
 * ones. */
static void swap_files_take_the_place_of_what_they_replace(void **state)
{
    struct log_world w;
    uint8_t *content;
    int64_t size, end, second;
    char name[64];
    (void)state;

    world_begin(&w);
    world_open(&w, LOG_TRUST_CLEAN);
    for (int i = 0; i < 100; i++)
        world_append(&w, 2, 300);
    end = log_end_offset(w.log);
    world_close(&w, true);
    content = world_file(&w, FIRST_LOG, &size);
    write_file(&w, FIRST_LOG ".swap", content, (size_t)size, 0);
    second = record_batch_last_offset(content) + 1; /* the old first segment loses its end */
    resize_file(&w, FIRST_LOG, size / 2);
    free(content);
    world_open(&w, LOG_TRUST_CLEAN);
    assert_int_equal(log_end_offset(w.log), end);
    assert_int_equal(world_read_all(&w, 0), end);
    snprintf(name, sizeof name, "%s.swap", FIRST_LOG);
    assert_false(has_file(&w, name));
    assert_true(second > 0);
    world_end(&w);
}

/* Every 4 MiB a flush writes a snapshot and removes the one before, in the pool: a name that is
 * removed on the loop waits for the file system's journal, and all that the loop serves waits with
 * it. */
static void flushes_keep_one_snapshot_and_leave_the_loop_nothing_to_remove(void **state)
{
    struct log_world w;
    struct log_flush flush;
    struct status st;
    char name[64];
    int64_t size, before = -1;
    uint64_t removals;
    (void)state;

    world_begin(&w);
    w.config.segment_bytes = 64 << 20;
    w.config.max_message_bytes = 8 << 20;
    world_open(&w, LOG_TRUST_CLEAN);
    for (int i = 0; i < 3; i++) {
        world_append(&w, 90, 60000);
        assert_true(log_flush_begin(w.log, &flush));
        st = log_flush_run(&flush);
        removals = files_sim_calls(w.files, FILES_CALL_REMOVE);
        log_flush_end(w.log, &flush, st);
        assert_false(status_failed(st));
        assert_int_equal(files_sim_calls(w.files, FILES_CALL_REMOVE), removals);
        snprintf(name, sizeof name, "%020lld.snapshot", (long long)log_end_offset(w.log));
        free(world_file(&w, name, &size));
        assert_true(size > 0);
        if (before >= 0) {
            snprintf(name, sizeof name, "%020lld.snapshot", (long long)before);
            free(world_file(&w, name, &size));
            assert_int_equal(size, -1);
        }
        before = log_end_offset(w.log);
    }
    world_end(&w);
}

/* A damaged snapshot costs a longer walk, never the producers. */
static void producers_survive_damaged_snapshots(void **state)
{
    struct log_world w;
    struct log_appended out;
    (void)state;

    world_begin(&w);
    world_open(&w, LOG_TRUST_CLEAN);
    for (int i = 0; i < 20; i++)
        assert_false(
            status_failed(world_try_append(&w, world_producer_batch(&w, 3, 0, 2 * i, 2, 0), NULL)));
    world_close(&w, true);
    write_file(&w, "00000000000000000040.snapshot", "\0\1xxxxxxxx", 10, 0);
    world_open(&w, LOG_TRUST_CLEAN);
    assert_false(
        status_failed(world_try_append(&w, world_producer_batch(&w, 3, 0, 38, 2, 0), &out)));
    assert_true(out.duplicate);
    assert_int_equal(out.base_offset, 38);
    world_end(&w);
}

/* ---- batches that come again after a start ---- */

static void produce(struct log_world *w, int64_t producer_id, int16_t epoch, int32_t sequence)
{
    struct bytes_mut batch = world_producer_batch(w, producer_id, epoch, sequence, 2, 0);

    assert_false(status_failed(world_try_append(w, batch, NULL)));
}

static void comes_again(struct log_world *w, int64_t producer_id, int32_t sequence,
                        int64_t base_offset)
{
    struct log_appended out = {0};

    assert_false(status_failed(
        world_try_append(w, world_producer_batch(w, producer_id, 0, sequence, 2, 0), &out)));
    assert_true(out.duplicate);
    assert_int_equal(out.base_offset, base_offset);
}

static void is_out_of_order(struct log_world *w, int64_t producer_id, int32_t sequence)
{
    assert_int_equal(
        world_try_append(w, world_producer_batch(w, producer_id, 0, sequence, 2, 0), NULL).code,
        KERR_OUT_OF_ORDER_SEQUENCE_NUMBER);
}

/* The snapshot of a clean end names the newest of each producer. */
static void five_batches_of_each_producer_are_known_again_after_a_clean_end(void **state)
{
    struct log_world w;
    (void)state;

    world_begin(&w);
    w.config.segment_bytes = 1 << 20;
    world_open(&w, LOG_TRUST_CLEAN);
    for (int i = 0; i < 7; i++) {
        produce(&w, 3, 0, 2 * i);
        produce(&w, 4, 0, 2 * i);
        world_append(&w, 1, 50);
    }
    world_close(&w, true);
    world_open(&w, LOG_TRUST_CLEAN);
    for (int i = 2; i < 7; i++) {
        comes_again(&w, 3, 2 * i, 5 * i);
        comes_again(&w, 4, 2 * i, 5 * i + 2);
    }
    is_out_of_order(&w, 3, 2 * 1);
    produce(&w, 3, 0, 2 * 7);
    comes_again(&w, 3, 2 * 3, 5 * 3); /* the oldest of five made room */
    is_out_of_order(&w, 3, 2 * 2);
    world_end(&w);
}

/* Five of them take far more than small ones would. */
static void large_batches_are_known_again_after_a_clean_end(void **state)
{
    const int count = 10000;
    struct log_world w;
    struct log_appended out;
    (void)state;

    world_begin(&w);
    w.config.segment_bytes = 4 << 20;
    w.config.max_message_bytes = 1 << 20;
    world_open(&w, LOG_TRUST_CLEAN);
    for (int again = 0; again < 2; again++) {
        for (int i = 0; i < 5; i++) {
            assert_false(status_failed(
                world_try_append(&w, world_producer_batch(&w, 3, 0, i * count, count, 0), &out)));
            assert_int_equal(out.duplicate, again);
            assert_int_equal(out.base_offset, i * count);
        }
        world_close(&w, true);
        world_open(&w, LOG_TRUST_CLEAN);
    }
    world_end(&w);
}

static void batches_of_a_producers_former_epoch_are_not_known_again(void **state)
{
    struct log_world w;
    (void)state;

    world_begin(&w);
    w.config.segment_bytes = 1 << 20;
    world_open(&w, LOG_TRUST_CLEAN);
    produce(&w, 3, 0, 0);
    produce(&w, 3, 0, 2);
    produce(&w, 3, 1, 0);
    world_close(&w, true);
    world_open(&w, LOG_TRUST_CLEAN);
    assert_int_equal(world_try_append(&w, world_producer_batch(&w, 3, 0, 2, 2, 0), NULL).code,
                     KERR_INVALID_PRODUCER_EPOCH);
    assert_int_equal(world_try_append(&w, world_producer_batch(&w, 3, 1, 4, 2, 0), NULL).code,
                     KERR_OUT_OF_ORDER_SEQUENCE_NUMBER);
    world_end(&w);
}

/* Nobody sends a batch again after ten minutes: idle logs are opened without looking back. */
static void batches_of_long_ago_are_not_looked_for(void **state)
{
    struct log_world w;
    (void)state;

    world_begin(&w);
    w.config.segment_bytes = 1 << 20;
    world_open(&w, LOG_TRUST_CLEAN);
    produce(&w, 3, 0, 0);
    produce(&w, 3, 0, 2);
    world_close(&w, true);
    w.now_ms += 11 * 60 * 1000;
    world_open(&w, LOG_TRUST_CLEAN);
    comes_again(&w, 3, 2, 2);
    is_out_of_order(&w, 3, 0);
    world_end(&w);
}

/* A snapshot whose CRC is right, but which tells of what comes after it, is not this log's: an open
 * transaction behind the log end would hold readers at an offset that is not there. */
static void snapshot_that_tells_of_later_offsets_is_not_believed(void **state)
{
    struct log_world w;
    uint8_t *content;
    int64_t size;
    (void)state;

    world_begin(&w);
    world_open(&w, LOG_TRUST_CLEAN);
    world_append(&w, 30, 10);
    assert_false(status_failed(world_try_append(
        &w, world_producer_batch(&w, 3, 0, 0, 2, RECORD_BATCH_TRANSACTIONAL), NULL)));
    world_close(&w, true);
    content = world_file(&w, "00000000000000000032.snapshot", &size);
    world_open(&w, LOG_TRUST_CLEAN);
    assert_false(status_failed(log_truncate_to(w.log, 0)));
    world_append(&w, 5, 10);
    world_close(&w, true);
    write_file(&w, "00000000000000000005.snapshot", content, (size_t)size, 0);
    resize_file(&w, "00000000000000000005.snapshot", size);
    free(content);
    world_open(&w, LOG_TRUST_CLEAN);
    assert_int_equal(log_end_offset(w.log), 5);
    assert_int_equal(log_first_unstable_offset(w.log), 5);
    world_end(&w);
}

/* A batch that went bad below what a quick start looks at: found in the background, taken
 * offline. */
static void background_check_takes_a_damaged_log_offline(void **state)
{
    struct log_world w;
    struct log_verify *v;
    uint8_t byte = 0xff;
    bool done = false;
    struct status st = STATUS_OK;
    int steps;
    (void)state;

    for (int damaged = 0; damaged < 2; damaged++) {
        world_begin(&w);
        world_open(&w, LOG_TRUST_CLEAN);
        for (int i = 0; i < 400; i++)
            world_append(&w, 2, 100);
        world_close(&w, false);
        if (damaged)
            write_file(&w, FIRST_LOG, &byte, 1, 500);
        world_open(&w, LOG_TRUST_SAME_BOOT);
        assert_int_equal(log_end_offset(w.log), 800);
        v = log_verify_begin(w.log);
        assert_non_null(v);
        for (steps = 0; !done && !status_failed(st); steps++)
            st = log_verify_run(v, 4096, &done);
        log_verify_end(w.log, v, st);
        assert_int_equal(log_offline(w.log), damaged);
        assert_int_equal(damaged ? steps < 3 : steps > 10, 1);
        assert_null(log_verify_begin(w.log));
        done = false;
        st = STATUS_OK;
        world_end(&w);
    }
}

/* Checks in the background what is left to it; whether it was damaged. */
static bool damaged_in_the_background(struct log_world *w)
{
    struct log_verify *v = log_verify_begin(w->log);
    struct status st = STATUS_OK;
    bool done = false;

    if (!v)
        return false;
    while (!done && !status_failed(st))
        st = log_verify_run(v, 1 << 20, &done);
    log_verify_end(w->log, v, st);
    return status_failed(st);
}

/* A start after a kill reads heads from the newest producer snapshot on, but checks CRCs only
 * behind the last index entry: no batch may fall between that and what the background checks. */
static void damage_anywhere_is_found_at_the_start_or_behind_it(void **state)
{
    const int batches = 90;
    struct log_world w;
    int64_t positions[90];
    int found_at_start = 0;
    (void)state;

    for (int damaged = -1; damaged < batches; damaged++) {
        world_begin(&w);
        w.config.segment_bytes = 8 << 20;
        w.config.max_message_bytes = 1 << 20;
        world_open(&w, LOG_TRUST_CLEAN);
        for (int i = 0; i < batches; i++) {
            positions[i] = log_size_bytes(w.log);
            world_append(&w, 1, 60000);
        }
        world_close(&w, false);
        if (damaged >= 0)
            assert_true(files_sim_flip_bit(w.files, LOG_DIRECTORY "/" FIRST_LOG,
                                           positions[damaged] + 30000, 5));
        world_open(&w, LOG_TRUST_SAME_BOOT);
        found_at_start += w.report.truncated_bytes > 0;
        assert_int_equal(w.report.truncated_bytes > 0 || damaged_in_the_background(&w),
                         damaged >= 0);
        world_end(&w);
    }
    assert_true(found_at_start > 0 && found_at_start < batches / 2);
}

/* What was flushed counts as flushed after a clean stop, up to the recovery point after a kill. */
static void flushed_end_after_a_start_is_what_is_known_to_be_durable(void **state)
{
    struct log_world w;
    (void)state;

    world_begin(&w);
    world_open(&w, LOG_TRUST_CLEAN);
    world_append(&w, 5, 10);
    world_flush(&w);
    w.recovery_point = 5;
    world_append(&w, 5, 10);
    assert_int_equal(log_flushed_end_offset(w.log), 5);
    world_close(&w, false);
    world_open(&w, LOG_TRUST_SAME_BOOT);
    assert_int_equal(log_flushed_end_offset(w.log), 5);
    world_flush(&w);
    assert_int_equal(log_flushed_end_offset(w.log), 10);
    world_close(&w, false);
    world_open(&w, LOG_TRUST_OTHER_BOOT);
    assert_int_equal(log_flushed_end_offset(w.log), 10);
    world_append(&w, 1, 10);
    world_close(&w, true);
    world_open(&w, LOG_TRUST_CLEAN);
    assert_int_equal(log_flushed_end_offset(w.log), 11);
    world_end(&w);
}

/* A follower cuts what its new leader lacks, appends, and is killed before the next checkpoint: the
 * recovery point on the disk is that of batches that are gone. */
static void
recovery_point_from_before_a_cut_vouches_for_nothing_above_the_high_watermark(void **state)
{
    struct log_world w;
    (void)state;

    world_begin(&w);
    world_open(&w, LOG_TRUST_CLEAN);
    for (int i = 0; i < 3; i++)
        world_append(&w, 5, 10);
    world_flush(&w);
    w.recovery_point = 15;
    w.high_watermark = 5;
    assert_false(status_failed(log_truncate_to(w.log, 5)));
    world_append(&w, 7, 10);
    world_append(&w, 6, 10);
    world_close(&w, false);
    world_open(&w, LOG_TRUST_SAME_BOOT);
    assert_int_equal(log_end_offset(w.log), 18);
    assert_int_equal(log_flushed_end_offset(w.log), 5);
    world_end(&w);
}

/* Retention has just begun an empty segment behind all others when the process dies: epochs that no
 * flush has saved yet are in the batches before it. Without them a leader would have its followers
 * cut what they have in common. */
static void epochs_behind_an_empty_newest_segment_come_back(void **state)
{
    struct log_world w;
    struct log_appended out;
    (void)state;

    world_begin(&w);
    w.config.retention_ms = 1000;
    world_open(&w, LOG_TRUST_CLEAN);
    world_append(&w, 5, 10);
    world_flush(&w);
    w.recovery_point = 5;
    assert_int_equal(log_append_as_leader(w.log, world_batch(&w, 5, 10, w.now_ms), 7,
                                          LOG_ORIGIN_CLIENT, &out, NULL)
                         .code,
                     KERR_NONE);
    w.now_ms += 5000;
    assert_true(log_maintain(w.log, 10, w.now_ms));
    assert_true(log_names_wanted(w.log));
    world_close(&w, false);
    world_open(&w, LOG_TRUST_SAME_BOOT);
    assert_int_equal(log_end_offset(w.log), 10);
    assert_int_equal(log_latest_epoch(w.log), 7);
    assert_int_equal(log_epoch_of_offset(w.log, 5), 7);
    assert_int_equal(log_epoch_of_offset(w.log, 4), 0);
    world_end(&w);
}

/* A leader of epoch 7 wrote nothing, but a flush saved that it was one. It follows another leader,
 * which has more of epoch 6, and is killed before the next flush. */
static void an_epoch_that_wrote_nothing_stays_forgotten_after_a_kill(void **state)
{
    struct log_world w;
    struct log_appended out;
    struct bytes_mut batch;
    (void)state;

    world_begin(&w);
    world_open(&w, LOG_TRUST_CLEAN);
    batch = world_batch(&w, 5, 10, w.now_ms);
    assert_int_equal(log_append_as_leader(w.log, batch, 6, LOG_ORIGIN_CLIENT, &out, NULL).code,
                     KERR_NONE);
    assert_int_equal(log_start_epoch(w.log, 7).code, KERR_NONE);
    world_flush(&w);
    w.recovery_point = 5;
    assert_false(status_failed(log_truncate_to(w.log, 5)));
    batch = world_batch(&w, 5, 10, w.now_ms);
    record_batch_set_base_offset(batch.data, 5);
    record_batch_set_leader_epoch(batch.data, 6);
    assert_int_equal(log_append_as_follower(w.log, batch, LOG_ORIGIN_COORDINATOR, &out).code,
                     KERR_NONE);
    world_close(&w, false);
    world_open(&w, LOG_TRUST_SAME_BOOT);
    assert_int_equal(log_end_offset(w.log), 10);
    assert_int_equal(log_epoch_of_offset(w.log, 9), 6);
    assert_int_equal(log_latest_epoch(w.log), 6);
    world_end(&w);
}

/* All that a follower has was deleted, and it is killed before a checkpoint says so: the epochs
 * that were saved for a log that starts at its end say nothing of the one that is found. Without
 * any, it would be cut to its high watermark. */
static void epochs_saved_for_a_log_start_that_is_forgotten_come_back(void **state)
{
    static const enum log_trust trusts[] = {LOG_TRUST_SAME_BOOT, LOG_TRUST_OTHER_BOOT};
    (void)state;

    for (size_t i = 0; i < sizeof trusts / sizeof trusts[0]; i++) {
        struct log_world w;

        world_begin(&w);
        world_open(&w, LOG_TRUST_CLEAN);
        world_append(&w, 5, 10);
        world_append(&w, 5, 10);
        assert_int_equal(log_raise_start_offset(w.log, 10).code, KERR_NONE);
        world_flush(&w);
        w.recovery_point = 10;
        world_close(&w, false);
        world_open(&w, trusts[i]);
        assert_int_equal(log_start_offset(w.log), 0);
        assert_int_equal(log_end_offset(w.log), 10);
        assert_int_equal(log_latest_epoch(w.log), 0);
        assert_int_equal(log_epoch_of_offset(w.log, 0), 0);
        world_end(&w);
    }
}

/* Whatever is left of the epochs' own file: those that a follower is compared with are in the
 * batches of all segments, not only of those that a restart of the machine has looked at. */
static void epochs_whose_file_is_lost_come_back_from_all_segments(void **state)
{
    struct log_world w;
    struct log_appended out;
    (void)state;

    world_begin(&w);
    w.config.segment_bytes = 1000;
    world_open(&w, LOG_TRUST_CLEAN);
    for (int32_t epoch = 0; epoch < 10; epoch++)
        assert_int_equal(log_append_as_leader(w.log, world_batch(&w, 5, 100, w.now_ms), epoch,
                                              LOG_ORIGIN_CLIENT, &out, NULL)
                             .code,
                         KERR_NONE);
    world_flush(&w);
    w.recovery_point = 50;
    world_close(&w, false);
    remove_file(&w, "leader-epoch-checkpoint");
    world_open(&w, LOG_TRUST_OTHER_BOOT);
    for (int32_t epoch = 0; epoch < 10; epoch++)
        assert_int_equal(log_epoch_of_offset(w.log, 5 * epoch + 4), epoch);
    world_end(&w);
}

/* Retention by size goes by what is there, not by what recovery dropped. */
static void size_of_a_log_is_that_of_the_segments_it_kept(void **state)
{
    struct log_world w;
    int64_t size;
    uint8_t *content;
    (void)state;

    world_begin(&w);
    world_open(&w, LOG_TRUST_CLEAN);
    for (int i = 0; i < 400; i++)
        world_append(&w, 2, 100);
    world_close(&w, false);
    resize_file(&w, FIRST_LOG, 500);
    world_open(&w, LOG_TRUST_OTHER_BOOT);
    content = world_file(&w, FIRST_LOG, &size);
    free(content);
    assert_true(size > 0);
    assert_int_equal(log_size_bytes(w.log), size);
    world_end(&w);
}

/* A log that ends below its recovery point lost what was durable: that is told. */
static void loss_below_the_recovery_point_is_reported(void **state)
{
    struct log_world w;
    (void)state;

    world_begin(&w);
    world_open(&w, LOG_TRUST_CLEAN);
    for (int i = 0; i < 10; i++)
        world_append(&w, 1, 100);
    world_flush(&w);
    w.recovery_point = 10;
    world_close(&w, false);
    resize_file(&w, FIRST_LOG, 500);
    world_open(&w, LOG_TRUST_OTHER_BOOT);
    assert_true(w.report.damaged);
    assert_true(log_end_offset(w.log) < 10);
    assert_int_equal(w.report.truncated_to, log_end_offset(w.log));
    world_end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(log_cut_at_every_byte_of_its_last_batch_loses_only_that),
        cmocka_unit_test(flipped_bits_are_never_served_after_another_boot),
        cmocka_unit_test(rebuilt_indexes_equal_the_original_ones),
        cmocka_unit_test(index_tails_lost_by_a_kill_come_back),
        cmocka_unit_test(zero_padding_behind_index_entries_is_no_entry),
        cmocka_unit_test(damaged_indexes_are_made_anew),
        cmocka_unit_test(offset_beyond_its_segment_is_no_batch),
        cmocka_unit_test(leftovers_are_tidied_away),
        cmocka_unit_test(swap_files_take_the_place_of_what_they_replace),
        cmocka_unit_test(flushes_keep_one_snapshot_and_leave_the_loop_nothing_to_remove),
        cmocka_unit_test(producers_survive_damaged_snapshots),
        cmocka_unit_test(five_batches_of_each_producer_are_known_again_after_a_clean_end),
        cmocka_unit_test(large_batches_are_known_again_after_a_clean_end),
        cmocka_unit_test(batches_of_a_producers_former_epoch_are_not_known_again),
        cmocka_unit_test(batches_of_long_ago_are_not_looked_for),
        cmocka_unit_test(snapshot_that_tells_of_later_offsets_is_not_believed),
        cmocka_unit_test(background_check_takes_a_damaged_log_offline),
        cmocka_unit_test(damage_anywhere_is_found_at_the_start_or_behind_it),
        cmocka_unit_test(flushed_end_after_a_start_is_what_is_known_to_be_durable),
        cmocka_unit_test(
            recovery_point_from_before_a_cut_vouches_for_nothing_above_the_high_watermark),
        cmocka_unit_test(epochs_behind_an_empty_newest_segment_come_back),
        cmocka_unit_test(an_epoch_that_wrote_nothing_stays_forgotten_after_a_kill),
        cmocka_unit_test(epochs_saved_for_a_log_start_that_is_forgotten_come_back),
        cmocka_unit_test(epochs_whose_file_is_lost_come_back_from_all_segments),
        cmocka_unit_test(size_of_a_log_is_that_of_the_segments_it_kept),
        cmocka_unit_test(loss_below_the_recovery_point_is_reported),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
