#include "tests/unit/test.h"

#include "replication/placement.h"

static void fill(struct random *r, void *out, size_t size)
{
    static uint64_t seed = 5;
    uint8_t *p = out;

    (void)r;
    for (size_t i = 0; i < size; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        p[i] = (uint8_t)(seed >> 56);
    }
}

static struct random chance = {fill};

static const struct placement_broker three_racks[] = {
    {1, {"a", 1}, false}, {2, {"b", 1}, false}, {3, {"c", 1}, false},
    {4, {"a", 1}, false}, {5, {"b", 1}, false}, {6, {"c", 1}, false},
};

static int32_t rack_of(int32_t id)
{
    return (id - 1) % 3;
}

static void replicas_of_a_partition_are_in_different_racks(void **state)
{
    struct placement *p = placement_create(three_racks, 6, &chance);
    int32_t out[3];

    (void)state;
    for (int i = 0; i < 100; i++) {
        assert_true(placement_next(p, 3, out));
        assert_int_equal((1 << rack_of(out[0])) | (1 << rack_of(out[1])) | (1 << rack_of(out[2])),
                         7);
    }
    placement_free(p);
}

static void leaders_and_replicas_are_spread_evenly(void **state)
{
    struct placement *p = placement_create(three_racks, 6, &chance);
    int leads[7] = {0}, holds[7] = {0};
    int32_t out[3];

    (void)state;
    for (int i = 0; i < 600; i++) {
        assert_true(placement_next(p, 3, out));
        leads[out[0]]++;
        for (int j = 0; j < 3; j++)
            holds[out[j]]++;
    }
    for (int id = 1; id <= 6; id++) {
        assert_in_range(leads[id], 90, 110);
        assert_in_range(holds[id], 285, 315);
    }
    placement_free(p);
}

static void fenced_brokers_serve_only_where_nobody_else_can(void **state)
{
    struct placement_broker brokers[] = {
        {1, STR_NULL, true}, {2, STR_NULL, false}, {3, STR_NULL, false}};
    struct placement *p = placement_create(brokers, 3, &chance);
    int32_t out[3];

    (void)state;
    for (int i = 0; i < 50; i++) {
        assert_true(placement_next(p, 2, out));
        assert_true(out[0] != 1 && out[1] != 1 && out[0] != out[1]);
        assert_true(placement_next(p, 3, out));
        assert_int_equal(out[2], 1);
    }
    placement_free(p);
}

static void racks_serve_twice_when_there_are_too_few(void **state)
{
    struct placement *p = placement_create(three_racks, 6, &chance);
    int32_t out[6];

    (void)state;
    for (int i = 0; i < 50; i++) {
        int seen = 0;

        assert_true(placement_next(p, 6, out));
        for (int j = 0; j < 6; j++)
            seen |= 1 << out[j];
        assert_int_equal(seen, 0x7e);
    }
    placement_free(p);
}

static void too_few_brokers_are_told(void **state)
{
    struct placement_broker fenced[] = {{1, STR_NULL, true}};
    struct placement *all = placement_create(three_racks, 6, &chance),
                     *none = placement_create(NULL, 0, &chance);
    struct placement *nobody = placement_create(fenced, 1, &chance);
    int32_t out[8];

    (void)state;
    assert_false(placement_next(all, 7, out));
    assert_false(placement_next(all, 0, out));
    assert_false(placement_next(none, 1, out));
    assert_false(placement_next(nobody, 1, out));
    placement_free(all);
    placement_free(none);
    placement_free(nobody);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(replicas_of_a_partition_are_in_different_racks),
        cmocka_unit_test(leaders_and_replicas_are_spread_evenly),
        cmocka_unit_test(fenced_brokers_serve_only_where_nobody_else_can),
        cmocka_unit_test(racks_serve_twice_when_there_are_too_few),
        cmocka_unit_test(too_few_brokers_are_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
