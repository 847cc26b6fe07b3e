#ifndef BROKER_FORMAT_H
#define BROKER_FORMAT_H

/* What a fresh cluster begins with, as Apache Kafka's storage tool formats it. */

#include "protocol/base/clock.h"
#include "protocol/base/status.h"
#include "replication/voter_set.h"
#include "storage/files.h"

/* [blocks] Writes the 0-0 snapshot of an empty metadata directory: these voters (none:
 * kraft.version 0, they are in the settings), and the default level of every feature. As
 * raft_node_format. */
struct status format_metadata(struct files *files, struct clock *clock, const char *directory,
                              const struct raft_voter *voters, size_t voter_count);

/* A voter as a fresh cluster has it, speaking what this version does. Borrows the endpoint. */
struct raft_voter format_voter(struct raft_replica_key key, const struct raft_endpoint *endpoint);

#endif
