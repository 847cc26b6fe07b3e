#ifndef TESTS_SIM_SIM_WRITER_H
#define TESTS_SIM_SIM_WRITER_H

/* A producer of a cluster: some batches to one partition, wherever it is led, then to another. An
 * idempotent one sends what is not acknowledged again, in order, until it is; others send each
 * batch once. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tests/sim/sim_workload.h"

struct sim_writer {
    struct sim_world *world;
    struct sim_random random;
    struct timer timer;
    struct sim_connection *connection;
    enum sim_mode mode;
    bool idempotent;
    int16_t acks;
    int64_t pace_us; /* between two batches, at most */
    /* what it is at; a generation tells late answers */
    uint64_t generation;
    bool used;
    size_t topic;
    int32_t partition;
    size_t stream;
    size_t left; /* batches to be made */
    int64_t producer_id;
    bool asking;
    int64_t next_number;
    int32_t next_sequence;
    struct sim_outgoing queue[SIM_IN_FLIGHT_MAX]; /* not acknowledged, oldest first; of an
                                                   * idempotent one */
    size_t queued, sent, in_flight;
    bool rewind;
    int64_t not_before_us, sent_us;
    uint64_t given_up; /* streams that were refused as out of order */
};

void sim_writer_init(struct sim_writer *p, struct sim_world *w, uint64_t number);
/* Nothing is under way, nothing waits to be acknowledged. */
bool sim_writer_idle(const struct sim_writer *p);
void sim_writer_free(struct sim_writer *p);

#endif
