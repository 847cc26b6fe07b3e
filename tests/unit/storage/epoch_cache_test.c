#include "tests/unit/test.h"

#include <stdlib.h>
#include <string.h>

#include "storage/epoch_cache.h"

static struct epoch_cache cache_of(size_t count, const struct epoch_entry *entries)
{
    struct epoch_cache c = {0};

    for (size_t i = 0; i < count; i++)
        assert_true(epoch_cache_assign(&c, entries[i].epoch, entries[i].start_offset));
    return c;
}

#define CACHE(...)                                                                                 \
    cache_of(sizeof((struct epoch_entry[]){__VA_ARGS__}) / sizeof(struct epoch_entry),             \
             (struct epoch_entry[]){__VA_ARGS__})

/* Compares with the checkpoint's text, and frees the cache. */
static void expect(struct epoch_cache *c, const char *text)
{
    struct bytes_mut out;

    epoch_cache_encode(c, INT64_MAX, &out);
    assert_int_equal(out.size, strlen(text));
    assert_memory_equal(out.data, text, out.size);
    free(out.data);
    epoch_cache_free(c);
}

static void expect_end(const struct epoch_cache *c, int32_t asked, int32_t epoch, int64_t end)
{
    struct epoch_entry e = epoch_cache_end_of(c, asked, 100);

    assert_int_equal(e.epoch, epoch);
    assert_int_equal(e.start_offset, end);
}

static void an_epoch_assigned_again_changes_nothing(void **state)
{
    struct epoch_cache c = CACHE({3, 10});
    (void)state;

    assert_false(epoch_cache_assign(&c, 3, 10));
    assert_false(epoch_cache_assign(&c, 3, 20));
    assert_int_equal(epoch_cache_latest(&c), 3);
    expect(&c, "0\n1\n3 10\n");
}

static void an_epoch_that_starts_earlier_than_known_replaces_what_contradicts_it(void **state)
{
    struct epoch_cache c = CACHE({1, 10}, {2, 20}, {3, 30});
    (void)state;

    assert_true(epoch_cache_assign(&c, 2, 15));
    expect(&c, "0\n2\n1 10\n2 15\n");
    c = CACHE({1, 10}, {2, 20}, {3, 30});
    assert_true(epoch_cache_assign(&c, 4, 20));
    expect(&c, "0\n2\n1 10\n4 20\n");
    c = CACHE({1, 10});
    assert_true(epoch_cache_assign(&c, 0, 5));
    expect(&c, "0\n1\n0 5\n");
}

/* KIP-101 and KIP-279: what OffsetForLeaderEpoch answers. */
static void an_entry_that_was_dropped_or_begins_elsewhere_is_not_had(void **state)
{
    struct epoch_cache c = {0};
    struct epoch_entry newest = epoch_cache_newest(&c);
    (void)state;

    assert_int_equal(newest.epoch, EPOCH_UNDEFINED);
    assert_true(epoch_cache_has(&c, newest));
    c = CACHE({1, 10}, {2, 20});
    assert_true(epoch_cache_has(&c, newest));
    newest = epoch_cache_newest(&c);
    assert_int_equal(newest.epoch, 2);
    assert_int_equal(newest.start_offset, 20);
    assert_true(epoch_cache_assign(&c, 4, 30));
    assert_true(epoch_cache_has(&c, newest));
    assert_true(epoch_cache_assign(&c, 2, 15));
    assert_false(epoch_cache_has(&c, newest));
    assert_true(epoch_cache_truncate_from_end(&c, 12));
    assert_false(epoch_cache_has(&c, newest));
    expect(&c, "0\n1\n1 10\n");
}

static void the_end_of_an_epoch_is_the_start_of_the_next_known_one(void **state)
{
    struct epoch_cache c = CACHE({2, 10}, {5, 20}, {7, 30});
    (void)state;

    expect_end(&c, 7, 7, 100);
    expect_end(&c, 5, 5, 30);
    expect_end(&c, 6, 5, 30);
    expect_end(&c, 3, 2, 20);
    expect_end(&c, 2, 2, 20);
    epoch_cache_free(&c);
}

static void an_epoch_below_the_first_known_ends_where_that_one_starts(void **state)
{
    struct epoch_cache c = CACHE({2, 10}, {5, 20});
    (void)state;

    expect_end(&c, 0, 0, 10);
    expect_end(&c, 1, 1, 10);
    epoch_cache_free(&c);
}

static void the_end_of_an_unknown_epoch_is_undefined(void **state)
{
    struct epoch_cache c = CACHE({2, 10});
    struct epoch_cache empty = {0};
    (void)state;

    expect_end(&c, EPOCH_UNDEFINED, -1, -1);
    expect_end(&c, 3, -1, -1);
    expect_end(&empty, 0, -1, -1);
    expect_end(&empty, EPOCH_UNDEFINED, -1, -1);
    epoch_cache_free(&c);
}

static void an_offset_belongs_to_the_last_epoch_that_starts_at_or_below_it(void **state)
{
    struct epoch_cache c = CACHE({2, 10}, {5, 20});
    (void)state;

    assert_int_equal(epoch_cache_epoch_of(&c, 9), EPOCH_UNDEFINED);
    assert_int_equal(epoch_cache_epoch_of(&c, 10), 2);
    assert_int_equal(epoch_cache_epoch_of(&c, 19), 2);
    assert_int_equal(epoch_cache_epoch_of(&c, 20), 5);
    assert_int_equal(epoch_cache_epoch_of(&c, 1000), 5);
    epoch_cache_free(&c);
}

static void truncation_of_the_end_drops_epochs_that_start_there_or_later(void **state)
{
    struct epoch_cache c = CACHE({2, 10}, {5, 20}, {7, 30});
    (void)state;

    assert_false(epoch_cache_truncate_from_end(&c, 31));
    assert_true(epoch_cache_truncate_from_end(&c, 20));
    expect(&c, "0\n1\n2 10\n");
    c = CACHE({2, 10});
    assert_true(epoch_cache_truncate_from_end(&c, 0));
    assert_int_equal(epoch_cache_latest(&c), EPOCH_UNDEFINED);
    expect(&c, "0\n0\n");
}

static void epochs_below_the_log_start_are_remembered_up_to_a_bound(void **state)
{
    struct epoch_cache c = {0};
    (void)state;

    for (int32_t epoch = 0; epoch <= EPOCH_HISTORY_MAX + 1; epoch++)
        assert_true(epoch_cache_assign(&c, epoch, 10 * epoch));
    c.dirty = false;
    assert_false(epoch_cache_raise_start(&c, 10 * EPOCH_HISTORY_MAX + 9));
    assert_false(c.dirty);
    expect_end(&c, 0, 0, 10);
    assert_true(epoch_cache_raise_start(&c, 10 * EPOCH_HISTORY_MAX + 10)); /* one more has ended */
    assert_true(c.dirty);
    assert_int_equal(c.count, EPOCH_HISTORY_MAX + 1);
    assert_int_equal(epoch_cache_earliest(&c), 1);
    expect_end(&c, 0, 0, 10); /* or before */
    expect_end(&c, 1, 1, 20);
    assert_false(epoch_cache_raise_start(&c, 100000));
    assert_int_equal(epoch_cache_latest(&c), EPOCH_HISTORY_MAX + 1);
    epoch_cache_free(&c);
    assert_false(epoch_cache_raise_start(&c, 5));
    assert_int_equal(epoch_cache_earliest(&c), EPOCH_UNDEFINED);
}

static void an_epoch_that_has_written_nothing_is_not_saved(void **state)
{
    struct epoch_cache c = CACHE({2, 10}, {5, 20});
    struct bytes_mut out;
    (void)state;

    epoch_cache_encode(&c, 20, &out);
    assert_int_equal(out.size, strlen("0\n1\n2 10\n"));
    assert_memory_equal(out.data, "0\n1\n2 10\n", out.size);
    free(out.data);
    epoch_cache_encode(&c, 21, &out);
    assert_int_equal(out.size, strlen("0\n2\n2 10\n5 20\n"));
    free(out.data);
    epoch_cache_free(&c);
}

static void a_checkpoint_reads_back(void **state)
{
    static const char text[] = "0\n2\n2 10\n5 20\n";
    struct epoch_cache c = {0};
    (void)state;

    assert_false(status_failed(
        epoch_cache_decode(&c, (struct bytes){(const uint8_t *)text, strlen(text)}, NULL)));
    assert_false(c.dirty);
    expect(&c, text);
}

static void a_malformed_checkpoint_is_refused_with_its_line(void **state)
{
    static const struct {
        const char *text;
        int32_t line;
    } cases[] = {
        {"x\n0\n", 1},
        {"1\n0\n", 1},
        {"0\n-1\n", 2},
        {"0\n1\n1 2 3\n", 3},
        {"0\n1\n1\n", 3},
        {"0\n1\n-1 5\n", 3},
        {"0\n1\n1 -5\n", 3},
        {"0\n1\n1 5x\n", 3},
        {"0\n2\n1 5\n", 3},
        {"0\n1\n\n", 3},
        {"0\n1\n1  5\n", 3},
        {"0\n1\n1 5\n2 6\n", 4},
        {"0\n1\n2147483648 5\n", 3},
        {"0\n1\n1 9223372036854775808\n", 3},
        {"0\n1\n 1 5\n", 3},
    };
    (void)state;

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct bytes text = {(const uint8_t *)cases[i].text, strlen(cases[i].text)};
        struct checkpoint_error error = {0};
        struct epoch_cache c = {0};

        assert_int_equal(epoch_cache_decode(&c, text, &error).code, KERR_KAFKA_STORAGE_ERROR);
        assert_int_equal(error.line, cases[i].line);
        assert_non_null(error.message);
        assert_int_equal(c.count, 0);
        epoch_cache_free(&c);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_epoch_assigned_again_changes_nothing),
        cmocka_unit_test(an_epoch_that_starts_earlier_than_known_replaces_what_contradicts_it),
        cmocka_unit_test(an_entry_that_was_dropped_or_begins_elsewhere_is_not_had),
        cmocka_unit_test(the_end_of_an_epoch_is_the_start_of_the_next_known_one),
        cmocka_unit_test(an_epoch_below_the_first_known_ends_where_that_one_starts),
        cmocka_unit_test(the_end_of_an_unknown_epoch_is_undefined),
        cmocka_unit_test(an_offset_belongs_to_the_last_epoch_that_starts_at_or_below_it),
        cmocka_unit_test(truncation_of_the_end_drops_epochs_that_start_there_or_later),
        cmocka_unit_test(epochs_below_the_log_start_are_remembered_up_to_a_bound),
        cmocka_unit_test(an_epoch_that_has_written_nothing_is_not_saved),
        cmocka_unit_test(a_checkpoint_reads_back),
        cmocka_unit_test(a_malformed_checkpoint_is_refused_with_its_line),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
