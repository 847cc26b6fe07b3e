#include "tests/sim/sim_member.h"

#include <stdio.h>
#include <string.h>

#include "protocol/messages/find_coordinator.h"
#include "protocol/messages/offset_commit.h"
#include "protocol/messages/offset_fetch.h"
#include "tests/sim/sim_coordinator.h"
#include "tests/sim/sim_group.h"
#include "tests/sim/sim_world.h"

#define RETRY_US         30000
#define TICK_US_MAX      150000
#define PATIENCE_US      (5 * 1000 * 1000) /* then it breaks the connection */
#define SILENCE_US_MAX   (4 * 1000 * 1000) /* beyond the session's end, too */
#define PRESENT_US_MAX   (8 * 1000 * 1000)
#define ABSENT_US_MAX    (2 * 1000 * 1000)
#define COMMIT_US_MAX    (600 * 1000)
#define BACKOFF_US       (100 * 1000)
#define FIND_VERSION     4
#define BY_NAME          9
#define STUBBORN_PERCENT 30 /* how often it asks the coordinator again that it knew */

/* ---- requests ---- */

void sim_member_ask(struct sim_member *m, int16_t key, int16_t version, const void *message,
                    sim_answered *answered)
{
    m->waiting = true;
    m->asked_us = m->world->sched.now_us;
    m->patience_us = PATIENCE_US;
    m->asked_generation = m->group->generation;
    m->asked_in_epoch = sim_coordinator_epoch(m->world, str_from(m->group->name), m->coordinator);
    sim_connection_send(m->connection, key, version, message, answered, m, PATIENCE_US);
}

bool sim_member_answered(struct sim_member *m, const struct sim_answer *a)
{
    m->waiting = false;
    if (!a->message && !sim_random_chance(&m->random, STUBBORN_PERCENT))
        m->coordinator = -1;
    return a->message != NULL;
}

bool sim_member_in_office(const struct sim_member *m)
{
    return m->asked_in_epoch >= 0 &&
           m->asked_in_epoch ==
               sim_coordinator_epoch(m->world, str_from(m->group->name), m->coordinator);
}

void sim_member_lose_all(struct sim_member *m)
{
    m->joined = m->assigned = false;
    m->peer_count = 0;
    for (int32_t i = 0; i < SIM_PARTITIONS_MAX && m->protocol->by_member; i++)
        sim_group_gave_back(m->group, m, i);
    memset(m->owns, 0, sizeof m->owns);
    memset(m->fetched, 0, sizeof m->fetched);
}

/* ---- errors ---- */

static void look_for_coordinator(struct sim_member *m)
{
    if (sim_random_chance(&m->random, STUBBORN_PERCENT))
        return;
    m->coordinator = -1;
    if (m->connection->up)
        sim_connection_close(m->connection);
}

static void forget_id(struct sim_member *m)
{
    sim_member_lose_all(m);
    m->id[0] = '\0';
}

/* Its next heartbeat tells its epoch. */
static void ask_again(struct sim_member *m)
{
    m->heartbeat_us = 0;
}

static void wait_a_little(struct sim_member *m)
{
    m->not_before_us = m->world->sched.now_us + BACKOFF_US;
}

/* What a client does about each; others are nobody's fault only where disks fail. */
static const struct reaction {
    enum kerr code;
    void (*react)(struct sim_member *m);
} reactions[] = {
    {KERR_NOT_COORDINATOR, look_for_coordinator},
    {KERR_COORDINATOR_NOT_AVAILABLE, look_for_coordinator},
    {KERR_COORDINATOR_LOAD_IN_PROGRESS, wait_a_little},
    {KERR_REQUEST_TIMED_OUT, wait_a_little},
    {KERR_UNKNOWN_TOPIC_OR_PARTITION, wait_a_little}, /* of a node whose metadata is old */
    {KERR_REBALANCE_IN_PROGRESS, sim_member_lose_all},
    {KERR_ILLEGAL_GENERATION, sim_member_lose_all},
    {KERR_FENCED_MEMBER_EPOCH, sim_member_lose_all},
    {KERR_STALE_MEMBER_EPOCH, ask_again},
    {KERR_UNKNOWN_MEMBER_ID, forget_id},
};

void sim_member_refused(struct sim_member *m, const char *what, enum kerr code)
{
    sim_trace_say(&m->world->trace, "%s of member %s of group %s is refused: %s", what, m->id,
                  m->group->name, kerr_name(code));
    wait_a_little(m);
    for (size_t i = 0; i < sizeof reactions / sizeof reactions[0]; i++) {
        if (reactions[i].code == code) {
            reactions[i].react(m);
            return;
        }
    }
    if (!m->world->may_fail)
        sim_world_fail(m->world, "%s of group %s was answered with %s", what, m->group->name,
                       kerr_name(code));
    forget_id(m);
}

/* ---- the coordinator ---- */

static void on_found(struct sim_answer *a)
{
    const struct find_coordinator_response *r = a->message;
    struct sim_member *m = a->context;

    if (!sim_member_answered(m, a))
        return;
    if (r->coordinators_count != 1 || r->coordinators[0].error_code != KERR_NONE) {
        sim_member_refused(
            m, "the coordinator",
            (enum kerr)(r->coordinators_count == 1 ? r->coordinators[0].error_code : -1));
        return;
    }
    m->coordinator = r->coordinators[0].node_id;
    sim_connection_close(m->connection);
}

static void find(struct sim_member *m)
{
    struct find_coordinator_request r;
    struct str key = str_from(m->group->name);

    find_coordinator_request_init(&r);
    r.coordinator_keys = &key;
    r.coordinator_keys_count = 1;
    sim_member_ask(m, FIND_COORDINATOR_REQUEST_KEY, FIND_VERSION, &r, on_found);
}

/* ---- offsets ---- */

static void on_committed(struct sim_answer *a)
{
    const struct offset_commit_response *r = a->message;
    struct sim_member *m = a->context;

    if (!sim_member_answered(m, a))
        return;
    for (size_t i = 0; i < r->topics[0].partitions_count; i++) {
        const struct offset_commit_response_partition *p = &r->topics[0].partitions[i];

        if (p->error_code != KERR_NONE) {
            sim_member_refused(m, "a commit", (enum kerr)p->error_code);
            return;
        }
        sim_group_committed(m->group, m, p->partition_index, m->asked_offsets[p->partition_index]);
    }
}

bool sim_member_commits(struct sim_member *m)
{
    struct offset_commit_request_partition partitions[SIM_PARTITIONS_MAX];
    struct offset_commit_request_topic topic;
    struct offset_commit_request r;

    if (m->task != SIM_MEMBER_WORK || m->world->sched.now_us < m->commit_us ||
        m->topic_turn != m->group->turn)
        return false;
    m->commit_us = m->world->sched.now_us + (int64_t)sim_random_below(&m->random, COMMIT_US_MAX);
    offset_commit_request_init(&r);
    offset_commit_request_topic_init(&topic);
    topic.partitions = partitions;
    for (int32_t i = 0; i < SIM_PARTITIONS_MAX; i++) {
        struct offset_commit_request_partition *p = &partitions[topic.partitions_count];

        if (!m->owns[i])
            continue;
        offset_commit_request_partition_init(p);
        p->partition_index = i;
        p->committed_offset = m->asked_offsets[i] = ++m->group->sent[i];
        topic.partitions_count++;
    }
    if (!topic.partitions_count)
        return false;
    topic.name = str_from(sim_group_topic(m->group)->name);
    r.group_id = str_from(m->group->name);
    r.member_id = str_from(m->id);
    r.generation_id_or_member_epoch = m->generation;
    r.topics = &topic;
    r.topics_count = 1;
    sim_member_ask(m, OFFSET_COMMIT_REQUEST_KEY, BY_NAME, &r, on_committed);
    return true;
}

static void on_fetched(struct sim_answer *a)
{
    const struct offset_fetch_response *r = a->message;
    struct sim_member *m = a->context;
    const struct offset_fetch_response_group *group;

    if (!sim_member_answered(m, a))
        return;
    group = r->groups_count == 1 ? &r->groups[0] : NULL;
    if (!group || group->error_code != KERR_NONE) {
        sim_member_refused(m, "offsets", (enum kerr)(group ? group->error_code : -1));
        return;
    }
    if (m->topic_turn != m->group->turn)
        return;
    for (size_t i = 0; i < group->topics[0].partitions_count; i++) {
        const struct offset_fetch_response_partitions *p = &group->topics[0].partitions[i];

        if (p->error_code != KERR_NONE) {
            sim_member_refused(m, "an offset", (enum kerr)p->error_code);
            return;
        }
        if (sim_checker_topic_usable(sim_group_topic(m->group)))
            sim_group_saw_offset(m->group, p->partition_index, p->committed_offset,
                                 m->asked_offsets[p->partition_index],
                                 m->asked_offsets[p->partition_index] > 0 &&
                                     (m->task == SIM_MEMBER_PROVE || sim_member_in_office(m)));
        m->fetched[p->partition_index] = true;
    }
}

bool sim_member_fetches(struct sim_member *m)
{
    int32_t partitions[SIM_PARTITIONS_MAX];
    struct offset_fetch_request_topics topic;
    struct offset_fetch_request_group group;
    struct offset_fetch_request r;

    offset_fetch_request_init(&r);
    offset_fetch_request_group_init(&group);
    offset_fetch_request_topics_init(&topic);
    topic.partition_indexes = partitions;
    for (int32_t i = 0; i < SIM_PARTITIONS_MAX; i++) {
        if (!m->owns[i] || m->fetched[i])
            continue;
        partitions[topic.partition_indexes_count++] = i;
        m->asked_offsets[i] = m->group->acknowledged[i];
    }
    if (!topic.partition_indexes_count)
        return false;
    topic.name = str_from(sim_group_topic(m->group)->name);
    group.group_id = str_from(m->group->name);
    if (m->protocol->by_member) {
        group.member_id = str_from(m->id);
        group.member_epoch = m->generation;
    }
    group.topics = &topic;
    group.topics_count = 1;
    r.groups = &group;
    r.groups_count = 1;
    sim_member_ask(m, OFFSET_FETCH_REQUEST_KEY, BY_NAME, &r, on_fetched);
    return true;
}

/* ---- coming and going ---- */

static void come(struct sim_member *m)
{
    m->present = true;
    m->leaving = false;
    m->life++;
    m->id[0] = '\0';
    m->generation = -1;
    sim_member_lose_all(m);
    m->turn_us = m->world->sched.now_us + (int64_t)sim_random_below(&m->random, PRESENT_US_MAX);
    sim_trace_say(&m->world->trace, "a member comes to group %s", m->group->name);
}

void sim_member_gone(struct sim_member *m)
{
    m->present = m->leaving = false;
    sim_member_lose_all(m);
    m->turn_us = m->world->sched.now_us + (int64_t)sim_random_below(&m->random, ABSENT_US_MAX);
    if (m->connection && m->connection->up)
        sim_connection_close(m->connection);
    sim_trace_say(&m->world->trace, "member %s of group %s has gone", m->id, m->group->name);
}

static void go(struct sim_member *m)
{
    if (m->id[0] && sim_random_chance(&m->random, 50))
        m->leaving = true;
    else
        sim_member_gone(m);
}

static void fall_silent(struct sim_member *m)
{
    m->not_before_us =
        m->world->sched.now_us + (int64_t)sim_random_below(&m->random, SILENCE_US_MAX);
    m->turn_us = m->not_before_us + (int64_t)sim_random_below(&m->random, PRESENT_US_MAX);
}

static void turn(struct sim_member *m)
{
    const bool due = m->world->sched.now_us >= m->turn_us;

    if (m->task == SIM_MEMBER_GO) {
        if (m->present && !m->leaving)
            go(m);
    } else if (!m->present) {
        if (m->task == SIM_MEMBER_SETTLE || (m->task == SIM_MEMBER_WORK && due))
            come(m);
    } else if (m->task == SIM_MEMBER_WORK && due && !m->leaving) {
        (sim_random_chance(&m->random, 40) ? fall_silent : go)(m);
    }
}

/* ---- what next ---- */

static bool connect(struct sim_member *m)
{
    struct sim_world *w = m->world;
    const unsigned any = (unsigned)sim_random_below(&m->random, w->machine_count);

    if (!m->connection || !m->connection->up)
        m->connection = sim_world_connect_to(
            w, m->coordinator > 0 ? (unsigned)m->coordinator - 1 : any, &m->random);
    if (!m->connection)
        m->coordinator = -1;
    return m->connection != NULL;
}

void sim_member_saw_state(struct sim_member *m, struct str state)
{
    m->group->empty = str_compare(state, STR("Empty")) == 0;
}

static void act(struct sim_member *m)
{
    const bool watches = m->task == SIM_MEMBER_GO && !m->present && !sim_group_over(m->group);
    const bool works = m->present && (m->leaving || sim_group_subscribes(m->group));

    if (!(watches || works) || !connect(m))
        return;
    if (m->coordinator < 0)
        find(m);
    else if (watches)
        m->protocol->describe(m);
    else if (m->leaving && !m->id[0])
        sim_member_gone(m); /* nobody knows it any more */
    else if (m->leaving)
        m->protocol->leave(m);
    else
        m->protocol->act(m);
}

static void on_timer(struct timer *t)
{
    struct sim_member *m = CONTAINER_OF(t, struct sim_member, timer);
    const int64_t now_us = m->world->sched.now_us;

    if (m->waiting && now_us - m->asked_us > m->patience_us)
        sim_connection_close(m->connection);
    if (m->task != SIM_MEMBER_REST)
        turn(m);
    if (m->task != SIM_MEMBER_REST && !m->waiting && now_us >= m->not_before_us)
        act(m);
    timer_start(&m->world->loop->base, &m->timer,
                RETRY_US + (int64_t)sim_random_below(&m->random, TICK_US_MAX));
}

void sim_member_init(struct sim_member *m, struct sim_group *g, const struct sim_protocol *protocol,
                     size_t number)
{
    *m = (struct sim_member){.world = g->world,
                             .group = g,
                             .protocol = protocol,
                             .random = sim_random_split(g->world->seed, 620 + number),
                             .coordinator = -1};
    timer_init(&g->world->loop->base, &m->timer, on_timer);
    timer_start(&g->world->loop->base, &m->timer, RETRY_US);
}

void sim_member_set(struct sim_member *m, enum sim_member_task task)
{
    m->task = task;
    if (task == SIM_MEMBER_SETTLE && m->leaving)
        sim_member_gone(m);
    if (task == SIM_MEMBER_PROVE)
        memset(m->fetched, 0, sizeof m->fetched);
}

void sim_member_free(struct sim_member *m)
{
    timer_free(&m->world->loop->base, &m->timer);
}
