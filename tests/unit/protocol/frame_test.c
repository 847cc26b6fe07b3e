#include "tests/unit/test.h"

#include "protocol/frame.h"

static void known_keys_have_rows_and_gaps_have_none(void **state)
{
    (void)state;

    assert_string_equal(api_find(API_PRODUCE)->name, "Produce");
    assert_int_equal(api_find(API_FETCH)->version_max, 18);
    assert_true(api_find(API_INIT_PRODUCER_ID)->latest_unstable);
    assert_int_equal(api_find(API_VOTE)->listeners, API_ON_CONTROLLER);
    assert_null(api_find(4)); /* LeaderAndIsr, gone with ZooKeeper */
    assert_null(api_find(-1));
    assert_null(api_find(API_KEY_COUNT));
    assert_null(api_find(INT16_MAX));
}

static void headers_are_flexible_where_the_message_is(void **state)
{
    const struct api *metadata = api_find(API_METADATA);
    const struct api *handshake = api_find(API_SASL_HANDSHAKE); /* never flexible */
    (void)state;

    assert_int_equal(api_request_header_version(metadata, 8), 1);
    assert_int_equal(api_request_header_version(metadata, 9), 2);
    assert_int_equal(api_response_header_version(metadata, 8), 0);
    assert_int_equal(api_response_header_version(metadata, 9), 1);
    assert_int_equal(api_request_header_version(handshake, 1), 1);
    /* Whoever cannot know the version yet must be able to read the answer (KIP-511). */
    assert_int_equal(api_response_header_version(api_find(API_API_VERSIONS), 4), 0);
}

static void request_head_comes_back_as_it_was_written(void **state)
{
    const struct request_head head = {API_METADATA, 12, 77, STR("rdkafka")};
    struct request_head read;
    struct writer w;
    struct reader r;
    struct frame_start start;
    (void)state;

    writer_init(&w, 1000);
    start = frame_begin_request(&w, api_find(API_METADATA), &head);
    write_int8(&w, 42);
    assert_true(frame_end(&w, start));
    assert_int_equal(frame_length(w.data), w.size - FRAME_LENGTH_BYTES);
    r = reader_of(w.data + FRAME_LENGTH_BYTES, w.size - FRAME_LENGTH_BYTES);
    assert_true(frame_read_request_head(&r, &read));
    assert_int_equal(read.api_key, API_METADATA);
    assert_int_equal(read.api_version, 12);
    assert_int_equal(read.correlation_id, 77);
    assert_true(str_equal(read.client_id, STR("rdkafka")));
    assert_int_equal(read_int8(&r), 42);
    writer_free(&w);
}

/* The dispatcher logs what it refuses, so the fixed part is there even for a key nobody has. */
static void unknown_key_is_refused_with_its_correlation_id(void **state)
{
    const uint8_t frame[] = {0, 4, 0, 1, 0, 0, 0, 9, 0xff, 0xff};
    struct reader r = reader_of(frame, sizeof frame);
    struct request_head head;
    (void)state;

    assert_false(frame_read_request_head(&r, &head));
    assert_int_equal(r.failure, KERR_UNSUPPORTED_VERSION);
    assert_int_equal(head.api_key, 4);
    assert_int_equal(head.correlation_id, 9);
}

static void request_head_cut_anywhere_is_refused(void **state)
{
    const uint8_t frame[] = {0, 3, 0, 12, 0, 0, 0, 9, 0, 1, 'a', 0};
    (void)state;

    for (size_t size = 0; size < sizeof frame; size++) {
        struct reader r = reader_of(frame, size);
        struct request_head head;

        assert_false(frame_read_request_head(&r, &head));
        assert_int_equal(r.failure, KERR_INVALID_REQUEST);
    }
}

static void length_counts_what_is_spliced_into_its_own_frame(void **state)
{
    struct writer w;
    struct frame_start first, second;
    int32_t correlation_id;
    int cookie = 0;
    struct reader r;
    (void)state;

    writer_init(&w, 1000);
    first = frame_begin_response(&w, api_find(API_FETCH), 4, 1);
    write_records(&w, WIRE_PLAIN, (struct records){NULL, 5000, &cookie});
    assert_true(frame_end(&w, first));
    second = frame_begin_response(&w, api_find(API_FETCH), 12, 2);
    assert_true(frame_end(&w, second));
    assert_int_equal(frame_length(w.data), 4 + 4 + 5000);
    assert_int_equal(frame_length(w.data + second.at), 4 + 1);
    r = reader_of(w.data + second.at + FRAME_LENGTH_BYTES, 5);
    assert_true(frame_read_response_head(&r, api_find(API_FETCH), 12, &correlation_id));
    assert_int_equal(correlation_id, 2);
    writer_free(&w);
}

static void frame_longer_than_its_length_can_say_is_refused(void **state)
{
    struct writer w;
    struct frame_start start;
    int cookie = 0;
    (void)state;

    writer_init(&w, 1000);
    start = frame_begin_response(&w, api_find(API_FETCH), 4, 1);
    write_records(&w, WIRE_PLAIN, (struct records){NULL, INT32_MAX, &cookie});
    assert_false(frame_end(&w, start));
    assert_int_equal(w.failure, KERR_MESSAGE_TOO_LARGE);
    writer_free(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_keys_have_rows_and_gaps_have_none),
        cmocka_unit_test(headers_are_flexible_where_the_message_is),
        cmocka_unit_test(request_head_comes_back_as_it_was_written),
        cmocka_unit_test(unknown_key_is_refused_with_its_correlation_id),
        cmocka_unit_test(request_head_cut_anywhere_is_refused),
        cmocka_unit_test(length_counts_what_is_spliced_into_its_own_frame),
        cmocka_unit_test(frame_longer_than_its_length_can_say_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
