#include "tests/sim/sim_committer.h"

#include <stdio.h>

#include "protocol/base/kerr.h"
#include "protocol/messages/find_coordinator.h"
#include "protocol/messages/offset_commit.h"
#include "protocol/messages/offset_fetch.h"
#include "tests/sim/sim_coordinator.h"
#include "tests/sim/sim_world.h"

#define TICK_US_MAX    60000
#define RETRY_US       20000
#define PATIENCE_US    (10 * 1000 * 1000)
#define UNSURE_US      (200 * 1000) /* a commit without an answer is over by then, or never was */
#define FIND_VERSION   4
#define BY_NAME        9
#define ANOTHER_ONE_IN 100 /* commits until it turns to another partition */
#define READ_PERCENT   20

static struct sim_topic *topic_of(const struct sim_committer *c)
{
    return &c->world->checker.topics[c->topic];
}

static bool is_expected(const struct sim_committer *c, enum kerr code)
{
    switch (code) {
    case KERR_COORDINATOR_NOT_AVAILABLE:
    case KERR_COORDINATOR_LOAD_IN_PROGRESS:
    case KERR_NOT_COORDINATOR:
    case KERR_REQUEST_TIMED_OUT:
    case KERR_UNKNOWN_TOPIC_OR_PARTITION: /* of a node whose metadata is old */
        return true;
    default:
        return c->world->may_fail;
    }
}

/* The coordinator is to be looked for again. */
static void refused(struct sim_committer *c, const char *what, enum kerr code)
{
    sim_trace_say(&c->world->trace, "%s of group %s is refused: %s", what, c->group,
                  kerr_name(code));
    if (!is_expected(c, code))
        sim_world_fail(c->world, "%s of group %s was answered with %s", what, c->group,
                       kerr_name(code));
    c->coordinator = -1;
    if (c->connection->up)
        sim_connection_close(c->connection);
}

static void ask(struct sim_committer *c, int16_t key, int16_t version, const void *message,
                sim_answered *answered)
{
    c->waiting = true;
    sim_connection_send(c->connection, key, version, message, answered, c, PATIENCE_US);
}

/* ---- the coordinator ---- */

static void on_found(struct sim_answer *a)
{
    const struct find_coordinator_response *m = a->message;
    struct sim_committer *c = a->context;

    c->waiting = false;
    if (!m)
        return;
    if (m->coordinators_count != 1 || m->coordinators[0].error_code != KERR_NONE) {
        refused(c, "the coordinator",
                (enum kerr)(m->coordinators_count == 1 ? m->coordinators[0].error_code : -1));
        return;
    }
    c->coordinator = m->coordinators[0].node_id;
    sim_connection_close(c->connection);
}

static void find(struct sim_committer *c)
{
    struct find_coordinator_request m;
    struct str key = str_from(c->group);

    find_coordinator_request_init(&m);
    m.coordinator_keys = &key;
    m.coordinator_keys_count = 1;
    ask(c, FIND_COORDINATOR_REQUEST_KEY, FIND_VERSION, &m, on_found);
}

/* ---- committing ---- */

static void on_committed(struct sim_answer *a)
{
    const struct offset_commit_response *m = a->message;
    struct sim_committer *c = a->context;
    enum kerr code;

    c->waiting = false;
    c->not_before_us = m ? 0 : c->world->sched.now_us + UNSURE_US;
    if (!m)
        return;
    code = (enum kerr)m->topics[0].partitions[0].error_code;
    if (code != KERR_NONE) {
        c->not_before_us = c->world->sched.now_us + UNSURE_US;
        refused(c, "a commit", code);
        return;
    }
    c->acknowledged = c->sent;
    c->commits++;
    sim_trace_say(&c->world->trace, "group %s has committed %lld of %s-%d", c->group,
                  (long long)c->sent, topic_of(c)->name, c->partition);
}

static void commit(struct sim_committer *c)
{
    struct offset_commit_request_partition partition;
    struct offset_commit_request_topic topic;
    struct offset_commit_request m;

    offset_commit_request_init(&m);
    offset_commit_request_topic_init(&topic);
    offset_commit_request_partition_init(&partition);
    partition.partition_index = c->partition;
    partition.committed_offset = ++c->sent;
    topic.name = str_from(topic_of(c)->name);
    topic.partitions = &partition;
    topic.partitions_count = 1;
    m.group_id = str_from(c->group);
    m.member_id = STR("");
    m.topics = &topic;
    m.topics_count = 1;
    ask(c, OFFSET_COMMIT_REQUEST_KEY, BY_NAME, &m, on_committed);
}

/* ---- reading ---- */

static int32_t coordinator_epoch(const struct sim_committer *c)
{
    return sim_coordinator_epoch(c->world, str_from(c->group), c->coordinator);
}

/* Of a coordinator that was deposed, and does not know that yet, the answer may be older. */
static void judge(struct sim_committer *c, int64_t offset)
{
    const bool must = c->task == SIM_COMMITTER_PROVE ||
                      (c->asked_in_epoch >= 0 && c->asked_in_epoch == coordinator_epoch(c));

    if (!sim_checker_topic_usable(topic_of(c)))
        return;
    if (offset > c->sent || (must && offset < c->acknowledged))
        sim_world_fail(
            c->world,
            "group %s has committed %lld of %s-%d, but up to %lld was sent, and %lld acknowledged",
            c->group, (long long)offset, topic_of(c)->name, c->partition, (long long)c->sent,
            (long long)c->acknowledged);
}

static void on_fetched(struct sim_answer *a)
{
    const struct offset_fetch_response *m = a->message;
    struct sim_committer *c = a->context;
    const struct offset_fetch_response_partitions *p;

    c->waiting = false;
    if (!m)
        return;
    if (m->groups_count != 1 || m->groups[0].error_code != KERR_NONE) {
        refused(c, "the offsets", (enum kerr)(m->groups_count == 1 ? m->groups[0].error_code : -1));
        return;
    }
    p = &m->groups[0].topics[0].partitions[0];
    if (p->error_code != KERR_NONE) {
        refused(c, "an offset", (enum kerr)p->error_code);
        return;
    }
    if (p->committed_offset >= 0 || c->acknowledged > 0)
        judge(c, p->committed_offset);
    c->proved = c->task == SIM_COMMITTER_PROVE;
}

static void fetch(struct sim_committer *c)
{
    struct offset_fetch_request_topics topic;
    struct offset_fetch_request_group group;
    struct offset_fetch_request m;

    offset_fetch_request_init(&m);
    offset_fetch_request_group_init(&group);
    offset_fetch_request_topics_init(&topic);
    topic.name = str_from(topic_of(c)->name);
    topic.partition_indexes = &c->partition;
    topic.partition_indexes_count = 1;
    group.group_id = str_from(c->group);
    group.topics = &topic;
    group.topics_count = 1;
    m.groups = &group;
    m.groups_count = 1;
    c->asked_in_epoch = coordinator_epoch(c);
    ask(c, OFFSET_FETCH_REQUEST_KEY, BY_NAME, &m, on_fetched);
}

/* ---- what next ---- */

static void choose(struct sim_committer *c)
{
    const struct sim_checker *k = &c->world->checker;

    if (k->topic_count == 0)
        return;
    c->topic = sim_random_below(&c->random, k->topic_count);
    if (!sim_checker_topic_usable(topic_of(c)))
        return;
    c->partition = (int32_t)sim_random_below(&c->random, (uint64_t)topic_of(c)->partition_count);
    c->acknowledged = 0; /* what is sent goes on to rise: it may be a partition that it had
                          * before */
    c->used = true;
}

static bool connect(struct sim_committer *c)
{
    struct sim_world *w = c->world;
    const unsigned any = (unsigned)sim_random_below(&c->random, w->machine_count);

    if (!c->connection || !c->connection->up)
        c->connection = sim_world_connect_to(
            w, c->coordinator > 0 ? (unsigned)c->coordinator - 1 : any, &c->random);
    if (!c->connection)
        c->coordinator = -1;
    return c->connection != NULL;
}

static void act(struct sim_committer *c)
{
    if (!connect(c))
        return;
    if (c->coordinator < 0)
        find(c);
    else if (c->task == SIM_COMMITTER_PROVE || sim_random_chance(&c->random, READ_PERCENT))
        fetch(c);
    else
        commit(c);
}

static void on_timer(struct timer *t)
{
    struct sim_committer *c = CONTAINER_OF(t, struct sim_committer, timer);
    const bool free_to_turn = c->task == SIM_COMMITTER_WORK && !c->waiting;

    if (free_to_turn && (!c->used || !sim_checker_topic_usable(topic_of(c)) ||
                         sim_random_below(&c->random, ANOTHER_ONE_IN) == 0)) {
        c->used = false;
        choose(c);
    }
    if (c->task != SIM_COMMITTER_REST && c->used && !c->waiting && !c->proved &&
        c->world->sched.now_us >= c->not_before_us)
        act(c);
    timer_start(&c->world->loop->base, &c->timer,
                RETRY_US + (int64_t)sim_random_below(&c->random, TICK_US_MAX));
}

void sim_committer_init(struct sim_committer *c, struct sim_world *w, size_t number)
{
    *c = (struct sim_committer){
        .world = w, .random = sim_random_split(w->seed, 450 + number), .coordinator = -1};
    snprintf(c->group, sizeof c->group, "g%zu", number);
    timer_init(&w->loop->base, &c->timer, on_timer);
    timer_start(&w->loop->base, &c->timer, RETRY_US);
}

void sim_committer_set(struct sim_committer *c, enum sim_committer_task task)
{
    c->task = task;
    c->proved = false;
}

bool sim_committer_proved(const struct sim_committer *c)
{
    return c->proved || !c->used || !sim_checker_topic_usable(topic_of(c));
}

void sim_committer_free(struct sim_committer *c)
{
    timer_free(&c->world->loop->base, &c->timer);
}
