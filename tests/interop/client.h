#ifndef TESTS_INTEROP_CLIENT_H
#define TESTS_INTEROP_CLIENT_H

/* The interop cases that run through librdkafka's C API: what they share.
 *
 * A case is a function that answers whether the broker behaved. Whatever a case opens through these
 * helpers (clients, messages, admin results) belongs to the world and is closed after the case, so
 * a case may return at its first disappointment. One thread. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <librdkafka/rdkafka.h>

enum {
    WORLD_CLIENTS_MAX = 32,
    WORLD_TIMEOUT_MS = 20000, /* for what should be instant; generous, the broker may run under a
                               * sanitizer */
};

struct world {
    const char *bootstrap;
    const char *data;    /* the broker's log directory, or NULL when it is not at hand */
    bool restartable;    /* a runner restarts the broker when asked with world_restart */
    unsigned topic_seed; /* makes topic names of this run new */
    int topic_count;
    char topic_name[64]; /* see new_topic_name */
    char reason[512];    /* why the case failed or was skipped */
    bool skipped;
    rd_kafka_t *clients[WORLD_CLIENTS_MAX];
    size_t client_count;
    rd_kafka_message_t **messages;
    size_t message_count;
    size_t message_capacity;
};

struct client_case {
    const char *name; /* a sentence about behaviour; NULL ends the table */
    bool (*run)(struct world *w);
};

extern const struct client_case admin_cases[];
extern const struct client_case config_cases[];
extern const struct client_case produce_cases[];
extern const struct client_case consume_cases[];
extern const struct client_case storage_cases[];
extern const struct client_case group_cases[];

/* Leaves the case with a reason unless the condition holds. */
#define EXPECT(w, condition, ...)                                                                  \
    do {                                                                                           \
        if (!(condition))                                                                          \
            return world_fail((w), __FILE__, __LINE__, __VA_ARGS__);                               \
    } while (0)

/* Leaves the case with a reason unless two error codes are the same. */
#define EXPECT_ERROR(w, got, wanted)                                                               \
    do {                                                                                           \
        rd_kafka_resp_err_t got_ = (got);                                                          \
        EXPECT((w), got_ == (wanted), "got %s, wanted %s", rd_kafka_err2name(got_),                \
               rd_kafka_err2name(wanted));                                                         \
    } while (0)

/* Configuration as "key", "value", ... pairs. */
#define SETTINGS(...) ((const char *const[]){__VA_ARGS__, NULL})
#define NO_SETTINGS   ((const char *const[]){NULL})

/* Both answer false, so that a case can return them. */
bool world_fail(struct world *w, const char *file, int line, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
bool world_skip(struct world *w, const char *why);

/* Asks the runner to restart the broker (hard: kill -9), and waits until it has. */
bool world_restart(struct world *w, bool hard);

/* Closes what the case opened. */
void world_clean(struct world *w);

int64_t now_ms(void);

/* A topic name not used before; borrowed until the next call. */
const char *new_topic_name(struct world *w);

/* ---- clients; settings that librdkafka refuses end the program ---- */

rd_kafka_t *open_producer(struct world *w, const char *const *settings);
rd_kafka_t *open_consumer(struct world *w, const char *const *settings);
/* A client for admin requests; the same one for the whole case. */
rd_kafka_t *admin(struct world *w);

/* ---- admin requests: the error for the one topic, partition or resource asked about ---- */

struct topic_wish {
    const char *name;
    int partitions;
    int replication;
    const char *const *configs; /* NULL: none */
    bool validate_only;
    const int32_t *brokers; /* NULL: the broker chooses; else the replicas of partition 0 */
    size_t broker_count;
};

rd_kafka_resp_err_t create_topic(struct world *w, const struct topic_wish *wish);
rd_kafka_resp_err_t delete_topic(struct world *w, const char *topic);
rd_kafka_resp_err_t grow_topic(struct world *w, const char *topic, size_t partitions);
/* *low_out is the new log start offset, when there is no error. */
rd_kafka_resp_err_t delete_records(struct world *w, const char *topic, int64_t before,
                                   int64_t *low_out);
/* Writes the value into out ("" when there is none), and its source. */
rd_kafka_resp_err_t describe_config(struct world *w, rd_kafka_ResourceType_t type,
                                    const char *resource, const char *key, char out[256],
                                    rd_kafka_ConfigSource_t *source);
rd_kafka_resp_err_t alter_config(struct world *w, const char *topic, const char *key,
                                 const char *value);

/* Creates a topic with a new name and waits until all its partitions are led; NULL after
 * world_fail. */
const char *make_topic(struct world *w, int partitions, const char *const *configs);
/* The partitions of a topic that have a leader; 0 when the topic is unknown. Creates nothing. */
int led_partitions(struct world *w, const char *topic);
/* Waits until that number is reached. */
bool wait_led(struct world *w, const char *topic, int partitions);

/* ---- records ---- */

struct record {
    const char *topic;
    int32_t partition;
    const void *key; /* NULL: null */
    size_t key_size;
    const void *value; /* NULL: null */
    size_t value_size;
    int64_t timestamp_ms;        /* 0: now */
    rd_kafka_headers_t *headers; /* owned by produce from then on; NULL: none */
};

struct delivery {
    rd_kafka_resp_err_t error;
    int64_t offset;
    bool done;
};

/* Hands one record over; its delivery is filled in by a later flush. */
rd_kafka_resp_err_t produce(rd_kafka_t *producer, const struct record *r, struct delivery *d);
/* Produces one record and waits for its delivery report. */
struct delivery produce_and_wait(rd_kafka_t *producer, const struct record *r);
/* Produces "<first> … <first + count - 1>" as values; the first error, or none. */
rd_kafka_resp_err_t produce_numbers(rd_kafka_t *producer, const char *topic, int32_t partition,
                                    int first, int count);

/* Reads until count records came or nothing came for timeout_ms. Messages are the world's; *first
 * points into its list and is valid until the next call. */
size_t consume(struct world *w, rd_kafka_t *consumer, size_t count, int timeout_ms,
               rd_kafka_message_t ***first);
/* The same with a consumer of its own, on one partition from an offset. */
size_t read_partition(struct world *w, const char *topic, int32_t partition, int64_t offset,
                      size_t count, rd_kafka_message_t ***first);
bool assign(struct world *w, rd_kafka_t *consumer, const char *topic, int32_t partition,
            int64_t offset);
bool value_is(const rd_kafka_message_t *m, const char *text);
/* Whether these are "<first> …" at successive offsets. */
bool are_numbers(rd_kafka_message_t **messages, size_t count, int first);

/* The attributes of the first batch in a partition's first segment; -1 when it cannot be read. */
int stored_attributes(struct world *w, const char *topic, int32_t partition);
/* Files of a partition's folder that end so; -1 when there is no such folder. */
int stored_files(struct world *w, const char *topic, int32_t partition, const char *suffix);

#endif
