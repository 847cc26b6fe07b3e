#ifndef REPLICATION_QUORUM_STATE_H
#define REPLICATION_QUORUM_STATE_H

/* The file `quorum-state` of the metadata log: newest epoch, vote and last known leader, as one
 * line of JSON. Versions 0 (static voters) and 1 (KIP-853) are read, version 1 is written. */

#include <stdbool.h>

#include "protocol/base/span.h"
#include "protocol/base/status.h"
#include "replication/raft_types.h"
#include "storage/files.h"

#define QUORUM_STATE_FILE "quorum-state"

/* A node that has seen no election yet. */
#define RAFT_ELECTION_NONE ((struct raft_election){0, RAFT_NO_NODE, {RAFT_NO_NODE, UUID_ZERO}})

/* [blocks] *out is RAFT_ELECTION_NONE when there is no file.
 * CORRUPT_MESSAGE       Not such JSON; `where` says what is wrong. Not repaired: a forgotten vote
 *                       could elect two leaders in one epoch.
 * UNSUPPORTED_VERSION   data_version is neither 0 nor 1.
 * KAFKA_STORAGE_ERROR   I/O. */
struct status quorum_state_read(struct files *fs, const char *path, struct raft_election *out);

/* [blocks] Atomic and durable when it returns STATUS_OK. KAFKA_STORAGE_ERROR: the old one still is
 * there. */
struct status quorum_state_write(struct files *fs, const char *path,
                                 const struct raft_election *election);

/* The parts without a disk. text: at most what snprintf says; answers its length. */
struct status quorum_state_parse(struct bytes text, struct raft_election *out);
#define QUORUM_STATE_BYTES_MAX 256
size_t quorum_state_format(const struct raft_election *election, char text[QUORUM_STATE_BYTES_MAX]);

#endif
