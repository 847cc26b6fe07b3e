/* The consumer protocol (KIP-848): heartbeats say what the member has, answers what it is to have.
 * It gives back what it is not to have any more, says so, and only then others gain it. */

#include <stdio.h>
#include <string.h>

#include "protocol/messages/consumer_group_describe.h"
#include "protocol/messages/consumer_group_heartbeat.h"
#include "tests/sim/sim_group.h"
#include "tests/sim/sim_world.h"

#define HEARTBEAT_VERSION 1
#define DESCRIBE_VERSION  1
#define REBALANCE_MS      4000 /* beyond the session's end: a member that is late has lost that */
#define HEARTBEAT_US      (300 * 1000)
#define JOINS             0
#define LEAVES            (-1)

/* ---- what is whose ---- */

static bool is_told(const struct consumer_group_heartbeat_response_assignment *s, struct uuid topic,
                    int32_t partition)
{
    for (size_t i = 0; i < s->topic_partitions_count; i++)
        for (size_t k = 0; k < s->topic_partitions[i].partitions_count; k++)
            if (uuid_equal(s->topic_partitions[i].topic_id, topic) &&
                s->topic_partitions[i].partitions[k] == partition)
                return true;
    return false;
}

static void take_assignment(struct sim_member *m,
                            const struct consumer_group_heartbeat_response_assignment *s)
{
    for (int32_t i = 0; i < SIM_PARTITIONS_MAX; i++) {
        const bool told = is_told(s, sim_group_topic(m->group)->id, i);

        if (told == m->owns[i])
            continue;
        m->owns[i] = told;
        m->fetched[i] = false;
        m->heartbeat_us = 0; /* it says so at once */
        if (told && sim_member_in_office(m))
            sim_group_gained(m->group, m, i);
        else if (!told)
            sim_group_gave_back(m->group, m, i);
    }
}

static void on_heartbeat(struct sim_answer *a)
{
    const struct consumer_group_heartbeat_response *r = a->message;
    struct sim_member *m = a->context;

    if (!sim_member_answered(m, a))
        return;
    if (r->error_code != KERR_NONE) {
        sim_member_refused(m, "a heartbeat", (enum kerr)r->error_code);
        return;
    }
    if (m->topic_turn != m->group->turn)
        return;
    if (r->member_epoch < m->generation)
        sim_world_fail(m->world, "member %s of group %s is in epoch %d, but was in %d", m->id,
                       m->group->name, r->member_epoch, m->generation);
    m->joined = m->assigned = true;
    m->generation = r->member_epoch;
    if (sim_member_in_office(m))
        sim_group_renewed(m->group, m);
    if (r->assignment)
        take_assignment(m, r->assignment);
    sim_group_saw_epoch(m->group, m);
}

static void send_heartbeat(struct sim_member *m, int32_t epoch)
{
    struct consumer_group_heartbeat_request_topic_partitions owned;
    struct str topic = str_from(sim_group_topic(m->group)->name);
    int32_t partitions[SIM_PARTITIONS_MAX];
    struct consumer_group_heartbeat_request r;

    consumer_group_heartbeat_request_init(&r);
    consumer_group_heartbeat_request_topic_partitions_init(&owned);
    owned.topic_id = sim_group_topic(m->group)->id;
    owned.partitions = partitions;
    for (int32_t i = 0; i < SIM_PARTITIONS_MAX; i++)
        if (m->owns[i])
            partitions[owned.partitions_count++] = i;
    r.group_id = str_from(m->group->name);
    r.member_id = str_from(m->id);
    r.member_epoch = epoch;
    r.rebalance_timeout_ms = REBALANCE_MS;
    r.subscribed_topic_names = &topic;
    r.subscribed_topic_names_count = 1;
    r.topic_partitions = &owned;
    r.topic_partitions_count = owned.partitions_count > 0;
    m->heartbeat_us = m->world->sched.now_us + HEARTBEAT_US;
    sim_member_ask(m, CONSUMER_GROUP_HEARTBEAT_REQUEST_KEY, HEARTBEAT_VERSION, &r, on_heartbeat);
}

static void act(struct sim_member *m)
{
    if (!m->id[0])
        snprintf(m->id, sizeof m->id, "member-%td-%llu", m - m->group->members,
                 (unsigned long long)m->life++);
    if (m->topic_turn != m->group->turn) {
        memset(m->owns, 0, sizeof m->owns);
        m->topic_turn = m->group->turn;
        m->heartbeat_us = 0;
    }
    if (!m->joined) {
        m->generation = JOINS;
        send_heartbeat(m, JOINS);
    } else if (m->world->sched.now_us >= m->heartbeat_us) {
        send_heartbeat(m, m->generation);
    } else if (!sim_member_fetches(m)) {
        (void)sim_member_commits(m);
    }
}

/* ---- leaving ---- */

static void on_left(struct sim_answer *a)
{
    const struct consumer_group_heartbeat_response *r = a->message;
    struct sim_member *m = a->context;

    if (!sim_member_answered(m, a))
        return;
    /* Nobody may have joined yet: then there is no such group. */
    if (r->error_code != KERR_NONE &&
        !(r->error_code == KERR_GROUP_ID_NOT_FOUND && m->group->generation == 0))
        sim_member_refused(m, "the last heartbeat", (enum kerr)r->error_code);
    else
        sim_member_gone(m);
}

static void leave(struct sim_member *m)
{
    struct consumer_group_heartbeat_request r;

    sim_member_lose_all(m); /* it goes on as a new one, if that fails */
    consumer_group_heartbeat_request_init(&r);
    r.group_id = str_from(m->group->name);
    r.member_id = str_from(m->id);
    r.member_epoch = LEAVES;
    sim_member_ask(m, CONSUMER_GROUP_HEARTBEAT_REQUEST_KEY, HEARTBEAT_VERSION, &r, on_left);
}

/* ---- looking on ---- */

static void on_described(struct sim_answer *a)
{
    const struct consumer_group_describe_response *r = a->message;
    struct sim_member *m = a->context;

    if (!sim_member_answered(m, a))
        return;
    if (r->groups_count != 1 || r->groups[0].error_code != KERR_NONE)
        sim_member_refused(m, "ConsumerGroupDescribe",
                           (enum kerr)(r->groups_count == 1 ? r->groups[0].error_code : -1));
    else
        sim_member_saw_state(m, r->groups[0].group_state);
}

static void describe(struct sim_member *m)
{
    struct consumer_group_describe_request r;
    struct str name = str_from(m->group->name);

    consumer_group_describe_request_init(&r);
    r.group_ids = &name;
    r.group_ids_count = 1;
    sim_member_ask(m, CONSUMER_GROUP_DESCRIBE_REQUEST_KEY, DESCRIBE_VERSION, &r, on_described);
}

const struct sim_protocol sim_consumer_protocol = {
    .act = act, .leave = leave, .describe = describe, .by_member = true};
