#ifndef TESTS_SIM_SIM_WORLD_H
#define TESTS_SIM_SIM_WORLD_H

/* One seed's world: time, machines with their disks, nodes that live several lives on them, a
 * network, and clients. */

#include <setjmp.h>
#include <stdbool.h>
#include <stdint.h>

#include "tests/sim/sim_checker.h"
#include "tests/sim/sim_committer.h"
#include "tests/sim/sim_directory.h"
#include "tests/sim/sim_electorate.h"
#include "tests/sim/sim_group.h"
#include "tests/sim/sim_loop.h"
#include "tests/sim/sim_machine.h"
#include "tests/sim/sim_operator.h"
#include "tests/sim/sim_quorum.h"
#include "tests/sim/sim_replicas.h"
#include "tests/sim/sim_sched.h"
#include "tests/sim/sim_tail.h"
#include "tests/sim/sim_workload.h"
#include "tests/sim/sim_writer.h"

#define SIM_SETS_MAX     16
#define SIM_MACHINES_MAX 5
#define SIM_WRITERS      4
#define SIM_TAILS        3
#define SIM_COMMITTERS   3
#define SIM_GROUPS       2

struct sim_options {
    uint64_t seed;
    bool verbose;
    enum sim_lie lie;
    unsigned machines; /* 1: a node by itself, sim_world.c; more: a cluster, sim_cluster.c */
    unsigned seconds;  /* of a cluster: how long it is disturbed */
};

struct sim_result {
    bool failed;
    char failure[400];
    uint64_t trace_hash;
    uint64_t steps;
    int64_t virtual_us;
    uint64_t acknowledged, read_batches;
    unsigned lives;
    /* of a cluster */
    uint64_t operations, committed, replicated, elections, messages, reforms, commits, assignments;
};

struct sim_world {
    uint64_t seed;
    struct sim_trace trace;
    struct sim_sched sched;
    struct sim_net net;
    struct sim_loop *loop; /* of the clients */
    struct sim_random random;
    struct sim_checker checker;
    struct sim_workload workload;
    struct sim_machine machines[SIM_MACHINES_MAX];
    unsigned machine_count;
    struct sim_connection *retired; /* of nodes before */
    unsigned lives;
    unsigned connections_made;
    bool serving;            /* clients may connect */
    bool disturbed;          /* something failed on purpose in this life */
    int64_t smooth_since_us; /* nothing is failing, full or slow since then; SIM_NEVER: something
                              * is */
    /* of a cluster */
    struct sim_quorum quorum;
    struct sim_replicas replicas;
    struct sim_operator operator;
    struct sim_directory directory;
    struct sim_electorate electorate;
    struct sim_writer writers[SIM_WRITERS];
    struct sim_tail tails[SIM_TAILS];
    struct sim_committer committers[SIM_COMMITTERS];
    struct sim_group groups[SIM_GROUPS];
    jmp_buf death;
    bool failed;
    char failure[400];
    /* settings, the same for all lives */
    char set_text[SIM_SETS_MAX][96];
    const char *sets[SIM_SETS_MAX];
    size_t set_count;
    size_t dir_count;
    /* of a cluster */
    bool may_fail;      /* disks do */
    bool voters_change; /* they are in the log, the first machine's at first */
    bool ending;        /* what has ended stays so */
    char missing[200];  /* why it is not whole */
};

/* Runs a whole seed. */
void sim_world_run(const struct sim_options *o, struct sim_result *out);

/* Likewise, of a cluster. */
void sim_cluster_run(const struct sim_options *o, struct sim_result *out);

/* An invariant does not hold. Only the first one counts; the run ends soon after. */
void sim_world_fail(struct sim_world *w, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* By which clients go. */
struct clock *sim_world_clock(struct sim_world *w);

/* Nothing was made to fail in this life of the node: whatever goes wrong is its own doing. */
bool sim_world_is_calm(const struct sim_world *w);

/* NULL: the node does not serve. */
struct sim_connection *sim_world_connect(struct sim_world *w, struct sim_random *random);
/* Likewise, of a cluster. */
struct sim_connection *sim_world_connect_to(struct sim_world *w, unsigned machine,
                                            struct sim_random *random);

#endif
