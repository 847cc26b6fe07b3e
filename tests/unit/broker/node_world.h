#ifndef TESTS_UNIT_BROKER_NODE_WORLD_H
#define TESTS_UNIT_BROKER_NODE_WORLD_H

/* A whole node in virtual time on the test's own thread: shards and control on one loop, files in
 * memory, no sockets. Clients hand in messages and get messages. Also what the fuzz target of
 * connections runs on, so nothing here is cmocka's: what must not happen is a CHECK. */

#include <stdbool.h>
#include <stdint.h>

#include "broker/node.h"
#include "broker/request.h"
#include "protocol/record_batch_build.h"
#include "replication/partition.h"
#include "storage/files_sim.h"
#include "tests/unit/replication/test_loop.h"

#define NODE_WORLD_SHARDS 2
#define NODE_WORLD_SETS   16

struct node_world {
    struct test_loop loop;
    struct files *files;
    struct logger logger;
    struct config_values *config;
    struct arena arena;
    struct node_options options;
    const char *sets[NODE_WORLD_SETS]; /* "key=value"; beside a single node's defaults */
    size_t set_count;
    struct loop *shards[NODE_WORLD_SHARDS];
    struct event_base *events[NODE_WORLD_SHARDS];     /* set before start for connections with
                                                   * sockets */
    struct transport *shard_peers[NODE_WORLD_SHARDS]; /* set before start to follow other nodes */
    const char *boot_id;
    struct node *node;         /* NULL: down */
    int state_opens;           /* of the state store, so far */
    int state_opens_fail;      /* so many of the next ones */
    struct state_store *state; /* of the coordinators, once one is opened; simulated, empty at
                                * each start */
    bool ready, stopped, failed;
    int errors_logged; /* events of level error since node_world_init */
    int registrations; /* that the controller took, since then */
    bool print;        /* the node's log lines go to standard output */
    struct record_batch_builder builder;
};

void node_world_init(struct node_world *w);
void node_world_set(struct node_world *w, const char *key_and_value);
void node_world_start(struct node_world *w); /* until it serves */
/* False: it could not open its directories (w->node is NULL), or gave up. */
bool node_world_try_start(struct node_world *w);
void node_world_stop(struct node_world *w); /* cleanly */
void node_world_kill(struct node_world *w); /* the process dies; files_sim_crash may follow */
void node_world_free(struct node_world *w);

/* ---- asking ---- */

/* A request on its way. Zeroed before node_world_send. */
struct node_ask {
    struct client client; /* first */
    bool answered;
    bool nothing;              /* answered without bytes */
    const char *refusal;       /* the connection would be closed */
    struct request *rq;        /* answered, not refused */
    struct request *under_way; /* until it is answered; a test may abandon it */
    struct arena arena;        /* the decoded answer */
    struct bytes_mut bytes;    /* of the answer, payloads in place; owned */
    const void *answer;        /* its generated struct */
};

/* Sends message (the generated request struct of that API) to shard 0; as a broker would to a
 * controller when clients cannot ask it. */
void node_world_send(struct node_world *w, struct node_ask *ask, int16_t key, int16_t version,
                     const void *message);
/* Sends a frame as it is, without its length. */
void node_world_send_frame(struct node_world *w, struct node_ask *ask, struct bytes frame);
/* Runs until it is answered or ms have passed; the answer, NULL when there is none. */
const void *node_world_wait(struct node_world *w, struct node_ask *ask, int64_t ms);
void node_ask_free(struct node_ask *ask);

/* ---- what most tests need ---- */

/* Creates a topic and waits until its partitions are led. settings: key, value, … NULL. */
struct uuid node_world_topic(struct node_world *w, const char *name, int partitions,
                             const char *const *settings);
/* NULL: not hosted. */
struct partition *node_world_partition(struct node_world *w, struct uuid topic, int32_t index);
/* A batch of `count` records with values of `size` bytes; free() it. */
struct bytes_mut node_world_batch(struct node_world *w, int count, size_t size,
                                  int64_t timestamp_ms);
/* Produces such a batch; the error code. */
enum kerr node_world_produce(struct node_world *w, const char *topic, int32_t index, int16_t acks,
                             int count, size_t size);

#endif
