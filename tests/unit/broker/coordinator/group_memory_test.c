/* A group core without memory: every allocation in it fails in turn, every budget is tried.
 * Whatever happens, everybody is answered once, and a core that says it is overloaded can be thrown
 * away. Linked with malloc, calloc and realloc wrapped. */
#include "tests/unit/test.h"

#include <stdlib.h>

#include "tests/unit/broker/coordinator/group_members.h"

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *old, size_t size);

static bool inside;
static int64_t left = -1; /* allocations until one fails; -1: none does */

static bool fails(void)
{
    return inside && left >= 0 && left-- == 0;
}

void *__wrap_malloc(size_t size)
{
    return fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
    return fails() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *old, size_t size)
{
    return fails() ? NULL : __real_realloc(old, size);
}

static void in_core(bool in)
{
    inside = in;
}

/* Members of every kind come, work and go; each call is answered whatever the world does. */
static void live(struct group_world *w)
{
    struct world_client *a = world_client(w, "a"), *b = world_client(w, "b"),
                        *s = world_client(w, "s");

    snprintf(a->protocols, sizeof a->protocols, "range:t+u+v,sticky:t");
    snprintf(b->protocols, sizeof b->protocols, "sticky:t,range:x");
    snprintf(s->protocols, sizeof s->protocols, "range:t,sticky:t");
    snprintf(s->instance, sizeof s->instance, "i1");
    world_join(w, a);
    world_join(w, a);
    if (!b->waiting)
        world_join(w, b);
    if (!b->waiting)
        world_join(w, b);
    world_join(w, s);
    world_wait(w, 20000);
    world_sync(w, s);
    world_sync(w, b);
    world_sync(w, a);
    world_heartbeat(w, a);
    world_commit_offset(w, a, "t", 0, 5, "x");
    s->id[0] = '\0';
    world_join(w, s);
    world_sync(w, s);
    world_join(w, a);
    world_describe(w, "g");
    world_leave(w, b);
    world_remove(w, "g", "", "i1");
    world_wait(w, 40000);
    world_describe(w, "g");
    world_offset_delete(w, "g", "t", 0);
    world_crash(w);
    world_heartbeat(w, a);
    world_delete(w, "g");
    world_wait(w, 600000);
    for (const struct world_call *call = w->calls; call; call = call->next)
        assert_true(call->answered);
}

/* The same of the new protocol, with groups that are turned both ways. */
static void live_anew(struct group_world *w)
{
    struct group_members all;
    struct world_client *x = world_client(w, "x"), *y = world_client(w, "y");
    struct group_member *a, *b, *s;

    group_members_init(&all, w);
    classic_assigns(&all, (struct classic_assignor){0});
    w->settings.initial_rebalance_delay_ms = 0;
    image_world_topic(&w->images, "t", 3);
    image_world_topic(&w->images, "u", 2);
    world_new_image(w);
    a = group_member(&all, "a");
    b = group_member(&all, "b");
    s = group_member(&all, "s");
    snprintf(b->topics, sizeof b->topics, "-");
    snprintf(b->regex, sizeof b->regex, "[tu]");
    snprintf(s->instance, sizeof s->instance, "i");
    x->old = y->old = true;
    world_join(w, x);
    world_sync(w, x);
    if (!y->waiting)
        world_join(w, y);
    for (int round = 0; round < 2; round++) {
        member_heartbeat(&all, a);
        member_heartbeat(&all, b);
        member_heartbeat(&all, s);
        world_resolve_regex(&all);
        if (!x->waiting)
            world_join(w, x);
        if (!x->waiting)
            world_sync(w, x);
        if (!x->waiting)
            world_heartbeat(w, x);
        member_heartbeat(&all, b);
    }
    member_commits(&all, a, a->epoch, "t", 0);
    member_leaves(&all, s, -2);
    snprintf(s->id, sizeof s->id, "s2");
    member_heartbeat(&all, s);
    image_world_grow(&w->images, "u", 4);
    world_new_image(w);
    member_heartbeat(&all, a);
    member_leaves(&all, a, -1);
    member_leaves(&all, b, -1);
    member_leaves(&all, s, -1);
    world_describe(w, "g");
    world_crash(w);
    member_heartbeat(&all, a);
    world_wait(w, 600000);
    for (const struct world_call *call = w->calls; call; call = call->next)
        assert_true(call->answered);
    w->on_answer = NULL;
    w->more = NULL;
}

static void (*lives[])(struct group_world *w) = {live, live_anew};

static void every_allocation_may_fail(void **state)
{
    void (*life)(struct group_world * w) = lives[*state != NULL];
    size_t overloads = 0;
    int64_t n = 0;

    for (;; n++) {
        struct group_world *w = world_new(1);
        bool clean;

        w->may_overload = true;
        w->in_core = in_core;
        left = n;
        life(w);
        clean = left >= 0;
        left = -1;
        overloads += w->overloads;
        world_free(w);
        if (clean)
            break;
    }
    print_message("%lld allocations, %zu of them overload a core\n", (long long)n, overloads);
    assert_true(n > 60);
    assert_true(overloads > 30); /* the others failed a caller's answer */
}

static void every_budget_of_a_step_may_be_spent(void **state)
{
    void (*life)(struct group_world * w) = lives[*state != NULL];

    for (size_t budget = 0; budget < 16384; budget += 64) {
        struct group_world *w = world_new(1);

        w->may_overload = true;
        arena_free(&w->fx.arena);
        arena_init(&w->fx.arena, budget);
        life(w);
        world_free(w);
    }
}

static void a_spent_caller_hears_invalid_request_and_costs_nobody_else(void **state)
{
    void (*life)(struct group_world * w) = lives[*state != NULL];

    for (size_t budget = 0; budget < 8192; budget += 64) {
        struct group_world *w = world_new(1);

        w->arena_bytes = budget;
        life(w);
        assert_int_equal(w->overloads, 0);
        world_free(w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_allocation_may_fail),
        cmocka_unit_test(every_budget_of_a_step_may_be_spent),
        cmocka_unit_test(a_spent_caller_hears_invalid_request_and_costs_nobody_else),
        {"every allocation may fail, of the new protocol", every_allocation_may_fail, NULL, NULL,
         lives},
        {"every budget of a step may be spent, of the new protocol",
         every_budget_of_a_step_may_be_spent, NULL, NULL, lives},
        {"a spent caller, of the new protocol",
         a_spent_caller_hears_invalid_request_and_costs_nobody_else, NULL, NULL, lives},
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
