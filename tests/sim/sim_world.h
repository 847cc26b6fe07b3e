#ifndef TESTS_SIM_SIM_WORLD_H
#define TESTS_SIM_SIM_WORLD_H

/* One seed's world: time, a machine with its disk, a node that lives several lives on it, and clients.
 *
 * There is one node so far. What a cluster needs besides is a drive and a node for each machine, and a transport
 * between them; clock, scheduler, trace, checker and clients are the world's already. */

#include <setjmp.h>
#include <stdbool.h>
#include <stdint.h>

#include "tests/sim/sim_checker.h"
#include "tests/sim/sim_drive.h"
#include "tests/sim/sim_loop.h"
#include "tests/sim/sim_node.h"
#include "tests/sim/sim_sched.h"
#include "tests/sim/sim_workload.h"

#define SIM_SETS_MAX 16

struct sim_options {
    uint64_t seed;
    bool verbose;
    enum sim_lie lie;
};

struct sim_result {
    bool failed;
    char failure[400];
    uint64_t trace_hash;
    uint64_t steps;
    int64_t virtual_us;
    uint64_t acknowledged, read_batches;
    unsigned lives;
};

struct sim_world {
    uint64_t seed;
    struct sim_trace trace;
    struct sim_sched sched;
    struct sim_drive drive;
    struct sim_loop *loop; /* of the clients */
    struct sim_random random;
    struct sim_checker checker;
    struct sim_workload workload;
    struct sim_node *node;
    struct sim_connection *retired; /* of nodes before */
    uint64_t boot;
    uint64_t attempts; /* to start a node */
    unsigned lives;
    unsigned connections_made;
    bool serving;   /* clients may connect */
    bool disturbed; /* something failed on purpose in this life */
    int64_t smooth_since_us; /* nothing is failing, full or slow since then; SIM_NEVER: something is */
    jmp_buf death;
    bool failed;
    char failure[400];
    /* settings, the same for all lives */
    char set_text[SIM_SETS_MAX][96];
    const char *sets[SIM_SETS_MAX];
    size_t set_count;
    size_t dir_count;
};

/* Runs a whole seed. */
void sim_world_run(const struct sim_options *o, struct sim_result *out);

/* An invariant does not hold. Only the first one counts; the run ends soon after. */
void sim_world_fail(struct sim_world *w, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Nothing was made to fail in this life of the node: whatever goes wrong is its own doing. */
bool sim_world_is_calm(const struct sim_world *w);

/* NULL: the node does not serve. */
struct sim_connection *sim_world_connect(struct sim_world *w, struct sim_random *random);

#endif
