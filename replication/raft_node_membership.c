/* Voters that come, go and move (KIP-853). As the leader: one change at a time, from its request
 * until its record is committed. As a follower: what we ask the leader to change about ourselves.
 *
 *   request -> checked -> (ADD: what does it speak?  -> record   -> committed -> answered
 *                 |            -> has it caught up?)    appended                   ^
 *                 |                       |                 |                      |
 *                 +------ refused --------+-----------------+----------------------+
 *                                 its time is over, leadership ends */

#include <errno.h>

#include "protocol/base/check.h"
#include "protocol/messages/add_raft_voter.h"
#include "protocol/messages/api_versions.h"
#include "protocol/messages/remove_raft_voter.h"
#include "protocol/messages/update_raft_voter.h"
#include "replication/control_records.h"
#include "replication/memory.h"
#include "replication/raft_membership.h"
#include "replication/raft_node_internal.h"

/* 3 leaves out features that begin at 0, as kraft.version does (KAFKA-17011) */
#define API_VERSIONS_VERSION 4
#define ADD_VERSION          1
#define REMOVE_VERSION       0
#define UPDATE_VERSION       0
#define ANSWER_ARENA_BYTES   (64 * 1024)
#define REQUEST_BYTES_MAX    (64 * 1024)

#define CHANGE_US (30 * 1000 * 1000) /* of a request that gives no time */
/* a voter to be added had all of the log since then, as in Kafka */
#define CAUGHT_UP_MS_MAX (60 * 60 * 1000)

/* ---- changes, as the leader ---- */

static struct raft_event event_of(const struct raft_request *r)
{
    static const enum raft_voter_change kinds[RAFT_REQUEST_TYPES] = {
        [RAFT_ASKED_ADD_VOTER] = RAFT_ADD_VOTER,
        [RAFT_ASKED_REMOVE_VOTER] = RAFT_REMOVE_VOTER,
        [RAFT_ASKED_UPDATE_VOTER] = RAFT_UPDATE_VOTER,
    };

    return (struct raft_event){.type = RAFT_CHANGE_VOTERS,
                               .voter_change = {.kind = kinds[r->type],
                                                .key = r->voter,
                                                .epoch = r->epoch,
                                                .speaks = true,
                                                .caught_up = true}};
}

static void finish(struct raft_node *n, struct raft_request *r, enum kerr error)
{
    raft_node_take_view(n, r, error);
    raft_node_finish_durable(n, r);
}

static void change_end(struct raft_node *n, enum kerr error)
{
    struct raft_membership *m = &n->membership;
    struct raft_request *r = m->changing;

    m->changing = NULL;
    timer_stop(n->loop, &m->give_up);
    if (m->asking_features)
        transport_cancel(n->transport, &m->features);
    m->asking_features = false;
    finish(n, r, error);
}

void raft_node_membership_moved(struct raft_node *n)
{
    struct raft_membership *m = &n->membership;

    if (!m->changing)
        return;
    /* A leader that is voted out resigns in the step that commits that. */
    if (n->core.election.epoch == m->epoch && m->offset >= 0 && n->core.high_watermark > m->offset)
        change_end(n, KERR_NONE);
    else if (n->core.role != RAFT_LEADER || n->core.election.epoch != m->epoch)
        change_end(n, KERR_NOT_LEADER_OR_FOLLOWER); /* it may come true all the same */
}

static struct raft_voter voter_of(const struct raft_request *r)
{
    return (struct raft_voter){.key = r->voter,
                               .endpoints = r->endpoints,
                               .endpoint_count = r->endpoint_count,
                               .kraft_version_min = r->kraft_version_min,
                               .kraft_version_max = r->kraft_version_max};
}

static struct voter_set *changed_voters(const struct raft_node *n, const struct raft_request *r)
{
    const struct voter_set *now = raft_node_newest_voters(n)->voters;
    struct raft_voter voter = voter_of(r);

    return r->type == RAFT_ASKED_REMOVE_VOTER ? voter_set_without(now, r->voter.id)
                                              : voter_set_with(now, &voter);
}

/* The record of the change into our log; NULL: there is no memory for its voters. False: the change
 * has ended. */
static bool append_change(struct raft_node *n, struct voter_set *voters, int16_t kraft_version)
{
    const struct raft_request *r = n->membership.changing;
    bool appended = voters && !status_failed(raft_node_append_voters(n, voters, kraft_version));

    /* With a log that failed we do not lead, and who leads next may be asked again. */
    if (!appended && n->membership.changing == r)
        change_end(n, n->state == NODE_RUNNING ? KERR_UNKNOWN_SERVER_ERROR
                                               : KERR_NOT_LEADER_OR_FOLLOWER);
    return appended && n->membership.changing == r;
}

/* ---- from kraft.version 0 to 1 ---- */

/* What static voters have said of themselves in this epoch. */
static void introduce_voter(struct raft_node *n, const struct raft_voter *v)
{
    struct raft_membership *m = &n->membership;
    struct voter_set *more;

    if (m->introduced && m->introduced_epoch != n->core.election.epoch) {
        voter_set_free(m->introduced);
        m->introduced = NULL;
    }
    m->introduced_epoch = n->core.election.epoch;
    more = m->introduced ? voter_set_with(m->introduced, v) : voter_set_create(v, 1);
    if (!more) /* it says so again in another epoch */
        return;
    voter_set_free(m->introduced);
    m->introduced = more;
}

static void introduce(struct raft_node *n, const struct raft_request *r)
{
    struct raft_voter v = voter_of(r);

    introduce_voter(n, &v);
}

static bool all_introduced(const struct raft_node *n)
{
    const struct voter_set *set = raft_node_newest_voters(n)->voters;
    const struct voter_set *known = n->membership.introduced;

    if (!known || n->membership.introduced_epoch != n->core.election.epoch)
        return false;
    for (size_t i = 0; i < voter_set_count(set); i++) {
        const struct raft_voter *v = voter_set_find(known, voter_set_at(set, i)->key.id);

        if (!v || uuid_is_zero(v->key.directory_id) || v->kraft_version_min > KRAFT_VERSION_MAX ||
            v->kraft_version_max < KRAFT_VERSION_MAX)
            return false;
    }
    return voter_set_count(known) == voter_set_count(set);
}

static enum kerr check_upgrade(struct raft_node *n)
{
    const struct raft_voter *own = n->own_endpoints ? voter_set_at(n->own_endpoints, 0) : NULL;
    struct raft_voter self;

    if (n->core.role != RAFT_LEADER)
        return KERR_NOT_LEADER_OR_FOLLOWER;
    if (n->membership.changing || n->core.high_watermark <= n->core.epoch_start_offset)
        return KERR_REQUEST_TIMED_OUT;
    if (!own)
        return KERR_INVALID_UPDATE_VERSION;
    self = *own;
    self.kraft_version_max = KRAFT_VERSION_MAX;
    introduce_voter(n, &self);
    return all_introduced(n) ? KERR_NONE : KERR_INVALID_UPDATE_VERSION;
}

void raft_node_ask_upgrade(struct raft_node *n, struct raft_request *r)
{
    struct raft_membership *m = &n->membership;
    enum kerr error = raft_node_kraft_version(n) >= 1 ? KERR_NONE : check_upgrade(n);

    if (error != KERR_NONE || r->validate_only || raft_node_kraft_version(n) >= 1) {
        finish(n, r, error);
        return;
    }
    m->changing = r;
    m->lagging = false;
    m->offset = -1;
    m->epoch = n->core.election.epoch;
    timer_start(n->loop, &m->give_up, CHANGE_US);
    if (!append_change(n, voter_set_copy(m->introduced), KRAFT_VERSION_MAX))
        return;
    m->offset = log_end_offset(n->log) - 1;
    raft_node_membership_moved(n);
}

/* ---- the decision ---- */

/* All that can be known is known: the core decides, and its record is appended. */
static void decide(struct raft_node *n)
{
    struct raft_membership *m = &n->membership;
    struct raft_request *r = m->changing;
    struct raft_event ev = event_of(r);
    int16_t kraft_version = raft_node_kraft_version(n);
    int64_t caught_up_ms = raft_node_observer_caught_up_ms(n, r->voter);
    enum kerr error;

    ev.voter_change.speaks =
        r->type == RAFT_ASKED_REMOVE_VOTER ||
        (r->kraft_version_min <= kraft_version && kraft_version <= r->kraft_version_max);
    ev.voter_change.caught_up =
        caught_up_ms >= 0 && raft_node_now_ms(n) - caught_up_ms < CAUGHT_UP_MS_MAX;
    m->lagging = r->type == RAFT_ASKED_ADD_VOTER && !ev.voter_change.caught_up;
    if (m->lagging) /* its fetches tell when it has caught up; its time may be over first */
        return;
    error = raft_node_step(n, &ev).error;
    if (m->changing != r) /* answered from within the step */
        return;
    if (error != KERR_NONE) {
        change_end(n, error);
        return;
    }
    if (kraft_version < 1) { /* an update of a voter that is in the settings */
        introduce(n, r);
        change_end(n, KERR_NONE);
        return;
    }
    if (!append_change(n, changed_voters(n, r), -1))
        return;
    m->offset = log_end_offset(n->log) - 1;
    if (r->type == RAFT_ASKED_ADD_VOTER && !r->ack_when_committed)
        change_end(n, KERR_NONE);
    else
        raft_node_membership_moved(n);
}

void raft_node_membership_fetched(struct raft_node *n, struct raft_replica_key key)
{
    struct raft_membership *m = &n->membership;

    if (m->changing && m->lagging && raft_replica_key_equal(m->changing->voter, key))
        decide(n);
}

/* What the voter to be added speaks, by its own word. */
static bool read_features(struct bytes body, struct raft_request *r)
{
    struct reader reader = reader_of(body.data, body.size);
    struct api_versions_response m;
    struct arena a;
    bool good;

    arena_init(&a, ANSWER_ARENA_BYTES);
    good = api_versions_response_decode(&m, &reader, &a, API_VERSIONS_VERSION) &&
           m.error_code == KERR_NONE;
    r->kraft_version_min = r->kraft_version_max = 0; /* one that says nothing has static voters
                                                      * only */
    for (size_t i = 0; good && i < m.supported_features_count; i++)
        if (str_equal(m.supported_features[i].name, STR("kraft.version"))) {
            r->kraft_version_min = m.supported_features[i].min_version;
            r->kraft_version_max = m.supported_features[i].max_version;
        }
    arena_free(&a);
    return good;
}

static void features_answered(struct transport_request *t, struct status result, struct bytes body)
{
    struct raft_node *n = CONTAINER_OF(t, struct raft_node, membership.features);

    n->membership.asking_features = false;
    if (status_failed(result) || !read_features(body, n->membership.changing))
        change_end(n, KERR_REQUEST_TIMED_OUT);
    else
        decide(n);
}

static void ask_features(struct raft_node *n)
{
    struct raft_membership *m = &n->membership;
    const struct raft_request *r = m->changing;
    const struct raft_endpoint *e = raft_node_endpoint(n, r->endpoints, r->endpoint_count);
    struct transport_node to = {r->voter.id, e->host, e->port};
    struct api_versions_request request;
    struct writer w;

    api_versions_request_init(&request);
    request.client_software_name = STR("trivet");
    request.client_software_version = STR("1");
    writer_init(&w, REQUEST_BYTES_MAX);
    api_versions_request_encode(&request, &w, API_VERSIONS_VERSION);
    CHECK(writer_ok(&w));
    m->asking_features = true;
    m->features = (struct transport_request){.answered = features_answered,
                                             .api_key = API_VERSIONS_REQUEST_KEY,
                                             .api_version = API_VERSIONS_VERSION};
    transport_send(n->transport, &to, &m->features, writer_take(&w),
                   n->core.timeouts.request_ms * 1000);
}

/* Others must be able to find it by the listener that the quorum uses. */
static bool has_our_listener(const struct raft_node *n, const struct raft_request *r)
{
    const struct raft_endpoint *e = raft_node_endpoint(n, r->endpoints, r->endpoint_count);

    return e && e->host.size > 0 && e->port > 0 &&
           (!n->own_endpoints ||
            str_equal(e->listener, voter_set_at(n->own_endpoints, 0)->endpoints[0].listener));
}

void raft_node_ask_change(struct raft_node *n, struct raft_request *r)
{
    struct raft_membership *m = &n->membership;
    struct raft_event ev = event_of(r);
    enum kerr error = raft_core_check_voter_change(&n->core, &ev);

    if (error == KERR_NONE && m->changing)
        error = KERR_REQUEST_TIMED_OUT;
    if (error == KERR_NONE && r->type != RAFT_ASKED_REMOVE_VOTER && !has_our_listener(n, r))
        error = KERR_INVALID_REQUEST;
    if (error == KERR_NONE && r->type == RAFT_ASKED_ADD_VOTER && !n->transport)
        error = KERR_REQUEST_TIMED_OUT;
    if (error != KERR_NONE) {
        finish(n, r, error);
        return;
    }
    m->changing = r;
    m->offset = -1;
    m->lagging = false;
    m->epoch = n->core.election.epoch;
    timer_start(n->loop, &m->give_up, r->timeout_us > 0 ? r->timeout_us : CHANGE_US);
    if (r->type == RAFT_ASKED_ADD_VOTER)
        ask_features(n);
    else
        decide(n);
}

static void gave_up(struct timer *t)
{
    struct raft_node *n = CONTAINER_OF(t, struct raft_node, membership.give_up);

    if (n->membership.changing)
        change_end(n, KERR_REQUEST_TIMED_OUT);
}

/* ---- ourselves, as a follower ---- */

static void look_again(struct raft_node *n)
{
    timer_start(n->loop, &n->membership.look, n->core.timeouts.fetch_ms * 1000);
}

static bool was_taken(struct bytes body)
{
    struct reader reader = reader_of(body.data, body.size);
    struct update_raft_voter_response m;
    struct arena a;
    bool taken;

    arena_init(&a, ANSWER_ARENA_BYTES);
    taken = update_raft_voter_response_decode(&m, &reader, &a, UPDATE_VERSION) &&
            m.error_code == KERR_NONE;
    arena_free(&a);
    return taken;
}

static void wish_answered(struct transport_request *t, struct status result, struct bytes body)
{
    struct raft_node *n = CONTAINER_OF(t, struct raft_node, membership.request);

    n->membership.asking = false;
    if (!status_failed(result) && t->api_key == UPDATE_RAFT_VOTER_REQUEST_KEY && was_taken(body))
        n->membership.introduced_to_epoch = n->membership.asked_epoch;
    /* Else the log tells whether it came true, and if not, it is asked again. */
    logger_event(n->logger, LOGGER_INFO, "raft_membership_asked", "api=%d answered=%s", t->api_key,
                 status_failed(result) ? "no" : "yes");
}

static void encode_add(const struct raft_node *n, const struct raft_member *self, struct writer *w)
{
    struct add_raft_voter_request_listener *listeners =
        memory_zalloc(self->endpoint_count, sizeof *listeners);
    struct add_raft_voter_request m;

    for (size_t i = 0; i < self->endpoint_count; i++)
        listeners[i] = (struct add_raft_voter_request_listener){
            self->endpoints[i].listener, self->endpoints[i].host, self->endpoints[i].port};
    add_raft_voter_request_init(&m);
    m.cluster_id = n->cluster_id;
    m.timeout_ms = (int32_t)n->core.timeouts.request_ms;
    m.voter_id = self->key.id;
    m.voter_directory_id = self->key.directory_id;
    m.listeners = listeners;
    m.listeners_count = self->endpoint_count;
    m.ack_when_committed = false; /* its commit may need our own fetches */
    add_raft_voter_request_encode(&m, w, ADD_VERSION);
    free(listeners);
}

static void encode_remove_old(const struct raft_node *n, const struct raft_member *self,
                              struct writer *w)
{
    const struct raft_voter *old = voter_set_find(raft_node_newest_voters(n)->voters, self->key.id);
    struct remove_raft_voter_request m;

    remove_raft_voter_request_init(&m);
    m.cluster_id = n->cluster_id;
    m.voter_id = self->key.id;
    m.voter_directory_id = old->key.directory_id;
    remove_raft_voter_request_encode(&m, w, REMOVE_VERSION);
}

static void encode_update(const struct raft_node *n, const struct raft_member *self,
                          struct writer *w)
{
    struct update_raft_voter_request_listener *listeners =
        memory_zalloc(self->endpoint_count, sizeof *listeners);
    struct update_raft_voter_request m;

    for (size_t i = 0; i < self->endpoint_count; i++)
        listeners[i] = (struct update_raft_voter_request_listener){
            self->endpoints[i].listener, self->endpoints[i].host, self->endpoints[i].port};
    update_raft_voter_request_init(&m);
    m.cluster_id = n->cluster_id;
    m.current_leader_epoch = n->core.election.epoch;
    m.voter_id = self->key.id;
    m.voter_directory_id = self->key.directory_id;
    m.listeners = listeners;
    m.listeners_count = self->endpoint_count;
    m.kraft_version_feature.min_supported_version = self->kraft_version_min;
    m.kraft_version_feature.max_supported_version = self->kraft_version_max;
    update_raft_voter_request_encode(&m, w, UPDATE_VERSION);
    free(listeners);
}

static const struct {
    int16_t key;
    int16_t version;
    void (*encode)(const struct raft_node *, const struct raft_member *, struct writer *);
} wishes[] = {
    [RAFT_WISH_UPDATE] = {UPDATE_RAFT_VOTER_REQUEST_KEY, UPDATE_VERSION, encode_update},
    [RAFT_WISH_JOIN] = {ADD_RAFT_VOTER_REQUEST_KEY, ADD_VERSION, encode_add},
    [RAFT_WISH_REMOVE_OLD] = {REMOVE_RAFT_VOTER_REQUEST_KEY, REMOVE_VERSION, encode_remove_old},
};

static void look_at_ourselves(struct raft_node *n)
{
    const struct raft_voter *own = n->own_endpoints ? voter_set_at(n->own_endpoints, 0) : NULL;
    struct raft_member self = {.key = n->self,
                               .kraft_version_max = KRAFT_VERSION_MAX,
                               .auto_join = n->auto_join,
                               .introduced =
                                   n->membership.introduced_to_epoch == n->core.election.epoch};
    struct transport_node leader;
    enum raft_wish wish;
    struct writer w;

    if (!own || !n->transport || n->core.role != RAFT_FOLLOWER || !n->core.leader_reached ||
        n->membership.asking || !raft_node_leader_address(n, &leader))
        return;
    self.endpoints = own->endpoints;
    self.endpoint_count = own->endpoint_count;
    wish = raft_member_wish(&self, raft_node_newest_voters(n)->voters, raft_node_kraft_version(n));
    if (wish == RAFT_WISH_NOTHING)
        return;
    writer_init(&w, REQUEST_BYTES_MAX);
    wishes[wish].encode(n, &self, &w);
    CHECK(writer_ok(&w));
    n->membership.asking = true;
    n->membership.asked_epoch = n->core.election.epoch;
    n->membership.request = (struct transport_request){.answered = wish_answered,
                                                       .api_key = wishes[wish].key,
                                                       .api_version = wishes[wish].version};
    transport_send(n->transport, &leader, &n->membership.request, writer_take(&w),
                   n->core.timeouts.request_ms * 1000);
}

static void look_fired(struct timer *t)
{
    struct raft_node *n = CONTAINER_OF(t, struct raft_node, membership.look);

    look_at_ourselves(n);
    look_again(n);
}

/* ---- life ---- */

void raft_node_membership_start(struct raft_node *n)
{
    n->membership.introduced_to_epoch = -1;
    timer_init(n->loop, &n->membership.give_up, gave_up);
    timer_init(n->loop, &n->membership.look, look_fired);
    look_again(n);
}

void raft_node_membership_stop(struct raft_node *n)
{
    timer_stop(n->loop, &n->membership.look);
    if (n->membership.changing)
        change_end(n, KERR_NOT_LEADER_OR_FOLLOWER);
    if (n->membership.asking)
        transport_cancel(n->transport, &n->membership.request);
    n->membership.asking = false;
}

void raft_node_membership_free(struct raft_node *n)
{
    if (n->membership.asking_features)
        transport_cancel(n->transport, &n->membership.features);
    if (n->membership.asking)
        transport_cancel(n->transport, &n->membership.request);
    timer_free(n->loop, &n->membership.give_up);
    timer_free(n->loop, &n->membership.look);
    voter_set_free(n->membership.introduced);
}
