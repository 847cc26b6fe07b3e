#include "tests/unit/test.h"

#include "storage/sync_choice.h"

#define FILE_US 200

/* A file takes FILE_US, as one of many rounds has shown. */
static struct sync_choice learned(void)
{
    struct sync_choice s;

    sync_choice_init(&s);
    for (int i = 0; i < 100; i++)
        sync_choice_learn(&s, false, 2, 2 * FILE_US, 0);
    return s;
}

static void few_files_are_synced_by_themselves(void **state)
{
    struct sync_choice s;
    (void)state;

    sync_choice_init(&s);
    assert_false(sync_choice_is_filesystem(&s, 0, 0));
    assert_false(sync_choice_is_filesystem(&s, 2, 0));
    assert_true(sync_choice_is_filesystem(&s, 3, 0));
}

static void file_system_that_is_faster_stays_the_choice(void **state)
{
    struct sync_choice s = learned();
    (void)state;

    for (int i = 0; i < 100; i++) {
        sync_choice_learn(&s, true, 5, 4 * FILE_US, i);
        assert_true(sync_choice_is_filesystem(&s, 3, i));
    }
}

static void one_stall_of_the_disk_changes_nothing(void **state)
{
    struct sync_choice s = learned();
    (void)state;

    sync_choice_learn(&s, true, 5, 1000000, 0);
    assert_true(sync_choice_is_filesystem(&s, 5, 1));
    sync_choice_learn(&s, true, 5, FILE_US, 1);
    sync_choice_learn(&s, true, 5, 1000000, 2); /* not in a row */
    assert_true(sync_choice_is_filesystem(&s, 5, 3));
}

/* Somebody else writes a lot to the same file system. */
static void slow_file_system_is_left_alone_for_long_against_what_it_took(void **state)
{
    struct sync_choice s = learned();
    (void)state;

    sync_choice_learn(&s, true, 5, 1000000, 1000000);
    sync_choice_learn(&s, true, 5, 1000000, 2000000);
    assert_false(sync_choice_is_filesystem(&s, 5, 2000001));
    assert_false(sync_choice_is_filesystem(&s, 1000, 17999999));
    assert_true(sync_choice_is_filesystem(&s, 5, 18000000));
    sync_choice_learn(&s, true, 5, 500000, 18500000); /* still: once is enough now */
    assert_false(sync_choice_is_filesystem(&s, 5, 18500001));
    assert_true(sync_choice_is_filesystem(&s, 5, 26500000));
    sync_choice_learn(&s, true, 5, FILE_US, 26500200); /* over: all is forgiven */
    sync_choice_learn(&s, true, 5, 500000, 27000000);
    assert_true(sync_choice_is_filesystem(&s, 5, 27000001));
}

/* Where a file takes no time (a disk with a battery), a slower file system is found out. */
static void fast_files_are_learned(void **state)
{
    struct sync_choice s;
    (void)state;

    sync_choice_init(&s);
    for (int i = 0; i < 200; i++)
        sync_choice_learn(&s, false, 1, 10, i);
    sync_choice_learn(&s, true, 3, 300, 1000);
    sync_choice_learn(&s, true, 3, 300, 2000);
    assert_false(sync_choice_is_filesystem(&s, 3, 2001));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(few_files_are_synced_by_themselves),
        cmocka_unit_test(file_system_that_is_faster_stays_the_choice),
        cmocka_unit_test(one_stall_of_the_disk_changes_nothing),
        cmocka_unit_test(slow_file_system_is_left_alone_for_long_against_what_it_took),
        cmocka_unit_test(fast_files_are_learned),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
