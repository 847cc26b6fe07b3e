#include "tests/sim/sim_electorate.h"

#include <stdio.h>

#include "protocol/base/kerr.h"
#include "protocol/messages/add_raft_voter.h"
#include "protocol/messages/describe_quorum.h"
#include "protocol/messages/remove_raft_voter.h"
#include "tests/sim/sim_world.h"

#define TICK_US_MAX (400 * 1000)
#define RETRY_US    50000
#define PATIENCE_US (15 * 1000 * 1000)
#define TIMEOUT_MS  3000

static void ask(struct sim_electorate *e, int16_t key, int16_t version, const void *message,
                sim_answered *answered)
{
    e->waiting = true;
    sim_connection_send(e->connection, key, version, message, answered, e, PATIENCE_US);
}

/* ---- changing ---- */

static bool is_expected(enum kerr code)
{
    switch (code) {
    case KERR_NONE:
    case KERR_REQUEST_TIMED_OUT:
    case KERR_NOT_CONTROLLER:
    case KERR_NOT_LEADER_OR_FOLLOWER:
    case KERR_DUPLICATE_VOTER:
    case KERR_VOTER_NOT_FOUND:
    case KERR_INVALID_REQUEST: /* it would leave nobody to vote */
        return true;
    default:
        return false;
    }
}

static void changed(struct sim_electorate *e, enum kerr code)
{
    e->waiting = e->chosen = false;
    e->done += code == KERR_NONE;
    sim_trace_say(&e->world->trace, "%s of voter %d: %s", e->removal ? "removal" : "addition",
                  e->id, kerr_name(code));
    if (!is_expected(code))
        sim_world_fail(e->world, "%s of voter %d was answered with %s",
                       e->removal ? "removal" : "addition", e->id, kerr_name(code));
}

static void unanswered(struct sim_electorate *e)
{
    e->waiting = e->chosen = false;
}

static void on_added(struct sim_answer *a)
{
    const struct add_raft_voter_response *m = a->message;

    if (m)
        changed(a->context, (enum kerr)m->error_code);
    else
        unanswered(a->context);
}

static void on_removed(struct sim_answer *a)
{
    const struct remove_raft_voter_response *m = a->message;

    if (m)
        changed(a->context, (enum kerr)m->error_code);
    else
        unanswered(a->context);
}

static void add(struct sim_electorate *e)
{
    char host[16];
    struct add_raft_voter_request_listener listener = {STR("CONTROLLER"), STR_NULL,
                                                       SIM_CONTROLLER_PORT};
    struct add_raft_voter_request m;

    snprintf(host, sizeof host, "n%d", e->id - 1);
    listener.host = str_from(host);
    add_raft_voter_request_init(&m);
    m.cluster_id = STR_NULL;
    m.timeout_ms = TIMEOUT_MS;
    m.voter_id = e->id;
    m.voter_directory_id = e->directory;
    m.listeners = &listener;
    m.listeners_count = 1;
    m.ack_when_committed = sim_random_chance(&e->random, 50);
    ask(e, ADD_RAFT_VOTER_REQUEST_KEY, 1, &m, on_added);
}

static void remove_one(struct sim_electorate *e)
{
    struct remove_raft_voter_request m;

    remove_raft_voter_request_init(&m);
    m.cluster_id = STR_NULL;
    m.voter_id = e->id;
    m.voter_directory_id = e->directory;
    ask(e, REMOVE_RAFT_VOTER_REQUEST_KEY, 0, &m, on_removed);
}

/* ---- choosing ---- */

static void choose(struct sim_electorate *e,
                   const struct describe_quorum_response_partition_data *p)
{
    const struct describe_quorum_response_replica_state *one;

    e->removal = p->observers_count == 0 ||
                 (p->current_voters_count > 1 && sim_random_chance(&e->random, 40));
    if (e->removal && p->current_voters_count < 2)
        return;
    one = e->removal ? &p->current_voters[sim_random_below(&e->random, p->current_voters_count)]
                     : &p->observers[sim_random_below(&e->random, p->observers_count)];
    e->id = one->replica_id;
    e->directory = one->replica_directory_id;
    e->chosen = true;
}

static void on_described(struct sim_answer *a)
{
    const struct describe_quorum_response *m = a->message;
    struct sim_electorate *e = a->context;

    e->waiting = false;
    if (m && m->error_code == KERR_NONE && m->topics_count == 1 &&
        m->topics[0].partitions_count == 1 && m->topics[0].partitions[0].error_code == KERR_NONE)
        choose(e, &m->topics[0].partitions[0]);
    else if (e->connection->up)
        sim_connection_close(e->connection); /* another node may know */
}

static void describe(struct sim_electorate *e)
{
    struct describe_quorum_request_partition_data partition;
    struct describe_quorum_request_topic_data topic;
    struct describe_quorum_request m;

    describe_quorum_request_init(&m);
    describe_quorum_request_topic_data_init(&topic);
    describe_quorum_request_partition_data_init(&partition);
    topic.topic_name = STR("__cluster_metadata");
    topic.partitions = &partition;
    topic.partitions_count = 1;
    m.topics = &topic;
    m.topics_count = 1;
    ask(e, DESCRIBE_QUORUM_REQUEST_KEY, 2, &m, on_described);
}

static void act(struct sim_electorate *e)
{
    if (!e->connection || !e->connection->up)
        e->connection = sim_world_connect_to(
            e->world, (unsigned)sim_random_below(&e->random, e->world->machine_count), &e->random);
    if (!e->connection)
        return;
    if (!e->chosen)
        describe(e);
    else if (e->removal)
        remove_one(e);
    else
        add(e);
}

static void on_timer(struct timer *t)
{
    struct sim_electorate *e = CONTAINER_OF(t, struct sim_electorate, timer);

    if (e->working && !e->waiting)
        act(e);
    timer_start(&e->world->loop->base, &e->timer,
                RETRY_US + (int64_t)sim_random_below(&e->random, TICK_US_MAX));
}

void sim_electorate_init(struct sim_electorate *e, struct sim_world *w)
{
    *e = (struct sim_electorate){.world = w, .random = sim_random_split(w->seed, 440)};
    timer_init(&w->loop->base, &e->timer, on_timer);
    timer_start(&w->loop->base, &e->timer, RETRY_US);
}

void sim_electorate_work(struct sim_electorate *e, bool working)
{
    e->working = working;
}

void sim_electorate_free(struct sim_electorate *e)
{
    timer_free(&e->world->loop->base, &e->timer);
}
