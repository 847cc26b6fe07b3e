#include "tests/unit/test.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "storage/files_sim.h"

static void ok(struct status st)
{
    if (status_failed(st))
        fail_msg("%s: %s (%s)", st.where, kerr_name(st.code), strerror(st.sys_errno));
}

static void fails(struct status st, int sys_errno)
{
    assert_int_equal(st.code, KERR_KAFKA_STORAGE_ERROR);
    assert_int_equal(st.sys_errno, sys_errno);
}

static struct file *open_file(struct files *fs, const char *path)
{
    struct file *f;

    ok(fs->ops->open(fs, path, FILE_WRITE | FILE_CREATE, &f));
    return f;
}

static void write_at(struct files *fs, struct file *f, const char *text, int64_t at)
{
    const struct iovec parts[] = {{(void *)(uintptr_t)text, strlen(text)}};

    ok(fs->ops->write(fs, f, parts, 1, at));
}

static void put(struct files *fs, const char *path, const char *text)
{
    struct file *f = open_file(fs, path);

    write_at(fs, f, text, 0);
    fs->ops->close(fs, f);
}

static void put_durably(struct files *fs, const char *path, const char *text)
{
    struct file *f = open_file(fs, path);

    write_at(fs, f, text, 0);
    ok(fs->ops->sync(fs, f));
    fs->ops->close(fs, f);
    ok(fs->ops->sync_directory(fs, "/"));
}

/* NULL text: no such file. */
static void expect(struct files *fs, const char *path, const char *text)
{
    struct bytes_mut content;

    if (!text) {
        fails(files_read_whole(fs, path, 1 << 20, &content), ENOENT);
        return;
    }
    ok(files_read_whole(fs, path, 1 << 20, &content));
    assert_int_equal(content.size, strlen(text));
    assert_memory_equal(content.data, text, content.size);
    free(content.data);
}

static bool is(struct files *fs, const char *path, const char *text)
{
    struct bytes_mut content;
    bool same;

    if (status_failed(files_read_whole(fs, path, 1 << 20, &content)))
        return text == NULL;
    same = text && content.size == strlen(text) && memcmp(content.data, text, content.size) == 0;
    free(content.data);
    return same;
}

static void what_was_written_reads_back(void **state)
{
    struct files *fs = files_sim_create(NULL);
    struct file *f = open_file(fs, "/a");
    const struct iovec parts[] = {{(void *)(uintptr_t) "one ", 4}, {(void *)(uintptr_t) "two", 3}};
    char buffer[16];
    size_t got;
    int64_t size;
    (void)state;

    ok(fs->ops->write(fs, f, parts, 2, 4094));
    ok(fs->ops->size(fs, f, &size));
    assert_int_equal(size, 4101);
    ok(fs->ops->read(fs, f, buffer, sizeof buffer, 4092, &got));
    assert_int_equal(got, 9);
    assert_memory_equal(buffer, "\0\0one two", 9);
    ok(fs->ops->truncate(fs, f, 4096));
    ok(fs->ops->truncate(fs, f, 4100));
    ok(fs->ops->read(fs, f, buffer, sizeof buffer, 4094, &got));
    assert_int_equal(got, 6);
    assert_memory_equal(buffer, "on\0\0\0\0", 6);
    fs->ops->close(fs, f);
    files_sim_free(fs);
}

static void a_killed_process_leaves_everything_it_wrote(void **state)
{
    struct files *fs = files_sim_create(NULL);
    struct file *f = open_file(fs, "/a");
    struct file *lock;
    int64_t size;
    (void)state;

    write_at(fs, f, "text", 0);
    ok(fs->ops->lock(fs, "/.lock", &lock));
    files_sim_kill(fs);
    fails(fs->ops->size(fs, f, &size), EBADF);
    fs->ops->close(fs, f);
    fs->ops->unlock(fs, lock);
    expect(fs, "/a", "text");
    ok(fs->ops->lock(fs, "/.lock", &lock));
    fs->ops->unlock(fs, lock);
    files_sim_free(fs);
}

static void a_lock_is_held_once(void **state)
{
    struct files *fs = files_sim_create(NULL);
    struct file *lock, *second;
    (void)state;

    ok(fs->ops->lock(fs, "/.lock", &lock));
    fails(fs->ops->lock(fs, "/.lock", &second), EWOULDBLOCK);
    fs->ops->unlock(fs, lock);
    ok(fs->ops->lock(fs, "/.lock", &lock));
    fs->ops->unlock(fs, lock);
    files_sim_free(fs);
}

static void a_crash_may_lose_all_that_was_not_synced(void **state)
{
    struct files *fs = files_sim_create(NULL);
    struct file *f;
    (void)state;

    put_durably(fs, "/old", "durable");
    f = open_file(fs, "/old");
    write_at(fs, f, "DUR and more", 0);
    fs->ops->close(fs, f);
    put(fs, "/new", "text");
    ok(fs->ops->make_directory(fs, "/d"));
    put(fs, "/d/below", "text");
    files_sim_crash_losing_all(fs);
    expect(fs, "/old", "durable");
    expect(fs, "/new", NULL);
    expect(fs, "/d/below", NULL);
    files_sim_free(fs);
}

static void a_synced_file_is_lost_with_its_unsynced_name(void **state)
{
    struct files *fs = files_sim_create(NULL);
    struct file *f = open_file(fs, "/a");
    (void)state;

    write_at(fs, f, "text", 0);
    ok(fs->ops->sync(fs, f));
    assert_false(files_sim_is_durable(fs, "/a"));
    ok(fs->ops->sync_directory(fs, "/"));
    assert_true(files_sim_is_durable(fs, "/a"));
    write_at(fs, f, "T", 0);
    assert_false(files_sim_is_durable(fs, "/a"));
    fs->ops->close(fs, f);
    files_sim_crash_losing_all(fs);
    expect(fs, "/a", "text");
    files_sim_free(fs);
}

static void a_removal_or_truncation_can_be_undone_by_a_crash(void **state)
{
    struct files *fs = files_sim_create(NULL);
    struct file *f;
    (void)state;

    put_durably(fs, "/a", "first");
    put_durably(fs, "/b", "second");
    ok(fs->ops->remove(fs, "/a"));
    f = open_file(fs, "/b");
    ok(fs->ops->truncate(fs, f, 0));
    fs->ops->close(fs, f);
    expect(fs, "/a", NULL);
    expect(fs, "/b", "");
    files_sim_crash_losing_all(fs);
    expect(fs, "/a", "first");
    expect(fs, "/b", "second");
    files_sim_free(fs);
}

static void syncing_the_file_system_makes_everything_durable(void **state)
{
    struct files *fs = files_sim_create(NULL);
    (void)state;

    ok(files_make_directories(fs, "/x/y"));
    put(fs, "/x/y/a", "text");
    ok(fs->ops->sync_filesystem(fs, "/x"));
    files_sim_crash_losing_all(fs);
    expect(fs, "/x/y/a", "text");
    files_sim_free(fs);
}

/* Over many seeds a crash must show each outcome that it may have, and no other. */
static void a_replaced_file_is_old_or_new_after_any_crash(void **state)
{
    unsigned olds = 0, news = 0;
    (void)state;

    for (uint64_t seed = 0; seed < 200; seed++) {
        struct files *fs = files_sim_create(NULL);
        struct file *f;

        put_durably(fs, "/a", "old");
        f = open_file(fs, "/a.tmp");
        write_at(fs, f, "new", 0);
        ok(fs->ops->sync(fs, f));
        fs->ops->close(fs, f);
        ok(fs->ops->rename(fs, "/a.tmp", "/a"));
        files_sim_crash(fs, seed);
        olds += is(fs, "/a", "old");
        news += is(fs, "/a", "new");
        assert_int_equal(olds + news, seed + 1);
        files_sim_free(fs);
    }
    assert_true(olds > 20);
    assert_true(news > 20);
}

static void files_replaced_in_full_are_there_after_any_crash(void **state)
{
    (void)state;

    for (uint64_t seed = 0; seed < 50; seed++) {
        struct files *fs = files_sim_create(NULL);

        ok(files_replace(fs, "/a", (struct bytes){(const uint8_t *)"one", 3}));
        ok(files_replace(fs, "/a", (struct bytes){(const uint8_t *)"two", 3}));
        files_sim_crash(fs, seed);
        expect(fs, "/a", "two");
        files_sim_free(fs);
    }
}

static void unsynced_writes_are_torn_at_sectors(void **state)
{
    enum { SECTORS = 20 };
    char before[SECTORS * 512 + 1], after[SECTORS * 512 + 1];
    bool torn = false;
    (void)state;

    memset(before, 'b', sizeof before - 1);
    memset(after, 'a', sizeof after - 1);
    before[sizeof before - 1] = after[sizeof after - 1] = '\0';
    for (uint64_t seed = 0; seed < 25; seed++) {
        struct files *fs = files_sim_create(NULL);
        struct bytes_mut content;
        size_t kept = 0;

        put_durably(fs, "/a", before);
        put(fs, "/a", after);
        files_sim_crash(fs, seed);
        ok(files_read_whole(fs, "/a", 1 << 20, &content));
        assert_int_equal(content.size, sizeof before - 1);
        for (size_t s = 0; s < SECTORS; s++) {
            bool is_new = content.data[s * 512] == 'a';

            assert_memory_equal(content.data + s * 512, (is_new ? after : before) + s * 512, 512);
            kept += is_new;
        }
        torn |= kept > 0 && kept < SECTORS;
        free(content.data);
        files_sim_free(fs);
    }
    assert_true(torn);
}

static void a_grown_file_ends_anywhere_between_after_a_crash(void **state)
{
    char text[5001];
    (void)state;

    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    for (uint64_t seed = 0; seed < 100; seed++) {
        struct files *fs = files_sim_create(NULL);
        struct file *f;
        struct bytes_mut content;

        put_durably(fs, "/a", "0123456789");
        f = open_file(fs, "/a");
        write_at(fs, f, text, 10);
        fs->ops->close(fs, f);
        files_sim_crash(fs, seed);
        ok(files_read_whole(fs, "/a", 1 << 20, &content));
        assert_in_range(content.size, 10, 5010);
        assert_memory_equal(content.data, "0123456789", 10);
        for (size_t i = 10; i < content.size; i++)
            assert_true(content.data[i] == 'x' || content.data[i] == 0);
        free(content.data);
        files_sim_free(fs);
    }
}

static void a_crash_is_the_same_for_the_same_seed(void **state)
{
    (void)state;

    for (uint64_t seed = 0; seed < 30; seed++) {
        struct bytes_mut content[2];

        for (int i = 0; i < 2; i++) {
            struct files *fs = files_sim_create(NULL);

            put_durably(fs, "/a", "0123456789");
            put(fs, "/a", "abcdefghijklmnopqrstuvwxyz");
            files_sim_crash(fs, seed);
            ok(files_read_whole(fs, "/a", 1 << 20, &content[i]));
            files_sim_free(fs);
        }
        assert_int_equal(content[0].size, content[1].size);
        assert_memory_equal(content[0].data, content[1].data, content[0].size);
        free(content[0].data);
        free(content[1].data);
    }
}

/* A kept rename whose source was made again must not lose either file. */
static void a_crash_never_reorders_changes_of_one_name(void **state)
{
    (void)state;

    for (uint64_t seed = 0; seed < 200; seed++) {
        struct files *fs = files_sim_create(NULL);

        put_durably(fs, "/a", "first");
        ok(fs->ops->rename(fs, "/a", "/b"));
        put(fs, "/a", "second");
        files_sim_crash(fs, seed);
        assert_true(is(fs, "/a", "first") != is(fs, "/b", "first"));
        files_sim_free(fs);
    }
}

static void a_failed_sync_is_not_made_good_by_the_next(void **state)
{
    struct files *fs = files_sim_create(NULL);
    const struct files_fault once = {.call = FILES_CALL_SYNC, .times = 1, .sys_errno = EIO};
    struct file *f;
    (void)state;

    put_durably(fs, "/a", "old");
    f = open_file(fs, "/a");
    write_at(fs, f, "new", 0);
    files_sim_fail(fs, &once);
    fails(fs->ops->sync(fs, f), EIO);
    ok(fs->ops->sync(fs, f));
    assert_false(files_sim_is_durable(fs, "/a"));
    write_at(fs, f, "far away", 5000); /* another sector: does not bring it back */
    ok(fs->ops->sync(fs, f));
    fs->ops->close(fs, f);
    expect(fs, "/a.x", NULL);
    files_sim_crash_losing_all(fs);
    f = open_file(fs, "/a");
    {
        char buffer[3];
        size_t got;

        ok(fs->ops->read(fs, f, buffer, 3, 0, &got));
        assert_memory_equal(buffer, "old", 3);
    }
    fs->ops->close(fs, f);
    files_sim_free(fs);
}

/* What it was to write is read back all the same, until memory lets go of it; what is still to be
 * written stays. */
static void what_a_failed_sync_left_in_memory_goes_with_it(void **state)
{
    struct files *fs = files_sim_create(NULL);
    const struct files_fault once = {.call = FILES_CALL_SYNC, .times = 1, .sys_errno = EIO};
    struct file *f;
    (void)state;

    ok(fs->ops->make_directory(fs, "/d"));
    put_durably(fs, "/d/a", "old");
    f = open_file(fs, "/d/a");
    write_at(fs, f, "new", 0);
    files_sim_fail(fs, &once);
    assert_false(files_sim_pretends(fs, "/d"));
    fails(fs->ops->sync(fs, f), EIO);
    assert_true(files_sim_pretends(fs, "/d"));
    expect(fs, "/d/a", "new");
    fs->ops->close(fs, f);
    put(fs, "/d/b", "to be written");
    ok(files_drop_cached_tree(fs, "/"));
    assert_false(files_sim_pretends(fs, "/d"));
    expect(fs, "/d/a", "old");
    expect(fs, "/d/b", "to be written");
    fails(fs->ops->drop_cached(fs, "/d/none"), ENOENT);
    fails(files_drop_cached_tree(fs, "/none"), ENOENT);
    files_sim_free(fs);
}

static void a_failed_sync_is_told_to_each_handle_of_the_file(void **state)
{
    struct files *fs = files_sim_create(NULL);
    const struct files_fault once = {
        .call = FILES_CALL_SYNC_FILESYSTEM, .times = 1, .sys_errno = EIO};
    struct file *dirty, *clean, *late;
    (void)state;

    ok(fs->ops->make_directory(fs, "/d"));
    put_durably(fs, "/d/clean", "old");
    clean = open_file(fs, "/d/clean");
    dirty = open_file(fs, "/d/dirty");
    write_at(fs, dirty, "new", 0);
    files_sim_fail(fs, &once);
    fails(fs->ops->sync_filesystem(fs, "/d"), EIO);
    fails(fs->ops->sync_filesystem(fs, "/d"), EIO);
    late = open_file(fs, "/d/dirty");
    ok(fs->ops->sync(fs, late));
    ok(fs->ops->sync(fs, clean));
    fails(fs->ops->sync(fs, dirty), EIO);
    ok(fs->ops->sync(fs, dirty));
    assert_true(files_sim_pretends(fs, "/d"));
    fs->ops->close(fs, dirty);
    fs->ops->close(fs, clean);
    fs->ops->close(fs, late);
    files_sim_kill(fs);
    ok(fs->ops->sync_filesystem(fs, "/d"));
    files_sim_free(fs);
}

static void faults_hit_the_calls_they_name(void **state)
{
    struct files *fs = files_sim_create(NULL);
    struct file *f, *g;
    (void)state;

    ok(fs->ops->make_directory(fs, "/bad"));
    f = open_file(fs, "/bad/a");
    g = open_file(fs, "/good");
    files_sim_fail(
        fs, &(struct files_fault){.call = FILES_CALL_ANY, .prefix = "/bad/", .sys_errno = EIO});
    fails(fs->ops->sync(fs, f), EIO);
    fails(fs->ops->remove(fs, "/bad/a"), EIO);
    ok(fs->ops->sync(fs, g));
    files_sim_heal(fs);
    ok(fs->ops->sync(fs, f));
    files_sim_fail(fs, &(struct files_fault){
                           .call = FILES_CALL_WRITE, .after = 1, .times = 1, .sys_errno = EDQUOT});
    write_at(fs, g, "1", 0);
    fails(fs->ops->write(fs, g, &(struct iovec){(void *)(uintptr_t) "2", 1}, 1, 1), EDQUOT);
    write_at(fs, g, "3", 1);
    fs->ops->close(fs, f);
    fs->ops->close(fs, g);
    expect(fs, "/good", "13");
    files_sim_free(fs);
}

static void a_full_disk_takes_a_part_and_then_nothing(void **state)
{
    struct files *fs = files_sim_create(NULL);
    struct file *f = open_file(fs, "/a");
    static char text[10000];
    struct iovec part = {text, sizeof text};
    int64_t size;
    (void)state;

    files_sim_set_capacity(fs, 8192);
    fails(fs->ops->write(fs, f, &part, 1, 0), ENOSPC);
    ok(fs->ops->size(fs, f, &size));
    assert_int_equal(size, 8192);
    assert_int_equal(files_sim_used_bytes(fs), 8192);
    fs->ops->close(fs, f);
    ok(fs->ops->remove(fs, "/a"));
    assert_int_equal(files_sim_used_bytes(fs), 0);
    f = open_file(fs, "/b");
    part.iov_len = 4096;
    ok(fs->ops->write(fs, f, &part, 1, 0));
    fs->ops->close(fs, f);
    files_sim_crash_losing_all(fs);
    assert_int_equal(files_sim_used_bytes(fs), 0);
    files_sim_free(fs);
}

static void a_partial_write_fails_half_way(void **state)
{
    struct files *fs = files_sim_create(NULL);
    struct file *f = open_file(fs, "/a");
    (void)state;

    files_sim_fail(fs,
                   &(struct files_fault){
                       .call = FILES_CALL_WRITE, .times = 1, .sys_errno = ENOSPC, .partial = true});
    fails(fs->ops->write(fs, f, &(struct iovec){(void *)(uintptr_t) "12345678", 8}, 1, 0), ENOSPC);
    fs->ops->close(fs, f);
    expect(fs, "/a", "1234");
    files_sim_free(fs);
}

static void a_flipped_bit_is_on_the_disk_too(void **state)
{
    struct files *fs = files_sim_create(NULL);
    (void)state;

    put_durably(fs, "/a", "abc");
    assert_true(files_sim_flip_bit(fs, "/a", 1, 0));
    assert_false(files_sim_flip_bit(fs, "/a", 3, 0));
    assert_false(files_sim_flip_bit(fs, "/b", 0, 0));
    expect(fs, "/a", "acc");
    files_sim_crash_losing_all(fs);
    expect(fs, "/a", "acc");
    files_sim_free(fs);
}

static void cold_files_are_warm_after_a_read(void **state)
{
    struct files *fs = files_sim_create(NULL);
    struct file *f;
    char buffer[3];
    size_t got;
    bool cold;
    (void)state;

    put(fs, "/a", "abc");
    f = open_file(fs, "/a");
    files_sim_set_cold(fs, true);
    ok(fs->ops->read_nowait(fs, f, buffer, 3, 0, &got, &cold));
    assert_true(cold);
    assert_int_equal(got, 0);
    ok(fs->ops->read(fs, f, buffer, 3, 0, &got));
    ok(fs->ops->read_nowait(fs, f, buffer, 3, 0, &got, &cold));
    assert_false(cold);
    assert_int_equal(got, 3);
    fs->ops->close(fs, f);
    files_sim_free(fs);
}

static void names_follow_linux_rules(void **state)
{
    struct files *fs = files_sim_create(NULL);
    struct file *f;
    (void)state;

    fails(fs->ops->open(fs, "/no/a", FILE_WRITE | FILE_CREATE, &f), ENOENT);
    fails(fs->ops->open(fs, "/a", FILE_WRITE, &f), ENOENT);
    put(fs, "/a", "text");
    fails(fs->ops->open(fs, "/a", FILE_WRITE | FILE_CREATE | FILE_EXCLUSIVE, &f), EEXIST);
    fails(fs->ops->open(fs, "/a/b", FILE_READ_ONLY, &f), ENOTDIR);
    fails(fs->ops->open(fs, "/", FILE_READ_ONLY, &f), EISDIR);
    ok(fs->ops->make_directory(fs, "/d"));
    fails(fs->ops->make_directory(fs, "/d"), EEXIST);
    fails(fs->ops->remove(fs, "/d"), EISDIR);
    fails(fs->ops->remove_directory(fs, "/a"), ENOTDIR);
    put(fs, "/d/b", "text");
    fails(fs->ops->remove_directory(fs, "/d"), ENOTEMPTY);
    fails(fs->ops->rename(fs, "/a", "/d"), EISDIR);
    fails(fs->ops->rename(fs, "/none", "/d"), ENOENT);
    ok(fs->ops->rename(fs, "/d", "/e"));
    expect(fs, "/e/b", "text");
    ok(files_remove_tree(fs, "/e"));
    ok(files_remove_tree(fs, "/e"));
    expect(fs, "/e/b", NULL);
    files_sim_free(fs);
}

/* Each call fails in turn; the file is always old or new, and a later attempt succeeds. */
static void replacing_a_file_survives_the_failure_of_each_call(void **state)
{
    uint64_t n;
    (void)state;

    for (n = 0; n < 100; n++) {
        struct files *fs = files_sim_create(NULL);
        struct status st;

        ok(files_replace(fs, "/a", (struct bytes){(const uint8_t *)"old", 3}));
        files_sim_fail(fs, &(struct files_fault){
                               .call = FILES_CALL_ANY, .after = n, .times = 1, .sys_errno = EIO});
        st = files_replace(fs, "/a", (struct bytes){(const uint8_t *)"new", 3});
        files_sim_heal(fs);
        assert_int_equal(files_sim_open_files(fs), 0);
        assert_true(is(fs, "/a", "old") || is(fs, "/a", "new"));
        if (!status_failed(st))
            expect(fs, "/a", "new");
        ok(files_replace(fs, "/a", (struct bytes){(const uint8_t *)"newer", 5}));
        files_sim_crash_losing_all(fs);
        expect(fs, "/a", "newer");
        files_sim_free(fs);
        if (!status_failed(st))
            break;
    }
    assert_in_range(n, 4, 20);
}

static void making_and_removing_trees_survives_the_failure_of_each_call(void **state)
{
    uint64_t n;
    (void)state;

    for (n = 0; n < 100; n++) {
        struct files *fs = files_sim_create(NULL);
        struct status st;

        files_sim_fail(fs, &(struct files_fault){
                               .call = FILES_CALL_ANY, .after = n, .times = 1, .sys_errno = EIO});
        st = files_make_directories(fs, "/a/b//c/");
        if (!status_failed(st))
            st = files_remove_tree(fs, "/a");
        files_sim_heal(fs);
        ok(files_make_directories(fs, "a/b/c"));
        ok(files_remove_tree(fs, "/a"));
        files_sim_free(fs);
        if (!status_failed(st))
            break;
    }
    assert_in_range(n, 8, 40);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_written_reads_back),
        cmocka_unit_test(a_killed_process_leaves_everything_it_wrote),
        cmocka_unit_test(a_lock_is_held_once),
        cmocka_unit_test(a_crash_may_lose_all_that_was_not_synced),
        cmocka_unit_test(a_synced_file_is_lost_with_its_unsynced_name),
        cmocka_unit_test(a_removal_or_truncation_can_be_undone_by_a_crash),
        cmocka_unit_test(syncing_the_file_system_makes_everything_durable),
        cmocka_unit_test(a_replaced_file_is_old_or_new_after_any_crash),
        cmocka_unit_test(files_replaced_in_full_are_there_after_any_crash),
        cmocka_unit_test(unsynced_writes_are_torn_at_sectors),
        cmocka_unit_test(a_grown_file_ends_anywhere_between_after_a_crash),
        cmocka_unit_test(a_crash_is_the_same_for_the_same_seed),
        cmocka_unit_test(a_crash_never_reorders_changes_of_one_name),
        cmocka_unit_test(a_failed_sync_is_not_made_good_by_the_next),
        cmocka_unit_test(what_a_failed_sync_left_in_memory_goes_with_it),
        cmocka_unit_test(a_failed_sync_is_told_to_each_handle_of_the_file),
        cmocka_unit_test(faults_hit_the_calls_they_name),
        cmocka_unit_test(a_full_disk_takes_a_part_and_then_nothing),
        cmocka_unit_test(a_partial_write_fails_half_way),
        cmocka_unit_test(a_flipped_bit_is_on_the_disk_too),
        cmocka_unit_test(cold_files_are_warm_after_a_read),
        cmocka_unit_test(names_follow_linux_rules),
        cmocka_unit_test(replacing_a_file_survives_the_failure_of_each_call),
        cmocka_unit_test(making_and_removing_trees_survives_the_failure_of_each_call),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
