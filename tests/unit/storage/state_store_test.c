/* What every state store does: the same list for RocksDB and for the simulated one. */

#include "tests/unit/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/base/byteorder.h"
#include "storage/files_real.h"
#include "storage/state_store_rocksdb.h"
#include "storage/state_store_sim.h"

struct world {
    struct state_store *store;
    struct files *files; /* of RocksDB */
    char directory[64];
    struct arena arena;
};

static struct state_store *open_rocksdb(struct world *w)
{
    struct state_store_report report;
    struct state_store *store = NULL;

    assert_int_equal(state_store_rocksdb_open(w->files, w->directory, &STATE_STORE_OPTIONS_DEFAULT,
                                              &report, &store)
                         .code,
                     KERR_NONE);
    return store;
}

static int setup_rocksdb(void **state)
{
    struct world *w = calloc(1, sizeof *w);

    strcpy(w->directory, "/tmp/trivet-state-XXXXXX");
    assert_non_null(mkdtemp(w->directory));
    assert_int_equal(files_real_create(64, &w->files).code, KERR_NONE);
    w->store = open_rocksdb(w);
    arena_init(&w->arena, 1 << 20);
    *state = w;
    return 0;
}

static int setup_sim(void **state)
{
    struct world *w = calloc(1, sizeof *w);

    w->store = state_store_sim_create(&(struct state_store_sim_options){.seed = 1});
    assert_non_null(w->store);
    arena_init(&w->arena, 1 << 20);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;

    state_store_close(w->store);
    if (w->files) {
        assert_int_equal(files_remove_tree(w->files, w->directory).code, KERR_NONE);
        files_real_free(w->files);
    }
    arena_free(&w->arena);
    free(w);
    return 0;
}

/* ---- verbs ---- */

#define BYTES(literal) ((struct bytes){(const uint8_t *)(literal), sizeof(literal) - 1})

/* A key of a partition; the text is at most 60 characters. */
struct key {
    uint8_t bytes[64];
    size_t size;
};

static struct key key_of(int32_t partition, const char *text)
{
    struct key k = {.size = 4 + strlen(text)};

    store_be32(k.bytes, (uint32_t)partition);
    memcpy(k.bytes + 4, text, strlen(text));
    return k;
}

static struct bytes view(const struct key *k)
{
    return (struct bytes){k->bytes, k->size};
}

static void put(struct state_batch *b, enum state_family f, int32_t partition, const char *key,
                const char *value)
{
    struct key k = key_of(partition, key);

    state_batch_put(b, f, view(&k), (struct bytes){(const uint8_t *)value, strlen(value)});
}

static void delete (struct state_batch *b, enum state_family f, int32_t partition, const char *key)
{
    struct key k = key_of(partition, key);

    state_batch_delete(b, f, view(&k));
}

static void delete_prefix(struct state_batch *b, enum state_family f, int32_t partition,
                          const char *prefix)
{
    struct key k = key_of(partition, prefix);

    state_batch_delete_prefix(b, f, view(&k));
}

static void commit(struct state_batch *b)
{
    assert_int_equal(state_batch_commit(b, NULL).code, KERR_NONE);
    state_batch_clear(b);
}

static void write_one(struct world *w, enum state_family f, int32_t partition, const char *key,
                      const char *value)
{
    struct state_batch *b = state_batch_new(w->store);

    put(b, f, partition, key, value);
    commit(b);
    state_batch_free(b);
}

/* The value as text; NULL: there is none. */
static const char *get(struct world *w, enum state_family f, int32_t partition, const char *key)
{
    struct key k = key_of(partition, key);
    struct bytes value;

    assert_int_equal(state_store_get(w->store, f, view(&k), &w->arena, &value, NULL).code,
                     KERR_NONE);
    return value.data ? arena_strdup(&w->arena, (struct str){(const char *)value.data, value.size})
                      : NULL;
}

/* What a scan saw: "key=value " each, without the partition. */
struct seen {
    char text[4096];
    int left;            /* visits until STATE_STOP; negative: never */
    const char *seek_at; /* at this key, seek to the next text */
    struct key seek_to;
};

static enum state_next see(void *arg, struct bytes key, struct bytes value, struct bytes *seek)
{
    struct seen *s = arg;
    size_t at = strlen(s->text);

    assert_true(key.size >= 4);
    snprintf(s->text + at, sizeof s->text - at, "%.*s=%.*s ", (int)(key.size - 4),
             (const char *)key.data + 4, (int)value.size, (const char *)value.data);
    if (s->seek_at && key.size - 4 == strlen(s->seek_at) &&
        memcmp(key.data + 4, s->seek_at, key.size - 4) == 0) {
        *seek = view(&s->seek_to);
        return STATE_SEEK;
    }
    return s->left > 0 && --s->left == 0 ? STATE_STOP : STATE_NEXT;
}

static const char *scan(struct world *w, enum state_family f, int32_t partition, const char *prefix)
{
    static struct seen s;
    struct key k = key_of(partition, prefix);

    s = (struct seen){.left = -1};
    assert_int_equal(state_store_scan(w->store, f, view(&k), NULL, see, &s, NULL).code, KERR_NONE);
    return s.text;
}

static const struct state_partition p7 = {STATE_TOPIC_CONSUMER_OFFSETS, 7};

static struct state_mark mark_at(int64_t offset)
{
    return (struct state_mark){.topic_id = {{1, 2, 3}}, .offset = offset, .leader_epoch = 4};
}

static int64_t marked_offset(struct world *w, struct state_partition p)
{
    struct state_mark mark;
    bool found;

    assert_int_equal(state_store_get_mark(w->store, p, &mark, &found, NULL).code, KERR_NONE);
    return found ? mark.offset : -1;
}

/* ---- tests ---- */

static void what_was_put_is_there_and_what_was_deleted_is_not(void **state)
{
    struct world *w = *state;
    struct state_batch *b = state_batch_new(w->store);

    put(b, STATE_OFFSETS, 7, "a", "1");
    put(b, STATE_OFFSETS, 7, "b", "");
    put(b, STATE_GROUPS, 7, "a", "of another family");
    assert_int_equal(state_batch_count(b), 3);
    assert_true(state_batch_bytes(b) > 20);
    assert_null(get(w, STATE_OFFSETS, 7, "a")); /* not yet committed */
    commit(b);
    assert_int_equal(state_batch_count(b), 0);
    assert_string_equal(get(w, STATE_OFFSETS, 7, "a"), "1");
    assert_string_equal(get(w, STATE_OFFSETS, 7, "b"), ""); /* an empty value is not none */
    assert_string_equal(get(w, STATE_GROUPS, 7, "a"), "of another family");
    assert_null(get(w, STATE_OFFSETS, 8, "a"));
    delete (b, STATE_OFFSETS, 7, "a");
    delete (b, STATE_OFFSETS, 7, "never there");
    commit(b);
    assert_null(get(w, STATE_OFFSETS, 7, "a"));
    assert_string_equal(get(w, STATE_GROUPS, 7, "a"), "of another family");
    state_batch_free(b);
}

static void later_operations_of_a_batch_see_earlier_ones(void **state)
{
    struct world *w = *state;
    struct state_batch *b = state_batch_new(w->store);

    put(b, STATE_GROUPS, 1, "ga", "1");
    put(b, STATE_GROUPS, 1, "gb", "1");
    put(b, STATE_GROUPS, 1, "gb", "2");
    delete (b, STATE_GROUPS, 1, "ga");
    delete_prefix(b, STATE_GROUPS, 1, "g");
    put(b, STATE_GROUPS, 1, "gc", "3");
    commit(b);
    assert_string_equal(scan(w, STATE_GROUPS, 1, ""), "gc=3 ");
    state_batch_free(b);
}

static void a_prefix_is_deleted_and_its_neighbours_stay(void **state)
{
    struct world *w = *state;
    struct state_batch *b = state_batch_new(w->store);

    put(b, STATE_OFFSETS, 1, "f\xff", "1");
    put(b, STATE_OFFSETS, 1, "g", "2");
    put(b, STATE_OFFSETS, 1, "g\xff\xff", "3");
    put(b, STATE_OFFSETS, 1, "h", "4");
    commit(b);
    delete_prefix(b, STATE_OFFSETS, 1, "g");
    commit(b);
    assert_string_equal(scan(w, STATE_OFFSETS, 1, ""), "f\xff=1 h=4 ");
    state_batch_free(b);
}

/* The end of a prefix of all ones carries into the byte before: partition 0x00ffffff is followed by
 * 0x01000000. */
static void a_partition_whose_number_ends_in_ones_is_deleted_alone(void **state)
{
    struct world *w = *state;
    struct state_batch *b = state_batch_new(w->store);

    put(b, STATE_OFFSETS, 0x00ffffff, "a", "1");
    put(b, STATE_OFFSETS, 0x01000000, "a", "2");
    put(b, STATE_OFFSETS, INT32_MAX, "a", "3");
    commit(b);
    delete_prefix(b, STATE_OFFSETS, 0x00ffffff, "");
    delete_prefix(b, STATE_OFFSETS, INT32_MAX, "");
    commit(b);
    assert_null(get(w, STATE_OFFSETS, 0x00ffffff, "a"));
    assert_string_equal(get(w, STATE_OFFSETS, 0x01000000, "a"), "2");
    assert_null(get(w, STATE_OFFSETS, INT32_MAX, "a"));
    state_batch_free(b);
}

static void a_scan_visits_a_prefix_in_byte_order(void **state)
{
    struct world *w = *state;
    struct state_batch *b = state_batch_new(w->store);

    put(b, STATE_GROUPS, 2, "b", "4");
    put(b, STATE_GROUPS, 2, "ab", "3");
    put(b, STATE_GROUPS, 2, "a", "1");
    put(b, STATE_GROUPS, 2, "a\x01", "2");
    put(b, STATE_GROUPS, 3, "a", "of another partition");
    put(b, STATE_OFFSETS, 2, "a", "of another family");
    commit(b);
    assert_string_equal(scan(w, STATE_GROUPS, 2, ""), "a=1 a\x01=2 ab=3 b=4 ");
    assert_string_equal(scan(w, STATE_GROUPS, 2, "a"), "a=1 a\x01=2 ab=3 ");
    assert_string_equal(scan(w, STATE_GROUPS, 2, "c"), "");
    state_batch_free(b);
}

static void an_empty_prefix_is_the_whole_family(void **state)
{
    struct world *w = *state;
    struct seen s = {.left = -1};

    write_one(w, STATE_SHARE, 0, "a", "1");
    write_one(w, STATE_SHARE, INT32_MAX, "b", "2");
    assert_int_equal(
        state_store_scan(w->store, STATE_SHARE, (struct bytes){NULL, 0}, NULL, see, &s, NULL).code,
        KERR_NONE);
    assert_string_equal(s.text, "a=1 b=2 ");
}

static void a_scan_goes_on_where_it_stopped(void **state)
{
    struct world *w = *state;
    struct state_batch *b = state_batch_new(w->store);
    struct state_position position = {0};
    struct key prefix = key_of(2, "");
    struct seen s = {.left = 2};

    put(b, STATE_GROUPS, 2, "a", "1");
    put(b, STATE_GROUPS, 2, "b", "2");
    put(b, STATE_GROUPS, 2, "c", "3");
    commit(b);
    assert_int_equal(
        state_store_scan(w->store, STATE_GROUPS, view(&prefix), &position, see, &s, NULL).code,
        KERR_NONE);
    assert_string_equal(s.text, "a=1 b=2 ");
    assert_false(position.done);
    /* What comes and goes in between is seen as it is then. */
    put(b, STATE_GROUPS, 2, "b1", "new");
    put(b, STATE_GROUPS, 2, "a1", "behind us");
    delete (b, STATE_GROUPS, 2, "b");
    commit(b);
    s = (struct seen){.left = -1};
    assert_int_equal(
        state_store_scan(w->store, STATE_GROUPS, view(&prefix), &position, see, &s, NULL).code,
        KERR_NONE);
    assert_string_equal(s.text, "b1=new c=3 ");
    assert_true(position.done);
    state_position_free(&position);
    state_batch_free(b);
}

static void a_scan_stopped_at_its_last_key_finds_nothing_more(void **state)
{
    struct world *w = *state;
    struct state_position position = {0};
    struct key prefix = key_of(2, "");
    struct seen s = {.left = 1};

    write_one(w, STATE_GROUPS, 2, "a", "1");
    assert_int_equal(
        state_store_scan(w->store, STATE_GROUPS, view(&prefix), &position, see, &s, NULL).code,
        KERR_NONE);
    assert_false(position.done);
    assert_int_equal(
        state_store_scan(w->store, STATE_GROUPS, view(&prefix), &position, see, &s, NULL).code,
        KERR_NONE);
    assert_string_equal(s.text, "a=1 ");
    assert_true(position.done);
    state_position_free(&position);
}

static void a_scan_begins_where_it_is_told_to(void **state)
{
    struct world *w = *state;
    struct state_position position = {0};
    struct key prefix = key_of(2, ""), from = key_of(2, "b");
    struct seen s = {.left = -1};

    write_one(w, STATE_GROUPS, 2, "a", "1");
    write_one(w, STATE_GROUPS, 2, "b", "2");
    assert_true(state_position_set(&position, view(&from)));
    assert_int_equal(
        state_store_scan(w->store, STATE_GROUPS, view(&prefix), &position, see, &s, NULL).code,
        KERR_NONE);
    assert_string_equal(s.text, "b=2 ");
    state_position_free(&position);
}

static void a_visit_can_skip_ahead(void **state)
{
    struct world *w = *state;
    struct key prefix = key_of(2, "");
    struct seen s = {.left = -1, .seek_at = "a", .seek_to = key_of(2, "bb")};

    write_one(w, STATE_GROUPS, 2, "a", "1");
    write_one(w, STATE_GROUPS, 2, "b", "2");
    write_one(w, STATE_GROUPS, 2, "c", "3");
    assert_int_equal(
        state_store_scan(w->store, STATE_GROUPS, view(&prefix), NULL, see, &s, NULL).code,
        KERR_NONE);
    assert_string_equal(s.text, "a=1 c=3 ");
    /* Past the prefix: the end. */
    s = (struct seen){.left = -1, .seek_at = "a", .seek_to = key_of(3, "")};
    assert_int_equal(
        state_store_scan(w->store, STATE_GROUPS, view(&prefix), NULL, see, &s, NULL).code,
        KERR_NONE);
    assert_string_equal(s.text, "a=1 ");
}

static void marks_are_kept_per_topic_and_partition(void **state)
{
    struct world *w = *state;
    struct state_batch *b = state_batch_new(w->store);
    struct state_partition other_topic = {STATE_TOPIC_TRANSACTION_STATE, 7};
    struct state_partition other_partition = {STATE_TOPIC_CONSUMER_OFFSETS, 8};
    struct state_mark mark = mark_at(100), found;
    bool is_there;

    assert_int_equal(marked_offset(w, p7), -1);
    state_batch_set_mark(b, p7, &mark);
    commit(b);
    assert_int_equal(state_store_get_mark(w->store, p7, &found, &is_there, NULL).code, KERR_NONE);
    assert_true(is_there);
    assert_true(uuid_equal(found.topic_id, mark.topic_id));
    assert_int_equal(found.offset, 100);
    assert_int_equal(found.leader_epoch, 4);
    assert_int_equal(marked_offset(w, other_topic), -1);
    assert_int_equal(marked_offset(w, other_partition), -1);
    state_batch_free(b);
}

struct mark_count {
    unsigned marks;
    int64_t offsets;
};

static bool count_mark(void *arg, struct state_partition p, const struct state_mark *mark)
{
    struct mark_count *c = arg;

    assert_true(p.partition == 7 || p.partition == 8);
    c->marks++;
    c->offsets += mark->offset;
    return true;
}

static void marks_are_listed_and_a_flush_adds_none(void **state)
{
    struct world *w = *state;
    struct state_batch *b = state_batch_new(w->store);
    struct mark_count count = {0};
    struct state_mark one = mark_at(1), ten = mark_at(10);

    state_batch_set_mark(b, p7, &one);
    state_batch_set_mark(b, (struct state_partition){STATE_TOPIC_SHARE_GROUP_STATE, 8}, &ten);
    commit(b);
    assert_int_equal(state_store_flush(w->store).code, KERR_NONE);
    assert_int_equal(state_store_list_marks(w->store, count_mark, &count).code, KERR_NONE);
    assert_int_equal(count.marks, 2);
    assert_int_equal(count.offsets, 11);
    state_batch_free(b);
}

static void a_dropped_partition_leaves_nothing_and_others_stay(void **state)
{
    struct world *w = *state;
    struct state_batch *b = state_batch_new(w->store);
    struct state_mark mark = mark_at(5), fresh = mark_at(0);
    struct state_partition transactions = {STATE_TOPIC_TRANSACTION_STATE, 7};

    put(b, STATE_OFFSETS, 7, "a", "1");
    put(b, STATE_GROUPS, 7, "a", "1");
    put(b, STATE_TRANSACTIONS, 7, "a", "another topic's");
    put(b, STATE_OFFSETS, 8, "a", "another partition's");
    state_batch_set_mark(b, p7, &mark);
    state_batch_set_mark(b, transactions, &mark);
    commit(b);
    state_batch_drop_partition(b, p7);
    commit(b);
    assert_null(get(w, STATE_OFFSETS, 7, "a"));
    assert_null(get(w, STATE_GROUPS, 7, "a"));
    assert_int_equal(marked_offset(w, p7), -1);
    assert_string_equal(get(w, STATE_TRANSACTIONS, 7, "a"), "another topic's");
    assert_string_equal(get(w, STATE_OFFSETS, 8, "a"), "another partition's");
    assert_int_equal(marked_offset(w, transactions), 5);
    /* Dropped and begun anew in one batch. */
    state_batch_drop_partition(b, transactions);
    put(b, STATE_TRANSACTIONS, 7, "b", "new");
    state_batch_set_mark(b, transactions, &fresh);
    commit(b);
    assert_string_equal(scan(w, STATE_TRANSACTIONS, 7, ""), "b=new ");
    assert_int_equal(marked_offset(w, transactions), 0);
    state_batch_free(b);
}

static void a_batch_can_be_committed_at_once_without_waiting(void **state)
{
    struct world *w = *state;
    struct state_batch *b = state_batch_new(w->store);
    struct key k = key_of(1, "a");
    struct bytes value;
    bool would_block = true;

    put(b, STATE_OFFSETS, 1, "a", "1");
    assert_int_equal(state_batch_commit(b, &would_block).code, KERR_NONE);
    assert_false(would_block);
    would_block = true;
    /* What was just written is in memory. */
    assert_int_equal(
        state_store_get(w->store, STATE_OFFSETS, view(&k), &w->arena, &value, &would_block).code,
        KERR_NONE);
    assert_false(would_block);
    assert_int_equal(value.size, 1);
    state_batch_free(b);
}

static void a_batch_may_be_committed_again(void **state)
{
    struct world *w = *state;
    struct state_batch *b = state_batch_new(w->store);

    put(b, STATE_OFFSETS, 1, "a", "1");
    assert_int_equal(state_batch_commit(b, NULL).code, KERR_NONE);
    write_one(w, STATE_OFFSETS, 1, "a", "2");
    assert_int_equal(state_batch_commit(b, NULL).code, KERR_NONE);
    assert_string_equal(get(w, STATE_OFFSETS, 1, "a"), "1");
    state_batch_clear(b);
    assert_int_equal(state_batch_commit(b, NULL).code, KERR_NONE); /* an empty one is fine */
    state_batch_free(b);
}

static void a_batch_past_its_bound_is_refused_whole(void **state)
{
    struct world *w = *state;
    struct state_batch *b = state_batch_new(w->store);
    size_t size = 8 << 20;
    uint8_t *large = calloc(1, size);
    struct key k = key_of(1, "large");

    put(b, STATE_OFFSETS, 1, "a", "1");
    for (size_t i = 0; i < STATE_BATCH_BYTES_MAX / size; i++)
        state_batch_put(b, STATE_OFFSETS, view(&k), (struct bytes){large, size});
    assert_int_equal(state_batch_commit(b, NULL).code, KERR_MESSAGE_TOO_LARGE);
    assert_null(get(w, STATE_OFFSETS, 1, "a"));
    state_batch_clear(b);
    put(b, STATE_OFFSETS, 1, "a", "1");
    commit(b);
    free(large);
    state_batch_free(b);
}

static void a_value_that_does_not_fit_the_arena_is_an_error(void **state)
{
    struct world *w = *state;
    struct key k = key_of(1, "a");
    struct bytes value;
    struct arena none;

    write_one(w, STATE_OFFSETS, 1, "a", "some value");
    arena_init(&none, 0);
    assert_int_equal(state_store_get(w->store, STATE_OFFSETS, view(&k), &none, &value, NULL).code,
                     KERR_INVALID_REQUEST);
    arena_free(&none);
}

static void flushing_twice_and_flushing_nothing_are_fine(void **state)
{
    struct world *w = *state;

    assert_int_equal(state_store_flush(w->store).code, KERR_NONE);
    write_one(w, STATE_OFFSETS, 1, "a", "1");
    assert_int_equal(state_store_flush(w->store).code, KERR_NONE);
    assert_int_equal(state_store_flush(w->store).code, KERR_NONE);
    assert_string_equal(get(w, STATE_OFFSETS, 1, "a"), "1");
}

static void a_reset_keeps_what_was_flushed_and_refuses_older_batches(void **state)
{
    struct world *w = *state;
    struct state_batch *old = state_batch_new(w->store);
    struct state_batch *young;
    struct state_store_report report;
    struct state_mark mark = mark_at(3);
    bool would_block;

    put(old, STATE_OFFSETS, 1, "a", "1");
    state_batch_set_mark(old, p7, &mark);
    commit(old);
    assert_int_equal(state_store_flush(w->store).code, KERR_NONE);
    put(old, STATE_OFFSETS, 1, "b", "2");
    assert_int_equal(state_store_generation(w->store), 1);
    assert_int_equal(state_store_reset(w->store, &report).code, KERR_NONE);
    assert_false(report.rebuilt);
    assert_false(report.created);
    assert_int_equal(state_store_generation(w->store), 2);
    assert_string_equal(get(w, STATE_OFFSETS, 1, "a"), "1");
    assert_int_equal(marked_offset(w, p7), 3);
    assert_int_equal(state_batch_commit(old, NULL).code, KERR_KAFKA_STORAGE_ERROR);
    assert_int_equal(state_batch_commit(old, &would_block).code, KERR_KAFKA_STORAGE_ERROR);
    state_batch_clear(old); /* changes nothing of it */
    put(old, STATE_OFFSETS, 1, "b", "2");
    assert_int_equal(state_batch_commit(old, NULL).code, KERR_KAFKA_STORAGE_ERROR);
    assert_null(get(w, STATE_OFFSETS, 1, "b"));
    young = state_batch_new(w->store);
    put(young, STATE_OFFSETS, 1, "b", "2");
    commit(young);
    assert_string_equal(get(w, STATE_OFFSETS, 1, "b"), "2");
    state_batch_free(young);
    state_batch_free(old);
}

static void a_condemned_store_is_emptied_by_a_reset(void **state)
{
    struct world *w = *state;
    struct state_store_report report;
    char problem[STATE_PROBLEM_BYTES];

    write_one(w, STATE_OFFSETS, 1, "a", "1");
    assert_int_equal(state_store_flush(w->store).code, KERR_NONE);
    assert_false(state_store_damaged(w->store));
    state_store_problem(w->store, problem);
    assert_string_equal(problem, "");
    assert_int_equal(state_store_condemn(w->store, "a value that is none").code,
                     KERR_KAFKA_STORAGE_ERROR);
    assert_true(state_store_damaged(w->store));
    state_store_problem(w->store, problem);
    assert_string_equal(problem, "a value that is none");
    assert_int_equal(state_store_reset(w->store, &report).code, KERR_NONE);
    assert_true(report.rebuilt);
    assert_string_equal(report.why, "a value that is none");
    assert_false(state_store_damaged(w->store));
    assert_null(get(w, STATE_OFFSETS, 1, "a"));
}

static void statistics_count_what_is_written(void **state)
{
    struct world *w = *state;
    struct state_store_stats before, after;
    struct state_batch *b = state_batch_new(w->store);
    uint8_t value[1000] = {0};

    state_store_stats(w->store, &before);
    for (int i = 0; i < 1000; i++) {
        char text[16];
        struct key k;

        snprintf(text, sizeof text, "%d", i);
        k = key_of(1, text);
        state_batch_put(b, STATE_OFFSETS, view(&k), (struct bytes){value, sizeof value});
    }
    commit(b);
    state_store_stats(w->store, &after);
    assert_true(after.write_bytes >= before.write_bytes + 1000000);
    assert_int_equal(after.generation, 1);
    state_batch_free(b);
}

/* Any sequence of batches, compared with an array; flushed and compacted by chance. */
static void random_batches_leave_what_a_plain_array_holds(void **state)
{
    enum { KEYS = 64, ROUNDS = 3000 };
    struct world *w = *state;
    struct state_batch *b = state_batch_new(w->store);
    int held[STATE_FAMILY_COUNT][KEYS] = {{0}};
    uint64_t random = 88172645463325252u;

    for (int i = 1; i <= ROUNDS; i++) {
        enum state_family f;
        int key;
        char text[16], value[16];

        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        f = (enum state_family)(STATE_OFFSETS + random % 2);
        key = (int)(random >> 8) % KEYS;
        key = key < 0 ? -key : key;
        snprintf(text, sizeof text, "%02d", key);
        snprintf(value, sizeof value, "%d", i);
        switch ((random >> 40) % 16) {
        case 0:
            delete_prefix(b, f, 1, (char[]){text[0], '\0'});
            for (int k = 0; k < KEYS; k++)
                if (k / 10 == key / 10)
                    held[f][k] = 0;
            break;
        case 1:
        case 2:
            delete (b, f, 1, text);
            held[f][key] = 0;
            break;
        default:
            put(b, f, 1, text, value);
            held[f][key] = i;
        }
        if (i % 3 == 0)
            commit(b);
        if (i % 997 == 0)
            assert_int_equal(state_store_flush(w->store).code, KERR_NONE);
    }
    commit(b);
    for (int f = STATE_OFFSETS; f <= STATE_GROUPS; f++) {
        char expected[4096] = "";

        for (int k = 0; k < KEYS; k++)
            if (held[f][k])
                sprintf(expected + strlen(expected), "%02d=%d ", k, held[f][k]);
        assert_string_equal(scan(w, (enum state_family)f, 1, ""), expected);
    }
    state_batch_free(b);
}

/* ---- of the simulated one alone ---- */

static void a_simulated_call_that_may_not_wait_blocks_by_chance_and_does_nothing(void **state)
{
    struct world *w = *state;
    struct state_batch *b = state_batch_new(w->store);
    struct key k = key_of(1, "a"), prefix = key_of(1, "");
    struct seen s = {.left = -1};
    struct bytes value;
    bool would_block;

    state_store_sim_set_would_block(w->store, 1000);
    put(b, STATE_OFFSETS, 1, "a", "1");
    assert_int_equal(state_batch_commit(b, &would_block).code, KERR_NONE);
    assert_true(would_block);
    assert_null(get(w, STATE_OFFSETS, 1, "a"));
    assert_int_equal(state_batch_commit(b, NULL).code, KERR_NONE);
    assert_int_equal(
        state_store_get(w->store, STATE_OFFSETS, view(&k), &w->arena, &value, &would_block).code,
        KERR_NONE);
    assert_true(would_block);
    assert_null(value.data);
    assert_int_equal(
        state_store_scan(w->store, STATE_OFFSETS, view(&prefix), NULL, see, &s, &would_block).code,
        KERR_NONE);
    assert_true(would_block);
    assert_string_equal(s.text, "");
    state_batch_free(b);
}

static void a_simulated_scan_told_to_block_goes_on_in_the_pool_without_a_repeat(void **state)
{
    struct world *w = *state;
    struct key prefix = key_of(1, "");
    struct state_position position = {0};
    struct seen s = {.left = -1};
    char expected[1024] = "";
    bool would_block;
    unsigned told = 0;

    for (int i = 0; i < 26; i++) {
        char text[] = {(char)('a' + i), '\0'};

        write_one(w, STATE_OFFSETS, 1, text, "1");
        sprintf(expected + strlen(expected), "%s=1 ", text);
    }
    state_store_sim_set_would_block(w->store, 200);
    while (!position.done) {
        assert_int_equal(state_store_scan(w->store, STATE_OFFSETS, view(&prefix), &position, see,
                                          &s, &would_block)
                             .code,
                         KERR_NONE);
        told += would_block;
    }
    assert_true(told > 0);
    assert_string_equal(s.text, expected);
    state_position_free(&position);
}

static void a_simulated_crash_leaves_a_prefix_of_whole_batches(void **state)
{
    struct world *w = *state;
    bool seen_left[6] = {false};
    (void)state;

    for (uint64_t seed = 0; seed < 200; seed++) {
        struct state_store *store =
            state_store_sim_create(&(struct state_store_sim_options){.seed = seed});
        struct state_batch *b = state_batch_new(store);
        size_t left;
        struct world one = {.store = store, .arena = w->arena};

        for (int i = 1; i <= 8; i++) {
            char value[16], key[16];
            struct state_mark mark = mark_at(i);

            snprintf(value, sizeof value, "%d", i);
            snprintf(key, sizeof key, "%d", i % 3);
            put(b, STATE_OFFSETS, 7, key, value);
            put(b, STATE_GROUPS, 7, "last", value);
            if (i == 6)
                delete_prefix(b, STATE_OFFSETS, 7, "1");
            state_batch_set_mark(b, p7, &mark);
            commit(b);
            if (i == 3)
                assert_int_equal(state_store_flush(store).code, KERR_NONE);
        }
        state_batch_free(b);
        left = state_store_sim_crash(store);
        assert_in_range(left, 0, 5);
        seen_left[left] = true;
        assert_int_equal(marked_offset(&one, p7), 3 + (int64_t)left);
        assert_int_equal(atoi(get(&one, STATE_GROUPS, 7, "last")), 3 + (int)left);
        if (left == 0)
            assert_string_equal(scan(&one, STATE_OFFSETS, 7, ""), "0=3 1=1 2=2 ");
        if (left == 1)
            assert_string_equal(scan(&one, STATE_OFFSETS, 7, ""), "0=3 1=4 2=2 ");
        if (left == 3)
            assert_string_equal(scan(&one, STATE_OFFSETS, 7, ""), "0=6 2=5 ");
        w->arena = one.arena;
        state_store_close(store);
    }
    for (int i = 0; i <= 5; i++)
        assert_true(seen_left[i]);
}

static void a_simulated_failure_lasts_until_a_reset(void **state)
{
    struct world *w = *state;
    struct state_batch *b = state_batch_new(w->store);
    struct state_store_report report;

    put(b, STATE_OFFSETS, 1, "a", "1");
    commit(b);
    state_store_sim_fail_after(w->store, 1, true);
    put(b, STATE_OFFSETS, 1, "b", "2");
    assert_int_equal(state_batch_commit(b, NULL).code, KERR_NONE);
    assert_int_equal(state_batch_commit(b, NULL).code, KERR_KAFKA_STORAGE_ERROR);
    assert_true(state_store_damaged(w->store));
    assert_int_equal(state_store_reset(w->store, &report).code, KERR_NONE);
    assert_true(report.rebuilt);
    assert_null(get(w, STATE_OFFSETS, 1, "a"));
    state_batch_free(b);
}

static void a_simulated_mark_that_is_damaged_condemns_the_store(void **state)
{
    struct world *w = *state;
    struct state_batch *b = state_batch_new(w->store);
    struct state_mark mark = mark_at(3);
    struct key k = key_of(7, "\x01"); /* the mark's key but for its topic */
    bool found;

    state_batch_set_mark(b, p7, &mark);
    commit(b);
    k.bytes[4] = STATE_TOPIC_CONSUMER_OFFSETS;
    assert_true(state_store_sim_corrupt(w->store, STATE_MARKS, view(&k), BYTES("short")));
    assert_int_equal(state_store_get_mark(w->store, p7, &mark, &found, NULL).code,
                     KERR_KAFKA_STORAGE_ERROR);
    assert_false(found);
    assert_true(state_store_damaged(w->store));
    assert_int_equal(state_store_list_marks(w->store, count_mark, &(struct mark_count){0}).code,
                     KERR_KAFKA_STORAGE_ERROR);
    state_batch_free(b);
}

static void a_lost_simulated_store_is_empty(void **state)
{
    struct world *w = *state;

    write_one(w, STATE_OFFSETS, 1, "a", "1");
    assert_int_equal(state_store_flush(w->store).code, KERR_NONE);
    state_store_sim_lose(w->store);
    assert_null(get(w, STATE_OFFSETS, 1, "a"));
    assert_int_equal(state_store_generation(w->store), 2);
}

static void take_what_is_left(void *arg, struct state_store *s)
{
    *(struct bytes_mut *)arg = state_store_sim_save(s);
}

/* The disk of a simulated machine: one process closes the store, the next finds it, and a crash of
 * that one does not go back behind what it found. */
static void a_simulated_store_is_saved_when_it_is_closed_and_loaded_whole(void **state)
{
    struct world *w = *state;
    struct bytes_mut saved = {0};
    struct state_store_sim_options options = {
        .seed = 2, .closing = take_what_is_left, .arg = &saved};
    struct world first = {.store = state_store_sim_create(&options), .arena = w->arena}, second;
    struct state_batch *b = state_batch_new(first.store);
    struct state_mark mark = mark_at(9);

    put(b, STATE_OFFSETS, 7, "a", "1");
    put(b, STATE_OFFSETS, 7, "b", "");
    put(b, STATE_GROUPS, 7, "a", "2");
    state_batch_set_mark(b, p7, &mark);
    commit(b);
    state_batch_free(b);
    state_store_close(first.store);
    second = (struct world){.store = state_store_sim_create(&options), .arena = first.arena};
    state_store_sim_load(second.store, (struct bytes){saved.data, saved.size});
    assert_int_equal(state_store_sim_crash(second.store), 0);
    assert_string_equal(scan(&second, STATE_OFFSETS, 7, ""), "a=1 b= ");
    assert_string_equal(get(&second, STATE_GROUPS, 7, "a"), "2");
    assert_int_equal(marked_offset(&second, p7), 9);
    free(saved.data);
    state_store_sim_lose(second.store);
    state_store_close(second.store);
    assert_int_equal(saved.size, 0);
    w->arena = second.arena;
}

#define EVERY_STORE(TEST)                                                                          \
    TEST(what_was_put_is_there_and_what_was_deleted_is_not),                                       \
        TEST(later_operations_of_a_batch_see_earlier_ones),                                        \
        TEST(a_prefix_is_deleted_and_its_neighbours_stay),                                         \
        TEST(a_partition_whose_number_ends_in_ones_is_deleted_alone),                              \
        TEST(a_scan_visits_a_prefix_in_byte_order), TEST(an_empty_prefix_is_the_whole_family),     \
        TEST(a_scan_goes_on_where_it_stopped),                                                     \
        TEST(a_scan_stopped_at_its_last_key_finds_nothing_more),                                   \
        TEST(a_scan_begins_where_it_is_told_to), TEST(a_visit_can_skip_ahead),                     \
        TEST(marks_are_kept_per_topic_and_partition),                                              \
        TEST(marks_are_listed_and_a_flush_adds_none),                                              \
        TEST(a_dropped_partition_leaves_nothing_and_others_stay),                                  \
        TEST(a_batch_can_be_committed_at_once_without_waiting),                                    \
        TEST(a_batch_may_be_committed_again), TEST(a_batch_past_its_bound_is_refused_whole),       \
        TEST(a_value_that_does_not_fit_the_arena_is_an_error),                                     \
        TEST(flushing_twice_and_flushing_nothing_are_fine),                                        \
        TEST(a_reset_keeps_what_was_flushed_and_refuses_older_batches),                            \
        TEST(a_condemned_store_is_emptied_by_a_reset), TEST(statistics_count_what_is_written),     \
        TEST(random_batches_leave_what_a_plain_array_holds)

int main(void)
{
#define ON_ROCKSDB(name) cmocka_unit_test_setup_teardown(name, setup_rocksdb, teardown)
#define ON_SIM(name)     cmocka_unit_test_setup_teardown(name, setup_sim, teardown)
    const struct CMUnitTest rocksdb[] = {EVERY_STORE(ON_ROCKSDB)};
    const struct CMUnitTest sim[] = {
        EVERY_STORE(ON_SIM),
        ON_SIM(a_simulated_call_that_may_not_wait_blocks_by_chance_and_does_nothing),
        ON_SIM(a_simulated_scan_told_to_block_goes_on_in_the_pool_without_a_repeat),
        ON_SIM(a_simulated_crash_leaves_a_prefix_of_whole_batches),
        ON_SIM(a_simulated_failure_lasts_until_a_reset),
        ON_SIM(a_simulated_mark_that_is_damaged_condemns_the_store),
        ON_SIM(a_lost_simulated_store_is_empty),
        ON_SIM(a_simulated_store_is_saved_when_it_is_closed_and_loaded_whole),
    };

    return cmocka_run_group_tests_name("simulated", sim, NULL, NULL) +
           cmocka_run_group_tests_name("rocksdb", rocksdb, NULL, NULL);
}
