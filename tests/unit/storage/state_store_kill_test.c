/* The state store's process is killed before each call in turn that RocksDB makes to change a file:
 * while the store is opened, written to files (a checkpoint), and closed. Whatever the point, the
 * next process finds whole batches, none missing that a flush had covered.
 *
 * This program runs itself as the process that dies. RocksDB's calls come by here because a
 * program's own functions go before the C library's. */

#include "tests/unit/test.h"

#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "protocol/base/byteorder.h"
#include "protocol/base/check.h"
#include "storage/files_real.h"
#include "storage/state_store_rocksdb.h"

#define PARTITION  7
#define A_LIFE     3 /* batches before each flush */
#define POINTS_MAX 2000

/* ---- the calls ---- */

static _Atomic long calls_left; /* 0: not counting */

static void point(void)
{
    long left = atomic_load(&calls_left);

    while (left > 0 && !atomic_compare_exchange_weak(&calls_left, &left, left - 1))
        ;
    if (left == 1)
        kill(getpid(), SIGKILL);
}

#define CALL(type, name, parameters, ...)                                                          \
    type point_##name parameters __asm__(#name);                                                   \
    type point_##name parameters                                                                   \
    {                                                                                              \
        point();                                                                                   \
        return (type)syscall(__VA_ARGS__);                                                         \
    }

CALL(ssize_t, write, (int fd, const void *at, size_t size), SYS_write, fd, at, size)
CALL(ssize_t, pwrite, (int fd, const void *at, size_t size, off_t offset), SYS_pwrite64, fd, at,
     size, offset)
CALL(int, fsync, (int fd), SYS_fsync, fd)
CALL(int, fdatasync, (int fd), SYS_fdatasync, fd)
CALL(int, sync_file_range, (int fd, off_t from, off_t size, unsigned flags), SYS_sync_file_range,
     fd, from, size, flags)
CALL(int, ftruncate, (int fd, off_t size), SYS_ftruncate, fd, size)
CALL(int, fallocate, (int fd, int mode, off_t from, off_t size), SYS_fallocate, fd, mode, from,
     size)
CALL(int, rename, (const char *from, const char *to), SYS_rename, from, to)
CALL(int, unlink, (const char *path), SYS_unlink, path)
CALL(int, mkdir, (const char *path, mode_t mode), SYS_mkdir, path, mode)

int point_open(const char *path, int flags, ...) __asm__("open");
int point_open(const char *path, int flags, ...)
{
    mode_t mode = 0;
    va_list args;

    va_start(args, flags);
    if (flags & O_CREAT) {
        mode = va_arg(args, mode_t);
        point();
    }
    va_end(args);
    return (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}

/* ---- numbered batches ---- */

static const struct state_partition partition = {STATE_TOPIC_CONSUMER_OFFSETS, PARTITION};

static void write_batch(struct state_store *s, int64_t number)
{
    struct state_batch *b = state_batch_new(s);
    struct state_mark mark = {.offset = number};
    uint8_t key[5], value[8];

    CHECK(b);
    store_be32(key, PARTITION);
    key[4] = (uint8_t)('0' + number % 5);
    store_be64(value, (uint64_t)number);
    state_batch_put(b, STATE_OFFSETS, (struct bytes){key, sizeof key},
                    (struct bytes){value, sizeof value});
    state_batch_set_mark(b, partition, &mark);
    CHECK(!status_failed(state_batch_commit(b, NULL)));
    state_batch_free(b);
}

/* The last batch, when all is as it was after that one; -1: it is as it never was. */
static int64_t whole_prefix(struct state_store *s)
{
    struct state_mark mark = {0};
    bool found;
    struct arena a;

    CHECK(!status_failed(state_store_get_mark(s, partition, &mark, &found, NULL)));
    arena_init(&a, 4096);
    for (int64_t number = mark.offset; number > 0 && number > mark.offset - 5; number--) {
        struct bytes value;
        uint8_t key[5];

        store_be32(key, PARTITION);
        key[4] = (uint8_t)('0' + number % 5);
        CHECK(!status_failed(
            state_store_get(s, STATE_OFFSETS, (struct bytes){key, sizeof key}, &a, &value, NULL)));
        if (!value.data || (int64_t)load_be64(value.data) != number)
            mark.offset = -1;
    }
    arena_free(&a);
    return mark.offset;
}

/* ---- a life ---- */

/* Shared by all lives. */
struct progress {
    _Atomic int64_t committed, flushed;
};

static struct progress *progress_map(const char *directory)
{
    char path[128];
    void *map;
    int fd;

    snprintf(path, sizeof path, "%s/progress", directory);
    fd = open(path, O_RDWR | O_CREAT, 0644);
    CHECK(fd >= 0);
    CHECK(ftruncate(fd, sizeof(struct progress)) == 0);
    map = mmap(NULL, sizeof(struct progress), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    CHECK(map != MAP_FAILED);
    close(fd);
    return map;
}

static struct state_store *open_store(struct files *files, const char *directory)
{
    struct state_store_report report;
    struct state_store *s;

    CHECK(!status_failed(
        state_store_rocksdb_open(files, directory, &STATE_STORE_OPTIONS_DEFAULT, &report, &s)));
    CHECK(!report.rebuilt);
    return s;
}

/* Ends with 0, or is killed before its last_call-th call. */
static int live(const char *directory, long last_call)
{
    struct progress *p = progress_map(directory);
    struct state_store *s;
    struct files *files;
    int64_t last;

    CHECK(!status_failed(files_real_create(16, &files)));
    atomic_store(&calls_left, last_call);
    s = open_store(files, directory);
    last = whole_prefix(s);
    CHECK(last >= atomic_load(&p->flushed) && last <= atomic_load(&p->committed));
    atomic_store(&p->committed, last);
    for (int flushes = 0; flushes < 2; flushes++) {
        for (int i = 0; i < A_LIFE; i++) {
            write_batch(s, ++last);
            atomic_store(&p->committed, last);
        }
        CHECK(!status_failed(state_store_flush(s)));
        atomic_store(&p->flushed, last);
    }
    state_store_close(s);
    atomic_store(&calls_left, 0);
    files_real_free(files);
    return 0;
}

static int run_life(const char *directory, long last_call)
{
    char number[32];
    int status;
    pid_t pid;

    snprintf(number, sizeof number, "%ld", last_call);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        execl("/proc/self/exe", "state_store_kill_test", "live", directory, number, (char *)NULL);
        _exit(99);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static void death_before_any_call_leaves_whole_batches(void **state)
{
    char directory[] = "/tmp/trivet-kill-XXXXXX";
    struct progress *p;
    struct files *files;
    int status = -1;
    long n = 0;
    (void)state;

    assert_non_null(mkdtemp(directory));
    assert_int_equal(files_real_create(64, &files).code, KERR_NONE);
    state_store_close(open_store(files, directory));
    p = progress_map(directory);
    while (status != 0 && ++n < POINTS_MAX) {
        struct state_store *s;
        int64_t last;

        status = run_life(directory, n);
        if (status != 0 && !(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL))
            fail_msg("point %ld: a life ended with status %d", n, status);
        s = open_store(files, directory);
        last = whole_prefix(s);
        if (last < atomic_load(&p->flushed) || last > atomic_load(&p->committed))
            fail_msg("point %ld: %lld is left; %lld were flushed, %lld committed", n,
                     (long long)last, (long long)p->flushed, (long long)p->committed);
        state_store_close(s);
        atomic_store(&p->committed, last);
        atomic_store(&p->flushed, last);
    }
    printf("%ld points\n", n - 1);
    assert_int_equal(status, 0); /* the last life lived through all of its calls */
    assert_true(n > 20);         /* else they did not come by here */
    munmap(p, sizeof *p);
    assert_int_equal(files_remove_tree(files, directory).code, KERR_NONE);
    files_real_free(files);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(death_before_any_call_leaves_whole_batches),
    };

    if (argc == 4 && strcmp(argv[1], "live") == 0)
        return live(argv[2], atol(argv[3]));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
