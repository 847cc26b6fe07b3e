/* Chance at consumer groups: members of the new protocol and classic ones in the same groups, which
 * are turned from one protocol to the other as they come and go; expressions resolved late or
 * never, topics that come, grow and go, answers that are lost, requests that make no sense, commits
 * that lag, coordinators that move with what is not committed lost.
 *
 * After every step the invariants of group_members_check.c hold, and no partition is worked on by
 * two clients that the coordinator knows; now and then a core made of the records is compared with
 * the live one. In the end all that are still there have settled on all partitions, and then,
 * silent, are gone.
 *
 *     group_consumer_random_test [SEED [EVENTS]]      a failure prints its seed; STORY=1 tells what
 *                                                     happens */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "broker/coordinator/group_classic.h"
#include "broker/coordinator/group_consumer.h"
#include "tests/unit/broker/coordinator/group_members.h"

enum { GROUPS = 3, MEMBERS = 15, CLIENTS = 9, TOPICS = 5, RELOAD_EVERY = 16, ROUNDS = 120 };

static const char *const topic_names[TOPICS] = {"t", "u", "ta", "tb", "x"};

struct chance {
    struct group_world *w;
    struct group_members members;
    struct world_client *clients[CLIENTS];
    unsigned incarnations;
    enum tide { BOTH, NEW_ONLY, CLASSIC_ONLY, TIDES } tide; /* who stays; the others leave */
};

static uint32_t any(struct chance *x, uint32_t below)
{
    return world_random(x->w, below);
}

static bool one_in(struct chance *x, uint32_t n)
{
    return any(x, n) == 0;
}

/* ---- members of the new protocol ---- */

static void subscribe(struct chance *x, struct group_member *m)
{
    static const char *const topics[] = {"t", "t+u", "u+ta", "tb", "t+u+ta+tb+x", "none", "-", ""};
    static const char *const regexes[] = {"-", "-", "-", "t.*", "[ux]", "t|ta", "nothing"};

    snprintf(m->topics, sizeof m->topics, "%s", topics[any(x, 8)]);
    snprintf(m->regex, sizeof m->regex, "%s", regexes[any(x, 7)]);
    if (strcmp(m->topics, "-") == 0 && strcmp(m->regex, "-") == 0)
        snprintf(m->topics, sizeof m->topics, "t");
    snprintf(m->assignor, sizeof m->assignor, "%s",
             one_in(x, 4)   ? "range"
             : one_in(x, 2) ? "uniform"
                            : "");
    m->full = true;
}

static void new_member(struct chance *x, size_t i)
{
    char name[16];
    struct group_member *m;

    snprintf(name, sizeof name, "m%zu", i);
    m = group_member(&x->members, name);
    snprintf(m->group, sizeof m->group, "g%zu", i % GROUPS);
    if (i % 3 == 0)
        /* some share one, with classic ones too */
        snprintf(m->instance, sizeof m->instance, "i%zu", i / 3 % 3);
    m->rebalance_ms = 2000 + (int32_t)any(x, 10000);
    subscribe(x, m);
}

static void restart(struct chance *x, struct group_member *m)
{
    m->call = NULL;
    m->waiting = false;
    m->epoch = 0;
    m->full = true;
    m->owned.count = m->assigned.count = 0;
    if (one_in(x, 2))
        snprintf(m->id, sizeof m->id, "m%zu-%u", (size_t)(m - x->members.all), ++x->incarnations);
    subscribe(x, m);
}

static void behave_member(struct chance *x, struct group_member *m)
{
    if (m->waiting)
        return;
    if (m->code == KERR_UNRELEASED_INSTANCE_ID || m->code == KERR_FENCED_INSTANCE_ID)
        m->instance[1] = (char)('0' + any(x, 6));
    if (m->epoch <= 0 && (x->tide == CLASSIC_ONLY || !one_in(x, 3)))
        return; /* stays away for a while */
    if (m->epoch > 0 && one_in(x, x->tide == CLASSIC_ONLY ? 3 : 40)) {
        member_leaves(&x->members, m, m->instance[0] && one_in(x, 2) ? -2 : -1);
        return;
    }
    if (one_in(x, 30))
        subscribe(x, m);
    m->lazy = one_in(x, 4);
    if (!m->lazy || one_in(x, 3))
        member_gives_back(m);
    x->members.lose = one_in(x, 25);
    if (m->epoch > 0 && one_in(x, 5) && m->owned.count) {
        const struct metadata_topic *t =
            metadata_image_topic_by_id(x->w->images.image, m->owned.items[0].topic);

        member_commits(&x->members, m, m->epoch - (int32_t)any(x, 2), t ? t->name.data : "gone",
                       m->owned.items[0].partition);
    } else {
        member_heartbeat(&x->members, m);
    }
    x->members.lose = false;
}

static void misbehave(struct chance *x, struct group_member *m)
{
    struct group_member saved = *m, *other = &x->members.all[any(x, MEMBERS)];

    if (m->waiting)
        return;
    switch (any(x, 5)) {
    case 0:
        snprintf(m->id, sizeof m->id, "stranger");
        break;
    case 1:
        m->epoch += (int32_t)any(x, 5) - 2;
        break;
    case 2:
        snprintf(m->regex, sizeof m->regex, "((");
        m->full = true;
        break;
    case 3:
        snprintf(m->assignor, sizeof m->assignor, "sticky");
        m->full = true;
        break;
    default:
        m->owned = other->owned;
        break;
    }
    x->members.lose = true; /* nobody hears the answer */
    if (one_in(x, 3))
        member_leaves(&x->members, m, one_in(x, 2) ? -1 : -3);
    else
        member_heartbeat(&x->members, m);
    x->members.lose = false;
    *m = saved;
    restart(x, m); /* whatever that did, it begins again */
}

/* ---- classic members ---- */

static void configure(struct chance *x, struct world_client *c)
{
    static const char *const protocols[] = {"range:t", "range:t+u", "range:ta,sticky:ta",
                                            "sticky:u,range:u", "range:t+u+x"};

    snprintf(c->protocols, sizeof c->protocols, "%s", protocols[any(x, 5)]);
    c->session_ms = 6000 + (int32_t)any(x, 20000);
    c->rebalance_ms = 1000 + (int32_t)any(x, 6000);
    c->old = one_in(x, 3);
}

static void new_client(struct chance *x, size_t i)
{
    char name[16];
    struct world_client *c;

    snprintf(name, sizeof name, "c%zu", i);
    c = x->clients[i] = world_client(x->w, name);
    snprintf(c->group, sizeof c->group, "g%zu", i % GROUPS);
    if (i % 3 == 0)
        snprintf(c->instance, sizeof c->instance, "i%zu", i / 3 % 3);
    configure(x, c);
}

static void abandon(struct world_client *c)
{
    if (c->waiting)
        c->waiting->client = NULL;
    c->waiting = NULL;
}

static void behave_client(struct chance *x, struct world_client *c)
{
    enum kerr code = c->last ? c->last->caller.code : KERR_UNKNOWN_MEMBER_ID;

    if (c->waiting)
        return;
    if (code == KERR_UNKNOWN_MEMBER_ID || code == KERR_FENCED_INSTANCE_ID ||
        code == KERR_INCONSISTENT_GROUP_PROTOCOL) {
        c->id[0] = '\0';
        configure(x, c);
        if (!one_in(x, 4))
            return;
    }
    if ((!c->id[0] || c->last->caller.call == GROUP_LEAVE) && x->tide == NEW_ONLY)
        return;
    if (!c->id[0] || code || c->last->caller.call == GROUP_LEAVE)
        world_join(x->w, c);
    else if (c->last->caller.call == GROUP_JOIN)
        world_sync(x->w, c);
    else if (one_in(x, x->tide == NEW_ONLY ? 3 : 25))
        world_leave(x->w, c);
    else if (one_in(x, 30))
        world_join(x->w, c);
    else if (one_in(x, 6))
        world_commit_offset(x->w, c, "t", 0, 1, "");
    else
        world_heartbeat(x->w, c);
}

/* ---- the others ---- */

static void change_topics(struct chance *x)
{
    struct image_world *i = &x->w->images;
    const char *name = topic_names[any(x, TOPICS)];
    const struct metadata_topic *t = metadata_image_topic(i->image, str_from(name));

    if (!t)
        image_world_topic(i, name, 1 + (int32_t)any(x, 6));
    else if (one_in(x, 2) || t->partition_count > 12)
        image_world_remove_topic(i, name);
    else
        image_world_grow(i, name, (int32_t)t->partition_count + 1 + (int32_t)any(x, 3));
    world_new_image(x->w);
}

static void operate(struct chance *x)
{
    struct group_world *w = x->w;
    char group[8], instance[8];

    snprintf(group, sizeof group, "g%u", any(x, GROUPS));
    snprintf(instance, sizeof instance, "i%u", any(x, 6));
    switch (any(x, 11)) {
    case 0:
        world_delete(w, group);
        break;
    case 1:
        world_expire(w, group);
        break;
    case 9:
        world_topics_deleted(w, group);
        break;
    case 2:
        world_remove(w, group, x->members.all[any(x, MEMBERS)].id, "");
        break;
    case 3:
        world_remove(w, group, "", instance);
        break;
    case 4:
        group_core_evict(w->core, w->now_ms - any(x, 1000), 3);
        break;
    case 5:
        w->settings.upgrade = !one_in(x, 4);
        break;
    case 6:
        w->settings.downgrade = !one_in(x, 4);
        break;
    case 7:
        w->settings.consumer_max_size = 4 + (int32_t)any(x, 8);
        break;
    case 8:
        w->config.consumer_assignment_interval_ms = one_in(x, 2) ? 1000 : 0;
        break;
    default:
        world_offset_delete(w, group, "t", 0);
        break;
    }
}

/* ---- what clients see ---- */

static bool in_parts(const struct member_parts *s, const struct member_part *p)
{
    for (size_t i = 0; i < s->count; i++)
        if (uuid_equal(s->items[i].topic, p->topic) && s->items[i].partition == p->partition)
            return true;
    return false;
}

/* The member of that name in the group now, if it is the one that this client is. */
static const struct consumer_member *known(struct chance *x, const struct group_member *m)
{
    const struct group *g = group_find(x->w->core, str_from(m->group));
    const struct consumer_member *is;

    if (!g || g->type != GROUP_CONSUMER || m->epoch <= 0)
        return NULL;
    is = consumer_member_find(g->consumer, str_from(m->id));
    return is && (is->epoch == m->epoch || is->previous_epoch == m->epoch) ? is : NULL;
}

static void nobody_works_on_the_same(struct chance *x)
{
    for (size_t a = 0; a < x->members.count; a++) {
        const struct group_member *m = &x->members.all[a];

        if (!known(x, m))
            continue;
        for (size_t b = a + 1; b < x->members.count; b++) {
            const struct group_member *o = &x->members.all[b];

            if (strcmp(m->group, o->group) != 0 || strcmp(m->id, o->id) == 0 || !known(x, o))
                continue;
            for (size_t i = 0; i < m->owned.count; i++)
                if (in_parts(&o->owned, &m->owned.items[i]))
                    world_fail(x->w, "two clients work on a partition");
        }
    }
}

static void event(struct chance *x)
{
    uint32_t dice = any(x, 1000);
    char group[8];

    if (dice < 430)
        behave_member(x, &x->members.all[any(x, MEMBERS)]);
    else if (dice < 640)
        behave_client(x, x->clients[any(x, CLIENTS)]);
    else if (dice < 660)
        misbehave(x, &x->members.all[any(x, MEMBERS)]);
    else if (dice < 670)
        restart(x, &x->members.all[any(x, MEMBERS)]);
    else if (dice < 675)
        abandon(x->clients[any(x, CLIENTS)]);
    else if (dice < 800)
        world_wait(x->w, any(x, one_in(x, 60) ? 30000 : one_in(x, 3) ? 2000 : 200));
    else if (dice < 930)
        world_commit(x->w, any(x, 4));
    else if (dice < 950)
        world_resolve_regex(&x->members);
    else if (dice < 965)
        change_topics(x);
    else if (dice < 994)
        operate(x);
    else
        world_crash(x->w);
    nobody_works_on_the_same(x);
    if (one_in(x, RELOAD_EVERY)) {
        snprintf(group, sizeof group, "g%u", any(x, GROUPS));
        world_check_reload(x->w, group);
    }
}

/* ---- the end ---- */

static void calm_round(struct chance *x)
{
    for (size_t i = 0; i < MEMBERS; i++) {
        struct group_member *m = &x->members.all[i];

        if (m->epoch <= 0)
            continue;
        member_gives_back(m);
        member_heartbeat(&x->members, m);
    }
    for (size_t i = 0; i < CLIENTS; i++) {
        struct world_client *c = x->clients[i];

        if (c->waiting || !c->id[0] || !c->last || c->last->caller.code == KERR_UNKNOWN_MEMBER_ID ||
            c->last->caller.call == GROUP_LEAVE)
            continue;
        if (c->last->caller.code)
            world_join(x->w, c);
        else if (c->last->caller.call != GROUP_JOIN)
            world_heartbeat(x->w, c);
        /* At once, as clients do: they have as little as a second for it. */
        if (!c->waiting && c->last->caller.call == GROUP_JOIN && !c->last->caller.code)
            world_sync(x->w, c);
    }
    while (world_resolve_regex(&x->members))
        ;
    world_wait(x->w, 1000);
}

static void settled(struct chance *x)
{
    struct group_world *w = x->w;

    for (const struct group *g = w->core->groups; g; g = g->hh.next)
        if (g->type == GROUP_CONSUMER && g->consumer->members &&
            !str_equal(consumer_group_state(g), STR("Stable")))
            world_fail(w, "a group whose members all heartbeat is not stable");
    for (size_t i = 0; i < MEMBERS; i++) {
        const struct group_member *m = &x->members.all[i];
        const struct consumer_member *is = known(x, m);

        if (m->epoch > 0 && !is)
            world_fail(w, "a member that heartbeats is neither assigned nor fenced");
        if (is && is->target.count != m->owned.count)
            world_fail(w, "a member does not have what it shall have");
    }
}

static void end(struct chance *x)
{
    struct group_world *w = x->w;
    char group[8];

    world_commit(w, 0);
    w->hold = false;
    w->config.consumer_assignment_interval_ms = 0;
    for (size_t i = 0; i < MEMBERS; i++) {
        x->members.all[i].waiting = false;
        x->members.all[i].lazy = false;
    }
    for (int round = 0; round < ROUNDS; round++)
        calm_round(x);
    settled(x);
    for (size_t i = 0; i < GROUPS; i++) {
        snprintf(group, sizeof group, "g%zu", i);
        world_need(w, group); /* sessions end only in groups that are loaded */
    }
    world_wait(w, 3600 * 1000);
    for (const struct group *g = w->core->groups; g; g = g->hh.next)
        if (g->type == GROUP_CONSUMER && g->consumer->members)
            world_fail(w, "a group without a sign of life is not empty");
    for (size_t i = 0; i < GROUPS; i++) {
        snprintf(group, sizeof group, "g%zu", i);
        world_check_reload(w, group);
        if (world_delete(w, group)->caller.code == KERR_NON_EMPTY_GROUP)
            world_fail(w, "an empty group cannot be deleted");
    }
}

struct summary {
    size_t answers[GROUP_CONSUMER_DESCRIBE + 1][256];
    size_t records, upgrades, downgrades;
};

static struct summary sum;

static void count_records(struct group_world *w, const struct group_record *r)
{
    const struct group *g = group_find(w->core, group_record_group(r));

    if (r->type == GROUP_RECORD_GROUP_METADATA && r->tombstone && g->type == GROUP_CONSUMER &&
        g->consumer->classic_count)
        sum.upgrades++;
    if (r->type == GROUP_RECORD_GROUP_METADATA && !r->tombstone && g->type == GROUP_CLASSIC &&
        w->fx.records[0].type != GROUP_RECORD_GROUP_METADATA)
        sum.downgrades++;
}

static void run(uint64_t seed, size_t events)
{
    struct chance x = {.w = world_new(seed)};

    group_members_init(&x.members, x.w);
    classic_assigns(&x.members, (struct classic_assignor){0});
    x.w->settings.initial_rebalance_delay_ms = seed % 2 ? 0 : 100;
    x.w->settings.offsets_retention_ms = 60000;
    x.w->on_record = count_records;
    x.w->story = getenv("STORY") ? stderr : NULL;
    x.w->hold = true;
    for (size_t i = 0; i < TOPICS - 1; i++)
        image_world_topic(&x.w->images, topic_names[i], 1 + (int32_t)i * 2);
    world_new_image(x.w);
    for (size_t i = 0; i < MEMBERS; i++)
        new_member(&x, i);
    for (size_t i = 0; i < CLIENTS; i++)
        new_client(&x, i);
    for (size_t i = 0; i < events; i++) {
        if (one_in(&x, 300))
            x.tide = (enum tide)any(&x, TIDES);
        event(&x);
    }
    end(&x);
    sum.records += x.w->record_count;
    for (size_t i = 0; i <= GROUP_CONSUMER_DESCRIBE; i++)
        for (size_t code = 0; code < 256; code++)
            sum.answers[i][code] += x.w->answers[i][code];
    world_free(x.w);
}

static void print_summary(void)
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
            if (sum.answers[i][code])
                printf("%9zu %s %s\n", sum.answers[i][code], calls[i],
                       kerr_name(code == 255 ? KERR_UNKNOWN_SERVER_ERROR : (enum kerr)code));
}

int main(int argc, char **argv)
{
    uint64_t first = argc > 1 ? strtoull(argv[1], NULL, 10) : 1, last = argc > 1 ? first : 30;
    size_t events = argc > 2 ? strtoull(argv[2], NULL, 10) : 10000;

    for (uint64_t seed = first; seed <= last; seed++) {
        fprintf(stderr, "seed %llu\r", (unsigned long long)seed);
        run(seed, events);
    }
    printf(
        "%llu seeds of %zu events, %zu records, %zu groups turned to the new protocol, %zu back\n",
        (unsigned long long)(last - first + 1), events, sum.records, sum.upgrades, sum.downgrades);
    print_summary();
    return 0;
}
