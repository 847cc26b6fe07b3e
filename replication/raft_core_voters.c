/* Who votes, and what is said to those who want that changed (KIP-853). */

#include <string.h>

#include "replication/raft_core_internal.h"

static const struct raft_peer *exact_peer(const struct raft_core *c, struct raft_replica_key key)
{
    for (size_t i = 0; i < c->peer_count; i++)
        if (raft_replica_key_equal(c->peers[i].key, key))
            return &c->peers[i];
    return NULL;
}

static bool is_voter_id(const struct raft_core *c, int32_t id)
{
    for (size_t i = 0; i < c->peer_count; i++)
        if (c->peers[i].key.id == id)
            return true;
    return false;
}

static enum kerr check_may_change(const struct raft_core *c, const struct raft_event *ev)
{
    if (c->role != RAFT_LEADER)
        return KERR_NOT_LEADER_OR_FOLLOWER;
    if (ev->voter_change.kind == RAFT_UPDATE_VOTER && ev->voter_change.epoch != c->election.epoch)
        return ev->voter_change.epoch < c->election.epoch ? KERR_FENCED_LEADER_EPOCH
                                                          : KERR_UNKNOWN_LEADER_EPOCH;
    if (c->kraft_version < 1)
        return ev->voter_change.kind == RAFT_UPDATE_VOTER ? KERR_NONE : KERR_UNSUPPORTED_VERSION;
    /* Two sets that differ in one voter share a majority; those that differ in two need not. */
    if (c->high_watermark <= c->epoch_start_offset || c->high_watermark <= c->voters_offset)
        return KERR_REQUEST_TIMED_OUT;
    return KERR_NONE;
}

enum kerr raft_core_check_voter_change(const struct raft_core *c, const struct raft_event *ev)
{
    struct raft_replica_key key = ev->voter_change.key;
    enum kerr error = check_may_change(c, ev);

    if (error != KERR_NONE)
        return error;
    switch (ev->voter_change.kind) {
    case RAFT_ADD_VOTER:
        if (is_voter_id(c, key.id))
            return KERR_DUPLICATE_VOTER;
        if (key.id < 0 || uuid_is_zero(key.directory_id) || !ev->voter_change.speaks ||
            c->peer_count == RAFT_VOTERS_MAX)
            return KERR_INVALID_REQUEST;
        return ev->voter_change.caught_up ? KERR_NONE : KERR_REQUEST_TIMED_OUT;
    case RAFT_REMOVE_VOTER:
        if (!exact_peer(c, key))
            return KERR_VOTER_NOT_FOUND;
        return c->peer_count > 1 ? KERR_NONE : KERR_INVALID_REQUEST;
    case RAFT_UPDATE_VOTER:
        if (c->kraft_version < 1 ? !is_voter_id(c, key.id) : !exact_peer(c, key))
            return KERR_VOTER_NOT_FOUND;
        return ev->voter_change.speaks ? KERR_NONE : KERR_INVALID_REQUEST;
    }
    return KERR_INVALID_REQUEST;
}

void raft_on_change_voters(struct raft_core *c, const struct raft_event *ev, int64_t now_ms,
                           struct raft_effects *fx)
{
    enum kerr error = raft_core_check_voter_change(c, ev);

    (void)now_ms;
    raft_answer_with(c, fx, error);
    fx->change_voters = error == KERR_NONE && c->kraft_version >= 1;
}

bool raft_may_stand(const struct raft_core *c)
{
    return raft_core_is_voter(c) ||
           (c->was_voter && c->peer_count > 0 && c->high_watermark <= c->voters_offset);
}

bool raft_was_voted_out(const struct raft_core *c)
{
    return !raft_core_is_voter(c) && c->high_watermark > c->voters_offset &&
           c->high_watermark > c->epoch_start_offset;
}

void raft_set_voters(struct raft_core *c, const struct voter_set *voters, int64_t now_ms)
{
    struct raft_peer old[RAFT_VOTERS_MAX];
    size_t old_count = c->peer_count;

    memcpy(old, c->peers, sizeof old);
    c->peer_count = voter_set_count(voters);
    for (size_t i = 0; i < c->peer_count; i++) {
        struct raft_replica_key key = voter_set_at(voters, i)->key;

        c->peers[i] = (struct raft_peer){
            .key = key, .end_offset = -1, .last_fetch_ms = now_ms, .last_caught_up_ms = -1};
        for (size_t k = 0; k < old_count; k++)
            if (raft_replica_key_equal(old[k].key, key))
                c->peers[i] = old[k];
    }
}

void raft_on_voters(struct raft_core *c, const struct raft_event *ev, int64_t now_ms,
                    struct raft_effects *fx)
{
    (void)fx;
    raft_set_voters(c, ev->voters.set, now_ms);
    c->voters_offset = ev->voters.offset;
    c->kraft_version = ev->voters.kraft_version;
    c->was_voter = ev->voters.was_voter;
    if ((c->role == RAFT_PROSPECTIVE || c->role == RAFT_CANDIDATE) && !raft_may_stand(c))
        raft_become_unattached(c, c->election.epoch, now_ms);
}
