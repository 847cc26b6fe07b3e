#include "tests/unit/test.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "replication/raft_node.h"
#include "replication/snapshot_file.h"
#include "storage/files_real.h"

/* What Apache Kafka 4.4.0's storage tool wrote for a standalone controller. */
static const char golden_hex[] = "00000000000000000000009a0000000002ad0d661d002000000002000001a207"
                                 "8f14d6000001a2078f14d6ffffffffffffffffffffffffffff000000032a0000"
                                 "000800000003160000000001a2078f14be00001e00000208000000050a000000"
                                 "010000820100000408000000066e000002000000649e0740c2878843da866a1f"
                                 "efd2c26250020b434f4e54524f4c4c45520a3132372e302e302e314a95000000"
                                 "0001000000000000000000000003000000f10000000002394fee3d0000000000"
                                 "05000001a2078f156b000001a2078f156bffffffffffffffffffffffffffff00"
                                 "0000063a000000012e010c00116d657461646174612e76657273696f6e002100"
                                 "005a000002014e010c0021656c696769626c652e6c65616465722e7265706c69"
                                 "6361732e76657273696f6e00010000340000040128010c000e67726f75702e76"
                                 "657273696f6e00010000340000060128010c000e73686172652e76657273696f"
                                 "6e0002000038000008012c010c001073747265616d732e76657273696f6e0001"
                                 "00004000000a0134010c00147472616e73616374696f6e2e76657273696f6e00"
                                 "02000000000000000000090000003f0000000002ef7ba4320020000000000000"
                                 "01a2078f1572000001a2078f1572ffffffffffffffffffffffffffff00000001"
                                 "1a00000008000000040600000000";
#define GOLDEN_BYTES 494
#define GOLDEN_NAME  "00000000000000000000-0000000000.checkpoint"

/* The times at which it looked at its clock, in order. */
static const int64_t golden_times[] = {0x1a2078f14be, 0x1a2078f14d6, 0x1a2078f156b, 0x1a2078f1572};

struct bench {
    struct files *files;
    char directory[64];
    struct clock clock;
    size_t looks;
    uint8_t golden[GOLDEN_BYTES];
};

static int64_t wall_ms(struct clock *c)
{
    struct bench *b = (struct bench *)(void *)((char *)c - offsetof(struct bench, clock));

    return golden_times[b->looks < 3 ? b->looks++ : 3];
}

static int set_up(void **state)
{
    struct bench *b = calloc(1, sizeof *b);

    assert_non_null(b);
    b->clock.wall_ms = wall_ms;
    for (size_t i = 0; i < GOLDEN_BYTES; i++) {
        unsigned byte;

        assert_int_equal(sscanf(golden_hex + 2 * i, "%2x", &byte), 1);
        b->golden[i] = (uint8_t)byte;
    }
    assert_int_equal(files_real_create(0, &b->files).code, KERR_NONE);
    strcpy(b->directory, "/tmp/snapshot_file_test.XXXXXX");
    assert_non_null(mkdtemp(b->directory));
    *state = b;
    return 0;
}

static int tear_down(void **state)
{
    struct bench *b = *state;

    files_remove_tree(b->files, b->directory);
    files_real_free(b->files);
    free(b);
    return 0;
}

static void put_file(struct bench *b, const char *name, const uint8_t *data, size_t size)
{
    char path[256];

    snprintf(path, sizeof path, "%s/%s", b->directory, name);
    assert_int_equal(files_replace(b->files, path, (struct bytes){data, size}).code, KERR_NONE);
}

static struct status read_through(struct bench *b, struct raft_snapshot_id id, size_t *records)
{
    struct snapshot_reader *r;
    const struct bytes *values;
    size_t count;
    struct status st = snapshot_reader_open(b->files, b->directory, id, &r);

    *records = 0;
    if (status_failed(st))
        return st;
    do {
        st = snapshot_reader_next(r, &values, &count);
        *records += count;
    } while (!status_failed(st) && count > 0);
    snapshot_reader_close(r);
    return st;
}

static void formatting_gives_the_bytes_of_kafka(void **state)
{
    static const char *const features[] = {
        "\x01\x0c\x00\x11metadata.version\x00\x21\x00",
        "\x01\x0c\x00!eligible.leader.replicas.version\x00\x01\x00",
        "\x01\x0c\x00\x0egroup.version\x00\x01\x00",
        "\x01\x0c\x00\x0eshare.version\x00\x02\x00",
        "\x01\x0c\x00\x10streams.version\x00\x01\x00",
        "\x01\x0c\x00\x14transaction.version\x00\x02\x00",
    };
    struct bench *b = *state;
    struct raft_endpoint endpoint = {STR("CONTROLLER"), STR("127.0.0.1"), 19093};
    struct raft_voter voter = {
        .key = {.id = 100}, .endpoints = &endpoint, .endpoint_count = 1, .kraft_version_max = 1};
    struct bytes values[6];
    struct bytes_mut got;
    struct stat found;
    char path[256];

    assert_true(uuid_parse(STR("ngdAwoeIQ9qGah_v0sJiUA"), &voter.key.directory_id));
    for (size_t i = 0; i < 6; i++) /* frame, type, version; compact name; level; no tags */
        values[i] =
            (struct bytes){(const uint8_t *)features[i], 3 + (size_t)(uint8_t)features[i][3] + 3};
    assert_int_equal(raft_node_format(&(struct raft_format_args){.files = b->files,
                                                                 .clock = &b->clock,
                                                                 .directory = b->directory,
                                                                 .voters = &voter,
                                                                 .voter_count = 1,
                                                                 .values = values,
                                                                 .count = 6})
                         .code,
                     KERR_NONE);
    snprintf(path, sizeof path, "%s/%s", b->directory, GOLDEN_NAME);
    assert_int_equal(files_read_whole(b->files, path, 4096, &got).code, KERR_NONE);
    assert_int_equal(got.size, GOLDEN_BYTES);
    assert_memory_equal(got.data, b->golden, GOLDEN_BYTES);
    free(got.data);
    assert_int_equal(stat(path, &found), 0);
    assert_int_equal(found.st_mode & 0777, 0400);
}

static void snapshot_of_kafka_is_read(void **state)
{
    struct bench *b = *state;
    struct snapshot_reader *r;
    const struct snapshot_head *head;
    const struct raft_voter *voter;
    size_t records;

    put_file(b, GOLDEN_NAME, b->golden, GOLDEN_BYTES);
    assert_int_equal(
        snapshot_reader_open(b->files, b->directory, (struct raft_snapshot_id){0, 0}, &r).code,
        KERR_NONE);
    head = snapshot_reader_head(r);
    assert_int_equal(head->last_contained_timestamp_ms, golden_times[0]);
    assert_int_equal(head->kraft_version, 1);
    assert_int_equal(voter_set_count(head->voters), 1);
    voter = voter_set_at(head->voters, 0);
    assert_int_equal(voter->key.id, 100);
    assert_int_equal(voter->endpoints[0].port, 19093);
    assert_true(str_equal(voter->endpoints[0].host, STR("127.0.0.1")));
    assert_int_equal(voter->kraft_version_max, 1);
    snapshot_reader_close(r);
    assert_int_equal(read_through(b, (struct raft_snapshot_id){0, 0}, &records).code, KERR_NONE);
    assert_int_equal(records, 6);
}

/* A snapshot without its footer is none, wherever it was cut. */
static void snapshot_cut_anywhere_is_refused(void **state)
{
    struct bench *b = *state;
    size_t records;

    for (size_t size = 0; size < GOLDEN_BYTES; size++) {
        put_file(b, GOLDEN_NAME, b->golden, size);
        assert_int_equal(read_through(b, (struct raft_snapshot_id){0, 0}, &records).code,
                         KERR_CORRUPT_MESSAGE);
    }
}

/* Base offset and leader epoch lie outside the CRC: a changed epoch is not noticed, and not
 * used. */
static void snapshot_with_a_flipped_bit_is_refused(void **state)
{
    static const size_t batches[] = {0, 154 + 12, 154 + 12 + 241 + 12};
    struct bench *b = *state;
    size_t records;

    for (size_t at = 0; at < GOLDEN_BYTES; at++) {
        bool epoch = false;

        for (size_t i = 0; i < 3; i++)
            epoch |= at >= batches[i] + 12 && at < batches[i] + 16;
        b->golden[at] ^= 0x10;
        put_file(b, GOLDEN_NAME, b->golden, GOLDEN_BYTES);
        b->golden[at] ^= 0x10;
        if (!epoch)
            assert_true(status_failed(read_through(b, (struct raft_snapshot_id){0, 0}, &records)));
    }
}

static void bytes_behind_the_footer_are_refused(void **state)
{
    struct bench *b = *state;
    uint8_t longer[GOLDEN_BYTES + 1] = {0};
    size_t records;

    memcpy(longer, b->golden, GOLDEN_BYTES);
    put_file(b, GOLDEN_NAME, longer, sizeof longer);
    assert_int_equal(read_through(b, (struct raft_snapshot_id){0, 0}, &records).code,
                     KERR_CORRUPT_MESSAGE);
}

static void missing_snapshot_is_told(void **state)
{
    struct bench *b = *state;
    size_t records;

    assert_int_equal(read_through(b, (struct raft_snapshot_id){5, 1}, &records).sys_errno, ENOENT);
}

static void names_go_both_ways(void **state)
{
    struct raft_snapshot_id id;
    char name[SNAPSHOT_NAME_BYTES];

    (void)state;
    snapshot_name_format((struct raft_snapshot_id){INT64_MAX, INT32_MAX}, name);
    assert_string_equal(name, "09223372036854775807-2147483647.checkpoint");
    assert_true(snapshot_name_parse(str_from(name), &id));
    assert_int_equal(id.end_offset, INT64_MAX);
    assert_int_equal(id.epoch, INT32_MAX);
    assert_false(snapshot_name_parse(STR("09223372036854775808-2147483647.checkpoint"), &id));
    assert_false(snapshot_name_parse(STR("09223372036854775807-2147483648.checkpoint"), &id));
    assert_false(snapshot_name_parse(STR("00000000000000000000-0000000000.checkpoint.part"), &id));
    assert_false(snapshot_name_parse(STR("0000000000000000000x-0000000000.checkpoint"), &id));
    assert_false(snapshot_name_parse(STR("00000000000000000000_0000000000.checkpoint"), &id));
    assert_false(snapshot_name_parse(STR("bootstrap.checkpoint"), &id));
    assert_false(snapshot_name_parse(STR(""), &id));
}

static void listing_is_in_order_and_removes_left_overs(void **state)
{
    struct bench *b = *state;
    struct raft_snapshot_id ids[SNAPSHOTS_MAX];
    size_t count;

    put_file(b, "00000000000000000200-0000000001.checkpoint", b->golden, 1);
    put_file(b, "00000000000000000050-0000000003.checkpoint", b->golden, 1);
    put_file(b, GOLDEN_NAME, b->golden, 1);
    put_file(b, GOLDEN_NAME ".part", b->golden, 1);
    /* Kafka's */
    put_file(b, "00000000000000000009-0000000001-12345678901234567.checkpoint.part", b->golden, 1);
    put_file(b, "00000000000000000010-0000000001.checkpoint.deleted", b->golden, 1);
    put_file(b, "00000000000000000000.log", b->golden, 1);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(snapshot_list(b->files, b->directory, ids, &count).code, KERR_NONE);
        assert_int_equal(count, 3);
        assert_int_equal(ids[0].end_offset, 0);
        assert_int_equal(ids[1].end_offset, 50);
        assert_int_equal(ids[2].end_offset, 200);
    }
    assert_int_equal(snapshot_remove(b->files, b->directory, ids[1]).code, KERR_NONE);
    assert_int_equal(snapshot_list(b->files, b->directory, ids, &count).code, KERR_NONE);
    assert_int_equal(count, 2);
}

static void count_entries(void *arg, const char *name, bool is_directory)
{
    (void)name;
    (void)is_directory;
    ++*(int *)arg;
}

static void left_overs_are_gone_from_the_disk(void **state)
{
    struct bench *b = *state;
    struct raft_snapshot_id ids[SNAPSHOTS_MAX];
    size_t count;
    int entries = 0;

    put_file(b, "00000000000000000009-0000000001-12345678901234567.checkpoint.part", b->golden, 1);
    put_file(b, GOLDEN_NAME ".deleted", b->golden, 1);
    assert_int_equal(snapshot_list(b->files, b->directory, ids, &count).code, KERR_NONE);
    b->files->ops->list(b->files, b->directory, count_entries, &entries);
    assert_int_equal(entries, 0);
}

static void aborted_snapshot_leaves_nothing(void **state)
{
    struct bench *b = *state;
    struct snapshot_write_args args = {
        .files = b->files, .clock = &b->clock, .directory = b->directory, .id = {7, 1}};
    struct snapshot_writer *w;
    int entries = 0;

    assert_int_equal(snapshot_writer_open(&args, &w).code, KERR_NONE);
    snapshot_writer_append(w, &(struct bytes){(const uint8_t *)"x", 1}, 1);
    snapshot_writer_abort(w);
    b->files->ops->list(b->files, b->directory, count_entries, &entries);
    assert_int_equal(entries, 0);
}

static void record_larger_than_a_batch_fails_the_snapshot(void **state)
{
    struct bench *b = *state;
    struct snapshot_write_args args = {
        .files = b->files, .clock = &b->clock, .directory = b->directory, .id = {7, 1}};
    uint8_t *huge = calloc(1, RAFT_BATCH_BYTES_MAX);
    struct snapshot_writer *w;
    int entries = 0;

    assert_non_null(huge);
    assert_int_equal(snapshot_writer_open(&args, &w).code, KERR_NONE);
    snapshot_writer_append(w, &(struct bytes){huge, RAFT_BATCH_BYTES_MAX}, 1);
    assert_int_equal(snapshot_writer_finish(w).code, KERR_RECORD_LIST_TOO_LARGE);
    b->files->ops->list(b->files, b->directory, count_entries, &entries);
    assert_int_equal(entries, 0);
    free(huge);
}

static void many_records_make_several_batches(void **state)
{
    struct bench *b = *state;
    struct snapshot_write_args args = {
        .files = b->files, .clock = &b->clock, .directory = b->directory, .id = {7, 1}};
    size_t size = RAFT_BATCH_BYTES_MAX / 3;
    uint8_t *large = calloc(1, size);
    struct snapshot_writer *w;
    size_t records;

    assert_non_null(large);
    assert_int_equal(snapshot_writer_open(&args, &w).code, KERR_NONE);
    for (int i = 0; i < 7; i++)
        snapshot_writer_append(w, &(struct bytes){large, size}, 1);
    assert_int_equal(snapshot_writer_finish(w).code, KERR_NONE);
    assert_int_equal(read_through(b, args.id, &records).code, KERR_NONE);
    assert_int_equal(records, 7);
    free(large);
}

#define BENCH_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        BENCH_TEST(formatting_gives_the_bytes_of_kafka),
        BENCH_TEST(snapshot_of_kafka_is_read),
        BENCH_TEST(snapshot_cut_anywhere_is_refused),
        BENCH_TEST(snapshot_with_a_flipped_bit_is_refused),
        BENCH_TEST(bytes_behind_the_footer_are_refused),
        BENCH_TEST(missing_snapshot_is_told),
        cmocka_unit_test(names_go_both_ways),
        BENCH_TEST(listing_is_in_order_and_removes_left_overs),
        BENCH_TEST(left_overs_are_gone_from_the_disk),
        BENCH_TEST(aborted_snapshot_leaves_nothing),
        BENCH_TEST(record_larger_than_a_batch_fails_the_snapshot),
        BENCH_TEST(many_records_make_several_batches),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
