#ifndef TESTS_UNIT_BROKER_SCRIPTED_LEADER_H
#define TESTS_UNIT_BROKER_SCRIPTED_LEADER_H

/* Node 2 as a leader that the node of a node_world follows: its requests arrive here instead of at
 * a socket, and the test answers them. Nothing here is cmocka's: a fuzz target uses it too. */

#include "protocol/messages/fetch.h"
#include "protocol/messages/list_offsets.h"
#include "replication/transport.h"
#include "tests/unit/broker/second_broker.h"

#define SCRIPTED_ASKED_MAX 16

/* A request that waits for its answer. */
struct scripted_asked {
    struct transport_request *request; /* NULL: the slot is free */
    struct bytes_mut body;             /* owned */
    int32_t node_id;
};

struct scripted_leader {
    struct transport base; /* of every shard; first */
    struct second_broker broker;
    struct node_world *w;
    struct scripted_asked asked[SCRIPTED_ASKED_MAX];
    struct arena arena; /* of the last decoded request */
    struct fetch_request fetch;
    struct list_offsets_request list_offsets;
    size_t cancelled;
    size_t fetches; /* that were sent here; a test may set it to 0 */
    int64_t first_fetch_epoch; /* the follower's epoch when the first of them was */
};

/* Before node_world_start. */
void scripted_leader_init(struct scripted_leader *l, struct node_world *w);
/* The node is up: node 2 registers and is unfenced. */
void scripted_leader_join(struct scripted_leader *l);
/* The broker epoch that the follower's metadata has for itself; -1: none. */
int64_t scripted_leader_follower_epoch(const struct scripted_leader *l);
/* After the node is gone. */
void scripted_leader_free(struct scripted_leader *l);

/* A topic whose partitions node 2 leads and the node follows. settings as of node_world_topic. */
struct uuid scripted_leader_topic(struct scripted_leader *l, const char *name, int partitions,
                                  const char *const *settings);

/* The request of that API that waits, within ms; NULL: there is none. Decoded until the next
 * one. */
const struct fetch_request *scripted_leader_fetch(struct scripted_leader *l, int64_t ms);
const struct list_offsets_request *scripted_leader_list_offsets(struct scripted_leader *l,
                                                                int64_t ms);
size_t scripted_leader_waiting(const struct scripted_leader *l, int16_t key);

/* Answers the oldest request of that API that waits. */
void scripted_leader_answer(struct scripted_leader *l, int16_t key, const void *message);
void scripted_leader_answer_bytes(struct scripted_leader *l, int16_t key, struct bytes body);
void scripted_leader_fail(struct scripted_leader *l, int16_t key, struct status why);

#endif
