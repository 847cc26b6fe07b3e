#ifndef TESTS_SIM_SIM_NET_H
#define TESTS_SIM_SIM_NET_H

/* The network between the machines of a world: replication/transport.h in virtual time.
 *
 * A request travels to the machine that listens at its address, is dispatched on one of the shards
 * of the process there, and its answer travels back:
 *
 *   going -> arrived (with the process) -> coming -> over
 *
 * As broker/peer_transport gives each link one request at a time, so here: requests overtake each
 * other, and a lost message breaks nothing but its own link. A link ends at one shard of one
 * process, and is used again once it is free; when the process of its sender is gone, that shard
 * hears of it. What is under way stays under way when its sender gives up: it may be acted on long
 * after. Machines sit at the hosts n0, n1, …
 *
 * Faults are the world's to set: one-way cuts (what is sent into one is kept until the cut heals,
 * then late or lost), loss, delay, machines without power. A machine whose process is gone refuses;
 * one without power says nothing. */

#include <stdbool.h>
#include <stdint.h>

#include "broker/request.h"
#include "replication/transport.h"
#include "tests/sim/sim_loop.h"
#include "tests/sim/sim_random.h"
#include "tests/sim/sim_sched.h"

struct sim_call;
struct sim_farewell;
struct sim_link;
struct sim_net;
struct sim_node;
struct sim_world;

#define SIM_NET_MACHINES_MAX 5
#define SIM_BROKER_PORT      9092
#define SIM_CONTROLLER_PORT  9093

struct sim_message {
    unsigned asker, answerer; /* machines */
    int16_t key, version;
    struct bytes request;
    struct bytes answer; /* of sees_answer */
};

/* What one loop of a node sends by. */
struct sim_peers {
    struct transport base;
    struct sim_net *net;
    struct sim_node *node;
    struct sim_loop *loop;
    struct sim_link *links; /* that are free */
};

struct sim_net {
    struct sim_runner runner;
    struct sim_world *world;
    struct sim_random random;
    struct sim_call *calls;
    struct sim_farewell *farewells;
    /* [from][to] */
    bool cut[SIM_NET_MACHINES_MAX][SIM_NET_MACHINES_MAX];
    bool powerless[SIM_NET_MACHINES_MAX];
    unsigned loss_permille;
    int64_t delay_us_max;
    uint64_t sent;
    /* For those who check: what leaves a machine. Bodies without their heads. May be NULL. */
    void (*sees_request)(struct sim_world *w, const struct sim_message *m);
    void (*sees_answer)(struct sim_world *w, const struct sim_message *m);
};

void sim_net_init(struct sim_net *net, struct sim_world *w);
void sim_net_free(struct sim_net *net);

void sim_peers_init(struct sim_peers *p, struct sim_net *net, struct sim_node *node,
                    struct sim_loop *loop);

/* No cuts, no loss, no long delays; what the cuts held arrives, or is lost. */
void sim_net_heal(struct sim_net *net);

/* A shard of a process has stopped: its connections close. */
void sim_net_shard_stopped(struct sim_net *net, struct sim_node *node, size_t shard);
/* The process is gone, with its memory; or it has ended cleanly, and sends nothing any more. */
void sim_net_node_gone(struct sim_net *net, struct sim_node *node);

#endif
