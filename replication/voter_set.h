#ifndef REPLICATION_VOTER_SET_H
#define REPLICATION_VOTER_SET_H

/* Who votes: the voters of `__cluster_metadata-0` with their directories and endpoints (KIP-853),
 * as the KRAFT_VOTERS control record holds them. Plain values; pure. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/base/span.h"
#include "protocol/base/uuid.h"

/* A replica is known by its node id and the id of the directory that holds its log: a node that
 * lost its disk is another replica. A zero directory id means unknown and matches any. */
struct raft_replica_key {
    int32_t id;
    struct uuid directory_id;
};

static inline bool raft_replica_key_equal(struct raft_replica_key a, struct raft_replica_key b)
{
    return a.id == b.id && uuid_equal(a.directory_id, b.directory_id);
}

struct raft_endpoint {
    struct str listener; /* "CONTROLLER" */
    struct str host;
    uint16_t port;
};

struct raft_voter {
    struct raft_replica_key key;
    const struct raft_endpoint *endpoints;
    size_t endpoint_count;
    int16_t kraft_version_min; /* the kraft.version levels that it supports */
    int16_t kraft_version_max;
};

/* The endpoint of that listener, which is one of several; else the first. NULL: there are none. */
const struct raft_endpoint *raft_endpoint_for(const struct raft_endpoint *endpoints, size_t count,
                                              struct str listener);

/* A quorum larger than this is refused; Kafka's advice is three or five. */
#define RAFT_VOTERS_MAX 64

struct voter_set; /* immutable once made; owns its strings */

/* A deep copy, or NULL when there are none, too many, an id twice, or no memory. Owned by the
 * caller. */
struct voter_set *voter_set_create(const struct raft_voter *voters, size_t count);
/* Nobody votes, as far as is known. NULL without memory. Owned by the caller. */
struct voter_set *voter_set_create_empty(void);
/* NULL without memory. Owned by the caller. */
struct voter_set *voter_set_copy(const struct voter_set *vs);
void voter_set_free(struct voter_set *vs); /* NULL is fine */

size_t voter_set_count(const struct voter_set *vs);
/* In rising id order. Borrowed from the set. */
const struct raft_voter *voter_set_at(const struct voter_set *vs, size_t index);
/* NULL when no voter has that id. */
const struct raft_voter *voter_set_find(const struct voter_set *vs, int32_t id);

/* Whether voter `id` is in the set with other endpoints than these. */
bool voter_set_endpoints_differ(const struct voter_set *vs, int32_t id,
                                const struct raft_endpoint *endpoints, size_t count);
/* A copy of the set with this voter, in place of the one that has its id if there is one; NULL
 * without memory or room. Owned by the caller. */
struct voter_set *voter_set_with(const struct voter_set *vs, const struct raft_voter *voter);
/* A copy of the set without voter `id`; NULL without memory, or when nobody would be left. Owned by
 * the caller. */
struct voter_set *voter_set_without(const struct voter_set *vs, int32_t id);
/* A copy of the set in which voter `id` has these endpoints; NULL without memory. Owned by the
 * caller. */
struct voter_set *voter_set_with_endpoints(const struct voter_set *vs, int32_t id,
                                           const struct raft_endpoint *endpoints, size_t count);

#endif
