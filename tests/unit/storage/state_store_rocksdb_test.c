/* What only a store on a disk can do: come back, be damaged, be killed, make others wait. */

#include "tests/unit/test.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "protocol/base/byteorder.h"
#include "protocol/base/check.h"
#include "storage/files_real.h"
#include "storage/state_store_rocksdb.h"

struct world {
    struct files *files;
    char directory[64];
    struct state_store *store; /* NULL: not open */
    struct state_store_report report;
};

static int setup(void **state)
{
    struct world *w = calloc(1, sizeof *w);

    strcpy(w->directory, "/tmp/trivet-rocksdb-XXXXXX");
    assert_non_null(mkdtemp(w->directory));
    assert_int_equal(files_real_create(64, &w->files).code, KERR_NONE);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;

    state_store_close(w->store);
    assert_int_equal(files_remove_tree(w->files, w->directory).code, KERR_NONE);
    files_real_free(w->files);
    free(w);
    return 0;
}

static struct status try_to_open_with(struct world *w, const struct state_store_options *options)
{
    w->store = NULL;
    return state_store_rocksdb_open(w->files, w->directory, options, &w->report, &w->store);
}

static struct status try_to_open(struct world *w)
{
    return try_to_open_with(w, &STATE_STORE_OPTIONS_DEFAULT);
}

static void open_store(struct world *w)
{
    assert_int_equal(try_to_open(w).code, KERR_NONE);
}

static void close_store(struct world *w)
{
    state_store_close(w->store);
    w->store = NULL;
}

/* ---- numbered batches: each writes to every family, so that half a batch, or one of two families,
 * is noticed ---- */

#define OFFSET_KEYS 5

static const struct state_partition mark_of[] = {{STATE_TOPIC_CONSUMER_OFFSETS, 7},
                                                 {STATE_TOPIC_TRANSACTION_STATE, 7},
                                                 {STATE_TOPIC_SHARE_GROUP_STATE, 7}};

struct key {
    uint8_t bytes[6];
};

static struct bytes key_in(struct key *k, char first, char second)
{
    store_be32(k->bytes, 7);
    k->bytes[4] = (uint8_t)first;
    k->bytes[5] = (uint8_t)second;
    return (struct bytes){k->bytes, sizeof k->bytes};
}

static struct status write_batch(struct state_store *s, int64_t number, bool *would_block)
{
    struct state_batch *b = state_batch_new(s);
    uint8_t bytes[8];
    struct bytes value = {bytes, sizeof bytes};
    struct status st;
    struct key k;

    store_be64(bytes, (uint64_t)number);
    state_batch_put(b, STATE_OFFSETS, key_in(&k, 'k', (char)('0' + number % OFFSET_KEYS)), value);
    state_batch_put(b, STATE_GROUPS, key_in(&k, 'l', 0), value);
    state_batch_put(b, STATE_TRANSACTIONS, key_in(&k, 'l', 0), value);
    state_batch_put(b, STATE_SHARE, key_in(&k, 'l', 0), value);
    for (size_t i = 0; i < sizeof mark_of / sizeof mark_of[0]; i++) {
        struct state_mark mark = {.offset = number};

        state_batch_set_mark(b, mark_of[i], &mark);
    }
    st = state_batch_commit(b, would_block);
    state_batch_free(b);
    return st;
}

static void write_batches(struct world *w, int64_t first, int64_t last)
{
    for (int64_t i = first; i <= last; i++)
        assert_int_equal(write_batch(w->store, i, NULL).code, KERR_NONE);
}

/* The number under a key; 0: there is none. False: it could not be read. */
static bool read_number(struct state_store *s, enum state_family family, char first, char second,
                        int64_t *out)
{
    struct bytes value;
    struct arena a;
    struct status st;
    struct key k;

    arena_init(&a, 4096);
    st = state_store_get(s, family, key_in(&k, first, second), &a, &value, NULL);
    *out = value.data ? (int64_t)load_be64(value.data) : 0;
    arena_free(&a);
    return !status_failed(st);
}

/* The number of the last batch of which there is anything, when the store is as it was after that
 * batch; -1: it could not be read; -2: it is as it never was. */
static int64_t whole_prefix(struct state_store *s)
{
    int64_t last = 0, found;

    for (size_t i = 0; i < sizeof mark_of / sizeof mark_of[0]; i++) {
        struct state_mark mark = {0};
        bool there;

        if (status_failed(state_store_get_mark(s, mark_of[i], &mark, &there, NULL)))
            return -1;
        if (i > 0 && mark.offset != last)
            return -2;
        last = mark.offset;
    }
    for (enum state_family f = STATE_GROUPS; f <= STATE_SHARE; f++) {
        if (!read_number(s, f, 'l', 0, &found))
            return -1;
        if (found != last)
            return -2;
    }
    for (int i = 0; i < OFFSET_KEYS; i++) {
        int64_t expected = last - (last - i + OFFSET_KEYS * 1000000000ll) % OFFSET_KEYS;

        if (!read_number(s, STATE_OFFSETS, 'k', (char)('0' + i), &found))
            return -1;
        if (found != (expected > 0 ? expected : 0))
            return -2;
    }
    return last;
}

/* ---- coming back ---- */

static void a_store_that_was_closed_is_there_again(void **state)
{
    struct world *w = *state;

    open_store(w);
    assert_true(w->report.created);
    assert_false(w->report.rebuilt);
    write_batches(w, 1, 7);
    close_store(w);
    open_store(w);
    assert_false(w->report.created);
    assert_false(w->report.rebuilt);
    assert_string_equal(w->report.why, "");
    assert_int_equal(whole_prefix(w->store), 7);
}

static void missing_parents_are_made(void **state)
{
    struct world *w = *state;
    char top[64];

    strcpy(top, w->directory);
    strcat(w->directory, "/a/b");
    open_store(w);
    write_batches(w, 1, 2);
    close_store(w);
    strcpy(w->directory, top);
}

static void a_second_user_is_refused(void **state)
{
    struct world *w = *state;
    struct world second = *w;
    struct status st;

    open_store(w);
    write_batches(w, 1, 3);
    st = try_to_open(&second);
    assert_int_equal(st.code, KERR_KAFKA_STORAGE_ERROR);
    assert_int_equal(st.sys_errno, EWOULDBLOCK);
    assert_non_null(strstr(second.report.why, "in use"));
    assert_false(second.report.rebuilt);
    assert_int_equal(whole_prefix(w->store), 3);
}

/* RocksDB makes a log file at each opening though it is told to use none. */
static void opening_it_many_times_leaves_no_trace(void **state)
{
    struct world *w = *state;
    char path[128];
    DIR *d;
    int files = 0;

    for (int i = 0; i < 12; i++) {
        open_store(w);
        close_store(w);
    }
    snprintf(path, sizeof path, "%s/rocksdb", w->directory);
    d = opendir(path);
    while (readdir(d))
        files++;
    closedir(d);
    assert_in_range(files, 2, 12);
}

/* ---- formats ---- */

static void write_file(struct world *w, const char *name, const void *content, size_t size)
{
    char path[512];
    FILE *f;

    snprintf(path, sizeof path, "%s/%s", w->directory, name);
    f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(content, 1, size, f), size);
    fclose(f);
}

static void write_format(struct world *w, const char *text)
{
    write_file(w, "format", text, strlen(text));
}

static void a_newer_format_is_refused_and_left_alone(void **state)
{
    struct world *w = *state;

    open_store(w);
    write_batches(w, 1, 3);
    close_store(w);
    write_format(w, "trivet-state 7\n");
    assert_int_equal(try_to_open(w).code, KERR_UNSUPPORTED_VERSION);
    assert_null(w->store);
    assert_non_null(strstr(w->report.why, "format 7"));
    assert_non_null(strstr(w->report.why, "up to 1"));
    assert_non_null(strstr(w->report.why, w->directory));
    assert_false(w->report.rebuilt);
    write_format(w, "trivet-state 1\n");
    open_store(w);
    assert_false(w->report.rebuilt);
    assert_int_equal(whole_prefix(w->store), 3);
}

static void other_formats_are_rebuilt(void **state)
{
    static const struct {
        const char *text;
        const char *why;
    } cases[] = {
        {"trivet-state 0\n", "its format is 0, this program's 1"},
        {"", "its format file is none"},
        {"trivet-state 1", "its format file is none"}, /* torn */
        {"trivet-state 1\nmore\n", "its format file is none"},
        {"trivet-state -1\n", "its format file is none"},
        {"trivet-state 99999999999999999999\n", "its format file is none"},
        {"something else 1\n", "its format file is none"},
        {"a text that is far too long to be the name and number of a format of a state store\n",
         "its format file is none"},
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct world *w = *state;

        open_store(w);
        write_batches(w, 1, 3);
        close_store(w);
        write_format(w, cases[i].text);
        open_store(w);
        assert_true(w->report.rebuilt);
        assert_false(w->report.created);
        assert_string_equal(w->report.why, cases[i].why);
        assert_int_equal(whole_prefix(w->store), 0);
        close_store(w);
        open_store(w);
        assert_false(w->report.rebuilt);
        close_store(w);
    }
}

/* The format is written last: without it a fresh store was not finished, or an old one was being
 * removed. */
static void a_store_without_its_format_is_rebuilt(void **state)
{
    struct world *w = *state;
    char path[128];

    open_store(w);
    write_batches(w, 1, 3);
    close_store(w);
    snprintf(path, sizeof path, "%s/format", w->directory);
    assert_int_equal(unlink(path), 0);
    open_store(w);
    assert_true(w->report.rebuilt);
    assert_string_equal(w->report.why, "it was not finished");
    assert_int_equal(whole_prefix(w->store), 0);
}

static void a_folder_in_place_of_a_file_and_the_reverse_are_rebuilt(void **state)
{
    struct world *w = *state;
    char path[128];

    open_store(w);
    close_store(w);
    snprintf(path, sizeof path, "%s/format", w->directory);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkdir(path, 0755), 0);
    open_store(w);
    assert_true(w->report.rebuilt);
    close_store(w);
    snprintf(path, sizeof path, "%s/rocksdb", w->directory);
    assert_int_equal(files_remove_tree(w->files, path).code, KERR_NONE);
    write_file(w, "rocksdb", "garbage", 7);
    open_store(w);
    assert_true(w->report.rebuilt);
    assert_true(w->report.why[0] != '\0');
    write_batches(w, 1, 3);
    assert_int_equal(whole_prefix(w->store), 3);
}

/* ---- damage ---- */

#define FLUSHED_FIRST 40
#define FLUSHED_LAST  100

/* A store with several files, closed. */
static void make_store(struct world *w)
{
    open_store(w);
    write_batches(w, 1, FLUSHED_FIRST);
    assert_int_equal(state_store_flush(w->store).code, KERR_NONE);
    write_batches(w, FLUSHED_FIRST + 1, FLUSHED_LAST);
    assert_int_equal(state_store_flush(w->store).code, KERR_NONE);
    close_store(w);
}

struct file_copy {
    char name[300]; /* below the directory */
    uint8_t *bytes;
    size_t size;
};

struct copies {
    struct file_copy files[64];
    size_t count;
};

static void copy_store(struct world *w, struct copies *c)
{
    char path[128], file[512];
    struct dirent *e;
    DIR *d;

    *c = (struct copies){.count = 0};
    snprintf(path, sizeof path, "%s/rocksdb", w->directory);
    d = opendir(path);
    assert_non_null(d);
    while ((e = readdir(d))) {
        struct file_copy *f = &c->files[c->count];
        struct stat st;
        FILE *in;

        snprintf(file, sizeof file, "%s/%s", path, e->d_name);
        if (stat(file, &st) != 0 || !S_ISREG(st.st_mode))
            continue;
        assert_in_range(c->count, 0, 63);
        snprintf(f->name, sizeof f->name, "rocksdb/%s", e->d_name);
        f->size = (size_t)st.st_size;
        f->bytes = malloc(f->size + 1);
        in = fopen(file, "rb");
        assert_int_equal(fread(f->bytes, 1, f->size, in), f->size);
        fclose(in);
        c->count++;
    }
    closedir(d);
    assert_true(c->count > 5);
}

static void put_back(struct world *w, const struct copies *c)
{
    char path[128];

    snprintf(path, sizeof path, "%s/rocksdb", w->directory);
    assert_int_equal(files_remove_tree(w->files, path).code, KERR_NONE);
    assert_int_equal(mkdir(path, 0755), 0);
    for (size_t i = 0; i < c->count; i++)
        write_file(w, c->files[i].name, c->files[i].bytes, c->files[i].size);
    write_format(w, "trivet-state 1\n");
}

static void free_copies(struct copies *c)
{
    for (size_t i = 0; i < c->count; i++)
        free(c->files[i].bytes);
}

/* Whatever was done to the files: the store opens, is as it was after some batch, or finds the
 * damage when it is read, and is sound and empty after a reset. Then it works. */
static void it_recovers(struct world *w, const char *what)
{
    int64_t last;

    if (status_failed(try_to_open(w)))
        fail_msg("%s: does not open: %s", what, w->report.why);
    last = whole_prefix(w->store);
    if (last == -2 || last > FLUSHED_LAST)
        fail_msg("%s: the store is as it never was", what);
    if (w->report.rebuilt && (last != 0 || w->report.why[0] == '\0'))
        fail_msg("%s: rebuilt, but not empty, or nobody knows why", what);
    if (last == -1) {
        if (!state_store_damaged(w->store))
            fail_msg("%s: it cannot be read, and is not known to be damaged", what);
        assert_int_equal(state_store_reset(w->store, &w->report).code, KERR_NONE);
        assert_true(w->report.rebuilt);
        assert_true(w->report.why[0] != '\0');
        last = whole_prefix(w->store);
        assert_int_equal(last, 0);
    }
    write_batches(w, last + 1, last + 3);
    if (state_store_flush(w->store).code != KERR_NONE || whole_prefix(w->store) != last + 3)
        fail_msg("%s: it does not go on", what);
    close_store(w);
    open_store(w);
    if (whole_prefix(w->store) != last + 3)
        fail_msg("%s: what came after is gone", what);
    close_store(w);
}

static void a_store_with_any_file_cut_off_recovers(void **state)
{
    struct world *w = *state;
    struct copies c;

    make_store(w);
    copy_store(w, &c);
    for (size_t i = 0; i < c.count; i++) {
        const struct file_copy *f = &c.files[i];
        const size_t sizes[] = {0, 1, f->size / 3, f->size / 2, f->size > 0 ? f->size - 1 : 0};

        for (size_t j = 0; j < sizeof sizes / sizeof sizes[0]; j++) {
            char what[400];

            if (sizes[j] >= f->size)
                continue;
            put_back(w, &c);
            write_file(w, f->name, f->bytes, sizes[j]);
            snprintf(what, sizeof what, "%s cut to %zu bytes of %zu", f->name, sizes[j], f->size);
            it_recovers(w, what);
        }
    }
    free_copies(&c);
}

static void a_store_with_any_file_missing_recovers(void **state)
{
    struct world *w = *state;
    struct copies c;

    make_store(w);
    copy_store(w, &c);
    for (size_t i = 0; i < c.count; i++) {
        char path[512];

        put_back(w, &c);
        snprintf(path, sizeof path, "%s/%s", w->directory, c.files[i].name);
        assert_int_equal(unlink(path), 0);
        it_recovers(w, c.files[i].name);
    }
    free_copies(&c);
}

static void a_store_with_garbage_in_any_file_recovers(void **state)
{
    struct world *w = *state;
    struct copies c;
    uint64_t random = 0x2545f4914f6cdd1du;

    make_store(w);
    copy_store(w, &c);
    for (size_t i = 0; i < c.count; i++) {
        const struct file_copy *f = &c.files[i];
        size_t size = f->size ? f->size : 100;
        uint8_t *garbage = malloc(size);

        for (int round = 0; round < 3; round++) {
            char what[400];

            if (round > 0)
                memcpy(garbage, f->bytes, f->size);
            for (size_t j = 0; j < size; j++) {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                if (round == 0)
                    garbage[j] = (uint8_t)random; /* all of it */
                else if (f->size && j == random % size)
                    garbage[j] = (uint8_t)(garbage[j] ^ 0x40);
            }
            if (round > 0 && f->size) /* one bit at least, somewhere else each time */
                garbage[random % size] = (uint8_t)(garbage[random % size] ^ 1u << round);
            put_back(w, &c);
            write_file(w, f->name, garbage, size);
            snprintf(what, sizeof what, "%s with garbage, round %d", f->name, round);
            it_recovers(w, what);
        }
        free(garbage);
    }
    free_copies(&c);
}

static void files_that_do_not_belong_there_do_no_harm(void **state)
{
    struct world *w = *state;

    make_store(w);
    write_file(w, "rocksdb/000999.sst", "garbage", 7);
    write_file(w, "rocksdb/000998.log", "garbage of a log that we never write", 36);
    write_file(w, "rocksdb/MANIFEST-000997", "garbage", 7);
    write_file(w, "rocksdb/something", "garbage", 7);
    write_file(w, "something", "garbage", 7);
    open_store(w);
    assert_false(w->report.rebuilt);
    assert_int_equal(whole_prefix(w->store), FLUSHED_LAST);
}

/* Damage that opening does not see: blocks are checked when they are read. */
static void a_damaged_block_is_noticed_when_read_and_a_reset_ends_it(void **state)
{
    struct world *w = *state;
    struct copies c;
    char problem[STATE_PROBLEM_BYTES];
    bool noticed = false;

    make_store(w);
    copy_store(w, &c);
    for (size_t i = 0; i < c.count; i++) {
        struct file_copy *f = &c.files[i];

        if (strstr(f->name, ".sst")) {
            f->bytes[2] ^= 0xff; /* in the first data block */
            write_file(w, f->name, f->bytes, f->size);
        }
    }
    open_store(w);
    if (!w->report.rebuilt) {
        noticed = true;
        assert_int_equal(whole_prefix(w->store), -1);
        assert_true(state_store_damaged(w->store));
        state_store_problem(w->store, problem);
        assert_non_null(strstr(problem, "Corruption"));
        assert_int_equal(state_store_reset(w->store, &w->report).code, KERR_NONE);
        assert_true(w->report.rebuilt);
        assert_non_null(strstr(w->report.why, "Corruption"));
        assert_false(state_store_damaged(w->store));
    }
    assert_true(noticed);
    assert_int_equal(whole_prefix(w->store), 0);
    write_batches(w, 1, 3);
    assert_int_equal(whole_prefix(w->store), 3);
    free_copies(&c);
}

static void a_reset_without_damage_keeps_what_was_flushed(void **state)
{
    struct world *w = *state;
    struct state_batch *old;

    make_store(w);
    open_store(w);
    old = state_batch_new(w->store);
    assert_int_equal(state_store_reset(w->store, &w->report).code, KERR_NONE);
    assert_false(w->report.rebuilt);
    assert_int_equal(whole_prefix(w->store), FLUSHED_LAST);
    assert_int_equal(state_batch_commit(old, NULL).code, KERR_KAFKA_STORAGE_ERROR);
    state_batch_free(old);
}

/* A disk that takes no more: files may not grow past a few bytes. */
static void a_flush_that_fails_says_so_and_a_reset_starts_from_what_was_flushed(void **state)
{
    struct world *w = *state;
    struct rlimit usual, none;
    char problem[STATE_PROBLEM_BYTES];
    struct status flushed, written;

    make_store(w);
    open_store(w);
    write_batches(w, FLUSHED_LAST + 1, FLUSHED_LAST + 5);
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &usual), 0);
    none = usual;
    none.rlim_cur = 16;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &none), 0);
    flushed = state_store_flush(w->store);
    written = write_batch(w->store, FLUSHED_LAST + 6, NULL);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &usual), 0);
    assert_int_equal(flushed.code, KERR_KAFKA_STORAGE_ERROR);
    assert_int_equal(written.code, KERR_KAFKA_STORAGE_ERROR);
    state_store_problem(w->store, problem);
    assert_non_null(strstr(problem, "File too large"));
    assert_int_equal(state_store_reset(w->store, &w->report).code, KERR_NONE);
    assert_int_equal(whole_prefix(w->store), w->report.rebuilt ? 0 : FLUSHED_LAST);
    write_batches(w, FLUSHED_LAST + 1, FLUSHED_LAST + 10);
    assert_int_equal(state_store_flush(w->store).code, KERR_NONE);
}

/* ---- who may not wait ---- */

static void a_read_that_needs_the_disk_would_block_until_the_pool_has_read_it(void **state)
{
    struct world *w = *state;
    struct bytes value;
    struct arena a;
    struct key k;
    bool would_block;

    make_store(w);
    open_store(w);
    arena_init(&a, 4096);
    assert_int_equal(
        state_store_get(w->store, STATE_GROUPS, key_in(&k, 'l', 0), &a, &value, &would_block).code,
        KERR_NONE);
    assert_true(would_block);
    assert_null(value.data);
    assert_int_equal(
        state_store_get(w->store, STATE_GROUPS, key_in(&k, 'l', 0), &a, &value, NULL).code,
        KERR_NONE);
    assert_non_null(value.data);
    assert_int_equal(
        state_store_get(w->store, STATE_GROUPS, key_in(&k, 'l', 0), &a, &value, &would_block).code,
        KERR_NONE);
    assert_false(would_block);
    assert_int_equal(load_be64(value.data), FLUSHED_LAST);
    arena_free(&a);
}

/* RocksDB keeps only so many files open. That it may not open another one must not look as if the
 * key were not there, or empty: some of its calls answer so. */
static void a_read_of_a_file_that_is_not_open_would_block(void **state)
{
    static const struct state_store_options few_files = {
        .cache_bytes = 1 << 20, .write_bytes = 1 << 20, .open_files_max = 1};
    struct world *w = *state;
    const struct bytes eight = {(const uint8_t *)"8 bytes.", 8};
    struct bytes value;
    struct arena a;
    struct key k;
    bool would_block;

    open_store(w);
    for (char c = 'a'; c <= 'c'; c++) { /* more would be merged into one file */
        struct state_batch *b = state_batch_new(w->store);

        state_batch_put(b, STATE_OFFSETS, key_in(&k, c, 0), eight);
        assert_int_equal(state_batch_commit(b, NULL).code, KERR_NONE);
        state_batch_free(b);
        assert_int_equal(state_store_flush(w->store).code, KERR_NONE);
    }
    close_store(w);
    assert_int_equal(try_to_open_with(w, &few_files).code, KERR_NONE);
    arena_init(&a, 4096);
    for (char c = 'a'; c <= 'c'; c++) {
        assert_int_equal(
            state_store_get(w->store, STATE_OFFSETS, key_in(&k, c, 0), &a, &value, &would_block)
                .code,
            KERR_NONE);
        assert_true(would_block);
        assert_null(value.data);
    }
    arena_free(&a);
}

static enum state_next count_visit(void *arg, struct bytes key, struct bytes value,
                                   struct bytes *seek)
{
    (void)key;
    (void)value;
    (void)seek;
    ++*(int *)arg;
    return STATE_NEXT;
}

static void a_scan_that_needs_the_disk_would_block_until_the_pool_has_read_it(void **state)
{
    struct world *w = *state;
    uint8_t prefix[4] = {0, 0, 0, 7};
    struct bytes partition = {prefix, sizeof prefix};
    int visits = 0;
    bool would_block;

    make_store(w);
    open_store(w);
    assert_int_equal(state_store_scan(w->store, STATE_OFFSETS, partition, NULL, count_visit,
                                      &visits, &would_block)
                         .code,
                     KERR_NONE);
    assert_true(would_block);
    assert_int_equal(visits, 0);
    assert_int_equal(
        state_store_scan(w->store, STATE_OFFSETS, partition, NULL, count_visit, &visits, NULL).code,
        KERR_NONE);
    assert_int_equal(visits, OFFSET_KEYS);
    assert_int_equal(state_store_scan(w->store, STATE_OFFSETS, partition, NULL, count_visit,
                                      &visits, &would_block)
                         .code,
                     KERR_NONE);
    assert_false(would_block);
    assert_int_equal(visits, 2 * OFFSET_KEYS);
}

/* A scan that only comes upon deleted keys looks at them in the pool. */
static void a_scan_over_many_deleted_keys_is_the_pools(void **state)
{
    enum { KEYS = 20000 };
    struct world *w = *state;
    struct state_batch *b;
    uint8_t key[8] = {0, 0, 0, 7};
    struct bytes partition = {key, 4};
    int visits = 0;
    bool would_block;

    open_store(w);
    b = state_batch_new(w->store);
    for (uint32_t i = 0; i < KEYS; i++) {
        store_be32(key + 4, i);
        state_batch_put(b, STATE_OFFSETS, (struct bytes){key, sizeof key}, partition);
    }
    assert_int_equal(state_batch_commit(b, NULL).code, KERR_NONE);
    state_batch_clear(b);
    for (uint32_t i = 0; i < KEYS - 1; i++) {
        store_be32(key + 4, i);
        state_batch_delete(b, STATE_OFFSETS, (struct bytes){key, sizeof key});
    }
    assert_int_equal(state_batch_commit(b, NULL).code, KERR_NONE);
    state_batch_free(b);
    assert_int_equal(state_store_scan(w->store, STATE_OFFSETS, partition, NULL, count_visit,
                                      &visits, &would_block)
                         .code,
                     KERR_NONE);
    assert_true(would_block);
    assert_int_equal(
        state_store_scan(w->store, STATE_OFFSETS, partition, NULL, count_visit, &visits, NULL).code,
        KERR_NONE);
    assert_int_equal(visits, 1);
}

/* Faster than files can be written: then a commit that may not wait is told so, has written
 * nothing, and the same batch goes through in the pool. */
static void a_commit_that_would_be_slowed_down_would_block(void **state)
{
    enum { ATTEMPTS = 200000, VALUE_BYTES = 4000 };
    struct world *w = *state;
    const struct state_store_options small = {
        .cache_bytes = 1 << 20, .write_bytes = 64 << 10, .open_files_max = 16};
    static const uint8_t value[VALUE_BYTES];
    uint8_t key[8] = {0, 0, 0, 7};
    struct state_batch *b;
    struct bytes found;
    struct arena a;
    bool would_block = false;

    assert_int_equal(try_to_open_with(w, &small).code, KERR_NONE);
    b = state_batch_new(w->store);
    arena_init(&a, 1 << 20);
    for (uint32_t i = 0; i < ATTEMPTS && !would_block; i++) {
        state_batch_clear(b);
        store_be32(key + 4, i);
        state_batch_put(b, STATE_OFFSETS, (struct bytes){key, sizeof key},
                        (struct bytes){value, sizeof value});
        assert_int_equal(state_batch_commit(b, &would_block).code, KERR_NONE);
    }
    assert_true(would_block);
    assert_int_equal(
        state_store_get(w->store, STATE_OFFSETS, (struct bytes){key, sizeof key}, &a, &found, NULL)
            .code,
        KERR_NONE);
    assert_null(found.data);
    assert_int_equal(state_batch_commit(b, NULL).code, KERR_NONE);
    assert_int_equal(
        state_store_get(w->store, STATE_OFFSETS, (struct bytes){key, sizeof key}, &a, &found, NULL)
            .code,
        KERR_NONE);
    assert_int_equal(found.size, VALUE_BYTES);
    arena_free(&a);
    state_batch_free(b);
}

static void memory_stays_within_its_bounds_however_much_is_written(void **state)
{
    enum { BATCHES = 3000, VALUE_BYTES = 4000 };
    struct world *w = *state;
    const struct state_store_options small = {
        .cache_bytes = 1 << 20, .write_bytes = 1 << 20, .open_files_max = 16};
    static const uint8_t value[VALUE_BYTES];
    uint8_t key[8] = {0, 0, 0, 7};
    struct state_store_stats stats;
    struct state_batch *b;

    assert_int_equal(try_to_open_with(w, &small).code, KERR_NONE);
    b = state_batch_new(w->store);
    for (uint32_t i = 0; i < BATCHES; i++) {
        state_batch_clear(b);
        store_be32(key + 4, i * 2654435761u);
        state_batch_put(b, STATE_OFFSETS, (struct bytes){key, sizeof key},
                        (struct bytes){value, sizeof value});
        assert_int_equal(state_batch_commit(b, NULL).code, KERR_NONE);
        if (i % 100 == 0) {
            state_store_stats(w->store, &stats);
            assert_in_range(stats.write_bytes, 0, 4 << 20);
        }
    }
    state_batch_free(b);
    state_store_stats(w->store, &stats);
    assert_in_range(stats.cache_bytes, 0, 2 << 20);
    assert_true(stats.file_bytes > 0);
}

/* ---- many threads ---- */

struct worker {
    pthread_t thread;
    struct state_store *store;
    atomic_bool *stop;
    int32_t partition;
    int commits, refused, reads;
};

static void *work(void *arg)
{
    struct worker *w = arg;
    uint8_t key[5] = {0};
    struct state_batch *b = state_batch_new(w->store);
    int64_t number = 0;

    store_be32(key, (uint32_t)w->partition);
    while (!atomic_load(w->stop)) {
        struct state_mark mark = {.offset = ++number}, found;
        bool would_block, there;

        state_batch_clear(b);
        state_batch_put(b, STATE_OFFSETS, (struct bytes){key, sizeof key},
                        (struct bytes){key, sizeof key});
        state_batch_set_mark(
            b, (struct state_partition){STATE_TOPIC_CONSUMER_OFFSETS, w->partition}, &mark);
        if (status_failed(state_batch_commit(b, number % 2 ? &would_block : NULL))) {
            /* A reset: begin again with what is there. */
            w->refused++;
            state_batch_free(b);
            b = state_batch_new(w->store);
            number = 0;
            continue;
        }
        w->commits++;
        if (status_failed(state_store_get_mark(
                w->store, (struct state_partition){STATE_TOPIC_CONSUMER_OFFSETS, w->partition},
                &found, &there, number % 3 ? NULL : &would_block)))
            break;
        w->reads++;
    }
    state_batch_free(b);
    return NULL;
}

static void threads_read_and_write_while_it_is_flushed_and_reset(void **state)
{
    enum { WORKERS = 3, ROUNDS = 4 };
    struct world *w = *state;
    struct worker workers[WORKERS];
    atomic_bool stop = false;

    open_store(w);
    for (int i = 0; i < WORKERS; i++) {
        workers[i] = (struct worker){.store = w->store, .stop = &stop, .partition = i};
        assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
    }
    for (int i = 0; i < ROUNDS; i++) {
        nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
        assert_int_equal(state_store_flush(w->store).code, KERR_NONE);
        nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
        assert_int_equal(state_store_reset(w->store, &w->report).code, KERR_NONE);
        assert_false(w->report.rebuilt);
    }
    nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
    atomic_store(&stop, true);
    for (int i = 0; i < WORKERS; i++) {
        pthread_join(workers[i].thread, NULL);
        assert_true(workers[i].commits > 0);
        assert_true(workers[i].reads > 0);
        assert_in_range(workers[i].refused, 1, ROUNDS);
    }
    assert_int_equal(state_store_generation(w->store), 1 + ROUNDS);
}

/* ---- long keys, whose search begins at the insert before ---- */

#define LONG_KEYS 300

struct long_writer {
    pthread_t thread;
    struct state_store *store;
    int32_t partition;
    uint64_t held[LONG_KEYS]; /* 0: nothing */
};

static struct bytes long_key(char text[64], int32_t partition, int number)
{
    int size = snprintf(text + 4, 60, number % 3 ? "group-of-a-long-name-%04d%s" : "g-%04d%s",
                        number, number % 5 ? "" : "topic");

    store_be32((uint8_t *)text, (uint32_t)partition);
    return (struct bytes){(const uint8_t *)text, 4 + (size_t)size};
}

static void *write_long_keys(void *arg)
{
    struct long_writer *w = arg;
    struct state_batch *b = state_batch_new(w->store);
    uint64_t random = (uint64_t)w->partition;
    char text[64];

    for (uint64_t i = 1; i <= 20000; i++) {
        int number = (int)(i % LONG_KEYS);

        random = random * 6364136223846793005U + 1442695040888963407U;
        if (random >> 40 & 1)
            number = (int)((random >> 33) % LONG_KEYS);
        if ((random >> 50) % 1000 == 0) {
            state_batch_drop_partition(
                b, (struct state_partition){STATE_TOPIC_CONSUMER_OFFSETS, w->partition});
            memset(w->held, 0, sizeof w->held);
        } else if ((random >> 50) % 8 == 1) {
            state_batch_delete(b, STATE_OFFSETS, long_key(text, w->partition, number));
            w->held[number] = 0;
        } else {
            state_batch_put(b, STATE_OFFSETS, long_key(text, w->partition, number),
                            (struct bytes){(const uint8_t *)&i, sizeof i});
            w->held[number] = i;
        }
        if (i % 4 == 0) {
            CHECK(!status_failed(state_batch_commit(b, NULL)));
            state_batch_clear(b);
        }
    }
    state_batch_free(b);
    return NULL;
}

struct order {
    char last[64];
    size_t last_size, count;
};

static enum state_next next_in_order(void *arg, struct bytes key, struct bytes value,
                                     struct bytes *seek)
{
    struct order *o = arg;

    (void)value;
    (void)seek;
    assert_true(str_compare((struct str){o->last, o->last_size},
                            (struct str){(const char *)key.data, key.size}) < 0);
    memcpy(o->last, key.data, key.size);
    o->last_size = key.size;
    o->count++;
    return STATE_NEXT;
}

/* Keys long enough for hints beside shorter ones, deletes and deleted ranges; RocksDB has
 * assertions of its own here. */
static void writers_of_long_keys_and_of_dropped_partitions_find_what_they_wrote(void **state)
{
    enum { WRITERS = 3 };
    static struct long_writer writers[WRITERS];
    const struct state_store_options small = {
        .cache_bytes = 1 << 20, .write_bytes = 512 << 10, .open_files_max = 16};
    struct world *w = *state;
    struct order order = {.last_size = 0};
    size_t held = 0;
    struct arena a;

    assert_int_equal(try_to_open_with(w, &small).code, KERR_NONE);
    arena_init(&a, 1 << 20);
    for (int i = 0; i < WRITERS; i++) {
        writers[i] = (struct long_writer){.store = w->store, .partition = i};
        assert_int_equal(pthread_create(&writers[i].thread, NULL, write_long_keys, &writers[i]), 0);
    }
    for (int i = 0; i < WRITERS; i++)
        pthread_join(writers[i].thread, NULL);
    for (int i = 0; i < WRITERS * LONG_KEYS; i++) {
        const uint64_t expected = writers[i / LONG_KEYS].held[i % LONG_KEYS];
        struct bytes value;
        char text[64];

        assert_int_equal(state_store_get(w->store, STATE_OFFSETS,
                                         long_key(text, i / LONG_KEYS, i % LONG_KEYS), &a, &value,
                                         NULL)
                             .code,
                         KERR_NONE);
        assert_int_equal(value.data != NULL, expected != 0);
        if (value.data)
            assert_memory_equal(value.data, &expected, sizeof expected);
        held += expected != 0;
    }
    arena_free(&a);
    assert_int_equal(state_store_scan(w->store, STATE_OFFSETS, (struct bytes){NULL, 0}, NULL,
                                      next_in_order, &order, NULL)
                         .code,
                     KERR_NONE);
    assert_int_equal(order.count, held);
}

/* ---- kill -9: this program runs itself as the process that dies ---- */

/* Shared with the parent. */
struct progress {
    _Atomic int64_t committed; /* the last batch that was */
    _Atomic int64_t flushed;   /* the last batch that surely is in files */
    _Atomic int flushing;      /* flushes begun */
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

struct death {
    struct progress *progress;
    long delay_us;
    bool at_flush; /* counted from the second flush on */
};

static void *die(void *arg)
{
    const struct death *d = arg;

    while (d->at_flush && atomic_load(&d->progress->flushing) < 2)
        nanosleep(&(struct timespec){.tv_nsec = 50000}, NULL);
    nanosleep(&(struct timespec){.tv_sec = d->delay_us / 1000000,
                                 .tv_nsec = d->delay_us % 1000000 * 1000},
              NULL);
    kill(getpid(), SIGKILL);
    return NULL;
}

struct flushing {
    struct state_store *store;
    struct progress *progress;
};

static void *flush_again_and_again(void *arg)
{
    struct flushing *f = arg;

    for (;;) {
        int64_t committed = atomic_load(&f->progress->committed);

        atomic_fetch_add(&f->progress->flushing, 1);
        CHECK(!status_failed(state_store_flush(f->store)));
        atomic_store(&f->progress->flushed, committed);
    }
    return NULL;
}

/* The process that dies: goes on from where the store is, without end. */
static int run_until_killed(const char *directory, const char *delay_us, bool at_flush)
{
    const struct state_store_options small = {
        .cache_bytes = 1 << 20, .write_bytes = 256 << 10, .open_files_max = 16};
    struct state_store_report report;
    struct progress *progress = progress_map(directory);
    struct death death = {.progress = progress, .delay_us = atol(delay_us), .at_flush = at_flush};
    struct flushing flushing = {.progress = progress};
    struct files *files;
    struct state_store *s;
    pthread_t thread;
    int64_t last;

    CHECK(!status_failed(files_real_create(16, &files)));
    CHECK(!status_failed(state_store_rocksdb_open(files, directory, &small, &report, &s)));
    CHECK(!report.rebuilt);
    last = whole_prefix(s);
    CHECK(last >= atomic_load(&progress->flushed)); /* what the run before lost was not flushed */
    CHECK(last <= atomic_load(&progress->committed) + 1);
    atomic_store(&progress->flushing, 0);
    atomic_store(&progress->committed, last);
    flushing.store = s;
    CHECK(pthread_create(&thread, NULL, die, &death) == 0);
    CHECK(pthread_create(&thread, NULL, flush_again_and_again, &flushing) == 0);
    for (;;) {
        CHECK(!status_failed(write_batch(s, ++last, NULL)));
        atomic_store(&progress->committed, last);
    }
}

static int run_child(const char *directory, const char *mode, long delay_us)
{
    char delay[32];
    int status;
    pid_t pid;

    snprintf(delay, sizeof delay, "%ld", delay_us);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        execl("/proc/self/exe", "state_store_rocksdb_test", mode, directory, delay, (char *)NULL);
        _exit(99);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static void kill_at_any_moment_leaves_whole_batches(void **state)
{
    enum { KILLS = 16 };
    struct world *w = *state;
    struct progress *progress = progress_map(w->directory);
    uint64_t random = 0x9e3779b97f4a7c15u;
    bool lost = false;

    for (int i = 0; i < KILLS; i++) {
        int64_t last;
        int status;

        random = random * 6364136223846793005u + 1442695040888963407u;
        status = run_child(w->directory, i % 4 ? "crash-at-flush" : "crash",
                           (long)(random >> 33) % 12000);
        assert_true(WIFSIGNALED(status));
        assert_int_equal(WTERMSIG(status), SIGKILL);
        open_store(w);
        assert_false(w->report.rebuilt);
        last = whole_prefix(w->store);
        if (last < atomic_load(&progress->flushed) || last > atomic_load(&progress->committed) + 1)
            fail_msg("round %d: %lld is left; %lld were flushed, %lld committed", i,
                     (long long)last, (long long)progress->flushed, (long long)progress->committed);
        lost |= last < atomic_load(&progress->committed);
        close_store(w);
        atomic_store(&progress->committed, last);
        atomic_store(&progress->flushed, last);
    }
    assert_true(lost); /* otherwise nothing was tried */
    munmap(progress, sizeof *progress);
}

/* Killed while it is made for the first time, or made anew: then it is made again. */
static void kill_while_it_is_made_does_no_harm(void **state)
{
    struct world *w = *state;

    for (int i = 0; i < 8; i++) {
        int status = run_child(w->directory, "make", i * 3000);
        char path[128];

        assert_true(WIFSIGNALED(status));
        open_store(w);
        assert_int_equal(whole_prefix(w->store), 0);
        write_batches(w, 1, 2);
        close_store(w);
        snprintf(path, sizeof path, "%s/format", w->directory);
        if (i % 2)
            write_format(w, "trivet-state 0\n"); /* so that the next one makes it anew */
        else
            assert_int_equal(unlink(path), 0);
    }
}

static int make_until_killed(const char *directory, const char *delay_us)
{
    struct death death = {.delay_us = atol(delay_us)};
    struct state_store_report report;
    struct files *files;
    struct state_store *s;
    pthread_t thread;

    CHECK(!status_failed(files_real_create(16, &files)));
    CHECK(pthread_create(&thread, NULL, die, &death) == 0);
    CHECK(!status_failed(
        state_store_rocksdb_open(files, directory, &STATE_STORE_OPTIONS_DEFAULT, &report, &s)));
    pause();
    return 1;
}

int main(int argc, char **argv)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_store_that_was_closed_is_there_again),
        TEST(missing_parents_are_made),
        TEST(a_second_user_is_refused),
        TEST(opening_it_many_times_leaves_no_trace),
        TEST(a_newer_format_is_refused_and_left_alone),
        TEST(other_formats_are_rebuilt),
        TEST(a_store_without_its_format_is_rebuilt),
        TEST(a_folder_in_place_of_a_file_and_the_reverse_are_rebuilt),
        TEST(a_store_with_any_file_cut_off_recovers),
        TEST(a_store_with_any_file_missing_recovers),
        TEST(a_store_with_garbage_in_any_file_recovers),
        TEST(files_that_do_not_belong_there_do_no_harm),
        TEST(a_damaged_block_is_noticed_when_read_and_a_reset_ends_it),
        TEST(a_reset_without_damage_keeps_what_was_flushed),
        TEST(a_flush_that_fails_says_so_and_a_reset_starts_from_what_was_flushed),
        TEST(a_read_that_needs_the_disk_would_block_until_the_pool_has_read_it),
        TEST(a_read_of_a_file_that_is_not_open_would_block),
        TEST(a_scan_that_needs_the_disk_would_block_until_the_pool_has_read_it),
        TEST(a_scan_over_many_deleted_keys_is_the_pools),
        TEST(a_commit_that_would_be_slowed_down_would_block),
        TEST(memory_stays_within_its_bounds_however_much_is_written),
        TEST(threads_read_and_write_while_it_is_flushed_and_reset),
        TEST(writers_of_long_keys_and_of_dropped_partitions_find_what_they_wrote),
        TEST(kill_at_any_moment_leaves_whole_batches),
        TEST(kill_while_it_is_made_does_no_harm),
    };

    if (argc == 4 && strncmp(argv[1], "crash", 5) == 0)
        return run_until_killed(argv[2], argv[3], strcmp(argv[1], "crash-at-flush") == 0);
    if (argc == 4 && strcmp(argv[1], "make") == 0)
        return make_until_killed(argv[2], argv[3]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
