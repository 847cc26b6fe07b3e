#include "tests/unit/test.h"

#include <stdio.h>
#include <unistd.h>

#include "tests/unit/protocol/record_samples.h"
#include "tests/unit/tools/offsets_sample.h"
#include "tools/trivet/dump.h"

/* A directory of files, and what dump-log says of them. */
struct world {
    char directory[64];
    struct dump dump;
    char *out;
    size_t out_size;
    char *err;
    size_t err_size;
};

static int setup(void **state)
{
    struct world *w = calloc(1, sizeof *w);

    strcpy(w->directory, "/tmp/trivet-dump-log-XXXXXX");
    assert_non_null(mkdtemp(w->directory));
    w->dump.out = open_memstream(&w->out, &w->out_size);
    w->dump.err = open_memstream(&w->err, &w->err_size);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    char command[128];

    fclose(w->dump.out);
    fclose(w->dump.err);
    free(w->out);
    free(w->err);
    snprintf(command, sizeof command, "rm -r %s", w->directory);
    assert_int_equal(system(command), 0);
    free(w);
    return 0;
}

static const char *path_of(struct world *w, const char *name)
{
    static char path[256];

    snprintf(path, sizeof path, "%s/%s", w->directory, name);
    return path;
}

static void put(struct world *w, const char *name, struct bytes content)
{
    FILE *f = fopen(path_of(w, name), "wb");

    assert_non_null(f);
    assert_int_equal(fwrite(content.data, 1, content.size, f), content.size);
    fclose(f);
}

static void put_hex(struct world *w, const char *name, const char *hex)
{
    struct sample s = sample_from_hex(hex);

    put(w, name, sample_bytes(&s));
}

/* The output, without the lines that name the file. */
static const char *dump(struct world *w, const char *name)
{
    const char *text;

    assert_true(dump_file(&w->dump, path_of(w, name)));
    fflush(w->dump.out);
    fflush(w->dump.err);
    text = w->out;
    while (strncmp(text, "Dumping ", 8) == 0 || strncmp(text, "Log starting ", 13) == 0)
        text = strchr(text, '\n') + 1;
    return text;
}

#define BATCH_LINE                                                                                 \
    "baseOffset: 0 lastOffset: 0 count: 1 baseSequence: 0 lastSequence: 0 producerId: 1000 "       \
    "producerEpoch: 0 partitionLeaderEpoch: 0 isTransactional: false isControl: false "            \
    "deleteHorizonMs: OptionalLong.empty position: 0 CreateTime: 1795423239228 size: 72 magic: 2 " \
    "compresscodec: none crc: 27374816 isvalid: true\n"

/* ---- segments ---- */

static void batches_are_printed_as_apache_kafka_prints_them(void **state)
{
    struct world *w = *state;

    put_hex(w, "00000000000000000000.log", kafka_data_hex);
    assert_string_equal(dump(w, "00000000000000000000.log"), BATCH_LINE);
    assert_false(w->dump.failed);
}

static void deep_prints_records_too(void **state)
{
    struct world *w = *state;

    put_hex(w, "00000000000000000000.log", kafka_data_hex);
    w->dump.deep = true;
    assert_string_equal(dump(w, "00000000000000000000.log"),
                        BATCH_LINE "| offset: 0 CreateTime: 1795423239228 keySize: 2 valueSize: 2 "
                                   "sequence: 0 headerKeys: [] key: k0 payload: v0\n");
}

static void a_transaction_marker_is_named(void **state)
{
    struct world *w = *state;

    put_hex(w, "00000000000000000006.log", kafka_marker_hex);
    w->dump.deep = true;
    assert_non_null(
        strstr(dump(w, "00000000000000000006.log"),
               "sequence: -1 headerKeys: [] endTxnMarker: COMMIT coordinatorEpoch: 0\n"));
}

static void json_is_one_object_a_line(void **state)
{
    struct world *w = *state;
    const char *types[] = {"file", "batch", "record"};
    char *line;

    put_hex(w, "00000000000000000000.log", kafka_data_hex);
    w->dump.json = true;
    w->dump.deep = true;
    dump(w, "00000000000000000000.log");
    line = strtok(w->out, "\n");
    for (int i = 0; i < 3; i++, line = strtok(NULL, "\n")) {
        json_t *object = json_loads(line, 0, NULL);

        assert_non_null(object);
        assert_string_equal(json_string_value(json_object_get(object, "type")), types[i]);
        json_decref(object);
    }
    assert_null(line);
}

static void compressed_records_and_odd_bytes_are_printed(void **state)
{
    static const uint8_t odd[] = {'a', 0xff, 'b'};
    struct world *w = *state;
    struct record_header header = {{"name", 4}, {NULL, 0}};
    struct compression_scratch *scratch = compression_scratch_new();
    struct record_batch_head head = RECORD_BATCH_HEAD_PLAIN;
    struct record_batch_builder b;
    struct bytes_mut batch;
    const char *text_out;

    head.compression = COMPRESSION_ZSTD;
    record_batch_builder_init(&b);
    record_batch_builder_begin(&b, &head);
    record_batch_builder_append(&b, &(struct record_content){.timestamp_ms = 5,
                                                             .value = text("two\nlines"),
                                                             .headers = &header,
                                                             .header_count = 1});
    record_batch_builder_append(
        &b,
        &(struct record_content){.timestamp_ms = 5, .key = text(""), .value = {odd, sizeof odd}});
    assert_int_equal(record_batch_builder_finish(&b, scratch, &batch).code, KERR_NONE);
    put(w, "00000000000000000000.log", bytes_of(batch));
    w->dump.deep = true;
    text_out = dump(w, "00000000000000000000.log");
    assert_non_null(strstr(text_out, "compresscodec: zstd"));
    assert_non_null(strstr(text_out, "keySize: -1 valueSize: 9 sequence: -1 headerKeys: [name] "
                                     "payload: two\\x0alines\n"));
    assert_non_null(strstr(text_out, "keySize: 0 valueSize: 3 sequence: -1 headerKeys: [] key:  "
                                     "payload: {\"base64\":\"Yf9i\"}\n"));
    record_batch_builder_free(&b);
    compression_scratch_free(scratch);
}

static void a_torn_tail_is_counted_at_every_length(void **state)
{
    struct world *w = *state;
    struct sample s = sample_from_hex(kafka_data_hex);

    memcpy(s.data + 72, s.data, 72);
    for (size_t cut = 1; cut < 72; cut++) {
        char expected[80];

        put(w, "00000000000000000000.log", (struct bytes){s.data, 72 + cut});
        w->dump.failed = false;
        rewind(w->dump.out);
        snprintf(expected, sizeof expected, "Found %zu invalid bytes at the end of %s\n", cut,
                 "00000000000000000000.log");
        assert_non_null(strstr(dump(w, "00000000000000000000.log"), expected));
        assert_true(w->dump.failed);
    }
}

static void a_wrong_crc_is_told_and_what_follows_is_still_printed(void **state)
{
    struct world *w = *state;
    struct sample s = sample_from_hex(kafka_data_hex);
    const char *text_out;

    memcpy(s.data + 72, s.data, 72);
    s.data[71] ^= 1;
    put(w, "00000000000000000000.log", (struct bytes){s.data, 144});
    text_out = dump(w, "00000000000000000000.log");
    assert_non_null(strstr(text_out, "isvalid: false"));
    assert_non_null(strstr(text_out, "position: 72"));
    assert_non_null(strstr(w->err, "the batch at position 0 is corrupt: batch CRC"));
    assert_true(w->dump.failed);
}

static void offsets_that_do_not_follow_each_other_are_told(void **state)
{
    struct world *w = *state;
    struct sample s = sample_from_hex(kafka_data_hex);

    memcpy(s.data + 72, s.data, 72);
    record_batch_set_base_offset(s.data + 72, 5);
    put(w, "00000000000000000000.log", (struct bytes){s.data, 144});
    dump(w, "00000000000000000000.log");
    assert_false(w->dump.failed);
    w->dump.deep = true;
    dump(w, "00000000000000000000.log");
    assert_non_null(strstr(w->err, "offset 0 is followed by 5"));
}

/* ---- metadata ---- */

static void a_metadata_snapshot_is_decoded(void **state)
{
    static const char *const expected[] = {
        "Snapshot end offset: 12, epoch: 3\n",
        "headerKeys: [] SnapshotHeader "
        "{\"version\":0,\"lastContainedLogTimestamp\":1795423147198}\n",
        "headerKeys: [] KRaftVersion {\"version\":0,\"kRaftVersion\":1}\n",
        "headerKeys: [] KRaftVoters "
        "{\"version\":0,\"voters\":[{\"voterId\":100,\"voterDirectoryId\":"
        "\"ngdAwoeIQ9qGah_v0sJiUA\",\"endpoints\":[{\"name\":\"CONTROLLER\",\"host\":\"127.0.0.1\","
        "\"port\":19093}],\"kRaftVersionFeature\":{\"minSupportedVersion\":0,"
        "\"maxSupportedVersion\":1}}]}\n",
        "headerKeys: [] payload: "
        "{\"type\":\"FEATURE_LEVEL_RECORD\",\"version\":0,\"data\":{\"name\":"
        "\"metadata.version\",\"featureLevel\":33}}\n",
        "headerKeys: [] SnapshotFooter {\"version\":0}\n",
    };
    struct world *w = *state;
    const char *at;

    put_hex(w, "00000000000000000012-0000000003.checkpoint", kafka_snapshot_hex);
    at = dump(w, "00000000000000000012-0000000003.checkpoint");
    for (size_t i = 0; i < sizeof expected / sizeof expected[0]; i++) {
        at = strstr(at, expected[i]);
        assert_non_null(at);
    }
    assert_false(w->dump.failed);
}

/* A batch of one record with this value, as the metadata log would hold it. */
static const char *dump_metadata_value(struct world *w, const uint8_t *value, size_t size)
{
    struct record_batch_head head = RECORD_BATCH_HEAD_PLAIN;
    struct record_batch_builder b;
    struct bytes_mut batch;

    record_batch_builder_init(&b);
    record_batch_builder_begin(&b, &head);
    record_batch_builder_append(
        &b, &(struct record_content){.timestamp_ms = 5, .value = {value, size}});
    assert_int_equal(record_batch_builder_finish(&b, NULL, &batch).code, KERR_NONE);
    put(w, "00000000000000000000.log", bytes_of(batch));
    record_batch_builder_free(&b);
    w->dump.metadata = true;
    w->dump.failed = false;
    rewind(w->dump.out);
    return dump(w, "00000000000000000000.log");
}

#define METADATA_VALUE(w, ...)                                                                     \
    dump_metadata_value((w), (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))

static void what_is_no_metadata_record_is_told_and_shown_as_it_is(void **state)
{
    struct world *w = *state;

    assert_non_null(strstr(METADATA_VALUE(w, 1, 20, 0, 0),
                           "payload: {\"type\":\"NO_OP_RECORD\",\"version\":0,\"data\":{}}\n"));
    assert_false(w->dump.failed);
    assert_non_null(
        strstr(METADATA_VALUE(w, 1, 20, 0, 0, 'x'), "payload: \\x01\\x14\\x00\\x00x\n"));
    assert_true(w->dump.failed);
    METADATA_VALUE(w, 1, 20, 0); /* cut short */
    assert_true(w->dump.failed);
    METADATA_VALUE(w, 1, 20, 1, 0); /* no such version */
    assert_true(w->dump.failed);
    METADATA_VALUE(w, 1, 120, 0, 0); /* no such type */
    assert_true(w->dump.failed);
    METADATA_VALUE(w, 0, 20, 0, 0); /* no such frame */
    assert_true(w->dump.failed);
    METADATA_VALUE(w, 1); /* no frame */
    assert_true(w->dump.failed);
    assert_non_null(strstr(w->err, "the value at offset 0 is no metadata record"));
}

static void a_control_record_of_unknown_type_is_told(void **state)
{
    struct world *w = *state;
    struct sample s = sample_from_hex(kafka_marker_hex);

    s.data[RECORD_BATCH_HEADER_BYTES + 8] = 99;
    record_batch_set_crc((struct bytes_mut){s.data, s.size});
    put(w, "00000000000000000006.log", sample_bytes(&s));
    w->dump.deep = true;
    assert_non_null(strstr(dump(w, "00000000000000000006.log"), "controlType: 99"));
    assert_non_null(strstr(w->err, "the control record at offset 6 cannot be read"));
    assert_true(w->dump.failed);
}

/* ---- records of __consumer_offsets ---- */

static void offsets_and_groups_are_decoded_as_apache_kafka_does(void **state)
{
    static const char *const expected[] = {
        "| offset: 1 CreateTime: 1795726834027 keySize: 13 valueSize: 214 sequence: 0 headerKeys:"
        " [] key: {\"type\":\"2\",\"data\":{\"group\":\"classic-g\"}} payload: {\"version\":\"3\""
        ",\"data\":{\"protocolType\":\"consumer\",\"generation\":1,\"protocol\":\"range\",\"leade"
        "r\":\"rdkafka-823514b3-d3e3-4fca-90f0-02e9ffebbd97\",\"currentStateTimestamp\":179572683"
        "3985,\"members\":[{\"memberId\":\"rdkafka-823514b3-d3e3-4fca-90f0-02e9ffebbd97\",\"group"
        "InstanceId\":null,\"clientId\":\"rdkafka\",\"clientHost\":\"/127.0.0.1\",\"rebalanceTime"
        "out\":300000,\"sessionTimeout\":45000,\"subscription\":{\"topics\":[\"orders\"],\"userDa"
        "ta\":\"\",\"ownedPartitions\":[]},\"assignment\":{\"assignedPartitions\":[{\"topic\":\"o"
        "rders\",\"partitions\":[0]}],\"userData\":\"\"}}]}}\n",
        "| offset: 2 CreateTime: 1795726837887 keySize: 25 valueSize: 42 sequence: 0 headerKeys: "
        "[] key: {\"type\":\"1\",\"data\":{\"group\":\"classic-g\",\"topic\":\"orders\",\"partiti"
        "on\":0}} payload: {\"version\":\"4\",\"data\":{\"offset\":3,\"leaderEpoch\":-1,\"metadat"
        "a\":\"\",\"commitTimestamp\":1795726837864,\"topicId\":\"xo4yjrwjRralD51mTsqCGA\"}}\n",
        "| offset: 41 CreateTime: 1795726873814 keySize: 33 valueSize: -1 sequence: 0 headerKeys:"
        " [] key: {\"type\":\"8\",\"data\":{\"groupId\":\"new-g\",\"memberId\":\"_SkZSXooQ7yuLJhu"
        "f2Jt8g\"}} payload: <DELETE>\n",
        "| offset: 42 CreateTime: 1795726873814 keySize: 33 valueSize: -1 sequence: 1 headerKeys:"
        " [] key: {\"type\":\"7\",\"data\":{\"groupId\":\"new-g\",\"memberId\":\"_SkZSXooQ7yuLJhu"
        "f2Jt8g\"}} payload: <DELETE>\n",
        "| offset: 43 CreateTime: 1795726873814 keySize: 33 valueSize: -1 sequence: 2 headerKeys:"
        " [] key: {\"type\":\"5\",\"data\":{\"groupId\":\"new-g\",\"memberId\":\"_SkZSXooQ7yuLJhu"
        "f2Jt8g\"}} payload: <DELETE>\n",
        "| offset: 44 CreateTime: 1795726873814 keySize: 9 valueSize: 7 sequence: 3 headerKeys: ["
        "] key: {\"type\":\"3\",\"data\":{\"groupId\":\"new-g\"}} payload: {\"version\":\"0\",\"d"
        "ata\":{\"epoch\":3}}\n",
        "| offset: 45 CreateTime: 1795726873814 keySize: 9 valueSize: 7 sequence: 4 headerKeys: ["
        "] key: {\"type\":\"6\",\"data\":{\"groupId\":\"new-g\"}} payload: {\"version\":\"0\",\"d"
        "ata\":{\"assignmentEpoch\":3}}\n",
    };
    struct world *w = *state;
    const char *printed;

    put_hex(w, "00000000000000000001.log", kafka_offsets_hex);
    w->dump.deep = w->dump.offsets = true;
    printed = dump(w, "00000000000000000001.log");
    for (size_t i = 0; i < sizeof expected / sizeof expected[0]; i++) {
        const char *at = strstr(printed, expected[i]);

        if (!at)
            fail_msg("not printed: %s", expected[i]);
        printed = at + 1;
    }
    assert_false(w->dump.failed); /* the gaps between the batches are those of a compacted log */
}

static void what_is_no_record_of_a_group_coordinator_is_told_and_shown_as_it_is(void **state)
{
    struct world *w = *state;

    put_hex(w, "00000000000000000000.log",
            kafka_data_hex); /* its key is "k0": a type nobody knows */
    w->dump.deep = w->dump.offsets = true;
    assert_non_null(strstr(dump(w, "00000000000000000000.log"),
                           "key: Unknown record type 27440 at offset 0, skipping.\n"));
    assert_false(w->dump.failed);
}

/* The value's version is one that nobody knows. */
static void a_damaged_record_of_a_group_coordinator_is_told_and_shown_as_it_is(void **state)
{
    struct world *w = *state;
    const uint8_t key[] = {0, 2, 0, 1, 'g'};
    const uint8_t value[] = {0, 99, 'x'};
    json_t *line = json_object();
    struct record r = {.key = {key, sizeof key}, .value = {value, sizeof value}};
    (void)w;

    assert_false(dump_offsets_record(line, &r));
    assert_int_equal(json_object_size(line), 0);
    r.key.size = 1;
    assert_false(dump_offsets_record(line, &r));
    r.key.size = 4; /* cut in the group */
    r.value.data = NULL;
    assert_false(dump_offsets_record(line, &r));
    assert_int_equal(json_object_size(line), 0);
    r.key.size = sizeof key;
    assert_true(dump_offsets_record(line, &r));
    assert_string_equal(json_string_value(json_object_get(line, "payload")), "<DELETE>");
    json_decref(line);
}

/* ---- beside the segment ---- */

static void index_entries_are_compared_with_the_segment(void **state)
{
    struct world *w = *state;
    struct sample s = sample_from_hex(kafka_data_hex);

    memcpy(s.data + 72, s.data, 72);
    record_batch_set_base_offset(s.data + 72, 1);
    put(w, "00000000000000000000.log", (struct bytes){s.data, 144});
    put_hex(w, "00000000000000000000.index",
            "0000000100000048"
            "0000000000000000"
            "0000000000000000");
    assert_string_equal(dump(w, "00000000000000000000.index"), "offset: 1 position: 72\n");
    assert_false(w->dump.failed);
    put_hex(w, "00000000000000000000.index",
            "0000000200000048"
            "0000000300000049");
    dump(w, "00000000000000000000.index");
    assert_true(w->dump.failed);
    assert_non_null(strstr(w->err, "index offset 2, log offset 1"));
    assert_non_null(strstr(w->err, "no batch at position 73"));
}

static void time_index_entries_are_compared_with_the_segment(void **state)
{
    struct world *w = *state;
    struct sample s = sample_from_hex(kafka_data_hex);

    memcpy(s.data + 72, s.data, 72);
    record_batch_set_base_offset(s.data + 72, 1);
    put(w, "00000000000000000000.log", (struct bytes){s.data, 144});
    put_hex(w, "00000000000000000000.timeindex",
            "000001a207907c3c00000001"
            "000000000000000000000000");
    assert_string_equal(dump(w, "00000000000000000000.timeindex"),
                        "timestamp: 1795423239228 offset: 1\n");
    assert_false(w->dump.failed);
    put_hex(w, "00000000000000000000.timeindex",
            "000001a207907c3d00000001"
            "000001a207907c3d00000007");
    dump(w, "00000000000000000000.timeindex");
    assert_non_null(strstr(w->err, "index timestamp 1795423239229, log timestamp 1795423239228"));
    assert_non_null(strstr(w->err, "no batch ends at offset 7"));
    assert_non_null(strstr(w->err, "timestamp 1795423239229 follows 1795423239229"));
}

static void an_index_without_its_segment_is_printed(void **state)
{
    struct world *w = *state;

    put_hex(w, "00000000000000000100.index",
            "0000000200000090"
            "00000004");
    assert_string_equal(dump(w, "00000000000000000100.index"), "offset: 102 position: 144\n");
    assert_non_null(strstr(w->err, "12 bytes are no multiple of 8"));
}

static void aborted_transactions_are_printed(void **state)
{
    struct world *w = *state;

    put_hex(w, "00000000000000000000.txnindex",
            "0000"
            "00000000000003e9"
            "0000000000000007"
            "0000000000000008"
            "0000000000000009");
    assert_string_equal(
        dump(w, "00000000000000000000.txnindex"),
        "version: 0 producerId: 1001 firstOffset: 7 lastOffset: 8 lastStableOffset: 9\n");
}

#define PRODUCERS_HEX                                                                              \
    "0001b67f5b9e00000002"                                                                         \
    "00000000000003e8000000000004000000000000000400000000000001a207907e20ffffffffffffffffffffffff" \
    "00000000000003e90003ffffffffffffffffffffffff00000000000001a2079081c800000000ffffffffffffffff"

static void producers_are_printed_as_apache_kafka_prints_them(void **state)
{
    struct world *w = *state;

    put_hex(w, "00000000000000000011.snapshot", PRODUCERS_HEX);
    assert_string_equal(
        dump(w, "00000000000000000011.snapshot"),
        "producerId: 1000 producerEpoch: 0 coordinatorEpoch: -1 currentTxnFirstOffset: "
        "OptionalLong.empty lastTimestamp: 1795423239712 firstSequence: 4 lastSequence: 4 "
        "lastOffset: 4 offsetDelta: 0 timestamp: 1795423239712\n"
        "producerId: 1001 producerEpoch: 3 coordinatorEpoch: 0 currentTxnFirstOffset: "
        "OptionalLong.empty lastTimestamp: 1795423240648\n");
}

static void a_damaged_snapshot_is_told(void **state)
{
    struct world *w = *state;
    struct sample s = sample_from_hex(PRODUCERS_HEX);

    for (size_t cut = 0; cut < s.size; cut++) {
        put(w, "00000000000000000011.snapshot", (struct bytes){s.data, cut});
        w->dump.failed = false;
        assert_string_equal(dump(w, "00000000000000000011.snapshot"), "");
        assert_true(w->dump.failed);
        rewind(w->dump.out);
    }
}

/* ---- names ---- */

static void a_directory_is_printed_by_name(void **state)
{
    struct world *w = *state;
    const char *first;

    put_hex(w, "00000000000000000006.log", kafka_marker_hex);
    put_hex(w, "00000000000000000000.log", kafka_data_hex);
    put_hex(w, "leader-epoch-checkpoint", "00");
    dump_directory(&w->dump, w->directory);
    fflush(w->dump.out);
    first = strstr(w->out, "00000000000000000000.log");
    assert_non_null(first);
    assert_non_null(strstr(first, "00000000000000000006.log"));
    assert_null(strstr(w->out, "leader-epoch"));
    assert_false(w->dump.failed);
}

static void what_is_no_file_of_a_log_is_refused(void **state)
{
    struct world *w = *state;

    assert_false(dump_file(&w->dump, path_of(w, "notes.txt")));
    assert_false(dump_file(&w->dump, path_of(w, "log")));
    assert_true(dump_file(&w->dump, path_of(w, "missing.log")));
    assert_true(w->dump.failed);
    w->dump.failed = false;
    dump_directory(&w->dump, w->directory);
    assert_true(w->dump.failed);
}

static void files_on_their_way_out_are_known(void **state)
{
    struct world *w = *state;

    put_hex(w, "00000000000000000000.log.deleted", kafka_data_hex);
    assert_string_equal(dump(w, "00000000000000000000.log.deleted"), BATCH_LINE);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(batches_are_printed_as_apache_kafka_prints_them),
        TEST(deep_prints_records_too),
        TEST(a_transaction_marker_is_named),
        TEST(json_is_one_object_a_line),
        TEST(compressed_records_and_odd_bytes_are_printed),
        TEST(a_torn_tail_is_counted_at_every_length),
        TEST(a_wrong_crc_is_told_and_what_follows_is_still_printed),
        TEST(offsets_that_do_not_follow_each_other_are_told),
        TEST(a_metadata_snapshot_is_decoded),
        TEST(what_is_no_metadata_record_is_told_and_shown_as_it_is),
        TEST(a_control_record_of_unknown_type_is_told),
        TEST(offsets_and_groups_are_decoded_as_apache_kafka_does),
        TEST(what_is_no_record_of_a_group_coordinator_is_told_and_shown_as_it_is),
        TEST(a_damaged_record_of_a_group_coordinator_is_told_and_shown_as_it_is),
        TEST(index_entries_are_compared_with_the_segment),
        TEST(time_index_entries_are_compared_with_the_segment),
        TEST(an_index_without_its_segment_is_printed),
        TEST(aborted_transactions_are_printed),
        TEST(producers_are_printed_as_apache_kafka_prints_them),
        TEST(a_damaged_snapshot_is_told),
        TEST(a_directory_is_printed_by_name),
        TEST(what_is_no_file_of_a_log_is_refused),
        TEST(files_on_their_way_out_are_known),
    };
#undef TEST

    return cmocka_run_group_tests(tests, NULL, NULL);
}
