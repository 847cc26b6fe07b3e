#ifndef TESTS_SIM_SIM_CHECKER_H
#define TESTS_SIM_SIM_CHECKER_H

/* What the cluster may show, from what clients did and were told.
 *
 * Each batch that is sent is known by a number that its records carry. For each partition the
 * checker keeps which batch stands at which offset, and how firmly: DURABLE ones (acknowledged by
 * all, or seen by a reader, where an acknowledgement waits for the disk) outlive everything, CACHED
 * ones a death of the process but not of the machine. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/base/span.h"
#include "protocol/base/uuid.h"
#include "protocol/compression.h"

#define SIM_PARTITIONS_MAX 8
#define SIM_TOPIC_CHARS    16

struct sim_world;

enum sim_promise { SIM_LOOSE, SIM_CACHED, SIM_DURABLE };

struct sim_batch {
    size_t topic;
    int32_t partition;
    size_t stream; /* batches of one stream are in the log in the order of their numbers */
    int64_t number;
    int64_t producer_id; /* -1: not idempotent */
    int32_t base_sequence;
    int32_t count;
    uint32_t crc;
    uint64_t life;       /* of the node when it was first sent */
    int64_t base_offset; /* where it is in the log; -1: nowhere known */
};

struct sim_entry {
    int64_t base_offset;
    int64_t last_offset;
    size_t batch;
    size_t size_bytes;
    int64_t max_timestamp_ms;
    enum sim_promise promise;
};

struct sim_partition {
    struct sim_entry *entries; /* by offset */
    size_t count, capacity;
    int64_t ends[3];        /* by promise: the log end is not below */
    int64_t high_watermark; /* the highest that this life has shown */
    int64_t log_start;      /* likewise */
    int64_t kept_log_start; /* what the next life may not go below: after a clean end */
    int64_t deleted_to;     /* asked of DeleteRecords */
    bool damaged;           /* bits were flipped on its disk */
};

enum sim_topic_state {
    SIM_TOPIC_THERE,
    SIM_TOPIC_MAY_BE_GONE, /* its deletion was asked for, and not answered */
    SIM_TOPIC_GONE,
};

struct sim_topic {
    char name[SIM_TOPIC_CHARS];
    struct uuid id;
    enum sim_topic_state state;
    int32_t partition_count;     /* acknowledged */
    int32_t partition_count_max; /* asked for */
    bool log_append_time;
    bool retention; /* had, at some time, a bound on size or age */
    bool lasting;   /* never deleted: may be addressed by name */
    struct sim_partition partitions[SIM_PARTITIONS_MAX];
};

struct sim_checker {
    struct sim_world *world;
    bool flush_before_ack;
    struct sim_batch *batches;
    size_t batch_count, batch_capacity;
    size_t stream_count;
    struct sim_topic *topics; /* all that ever were */
    size_t topic_count, topic_capacity;
    struct compression_scratch *scratch;
    int64_t *producer_ids; /* given out so far */
    size_t producer_id_count, producer_id_capacity;
    uint64_t acknowledged, read_batches; /* for the summary */
};

void sim_checker_init(struct sim_checker *c, struct sim_world *w, bool flush_before_ack);
void sim_checker_free(struct sim_checker *c);

/* ---- topics ---- */

/* Pointers to topics are good until the next one is added. */
struct sim_topic *sim_checker_add_topic(struct sim_checker *c, const char *name, struct uuid id,
                                        int32_t partitions);
/* The newest of that id; NULL: never heard of. */
struct sim_topic *sim_checker_topic(struct sim_checker *c, struct uuid id);
/* The one of that name that is there or may be; NULL: none. */
struct sim_topic *sim_checker_topic_named(struct sim_checker *c, struct str name);
bool sim_checker_topic_usable(const struct sim_topic *t);

/* ---- producing ---- */

size_t sim_checker_new_batch(struct sim_checker *c, const struct sim_batch *b);
/* The value of a record of a batch: its number, and bytes that follow from it. */
void sim_checker_fill_value(uint8_t *out, size_t size, size_t batch, int32_t index);
#define SIM_VALUE_BYTES_MIN 12

void sim_checker_acknowledged(struct sim_checker *c, size_t batch, int64_t base_offset,
                              bool by_all);
void sim_checker_producer_id(struct sim_checker *c, int64_t producer_id);

/* ---- reading ---- */

/* A batch that a reader was given, which wanted `offset`. *next is what it wants next. False: a
 * violation was told. */
bool sim_checker_read(struct sim_checker *c, struct sim_topic *t, int32_t partition,
                      struct bytes batch, int64_t offset, int64_t high_watermark, int64_t *next);
/* high_watermark and log start as an answer told them; the floors are what was known when the
 * request was sent. */
void sim_checker_saw(struct sim_checker *c, struct sim_topic *t, int32_t partition,
                     int64_t high_watermark, int64_t watermark_floor, int64_t log_start,
                     int64_t log_start_floor);

void sim_checker_saw_log_start(struct sim_checker *c, struct sim_topic *t, int32_t partition,
                               int64_t log_start, int64_t floor);

/* A machine has died, and acknowledgements do not wait for the disk: anything may be gone, from the
 * start of a log too. */
bool sim_checker_may_lose(const struct sim_checker *c);

/* The log end that the partition must have. */
int64_t sim_checker_end(const struct sim_partition *p);
/* All of a partition was read from its start up to its end, which moves no more. */
void sim_checker_read_all(struct sim_checker *c, struct sim_topic *t, int32_t partition,
                          int64_t from, int64_t end);

/* ---- lives ---- */

void sim_checker_life_over(struct sim_checker *c, bool memory_lost, bool clean);

#endif
