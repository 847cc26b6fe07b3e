/* Chance at a group core: clients that follow the protocol, clients that do not, restarts,
 * operators, time, commits that lag, coordinators that move with what is not committed lost. After
 * every step the invariants of world_check hold; now and then a core made of the records is
 * compared with the live one; nobody waits for ever.
 *
 *     group_random_test [SEED [EVENTS]]      a failure prints its seed */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "broker/coordinator/group_classic.h"
#include "tests/unit/broker/coordinator/group_world.h"

enum {
    GROUPS = 4,
    CLIENTS = 20,
    REBALANCE_MS_MAX = 6000,
    PATIENCE_MS = 2 * REBALANCE_MS_MAX + 5000, /* the longest that a request may wait */
    RELOAD_EVERY = 16,
};

struct chance {
    struct group_world *w;
    struct world_client *clients[CLIENTS];
};

static bool one_in(struct chance *x, uint32_t n)
{
    return world_random(x->w, n) == 0;
}

static const char *any_group(struct chance *x)
{
    static const char *const names[GROUPS] = {"g0", "g1", "g2", "g3"};

    return names[world_random(x->w, GROUPS)];
}

/* ---- clients ---- */

static void configure(struct chance *x, struct world_client *c)
{
    static const char *const protocols[] = {"range:t", "range:t+u", "range:t,sticky:t",
                                            "sticky:u,range:u", "sticky:t"};

    snprintf(c->protocols, sizeof c->protocols, "%s", protocols[world_random(x->w, 5)]);
    snprintf(c->type, sizeof c->type, "%s", one_in(x, 30) ? "connect" : "consumer");
    c->session_ms = 6000 + (int32_t)world_random(x->w, 20000);
    c->rebalance_ms = (int32_t)world_random(x->w, REBALANCE_MS_MAX);
    c->old = one_in(x, 5);
    c->no_skip = one_in(x, 3);
    c->raw = one_in(x, 10);
}

static struct world_client *new_client(struct chance *x, size_t i)
{
    char name[32];
    struct world_client *c;

    snprintf(name, sizeof name, "c%zu", i);
    c = world_client(x->w, name);
    snprintf(c->group, sizeof c->group, "g%u", (unsigned)(i % GROUPS));
    if (i % 3 == 0)
        snprintf(c->instance, sizeof c->instance, "i%u", (unsigned)(i % 9)); /* some share one */
    configure(x, c);
    return c;
}

/* Its connection is gone; the answer is nobody's. */
static void abandon(struct world_client *c)
{
    if (c->waiting)
        c->waiting->client = NULL;
    c->waiting = NULL;
}

static bool must_join(const struct world_client *c)
{
    enum kerr code = c->last ? c->last->caller.code : KERR_UNKNOWN_MEMBER_ID;

    return !c->id[0] || code == KERR_MEMBER_ID_REQUIRED || code == KERR_REBALANCE_IN_PROGRESS ||
           code == KERR_ILLEGAL_GENERATION || code == KERR_UNKNOWN_MEMBER_ID ||
           code == KERR_NOT_COORDINATOR;
}

static void behave(struct chance *x, struct world_client *c)
{
    struct group_world *w = x->w;

    if (c->waiting)
        return;
    if (c->last && (c->last->caller.code == KERR_UNKNOWN_MEMBER_ID ||
                    c->last->caller.code == KERR_FENCED_INSTANCE_ID))
        c->id[0] = '\0';
    if (c->last && c->last->caller.code == KERR_INCONSISTENT_GROUP_PROTOCOL)
        configure(x, c);
    if (must_join(c))
        world_join(w, c);
    else if (c->last->caller.call == GROUP_JOIN)
        world_sync(w, c);
    else if (one_in(x, 60))
        world_leave(w, c);
    else if (one_in(x, 60))
        world_join(w, c); /* it wants to assign anew, or subscribes something else */
    else if (one_in(x, 2))
        world_commit_offset(w, c, one_in(x, 2) ? "t" : "u", (int32_t)world_random(w, 4),
                            world_random(w, 1000), "");
    else
        world_heartbeat(w, c);
}

static void misbehave(struct chance *x, struct world_client *c)
{
    struct group_world *w = x->w;
    struct world_client *other = x->clients[world_random(w, CLIENTS)];
    struct world_client saved = *c;

    if (c->waiting)
        abandon(c);
    switch (world_random(w, 5)) {
    case 0:
        snprintf(c->id, sizeof c->id, "%s", other->id);
        break;
    case 1:
        c->generation += (int32_t)world_random(w, 5) - 2;
        break;
    case 2:
        snprintf(c->instance, sizeof c->instance, "i%u", world_random(w, 12));
        break;
    case 3:
        snprintf(c->protocols, sizeof c->protocols, "%s", one_in(x, 2) ? "" : "roundrobin:t");
        break;
    default:
        snprintf(c->id, sizeof c->id, "stranger");
        break;
    }
    switch (world_random(w, 5)) {
    case 0:
        world_join(w, c);
        break;
    case 1:
        world_sync(w, c);
        break;
    case 2:
        world_heartbeat(w, c);
        break;
    case 3:
        world_leave(w, c);
        break;
    default:
        world_commit_offset(w, c, "t", 0, 1, "");
        break;
    }
    if (c->waiting)
        abandon(c);
    memcpy(c->instance, saved.instance, sizeof c->instance);
    memcpy(c->protocols, saved.protocols, sizeof c->protocols);
}

static void restart(struct chance *x, struct world_client *c)
{
    abandon(c);
    c->id[0] = '\0';
    c->generation = -1;
    if (one_in(x, 2))
        configure(x, c);
}

/* ---- the others ---- */

static void operate(struct chance *x)
{
    struct group_world *w = x->w;
    struct world_client *c = x->clients[world_random(w, CLIENTS)];
    const char *group = any_group(x);

    switch (world_random(w, 9)) {
    case 0:
        world_delete(w, group);
        break;
    case 1:
        world_offset_delete(w, group, "t", (int32_t)world_random(w, 4));
        break;
    case 2:
        world_describe(w, group);
        break;
    case 3:
        world_expire(w, group);
        break;
    case 4:
        world_remove(w, group, c->id, "");
        break;
    case 5:
        world_remove(w, group, "", c->instance[0] ? c->instance : "i0");
        break;
    case 7:
        world_topics_deleted(w, group);
        break;
    case 6:
        group_core_evict(w->core, w->now_ms - world_random(w, 1000), 3);
        break;
    default:
        w->settings.max_size = 3 + (int32_t)world_random(w, 6);
        break;
    }
}

static void pass_time(struct chance *x)
{
    uint32_t most = one_in(x, 50) ? 30000 : one_in(x, 3) ? 3000 : 300;

    world_wait(x->w, world_random(x->w, most));
}

static void check_patience(struct chance *x)
{
    for (const struct world_call *call = x->w->calls; call; call = call->next)
        if (!call->answered && x->w->now_ms - call->asked_ms > PATIENCE_MS)
            world_fail(x->w, "somebody waits for too long");
}

static void event(struct chance *x)
{
    struct group_world *w = x->w;
    struct world_client *c = x->clients[world_random(w, CLIENTS)];
    uint32_t dice = world_random(w, 1000);

    if (dice < 700)
        behave(x, c);
    else if (dice < 725)
        misbehave(x, c);
    else if (dice < 735)
        restart(x, c);
    else if (dice < 880)
        pass_time(x);
    else if (dice < 970)
        world_commit(w, world_random(w, 4));
    else if (dice < 996)
        operate(x);
    else
        world_crash(w);
    check_patience(x);
    if (one_in(x, RELOAD_EVERY))
        world_check_reload(w, any_group(x));
}

/* Everybody goes: all who wait hear of it, and the groups end up empty. */
static void end(struct chance *x)
{
    struct group_world *w = x->w;

    world_commit(w, 0);
    w->hold = false;
    world_wait(w, 3600 * 1000);
    for (const struct world_call *call = w->calls; call; call = call->next)
        if (!call->answered)
            world_fail(w, "somebody still waits");
    for (const struct group *g = w->core->groups; g; g = g->hh.next)
        if (g->type == GROUP_CLASSIC && g->classic->state != CLASSIC_EMPTY)
            world_fail(w, "a group without a sign of life is not empty");
    for (size_t i = 0; i < GROUPS; i++) {
        char name[8];

        snprintf(name, sizeof name, "g%zu", i);
        world_check_reload(w, name);
    }
}

struct summary {
    size_t answers[GROUP_CONSUMER_DESCRIBE + 1][256];
    size_t records;
};

static void run(uint64_t seed, size_t events, struct summary *sum)
{
    static const int32_t delays[] = {0, 100, 3000};
    struct chance x = {.w = world_new(seed)};

    x.w->settings.initial_rebalance_delay_ms = delays[seed % 3];
    x.w->settings.max_size = 6;
    x.w->settings.offsets_retention_ms = 60000;
    x.w->hold = true;
    for (size_t i = 0; i < CLIENTS; i++)
        x.clients[i] = new_client(&x, i);
    for (size_t i = 0; i < events; i++)
        event(&x);
    end(&x);
    sum->records += x.w->record_count;
    for (size_t i = 0; i <= GROUP_CONSUMER_DESCRIBE; i++)
        for (size_t code = 0; code < 256; code++)
            sum->answers[i][code] += x.w->answers[i][code];
    world_free(x.w);
}

static void print_summary(const struct summary *sum)
{
    static const char *const calls[] = {"join",
                                        "sync",
                                        "heartbeat",
                                        "leave",
                                        "commit",
                                        "offset delete",
                                        "describe",
                                        "delete",
                                        "consumer heartbeat",
                                        "consumer describe"};

    for (size_t i = 0; i <= GROUP_CONSUMER_DESCRIBE; i++)
        for (size_t code = 0; code < 256; code++)
            if (sum->answers[i][code])
                printf("%9zu %s %s\n", sum->answers[i][code], calls[i],
                       kerr_name((enum kerr)(int8_t)code));
}

int main(int argc, char **argv)
{
    uint64_t first = argc > 1 ? strtoull(argv[1], NULL, 10) : 1, last = argc > 1 ? first : 30;
    size_t events = argc > 2 ? strtoull(argv[2], NULL, 10) : 10000;
    struct summary sum = {0};

    for (uint64_t seed = first; seed <= last; seed++) {
        fprintf(stderr, "seed %llu\r", (unsigned long long)seed);
        run(seed, events, &sum);
    }
    printf("%llu seeds of %zu events, %zu records\n", (unsigned long long)(last - first + 1),
           events, sum.records);
    print_summary(&sum);
    return 0;
}
