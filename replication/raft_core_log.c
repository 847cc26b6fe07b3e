/* The log's side of Raft: followers pull, the leader counts how far a majority has come. An offset
 * counts for a voter when it is durable there: a follower asks for an offset only after it flushed
 * all below it, and the leader counts its own flushed end. */

#include <string.h>

#include "protocol/base/check.h"
#include "replication/raft_core_internal.h"

/* How long an unattached node waits between two tries to find a leader. */
#define DISCOVERY_MS 50

void raft_advance_high_watermark(struct raft_core *c)
{
    int64_t ends[RAFT_VOTERS_MAX];
    int64_t reached;

    if (c->role == RAFT_FOLLOWER) {
        reached = c->leader_high_watermark < c->log_end_offset ? c->leader_high_watermark
                                                               : c->log_end_offset;
        if (reached > c->high_watermark)
            c->high_watermark = reached;
        return;
    }
    if (c->role != RAFT_LEADER || c->peer_count == 0)
        return;
    for (size_t i = 0; i < c->peer_count; i++) {
        const struct raft_peer *p = &c->peers[i];
        int64_t end = raft_is_own_replica(c, p->key) ? c->flushed_end_offset : p->end_offset;
        size_t at = i;

        for (; at > 0 && ends[at - 1] < end; at--)
            ends[at] = ends[at - 1];
        ends[at] = end;
    }
    reached = ends[raft_majority(c) - 1];
    /* Records of older epochs are committed only by one of ours on top of them (Raft, 5.4.2). */
    if (reached > c->epoch_start_offset && reached > c->high_watermark)
        c->high_watermark = reached;
}

void raft_on_appended(struct raft_core *c, const struct raft_event *ev, int64_t now_ms,
                      struct raft_effects *fx)
{
    (void)now_ms;
    (void)fx;
    CHECK(ev->log.end_offset >= c->log_end_offset);
    CHECK(ev->log.last_epoch >= c->last_epoch);
    c->log_end_offset = ev->log.end_offset;
    c->last_epoch = ev->log.last_epoch;
}

void raft_on_flushed(struct raft_core *c, const struct raft_event *ev, int64_t now_ms,
                     struct raft_effects *fx)
{
    (void)now_ms;
    (void)fx;
    /* The flush may have begun before a truncation. */
    if (ev->log.end_offset > c->flushed_end_offset)
        c->flushed_end_offset =
            ev->log.end_offset < c->log_end_offset ? ev->log.end_offset : c->log_end_offset;
}

void raft_on_truncated(struct raft_core *c, const struct raft_event *ev, int64_t now_ms,
                       struct raft_effects *fx)
{
    (void)now_ms;
    (void)fx;
    CHECK(ev->log.end_offset >= c->high_watermark);
    CHECK(ev->log.end_offset >= c->log_start_offset);
    c->log_end_offset = ev->log.end_offset;
    c->last_epoch = ev->log.last_epoch;
    if (c->flushed_end_offset > c->log_end_offset)
        c->flushed_end_offset = c->log_end_offset;
}

void raft_on_snapshot(struct raft_core *c, const struct raft_event *ev, int64_t now_ms,
                      struct raft_effects *fx)
{
    (void)now_ms;
    (void)fx;
    c->oldest_snapshot = ev->snapshot.oldest;
    c->latest_snapshot = ev->snapshot.latest;
    c->log_start_offset = ev->snapshot.log_start_offset;
    if (!ev->snapshot.fetched)
        return;
    c->log_end_offset = ev->snapshot.log_end_offset;
    c->flushed_end_offset = ev->snapshot.log_end_offset;
    c->last_epoch = ev->snapshot.last_epoch;
    if (c->high_watermark < ev->snapshot.latest.end_offset)
        c->high_watermark = ev->snapshot.latest.end_offset;
    c->snapshot_in_flight = false;
}

/* ---- leader ---- */

static enum kerr check_fetch_epoch(const struct raft_core *c, int32_t epoch)
{
    if (epoch < c->election.epoch)
        return KERR_FENCED_LEADER_EPOCH;
    if (epoch > c->election.epoch)
        return KERR_UNKNOWN_LEADER_EPOCH;
    return c->role == RAFT_LEADER ? KERR_NONE : KERR_NOT_LEADER_OR_FOLLOWER;
}

/* Where a replica at (offset, last_epoch) stands against our log. */
static enum raft_fetch_outcome place_fetch(const struct raft_core *c, const struct raft_event *ev,
                                           struct raft_snapshot_id *at)
{
    int64_t offset = ev->fetch_request.offset;
    int32_t last_epoch = ev->fetch_request.last_epoch;
    struct raft_snapshot_id end = ev->fetch_request.epoch_end;
    const struct raft_snapshot_id *oldest = &c->oldest_snapshot;

    if (c->log_start_offset == 0 && offset == 0)
        return RAFT_FETCH_RECORDS;
    if (oldest->end_offset >= 0 &&
        (offset < c->log_start_offset ||
         (offset == c->log_start_offset && last_epoch != oldest->epoch) ||
         last_epoch < oldest->epoch)) {
        *at = c->latest_snapshot;
        return RAFT_FETCH_SNAPSHOT;
    }
    if (end.epoch < 0) {
        if (offset == c->log_start_offset && oldest->end_offset == offset &&
            last_epoch == oldest->epoch)
            return RAFT_FETCH_RECORDS; /* it stands right behind the snapshot that our log starts
                                        * at */
        *at = (struct raft_snapshot_id){c->log_start_offset,
                                        oldest->end_offset >= 0 ? oldest->epoch : 0};
        return RAFT_FETCH_DIVERGING;
    }
    if (end.epoch != last_epoch || end.end_offset < offset) {
        *at = end;
        return RAFT_FETCH_DIVERGING;
    }
    return RAFT_FETCH_RECORDS;
}

void raft_on_fetch_request(struct raft_core *c, const struct raft_event *ev, int64_t now_ms,
                           struct raft_effects *fx)
{
    enum kerr error = check_fetch_epoch(c, ev->fetch_request.epoch);
    struct raft_peer *p = raft_find_peer(c, ev->fetch_request.replica);

    if (error == KERR_NONE && (ev->fetch_request.offset < 0 || ev->fetch_request.last_epoch < -1))
        error = KERR_INVALID_REQUEST;
    if (error != KERR_NONE) {
        raft_answer_with(c, fx, error);
        return;
    }
    fx->answer.outcome = place_fetch(c, ev, &fx->answer.at);
    if (p && p->key.id != c->self.id) {
        p->last_fetch_ms = now_ms;
        p->acknowledged = true;
        if (fx->answer.outcome == RAFT_FETCH_RECORDS) {
            p->end_offset = ev->fetch_request.offset;
            if (p->end_offset >= c->log_end_offset)
                p->last_caught_up_ms = now_ms;
        }
    }
    raft_advance_high_watermark(c); /* the answer carries it */
    raft_answer_with(c, fx, KERR_NONE);
}

/* A replica that fetches a snapshot is alive, though it asks for no records. */
void raft_on_snapshot_request(struct raft_core *c, const struct raft_event *ev, int64_t now_ms,
                              struct raft_effects *fx)
{
    enum kerr error = check_fetch_epoch(c, ev->snapshot_request.epoch);
    struct raft_peer *p = raft_find_peer(c, ev->snapshot_request.replica);

    if (error == KERR_NONE && p && p->key.id != c->self.id) {
        p->last_fetch_ms = now_ms;
        p->acknowledged = true;
    }
    raft_answer_with(c, fx, error);
}

/* ---- follower ---- */

/* The leader, which need not be a voter any more; else somebody who may know it. False: there is
 * nobody to ask. */
static bool fetch_target(struct raft_core *c, struct raft_replica_key *out)
{
    const struct raft_peer *leader;
    size_t start;

    if (c->role == RAFT_FOLLOWER) {
        *out = (struct raft_replica_key){.id = c->election.leader_id};
        leader = raft_find_peer(c, *out);
        if (leader)
            *out = leader->key;
        return true;
    }
    /* The voters that an observer knows may all be gone by now; the settings are kept up to date by
     * people. */
    if (c->bootstrap_count > 0 && !raft_core_is_voter(c)) {
        *out =
            (struct raft_replica_key){.id = RAFT_BOOTSTRAP_ID(raft_random(c) % c->bootstrap_count)};
        return true;
    }
    if (c->peer_count == 0)
        return false;
    start = (size_t)(raft_random(c) % c->peer_count);
    for (size_t i = 0; i < c->peer_count; i++) {
        *out = c->peers[(start + i) % c->peer_count].key;
        if (out->id != c->self.id)
            return true;
    }
    return false;
}

void raft_poll_fetch(struct raft_core *c, int64_t now_ms)
{
    struct raft_replica_key target;
    struct raft_message *m;

    if (c->fetch_in_flight || c->snapshot_in_flight || now_ms < c->fetch_retry_ms ||
        c->flushed_end_offset < c->log_end_offset)
        return;
    if (!fetch_target(c, &target))
        return;
    m = raft_send(c, RAFT_SEND_FETCH, target);
    m->offset = c->log_end_offset;
    m->last_epoch = c->last_epoch;
    m->high_watermark = c->high_watermark;
    m->fetch_id = ++c->fetch_id;
    c->fetch_in_flight = true;
}

int64_t raft_fetch_deadline(const struct raft_core *c)
{
    if (c->fetch_in_flight || c->snapshot_in_flight || c->flushed_end_offset < c->log_end_offset)
        return RAFT_NEVER; /* an event will come */
    if (c->role == RAFT_FOLLOWER || (c->bootstrap_count > 0 && !raft_core_is_voter(c)))
        return c->fetch_retry_ms;
    for (size_t i = 0; i < c->peer_count; i++)
        if (c->peers[i].key.id != c->self.id)
            return c->fetch_retry_ms;
    return RAFT_NEVER; /* nobody to ask */
}

/* Where the log must end to agree with a leader for which `at` is the newest common point. */
static int64_t common_end(const struct raft_core *c, struct raft_snapshot_id at,
                          struct raft_snapshot_id ours)
{
    if (ours.epoch < 0)
        return c->log_start_offset;
    if (ours.epoch == at.epoch && at.end_offset < ours.end_offset)
        return at.end_offset;
    return ours.end_offset;
}

static void take_fetched(struct raft_core *c, const struct raft_event *ev, struct raft_effects *fx)
{
    switch (ev->fetch_answer.outcome) {
    case RAFT_FETCH_DIVERGING:
        fx->truncate_to = common_end(c, ev->fetch_answer.at, ev->fetch_answer.epoch_end);
        if (fx->truncate_to > c->log_end_offset)
            fx->truncate_to = c->log_end_offset;
        if (fx->truncate_to < c->high_watermark || fx->truncate_to < c->log_start_offset) {
            fx->truncate_to = -1;
            fx->broken = "the leader asks to drop committed records";
        }
        break;
    case RAFT_FETCH_SNAPSHOT:
        if (ev->fetch_answer.at.end_offset < c->high_watermark) {
            fx->broken = "the leader's snapshot ends before our high watermark";
            break;
        }
        fx->fetch_snapshot = true;
        fx->snapshot_id = ev->fetch_answer.at;
        c->snapshot_in_flight = true;
        break;
    case RAFT_FETCH_RECORDS:
        fx->append_fetched = ev->fetch_answer.has_records;
        if (ev->fetch_answer.high_watermark > c->leader_high_watermark)
            c->leader_high_watermark = ev->fetch_answer.high_watermark;
        break;
    }
}

static void reached_leader(struct raft_core *c, int64_t now_ms)
{
    c->leader_reached = true;
    c->followed_id = c->election.leader_id;
    c->followed_ms = now_ms;
    c->deadline_ms = now_ms + c->timeouts.fetch_ms;
}

/* Our leader itself says that it does not lead, in the epoch in which it did: it was restarted,
 * perhaps faster than anybody could find its port closed. It stays so until the next election. */
static bool leader_has_resigned(const struct raft_core *c, const struct raft_answer_head *head)
{
    return c->role == RAFT_FOLLOWER && head->from == c->election.leader_id &&
           head->epoch == c->election.epoch && head->error == KERR_NOT_LEADER_OR_FOLLOWER;
}

/* No snapshot of what is committed is younger than who leads. */
static bool names_future_snapshot(const struct raft_event *ev)
{
    return ev->fetch_answer.outcome == RAFT_FETCH_SNAPSHOT &&
           ev->fetch_answer.at.epoch > ev->fetch_answer.head.epoch;
}

void raft_on_fetch_answer(struct raft_core *c, const struct raft_event *ev, int64_t now_ms,
                          struct raft_effects *fx)
{
    const struct raft_answer_head *head = &ev->fetch_answer.head;
    bool failed = head->failed || !raft_learn(c, head, now_ms) || head->error != KERR_NONE;

    if (!c->fetch_in_flight || ev->fetch_answer.fetch_id != c->fetch_id)
        return;
    c->fetch_in_flight = false;
    if (!head->failed && leader_has_resigned(c, head) && !c->leader_ended)
        raft_leader_is_gone(c, now_ms);
    if (failed || c->role != RAFT_FOLLOWER || head->from != c->election.leader_id ||
        head->epoch != c->election.epoch || names_future_snapshot(ev)) {
        c->fetch_retry_ms =
            now_ms + (c->role == RAFT_FOLLOWER ? c->timeouts.retry_backoff_ms : DISCOVERY_MS);
        return;
    }
    reached_leader(c, now_ms);
    take_fetched(c, ev, fx);
}

/* Part of a snapshot has come, or cannot be had: then the leader is asked anew what to fetch. */
void raft_on_snapshot_answer(struct raft_core *c, const struct raft_event *ev, int64_t now_ms,
                             struct raft_effects *fx)
{
    const struct raft_answer_head *head = &ev->snapshot_answer.head;
    bool failed = head->failed || !raft_learn(c, head, now_ms) || head->error != KERR_NONE;

    (void)fx;
    if (!c->snapshot_in_flight) /* the role has changed: nobody waits for it */
        return;
    if (failed) {
        c->snapshot_in_flight = false;
        c->fetch_retry_ms = now_ms + c->timeouts.retry_backoff_ms;
        return;
    }
    reached_leader(c, now_ms);
}
