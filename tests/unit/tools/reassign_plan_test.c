/* Where `trivet partition reassign` sends partitions. */
#include "tests/unit/test.h"

#include <string.h>

#include "tools/trivet/reassign_plan.h"

#define IDS(...)                                                                                   \
    ((struct id_list){(const int32_t[]){__VA_ARGS__},                                              \
                      sizeof((const int32_t[]){__VA_ARGS__}) / sizeof(int32_t)})

#define BROKERS_MAX    9
#define PARTITIONS_MAX 64

/* Brokers 1 to 6, two in each of three zones. */
struct world {
    struct arena arena;
    struct layout_broker brokers[BROKERS_MAX];
    struct layout_partition partitions[PARTITIONS_MAX];
    const struct layout_partition *chosen[PARTITIONS_MAX];
    struct layout layout;
    struct planned_move *moves;
    size_t move_count;
    const char *why;
};

static int set_up(void **state)
{
    static struct world w;
    static const char *const zones[] = {"az-1", "az-2", "az-3"};

    w = (struct world){
        .layout = {.brokers = w.brokers, .broker_count = 6, .partitions = w.partitions}};
    arena_init(&w.arena, 1 << 20);
    for (int32_t i = 0; i < 6; i++)
        w.brokers[i] = (struct layout_broker){.id = i + 1, .zone = str_from(zones[i % 3])};
    *state = &w;
    return 0;
}

static int tear_down(void **state)
{
    arena_free(&((struct world *)*state)->arena);
    return 0;
}

static void add(struct world *w, struct id_list replicas)
{
    size_t i = w->layout.partition_count++;

    w->partitions[i] = (struct layout_partition){.topic = STR("t"),
                                                 .index = (int32_t)i,
                                                 .leader = replicas.ids[0],
                                                 .replicas = replicas,
                                                 .isr = replicas};
    w->chosen[i] = &w->partitions[i];
    for (size_t k = 0; k < replicas.count; k++)
        for (size_t b = 0; b < w->layout.broker_count; b++)
            w->brokers[b].replicas += w->brokers[b].id == replicas.ids[k];
}

static bool plan(struct world *w, struct reassign_wish wish)
{
    return reassign_plan(&w->layout, w->chosen, w->layout.partition_count, &wish, &w->arena,
                         &w->moves, &w->move_count, &w->why);
}

static void assert_goes_to(const struct planned_move *m, struct id_list to)
{
    assert_int_equal(m->to.count, to.count);
    for (size_t i = 0; i < to.count; i++)
        assert_int_equal(m->to.ids[i], to.ids[i]);
}

static void exact_wish_is_taken_to_the_letter(void **state)
{
    struct world *w = *state;

    add(w, IDS(1, 2, 3));
    add(w, IDS(4, 5));
    assert_true(plan(w, (struct reassign_wish){.to = IDS(4, 5)}));
    assert_int_equal(w->move_count, 1);
    assert_int_equal(w->moves[0].partition->index, 0);
    assert_goes_to(&w->moves[0], IDS(4, 5));
}

static void wishes_that_name_no_broker_or_one_twice_are_refused(void **state)
{
    struct world *w = *state;

    add(w, IDS(1, 2, 3));
    assert_false(plan(w, (struct reassign_wish){.to = IDS(1, 9)}));
    assert_string_equal(w->why, "there is no broker 9");
    assert_false(plan(w, (struct reassign_wish){.to = IDS(1, 2, 1)}));
    assert_string_equal(w->why, "broker 1 is named twice");
}

/* Broker 4 shares its zone with 1: what leaves 1 goes there, so that no zone is lost. */
static void who_goes_away_is_replaced_within_its_zone(void **state)
{
    struct world *w = *state;

    add(w, IDS(1, 2, 3));
    add(w, IDS(2, 3, 4));
    assert_true(plan(w, (struct reassign_wish){.away_from = IDS(1)}));
    assert_int_equal(w->move_count, 1);
    assert_goes_to(&w->moves[0], IDS(2, 3, 4));
}

static void more_replicas_go_to_zones_that_have_none_yet(void **state)
{
    struct world *w = *state;

    add(w, IDS(1));
    add(w, IDS(5));
    assert_true(plan(w, (struct reassign_wish){.replication_factor = 3}));
    assert_int_equal(w->move_count, 2);
    for (size_t i = 0; i < 2; i++) {
        struct id_list to = w->moves[i].to;

        assert_int_equal(to.count, 3);
        assert_int_equal(to.ids[0], w->partitions[i].leader);
        assert_int_equal((1 << to.ids[0] % 3) | (1 << to.ids[1] % 3) | (1 << to.ids[2] % 3), 7);
    }
}

static void new_replicas_are_spread_over_the_brokers_of_a_zone(void **state)
{
    struct world *w = *state;
    size_t got[BROKERS_MAX] = {0};
    const struct id_list three = IDS(1, 2, 3), one = IDS(1);

    for (int i = 0; i < 30; i++)
        add(w, three);
    assert_true(plan(w, (struct reassign_wish){.replication_factor = 6}));
    for (size_t i = 0; i < w->move_count; i++)
        for (size_t k = 0; k < w->moves[i].to.count; k++)
            got[w->moves[i].to.ids[k]]++;
    for (int id = 1; id <= 6; id++)
        assert_int_equal(got[id], 30);
    tear_down(state);
    set_up(state);
    w = *state;
    memset(got, 0, sizeof got);
    for (int i = 0; i < 30; i++)
        add(w, one);
    assert_true(plan(w, (struct reassign_wish){.replication_factor = 3}));
    for (size_t i = 0; i < w->move_count; i++)
        for (size_t k = 1; k < w->moves[i].to.count; k++)
            got[w->moves[i].to.ids[k]]++;
    for (int id = 2; id <= 6; id++)
        assert_int_equal(got[id], id == 4 ? 0 : 15);
}

static void fewer_replicas_keep_the_leader_and_the_zones(void **state)
{
    struct world *w = *state;

    add(w, IDS(1, 4, 2, 3));
    w->partitions[0].leader = 4;
    assert_true(plan(w, (struct reassign_wish){.replication_factor = 3}));
    assert_goes_to(&w->moves[0], IDS(4, 2, 3));
    assert_true(plan(w, (struct reassign_wish){.replication_factor = 1}));
    assert_goes_to(&w->moves[0], IDS(4));
}

static void brokers_that_are_down_get_nothing_new(void **state)
{
    struct world *w = *state;

    w->brokers[3].fenced = true; /* the other one of az-1 */
    add(w, IDS(1, 2, 3));
    assert_true(plan(w, (struct reassign_wish){.away_from = IDS(1)}));
    assert_false(id_list_contains(w->moves[0].to, 4));
    for (int i = 3; i < 6; i++)
        w->brokers[i].fenced = true;
    assert_false(plan(w, (struct reassign_wish){.away_from = IDS(1)}));
    assert_string_equal(w->why, "t-0: there are not enough brokers alive for 3 replicas");
}

static void what_is_fine_already_is_left_alone(void **state)
{
    struct world *w = *state;

    add(w, IDS(1, 2, 3));
    assert_true(plan(w, (struct reassign_wish){.away_from = IDS(6)}));
    assert_int_equal(w->move_count, 0);
    assert_true(plan(w, (struct reassign_wish){.replication_factor = 3}));
    assert_int_equal(w->move_count, 0);
}

int main(void)
{
#define STORY(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        STORY(exact_wish_is_taken_to_the_letter),
        STORY(wishes_that_name_no_broker_or_one_twice_are_refused),
        STORY(who_goes_away_is_replaced_within_its_zone),
        STORY(more_replicas_go_to_zones_that_have_none_yet),
        STORY(new_replicas_are_spread_over_the_brokers_of_a_zone),
        STORY(fewer_replicas_keep_the_leader_and_the_zones),
        STORY(brokers_that_are_down_get_nothing_new),
        STORY(what_is_fine_already_is_left_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
