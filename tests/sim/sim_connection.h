#ifndef TESTS_SIM_SIM_CONNECTION_H
#define TESTS_SIM_SIM_CONNECTION_H

/* A connection of a simulated client to a shard: both ends, and the wire between them.
 *
 * The client's end encodes requests and is told of each answer once, in order; or that the
 * connection was closed, once for each request that has no answer. The broker's end is what
 * broker/connection is to a socket, with the same order of requests: Produce may follow Produce,
 * all else waits. In between frames and answers take some time, but do not overtake each other. */

#include <stdbool.h>
#include <stdint.h>

#include "broker/request.h"
#include "tests/sim/sim_loop.h"

struct sim_connection;
struct sim_node;

/* An answer, or the end of waiting for one. */
struct sim_answer {
    struct sim_connection *connection;
    int16_t version;
    const void *message; /* the generated response struct, borrowed for the call; NULL: closed,
                          * there is none to come */
    void *context;       /* as given with the request */
    int64_t sent_us;
};

typedef void sim_answered(struct sim_answer *a);

struct sim_request {
    struct sim_request *prev, *next;
    int16_t key, version;
    int32_t correlation_id;
    bool answerless; /* acks=0 */
    sim_answered *answered;
    void *context;
    int64_t sent_us;
    int64_t due_us; /* answered by then, once nothing fails and nothing is slow */
};

struct sim_wire_frame {
    struct sim_wire_frame *prev, *next;
    int64_t arrives_us;
    bool closes; /* no frame, but the news that the broker closed the connection */
    size_t size;
    uint8_t data[];
};

struct sim_connection {
    struct client client; /* first; the broker's end */
    struct sim_node *node;
    struct sim_random random;
    uint32_t number;
    /* the client's end, on the world's loop */
    struct sim_connection *prev, *next; /* the node's list, later the world's */
    struct sim_loop *world;
    struct sim_request *waiting; /* for answers, oldest first */
    struct sim_wire_frame *to_client;
    struct timer client_timer;
    int32_t next_correlation_id;
    bool up; /* as far as the client knows */
    int64_t delay_us_max;
    /* the broker's end, on the shard's loop */
    struct sim_wire_frame *to_broker;
    struct timer broker_timer;
    struct task pump;
    bool pump_posted;
    bool accepted; /* the broker has it open */
    bool dispatching, producing;
    struct request *first, *last, *first_waiting;
    size_t under_way;
    int64_t read_from_us; /* a slow reader takes nothing before */
};

/* The bytes that go over the wire, length prefix included: malloc'd. NULL: a segment ended before
 * the bytes promised. On the shard's loop. */
uint8_t *sim_response_bytes(const struct response *r, size_t *size);

/* To a node that serves; on some shard. NULL: that one is stopping. */
struct sim_connection *sim_connection_open(struct sim_node *n, uint64_t seed);
/* From the client's side, or when nobody uses it any more: waiting requests are told. */
void sim_connection_close(struct sim_connection *c);

/* message: the generated request struct of that API, encoded at once. */
void sim_connection_send(struct sim_connection *c, int16_t key, int16_t version,
                         const void *message, sim_answered *answered, void *context,
                         int64_t wait_us_max);
/* Likewise, but there will be no answer: Produce with acks=0. */
void sim_connection_send_silently(struct sim_connection *c, int16_t key, int16_t version,
                                  const void *message);

/* The shard has stopped: it closes its connections. On its loop. */
void sim_connection_shard_stopped(struct sim_connection *c);
/* The process is gone, with its memory. */
void sim_connection_process_died(struct sim_connection *c);
/* The node has ended: nothing of the connection is left but the struct, which clients may still
 * look at. */
void sim_connection_retire(struct sim_connection *c);

#endif
