#include "tests/unit/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "broker/coordinator/assignor.h"

/* What every assignment must be, for seeded random groups that members join, leave and change. */

enum { MEMBERS_MAX = 40, TOPICS_MAX = 8, PARTITIONS_MAX = 32 };

struct group_world {
    uint64_t random;
    char ids[MEMBERS_MAX][16];
    uint32_t subscribed[MEMBERS_MAX][TOPICS_MAX];
    struct assignor_member members[MEMBERS_MAX];
    struct assignor_topic topics[TOPICS_MAX];
    int32_t owners[TOPICS_MAX][PARTITIONS_MAX], before[TOPICS_MAX][PARTITIONS_MAX];
    struct assignor_problem problem;
};

static uint32_t any(struct group_world *w, uint32_t below)
{
    w->random = w->random * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(w->random >> 33) % below;
}

static void subscribe(struct group_world *w, size_t m, uint32_t mask)
{
    struct assignor_member *member = &w->members[m];

    member->topic_count = 0;
    for (uint32_t t = 0; t < w->problem.topic_count; t++)
        if (mask >> t & 1)
            w->subscribed[m][member->topic_count++] = t;
    member->topics = w->subscribed[m];
}

static struct group_world *random_group(uint64_t seed, bool same)
{
    struct group_world *w = calloc(1, sizeof *w);
    uint32_t mask;

    w->random = seed;
    w->problem = (struct assignor_problem){w->topics, 1 + any(w, TOPICS_MAX), w->members,
                                           1 + any(w, MEMBERS_MAX)};
    for (size_t t = 0; t < w->problem.topic_count; t++) {
        w->topics[t].partition_count = 1 + (int32_t)any(w, PARTITIONS_MAX);
        w->topics[t].owners = w->owners[t];
        for (int32_t p = 0; p < w->topics[t].partition_count; p++)
            w->owners[t][p] = ASSIGNOR_NOBODY;
    }
    mask = any(w, 1u << w->problem.topic_count);
    for (size_t m = 0; m < w->problem.member_count; m++) {
        snprintf(w->ids[m], sizeof w->ids[m], "m%03u", (unsigned)m);
        w->members[m].member_id = str_from(w->ids[m]);
        subscribe(w, m, same ? mask : any(w, 1u << w->problem.topic_count));
    }
    return w;
}

static bool subscribes(const struct assignor_member *m, uint32_t topic)
{
    for (size_t i = 0; i < m->topic_count; i++)
        if (m->topics[i] == topic)
            return true;
    return false;
}

static void assign(struct group_world *w, const char *name)
{
    struct arena scratch;

    memcpy(w->before, w->owners, sizeof w->before);
    arena_init(&scratch, 1 << 20);
    assert_true(assignor_find(str_from(name))->assign(&w->problem, &scratch));
    arena_free(&scratch);
}

static void every_partition_is_somebodys_who_subscribes_it(const struct group_world *w)
{
    for (uint32_t t = 0; t < w->problem.topic_count; t++) {
        bool wanted = false;

        for (size_t m = 0; m < w->problem.member_count; m++)
            wanted |= subscribes(&w->members[m], t);
        for (int32_t p = 0; p < w->topics[t].partition_count; p++) {
            int32_t owner = w->owners[t][p];

            assert_int_equal(owner != ASSIGNOR_NOBODY, wanted);
            assert_true(owner == ASSIGNOR_NOBODY || subscribes(&w->members[owner], t));
        }
    }
}

static void loads(const struct group_world *w, size_t *out)
{
    memset(out, 0, MEMBERS_MAX * sizeof *out);
    for (size_t t = 0; t < w->problem.topic_count; t++)
        for (int32_t p = 0; p < w->topics[t].partition_count; p++)
            if (w->owners[t][p] != ASSIGNOR_NOBODY)
                out[w->owners[t][p]]++;
}

/* No partition could go from its owner to a subscriber that has two less. */
static void nobody_has_too_much(const struct group_world *w)
{
    size_t load[MEMBERS_MAX];

    loads(w, load);
    for (uint32_t t = 0; t < w->problem.topic_count; t++)
        for (int32_t p = 0; p < w->topics[t].partition_count; p++)
            for (size_t m = 0; m < w->problem.member_count; m++)
                if (w->owners[t][p] != ASSIGNOR_NOBODY && subscribes(&w->members[m], t))
                    assert_true(load[w->owners[t][p]] <= load[m] + 1);
}

static size_t moved(const struct group_world *w)
{
    size_t count = 0;

    for (size_t t = 0; t < w->problem.topic_count; t++)
        for (int32_t p = 0; p < w->topics[t].partition_count; p++)
            count += w->before[t][p] != ASSIGNOR_NOBODY && w->before[t][p] != w->owners[t][p];
    return count;
}

static void uniform_is_complete_balanced_and_moves_nothing_when_nothing_changed(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 400; seed++) {
        struct group_world *w = random_group(seed, seed % 2);

        assign(w, "uniform");
        every_partition_is_somebodys_who_subscribes_it(w);
        nobody_has_too_much(w);
        assign(w, "uniform");
        assert_int_equal(moved(w), 0);
        free(w);
    }
}

/* A member that leaves moves what it had, and no more; its index goes to whoever was last. */
static void uniform_moves_only_the_partitions_of_a_member_that_leaves(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 200; seed++) {
        struct group_world *w = random_group(seed, true);
        int32_t last;

        assign(w, "uniform");
        if (w->problem.member_count > 1) {
            last = (int32_t)--w->problem.member_count;
            for (size_t t = 0; t < w->problem.topic_count; t++)
                for (int32_t p = 0; p < w->topics[t].partition_count; p++)
                    if (w->owners[t][p] == last)
                        w->owners[t][p] = ASSIGNOR_NOBODY;
            assign(w, "uniform");
            every_partition_is_somebodys_who_subscribes_it(w);
            nobody_has_too_much(w);
            assert_int_equal(moved(w), 0);
        }
        free(w);
    }
}

static void uniform_moves_at_most_the_share_of_a_member_that_joins(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 200; seed++) {
        struct group_world *w = random_group(seed, true);
        size_t load[MEMBERS_MAX], all = w->problem.member_count;

        if (all > 1) {
            w->problem.member_count = all - 1;
            assign(w, "uniform");
            w->problem.member_count = all;
            assign(w, "uniform");
            loads(w, load);
            nobody_has_too_much(w);
            assert_int_equal(moved(w), load[all - 1]);
        }
        free(w);
    }
}

static void uniform_stays_balanced_while_subscriptions_change(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 100; seed++) {
        struct group_world *w = random_group(seed, false);

        for (int round = 0; round < 10; round++) {
            subscribe(w, any(w, (uint32_t)w->problem.member_count),
                      any(w, 1u << w->problem.topic_count));
            assign(w, "uniform");
            every_partition_is_somebodys_who_subscribes_it(w);
            nobody_has_too_much(w);
        }
        free(w);
    }
}

static void range_gives_runs_and_shares_that_differ_by_one(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 300; seed++) {
        struct group_world *w = random_group(seed, seed % 2);

        assign(w, "range");
        every_partition_is_somebodys_who_subscribes_it(w);
        for (size_t t = 0; t < w->problem.topic_count; t++) {
            size_t runs = 1, takers = 0, expected;

            for (int32_t p = 1; p < w->topics[t].partition_count; p++)
                runs += w->owners[t][p] != w->owners[t][p - 1];
            for (size_t m = 0; m < w->problem.member_count; m++)
                takers += subscribes(&w->members[m], (uint32_t)t);
            expected = takers < (size_t)w->topics[t].partition_count
                           ? takers
                           : (size_t)w->topics[t].partition_count;
            assert_int_equal(runs, takers ? expected : 1);
        }
        free(w);
    }
}

/* Joins of topics with equally many partitions need the same index at the same member. */
static void range_gives_the_same_indexes_of_topics_with_as_many_partitions(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 200; seed++) {
        struct group_world *w = random_group(seed, true);

        for (size_t t = 1; t < w->problem.topic_count; t++)
            w->topics[t].partition_count = w->topics[0].partition_count;
        for (size_t m = 0; m < w->problem.member_count; m++)
            subscribe(w, m, (1u << w->problem.topic_count) - 1);
        assign(w, "range");
        for (size_t t = 1; t < w->problem.topic_count; t++)
            assert_memory_equal(w->owners[t], w->owners[0],
                                (size_t)w->topics[0].partition_count * sizeof(int32_t));
        free(w);
    }
}

/* Static members come first, in the order of their instance ids, whatever their member ids are
 * after a restart. */
static void range_keeps_static_members_in_place_when_they_restart(void **state)
{
    struct group_world *w = random_group(7, true);
    (void)state;

    w->problem.topic_count = 1;
    w->problem.member_count = 4;
    w->topics[0].partition_count = 8;
    for (size_t m = 0; m < 4; m++)
        subscribe(w, m, 1);
    w->members[2].instance_id = STR("a");
    w->members[1].instance_id = STR("b");
    assign(w, "range");
    assert_memory_equal(w->owners[0], ((int32_t[]){2, 2, 1, 1, 0, 0, 3, 3}), 8 * sizeof(int32_t));
    w->members[2].member_id = STR("zzz");
    assign(w, "range");
    assert_int_equal(moved(w), 0);
    free(w);
}

static void no_members_means_no_owners(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct group_world *w = random_group(3, true);

        w->problem.member_count = 0;
        assign(w, i ? "range" : "uniform");
        every_partition_is_somebodys_who_subscribes_it(w);
        free(w);
    }
    assert_null(assignor_find(STR("sticky")));
}

static void an_assignor_without_memory_says_so(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 6; seed++) {
        struct group_world *w = random_group(seed, seed % 2);
        bool done = false;

        for (size_t budget = 0; !done; budget += 64) {
            struct arena scratch;

            arena_init(&scratch, budget);
            done = (seed % 3 ? assignor_uniform : assignor_range)(&w->problem, &scratch);
            arena_free(&scratch);
            assert_true(budget < 1 << 20);
        }
        free(w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(uniform_is_complete_balanced_and_moves_nothing_when_nothing_changed),
        cmocka_unit_test(uniform_moves_only_the_partitions_of_a_member_that_leaves),
        cmocka_unit_test(uniform_moves_at_most_the_share_of_a_member_that_joins),
        cmocka_unit_test(uniform_stays_balanced_while_subscriptions_change),
        cmocka_unit_test(range_gives_runs_and_shares_that_differ_by_one),
        cmocka_unit_test(range_gives_the_same_indexes_of_topics_with_as_many_partitions),
        cmocka_unit_test(range_keeps_static_members_in_place_when_they_restart),
        cmocka_unit_test(no_members_means_no_owners),
        cmocka_unit_test(an_assignor_without_memory_says_so),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
