#include "tests/unit/test.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "storage/checkpoint.h"
#include "storage/files_sim.h"

static struct bytes text_of(const char *text)
{
    return (struct bytes){(const uint8_t *)text, strlen(text)};
}

static void a_checkpoint_reads_and_writes_back_the_same(void **state)
{
    static const char text[] =
        "0\n3\ntopic-a 0 4711\n__consumer_offsets 49 9223372036854775807\na.b-1_c 2147483647 0\n";
    struct offset_map m = {0};
    struct bytes_mut out;
    int64_t offset;
    (void)state;

    assert_false(status_failed(offset_map_decode(&m, text_of(text), NULL)));
    assert_int_equal(offset_map_count(&m), 3);
    assert_true(offset_map_get(&m, STR("topic-a"), 0, &offset));
    assert_int_equal(offset, 4711);
    assert_false(offset_map_get(&m, STR("topic-a"), 1, &offset));
    assert_false(offset_map_get(&m, STR("topic"), 0, &offset));
    offset_map_encode(&m, &out);
    assert_int_equal(out.size, strlen(text));
    assert_memory_equal(out.data, text, out.size);
    free(out.data);
    offset_map_free(&m);
}

static void an_empty_file_holds_no_entries(void **state)
{
    static const char *const texts[] = {"", "0", "0\n", "0\n0", "0\n0\n"};
    (void)state;

    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct offset_map m = {0};

        assert_false(status_failed(offset_map_decode(&m, text_of(texts[i]), NULL)));
        assert_int_equal(offset_map_count(&m), 0);
    }
}

static void entries_are_set_and_removed(void **state)
{
    struct offset_map m = {0};
    int64_t offset = -1;
    (void)state;

    offset_map_set(&m, STR("t"), 1, 5);
    offset_map_set(&m, STR("t"), 1, 6);
    offset_map_set(&m, STR("t"), 2, 7);
    assert_int_equal(offset_map_count(&m), 2);
    assert_true(offset_map_get(&m, STR("t"), 1, &offset));
    assert_int_equal(offset, 6);
    offset_map_remove(&m, STR("t"), 1);
    offset_map_remove(&m, STR("t"), 3);
    assert_int_equal(offset_map_count(&m), 1);
    offset_map_free(&m);
}

static void a_malformed_checkpoint_is_refused_with_its_line(void **state)
{
    static const struct {
        const char *text;
        int32_t line;
    } cases[] = {
        {"1\n0\n", 1},
        {"-1\n0\n", 1},
        {"\n", 1},
        {"zero\n", 1},
        {"0\nx\n", 2},
        {"0\n-1\n", 2},
        {"0\n\n", 2},
        {"0\n1\n", 2},
        {"0\n0\nt 0 1\n", 3},
        {"0\n1\nt 0\n", 3},
        {"0\n1\nt 0 1 \n", 3},
        {"0\n1\n t 0 1\n", 3},
        {"0\n1\nt  0 1\n", 3},
        {"0\n1\nt -1 1\n", 3},
        {"0\n1\nt 0 -1\n", 3},
        {"0\n1\nt 0 1\n\n", 4},
        {"0\n1\nt 2147483648 1\n", 3},
        {"0\n1\nt 0 9223372036854775808\n", 3},
        {"0\n1\nt 0 +1\n", 3},
        {"0\n1\nt 0 1\r\n", 3},
        {"0\n2147483648\n", 2},
    };
    (void)state;

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct offset_map m = {0};
        struct checkpoint_error error = {0};

        assert_int_equal(offset_map_decode(&m, text_of(cases[i].text), &error).code,
                         KERR_KAFKA_STORAGE_ERROR);
        assert_int_equal(error.line, cases[i].line);
        assert_non_null(error.message);
        assert_int_equal(offset_map_count(&m), 0);
    }
}

static void names_longer_than_a_topics_are_refused(void **state)
{
    char text[600];
    struct offset_map m = {0};
    (void)state;

    for (int size = 249; size <= 251; size++) {
        snprintf(text, sizeof text, "0\n1\n%0*d 0 1\n", size, 7);
        assert_int_equal(status_failed(offset_map_decode(&m, text_of(text), NULL)), size > 249);
        offset_map_free(&m);
    }
}

/* Cut anywhere it is refused, or a whole number of its entries was meant: never a wrong offset
 * under a count that fits. The cut of the last digits of the last line alone cannot be told. */
static void a_checkpoint_cut_at_any_byte_is_refused_or_empty(void **state)
{
    static const char text[] = "0\n3\na 0 1\nb 1 2\nc 2 3\n";
    (void)state;

    for (size_t size = 0; size + 2 < sizeof text - 1; size++) {
        struct offset_map m = {0};
        char *copy = malloc(size + 1);
        struct status st;

        assert_non_null(copy);
        memcpy(copy, text, size);
        st = offset_map_decode(&m, (struct bytes){(const uint8_t *)copy, size}, NULL);
        assert_int_equal(offset_map_count(&m), 0);
        assert_int_equal(status_failed(st), size > 2);
        free(copy);
    }
}

static void numbers_are_parsed_to_their_limits(void **state)
{
    int64_t n = 7;
    (void)state;

    assert_true(checkpoint_parse_number(STR("9223372036854775807"), INT64_MAX, &n));
    assert_true(n == INT64_MAX);
    assert_true(checkpoint_parse_number(STR("-9223372036854775808"), INT64_MAX, &n));
    assert_true(n == INT64_MIN);
    assert_false(checkpoint_parse_number(STR("9223372036854775808"), INT64_MAX, &n));
    assert_false(checkpoint_parse_number(STR("-9223372036854775809"), INT64_MAX, &n));
    assert_false(checkpoint_parse_number(STR("99999999999999999999999"), INT64_MAX, &n));
    assert_false(checkpoint_parse_number(STR("-"), INT64_MAX, &n));
    assert_false(checkpoint_parse_number(STR(""), INT64_MAX, &n));
    assert_true(checkpoint_parse_number(STR("007"), INT64_MAX, &n));
    assert_int_equal(n, 7);
}

static void a_missing_file_is_an_empty_map(void **state)
{
    struct files *fs = files_sim_create(NULL);
    struct offset_map m = {0};
    (void)state;

    assert_false(status_failed(offset_checkpoint_read(fs, "/none", &m, NULL)));
    assert_int_equal(offset_map_count(&m), 0);
    files_sim_free(fs);
}

/* As log_dir writes one. */
static struct status write_checkpoint(struct files *fs, const char *path,
                                      const struct offset_map *m)
{
    struct bytes_mut text;
    struct status st;

    offset_map_encode(m, &text);
    st = files_replace(fs, path, (struct bytes){text.data, text.size});
    free(text.data);
    return st;
}

/* Each call fails in turn, then the machine dies: the file is the old or the new one. */
static void writing_survives_the_failure_of_each_call(void **state)
{
    uint64_t n;
    (void)state;

    for (n = 0; n < 100; n++) {
        struct files *fs = files_sim_create(NULL);
        struct offset_map m = {0};
        struct checkpoint_error error;
        struct status st;
        int64_t offset = -1;

        offset_map_set(&m, STR("t"), 0, 1);
        assert_false(status_failed(write_checkpoint(fs, "/c", &m)));
        offset_map_set(&m, STR("t"), 0, 2);
        files_sim_fail(
            fs,
            &(struct files_fault){
                .call = FILES_CALL_ANY, .after = n, .times = 1, .sys_errno = EIO, .partial = true});
        st = write_checkpoint(fs, "/c", &m);
        offset_map_free(&m);
        files_sim_heal(fs);
        files_sim_crash(fs, n);
        assert_false(status_failed(offset_checkpoint_read(fs, "/c", &m, &error)));
        assert_true(offset_map_get(&m, STR("t"), 0, &offset));
        assert_true(offset == 2 || (offset == 1 && status_failed(st)));
        offset_map_free(&m);
        assert_int_equal(files_sim_open_files(fs), 0);
        files_sim_free(fs);
        if (!status_failed(st))
            break;
    }
    assert_in_range(n, 4, 20);
}

static void reading_reports_the_failure_of_each_call(void **state)
{
    uint64_t n;
    (void)state;

    for (n = 0; n < 100; n++) {
        struct files *fs = files_sim_create(NULL);
        struct offset_map m = {0};
        struct checkpoint_error error = {0};
        struct status st;

        offset_map_set(&m, STR("t"), 0, 1);
        assert_false(status_failed(write_checkpoint(fs, "/c", &m)));
        offset_map_free(&m);
        files_sim_fail(fs, &(struct files_fault){
                               .call = FILES_CALL_ANY, .after = n, .times = 1, .sys_errno = EIO});
        st = offset_checkpoint_read(fs, "/c", &m, &error);
        if (status_failed(st)) {
            assert_int_equal(st.sys_errno, EIO);
            assert_non_null(error.message);
        }
        assert_int_equal(offset_map_count(&m), status_failed(st) ? 0 : 1);
        offset_map_free(&m);
        files_sim_heal(fs);
        assert_int_equal(files_sim_open_files(fs), 0);
        files_sim_free(fs);
        if (!status_failed(st))
            break;
    }
    assert_in_range(n, 2, 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_checkpoint_reads_and_writes_back_the_same),
        cmocka_unit_test(an_empty_file_holds_no_entries),
        cmocka_unit_test(entries_are_set_and_removed),
        cmocka_unit_test(a_malformed_checkpoint_is_refused_with_its_line),
        cmocka_unit_test(names_longer_than_a_topics_are_refused),
        cmocka_unit_test(a_checkpoint_cut_at_any_byte_is_refused_or_empty),
        cmocka_unit_test(numbers_are_parsed_to_their_limits),
        cmocka_unit_test(a_missing_file_is_an_empty_map),
        cmocka_unit_test(writing_survives_the_failure_of_each_call),
        cmocka_unit_test(reading_reports_the_failure_of_each_call),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
