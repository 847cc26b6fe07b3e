#include "tests/unit/test.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "storage/files_sim.h"
#include "storage/meta_properties.h"

#define CLUSTER   "4L6g3nShT-eMCtK--X86sw"
#define DIRECTORY "ngdAwoeIQ9qGah_v0sJiUA"

static struct status parse(const char *text, struct meta_properties *m, struct meta_error *error)
{
    return meta_properties_parse((struct bytes){(const uint8_t *)text, strlen(text)}, m, error);
}

static struct meta_properties parsed(const char *text)
{
    struct meta_properties m = {0};
    struct meta_error error = {{0}};

    if (status_failed(parse(text, &m, &error)))
        fail_msg("%s", error.text);
    return m;
}

static void expect_refused(const char *text, const char *because)
{
    struct meta_properties m = {.version = 77};
    struct meta_error error = {{0}};

    assert_int_equal(parse(text, &m, &error).code, KERR_KAFKA_STORAGE_ERROR);
    assert_true(status_failed(parse(text, &m, NULL)));
    assert_int_equal(m.version, 77);
    if (!strstr(error.text, because))
        fail_msg("'%s' does not speak of '%s'", error.text, because);
}

static void the_file_of_apache_kafka_is_understood(void **state)
{
    struct meta_properties m = parsed("#\n#Sat Nov 14 10:00:00 UTC 2026\ncluster.id=" CLUSTER
                                      "\ndirectory.id=" DIRECTORY "\nnode.id=100\nversion=1\n");
    char id[UUID_TEXT_CHARS + 1];
    (void)state;

    assert_int_equal(m.version, 1);
    assert_int_equal(m.node_id, 100);
    assert_string_equal(m.cluster_id, CLUSTER);
    uuid_format(m.directory_id, id);
    assert_string_equal(id, DIRECTORY);
}

static void version_0_has_a_broker_id_and_may_lack_the_rest(void **state)
{
    struct meta_properties m = parsed("version=0\nbroker.id=3\nnode.id=9\n");
    (void)state;

    assert_int_equal(m.version, 0);
    assert_int_equal(m.node_id, 3);
    assert_string_equal(m.cluster_id, "");
    assert_true(uuid_is_zero(m.directory_id));
    m = parsed("");
    assert_int_equal(m.version, 0);
    assert_int_equal(m.node_id, -1);
}

static void java_spellings_of_a_line_are_understood(void **state)
{
    struct meta_properties m =
        parsed("  ! a comment\r\n\r\n  version : 1\n\tnode.id\t2\ncluster.id = a\\:b\\=c d\n"
               "unknown=1\nalone\n");
    (void)state;

    assert_int_equal(m.version, 1);
    assert_int_equal(m.node_id, 2);
    assert_string_equal(m.cluster_id, "a:b=c d");
}

static void what_is_missing_or_wrong_is_named(void **state)
{
    char text[600];
    (void)state;

    expect_refused("version=2\n", "version=2");
    expect_refused("version=x\n", "version=x");
    expect_refused("version=-1\n", "version=-1");
    expect_refused("version=1\ncluster.id=c\n", "node.id is missing");
    expect_refused("version=1\nbroker.id=1\ncluster.id=c\n", "node.id is missing");
    expect_refused("version=1\nnode.id=1\n", "cluster.id is missing");
    expect_refused("version=1\nnode.id=1\ncluster.id=\n", "cluster.id is missing");
    expect_refused("version=1\nnode.id=\ncluster.id=c\n", "node.id=");
    expect_refused("version=1\nnode.id=-4\ncluster.id=c\n", "node.id=-4");
    expect_refused("version=1\nnode.id=1\ncluster.id=c\ndirectory.id=short\n",
                   "directory.id=short");
    expect_refused("version=1\nnode.id=1\ncluster.id=c\ndirectory.id=AAAAAAAAAAAAAAAAAAAAAQ\n",
                   "reserved");
    expect_refused("version=1\nnode.id=1\ncluster.id=a\\rb\n", "control characters");
    memset(text, 'c', sizeof text);
    memcpy(text, "version=1\nnode.id=1\ncluster.id=", 31);
    text[sizeof text - 1] = '\0';
    expect_refused(text, "too long");
}

static void what_is_written_reads_back(void **state)
{
    struct files *fs = files_sim_create(NULL);
    struct meta_properties m = parsed("version=1\nnode.id=2147483647\ncluster.id=" CLUSTER
                                      "\ndirectory.id=" DIRECTORY "\n");
    struct meta_properties read;
    struct meta_error error;
    struct bytes_mut text;
    (void)state;

    meta_properties_format(&m, &text);
    assert_int_equal(text.size, strlen("cluster.id=" CLUSTER "\ndirectory.id=" DIRECTORY
                                       "\nnode.id=2147483647\nversion=1\n"));
    free(text.data);
    assert_false(status_failed(fs->ops->make_directory(fs, "/d")));
    assert_int_equal(meta_properties_read(fs, "/d", &read, &error).sys_errno, ENOENT);
    strcpy(m.cluster_id, " odd:=\\#!");
    assert_false(status_failed(meta_properties_write(fs, "/d", &m)));
    assert_false(status_failed(meta_properties_read(fs, "/d", &read, &error)));
    assert_string_equal(read.cluster_id, m.cluster_id);
    assert_int_equal(read.node_id, m.node_id);
    assert_true(uuid_equal(read.directory_id, m.directory_id));
    files_sim_free(fs);
}

static void cut_anywhere_it_is_refused_or_says_less(void **state)
{
    static const char text[] =
        "version=1\ncluster.id=" CLUSTER "\nnode.id=100\ndirectory.id=" DIRECTORY "\n";
    (void)state;

    for (size_t size = 0; size < sizeof text - 1; size++) {
        struct meta_properties m = {0};
        char *copy = malloc(size + 1);

        assert_non_null(copy);
        memcpy(copy, text, size);
        if (!status_failed(
                meta_properties_parse((struct bytes){(const uint8_t *)copy, size}, &m, NULL)) &&
            m.version == 1)
            assert_string_equal(m.cluster_id, CLUSTER);
        free(copy);
    }
}

static void directories_of_one_node_agree(void **state)
{
    static const char *const names[] = {"/data/a", "/data/b"};
    struct meta_properties all[2] = {
        parsed("version=1\nnode.id=1\ncluster.id=c\ndirectory.id=" DIRECTORY "\n"),
        parsed("version=1\nnode.id=1\ncluster.id=c\ndirectory.id=" CLUSTER "\n"),
    };
    struct meta_error error = {{0}};
    (void)state;

    assert_true(meta_properties_agree(all, names, 2, &(struct meta_expectation){NULL, -1}, &error));
    assert_true(meta_properties_agree(all, names, 2, &(struct meta_expectation){"c", 1}, &error));
    assert_false(meta_properties_agree(all, names, 2, &(struct meta_expectation){"d", 1}, &error));
    assert_non_null(strstr(error.text, "/data/a/meta.properties: cluster.id is c, expected d"));
    assert_false(meta_properties_agree(all, names, 2, &(struct meta_expectation){NULL, 2}, &error));
    assert_non_null(strstr(error.text, "node.id is 1, expected 2"));
    all[1].node_id = 5;
    assert_false(
        meta_properties_agree(all, names, 2, &(struct meta_expectation){NULL, -1}, &error));
    assert_non_null(strstr(error.text, "/data/b/meta.properties: node.id is 5, expected 1"));
    all[1] = all[0];
    assert_false(
        meta_properties_agree(all, names, 2, &(struct meta_expectation){NULL, -1}, &error));
    assert_non_null(strstr(error.text, "a copy"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_file_of_apache_kafka_is_understood),
        cmocka_unit_test(version_0_has_a_broker_id_and_may_lack_the_rest),
        cmocka_unit_test(java_spellings_of_a_line_are_understood),
        cmocka_unit_test(what_is_missing_or_wrong_is_named),
        cmocka_unit_test(what_is_written_reads_back),
        cmocka_unit_test(cut_anywhere_it_is_refused_or_says_less),
        cmocka_unit_test(directories_of_one_node_agree),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
