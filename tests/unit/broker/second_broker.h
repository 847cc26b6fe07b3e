#ifndef TESTS_UNIT_BROKER_SECOND_BROKER_H
#define TESTS_UNIT_BROKER_SECOND_BROKER_H

/* Node 2 as the node of a node_world sees it: requests of a broker, sent by the test. */

#include "protocol/messages/fetch.h"
#include "tests/unit/broker/node_world.h"

#define SECOND_BROKER 2

struct second_broker {
    struct node_world *w;
    int64_t epoch;
    int64_t log_start;   /* its fetches say so */
    struct node_ask ask; /* its fetch */
    struct fetch_request_partition partition;
    struct fetch_request_topic topic;
    struct fetch_request m;
};

/* Registers (again: another run of it), and stays fenced until it is heard of. */
void second_broker_register(struct second_broker *b, struct node_world *w);
/* Heartbeats for so long in virtual time: unfenced from the first one on. */
void second_broker_live(struct second_broker *b, int64_t ms);

/* Fetches partition 0 as a replica that has all below offset. */
void second_broker_send_fetch(struct second_broker *b, struct uuid topic, int64_t offset,
                              int32_t max_wait_ms);
/* The answer, once it came; NULL: it has not. Then second_broker_end_fetch. */
const struct fetch_response_partition_data *second_broker_fetched(struct second_broker *b,
                                                                  int64_t ms);
void second_broker_end_fetch(struct second_broker *b);
/* All of it, without waiting; the error code. */
enum kerr second_broker_fetch(struct second_broker *b, struct uuid topic, int64_t offset);

/* A topic of one partition on nodes 1 and 2, led by 1. Node 2 is not fenced. settings as of
 * node_world_topic. */
struct uuid second_broker_topic(struct second_broker *b, const char *name,
                                const char *const *settings);
/* One of a single partition that only node 2 hosts, and leads. */
struct uuid second_broker_own_topic(struct second_broker *b, const char *name);

#endif
