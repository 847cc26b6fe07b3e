#ifndef REPLICATION_RAFT_CORE_INTERNAL_H
#define REPLICATION_RAFT_CORE_INTERNAL_H

/* Between raft_core.c (roles and elections), raft_core_voters.c (who votes) and raft_core_log.c
 * (what is replicated and committed). */

#include "replication/raft_core.h"

#define RAFT_NEVER INT64_MAX

/* raft_core.c */
void raft_become_unattached(struct raft_core *c, int32_t epoch, int64_t now_ms);
void raft_become_follower(struct raft_core *c, int32_t epoch, int32_t leader_id, int64_t now_ms);
/* Whether a voter's key means this node and this disk; a voter without a directory (kraft.version
 * 0) means any. */
bool raft_is_own_replica(const struct raft_core *c, struct raft_replica_key key);
struct raft_peer *raft_find_peer(struct raft_core *c, struct raft_replica_key key);
size_t raft_majority(const struct raft_core *c);
struct raft_message *raft_send(struct raft_core *c, enum raft_message_type type,
                               struct raft_replica_key to);
void raft_answer_with(const struct raft_core *c, struct raft_effects *fx, enum kerr error);
/* Takes in what an answer says of epochs and leaders. False when its sender lives in an older
 * epoch, or in none. */
bool raft_learn(struct raft_core *c, const struct raft_answer_head *head, int64_t now_ms);
uint64_t raft_random(struct raft_core *c);

/* raft_core_voters.c */
/* The peers are those of a set; what is known of voters that stay is kept. */
void raft_set_voters(struct raft_core *c, const struct voter_set *voters, int64_t now_ms);
/* Whether we may stand for election: we vote, or may be needed until the set without us is
 * committed. */
bool raft_may_stand(const struct raft_core *c);
/* The newest set is without us, and it is committed. */
bool raft_was_voted_out(const struct raft_core *c);
void raft_on_voters(struct raft_core *c, const struct raft_event *ev, int64_t now_ms,
                    struct raft_effects *fx);
void raft_on_change_voters(struct raft_core *c, const struct raft_event *ev, int64_t now_ms,
                           struct raft_effects *fx);

/* raft_core_log.c: event handlers, and what polls do for the log */
void raft_on_appended(struct raft_core *c, const struct raft_event *ev, int64_t now_ms,
                      struct raft_effects *fx);
void raft_on_flushed(struct raft_core *c, const struct raft_event *ev, int64_t now_ms,
                     struct raft_effects *fx);
void raft_on_truncated(struct raft_core *c, const struct raft_event *ev, int64_t now_ms,
                       struct raft_effects *fx);
void raft_on_snapshot(struct raft_core *c, const struct raft_event *ev, int64_t now_ms,
                      struct raft_effects *fx);
void raft_on_fetch_request(struct raft_core *c, const struct raft_event *ev, int64_t now_ms,
                           struct raft_effects *fx);
/* The leader we follow is not there any more, or leads no more: stand soon. */
void raft_leader_is_gone(struct raft_core *c, int64_t now_ms);
void raft_on_fetch_answer(struct raft_core *c, const struct raft_event *ev, int64_t now_ms,
                          struct raft_effects *fx);
void raft_on_snapshot_request(struct raft_core *c, const struct raft_event *ev, int64_t now_ms,
                              struct raft_effects *fx);
void raft_on_snapshot_answer(struct raft_core *c, const struct raft_event *ev, int64_t now_ms,
                             struct raft_effects *fx);
void raft_advance_high_watermark(struct raft_core *c);
void raft_poll_fetch(struct raft_core *c, int64_t now_ms);
int64_t raft_fetch_deadline(const struct raft_core *c);

#endif
