#include "tests/sim/sim_group.h"

#include <stdio.h>
#include <string.h>

#include "tests/sim/sim_world.h"

struct sim_topic *sim_group_topic(const struct sim_group *g)
{
    return &g->world->checker.topics[g->topic];
}

/* What is acknowledged for a topic counts while the group stays with it. */
static void choose(struct sim_group *g)
{
    const struct sim_checker *k = &g->world->checker;
    const size_t from = k->topic_count ? sim_random_below(&g->random, k->topic_count) : 0;

    g->used = false;
    for (size_t i = 0; i < k->topic_count && !g->used; i++) {
        g->topic = (from + i) % k->topic_count;
        g->used = sim_checker_topic_usable(sim_group_topic(g));
    }
    g->turn++;
    memset(g->acknowledged, 0, sizeof g->acknowledged);
    memset(g->owners, 0, sizeof g->owners);
}

bool sim_group_subscribes(struct sim_group *g)
{
    if (!g->used || !sim_checker_topic_usable(sim_group_topic(g)))
        choose(g);
    return g->used;
}

/* ---- what members are told ---- */

void sim_group_assigned(struct sim_group *g, const struct sim_member *m)
{
    g->assignments++;
    if (m->generation > g->generation) {
        g->generation = m->generation;
        memset(g->owners, 0, sizeof g->owners);
    }
    if (m->generation < g->generation || m->topic_turn != g->turn)
        return;
    for (int32_t i = 0; i < SIM_PARTITIONS_MAX; i++) {
        if (!m->owns[i])
            continue;
        if (g->owners[i] && (g->owners[i] != m || g->owner_lives[i] != m->life))
            sim_world_fail(g->world, "%s-%d is of two members of group %s in generation %d",
                           sim_group_topic(g)->name, i, g->name, m->generation);
        g->owners[i] = m;
        g->owner_lives[i] = m->life;
    }
}

/* Not before that, when the coordinator has heard what was asked last; it counts whole
 * milliseconds. */
static int64_t session_end_us(const struct sim_member *m)
{
    return m->asked_us + (SIM_GROUP_SESSION_MS - 1) * 1000;
}

void sim_group_gained(struct sim_group *g, const struct sim_member *m, int32_t partition)
{
    const bool other =
        g->owners[partition] && (g->owners[partition] != m || g->owner_lives[partition] != m->life);
    const int64_t until_us = session_end_us(m);

    if (m->topic_turn != g->turn)
        return;
    if (g->world->sched.now_us >= until_us)
        return; /* an answer that late may be to a member that nobody knows any more */
    g->assignments++;
    sim_trace_say(&g->world->trace, "member %s of group %s gains %s-%d in epoch %d", m->id, g->name,
                  sim_group_topic(g)->name, partition, m->generation);
    if (other && g->world->sched.now_us < g->owned_until_us[partition])
        sim_world_fail(g->world, "%s-%d is of two members of group %s in epoch %d",
                       sim_group_topic(g)->name, partition, g->name, m->generation);
    g->owners[partition] = m;
    g->owner_lives[partition] = m->life;
    g->owned_until_us[partition] = until_us;
}

static bool is_owner(const struct sim_group *g, const struct sim_member *m, int32_t partition)
{
    return g->owners[partition] == m && g->owner_lives[partition] == m->life;
}

void sim_group_gave_back(struct sim_group *g, const struct sim_member *m, int32_t partition)
{
    if (is_owner(g, m, partition))
        g->owners[partition] = NULL;
}

void sim_group_renewed(struct sim_group *g, const struct sim_member *m)
{
    for (int32_t i = 0; i < SIM_PARTITIONS_MAX; i++)
        if (is_owner(g, m, i))
            g->owned_until_us[i] = session_end_us(m);
}

void sim_group_saw_epoch(struct sim_group *g, const struct sim_member *m)
{
    if (m->generation > g->generation)
        g->generation = m->generation;
}

void sim_group_saw_generation(struct sim_group *g, const struct sim_member *m, const char *where)
{
    if (m->generation < m->asked_generation)
        sim_world_fail(g->world, "group %s is in generation %d by %s, but was in %d before",
                       g->name, m->generation, where, m->asked_generation);
}

void sim_group_committed(struct sim_group *g, const struct sim_member *m, int32_t partition,
                         int64_t offset)
{
    if (!m->protocol->by_member)
        sim_group_saw_generation(g, m, "a commit");
    if (m->topic_turn == g->turn && offset > g->acknowledged[partition])
        g->acknowledged[partition] = offset;
    g->commits++;
}

void sim_group_saw_offset(struct sim_group *g, int32_t partition, int64_t offset, int64_t floor,
                          bool must)
{
    if (offset > g->sent[partition] || (must && offset < floor))
        sim_world_fail(
            g->world,
            "group %s has committed %lld of %s-%d, but up to %lld was sent, and %lld acknowledged",
            g->name, (long long)offset, sim_group_topic(g)->name, partition,
            (long long)g->sent[partition], (long long)floor);
}

/* ---- in the end ---- */

static bool has_read(const struct sim_member *m)
{
    for (int32_t i = 0; i < SIM_PARTITIONS_MAX; i++)
        if (m->owns[i] && !m->fetched[i])
            return false;
    return true;
}

static size_t owner_count(const struct sim_group *g, int32_t partition)
{
    size_t count = 0;

    for (size_t i = 0; i < SIM_GROUP_MEMBERS; i++)
        count += g->members[i].owns[partition];
    return count;
}

bool sim_group_settled(struct sim_group *g, char *why, size_t size)
{
    if (!sim_group_subscribes(g))
        return true;
    for (size_t i = 0; i < SIM_GROUP_MEMBERS; i++) {
        const struct sim_member *m = &g->members[i];

        if (!m->assigned || m->generation != g->generation || m->topic_turn != g->turn ||
            !has_read(m)) {
            snprintf(why, size, "member %zu of group %s %s generation %d of %d", i, g->name,
                     m->assigned ? "is assigned in"
                     : m->joined ? "waits for its assignment in"
                                 : "has not joined after",
                     m->generation, g->generation);
            return false;
        }
    }
    for (int32_t i = 0; i < sim_group_topic(g)->partition_count; i++) {
        if (owner_count(g, i) == 1)
            continue;
        snprintf(why, size, "%s-%d is of %zu members of group %s", sim_group_topic(g)->name, i,
                 owner_count(g, i), g->name);
        return false;
    }
    return true;
}

bool sim_group_proved(const struct sim_group *g)
{
    for (size_t i = 0; i < SIM_GROUP_MEMBERS; i++)
        if (g->used && !(g->members[i].assigned && has_read(&g->members[i])))
            return false;
    return true;
}

bool sim_group_over(const struct sim_group *g)
{
    return g->empty || g->generation == 0;
}

/* ---- life ---- */

void sim_group_init(struct sim_group *g, struct sim_world *w, size_t number)
{
    *g = (struct sim_group){.world = w, .random = sim_random_split(w->seed, 600 + number)};
    snprintf(g->name, sizeof g->name, "m%zu", number);
    for (size_t i = 0; i < SIM_GROUP_MEMBERS; i++)
        sim_member_init(&g->members[i], g,
                        number % 2 ? &sim_consumer_protocol : &sim_classic_protocol,
                        number * SIM_GROUP_MEMBERS + i);
}

void sim_group_set(struct sim_group *g, enum sim_member_task task)
{
    for (size_t i = 0; i < SIM_GROUP_MEMBERS; i++)
        sim_member_set(&g->members[i], task);
}

void sim_group_free(struct sim_group *g)
{
    for (size_t i = 0; i < SIM_GROUP_MEMBERS; i++)
        sim_member_free(&g->members[i]);
}
