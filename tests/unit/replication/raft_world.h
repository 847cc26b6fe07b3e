#ifndef TESTS_UNIT_REPLICATION_RAFT_WORLD_H
#define TESTS_UNIT_REPLICATION_RAFT_WORLD_H

/* A world of Raft cores in virtual time: logs are arrays of (name, epoch), the network is a queue
 * that can be cut, disks can be slow. After each step the safety rules are checked; a broken one
 * aborts. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "replication/raft_core.h"

#define WORLD_NODES_MAX   5
#define WORLD_ENTRIES_MAX 4096
#define WORLD_WIRES_MAX   4096
#define WORLD_FETCH_MAX   4 /* entries an answer holds */

struct world_entry {
    char name[8]; /* "L": leader change; "V12": nodes 1 and 2 vote from here on */
    int32_t epoch;
};

struct world_node {
    struct raft_core core;
    struct world_entry log[WORLD_ENTRIES_MAX];
    int64_t log_end;
    int64_t flushed;
    struct raft_election durable;
    char dropped[256]; /* entries that a truncation took, for the report */
    bool up;
    bool disk_stuck; /* flushes do not complete */
    int64_t deadline_ms;
};

struct world_wire {
    struct raft_event event; /* delivered to `to` */
    int from;
    int to;
    int64_t at_ms;
    int64_t give_up_ms;          /* of a parked fetch */
    struct raft_message message; /* the request it is, or answers */
    bool answer;
    struct world_entry entries[WORLD_FETCH_MAX];
    size_t entry_count;
    struct raft_replica_key candidates[WORLD_NODES_MAX];
};

struct world {
    struct world_node nodes[WORLD_NODES_MAX + 1]; /* by id, from 1 */
    int count;
    int first_voters; /* nodes from 1 up to this one vote in the beginning; others are observers */
    int64_t now_ms;
    uint64_t random;
    bool cut[WORLD_NODES_MAX + 1][WORLD_NODES_MAX + 1]; /* from, to */
    int drop_percent;
    struct world_wire wires[WORLD_WIRES_MAX];
    size_t wire_count;
    /* What any node has called committed: must never change. */
    struct world_entry committed[WORLD_ENTRIES_MAX];
    int64_t committed_end;
    int leader_of_epoch[WORLD_ENTRIES_MAX];
};

struct world *world_new(int nodes, uint64_t seed);
/* Only nodes 1 to `voters` vote; the others know nobody, and ask any node who leads. */
struct world *world_new_with_observers(int nodes, int voters, uint64_t seed);
void world_free(struct world *w);

void world_run(struct world *w, int64_t ms);
/* Its election timer fires first; runs until it leads. False when it does not within ten
 * seconds. */
bool world_elect(struct world *w, int id);
bool world_append(struct world *w, int id, const char *name); /* false: does not lead */
/* Asks `leader` to add or remove a voter. */
enum kerr world_change_voters(struct world *w, int leader, enum raft_voter_change kind, int id);
void world_step(struct world *w, int id, const struct raft_event *ev);
void world_cut(struct world *w, int a, int b);          /* both ways; b 0: from everyone */
void world_heal(struct world *w, int id);               /* id 0: all links */
void world_crash(struct world *w, int id, bool losing); /* losing: what was not flushed */
void world_start(struct world *w, int id);
void world_stick_disk(struct world *w, int id, bool stuck);
int world_leader(const struct world *w); /* of the newest epoch; 0: none */
void world_print(const struct world *w, FILE *out);
uint64_t world_random(struct world *w);

#endif
