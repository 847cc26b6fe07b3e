#include "tests/unit/test.h"

#include <stdlib.h>

#include "protocol/messages/api_versions.h"
#include "protocol/messages/fetch.h"
#include "protocol/messages/leave_group.h"
#include "protocol/writer.h"

static struct writer writer_of(size_t limit)
{
    struct writer w;

    writer_init(&w, limit);
    return w;
}

static void assert_written(const struct writer *w, const char *bytes, size_t size)
{
    assert_true(writer_ok(w));
    assert_int_equal(w->size, size);
    assert_memory_equal(w->data, bytes, size);
}

static void writing_past_the_bound_fails_and_stays_failed(void **state)
{
    struct writer w = writer_of(5);
    (void)state;

    write_int32(&w, 1);
    assert_true(writer_ok(&w));
    write_int16(&w, 1);
    assert_int_equal(w.failure, KERR_MESSAGE_TOO_LARGE);
    write_int8(&w, 1); /* would fit */
    assert_int_equal(w.size, 4);
    writer_reset(&w);
    write_int8(&w, 1);
    assert_written(&w, "\1", 1);
    writer_free(&w);
}

static void null_is_written_as_empty_where_it_is_not_allowed(void **state)
{
    struct writer w = writer_of(100);
    (void)state;

    write_string(&w, WIRE_PLAIN, STR_NULL);
    write_string(&w, WIRE_FLEXIBLE, STR_NULL);
    write_string(&w, WIRE_FLEXIBLE | WIRE_NULLABLE, STR_NULL);
    write_string(&w, WIRE_NULLABLE, STR_NULL);
    assert_written(&w, "\0\0\1\0\xff\xff", 6);
    writer_free(&w);
}

static void string_above_32767_bytes_is_refused(void **state)
{
    static char text[32768];
    struct writer w = writer_of(1 << 20);
    (void)state;

    write_string(&w, WIRE_FLEXIBLE, (struct str){text, 32767});
    assert_true(writer_ok(&w));
    write_string(&w, WIRE_FLEXIBLE, (struct str){text, 32768});
    assert_int_equal(w.failure, KERR_INVALID_REQUEST);
    writer_free(&w);
}

/* The size of a tagged field comes before it, and is known only after it. */
static void tagged_field_that_needs_a_longer_size_is_moved(void **state)
{
    struct writer w = writer_of(1 << 20);
    size_t mark;
    (void)state;

    mark = write_tagged_field(&w, 3);
    for (int i = 0; i < 200; i++)
        write_int8(&w, (int8_t)(i % 100));
    write_tagged_field_end(&w, mark);
    assert_int_equal(w.size, 1 + 2 + 200);
    assert_memory_equal(w.data, "\3\xc8\1\0\1\2", 6);
    assert_int_equal(w.data[202], 99);
    writer_free(&w);
}

/* Spliced records are not copied: their size is written, their place remembered. */
static void spliced_records_take_no_room(void **state)
{
    struct writer w = writer_of(16);
    int cookie = 0;
    (void)state;

    write_int8(&w, 7);
    write_records(&w, WIRE_PLAIN, (struct records){NULL, 1000000, &cookie});
    write_records(&w, WIRE_PLAIN, (struct records){(const uint8_t *)"ab", 2, NULL});
    assert_written(&w, "\7\0\x0f\x42\x40\0\0\0\2ab", 11);
    assert_int_equal(w.splice_count, 1);
    assert_int_equal(w.splices[0].at, 5);
    assert_int_equal(w.splices[0].size, 1000000);
    assert_ptr_equal(w.splices[0].cookie, &cookie);
    assert_int_equal(w.spliced_bytes, 1000000);
    writer_free(&w);
}

static void splices_beyond_what_a_frame_can_say_are_refused(void **state)
{
    struct writer w = writer_of(100);
    int cookie = 0;
    (void)state;

    write_records(&w, WIRE_PLAIN, (struct records){NULL, INT32_MAX, &cookie});
    assert_true(writer_ok(&w));
    write_records(&w, WIRE_PLAIN, (struct records){NULL, 1, &cookie});
    assert_int_equal(w.failure, KERR_MESSAGE_TOO_LARGE);
    writer_free(&w);
}

static void taken_buffer_leaves_an_empty_writer(void **state)
{
    struct writer w = writer_of(100);
    struct bytes_mut taken;
    (void)state;

    write_int16(&w, 258);
    taken = writer_take(&w);
    assert_int_equal(taken.size, 2);
    assert_memory_equal(taken.data, "\1\2", 2);
    assert_null(w.data);
    assert_int_equal(w.size, 0);
    write_int8(&w, 1);
    assert_written(&w, "\1", 1);
    free(taken.data);
    writer_free(&w);
}

/* A value where the version has no field for it would be lost silently. */
static void value_that_the_version_cannot_carry_is_refused(void **state)
{
    struct writer w = writer_of(1000);
    struct leave_group_request m;
    struct leave_group_request_member_identity member;
    (void)state;

    leave_group_request_init(&m);
    leave_group_request_member_identity_init(&member);
    m.members = &member;
    m.members_count = 1;
    assert_false(leave_group_request_encode(&m, &w, 2));
    assert_int_equal(w.failure, KERR_UNSUPPORTED_VERSION);
    writer_reset(&w);
    member.reason = STR("ignorable, so that version 4 drops it");
    assert_true(leave_group_request_encode(&m, &w, 4));
    writer_reset(&w);
    assert_false(leave_group_request_encode(&m, &w, 99));
    writer_free(&w);
}

static void tagged_field_with_its_default_is_not_written(void **state)
{
    struct writer w = writer_of(1000);
    struct api_versions_response m;
    (void)state;

    api_versions_response_init(&m);
    assert_true(api_versions_response_encode(&m, &w, 3));
    assert_written(&w, "\0\0\1\0\0\0\0\0", 8);
    writer_reset(&w);
    m.zk_migration_ready = true;
    assert_true(api_versions_response_encode(&m, &w, 3));
    assert_written(&w, "\0\0\1\0\0\0\0\1\3\1\1", 11);
    writer_free(&w);
}

/* A field that the version lacks decodes to its default, not to zero. */
static void field_absent_from_the_version_decodes_to_its_default(void **state)
{
    struct writer w = writer_of(1000);
    struct fetch_request m;
    struct arena a;
    struct reader r;
    (void)state;

    fetch_request_init(&m);
    assert_true(fetch_request_encode(&m, &w, 4));
    arena_init(&a, 1 << 20);
    r = reader_of(w.data, w.size);
    assert_true(fetch_request_decode(&m, &r, &a, 4));
    assert_int_equal(m.session_epoch, -1);
    assert_int_equal(m.replica_state.replica_epoch, -1);
    assert_null(m.cluster_id.data);
    assert_non_null(m.rack_id.data);
    arena_free(&a);
    writer_free(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(writing_past_the_bound_fails_and_stays_failed),
        cmocka_unit_test(null_is_written_as_empty_where_it_is_not_allowed),
        cmocka_unit_test(string_above_32767_bytes_is_refused),
        cmocka_unit_test(tagged_field_that_needs_a_longer_size_is_moved),
        cmocka_unit_test(spliced_records_take_no_room),
        cmocka_unit_test(splices_beyond_what_a_frame_can_say_are_refused),
        cmocka_unit_test(taken_buffer_leaves_an_empty_writer),
        cmocka_unit_test(value_that_the_version_cannot_carry_is_refused),
        cmocka_unit_test(tagged_field_with_its_default_is_not_written),
        cmocka_unit_test(field_absent_from_the_version_decodes_to_its_default),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
