#include "tests/unit/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "broker/coordinator/assignor.h"
#include "broker/coordinator/group_regex.h"
#include "broker/coordinator/metadata_hash.h"
#include "tests/unit/broker/coordinator/image_world.h"

/* What Apache Kafka's own classes answer (tests/kafka/GroupVectors.java), and what ours do. */

enum { MEMBERS_MAX = 16, TOPICS_MAX = 16, PARTITIONS_MAX = 128 };

static FILE *vectors(void)
{
    FILE *f = fopen(GROUP_VECTORS, "r");

    assert_non_null(f);
    return f;
}

static size_t numbers(const char *text, int32_t *out)
{
    size_t count = 0;

    if (strcmp(text, "-") == 0)
        return 0;
    for (char *end = (char *)text;; text = end + 1) {
        out[count++] = (int32_t)strtol(text, &end, 10);
        if (*end != ',')
            return count;
    }
}

/* ---- assignors ---- */

struct assign_case {
    char ids[MEMBERS_MAX][64], instances[MEMBERS_MAX][64];
    uint32_t subscribed[MEMBERS_MAX][TOPICS_MAX];
    struct assignor_member members[MEMBERS_MAX];
    struct assignor_topic topics[TOPICS_MAX];
    int32_t owners[TOPICS_MAX][PARTITIONS_MAX], expected[TOPICS_MAX][PARTITIONS_MAX];
    struct assignor_problem problem;
};

static void read_member(struct assign_case *c, const char *line)
{
    size_t m = c->problem.member_count++;
    char topics[256];
    struct assignor_member *member = &c->members[m];

    assert_int_equal(sscanf(line, "member %63s %63s %255s", c->ids[m], c->instances[m], topics), 3);
    member->member_id = str_from(c->ids[m]);
    member->instance_id = strcmp(c->instances[m], "-") ? str_from(c->instances[m]) : STR_NULL;
    member->topic_count = numbers(topics, (int32_t *)c->subscribed[m]);
    member->topics = c->subscribed[m];
}

static void read_topic(struct assign_case *c, const char *line)
{
    size_t t = c->problem.topic_count++;
    char before[512], after[512];

    assert_int_equal(sscanf(line, "topic %511s %511s", before, after), 2);
    c->topics[t].partition_count = (int32_t)numbers(before, c->owners[t]);
    c->topics[t].owners = c->owners[t];
    numbers(after, c->expected[t]);
}

static void run_case(struct assign_case *c, const char *assignor)
{
    struct arena scratch;

    c->problem.members = c->members;
    c->problem.topics = c->topics;
    arena_init(&scratch, 1 << 20);
    assert_true(assignor_find(str_from(assignor))->assign(&c->problem, &scratch));
    arena_free(&scratch);
    for (size_t t = 0; t < c->problem.topic_count; t++)
        for (int32_t p = 0; p < c->topics[t].partition_count; p++)
            assert_int_equal(c->owners[t][p], c->expected[t][p]);
}

/* KIP-848: the assignments of Kafka 4.4's UniformAssignor and RangeAssignor, to the partition. */
static void assignors_give_what_those_of_kafka_give(void **state)
{
    FILE *f = vectors();
    char line[4096], assignor[32];
    struct assign_case *c = NULL;
    size_t cases = 0;
    (void)state;

    while (fgets(line, sizeof line, f)) {
        if (sscanf(line, "assign %31s", assignor) == 1) {
            c = calloc(1, sizeof *c);
        } else if (c && strncmp(line, "member ", 7) == 0) {
            read_member(c, line);
        } else if (c && strncmp(line, "topic ", 6) == 0) {
            read_topic(c, line);
        } else if (c && strncmp(line, "end", 3) == 0) {
            run_case(c, assignor);
            free(c);
            c = NULL;
            cases++;
        }
    }
    fclose(f);
    assert_int_equal(cases, 400);
}

/* ---- hashes ---- */

struct hash_case {
    struct image_world world;
    int32_t brokers;
    struct str names[TOPICS_MAX];
    size_t count;
};

static void add_partition(struct hash_case *c, struct uuid id, char *racks)
{
    int32_t replicas[8];
    size_t count = 0;
    char *rest = NULL;

    for (char *rack = strtok_r(racks, ",", &rest); rack; rack = strtok_r(NULL, ",", &rest)) {
        image_world_add_broker(&c->world, ++c->brokers, strcmp(rack, "-") ? rack : NULL);
        replicas[count++] = c->brokers;
    }
    image_world_add_partition(&c->world, id, replicas, count);
}

static void check_topic_hash(struct hash_case *c, char *line)
{
    char *rest = NULL, *name, *id_text, *racks, *hash, *more = NULL;
    struct uuid id;

    strtok_r(line, " \n", &rest);
    name = strtok_r(NULL, " \n", &rest);
    id_text = strtok_r(NULL, " \n", &rest);
    racks = strtok_r(NULL, " \n", &rest);
    hash = strtok_r(NULL, " \n", &rest);
    assert_true(uuid_parse(str_from(id_text), &id));
    image_world_add_topic(&c->world, name, id);
    for (char *part = strtok_r(racks, "|", &more); part; part = strtok_r(NULL, "|", &more))
        add_partition(c, id, part);
    assert_int_equal((int64_t)metadata_hash_topic(c->world.image,
                                                  metadata_image_topic_by_id(c->world.image, id)),
                     strtoll(hash, NULL, 10));
    c->names[c->count++] = metadata_image_topic_by_id(c->world.image, id)->name;
}

static int by_name(const void *left, const void *right)
{
    return str_compare(*(const struct str *)left, *(const struct str *)right);
}

static void check_group_hash(struct hash_case *c, const char *line)
{
    uint64_t hashes[TOPICS_MAX];

    qsort(c->names, c->count, sizeof *c->names, by_name);
    for (size_t i = 0; i < c->count; i++)
        hashes[i] =
            metadata_hash_topic(c->world.image, metadata_image_topic(c->world.image, c->names[i]));
    assert_int_equal((int64_t)metadata_hash_group(hashes, c->count), strtoll(line + 11, NULL, 10));
    c->count = 0;
}

/* KIP-1101: with another hash Kafka would rebalance each group that it takes over from us. */
static void metadata_hashes_are_those_of_kafka(void **state)
{
    FILE *f = vectors();
    char line[4096];
    struct hash_case c = {0};
    size_t groups = 0;
    (void)state;

    image_world_init(&c.world);
    while (fgets(line, sizeof line, f)) {
        if (strncmp(line, "topic-hash ", 11) == 0) {
            check_topic_hash(&c, line);
        } else if (strncmp(line, "group-hash ", 11) == 0) {
            check_group_hash(&c, line);
            groups++;
        }
    }
    fclose(f);
    image_world_free(&c.world);
    assert_int_equal(groups, 3);
}

/* ---- regular expressions ---- */

static size_t split(char *line, char **fields, size_t max)
{
    size_t count = 0;

    line[strcspn(line, "\n")] = '\0';
    for (char *field; count < max && (field = strsep(&line, "\t"));)
        fields[count++] = field;
    return count;
}

/* Kafka takes these and PCRE2 does not: brackets that POSIX reserves, and an anchor
 * several times. */
static bool is_exception(const char *pattern)
{
    static const char *const exceptions[] = {"[[.a.]]", "[[=a=]]", "^*a"};

    for (size_t i = 0; i < sizeof exceptions / sizeof exceptions[0]; i++)
        if (strcmp(pattern, exceptions[i]) == 0)
            return true;
    return false;
}

static void check_regex(const struct image_world *w, char *line)
{
    char *fields[32], message[GROUP_REGEX_MESSAGE_MAX];
    size_t count = split(line, fields, 32);
    struct str pattern = str_from(fields[1]);
    struct group_regex_topics found;
    struct arena a;
    bool refused = strcmp(fields[2], "refused") == 0;

    arena_init(&a, 1 << 16);
    refused |= is_exception(fields[1]);
    if (refused != (group_regex_check(pattern, message) != KERR_NONE))
        fail_msg("%s is %s", fields[1], refused ? "accepted" : message);
    if (refused) {
        assert_true(message[0] != '\0');
        assert_int_equal(group_regex_match(w->image, pattern, &a, &found),
                         KERR_INVALID_REGULAR_EXPRESSION);
    } else {
        assert_int_equal(group_regex_match(w->image, pattern, &a, &found), KERR_NONE);
        if (found.count != count - 3)
            fail_msg("%s matches %zu names, not %zu", fields[1], found.count, count - 3);
        for (size_t i = 0; i < found.count; i++) {
            bool known = false;

            for (size_t k = 3; k < count; k++)
                known |= str_equal(found.names[i], str_from(fields[k]));
            if (!known)
                fail_msg("%s matches %.*s", fields[1], STR_ARG(found.names[i]));
            assert_true(i == 0 || str_compare(found.names[i - 1], found.names[i]) < 0);
        }
    }
    arena_free(&a);
}

/* The patterns that RE2/J knows, no others, and what they match: whole names. */
static void regular_expressions_are_those_of_kafka(void **state)
{
    FILE *f = vectors();
    char line[4096];
    char *names[32];
    struct image_world w;
    size_t patterns = 0;
    (void)state;

    image_world_init(&w);
    while (fgets(line, sizeof line, f)) {
        if (strncmp(line, "names\t", 6) == 0) {
            size_t count = split(line, names, 32);

            for (size_t i = 1; i < count; i++)
                image_world_add_topic(&w, names[i], uuid_from_number((uint8_t)i));
        } else if (strncmp(line, "regex\t", 6) == 0) {
            check_regex(&w, line);
            patterns++;
        }
    }
    fclose(f);
    image_world_free(&w);
    assert_true(patterns > 140);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(assignors_give_what_those_of_kafka_give),
        cmocka_unit_test(metadata_hashes_are_those_of_kafka),
        cmocka_unit_test(regular_expressions_are_those_of_kafka),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
