#include "tests/unit/test.h"

#include <errno.h>

#include "tests/unit/storage/log_world.h"

static void deleted_log_leaves_a_directory_to_be_removed(void **state)
{
    struct log_world w;
    struct file_stat info;
    const struct uuid unique = {{0xaa}};
    (void)state;

    world_begin(&w);
    world_open(&w, LOG_TRUST_CLEAN);
    world_append(&w, 3, 10);
    assert_false(status_failed(log_delete(w.log, unique)));
    w.log = NULL;
    assert_int_equal(w.files->ops->stat(w.files, LOG_DIRECTORY, &info).sys_errno, ENOENT);
    assert_false(status_failed(w.files->ops->stat(
        w.files, LOG_DIRECTORY ".aa000000000000000000000000000000-delete", &info)));
    world_end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(deleted_log_leaves_a_directory_to_be_removed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
