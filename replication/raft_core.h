#ifndef REPLICATION_RAFT_CORE_H
#define REPLICATION_RAFT_CORE_H

/* Raft as Kafka has it (KIP-595, 853, 996): who leads, and how far the log is committed. Pure: no
 * file, clock, socket or thread; records never pass through here, only offsets and epochs do.
 *
 *                    timeout                  pre-votes               votes
 *   +------------+ ----------> +-------------+ ------> +-----------+ ------> +--------+
 *   | unattached |             | prospective |         | candidate |         | leader |
 *   +------------+ <---------- +-------------+ <------ +-----------+         +--------+
 *      ^   |  a leader   lost     ^   | lost, leader     lost or timeout         | resigns or hears
 *      |   v  is heard of         |   v still known                              v no majority
 *      |  +----------+  timeout   |                                         +----------+
 *      |  | follower | -----------+            next epoch after a timeout   | resigned |
 *      |  +----------+                 <------------------------------------+----------+
 *      +---- any role, on a higher epoch without a known leader (with one: follower)
 *
 * A pre-vote (KIP-996) asks whether an election could be won, without raising the epoch. A voter
 * that is the whole quorum skips the question and the waiting: it is elected in the step that
 * starts it.
 *
 * Voters are (id, directory id) pairs. A node that is not among them is an observer: it follows and
 * never stands or votes.
 *
 * Voters change one at a time (KIP-853): the newest set of the log counts at once, and the next
 * change waits until it is committed. A leader that is not in the newest set leads until that is
 * committed, then resigns. Nor does who is not in it let others win who lack it: it stands itself,
 * without a vote of its own, until it knows that the set is committed (Raft, thesis, 4.2.2). */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/base/kerr.h"
#include "replication/raft_types.h"

enum raft_role {
    RAFT_UNATTACHED,
    RAFT_PROSPECTIVE,
    RAFT_CANDIDATE,
    RAFT_LEADER,
    RAFT_FOLLOWER,
    RAFT_RESIGNED,
};

const char *raft_role_name(enum raft_role role);

/* ---- events ---- */

enum raft_event_type {
    RAFT_TICK,      /* time has passed */
    RAFT_APPENDED,  /* the log has grown, by our appends as leader or by what we fetched */
    RAFT_FLUSHED,   /* the log is durable up to here, and so is the election persisted before */
    RAFT_TRUNCATED, /* effect truncate_to was carried out */
    RAFT_SNAPSHOT, /* a snapshot is in place: taken by us, or fetched and the log restarted at it */
    RAFT_VOTERS,   /* the newest voter set of the log is another one */
    RAFT_RESIGN,   /* give up leadership; no-op elsewhere */
    RAFT_LEADER_LOST, /* the leader's node refuses connections: do not wait for the fetch timeout */
    RAFT_CHANGE_VOTERS, /* a voter is to be added, removed or updated: effects.answer.error,
                         * effects.change_voters */
    RAFT_VOTE_REQUEST,  /* requests: effects.answer is filled */
    RAFT_BEGIN_REQUEST,
    RAFT_END_REQUEST,
    RAFT_FETCH_REQUEST,
    RAFT_VOTE_ANSWER, /* answers to effects.messages; failed: none came */
    RAFT_BEGIN_ANSWER,
    RAFT_FETCH_ANSWER,
    RAFT_SNAPSHOT_REQUEST, /* a replica asks for a piece of a snapshot */
    RAFT_SNAPSHOT_ANSWER,  /* a piece of the snapshot of effects.fetch_snapshot came, or its fetch
                           * failed */
    RAFT_EVENT_TYPES,
};

/* What every answer says; epoch and leader are the sender's view. */
struct raft_answer_head {
    int32_t from;
    bool failed; /* no answer: the rest says nothing */
    enum kerr error;
    int32_t epoch;
    int32_t leader_id;
};

enum raft_fetch_outcome {
    RAFT_FETCH_RECORDS,   /* from the asked offset, maybe none */
    RAFT_FETCH_DIVERGING, /* your last epoch ends earlier here: `at` = the newest common epoch
                           * and its end */
    RAFT_FETCH_SNAPSHOT,  /* the log starts later: fetch snapshot `at` */
};

enum raft_voter_change { RAFT_ADD_VOTER, RAFT_REMOVE_VOTER, RAFT_UPDATE_VOTER };

struct raft_event {
    enum raft_event_type type;
    union {
        struct {
            int64_t end_offset;
            int32_t last_epoch; /* of the last record in the log */
        } log;                  /* APPENDED, TRUNCATED; FLUSHED reads end_offset only */
        struct {
            int64_t log_start_offset; /* after it */
            int64_t log_end_offset;
            int32_t last_epoch;
            struct raft_snapshot_id oldest;
            struct raft_snapshot_id latest;
            bool fetched; /* the log was restarted at `latest` */
        } snapshot;
        struct {
            const struct voter_set *set;
            int64_t offset; /* of its record */
            int16_t kraft_version;
            bool was_voter; /* we are in the set before it */
        } voters;
        struct {
            enum raft_voter_change kind;
            struct raft_replica_key key;
            int32_t epoch;  /* UPDATE: the leader's, as the voter knows it */
            bool speaks;    /* ADD, UPDATE: it supports the kraft.version of the quorum */
            bool caught_up; /* ADD: it had all of the log not long ago */
        } voter_change;
        struct {
            struct raft_replica_key candidate;
            struct raft_replica_key voter; /* whom the sender means; id -1 when it does not say */
            int32_t epoch;
            int32_t last_epoch;
            int64_t last_offset; /* its log end */
            bool pre_vote;
        } vote_request;
        struct {
            struct raft_replica_key voter;
            int32_t leader_id;
            int32_t epoch;
        } begin_request;
        struct {
            int32_t leader_id;
            int32_t epoch;
            const struct raft_replica_key *candidates; /* best first */
            size_t candidate_count;
        } end_request;
        struct {
            struct raft_replica_key replica;
            int32_t epoch;
            int64_t offset;
            int32_t last_epoch;
            /* Fact of our log: largest epoch <= last_epoch, and its end; epoch -1 when there is
             * none. */
            struct raft_snapshot_id epoch_end;
        } fetch_request;
        struct {
            struct raft_answer_head head;
            int32_t request_epoch; /* of the message this answers */
            bool pre_vote;
            bool granted;
        } vote_answer;
        struct {
            struct raft_answer_head head;
            int32_t request_epoch;
        } begin_answer;
        struct {
            struct raft_answer_head head;
            uint32_t fetch_id; /* of the message this answers */
            enum raft_fetch_outcome outcome;
            struct raft_snapshot_id at;
            /* Fact of our log, with DIVERGING: largest epoch <= at.epoch, and its end; -1 when
             * none. */
            struct raft_snapshot_id epoch_end;
            int64_t high_watermark;
            bool has_records;
        } fetch_answer;
        struct {
            struct raft_replica_key replica;
            int32_t epoch;
        } snapshot_request;
        struct {
            struct raft_answer_head head;
        } snapshot_answer;
    };
};

/* ---- effects ---- */

enum raft_message_type { RAFT_SEND_VOTE, RAFT_SEND_BEGIN, RAFT_SEND_END, RAFT_SEND_FETCH };

/* A request to another voter. */
struct raft_message {
    enum raft_message_type type;
    struct raft_replica_key to;
    int32_t epoch;
    bool pre_vote;          /* VOTE */
    int32_t last_epoch;     /* VOTE, FETCH */
    int64_t offset;         /* VOTE: log end; FETCH: where from */
    int64_t high_watermark; /* FETCH: ours, so that the leader need not wait when it knows better
                             * (KIP-1166) */
    uint32_t fetch_id;
};

struct raft_answer {
    enum kerr error;
    int32_t epoch;
    int32_t leader_id;
    bool granted;                    /* VOTE */
    enum raft_fetch_outcome outcome; /* FETCH without error */
    struct raft_snapshot_id at;
    int64_t high_watermark;
};

/* The order to carry them out in is raft_node.h's. */
struct raft_effects {
    int64_t truncate_to; /* -1: no. Then feed RAFT_TRUNCATED before anything else */
    bool persist;     /* core->election changed: make it durable before messages and answer leave */
    bool start_epoch; /* we lead election.epoch: append its leader change, feed RAFT_APPENDED */
    bool append_fetched; /* the records of this FETCH_ANSWER are good: append, feed RAFT_APPENDED */
    bool fetch_snapshot; /* get snapshot_id from the leader: feed RAFT_SNAPSHOT_ANSWER for each
                          * piece, then RAFT_SNAPSHOT. Another role or epoch ends it */
    struct raft_snapshot_id snapshot_id;
    bool change_voters; /* append the new set, feed RAFT_APPENDED, then RAFT_VOTERS */
    bool high_watermark_moved;
    bool leadership_changed; /* role (leading or not), epoch or leader_id */
    const struct raft_message *messages;
    size_t message_count;
    struct raft_answer answer; /* of a _REQUEST event */
    /* A peer's answer contradicts what we know to be committed; the node must stop. NULL: all is
     * well. */
    const char *broken;
    int64_t deadline_ms; /* step again with RAFT_TICK then; INT64_MAX: never */
};

/* ---- state ---- */

enum raft_vote { RAFT_VOTE_UNKNOWN, RAFT_VOTE_GRANTED, RAFT_VOTE_REFUSED };

struct raft_peer {
    struct raft_replica_key key;
    enum raft_vote vote;
    bool in_flight;     /* a vote or begin request is under way */
    bool acknowledged;  /* knows that we lead */
    int64_t retry_ms;   /* not before */
    int64_t end_offset; /* as leader: where it fetches from; -1 unknown */
    int64_t last_fetch_ms;
    int64_t last_caught_up_ms; /* when it last had all; -1 never */
};

/* Read it freely; only raft_core_* change it. */
struct raft_core {
    struct raft_replica_key self;
    struct raft_timeouts timeouts;
    uint64_t random;

    enum raft_role role;
    struct raft_election election;
    int64_t deadline_ms; /* of the role: election or fetch timeout */
    int32_t followed_id; /* who answered our last fetch that was any good; RAFT_NO_NODE: nobody
                          * yet */
    int64_t followed_ms; /* and when */
    bool leader_reached; /* follower, prospective: the leader has answered a fetch in this epoch,
                          * and nothing says that it is gone */
    bool leader_ended; /* follower: the leader has named its successors, who stand in that order */

    int64_t log_start_offset;
    int64_t log_end_offset;
    int64_t flushed_end_offset;
    int32_t last_epoch;                      /* of the last record; 0 when none */
    struct raft_snapshot_id oldest_snapshot; /* end_offset -1: none */
    struct raft_snapshot_id latest_snapshot;
    int64_t high_watermark;        /* exclusive; 0: unknown */
    int64_t leader_high_watermark; /* follower: what the leader said, maybe beyond our log */
    int64_t epoch_start_offset;    /* leader: of its leader change */

    uint32_t fetch_id; /* of the latest fetch */
    bool fetch_in_flight;
    bool snapshot_in_flight;
    int64_t fetch_retry_ms;

    int64_t voters_offset;  /* of the newest set; below 0: it is not in the log */
    int16_t kraft_version;  /* that it was written with */
    bool was_voter;         /* we are in the set before it */
    size_t bootstrap_count; /* places where an observer may ask who leads */
    size_t peer_count;      /* the voters, ourselves included */
    struct raft_peer peers[RAFT_VOTERS_MAX];
    struct raft_message outbox[2 * RAFT_VOTERS_MAX + 2];
    size_t outbox_count;
};

/* What the disk says at start. */
struct raft_core_args {
    struct raft_replica_key self;
    struct raft_timeouts timeouts;
    uint64_t random_seed;
    struct raft_election election; /* quorum-state, or {0, -1, -1} */
    const struct voter_set *voters;
    int64_t voters_offset;
    int16_t kraft_version;
    bool was_voter;
    size_t bootstrap_count;
    int64_t log_start_offset;
    int64_t log_end_offset;
    int64_t flushed_end_offset;
    int32_t last_epoch;
    struct raft_snapshot_id oldest_snapshot;
    struct raft_snapshot_id latest_snapshot;
};

/* Takes no step: the first RAFT_TICK does. */
void raft_core_init(struct raft_core *c, const struct raft_core_args *args, int64_t now_ms);

/* Events are borrowed for the call. Effects point into `c` and stay valid until the next step. */
void raft_core_step(struct raft_core *c, const struct raft_event *ev, int64_t now_ms,
                    struct raft_effects *fx);

/* What would be said to such a change now; RAFT_CHANGE_VOTERS says the same. Reads ev.voter_change.
 *
 * NOT_LEADER_OR_FOLLOWER  We do not lead.
 * FENCED_LEADER_EPOCH, UNKNOWN_LEADER_EPOCH  UPDATE: the voter knows another epoch.
 * UNSUPPORTED_VERSION     kraft.version 0: the voters are in the settings. UPDATE is heard all the
 *                         same, for what it says of the voter's disk; nothing is appended.
 * REQUEST_TIMED_OUT       Not now: the epoch's start or the change before is not committed, or ADD:
 *                         it has not caught up.
 * DUPLICATE_VOTER, VOTER_NOT_FOUND
 * INVALID_REQUEST         It does not speak our kraft.version; REMOVE: it is the only one; ADD:
 *                         there are too many. */
enum kerr raft_core_check_voter_change(const struct raft_core *c, const struct raft_event *ev);

/* Whether we vote: our (id, directory) is in the voter set. */
bool raft_core_is_voter(const struct raft_core *c);

/* Voters other than us, the furthest first: EndQuorumEpoch's preferred candidates. out has room for
 * every voter. Answers how many. */
size_t raft_core_successors(const struct raft_core *c, struct raft_replica_key *out);

#endif
