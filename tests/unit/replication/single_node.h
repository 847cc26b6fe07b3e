#ifndef TESTS_UNIT_REPLICATION_SINGLE_NODE_H
#define TESTS_UNIT_REPLICATION_SINGLE_NODE_H

/* A Raft node that is a quorum of one, on a test_loop, with a state machine that writes down all it
 * hears. */

#include "tests/unit/test.h"

#include "replication/raft_node.h"
#include "tests/unit/replication/test_loop.h"

struct single {
    struct test_loop loop;
    struct files *files;
    bool own_files;
    char directory[64];
    struct raft_node *node; /* NULL: not open */
    struct raft_node_args args;
    struct log_recovery_report report;
    /* "leader(1,100,us) {0-0 feature } 3-3@1:a ": leader changes, snapshots, commits. */
    char told[65536];
    int32_t epoch;
    bool leads;
    int64_t caught_up;
    bool stopped;
    struct status failure;
};

/* files NULL: a real file system below /tmp, removed at the end. */
struct single *single_new(struct files *files);
void single_free(struct single *s);

struct status single_format(struct single *s, const char *const *values, size_t count);
struct status single_open(struct single *s);
void single_start(struct single *s); /* opens, too; must succeed */
void single_start_and_lead(struct single *s);
void single_stop(struct single *s, bool clean);
void single_on_stopped(void *single);
int64_t single_append(struct single *s, const char *value); /* its offset; must succeed */

/* A snapshot of two records "state". Outlives the call until done is 1. */
struct single_snapshot {
    int left;
    int done;
    struct status result;
};
struct status single_take_snapshot(struct single *s, struct single_snapshot *call,
                                   int64_t end_offset);

#endif
