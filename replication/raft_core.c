/* Roles and elections of Raft. The states are drawn in raft_core.h; replication of the log is in
 * raft_core_log.c, changes of the voters in raft_core_voters.c. Every event is followed by the poll
 * of the role it ended in: deadlines that have passed are acted on there, and messages that are due
 * go to the outbox. */

#include "replication/raft_core.h"

#include <string.h>

#include "protocol/base/check.h"
#include "replication/raft_core_internal.h"

static const struct raft_replica_key nobody = {.id = RAFT_NO_NODE};

const char *raft_role_name(enum raft_role role)
{
    static const char *const names[] = {
        [RAFT_UNATTACHED] = "unattached", [RAFT_PROSPECTIVE] = "prospective",
        [RAFT_CANDIDATE] = "candidate",   [RAFT_LEADER] = "leader",
        [RAFT_FOLLOWER] = "follower",     [RAFT_RESIGNED] = "resigned",
    };

    return names[role];
}

/* splitmix64: elections only need nodes to differ. */
uint64_t raft_random(struct raft_core *c)
{
    uint64_t z = c->random += 0x9e3779b97f4a7c15u;

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* Between one and two timeouts, so that voters seldom stand at the same time. */
static int64_t election_deadline(struct raft_core *c, int64_t now_ms)
{
    int64_t timeout = c->timeouts.election_ms;

    return now_ms + timeout + (int64_t)(raft_random(c) % (uint64_t)timeout);
}

/* ---- voters ---- */

struct raft_peer *raft_find_peer(struct raft_core *c, struct raft_replica_key key)
{
    for (size_t i = 0; i < c->peer_count; i++)
        if (c->peers[i].key.id == key.id &&
            (uuid_is_zero(key.directory_id) || uuid_is_zero(c->peers[i].key.directory_id) ||
             uuid_equal(c->peers[i].key.directory_id, key.directory_id)))
            return &c->peers[i];
    return NULL;
}

static bool is_self(const struct raft_core *c, const struct raft_peer *p)
{
    return p->key.id == c->self.id;
}

bool raft_is_own_replica(const struct raft_core *c, struct raft_replica_key key)
{
    return key.id == c->self.id &&
           (uuid_is_zero(key.directory_id) || uuid_is_zero(c->self.directory_id) ||
            uuid_equal(key.directory_id, c->self.directory_id));
}

bool raft_core_is_voter(const struct raft_core *c)
{
    for (size_t i = 0; i < c->peer_count; i++)
        if (raft_is_own_replica(c, c->peers[i].key))
            return true;
    return false;
}

size_t raft_majority(const struct raft_core *c)
{
    return c->peer_count / 2 + 1;
}

static bool is_only_voter(const struct raft_core *c)
{
    return c->peer_count == 1 && raft_core_is_voter(c);
}

size_t raft_core_successors(const struct raft_core *c, struct raft_replica_key *out)
{
    int64_t ends[RAFT_VOTERS_MAX];
    size_t count = 0;

    for (size_t i = 0; i < c->peer_count; i++) {
        const struct raft_peer *p = &c->peers[i];
        size_t at = count;

        if (is_self(c, p))
            continue;
        for (; at > 0 && ends[at - 1] < p->end_offset; at--) {
            ends[at] = ends[at - 1];
            out[at] = out[at - 1];
        }
        ends[at] = p->end_offset;
        out[at] = p->key;
        count++;
    }
    return count;
}

struct raft_message *raft_send(struct raft_core *c, enum raft_message_type type,
                               struct raft_replica_key to)
{
    struct raft_message *m;

    CHECK(c->outbox_count < sizeof c->outbox / sizeof c->outbox[0]);
    m = &c->outbox[c->outbox_count++];
    *m = (struct raft_message){.type = type, .to = to, .epoch = c->election.epoch};
    return m;
}

/* ---- moving between roles ---- */

#define TO(role)     (1u << (role))
#define HIGHER_EPOCH (TO(RAFT_UNATTACHED) | TO(RAFT_FOLLOWER))

static const unsigned allowed_moves[] = {
    [RAFT_UNATTACHED] = HIGHER_EPOCH | TO(RAFT_PROSPECTIVE) | TO(RAFT_CANDIDATE),
    [RAFT_PROSPECTIVE] = HIGHER_EPOCH | TO(RAFT_CANDIDATE),
    [RAFT_CANDIDATE] = HIGHER_EPOCH | TO(RAFT_PROSPECTIVE) | TO(RAFT_LEADER),
    [RAFT_LEADER] = HIGHER_EPOCH | TO(RAFT_RESIGNED),
    [RAFT_FOLLOWER] = HIGHER_EPOCH | TO(RAFT_PROSPECTIVE) | TO(RAFT_CANDIDATE),
    [RAFT_RESIGNED] = HIGHER_EPOCH | TO(RAFT_CANDIDATE),
};

static void move_to(struct raft_core *c, enum raft_role role)
{
    CHECK(allowed_moves[c->role] & TO(role));
    c->role = role;
    c->leader_reached = false;
    c->leader_ended = false;
    c->fetch_in_flight = false;
    c->fetch_id++; /* answers to the old role's fetch are strangers */
    c->fetch_retry_ms = 0;
    c->snapshot_in_flight = false;
    for (size_t i = 0; i < c->peer_count; i++) {
        struct raft_peer *p = &c->peers[i];

        p->vote = RAFT_VOTE_UNKNOWN;
        p->in_flight = false;
        p->acknowledged = false;
        p->retry_ms = 0;
    }
}

static void enter_epoch(struct raft_core *c, int32_t epoch)
{
    CHECK(epoch >= c->election.epoch);
    if (epoch > c->election.epoch)
        c->election =
            (struct raft_election){.epoch = epoch, .leader_id = RAFT_NO_NODE, .voted = nobody};
}

void raft_become_unattached(struct raft_core *c, int32_t epoch, int64_t now_ms)
{
    enter_epoch(c, epoch); /* in the same epoch the vote stays */
    c->election.leader_id = RAFT_NO_NODE;
    move_to(c, RAFT_UNATTACHED);
    c->deadline_ms = election_deadline(c, now_ms);
}

void raft_become_follower(struct raft_core *c, int32_t epoch, int32_t leader_id, int64_t now_ms)
{
    CHECK(leader_id != c->self.id);
    enter_epoch(c, epoch);
    c->election.leader_id = leader_id;
    move_to(c, RAFT_FOLLOWER);
    c->leader_high_watermark = c->high_watermark;
    c->deadline_ms = now_ms + c->timeouts.fetch_ms;
}

static size_t votes(const struct raft_core *c, enum raft_vote vote)
{
    size_t count = 0;

    for (size_t i = 0; i < c->peer_count; i++)
        count += c->peers[i].vote == vote;
    return count;
}

static void vote_for_self(struct raft_core *c)
{
    struct raft_peer *self = raft_find_peer(c, c->self);

    if (self) /* else it has none */
        self->vote = RAFT_VOTE_GRANTED;
}

static void become_leader(struct raft_core *c, int64_t now_ms)
{
    enum raft_vote granted[RAFT_VOTERS_MAX];

    CHECK(votes(c, RAFT_VOTE_GRANTED) >= raft_majority(c));
    for (size_t i = 0; i < c->peer_count; i++)
        granted[i] = c->peers[i].vote;
    c->election.leader_id = c->self.id;
    c->election.voted = nobody; /* having led says it; as Kafka writes it */
    move_to(c, RAFT_LEADER);
    c->epoch_start_offset = c->log_end_offset;
    for (size_t i = 0; i < c->peer_count; i++) {
        struct raft_peer *p = &c->peers[i];

        p->vote = granted[i]; /* the leader change names who granted */
        p->end_offset = -1;
        p->last_fetch_ms = now_ms; /* check-quorum counts from the election */
        p->last_caught_up_ms = -1;
    }
    c->deadline_ms = RAFT_NEVER;
}

static void become_candidate(struct raft_core *c, int64_t now_ms)
{
    enter_epoch(c, c->election.epoch + 1);
    c->election.voted = c->self;
    move_to(c, RAFT_CANDIDATE);
    vote_for_self(c);
    c->deadline_ms = election_deadline(c, now_ms);
    if (votes(c, RAFT_VOTE_GRANTED) >= raft_majority(c))
        become_leader(c, now_ms);
}

/* A prospective node keeps its leader: when the pre-vote fails, it goes back to following it. */
static void become_prospective(struct raft_core *c, int64_t now_ms)
{
    bool leader_reached = c->leader_reached;

    move_to(c, RAFT_PROSPECTIVE);
    c->leader_reached = leader_reached;
    vote_for_self(c);
    c->deadline_ms = election_deadline(c, now_ms);
}

/* Nobody to ask: the quorum of one skips the pre-vote. */
static void stand(struct raft_core *c, int64_t now_ms)
{
    CHECK(raft_may_stand(c));
    if (is_only_voter(c))
        become_candidate(c, now_ms);
    else
        become_prospective(c, now_ms);
}

static void lose_pre_vote(struct raft_core *c, int64_t now_ms)
{
    if (c->election.leader_id != RAFT_NO_NODE)
        raft_become_follower(c, c->election.epoch, c->election.leader_id, now_ms);
    else
        raft_become_unattached(c, c->election.epoch, now_ms);
}

/* A lost election costs a fresh pre-vote, after the random wait of an unattached node. */
static void lose_election(struct raft_core *c, int64_t now_ms)
{
    raft_become_unattached(c, c->election.epoch, now_ms);
}

static void resign(struct raft_core *c, int64_t now_ms)
{
    for (size_t i = 0; i < c->peer_count; i++)
        if (!is_self(c, &c->peers[i]))
            raft_send(c, RAFT_SEND_END, c->peers[i].key);
    move_to(c, RAFT_RESIGNED); /* leader_id stays: in this epoch we must neither vote nor stand */
    c->deadline_ms = election_deadline(c, now_ms);
}

/* ---- what others say ---- */

/* A leader is named for an epoch that is not below ours. False when it cannot be true. */
static bool learn_leader(struct raft_core *c, int32_t epoch, int32_t leader_id, int64_t now_ms)
{
    bool newer = epoch > c->election.epoch;
    int32_t known = newer ? RAFT_NO_NODE : c->election.leader_id;

    /* Ourselves: unless we died before that was written down, we know. */
    if (leader_id == c->self.id)
        return !newer && (known == c->self.id ||
                          (known == RAFT_NO_NODE && c->election.voted.id == c->self.id));
    if (known != RAFT_NO_NODE && leader_id != RAFT_NO_NODE && known != leader_id)
        return false;
    if (leader_id != RAFT_NO_NODE && known == RAFT_NO_NODE)
        raft_become_follower(c, epoch, leader_id, now_ms);
    else if (newer)
        raft_become_unattached(c, epoch, now_ms);
    return true;
}

bool raft_learn(struct raft_core *c, const struct raft_answer_head *head, int64_t now_ms)
{
    if (head->epoch < c->election.epoch || head->epoch > RAFT_EPOCH_MAX)
        return false;
    return learn_leader(c, head->epoch, head->leader_id, now_ms);
}

void raft_answer_with(const struct raft_core *c, struct raft_effects *fx, enum kerr error)
{
    fx->answer.error = error;
    fx->answer.epoch = c->election.epoch;
    fx->answer.leader_id = c->election.leader_id;
    fx->answer.high_watermark = c->high_watermark;
}

/* Checks that requests between voters share. */
static enum kerr check_voter_request(const struct raft_core *c, int32_t sender_id, int32_t epoch)
{
    if (epoch < c->election.epoch)
        return KERR_FENCED_LEADER_EPOCH;
    return sender_id < 0 || epoch > RAFT_EPOCH_MAX ? KERR_INVALID_REQUEST : KERR_NONE;
}

/* Is the request meant for us, and not for what our id was on another disk? */
static bool meant_for_us(const struct raft_core *c, struct raft_replica_key voter)
{
    return voter.id == RAFT_NO_NODE ||
           (voter.id == c->self.id && (uuid_is_zero(voter.directory_id) ||
                                       uuid_equal(voter.directory_id, c->self.directory_id)));
}

static bool may_grant_pre_vote(const struct raft_core *c)
{
    /* A follower that hears its leader keeps others from disturbing it; one that has not yet
     * reached it cannot know whether it is there. */
    return c->role != RAFT_LEADER && !(c->role == RAFT_FOLLOWER && c->leader_reached);
}

static bool may_grant_vote(const struct raft_core *c, struct raft_replica_key candidate)
{
    if (c->role != RAFT_UNATTACHED && c->role != RAFT_PROSPECTIVE)
        return false;
    if (c->election.voted.id != RAFT_NO_NODE)
        return c->election.voted.id == candidate.id &&
               (uuid_is_zero(c->election.voted.directory_id) ||
                uuid_equal(c->election.voted.directory_id, candidate.directory_id));
    return c->election.leader_id == RAFT_NO_NODE;
}

static void on_vote_request(struct raft_core *c, const struct raft_event *ev, int64_t now_ms,
                            struct raft_effects *fx)
{
    int32_t epoch = ev->vote_request.epoch;
    int32_t last_epoch = ev->vote_request.last_epoch;
    int64_t last_offset = ev->vote_request.last_offset;
    struct raft_replica_key candidate = ev->vote_request.candidate;
    bool up_to_date = last_epoch > c->last_epoch ||
                      (last_epoch == c->last_epoch && last_offset >= c->log_end_offset);
    enum kerr error = check_voter_request(c, candidate.id, epoch);

    /* A pre-vote comes with the sender's present epoch, in which it may have written already. */
    if (last_offset < 0 || last_epoch < 0 ||
        (ev->vote_request.pre_vote ? last_epoch > epoch : last_epoch >= epoch))
        error = KERR_INVALID_REQUEST;
    if (error != KERR_NONE) {
        raft_answer_with(c, fx, error);
        return;
    }
    if (epoch > c->election.epoch)
        raft_become_unattached(c, epoch, now_ms);
    if (!meant_for_us(c, ev->vote_request.voter)) {
        raft_answer_with(c, fx, KERR_INVALID_VOTER_KEY);
        return;
    }
    if (ev->vote_request.pre_vote) {
        fx->answer.granted = up_to_date && may_grant_pre_vote(c);
    } else if (up_to_date && may_grant_vote(c, candidate)) {
        c->election.voted = candidate;
        fx->answer.granted = true;
        if (c->role == RAFT_UNATTACHED) /* give the candidate time to win */
            c->deadline_ms = election_deadline(c, now_ms);
    }
    raft_answer_with(c, fx, KERR_NONE);
}

static void on_begin_request(struct raft_core *c, const struct raft_event *ev, int64_t now_ms,
                             struct raft_effects *fx)
{
    enum kerr error = check_voter_request(c, ev->begin_request.leader_id, ev->begin_request.epoch);

    if (error == KERR_NONE &&
        !learn_leader(c, ev->begin_request.epoch, ev->begin_request.leader_id, now_ms))
        error = KERR_INVALID_REQUEST;
    if (error == KERR_NONE && !meant_for_us(c, ev->begin_request.voter))
        error = KERR_INVALID_VOTER_KEY;
    raft_answer_with(c, fx, error);
}

/* The first of n successors stands at once, each next one waits longer, so that they do not
 * collide. */
static int64_t successor_delay(struct raft_core *c, const struct raft_event *ev)
{
    size_t count = ev->end_request.candidate_count;

    for (size_t i = 0; i < count; i++)
        if (ev->end_request.candidates[i].id == c->self.id)
            return c->timeouts.election_ms * (int64_t)i / (int64_t)count;
    return election_deadline(c, 0);
}

static void on_end_request(struct raft_core *c, const struct raft_event *ev, int64_t now_ms,
                           struct raft_effects *fx)
{
    enum kerr error = check_voter_request(c, ev->end_request.leader_id, ev->end_request.epoch);

    if (error == KERR_NONE &&
        !learn_leader(c, ev->end_request.epoch, ev->end_request.leader_id, now_ms))
        error = KERR_INVALID_REQUEST;
    if (error == KERR_NONE && c->role == RAFT_FOLLOWER) {
        c->leader_reached = false; /* it is gone by its own word */
        c->leader_ended = true;
        c->deadline_ms = now_ms + successor_delay(c, ev);
    }
    raft_answer_with(c, fx, error);
}

/* The leader that we only timed out on is there and leads: it was us who were slow, with a flush
 * perhaps. Others need not be asked, who may be cut off: while we wait for them nobody fetches, and
 * the leader loses its majority. One that is gone by its own word, or whose port was closed,
 * refuses too when it is back, but does not lead. */
static bool refused_by_leader(const struct raft_core *c, const struct raft_event *ev)
{
    return c->role == RAFT_PROSPECTIVE && c->leader_reached && !ev->vote_answer.granted &&
           ev->vote_answer.head.from == c->election.leader_id;
}

static void on_vote_answer(struct raft_core *c, const struct raft_event *ev, int64_t now_ms,
                           struct raft_effects *fx)
{
    const struct raft_answer_head *head = &ev->vote_answer.head;
    enum raft_role asked_as = ev->vote_answer.pre_vote ? RAFT_PROSPECTIVE : RAFT_CANDIDATE;
    struct raft_peer *p = raft_find_peer(c, (struct raft_replica_key){.id = head->from});
    bool failed = head->failed || !raft_learn(c, head, now_ms) || head->error != KERR_NONE;

    (void)fx;
    if (!p || c->role != asked_as || ev->vote_answer.request_epoch != c->election.epoch)
        return;
    p->in_flight = false;
    if (failed) {
        p->retry_ms = now_ms + c->timeouts.retry_backoff_ms;
        return;
    }
    if (refused_by_leader(c, ev)) {
        lose_pre_vote(c, now_ms);
        return;
    }
    if (p->vote == RAFT_VOTE_UNKNOWN)
        p->vote = ev->vote_answer.granted ? RAFT_VOTE_GRANTED : RAFT_VOTE_REFUSED;
    if (votes(c, RAFT_VOTE_GRANTED) >= raft_majority(c)) {
        if (c->role == RAFT_PROSPECTIVE)
            become_candidate(c, now_ms);
        else
            become_leader(c, now_ms);
    } else if (votes(c, RAFT_VOTE_REFUSED) > c->peer_count - raft_majority(c)) {
        if (c->role == RAFT_PROSPECTIVE)
            lose_pre_vote(c, now_ms);
        else
            lose_election(c, now_ms);
    }
}

static void on_begin_answer(struct raft_core *c, const struct raft_event *ev, int64_t now_ms,
                            struct raft_effects *fx)
{
    const struct raft_answer_head *head = &ev->begin_answer.head;
    struct raft_peer *p = raft_find_peer(c, (struct raft_replica_key){.id = head->from});
    bool failed = head->failed || !raft_learn(c, head, now_ms) || head->error != KERR_NONE;

    (void)fx;
    if (!p || c->role != RAFT_LEADER || ev->begin_answer.request_epoch != c->election.epoch)
        return;
    p->in_flight = false;
    p->acknowledged = !failed;
    if (!p->acknowledged)
        p->retry_ms = now_ms + c->timeouts.retry_backoff_ms;
}

static void on_resign(struct raft_core *c, const struct raft_event *ev, int64_t now_ms,
                      struct raft_effects *fx)
{
    (void)ev;
    (void)fx;
    if (c->role == RAFT_LEADER)
        resign(c, now_ms);
}

void raft_leader_is_gone(struct raft_core *c, int64_t now_ms)
{
    int64_t turn_ms = c->timeouts.election_ms / 10, stand_ms;
    int64_t before = 0;

    CHECK(c->role == RAFT_FOLLOWER);
    c->leader_reached = false;
    /* All followers notice at the same moment, and would split the vote, which costs an election
     * timeout: so they stand one after the other, by id. Who is first and cannot win is passed
     * after a turn. */
    for (size_t i = 0; i < c->peer_count; i++)
        before += c->peers[i].key.id < c->self.id && c->peers[i].key.id != c->election.leader_id;
    stand_ms = now_ms + before * turn_ms + (int64_t)(raft_random(c) % (uint64_t)(turn_ms / 5 + 1));
    if (stand_ms < c->deadline_ms)
        c->deadline_ms = stand_ms;
}

static void on_leader_lost(struct raft_core *c, const struct raft_event *ev, int64_t now_ms,
                           struct raft_effects *fx)
{
    (void)ev;
    (void)fx;
    if (c->role == RAFT_FOLLOWER)
        raft_leader_is_gone(c, now_ms);
}

static void on_tick(struct raft_core *c, const struct raft_event *ev, int64_t now_ms,
                    struct raft_effects *fx)
{
    (void)c;
    (void)ev;
    (void)now_ms;
    (void)fx;
}

/* ---- polls: what each role does about time ---- */

static void ask_for_votes(struct raft_core *c, int64_t now_ms)
{
    for (size_t i = 0; i < c->peer_count; i++) {
        struct raft_peer *p = &c->peers[i];
        struct raft_message *m;

        if (is_self(c, p) || p->vote != RAFT_VOTE_UNKNOWN || p->in_flight || now_ms < p->retry_ms)
            continue;
        m = raft_send(c, RAFT_SEND_VOTE, p->key);
        m->pre_vote = c->role == RAFT_PROSPECTIVE;
        m->last_epoch = c->last_epoch;
        m->offset = c->log_end_offset;
        p->in_flight = true;
    }
}

static void poll_unattached(struct raft_core *c, int64_t now_ms)
{
    if (raft_may_stand(c) && (is_only_voter(c) || now_ms >= c->deadline_ms))
        stand(c, now_ms);
}

static void poll_prospective(struct raft_core *c, int64_t now_ms)
{
    if (now_ms >= c->deadline_ms)
        lose_pre_vote(c, now_ms);
}

static void poll_candidate(struct raft_core *c, int64_t now_ms)
{
    if (now_ms >= c->deadline_ms)
        lose_election(c, now_ms);
}

/* When the leader must give up because no majority has fetched for 1.5 fetch timeouts. */
static int64_t check_quorum_deadline(const struct raft_core *c)
{
    int64_t latest[RAFT_VOTERS_MAX];
    size_t others = 0;
    size_t needed = raft_majority(c) - (raft_core_is_voter(c) ? 1 : 0);

    if (needed == 0)
        return RAFT_NEVER;
    for (size_t i = 0; i < c->peer_count; i++) {
        size_t at = others;

        if (is_self(c, &c->peers[i]))
            continue;
        for (; at > 0 && latest[at - 1] < c->peers[i].last_fetch_ms; at--)
            latest[at] = latest[at - 1];
        latest[at] = c->peers[i].last_fetch_ms;
        others++;
    }
    return latest[needed - 1] + c->timeouts.fetch_ms * 3 / 2;
}

/* Voters that do not fetch are told who leads, again and again (KIP-853: they may have lost their
 * memory). */
static int64_t begin_due_ms(const struct raft_core *c, const struct raft_peer *p)
{
    return p->acknowledged ? p->last_fetch_ms + c->timeouts.fetch_ms / 2 : p->retry_ms;
}

static void poll_leader(struct raft_core *c, int64_t now_ms)
{
    if (now_ms >= check_quorum_deadline(c) || raft_was_voted_out(c)) {
        resign(c, now_ms);
        return;
    }
    for (size_t i = 0; i < c->peer_count; i++) {
        struct raft_peer *p = &c->peers[i];

        if (is_self(c, p) || p->in_flight || now_ms < begin_due_ms(c, p) || now_ms < p->retry_ms)
            continue;
        raft_send(c, RAFT_SEND_BEGIN, p->key);
        p->in_flight = true;
        p->retry_ms = now_ms + c->timeouts.fetch_ms / 2;
    }
}

static void poll_follower(struct raft_core *c, int64_t now_ms)
{
    /* Our leader left the voters, or we are the whole quorum by now: the deadline decides all the
     * same. */
    if (now_ms < c->deadline_ms)
        return;
    if (raft_may_stand(c))
        stand(c, now_ms);
    else
        raft_become_unattached(c, c->election.epoch, now_ms);
}

static void poll_resigned(struct raft_core *c, int64_t now_ms)
{
    if (is_only_voter(c))
        stand(c, now_ms);
    else if (now_ms >= c->deadline_ms)
        raft_become_unattached(c, c->election.epoch + 1, now_ms);
}

static void poll(struct raft_core *c, int64_t now_ms)
{
    static void (*const polls[])(struct raft_core *, int64_t) = {
        [RAFT_UNATTACHED] = poll_unattached, [RAFT_PROSPECTIVE] = poll_prospective,
        [RAFT_CANDIDATE] = poll_candidate,   [RAFT_LEADER] = poll_leader,
        [RAFT_FOLLOWER] = poll_follower,     [RAFT_RESIGNED] = poll_resigned,
    };
    enum raft_role before;

    do { /* deadlines lie in the future after a move, so this ends */
        before = c->role;
        polls[c->role](c, now_ms);
    } while (c->role != before);
    if (c->role == RAFT_PROSPECTIVE || c->role == RAFT_CANDIDATE)
        ask_for_votes(c, now_ms);
    if (c->role == RAFT_FOLLOWER || c->role == RAFT_UNATTACHED)
        raft_poll_fetch(c, now_ms);
}

/* ---- the step ---- */

static int64_t earliest(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t next_deadline(const struct raft_core *c)
{
    int64_t deadline = c->deadline_ms;

    switch (c->role) {
    case RAFT_UNATTACHED:
        if (!raft_may_stand(c))
            deadline = RAFT_NEVER;
        return earliest(deadline, raft_fetch_deadline(c));
    case RAFT_FOLLOWER:
        return earliest(deadline, raft_fetch_deadline(c));
    case RAFT_LEADER:
        deadline = raft_was_voted_out(c) ? 0 : check_quorum_deadline(c);
        for (size_t i = 0; i < c->peer_count; i++) {
            const struct raft_peer *p = &c->peers[i];
            int64_t due = begin_due_ms(c, p);

            if (!is_self(c, p) && !p->in_flight)
                deadline = earliest(deadline, due > p->retry_ms ? due : p->retry_ms);
        }
        return deadline;
    case RAFT_PROSPECTIVE:
    case RAFT_CANDIDATE:
        for (size_t i = 0; i < c->peer_count; i++)
            if (!is_self(c, &c->peers[i]) && !c->peers[i].in_flight &&
                c->peers[i].vote == RAFT_VOTE_UNKNOWN)
                deadline = earliest(deadline, c->peers[i].retry_ms);
        return deadline;
    case RAFT_RESIGNED:
        return deadline;
    }
    return deadline;
}

/* Every invariant in one place. */
static void check_core(const struct raft_core *c)
{
    CHECK(c->peer_count <= RAFT_VOTERS_MAX);
    CHECK(c->log_start_offset <= c->log_end_offset);
    CHECK(c->flushed_end_offset <= c->log_end_offset);
    CHECK(c->high_watermark <= c->log_end_offset);
    CHECK(c->last_epoch <= c->election.epoch);
    if (c->role == RAFT_LEADER) {
        CHECK(c->election.leader_id == c->self.id);
        CHECK(c->epoch_start_offset <= c->log_end_offset);
    }
    if (c->role == RAFT_FOLLOWER) {
        CHECK(c->election.leader_id != RAFT_NO_NODE);
        CHECK(c->election.leader_id != c->self.id);
    }
    if (c->role == RAFT_CANDIDATE)
        CHECK(c->election.voted.id == c->self.id);
}

static bool same_election(const struct raft_election *a, const struct raft_election *b)
{
    return a->epoch == b->epoch && a->leader_id == b->leader_id &&
           raft_replica_key_equal(a->voted, b->voted);
}

void raft_core_step(struct raft_core *c, const struct raft_event *ev, int64_t now_ms,
                    struct raft_effects *fx)
{
    static void (*const handlers[RAFT_EVENT_TYPES])(struct raft_core *, const struct raft_event *,
                                                    int64_t, struct raft_effects *) = {
        [RAFT_TICK] = on_tick,
        [RAFT_APPENDED] = raft_on_appended,
        [RAFT_FLUSHED] = raft_on_flushed,
        [RAFT_TRUNCATED] = raft_on_truncated,
        [RAFT_SNAPSHOT] = raft_on_snapshot,
        [RAFT_VOTERS] = raft_on_voters,
        [RAFT_CHANGE_VOTERS] = raft_on_change_voters,
        [RAFT_RESIGN] = on_resign,
        [RAFT_LEADER_LOST] = on_leader_lost,
        [RAFT_VOTE_REQUEST] = on_vote_request,
        [RAFT_BEGIN_REQUEST] = on_begin_request,
        [RAFT_END_REQUEST] = on_end_request,
        [RAFT_FETCH_REQUEST] = raft_on_fetch_request,
        [RAFT_VOTE_ANSWER] = on_vote_answer,
        [RAFT_BEGIN_ANSWER] = on_begin_answer,
        [RAFT_FETCH_ANSWER] = raft_on_fetch_answer,
        [RAFT_SNAPSHOT_REQUEST] = raft_on_snapshot_request,
        [RAFT_SNAPSHOT_ANSWER] = raft_on_snapshot_answer,
    };
    struct raft_election election = c->election;
    enum raft_role role = c->role;
    int64_t high_watermark = c->high_watermark;

    check_core(c);
    CHECK((unsigned)ev->type < RAFT_EVENT_TYPES);
    *fx = (struct raft_effects){.truncate_to = -1};
    c->outbox_count = 0;
    handlers[ev->type](c, ev, now_ms, fx);
    /* the driver has something to feed back first */
    if (fx->truncate_to < 0 && !fx->append_fetched && !fx->change_voters)
        poll(c, now_ms);
    raft_advance_high_watermark(c);

    fx->persist = !same_election(&election, &c->election);
    fx->start_epoch =
        c->role == RAFT_LEADER && (role != RAFT_LEADER || election.epoch != c->election.epoch);
    fx->high_watermark_moved = c->high_watermark != high_watermark;
    fx->leadership_changed = (role == RAFT_LEADER) != (c->role == RAFT_LEADER) ||
                             election.epoch != c->election.epoch ||
                             election.leader_id != c->election.leader_id;
    fx->messages = c->outbox;
    fx->message_count = c->outbox_count;
    fx->deadline_ms = next_deadline(c);
    check_core(c);
}

/* A node starts in the role that it had, but a leader starts resigned: what it wrote and did not
 * flush may be lost, and the same offsets must not be written twice in one epoch. */
void raft_core_init(struct raft_core *c, const struct raft_core_args *args, int64_t now_ms)
{
    *c = (struct raft_core){
        .self = args->self,
        .timeouts = args->timeouts,
        .random = args->random_seed,
        .role = RAFT_UNATTACHED,
        .followed_id = RAFT_NO_NODE,
        .election = args->election,
        .log_start_offset = args->log_start_offset,
        .log_end_offset = args->log_end_offset,
        .flushed_end_offset = args->flushed_end_offset,
        .last_epoch = args->last_epoch,
        .oldest_snapshot = args->oldest_snapshot,
        .latest_snapshot = args->latest_snapshot,
        .voters_offset = args->voters_offset,
        .kraft_version = args->kraft_version,
        .was_voter = args->was_voter,
        .bootstrap_count = args->bootstrap_count,
    };
    if (args->latest_snapshot.end_offset > 0) /* snapshots are taken of what is committed */
        c->high_watermark = args->latest_snapshot.end_offset;
    raft_set_voters(c, args->voters, now_ms);
    if (c->election.epoch < c->last_epoch) /* crashed between the first record and quorum-state */
        c->election = (struct raft_election){
            .epoch = c->last_epoch, .leader_id = RAFT_NO_NODE, .voted = nobody};
    if (c->election.leader_id == c->self.id) {
        c->role = RAFT_RESIGNED;
        c->deadline_ms = election_deadline(c, now_ms);
    } else if (c->election.leader_id != RAFT_NO_NODE) {
        c->role = RAFT_FOLLOWER;
        c->deadline_ms = now_ms + c->timeouts.fetch_ms;
    } else {
        c->deadline_ms = election_deadline(c, now_ms);
    }
    check_core(c);
}
