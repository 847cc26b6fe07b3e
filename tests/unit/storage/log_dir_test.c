#include "tests/unit/test.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "storage/files_sim.h"
#include "storage/log_dir.h"

#define BOOT       STR("0b0e1c1a-6a5c-4b9b-8c67-1f2d3c4b5a69")
#define OTHER_BOOT STR("ffffffff-6a5c-4b9b-8c67-1f2d3c4b5a69")

struct counting_random {
    struct random random;
    uint8_t next;
};

/* The first ids are ones that may not be used: zero, then one whose text starts with '-'. */
static void fill(struct random *r, void *out, size_t size)
{
    struct counting_random *c = (struct counting_random *)r;

    memset(out, c->next == 0 ? 0 : c->next == 1 ? 0xf8 : c->next, size);
    c->next++;
}

static struct counting_random chance(void)
{
    return (struct counting_random){{fill}, 0};
}

static void ok(struct status st)
{
    if (status_failed(st))
        fail_msg("%s: %s (%s)", st.where, kerr_name(st.code), strerror(st.sys_errno));
}

static struct log_dir open_dir(struct files *fs, const char *path)
{
    struct log_dir d = {0};
    struct meta_error error = {{0}};

    if (status_failed(log_dir_open(fs, path, &d, &error)))
        fail_msg("%s", error.text);
    return d;
}

static void put(struct files *fs, const char *path, const char *text)
{
    ok(files_replace(fs, path, (struct bytes){(const uint8_t *)text, strlen(text)}));
}

static void expect_text(struct files *fs, const char *path, const char *text)
{
    struct bytes_mut content;

    ok(files_read_whole(fs, path, 4096, &content));
    assert_int_equal(content.size, strlen(text));
    assert_memory_equal(content.data, text, content.size);
    free(content.data);
}

static void a_new_directory_is_made_locked_and_formatted(void **state)
{
    struct files *fs = files_sim_create(NULL);
    struct counting_random r = chance();
    struct log_dir d = open_dir(fs, "/data/one");
    struct log_dir second = {0};
    struct meta_error error;
    struct uuid id;
    (void)state;

    assert_false(d.formatted);
    assert_int_equal(log_dir_open(fs, "/data/one", &second, &error).sys_errno, EWOULDBLOCK);
    assert_non_null(strstr(error.text, "/data/one"));
    assert_non_null(strstr(error.text, "another process"));
    ok(log_dir_format(&d, "cluster", 7, &r.random));
    assert_true(d.formatted);
    id = d.meta.directory_id;
    assert_false(uuid_is_unsafe(id));
    log_dir_close(&d);
    files_sim_crash_losing_all(fs);

    d = open_dir(fs, "/data/one");
    assert_true(d.formatted);
    assert_string_equal(d.meta.cluster_id, "cluster");
    assert_int_equal(d.meta.node_id, 7);
    assert_true(uuid_equal(d.meta.directory_id, id));
    ok(log_dir_format(&d, "ignored", 8, &r.random)); /* nothing is missing */
    assert_int_equal(d.meta.node_id, 7);
    log_dir_close(&d);
    files_sim_free(fs);
}

static void an_old_meta_properties_gets_what_it_lacks(void **state)
{
    struct files *fs = files_sim_create(NULL);
    struct counting_random r = chance();
    struct log_dir d;
    (void)state;

    ok(files_make_directories(fs, "/data"));
    put(fs, "/data/meta.properties", "version=0\nbroker.id=3\ncluster.id=c\n");
    d = open_dir(fs, "/data");
    assert_true(d.formatted);
    ok(log_dir_format(&d, d.meta.cluster_id, d.meta.node_id, &r.random));
    assert_int_equal(d.meta.version, 1);
    assert_int_equal(d.meta.node_id, 3);
    assert_string_equal(d.meta.cluster_id, "c");
    assert_false(uuid_is_zero(d.meta.directory_id));
    log_dir_close(&d);
    files_sim_free(fs);
}

static void a_foreign_meta_properties_is_refused_with_its_place(void **state)
{
    struct files *fs = files_sim_create(NULL);
    struct log_dir d = {0};
    struct meta_error error;
    struct status st;
    (void)state;

    ok(files_make_directories(fs, "/data"));
    put(fs, "/data/meta.properties", "version=5\n");
    st = log_dir_open(fs, "/data", &d, &error);
    assert_int_equal(st.code, KERR_KAFKA_STORAGE_ERROR);
    assert_int_equal(st.sys_errno, 0);
    assert_non_null(strstr(error.text, "/data/meta.properties"));
    assert_int_equal(files_sim_open_files(fs), 0); /* the lock is given back */
    put(fs, "/file", "");
    assert_int_equal(log_dir_open(fs, "/file", &d, &error).sys_errno, ENOTDIR);
    files_sim_free(fs);
}

/* ---- runs ---- */

static void expect_history(struct log_dir *d, struct str boot, enum log_trust trust, int64_t epoch)
{
    struct log_dir_history h;

    ok(log_dir_read_history(d, boot, &h));
    assert_int_equal(h.trust, trust);
    assert_int_equal(h.broker_epoch, epoch);
}

static void a_clean_stop_is_known_at_the_next_start_only(void **state)
{
    struct files *fs = files_sim_create(NULL);
    struct log_dir d = open_dir(fs, "/data");
    (void)state;

    expect_history(&d, BOOT, LOG_TRUST_OTHER_BOOT, -1);
    ok(log_dir_begin_run(&d, BOOT, -1));
    ok(log_dir_record_epoch(&d, BOOT, 19));
    ok(log_dir_end_run(&d, 19));
    expect_text(fs, "/data/.kafka_cleanshutdown", "{\"version\":0,\"brokerEpoch\":19}");
    expect_history(&d, OTHER_BOOT, LOG_TRUST_CLEAN, 19);
    ok(log_dir_begin_run(&d, OTHER_BOOT, 19));
    files_sim_crash_losing_all(fs);
    log_dir_close(&d);
    d = open_dir(fs, "/data");
    expect_history(&d, OTHER_BOOT, LOG_TRUST_SAME_BOOT, 19);
    log_dir_close(&d);
    files_sim_free(fs);
}

/* The page cache outlives the process, not the boot. */
static void after_a_crash_the_boot_decides_how_far_files_are_trusted(void **state)
{
    struct files *fs = files_sim_create(NULL);
    struct log_dir d = open_dir(fs, "/data");
    (void)state;

    ok(log_dir_begin_run(&d, BOOT, -1));
    ok(log_dir_record_epoch(&d, BOOT, 42));
    files_sim_kill(fs);
    log_dir_close(&d);
    d = open_dir(fs, "/data");
    expect_history(&d, BOOT, LOG_TRUST_SAME_BOOT, 42);
    expect_history(&d, OTHER_BOOT, LOG_TRUST_OTHER_BOOT, 42);
    expect_history(&d, STR(""), LOG_TRUST_OTHER_BOOT, 42);
    ok(log_dir_begin_run(&d, STR(""), 42));
    expect_history(&d, STR(""), LOG_TRUST_OTHER_BOOT, 42);
    log_dir_close(&d);
    files_sim_free(fs);
}

static bool distrusted(struct log_dir *d, struct str boot)
{
    struct log_dir_history h;

    ok(log_dir_read_history(d, boot, &h));
    return h.cache_distrusted;
}

/* After a failed sync the boot does not vouch for the page cache any more; the epoch is still
 * known. No space and no sync is asked for. */
static void a_directory_whose_sync_failed_is_not_trusted_on_the_same_boot(void **state)
{
    const struct files_fault no_sync = {.call = FILES_CALL_SYNC, .sys_errno = EIO};
    struct files *fs = files_sim_create(NULL);
    struct log_dir d = open_dir(fs, "/data");
    (void)state;

    ok(log_dir_distrust(&d)); /* no run yet: nothing to take back */
    ok(log_dir_begin_run(&d, BOOT, -1));
    ok(log_dir_record_epoch(&d, BOOT, 1234567890123));
    assert_false(distrusted(&d, BOOT));
    files_sim_fail(fs, &no_sync);
    files_sim_set_capacity(fs, 1);
    ok(log_dir_distrust(&d));
    files_sim_kill(fs);
    log_dir_close(&d);
    files_sim_heal(fs);
    files_sim_set_capacity(fs, 0);
    d = open_dir(fs, "/data");
    expect_history(&d, BOOT, LOG_TRUST_OTHER_BOOT, 1234567890123);
    assert_true(distrusted(&d, BOOT));
    ok(log_dir_distrust(&d)); /* twice is fine */
    assert_true(distrusted(&d, BOOT));
    ok(log_dir_begin_run(&d, BOOT, 1234567890123));
    assert_false(distrusted(&d, BOOT));
    assert_false(distrusted(&d, OTHER_BOOT)); /* a restart of the machine has emptied the page
                                               * cache by itself */
    log_dir_close(&d);
    files_sim_free(fs);
}

static void a_clean_shutdown_file_without_an_epoch_is_still_clean(void **state)
{
    static const char *const texts[] = {"",
                                        "{",
                                        "[]",
                                        "{\"version\":0}",
                                        "{\"brokerEpoch\":\"x\"}",
                                        "{\"brokerEpoch\":-9}",
                                        "{\"brokerEpoch\":99999999999999999999}"};
    struct files *fs = files_sim_create(NULL);
    struct log_dir d = open_dir(fs, "/data");
    (void)state;

    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        put(fs, "/data/.kafka_cleanshutdown", texts[i]);
        expect_history(&d, BOOT, LOG_TRUST_CLEAN, -1);
    }
    log_dir_close(&d);
    files_sim_free(fs);
}

static void a_damaged_run_file_means_another_boot(void **state)
{
    static const char *const texts[] = {
        "", "{}", "{\"bootId\":7,\"brokerEpoch\":1}",
        "{\"bootId\":\"0b0e1c1a-6a5c-4b9b-8c67-1f2d3c4b5a69-and-more\",\"brokerEpoch\":1}"};
    struct files *fs = files_sim_create(NULL);
    struct log_dir d = open_dir(fs, "/data");
    (void)state;

    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        put(fs, "/data/.trivet-run", texts[i]);
        expect_history(&d, BOOT, LOG_TRUST_OTHER_BOOT, -1);
    }
    log_dir_close(&d);
    files_sim_free(fs);
}

/* A whole life of a directory with each call failing in turn, and a crash after it: a stop that was
 * not answered as clean may be found clean only when it was complete. */
static void a_life_survives_the_failure_of_each_call(void **state)
{
    uint64_t n;
    bool failed = true, written;
    (void)state;

    for (n = 0; failed && n < 200; n++) {
        struct files *fs = files_sim_create(NULL);
        struct counting_random r = chance();
        struct log_dir d = {0};
        struct log_dir_history h;
        struct offset_map offsets = {0};
        struct meta_error error = {{0}};
        struct status st;

        files_sim_fail(
            fs,
            &(struct files_fault){
                .call = FILES_CALL_ANY, .after = n, .times = 1, .sys_errno = EIO, .partial = true});
        st = log_dir_open(fs, "/data", &d, &error);
        if (status_failed(st))
            assert_non_null(strstr(error.text, "/data"));
        else
            st = log_dir_format(&d, "c", 1, &r.random);
        if (!status_failed(st))
            st = log_dir_read_history(&d, BOOT, &h);
        if (!status_failed(st))
            st = log_dir_begin_run(&d, BOOT, 5);
        if (!status_failed(st))
            st = log_dir_read_checkpoint(&d, LOG_DIR_HIGH_WATERMARKS, &offsets, NULL);
        if (!status_failed(st))
            st = log_dir_write_checkpoint(&d, LOG_DIR_HIGH_WATERMARKS, &offsets, &written);
        if (!status_failed(st))
            st = log_dir_end_run(&d, 5);
        failed = status_failed(st);
        files_sim_heal(fs);
        log_dir_close(&d);
        assert_int_equal(files_sim_open_files(fs), 0);
        files_sim_crash(fs, n);

        d = open_dir(fs, "/data");
        ok(log_dir_read_history(&d, BOOT, &h));
        if (!failed)
            assert_int_equal(h.trust, LOG_TRUST_CLEAN);
        if (h.trust == LOG_TRUST_CLEAN)
            assert_int_equal(h.broker_epoch, 5);
        log_dir_close(&d);
        files_sim_free(fs);
    }
    assert_false(failed);
    assert_true(n > 20);
}

static void checkpoints_of_a_directory_are_kept_apart(void **state)
{
    struct files *fs = files_sim_create(NULL);
    struct log_dir d = open_dir(fs, "/data");
    struct checkpoint_error error;
    bool written;
    (void)state;

    for (int i = 0; i < LOG_DIR_CHECKPOINT_COUNT; i++) {
        struct offset_map m = {0};

        offset_map_set(&m, STR("t"), 0, 100 + i);
        ok(log_dir_write_checkpoint(&d, (enum log_dir_checkpoint)i, &m, &written));
        assert_true(written);
        offset_map_free(&m);
    }
    expect_text(fs, "/data/recovery-point-offset-checkpoint", "0\n1\nt 0 100\n");
    expect_text(fs, "/data/replication-offset-checkpoint", "0\n1\nt 0 101\n");
    expect_text(fs, "/data/log-start-offset-checkpoint", "0\n1\nt 0 102\n");
    expect_text(fs, "/data/cleaner-offset-checkpoint", "0\n1\nt 0 103\n");
    put(fs, "/data/log-start-offset-checkpoint", "0\n1\nt 0 x\n");
    {
        struct offset_map m = {0};
        struct status st = log_dir_read_checkpoint(&d, LOG_DIR_LOG_STARTS, &m, &error);

        assert_int_equal(st.code, KERR_KAFKA_STORAGE_ERROR);
        assert_int_equal(st.sys_errno, 0);
        assert_int_equal(error.line, 3);
        ok(log_dir_read_checkpoint(&d, LOG_DIR_HIGH_WATERMARKS, &m, &error));
        assert_int_equal(offset_map_count(&m), 1);
        offset_map_free(&m);
    }
    log_dir_close(&d);
    files_sim_free(fs);
}

/* ---- folders ---- */

/* Else an idle broker would keep its disk busy for ever. What the run before wrote is written once
 * more: nobody knows whether it is durable. */
static void a_checkpoint_that_says_nothing_new_is_not_written(void **state)
{
    struct files *fs = files_sim_create(NULL);
    struct log_dir d = open_dir(fs, "/data");
    struct offset_map m = {0};
    uint64_t calls;
    bool written;
    (void)state;

    offset_map_set(&m, STR("t"), 0, 7);
    ok(log_dir_write_checkpoint(&d, LOG_DIR_LOG_STARTS, &m, &written));
    assert_true(written);
    calls = files_sim_calls(fs, FILES_CALL_ANY);
    ok(log_dir_write_checkpoint(&d, LOG_DIR_LOG_STARTS, &m, &written));
    assert_false(written);
    assert_int_equal(files_sim_calls(fs, FILES_CALL_ANY), calls);
    ok(log_dir_write_checkpoint(&d, LOG_DIR_RECOVERY_POINTS, &m, &written)); /* another one */
    assert_true(written);
    offset_map_set(&m, STR("t"), 0, 8);
    files_sim_fail(fs,
                   &(struct files_fault){.call = FILES_CALL_SYNC, .times = 1, .sys_errno = EIO});
    assert_int_equal(log_dir_write_checkpoint(&d, LOG_DIR_LOG_STARTS, &m, &written).sys_errno, EIO);
    assert_false(written);
    ok(log_dir_write_checkpoint(&d, LOG_DIR_LOG_STARTS, &m, &written));
    assert_true(written);
    expect_text(fs, "/data/log-start-offset-checkpoint", "0\n1\nt 0 8\n");
    log_dir_close(&d);
    d = open_dir(fs, "/data");
    ok(log_dir_write_checkpoint(&d, LOG_DIR_LOG_STARTS, &m, &written));
    assert_true(written);
    offset_map_free(&m);
    log_dir_close(&d);
    files_sim_free(fs);
}

static void folder_names_say_what_they_hold(void **state)
{
    static const struct {
        const char *name;
        enum log_dir_entry_kind kind;
        const char *topic;
        int32_t partition;
    } cases[] = {
        {"t-0", LOG_DIR_LOG, "t", 0},
        {"my-topic-17", LOG_DIR_LOG, "my-topic", 17},
        {"__cluster_metadata-0", LOG_DIR_LOG, "__cluster_metadata", 0},
        {"a.b-2147483647", LOG_DIR_LOG, "a.b", 2147483647},
        {"t-delete-3", LOG_DIR_LOG, "t-delete", 3},
        {"t-0.0123456789abcdef-delete", LOG_DIR_DELETED, "t", 0},
        {"a.b-1.0123-future", LOG_DIR_FUTURE, "a.b", 1},
        {"t-0.x-stray", LOG_DIR_STRAY, "t", 0},
        {"t-0-delete", LOG_DIR_FOREIGN, NULL, -1},
        {"t-0.-delete", LOG_DIR_FOREIGN, NULL, -1},
        {"t.x-delete", LOG_DIR_FOREIGN, NULL, -1},
        {"-delete", LOG_DIR_FOREIGN, NULL, -1},
        {"topic", LOG_DIR_FOREIGN, NULL, -1},
        {"-0", LOG_DIR_FOREIGN, NULL, -1},
        {"t-", LOG_DIR_FOREIGN, NULL, -1},
        {"t-x", LOG_DIR_FOREIGN, NULL, -1},
        {"t-2147483648", LOG_DIR_FOREIGN, NULL, -1},
        {"", LOG_DIR_FOREIGN, NULL, -1},
    };
    (void)state;

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct log_dir_entry e = log_dir_parse_name(str_from(cases[i].name));

        assert_int_equal(e.kind, cases[i].kind);
        assert_true(str_equal(e.topic, str_from(cases[i].topic)));
        assert_int_equal(e.partition, cases[i].partition);
    }
}

static void folder_names_are_formed_as_apache_kafka_does(void **state)
{
    char name[LOG_DIR_FOLDER_CHARS_MAX + 1], longest[250];
    struct uuid id = {{0x01, 0x23, 0xab}};
    struct log_dir_entry e;
    (void)state;

    assert_true(log_dir_format_name(STR("my.topic"), 3, LOG_DIR_LOG, id, name));
    assert_string_equal(name, "my.topic-3");
    assert_true(log_dir_format_name(STR("my.topic"), 3, LOG_DIR_DELETED, id, name));
    assert_string_equal(name, "my.topic-3.0123ab00000000000000000000000000-delete");
    memset(longest, 'x', sizeof longest);
    assert_true(log_dir_format_name((struct str){longest, 249}, 11, LOG_DIR_STRAY, id, name));
    assert_int_equal(strlen(name), 255);
    e = log_dir_parse_name(str_from(name));
    assert_int_equal(e.kind, LOG_DIR_STRAY);
    assert_int_equal(e.partition, 11);
    assert_true(log_dir_format_name((struct str){longest, 249}, 11, LOG_DIR_LOG, id, name));
    assert_false(log_dir_format_name((struct str){longest, 250}, 100000, LOG_DIR_LOG, id, name));
    assert_false(log_dir_format_name(STR(""), 0, LOG_DIR_LOG, id, name));
}

static void note(void *arg, const struct log_dir_entry *entry, const char *name)
{
    char *all = arg;

    sprintf(all + strlen(all), "%s:%d ", name, (int)entry->kind);
}

static void folders_are_listed_and_the_rest_is_left_out(void **state)
{
    struct files *fs = files_sim_create(NULL);
    struct log_dir d = open_dir(fs, "/data");
    char all[200] = "";
    (void)state;

    ok(files_make_directories(fs, "/data/t-0"));
    ok(files_make_directories(fs, "/data/t-1.a-delete"));
    ok(files_make_directories(fs, "/data/lost+found"));
    ok(files_make_directories(fs, "/data/.hidden"));
    ok(files_make_directories(fs, "/data/photos"));
    put(fs, "/data/file-0", "");
    ok(log_dir_list(&d, note, all));
    assert_string_equal(all, "t-0:0 t-1.a-delete:1 photos:4 ");
    log_dir_close(&d);
    files_sim_free(fs);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_new_directory_is_made_locked_and_formatted),
        cmocka_unit_test(an_old_meta_properties_gets_what_it_lacks),
        cmocka_unit_test(a_foreign_meta_properties_is_refused_with_its_place),
        cmocka_unit_test(a_clean_stop_is_known_at_the_next_start_only),
        cmocka_unit_test(after_a_crash_the_boot_decides_how_far_files_are_trusted),
        cmocka_unit_test(a_directory_whose_sync_failed_is_not_trusted_on_the_same_boot),
        cmocka_unit_test(a_clean_shutdown_file_without_an_epoch_is_still_clean),
        cmocka_unit_test(a_damaged_run_file_means_another_boot),
        cmocka_unit_test(a_life_survives_the_failure_of_each_call),
        cmocka_unit_test(checkpoints_of_a_directory_are_kept_apart),
        cmocka_unit_test(a_checkpoint_that_says_nothing_new_is_not_written),
        cmocka_unit_test(folder_names_say_what_they_hold),
        cmocka_unit_test(folder_names_are_formed_as_apache_kafka_does),
        cmocka_unit_test(folders_are_listed_and_the_rest_is_left_out),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
