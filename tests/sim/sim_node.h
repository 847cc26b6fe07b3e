#ifndef TESTS_SIM_SIM_NODE_H
#define TESTS_SIM_SIM_NODE_H

/* One life of a node: a process with its memory, its loops and its pool, on a machine's disk. */

#include "broker/node.h"
#include "protocol/base/arena.h"
#include "replication/config_defs.h"
#include "storage/log_dir.h"
#include "tests/sim/sim_connection.h"
#include "tests/sim/sim_drive.h"
#include "tests/sim/sim_loop.h"
#include "tests/sim/sim_net.h"
#include "tests/sim/sim_pool.h"

#define SIM_SHARDS_MAX    4
#define SIM_BOOT_ID_CHARS LOG_DIR_BOOT_ID_CHARS

/* What the machine's kernel calls its boot of that number. */
void sim_boot_id(uint64_t boot, char out[SIM_BOOT_ID_CHARS + 1]);

struct sim_machine;
struct sim_world;

struct sim_node {
    struct sim_world *world;
    struct sim_machine *machine;
    struct sim_heap heap;
    struct node *node; /* NULL: node_create has not succeeded */
    struct config_values *config;
    struct arena arena;
    struct node_options options;
    struct logger logger;
    struct random random;
    struct sim_random chance;
    struct sim_loop *control_loop;
    struct sim_loop *shard_loops[SIM_SHARDS_MAX];
    struct loop *shard_bases[SIM_SHARDS_MAX];
    size_t shard_count;
    struct sim_pool *pool;
    struct sim_peers peers;                     /* of the control loop */
    struct sim_peers followers[SIM_SHARDS_MAX]; /* of the shards */
    struct transport *shard_peers[SIM_SHARDS_MAX];
    struct sim_connection *connections;
    char boot_id[SIM_BOOT_ID_CHARS + 1];
    bool ready, failed, stopped;
    bool shard_closed[SIM_SHARDS_MAX]; /* its connections are */
};

struct sim_life {
    const char *const *sets; /* settings, "key=value" */
    size_t set_count;
    size_t shard_count;
    size_t pool_threads;
    uint64_t boot; /* the machine's: page caches survive as long as it stays the same */
    uint64_t seed;
};

/* A process that has not begun. */
struct sim_node *sim_node_new(struct sim_machine *m, const struct sim_life *life);

/* Opens the log directories; as main does. What died within is freed by sim_node_free. */
struct status sim_node_begin(struct sim_node *n, const struct sim_life *life);

/* Closes the connections of shards that have stopped, as a shard with sockets does itself. */
void sim_node_look(struct sim_node *n);

/* Its threads are given no processor until then. */
void sim_node_pause(struct sim_node *n, int64_t until_us);

/* Nothing of it is under way any more: no task, no job, no request. */
bool sim_node_idle(const struct sim_node *n);

/* The end of a process that stopped cleanly: frees what it has, as main does. What is left is a
 * leak. */
void sim_node_end(struct sim_node *n);

/* The process is gone, in whatever state it was. Connections stay until their clients have heard of
 * it. */
void sim_node_died(struct sim_node *n);

/* After the one or the other. */
void sim_node_free(struct sim_node *n);

#endif
