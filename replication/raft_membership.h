#ifndef REPLICATION_RAFT_MEMBERSHIP_H
#define REPLICATION_RAFT_MEMBERSHIP_H

/* What a node that follows wants changed about itself in the voter set (KIP-853). Pure. */

#include <stdbool.h>

#include "replication/voter_set.h"

enum raft_wish {
    RAFT_WISH_NOTHING,
    RAFT_WISH_UPDATE, /* the set has other endpoints or another range of kraft.version for us; or
                       * it is that of the settings, and this leader does not know our disk yet */
    RAFT_WISH_JOIN,   /* we are to vote and do not */
    RAFT_WISH_REMOVE_OLD, /* we are to vote, but our id is still there with the disk it had
                           * before */
};

struct raft_member {
    struct raft_replica_key key;
    const struct raft_endpoint *endpoints;
    size_t endpoint_count;
    int16_t kraft_version_min, kraft_version_max;
    bool auto_join;  /* controller.quorum.auto.join.enable */
    bool introduced; /* the leader has taken an update from us in its epoch */
};

enum raft_wish raft_member_wish(const struct raft_member *m, const struct voter_set *voters,
                                int16_t kraft_version);

#endif
