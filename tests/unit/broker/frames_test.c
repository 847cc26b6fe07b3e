/* Spare buffers of requests: what is kept, how much, and for how long. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "broker/frames.h"

#define KB ((size_t)1024)

static struct frame *taken(struct frames *f, size_t size)
{
    struct frame *frame = frames_take(f, size);

    assert_non_null(frame);
    assert_int_equal(frame->size, size);
    memset(frame->data, 0xa5, size); /* there is room for all of it */
    return frame;
}

static void large_frame_is_taken_again_by_the_next_of_its_size(void **state)
{
    struct frames f = {0};
    struct frame *first = taken(&f, 100 * KB), *again;
    (void)state;

    frames_give(&f, first);
    again = taken(&f, 90 * KB);
    assert_ptr_equal(again, first);
    frames_give(&f, again);
    frames_free_spare(&f);
}

static void last_frame_given_back_is_the_first_taken(void **state)
{
    struct frames f = {0};
    struct frame *a = taken(&f, 100 * KB), *b = taken(&f, 100 * KB);
    (void)state;

    frames_give(&f, a);
    frames_give(&f, b);
    assert_ptr_equal(taken(&f, 100 * KB), b);
    assert_ptr_equal(taken(&f, 100 * KB), a);
    frames_give(&f, a);
    frames_give(&f, b);
    frames_free_spare(&f);
}

/* A frame of the next smaller size must never serve a larger one: each size at its edges. */
static void no_frame_is_reused_for_more_bytes_than_it_has(void **state)
{
    struct frames f = {0};
    (void)state;

    for (size_t size = 32 * KB; size <= 4096 * KB; size *= 2) {
        const size_t whole = size - sizeof(struct frame);

        for (size_t bytes = whole - 1; bytes <= whole + 1; bytes++)
            frames_give(&f, taken(&f, bytes));
        frames_give(&f, taken(&f, size));
    }
    frames_free_spare(&f);
}

static void small_and_huge_frames_are_not_kept(void **state)
{
    struct frames f = {0};
    (void)state;

    frames_give(&f, taken(&f, 8));
    frames_give(&f, taken(&f, 4 * KB));
    frames_give(&f, taken(&f, 3 * KB * KB));
    assert_int_equal(f.bytes, 0);
}

static void spare_bytes_of_a_shard_are_bounded(void **state)
{
    struct frames f = {0};
    struct frame *frames[20];
    (void)state;

    for (size_t i = 0; i < 20; i++)
        frames[i] = taken(&f, 1000 * KB);
    for (size_t i = 0; i < 20; i++)
        frames_give(&f, frames[i]);
    assert_int_equal(f.bytes, FRAMES_BYTES_MAX);
    frames_free_spare(&f);
    assert_int_equal(f.bytes, 0);
}

static void what_a_second_did_not_need_is_given_back(void **state)
{
    struct frames f = {0};
    struct frame *a = taken(&f, 100 * KB), *b = taken(&f, 100 * KB);
    (void)state;

    frames_give(&f, a);
    frames_give(&f, b);
    frames_trim(&f); /* both were needed since the last one */
    assert_int_equal(f.bytes, 256 * KB);
    frames_give(&f, taken(&f, 100 * KB));
    frames_trim(&f); /* one of them was */
    assert_int_equal(f.bytes, 128 * KB);
    frames_trim(&f);
    assert_int_equal(f.bytes, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(large_frame_is_taken_again_by_the_next_of_its_size),
        cmocka_unit_test(last_frame_given_back_is_the_first_taken),
        cmocka_unit_test(no_frame_is_reused_for_more_bytes_than_it_has),
        cmocka_unit_test(small_and_huge_frames_are_not_kept),
        cmocka_unit_test(spare_bytes_of_a_shard_are_bounded),
        cmocka_unit_test(what_a_second_did_not_need_is_given_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
