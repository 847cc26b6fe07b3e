#include "tests/unit/test.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "storage/files_real.h"

static char root[64];

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

/* A path below the test's own folder; good until the fourth call after it. */
static const char *at(const char *name)
{
    static char paths[4][PATH_MAX];
    static unsigned next;

    next = (next + 1) % 4;
    snprintf(paths[next], sizeof paths[next], "%s/%s", root, name);
    return paths[next];
}

static struct files *fresh(size_t descriptors_max)
{
    struct files *fs;

    ok(files_real_create(descriptors_max, &fs));
    ok(files_remove_tree(fs, root));
    ok(files_make_directories(fs, root));
    return fs;
}

static void done(struct files *fs)
{
    ok(files_remove_tree(fs, root));
    files_real_free(fs);
}

static struct file *open_file(struct files *fs, const char *name)
{
    struct file *f;

    ok(fs->ops->open(fs, at(name), FILE_WRITE | FILE_CREATE, &f));
    return f;
}

static void write_text(struct files *fs, struct file *f, const char *text)
{
    ok(fs->ops->write(fs, f, &(struct iovec){(void *)(uintptr_t)text, strlen(text)}, 1, 0));
}

static void expect_text(struct files *fs, struct file *f, const char *text)
{
    char buffer[256];
    size_t got;

    ok(fs->ops->read(fs, f, buffer, sizeof buffer, 0, &got));
    assert_int_equal(got, strlen(text));
    assert_memory_equal(buffer, text, got);
}

static struct files_real_stats stats(struct files *fs)
{
    struct files_real_stats s;

    files_real_stats(fs, &s);
    return s;
}

static void what_was_written_reads_back(void **state)
{
    struct files *fs = fresh(0);
    struct file *f = open_file(fs, "a");
    const struct iovec parts[] = {
        {(void *)(uintptr_t) "one ", 4}, {NULL, 0}, {(void *)(uintptr_t) "two", 3}};
    char buffer[8];
    size_t got;
    int64_t size;
    bool cold;
    (void)state;

    ok(fs->ops->write(fs, f, parts, 3, 10));
    ok(fs->ops->size(fs, f, &size));
    assert_int_equal(size, 17);
    ok(fs->ops->read(fs, f, buffer, sizeof buffer, 12, &got));
    assert_int_equal(got, 5);
    assert_memory_equal(buffer, "e two", 5);
    /* just written: in memory, if that can be told */
    ok(fs->ops->read_nowait(fs, f, buffer, 3, 10, &got, &cold));
    assert_int_equal(got, cold ? 0 : 3);
    ok(fs->ops->sync(fs, f));
    ok(files_drop_cached_tree(fs, root)); /* and is read from the disk, where that can be told */
    ok(fs->ops->read(fs, f, buffer, sizeof buffer, 12, &got));
    assert_memory_equal(buffer, "e two", 5);
    fs->ops->sync_start(fs, f, 0, 17);
    ok(fs->ops->truncate(fs, f, 3));
    ok(fs->ops->size(fs, f, &size));
    assert_int_equal(size, 3);
    ok(fs->ops->sync_directory(fs, root));
    ok(fs->ops->sync_filesystem(fs, root));
    ok(fs->ops->sync_filesystem(fs, root));
    fs->ops->close(fs, f);
    done(fs);
}

/* More parts than one system call takes. */
static void writes_of_many_parts_are_complete(void **state)
{
    enum { PARTS = 3000 };
    static struct iovec parts[PARTS];
    static char read[PARTS];
    struct files *fs = fresh(0);
    struct file *f = open_file(fs, "a");
    size_t got;
    (void)state;

    for (size_t i = 0; i < PARTS; i++)
        parts[i] = (struct iovec){(void *)(uintptr_t) & "0123456789"[i % 10], 1};
    ok(fs->ops->write(fs, f, parts, PARTS, 0));
    ok(fs->ops->read(fs, f, read, PARTS, 0, &got));
    assert_int_equal(got, PARTS);
    for (size_t i = 0; i < PARTS; i++)
        assert_int_equal(read[i], "0123456789"[i % 10]);
    fs->ops->close(fs, f);
    done(fs);
}

static void errors_are_those_of_linux(void **state)
{
    struct files *fs = fresh(0);
    struct file *f, *second;
    struct file_stat st;
    int64_t total, usable;
    (void)state;

    fails(fs->ops->open(fs, at("none"), FILE_READ_ONLY, &f), ENOENT);
    fails(fs->ops->open(fs, root, FILE_READ_ONLY, &f), EISDIR);
    fails(fs->ops->open(fs, at("no/where"), FILE_WRITE | FILE_CREATE, &f), ENOENT);
    f = open_file(fs, "a");
    fails(fs->ops->open(fs, at("a"), FILE_WRITE | FILE_CREATE | FILE_EXCLUSIVE, &second), EEXIST);
    fs->ops->close(fs, f);
    assert_int_equal(mkfifo(at("pipe"), 0600), 0);
    fails(fs->ops->open(fs, at("pipe"), FILE_READ_ONLY | FILE_WRITE, &f), EINVAL);
    fails(fs->ops->remove(fs, at("none")), ENOENT);
    fails(fs->ops->stat(fs, at("none"), &st), ENOENT);
    fails(fs->ops->make_directory(fs, root), EEXIST);
    fails(fs->ops->remove_directory(fs, root), ENOTEMPTY);
    fails(fs->ops->rename(fs, at("none"), at("b")), ENOENT);
    fails(fs->ops->sync_directory(fs, at("none")), ENOENT);
    fails(fs->ops->sync_filesystem(fs, at("none")), ENOENT);
    fails(fs->ops->drop_cached(fs, at("none")), ENOENT);
    fails(fs->ops->space(fs, at("none"), &total, &usable), ENOENT);
    ok(fs->ops->space(fs, root, &total, &usable));
    assert_true(usable > 0 && total >= usable);
    ok(fs->ops->stat(fs, root, &st));
    assert_true(st.is_directory);
    assert_int_equal(stats(fs).files, 0);
    assert_int_equal(stats(fs).descriptors, 0);
    done(fs);
}

static void a_lock_excludes_others_and_apache_kafkas_record_lock(void **state)
{
    struct files *fs = fresh(0);
    struct file *lock, *second;
    struct flock kafka = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    int fd;
    (void)state;

    ok(fs->ops->lock(fs, at(".lock"), &lock));
    fails(fs->ops->lock(fs, at(".lock"), &second), EWOULDBLOCK);
    fd = open(at(".lock"), O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(fcntl(fd, F_SETLK, &kafka), -1);
    fs->ops->unlock(fs, lock);
    assert_int_equal(fcntl(fd, F_SETLK, &kafka), 0);
    fails(fs->ops->lock(fs, at(".lock"), &second), EWOULDBLOCK);
    close(fd);
    done(fs);
}

static void descriptors_stay_within_their_bound(void **state)
{
    enum { FILES = 100 };
    struct files *fs = fresh(4);
    struct file *files[FILES];
    char name[24], text[24];
    (void)state;

    for (int i = 0; i < FILES; i++) {
        snprintf(name, sizeof name, "f%d", i);
        files[i] = open_file(fs, name);
        snprintf(text, sizeof text, "text %d", i);
        write_text(fs, files[i], text);
        assert_in_range(stats(fs).descriptors, 1, 4);
    }
    for (int i = FILES - 1; i >= 0; i--) {
        snprintf(text, sizeof text, "text %d", i);
        expect_text(fs, files[i], text);
        assert_in_range(stats(fs).descriptors, 1, 4);
    }
    assert_true(stats(fs).evictions >= 2 * FILES - 8);
    for (int i = 0; i < FILES; i++)
        fs->ops->close(fs, files[i]);
    assert_int_equal(stats(fs).descriptors, 0);
    done(fs);
}

static void a_hot_file_keeps_its_descriptor(void **state)
{
    enum { OTHERS = 50 };
    struct files *fs = fresh(8);
    struct file *hot = open_file(fs, "hot");
    struct file *others[OTHERS];
    char name[24];
    size_t opens;
    (void)state;

    write_text(fs, hot, "x");
    ok(fs->ops->sync(fs, hot));
    for (int i = 0; i < OTHERS; i++) {
        snprintf(name, sizeof name, "f%d", i);
        others[i] = open_file(fs, name);
        expect_text(fs, hot, "x");
    }
    opens = stats(fs).opens;
    assert_int_equal(opens, OTHERS + 1);
    for (int i = 0; i < OTHERS; i++)
        fs->ops->close(fs, others[i]);
    fs->ops->close(fs, hot);
    done(fs);
}

/* Written and not yet synced: its descriptor is the one that hears of a failed write-back. */
static void an_unsynced_file_is_evicted_last(void **state)
{
    enum { CLEAN = 20 };
    struct files *fs = fresh(8);
    struct file *unsynced = open_file(fs, "unsynced");
    struct file *clean[CLEAN];
    char name[24];
    size_t opens;
    (void)state;

    write_text(fs, unsynced, "x");
    for (int i = 0; i < CLEAN; i++) {
        snprintf(name, sizeof name, "f%d", i);
        clean[i] = open_file(fs, name);
    }
    opens = stats(fs).opens;
    expect_text(fs, unsynced, "x");
    assert_int_equal(stats(fs).opens, opens);
    ok(fs->ops->sync_filesystem(fs, root)); /* counts as a sync of each file */
    for (int round = 0; round < 3; round++)
        for (int i = 0; i < CLEAN; i++)
            expect_text(fs, clean[i], "");
    opens = stats(fs).opens;
    expect_text(fs, unsynced, "x");
    assert_int_equal(stats(fs).opens, opens + 1);
    for (int i = 0; i < CLEAN; i++)
        fs->ops->close(fs, clean[i]);
    fs->ops->close(fs, unsynced);
    done(fs);
}

static void pinned_descriptors_stay_open_beyond_the_bound(void **state)
{
    enum { PINNED = 10 };
    struct files *fs = fresh(4);
    struct file *files[PINNED];
    int descriptors[PINNED];
    char name[24], c;
    (void)state;

    for (int i = 0; i < PINNED; i++) {
        snprintf(name, sizeof name, "f%d", i);
        files[i] = open_file(fs, name);
        write_text(fs, files[i], name + 1);
        descriptors[i] = fs->ops->pin(fs, files[i]);
        assert_true(descriptors[i] >= 0);
    }
    assert_int_equal(stats(fs).descriptors, PINNED);
    for (int i = 0; i < PINNED; i++) {
        assert_int_equal(pread(descriptors[i], &c, 1, 0), 1);
        assert_int_equal(c, '0' + i);
        fs->ops->unpin(fs, files[i]);
    }
    {
        struct file *one_more = open_file(fs, "more");

        assert_in_range(stats(fs).descriptors, 1, 4);
        fs->ops->close(fs, one_more);
    }
    for (int i = 0; i < PINNED; i++)
        fs->ops->close(fs, files[i]);
    done(fs);
}

/* Opens so many others that no idle descriptor survives. */
static void evict_all(struct files *fs)
{
    for (int i = 0; i < 3; i++) {
        struct file *others[12];
        char name[24];

        for (int k = 0; k < 12; k++) {
            snprintf(name, sizeof name, "evict%d", k);
            others[k] = open_file(fs, name);
        }
        for (int k = 0; k < 12; k++)
            fs->ops->close(fs, others[k]);
    }
}

static void a_handle_follows_its_file_through_renames(void **state)
{
    struct files *fs = fresh(4);
    struct file *f;
    (void)state;

    ok(files_make_directories(fs, at("topic-0")));
    f = open_file(fs, "topic-0/00.log");
    write_text(fs, f, "text");
    ok(fs->ops->rename(fs, at("topic-0/00.log"), at("topic-0/00.log.deleted")));
    evict_all(fs);
    expect_text(fs, f, "text");
    ok(fs->ops->rename(fs, at("topic-0"), at("topic-0.1-delete")));
    evict_all(fs);
    expect_text(fs, f, "text");
    ok(files_make_directories(fs, at("other/deep")));
    ok(fs->ops->rename(fs, at("topic-0.1-delete"), at("other/deep/topic-0")));
    evict_all(fs);
    expect_text(fs, f, "text");
    ok(fs->ops->rename(fs, at("other"), at("another")));
    evict_all(fs);
    expect_text(fs, f, "text");
    fs->ops->close(fs, f);
    done(fs);
}

static void a_new_file_under_an_old_name_is_not_the_old_one(void **state)
{
    struct files *fs = fresh(4);
    struct file *old, *new;
    (void)state;

    ok(files_make_directories(fs, at("t-0")));
    old = open_file(fs, "t-0/a");
    write_text(fs, old, "old");
    ok(fs->ops->rename(fs, at("t-0"), at("t-0.x-delete")));
    ok(files_make_directories(fs, at("t-0")));
    new = open_file(fs, "t-0/a");
    write_text(fs, new, "new");
    evict_all(fs);
    expect_text(fs, old, "old");
    expect_text(fs, new, "new");
    fs->ops->close(fs, old);
    fs->ops->close(fs, new);
    done(fs);
}

static void a_removed_or_replaced_file_lives_as_long_as_its_handle(void **state)
{
    struct files *fs = fresh(4);
    struct file *removed = open_file(fs, "removed"), *replaced = open_file(fs, "replaced"), *f;
    (void)state;

    write_text(fs, removed, "removed");
    write_text(fs, replaced, "replaced");
    evict_all(fs);
    ok(fs->ops->remove(fs, at("removed")));
    ok(files_replace(fs, at("replaced"), (struct bytes){(const uint8_t *)"by this", 7}));
    evict_all(fs);
    expect_text(fs, removed, "removed");
    expect_text(fs, replaced, "replaced");
    f = open_file(fs, "replaced");
    expect_text(fs, f, "by this");
    fs->ops->close(fs, f);
    fs->ops->close(fs, removed);
    fs->ops->close(fs, replaced);
    done(fs);
}

static void a_file_exchanged_by_others_is_not_taken_for_ours(void **state)
{
    struct files *fs = fresh(4);
    struct file *f = open_file(fs, "a");
    char buffer[4];
    size_t got;
    int64_t size;
    int fd;
    (void)state;

    evict_all(fs);
    assert_int_equal(rename(at("a"), at("kept")), 0);
    fails(fs->ops->size(fs, f, &size), ENOENT);
    fd = open(at("a"), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    close(fd);
    fails(fs->ops->read(fs, f, buffer, 4, 0, &got), ESTALE);
    assert_int_equal(fs->ops->pin(fs, f), -1);
    fs->ops->close(fs, f);
    done(fs);
}

/* ---- threads ---- */

enum { SHARED_FILES = 100, THREADS = 3, ROUNDS = 4000 };

struct crowd {
    struct files *fs;
    struct file *files[SHARED_FILES];
    atomic_bool wrong;
};

static void *use_files(void *arg)
{
    struct crowd *c = arg;
    unsigned random = 12345 + (unsigned)(uintptr_t)&random;

    for (int i = 0; i < ROUNDS; i++) {
        unsigned which, got_which;
        size_t got;

        random = random * 1103515245 + 12345;
        which = random / 65536 % SHARED_FILES;
        if (i % 8 == 0) {
            int fd = c->fs->ops->pin(c->fs, c->files[which]);

            if (fd < 0 || pread(fd, &got_which, sizeof got_which, 0) != sizeof got_which ||
                got_which != which)
                atomic_store(&c->wrong, true);
            c->fs->ops->unpin(c->fs, c->files[which]);
        } else if (status_failed(c->fs->ops->read(c->fs, c->files[which], &got_which,
                                                  sizeof got_which, 0, &got)) ||
                   got_which != which) {
            atomic_store(&c->wrong, true);
        }
    }
    return NULL;
}

static void three_threads_share_four_descriptors(void **state)
{
    static struct crowd c;
    pthread_t threads[THREADS];
    char name[24];
    (void)state;

    c.fs = fresh(4);
    for (unsigned i = 0; i < SHARED_FILES; i++) {
        snprintf(name, sizeof name, "f%u", i);
        c.files[i] = open_file(c.fs, name);
        ok(c.fs->ops->write(c.fs, c.files[i], &(struct iovec){&i, sizeof i}, 1, 0));
    }
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, use_files, &c), 0);
    for (int i = 0; i < 50; i++) { /* meanwhile names change */
        const char *from = i % 2 ? "renamed" : "f0", *to = i % 2 ? "f0" : "renamed";

        ok(c.fs->ops->rename(c.fs, at(from), at(to)));
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    assert_false(atomic_load(&c.wrong));
    assert_in_range(stats(c.fs).descriptors, 1, 4 + THREADS);
    for (unsigned i = 0; i < SHARED_FILES; i++)
        c.fs->ops->close(c.fs, c.files[i]);
    done(c.fs);
}

static int make_root(void **state)
{
    (void)state;
    snprintf(root, sizeof root, "/tmp/trivet-files-%d", (int)getpid());
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_written_reads_back),
        cmocka_unit_test(writes_of_many_parts_are_complete),
        cmocka_unit_test(errors_are_those_of_linux),
        cmocka_unit_test(a_lock_excludes_others_and_apache_kafkas_record_lock),
        cmocka_unit_test(descriptors_stay_within_their_bound),
        cmocka_unit_test(a_hot_file_keeps_its_descriptor),
        cmocka_unit_test(an_unsynced_file_is_evicted_last),
        cmocka_unit_test(pinned_descriptors_stay_open_beyond_the_bound),
        cmocka_unit_test(a_handle_follows_its_file_through_renames),
        cmocka_unit_test(a_new_file_under_an_old_name_is_not_the_old_one),
        cmocka_unit_test(a_removed_or_replaced_file_lives_as_long_as_its_handle),
        cmocka_unit_test(a_file_exchanged_by_others_is_not_taken_for_ours),
        cmocka_unit_test(three_threads_share_four_descriptors),
    };

    return cmocka_run_group_tests(tests, make_root, NULL);
}
