#ifndef TESTS_SIM_SIM_WORKLOAD_H
#define TESTS_SIM_SIM_WORKLOAD_H

/* The clients of a world. Each is an actor on the world's loop: it wakes up, sends something, and
 * judges what it is told with the checker. They live as long as the world, and connect again when a
 * node is back. */

#include <stdbool.h>
#include <stdint.h>

#include "tests/sim/sim_checker.h"
#include "tests/sim/sim_connection.h"

#define SIM_PRODUCERS 4
#define SIM_CONSUMERS 2

struct sim_world;

enum sim_mode {
    SIM_REST,   /* nothing is written */
    SIM_FINISH, /* nothing new is begun */
    SIM_WORK,
};

/* ---- sim_producer.c ---- */

#define SIM_STREAMS       3
#define SIM_IN_FLIGHT_MAX 5

struct sim_outgoing {
    size_t batch;
    uint8_t *bytes; /* owned */
    size_t size;
    bool acknowledged; /* before one that was sent earlier */
};

/* What one producer sends to one partition. */
struct sim_stream {
    bool used;
    size_t topic;
    int32_t partition;
    size_t id;           /* the checker's */
    uint64_t generation; /* of the assignment: late answers are known by it */
    int64_t producer_id; /* -1: none yet, or not idempotent */
    bool asking;         /* for a producer id */
    int64_t next_number;
    int32_t next_sequence;
    struct sim_outgoing queue[SIM_IN_FLIGHT_MAX]; /* idempotent: not acknowledged, oldest first */
    size_t queued;
    size_t sent;      /* the first of the queue are under way */
    size_t in_flight; /* requests */
    bool rewind;      /* send all of the queue again once nothing is in flight */
    int64_t not_before_us;
    bool known;   /* one of its batches was acknowledged */
    bool skipped; /* one was refused before that */
};

struct sim_producer {
    struct sim_world *world;
    struct sim_random random;
    struct timer timer;
    struct sim_connection *connection;
    struct sim_stream streams[SIM_STREAMS];
    bool idempotent;
    int16_t acks;
    enum sim_mode mode;
};

void sim_producer_init(struct sim_producer *p, struct sim_world *w, uint64_t number);
bool sim_producer_idle(const struct sim_producer *p);
void sim_producer_free(struct sim_producer *p);

/* ---- sim_consumer.c ---- */

#define SIM_CONSUMED_MAX 5

struct sim_consumed {
    bool lost; /* its topic is gone, or it answers with errors: chosen anew with the next session */
    size_t topic;
    int32_t partition;
    int64_t offset;
    int64_t watermark_floor;
    int64_t log_start_floor;
    bool changed; /* the session does not know the offset yet */
};

struct sim_consumer {
    struct sim_world *world;
    struct sim_random random;
    struct timer timer;
    struct sim_connection *connection;
    struct sim_consumed parts[SIM_CONSUMED_MAX];
    size_t part_count;
    int32_t session_id, session_epoch;
    int16_t version;
    bool by_name;
    bool waiting;
};

void sim_consumer_init(struct sim_consumer *c, struct sim_world *w, uint64_t number);
void sim_consumer_free(struct sim_consumer *c);

/* ---- sim_admin.c ---- */

struct sim_admin {
    struct sim_world *world;
    struct sim_random random;
    struct timer timer;
    struct sim_connection *connection;
    bool waiting;
    bool knows; /* has the metadata of this connection */
    enum sim_mode mode;
    /* what is asked */
    char name[SIM_TOPIC_CHARS];
    bool creating; /* and not answered: such a topic may come to be */
    int32_t create_partitions;
    bool create_log_append_time, create_retention;
    size_t topic;
    int32_t partition;
    int64_t offset;
    int32_t count;
    int64_t floor;
};

void sim_admin_init(struct sim_admin *a, struct sim_world *w);
void sim_admin_free(struct sim_admin *a);

/* ---- sim_reader.c: reads everything, once ---- */

struct sim_reader {
    struct sim_world *world;
    struct timer timer;
    struct sim_connection *connection;
    bool done;
    bool waiting;
    size_t topic;
    int32_t partition;
    unsigned refusals;          /* of that partition */
    int64_t start, offset, end; /* of it; end -1: not known yet */
};

void sim_reader_init(struct sim_reader *r, struct sim_world *w);
void sim_reader_begin(struct sim_reader *r);
void sim_reader_stop(struct sim_reader *r);
void sim_reader_free(struct sim_reader *r);

/* ---- all of them ---- */

struct sim_workload {
    struct sim_producer producers[SIM_PRODUCERS];
    struct sim_consumer consumers[SIM_CONSUMERS];
    struct sim_admin admin;
    struct sim_reader reader;
};

void sim_workload_init(struct sim_workload *l, struct sim_world *w);
void sim_workload_set_mode(struct sim_workload *l, enum sim_mode mode);
void sim_workload_free(struct sim_workload *l);

#endif
