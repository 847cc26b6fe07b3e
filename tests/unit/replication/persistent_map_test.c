#include "tests/unit/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "replication/persistent_map.h"

/* Values whose hash the test can choose, so that they collide. */
struct item {
    struct map_value value;
    uint64_t key;
    int content;
};

static size_t live; /* items not freed */

static uint64_t hash_spread(const void *key)
{
    return map_hash_bytes(key, sizeof(uint64_t));
}

static uint64_t hash_of_seven(const void *key)
{
    return *(const uint64_t *)key % 7;
}

static const void *item_key(const struct map_value *v)
{
    return &((const struct item *)(const void *)v)->key;
}

static bool item_equal(const void *a, const void *b)
{
    return *(const uint64_t *)a == *(const uint64_t *)b;
}

static void item_free(struct map_value *v)
{
    live--;
    free(v);
}

static struct item *item_create(uint64_t key, int content)
{
    struct item *i = calloc(1, sizeof *i);

    atomic_init(&i->value.references, 1);
    i->key = key;
    i->content = content;
    live++;
    return i;
}

static struct map_value *item_clone(const struct map_value *v)
{
    const struct item *i = (const void *)v;

    return &item_create(i->key, i->content)->value;
}

static const struct map_type spread = {hash_spread, item_key, item_equal, item_free, item_clone};
static const struct map_type crowded = {hash_of_seven, item_key, item_equal, item_free, item_clone};

static int content_of(const struct map *m, uint64_t key)
{
    struct item *i = (void *)map_find(m, &key);

    return i ? i->content : -1;
}

#define KEYS 300

static void check_against(const struct map *m, const int *model)
{
    struct map_cursor c;
    size_t count = 0, seen = 0;

    for (uint64_t k = 0; k < KEYS; k++) {
        assert_int_equal(content_of(m, k), model[k]);
        count += model[k] != -1;
    }
    map_cursor_init(&c, m);
    while (map_cursor_next(&c))
        seen++;
    assert_int_equal(seen, count);
    assert_int_equal(m->count, count);
}

/* Puts, edits and removes at random, with copies taken now and then: none of them ever changes. */
static void run_against_model(const struct map_type *type)
{
    struct map m, copy;
    int model[KEYS], copied[KEYS];

    live = 0;
    srand(7);
    map_init(&m, type);
    map_init(&copy, type);
    for (int k = 0; k < KEYS; k++)
        model[k] = copied[k] = -1;
    for (int step = 0; step < 20000; step++) {
        uint64_t k = (uint64_t)(rand() % KEYS);

        switch (rand() % 4) {
        case 0:
        case 1:
            map_put(&m, &item_create(k, step)->value);
            model[k] = step;
            break;
        case 2:
            assert_int_equal(map_remove(&m, &k), model[k] != -1);
            model[k] = -1;
            break;
        default: {
            struct item *i = (void *)map_edit(&m, &k);

            assert_int_equal(i != NULL, model[k] != -1);
            if (i)
                i->content = model[k] = step + 1000000;
        }
        }
        if (step % 512 == 0) {
            check_against(&copy, copied);
            map_clear(&copy);
            map_copy(&copy, &m);
            memcpy(copied, model, sizeof model);
        }
    }
    check_against(&m, model);
    check_against(&copy, copied);
    map_clear(&m);
    check_against(&copy, copied);
    map_clear(&copy);
    assert_int_equal(live, 0);
}

static void map_does_what_an_array_would_do(void **state)
{
    (void)state;
    run_against_model(&spread);
}

static void keys_of_one_hash_are_kept_apart(void **state)
{
    (void)state;
    run_against_model(&crowded);
}

/* Two nodes that hold the same must look at it in the same order, however it came in. */
static void walk_depends_on_the_keys_alone(void **state)
{
    struct map a, b;
    struct map_cursor ca, cb;
    struct map_value *va, *vb;

    (void)state;
    map_init(&a, &spread);
    map_init(&b, &spread);
    for (uint64_t k = 0; k < 100; k++)
        map_put(&a, &item_create(k, 0)->value);
    for (uint64_t k = 1000; k-- > 0;)
        map_put(&b, &item_create(k, 0)->value);
    for (uint64_t k = 100; k < 1000; k++)
        map_remove(&b, &k);
    map_cursor_init(&ca, &a);
    map_cursor_init(&cb, &b);
    do {
        va = map_cursor_next(&ca);
        vb = map_cursor_next(&cb);
        if (va && vb)
            assert_int_equal(((struct item *)(void *)va)->key, ((struct item *)(void *)vb)->key);
    } while (va && vb);
    assert_true(va == vb);
    map_clear(&a);
    map_clear(&b);
}

/* ---- differences ---- */

struct told {
    int removed[KEYS];
    int changed[KEYS];
};

static void on_removed(void *arg, struct map_value *v)
{
    ((struct told *)arg)->removed[((struct item *)(void *)v)->key]++;
}

static void on_changed(void *arg, struct map_value *v)
{
    ((struct told *)arg)->changed[((struct item *)(void *)v)->key]++;
}

static void check_diff(const struct map_type *type, int changes)
{
    struct map before, after;
    struct told told = {0};
    struct map_diff visit = {&told, on_removed, on_changed};
    int old[KEYS], new[KEYS];

    map_init(&after, type);
    for (uint64_t k = 0; k < KEYS; k++) {
        old[k] = new[k] = k % 2 ? (int)k : -1;
        if (k % 2)
            map_put(&after, &item_create(k, (int)k)->value);
    }
    map_copy(&before, &after);
    for (int i = 0; i < changes; i++) {
        uint64_t k = (uint64_t)(rand() % KEYS);

        if (rand() % 2) {
            map_put(&after, &item_create(k, 1000 + i)->value);
            new[k] = 1000 + i;
        } else {
            map_remove(&after, &k);
            new[k] = -1;
        }
    }
    map_diff(&before, &after, &visit);
    for (int k = 0; k < KEYS; k++) {
        assert_int_equal(told.removed[k], old[k] != -1 && new[k] == -1);
        assert_int_equal(told.changed[k], new[k] != -1 && new[k] != old[k]);
    }
    map_clear(&before);
    map_clear(&after);
}

static void differences_are_told_once_each(void **state)
{
    (void)state;
    srand(11);
    for (int changes = 0; changes < 400; changes += 7) {
        check_diff(&spread, changes);
        check_diff(&crowded, changes);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(map_does_what_an_array_would_do),
        cmocka_unit_test(keys_of_one_hash_are_kept_apart),
        cmocka_unit_test(walk_depends_on_the_keys_alone),
        cmocka_unit_test(differences_are_told_once_each),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
