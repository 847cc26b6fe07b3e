/* Group records in the state store; every test runs on both stores. All values of all types:
 * tests/vectors. */

#include "tests/unit/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/base/byteorder.h"
#include "storage/files_real.h"
#include "storage/group_state.h"
#include "storage/state_store_rocksdb.h"
#include "storage/state_store_sim.h"

struct world {
    struct state_store *store;
    struct state_batch *batch;
    struct files *files; /* of RocksDB */
    char directory[64];
    struct arena arena;
};

static void finish_setup(struct world *w, void **state)
{
    w->batch = state_batch_new(w->store);
    arena_init(&w->arena, 1 << 20);
    *state = w;
}

static int setup_rocksdb(void **state)
{
    struct world *w = calloc(1, sizeof *w);
    struct state_store_report report;

    strcpy(w->directory, "/tmp/trivet-state-XXXXXX");
    assert_non_null(mkdtemp(w->directory));
    assert_int_equal(files_real_create(64, &w->files).code, KERR_NONE);
    assert_int_equal(state_store_rocksdb_open(w->files, w->directory, &STATE_STORE_OPTIONS_DEFAULT,
                                              &report, &w->store)
                         .code,
                     KERR_NONE);
    finish_setup(w, state);
    return 0;
}

static int setup_sim(void **state)
{
    struct world *w = calloc(1, sizeof *w);

    w->store = state_store_sim_create(&(struct state_store_sim_options){.seed = 1});
    finish_setup(w, state);
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;

    state_batch_free(w->batch);
    state_store_close(w->store);
    if (w->files) {
        assert_int_equal(files_remove_tree(w->files, w->directory).code, KERR_NONE);
        files_real_free(w->files);
    }
    arena_free(&w->arena);
    free(w);
    return 0;
}

/* ---- verbs ---- */

enum { PARTITION = 17 };

static void applied_to(struct world *w, int32_t partition, const struct group_record *r)
{
    struct arena scratch;

    arena_init(&scratch, 1 << 20);
    assert_int_equal(group_state_apply(w->batch, partition, r, &scratch), KERR_NONE);
    arena_free(&scratch);
    assert_int_equal(state_batch_commit(w->batch, NULL).code, KERR_NONE);
    state_batch_clear(w->batch);
}

static void applied(struct world *w, const struct group_record *r)
{
    applied_to(w, PARTITION, r);
}

static struct group_record offset_record(struct str group, struct str topic, int32_t index,
                                         int64_t offset)
{
    struct group_record r;

    group_record_init(&r, GROUP_RECORD_OFFSET_COMMIT);
    r.key.offset_commit = (struct offset_commit_key){group, topic, index};
    r.value.offset_commit.offset = offset;
    r.value.offset_commit.metadata = STR("note");
    r.value.offset_commit.commit_timestamp = 1000 + offset;
    return r;
}

static void committed(struct world *w, const char *group, const char *topic, int32_t index,
                      int64_t offset)
{
    struct group_record r = offset_record(str_from(group), str_from(topic), index, offset);

    applied(w, &r);
}

static void classic_group(struct world *w, const char *group)
{
    struct group_record r;

    group_record_init(&r, GROUP_RECORD_GROUP_METADATA);
    r.key.group_metadata.group = str_from(group);
    r.value.group_metadata.protocol_type = STR("consumer");
    applied(w, &r);
}

/* The committed offset; -1: none. */
static int64_t offset_of(struct world *w, struct str group, struct str topic, int32_t index)
{
    struct group_state_offset o;
    bool found;

    assert_int_equal(group_state_get_offset(w->store, PARTITION, group, topic, index, &w->arena, &o,
                                            &found, NULL)
                         .code,
                     KERR_NONE);
    if (!found)
        return -1;
    assert_true(str_equal(o.metadata, STR("note")));
    assert_int_equal(o.commit_timestamp, 1000 + o.offset);
    assert_true(str_equal(o.topic, topic));
    assert_int_equal(o.partition, index);
    return o.offset;
}

/* Texts of what a walk visited. */
struct seen {
    char text[4096];
    int left; /* visits until false; 0: never */
};

static bool another(struct seen *s)
{
    return s->left == 0 || --s->left > 0;
}

static bool see_offset(void *arg, const struct group_state_offset *o)
{
    struct seen *s = arg;

    sprintf(s->text + strlen(s->text), "%.*s-%d=%lld ", STR_ARG(o->topic), o->partition,
            (long long)o->offset);
    return another(s);
}

static const char *offsets_of(struct world *w, const char *group, struct str topic)
{
    static struct seen s;

    s = (struct seen){{0}, 0};
    assert_int_equal(group_state_list_offsets(w->store, PARTITION, str_from(group), topic, NULL,
                                              see_offset, &s, NULL)
                         .code,
                     KERR_NONE);
    return s.text;
}

static bool see_group(void *arg, struct str group, bool has_records)
{
    struct seen *s = arg;

    sprintf(s->text + strlen(s->text), "%.*s%s ", STR_ARG(group), has_records ? "" : "(offsets)");
    return another(s);
}

static const char *groups(struct world *w)
{
    static struct seen s;

    s = (struct seen){{0}, 0};
    assert_int_equal(group_state_list_groups(w->store, PARTITION, NULL, see_group, &s, NULL).code,
                     KERR_NONE);
    return s.text;
}

static bool see_record(void *arg, const struct group_record *r)
{
    struct seen *s = arg;

    assert_false(r->tombstone);
    sprintf(s->text + strlen(s->text), "%d ", r->type);
    return another(s);
}

static const char *records_of(struct world *w, const char *group)
{
    static struct seen s;

    s = (struct seen){{0}, 0};
    assert_int_equal(
        group_state_load(w->store, PARTITION, str_from(group), NULL, see_record, &s, NULL).code,
        KERR_NONE);
    return s.text;
}

/* ---- offsets ---- */

static void a_committed_offset_is_found_with_all_that_was_said(void **state)
{
    struct world *w = *state;
    struct group_record r = offset_record(STR("g"), STR("t"), 3, 42);
    struct group_state_offset o;
    bool found;

    r.value.offset_commit.leader_epoch = 7;
    r.value.offset_commit.expire_timestamp = 9999;
    r.value.offset_commit.topic_id = (struct uuid){{1, 2, 3}};
    applied(w, &r);
    assert_int_equal(group_state_get_offset(w->store, PARTITION, STR("g"), STR("t"), 3, &w->arena,
                                            &o, &found, NULL)
                         .code,
                     KERR_NONE);
    assert_true(found);
    assert_int_equal(o.offset, 42);
    assert_int_equal(o.leader_epoch, 7);
    assert_true(str_equal(o.metadata, STR("note")));
    assert_int_equal(o.commit_timestamp, 1042);
    assert_int_equal(o.expire_timestamp, 9999);
    assert_true(uuid_equal(o.topic_id, r.value.offset_commit.topic_id));
}

static void what_a_commit_left_out_has_its_default(void **state)
{
    struct world *w = *state;
    struct group_record r;
    struct group_state_offset o;
    bool found;

    group_record_init(&r, GROUP_RECORD_OFFSET_COMMIT);
    r.key.offset_commit = (struct offset_commit_key){STR("g"), STR("t"), 0};
    applied(w, &r);
    assert_int_equal(group_state_get_offset(w->store, PARTITION, STR("g"), STR("t"), 0, &w->arena,
                                            &o, &found, NULL)
                         .code,
                     KERR_NONE);
    assert_true(found);
    assert_int_equal(o.offset, 0);
    assert_int_equal(o.leader_epoch, -1);
    assert_int_equal(o.expire_timestamp, -1);
    assert_non_null(o.metadata.data);
    assert_int_equal(o.metadata.size, 0);
    assert_true(uuid_is_zero(o.topic_id));
}

static void a_newer_commit_replaces_and_a_tombstone_removes(void **state)
{
    struct world *w = *state;
    struct group_record gone = offset_record(STR("g"), STR("t"), 0, 0);

    committed(w, "g", "t", 0, 1);
    committed(w, "g", "t", 1, 5);
    committed(w, "g", "t", 0, 2);
    assert_int_equal(offset_of(w, STR("g"), STR("t"), 0), 2);
    gone.tombstone = true;
    applied(w, &gone);
    assert_int_equal(offset_of(w, STR("g"), STR("t"), 0), -1);
    assert_int_equal(offset_of(w, STR("g"), STR("t"), 1), 5);
}

/* Compaction keeps both, since their keys differ on disk; for whoever reads them they are one
 * offset. */
static void a_commit_of_a_broker_before_0_9_is_the_same_offset(void **state)
{
    struct world *w = *state;
    struct group_record old = offset_record(STR("g"), STR("t"), 0, 1);

    old.type = GROUP_RECORD_LEGACY_OFFSET_COMMIT;
    applied(w, &old);
    assert_int_equal(offset_of(w, STR("g"), STR("t"), 0), 1);
    committed(w, "g", "t", 0, 2);
    assert_string_equal(offsets_of(w, "g", STR_NULL), "t-0=2 ");
    old.tombstone = true;
    applied(w, &old);
    assert_int_equal(offset_of(w, STR("g"), STR("t"), 0), -1);
}

static void offsets_are_listed_by_group_and_by_topic(void **state)
{
    struct world *w = *state;
    bool has;

    committed(w, "g", "tt", 0, 1);
    committed(w, "g", "t", 10, 2);
    committed(w, "g", "t", 2, 3);
    committed(w, "g", "t", 256, 4);
    committed(w, "gg", "t", 0, 5);
    committed(w, "", "t", 0, 6);
    assert_string_equal(offsets_of(w, "g", STR_NULL), "t-2=3 t-10=2 t-256=4 tt-0=1 ");
    assert_string_equal(offsets_of(w, "g", STR("t")), "t-2=3 t-10=2 t-256=4 ");
    assert_string_equal(offsets_of(w, "g", STR("tt")), "tt-0=1 ");
    assert_string_equal(offsets_of(w, "g", STR("")), "");
    assert_string_equal(offsets_of(w, "", STR_NULL), "t-0=6 ");
    assert_string_equal(offsets_of(w, "nobody", STR_NULL), "");
    assert_int_equal(group_state_has_offsets(w->store, PARTITION, STR("g"), &has, NULL).code,
                     KERR_NONE);
    assert_true(has);
    assert_int_equal(group_state_has_offsets(w->store, PARTITION, STR("nobody"), &has, NULL).code,
                     KERR_NONE);
    assert_false(has);
}

static void offsets_are_listed_some_at_a_time(void **state)
{
    struct world *w = *state;
    struct state_position position = {0};
    struct seen s = {{0}, 2};

    for (int i = 0; i < 5; i++)
        committed(w, "g", "t", i, i);
    while (!position.done) {
        s.left = 2;
        assert_int_equal(group_state_list_offsets(w->store, PARTITION, STR("g"), STR_NULL,
                                                  &position, see_offset, &s, NULL)
                             .code,
                         KERR_NONE);
        strcat(s.text, "| ");
    }
    assert_string_equal(s.text, "t-0=0 t-1=1 | t-2=2 t-3=3 | t-4=4 | ");
    state_position_free(&position);
}

/* Names are any bytes: zeros, ones, and such as look like the length of another. */
static void any_bytes_in_names_stay_apart(void **state)
{
    static const struct str names[] = {
        {"", 0},    {"\0", 1},       {"\0\0", 2},    {"a", 1},        {"a\0", 2},
        {"\0a", 2}, {"\xff\xff", 2}, {"\0\x01g", 3}, {"g\0\x01t", 4},
    };
    enum { NAMES = sizeof names / sizeof names[0] };
    struct world *w = *state;
    int n = 0;

    for (int g = 0; g < NAMES; g++)
        for (int t = 0; t < NAMES; t++) {
            struct group_record r = offset_record(names[g], names[t], n % 3, n);

            applied(w, &r);
            n++;
        }
    n = 0;
    for (int g = 0; g < NAMES; g++)
        for (int t = 0; t < NAMES; t++, n++)
            assert_int_equal(offset_of(w, names[g], names[t], n % 3), n);
}

static void partitions_do_not_see_each_other(void **state)
{
    struct world *w = *state;
    struct group_record r = offset_record(STR("g"), STR("t"), 0, 42);

    applied_to(w, PARTITION + 1, &r);
    assert_int_equal(offset_of(w, STR("g"), STR("t"), 0), -1);
    assert_string_equal(groups(w), "");
    state_batch_drop_partition(w->batch,
                               (struct state_partition){STATE_TOPIC_CONSUMER_OFFSETS, PARTITION});
    assert_int_equal(state_batch_commit(w->batch, NULL).code, KERR_NONE);
    state_batch_clear(w->batch);
    applied_to(w, PARTITION, &r);
    assert_int_equal(offset_of(w, STR("g"), STR("t"), 0), 42);
    state_batch_drop_partition(w->batch,
                               (struct state_partition){STATE_TOPIC_CONSUMER_OFFSETS, PARTITION});
    assert_int_equal(state_batch_commit(w->batch, NULL).code, KERR_NONE);
    state_batch_clear(w->batch);
    assert_int_equal(offset_of(w, STR("g"), STR("t"), 0), -1);
}

/* ---- records ---- */

/* One record of each type, as if one group had all of them. */
static void every_record(struct world *w, const char *group)
{
    struct str g = str_from(group);

#define APPLY(number, NAME, member, Name, group_field, version)                                    \
    {                                                                                              \
        struct group_record r;                                                                     \
        group_record_init(&r, GROUP_RECORD_##NAME);                                                \
        r.key.member.group_field = g;                                                              \
        applied(w, &r);                                                                            \
    }
    GROUP_RECORD_LIST(APPLY)
}

static void a_group_is_loaded_in_the_order_of_replay(void **state)
{
    struct world *w = *state;

    every_record(w, "g");
    classic_group(w, "another");
    /* Groups, what belongs to them, target assignments, those of members, current assignments; no
     * offsets. */
    assert_string_equal(records_of(w, "g"),
                        "2 3 11 17 4 5 10 15 16 19 23 6 12 20 7 13 21 8 14 22 ");
    assert_string_equal(records_of(w, "another"), "2 ");
    assert_string_equal(records_of(w, "nobody"), "");
}

struct member_seen {
    char text[256];
};

static bool see_member(void *arg, const struct group_record *r)
{
    struct member_seen *s = arg;
    const struct consumer_group_member_metadata_value *v = &r->value.consumer_group_member_metadata;

    assert_int_equal(r->type, GROUP_RECORD_CONSUMER_GROUP_MEMBER_METADATA);
    assert_true(str_equal(group_record_group(r), STR("g")));
    sprintf(s->text + strlen(s->text), "%.*s:%.*s:%zu:%d ",
            STR_ARG(r->key.consumer_group_member_metadata.member_id), STR_ARG(v->client_id),
            v->subscribed_topic_names_count, v->classic_member_metadata != NULL);
    return true;
}

static void members_come_back_with_what_they_said(void **state)
{
    struct world *w = *state;
    struct str topics[] = {STR("a"), STR("b")};
    struct consumer_group_member_metadata_value_classic_protocol protocol = {
        STR("range"), {(const uint8_t *)"x", 1}};
    struct consumer_group_member_metadata_value_classic_member_metadata classic = {30000, &protocol,
                                                                                   1};
    struct member_seen seen = {{0}};
    struct group_record r;

    group_record_init(&r, GROUP_RECORD_CONSUMER_GROUP_MEMBER_METADATA);
    r.key.consumer_group_member_metadata =
        (struct consumer_group_member_metadata_key){STR("g"), STR("m2")};
    r.value.consumer_group_member_metadata.client_id = STR("two");
    r.value.consumer_group_member_metadata.subscribed_topic_names = topics;
    r.value.consumer_group_member_metadata.subscribed_topic_names_count = 2;
    r.value.consumer_group_member_metadata.classic_member_metadata = &classic;
    applied(w, &r);
    r.key.consumer_group_member_metadata.member_id = STR("m1");
    r.value.consumer_group_member_metadata.client_id = STR("one");
    r.value.consumer_group_member_metadata.subscribed_topic_names_count = 0;
    r.value.consumer_group_member_metadata.classic_member_metadata = NULL;
    applied(w, &r);
    assert_int_equal(
        group_state_load(w->store, PARTITION, STR("g"), NULL, see_member, &seen, NULL).code,
        KERR_NONE);
    assert_string_equal(seen.text, "m1:one:0:0 m2:two:2:1 ");
    r.tombstone = true;
    applied(w, &r);
    seen.text[0] = '\0';
    assert_int_equal(
        group_state_load(w->store, PARTITION, STR("g"), NULL, see_member, &seen, NULL).code,
        KERR_NONE);
    assert_string_equal(seen.text, "m2:two:2:1 ");
}

static void a_group_is_loaded_some_records_at_a_time(void **state)
{
    struct world *w = *state;
    struct state_position position = {0};
    struct seen s = {{0}, 7};

    every_record(w, "g");
    while (!position.done) {
        s.left = 7;
        assert_int_equal(
            group_state_load(w->store, PARTITION, STR("g"), &position, see_record, &s, NULL).code,
            KERR_NONE);
        strcat(s.text, "| ");
    }
    assert_string_equal(s.text, "2 3 11 17 4 5 10 | 15 16 19 23 6 12 20 | 7 13 21 8 14 22 | ");
    state_position_free(&position);
}

/* ---- groups ---- */

static void groups_are_listed_once_whether_of_records_or_of_offsets(void **state)
{
    struct world *w = *state;

    committed(w, "both", "t", 0, 1);
    committed(w, "both", "t", 1, 1);
    classic_group(w, "both");
    committed(w, "offs", "t", 0, 1);
    committed(w, "offs", "u", 0, 1);
    classic_group(w, "recs");
    every_record(w, "all");
    classic_group(w, "");
    assert_string_equal(groups(w), " all both offs(offsets) recs ");
}

/* More than are read at a time, from both families in turn. */
static void many_groups_are_listed_some_at_a_time(void **state)
{
    enum { GROUPS = 300 };
    struct world *w = *state;
    struct state_position position = {0};
    struct seen s = {{0}, 0};
    char expected[4096] = "";

    for (int i = 0; i < GROUPS; i++) {
        char name[16];

        snprintf(name, sizeof name, "%03d", i);
        if (i % 3 == 0)
            classic_group(w, name);
        if (i % 3 == 1 || i % 5 == 0 || i > 200) {
            committed(w, name, "t", 0, 1);
            committed(w, name, "t", 1, 1);
        }
        if (i % 3 == 0 || i % 3 == 1 || i % 5 == 0 || i > 200)
            sprintf(expected + strlen(expected), "%s%s ", name, i % 3 == 0 ? "" : "(offsets)");
    }
    assert_string_equal(groups(w), expected);
    while (!position.done) {
        s.left = 7;
        assert_int_equal(
            group_state_list_groups(w->store, PARTITION, &position, see_group, &s, NULL).code,
            KERR_NONE);
    }
    assert_string_equal(s.text, expected);
    state_position_free(&position);
}

/* ---- refusals ---- */

static void a_name_longer_than_kafkas_strings_is_refused(void **state)
{
    static char name[WIRE_STRING_BYTES_MAX + 1];
    struct world *w = *state;
    struct group_record r = offset_record((struct str){name, sizeof name}, STR("t"), 0, 1);
    struct group_state_offset o;
    struct arena scratch;
    struct seen s = {{0}, 0};
    bool found;

    arena_init(&scratch, 1 << 20);
    assert_int_equal(group_state_apply(w->batch, PARTITION, &r, &scratch), KERR_INVALID_REQUEST);
    r.key.offset_commit = (struct offset_commit_key){STR("g"), {name, sizeof name}, 0};
    assert_int_equal(group_state_apply(w->batch, PARTITION, &r, &scratch), KERR_INVALID_REQUEST);
    group_record_init(&r, GROUP_RECORD_CONSUMER_GROUP_MEMBER_METADATA);
    r.key.consumer_group_member_metadata =
        (struct consumer_group_member_metadata_key){STR("g"), {name, sizeof name}};
    assert_int_equal(group_state_apply(w->batch, PARTITION, &r, &scratch), KERR_INVALID_REQUEST);
    assert_int_equal(state_batch_count(w->batch), 0);
    arena_free(&scratch);
    assert_int_equal(group_state_get_offset(w->store, PARTITION, (struct str){name, sizeof name},
                                            STR("t"), 0, &w->arena, &o, &found, NULL)
                         .code,
                     KERR_INVALID_REQUEST);
    assert_int_equal(group_state_load(w->store, PARTITION, (struct str){name, sizeof name}, NULL,
                                      see_record, &s, NULL)
                         .code,
                     KERR_INVALID_REQUEST);
    assert_false(state_store_damaged(w->store));
}

static bool see_longest(void *arg, struct str group, bool has_records)
{
    assert_int_equal(group.size, WIRE_STRING_BYTES_MAX);
    assert_false(has_records);
    ++*(int *)arg;
    return true;
}

static void the_longest_names_fit(void **state)
{
    static char name[WIRE_STRING_BYTES_MAX];
    struct world *w = *state;
    struct str longest = {name, sizeof name};
    struct group_record r = offset_record(longest, longest, 0, 1);
    int groups = 0;

    memset(name, 0xff, sizeof name);
    applied(w, &r);
    assert_int_equal(offset_of(w, longest, longest, 0), 1);
    assert_int_equal(
        group_state_list_groups(w->store, PARTITION, NULL, see_longest, &groups, NULL).code,
        KERR_NONE);
    assert_int_equal(groups, 1);
}

static void a_spent_scratch_arena_adds_nothing(void **state)
{
    struct world *w = *state;
    struct group_record r = offset_record(STR("g"), STR("t"), 0, 1);
    struct arena none;

    arena_init(&none, 0);
    assert_int_equal(group_state_apply(w->batch, PARTITION, &r, &none), KERR_INVALID_REQUEST);
    assert_int_equal(state_batch_count(w->batch), 0);
    arena_free(&none);
}

/* What a disk may make of a key or value: damage, said so, and no crash. */
static void what_cannot_have_been_written_is_damage(void **state)
{
    static const struct {
        const char *what;
        enum state_family family;
        struct str key; /* after the partition */
        struct str value;
    } cases[] = {
        {"an offset's value that is no message",
         STATE_OFFSETS,
         {"\0\1g\0\1t\0\0\0\0", 10},
         {"\xff", 1}},
        {"a topic id of the wrong size",
         STATE_OFFSETS,
         {"\0\1g\0\1t\0\0\0\0", 10},
         {"\x32\x01x", 3}},
        {"an offset's key that ends early", STATE_OFFSETS, {"\0\1g\0\1t\0\0\0", 9}, {"", 0}},
        {"an offset's key that goes on", STATE_OFFSETS, {"\0\1g\0\1t\0\0\0\0x", 11}, {"", 0}},
        {"a topic longer than its key", STATE_OFFSETS, {"\0\1g\0\x7ft\0\0\0\0", 10}, {"", 0}},
        {"a type that is none", STATE_GROUPS, {"\0\1g\x29", 4}, {"", 0}},
        {"a type in the wrong phase", STATE_GROUPS, {"\0\1g\x42", 4}, {"", 0}},
        {"an offset among the groups", STATE_GROUPS, {"\0\1g\x01", 4}, {"", 0}},
        {"no type", STATE_GROUPS, {"\0\1g", 3}, {"", 0}},
        {"a key that goes on after a group", STATE_GROUPS, {"\0\1g\x22x", 5}, {"", 0}},
        {"a group's value that is no message", STATE_GROUPS, {"\0\1g\x22", 4}, {"\x0a\x7f", 2}},
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct world *w = *state;
        uint8_t bytes[64];
        struct bytes key = {bytes, 4 + cases[i].key.size};
        struct state_store_report report;
        struct seen s = {{0}, 0};
        struct status st;

        store_be32(bytes, PARTITION);
        memcpy(bytes + 4, cases[i].key.data, cases[i].key.size);
        state_batch_put(w->batch, cases[i].family, key,
                        (struct bytes){(const uint8_t *)cases[i].value.data, cases[i].value.size});
        assert_int_equal(state_batch_commit(w->batch, NULL).code, KERR_NONE);
        if (cases[i].family == STATE_OFFSETS)
            st = group_state_list_offsets(w->store, PARTITION, STR("g"), STR_NULL, NULL, see_offset,
                                          &s, NULL);
        else
            st = group_state_load(w->store, PARTITION, STR("g"), NULL, see_record, &s, NULL);
        if (st.code != KERR_KAFKA_STORAGE_ERROR)
            fail_msg("%s is not noticed", cases[i].what);
        assert_true(state_store_damaged(w->store));
        assert_string_equal(s.text, "");
        assert_int_equal(state_store_reset(w->store, &report).code, KERR_NONE);
        assert_true(report.rebuilt);
        state_batch_free(w->batch);
        w->batch = state_batch_new(w->store);
    }
}

static void a_group_whose_name_is_longer_than_its_key_is_damage(void **state)
{
    struct world *w = *state;
    uint8_t key[6] = {0};
    struct seen s = {{0}, 0};

    store_be32(key, PARTITION);
    key[5] = 1; /* a name of one byte, which is not there */
    state_batch_put(w->batch, STATE_OFFSETS, (struct bytes){key, sizeof key}, WIRE_EMPTY_BYTES);
    assert_int_equal(state_batch_commit(w->batch, NULL).code, KERR_NONE);
    assert_int_equal(group_state_list_groups(w->store, PARTITION, NULL, see_group, &s, NULL).code,
                     KERR_KAFKA_STORAGE_ERROR);
    assert_true(state_store_damaged(w->store));
}

/* ---- of the simulated one alone ---- */

static void walks_that_are_told_to_block_go_on_without_a_repeat(void **state)
{
    struct world *w = *state;
    struct state_position position = {0};
    struct seen s = {{0}, 0};
    char expected[sizeof s.text];
    bool would_block;
    int told = 0;

    for (int i = 0; i < 150; i++) {
        char name[16];

        snprintf(name, sizeof name, "%03d", i);
        if (i % 2)
            classic_group(w, name);
        else
            committed(w, name, "t", 0, 1);
    }
    strcpy(expected, groups(w));
    state_store_sim_set_would_block(w->store, 5);
    while (!position.done) {
        assert_int_equal(
            group_state_list_groups(w->store, PARTITION, &position, see_group, &s, &would_block)
                .code,
            KERR_NONE);
        told += would_block;
    }
    assert_true(told > 0);
    assert_string_equal(s.text, expected);
    state_position_free(&position);
}

static void a_read_that_would_block_finds_nothing_and_says_so(void **state)
{
    struct world *w = *state;
    struct group_state_offset o;
    bool found, has, would_block;
    struct seen s = {{0}, 0};

    committed(w, "g", "t", 0, 1);
    classic_group(w, "g");
    state_store_sim_set_would_block(w->store, 1000);
    assert_int_equal(group_state_get_offset(w->store, PARTITION, STR("g"), STR("t"), 0, &w->arena,
                                            &o, &found, &would_block)
                         .code,
                     KERR_NONE);
    assert_true(would_block);
    assert_false(found);
    assert_int_equal(
        group_state_has_offsets(w->store, PARTITION, STR("g"), &has, &would_block).code, KERR_NONE);
    assert_true(would_block);
    assert_int_equal(
        group_state_load(w->store, PARTITION, STR("g"), NULL, see_record, &s, &would_block).code,
        KERR_NONE);
    assert_true(would_block);
    assert_int_equal(
        group_state_list_groups(w->store, PARTITION, NULL, see_group, &s, &would_block).code,
        KERR_NONE);
    assert_true(would_block);
    assert_string_equal(s.text, "");
}

#define EVERY_STORE(TEST)                                                                          \
    TEST(a_committed_offset_is_found_with_all_that_was_said),                                      \
        TEST(what_a_commit_left_out_has_its_default),                                              \
        TEST(a_newer_commit_replaces_and_a_tombstone_removes),                                     \
        TEST(a_commit_of_a_broker_before_0_9_is_the_same_offset),                                  \
        TEST(offsets_are_listed_by_group_and_by_topic), TEST(offsets_are_listed_some_at_a_time),   \
        TEST(any_bytes_in_names_stay_apart), TEST(partitions_do_not_see_each_other),               \
        TEST(a_group_is_loaded_in_the_order_of_replay),                                            \
        TEST(members_come_back_with_what_they_said),                                               \
        TEST(a_group_is_loaded_some_records_at_a_time),                                            \
        TEST(groups_are_listed_once_whether_of_records_or_of_offsets),                             \
        TEST(many_groups_are_listed_some_at_a_time),                                               \
        TEST(a_name_longer_than_kafkas_strings_is_refused), TEST(the_longest_names_fit),           \
        TEST(a_spent_scratch_arena_adds_nothing), TEST(what_cannot_have_been_written_is_damage),   \
        TEST(a_group_whose_name_is_longer_than_its_key_is_damage)

int main(void)
{
#define ON_ROCKSDB(name) cmocka_unit_test_setup_teardown(name, setup_rocksdb, teardown)
#define ON_SIM(name)     cmocka_unit_test_setup_teardown(name, setup_sim, teardown)
    const struct CMUnitTest sim[] = {
        EVERY_STORE(ON_SIM),
        ON_SIM(walks_that_are_told_to_block_go_on_without_a_repeat),
        ON_SIM(a_read_that_would_block_finds_nothing_and_says_so),
    };
    const struct CMUnitTest rocksdb[] = {EVERY_STORE(ON_ROCKSDB)};

    return cmocka_run_group_tests_name("simulated", sim, NULL, NULL) +
           cmocka_run_group_tests_name("rocksdb", rocksdb, NULL, NULL);
}
