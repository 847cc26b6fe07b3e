/* librdkafka's C API behind the commands `write` and `member` of the client programs here; see the
 * README one folder up. */

#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <librdkafka/rdkafka.h>

enum {
    PARTITIONS_MAX = 64,
    PADDING = 60,
    TICKS_PER_SECOND = 5,
    FLUSH_TIMEOUT_MS = 120000,
    POLL_MS = 100,
    COMMIT_EVERY_MS = 100,
};

struct options {
    int count;
    char **words; /* "key=value" */
};

/* NULL when it was not given. */
static const char *option(const struct options *o, const char *key)
{
    size_t size = strlen(key);

    for (int i = 0; i < o->count; i++)
        if (strncmp(o->words[i], key, size) == 0 && o->words[i][size] == '=')
            return o->words[i] + size + 1;
    return NULL;
}

static const char *required(const struct options *o, const char *key)
{
    const char *value = option(o, key);

    if (!value) {
        fprintf(stderr, "librdkafka_client: %s= is missing\n", key);
        exit(2);
    }
    return value;
}

/* A whole line at once: callbacks come from several threads. */
static void say(const char *format, ...)
{
    char line[512];
    va_list rest;

    va_start(rest, format);
    vsnprintf(line, sizeof line, format, rest);
    va_end(rest);
    puts(line);
}

static bool input_has_ended(void)
{
    struct pollfd in = {.fd = STDIN_FILENO, .events = POLLIN};

    return poll(&in, 1, 0) > 0; /* a line, or the end */
}

/* What librdkafka tells of so that an application may know, and mends by itself; and a commit that
 * a rebalance overtook, which is made after it. ILLEGAL_GENERATION is that too: a cooperative
 * member goes on consuming while it joins. */
static bool is_retriable(rd_kafka_resp_err_t error)
{
    static const rd_kafka_resp_err_t retriable[] = {
        RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN,
        RD_KAFKA_RESP_ERR__TRANSPORT,
        RD_KAFKA_RESP_ERR__TIMED_OUT,
        RD_KAFKA_RESP_ERR__WAIT_COORD,
        RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS,
        RD_KAFKA_RESP_ERR_NOT_COORDINATOR,
        RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE,
        RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS,
        RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT,
        RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION,
    };

    for (size_t i = 0; i < sizeof retriable / sizeof retriable[0]; i++)
        if (retriable[i] == error)
            return true;
    return false;
}

static void say_error(const char *event, rd_kafka_resp_err_t error)
{
    say("{\"event\": \"%s\", \"why\": \"%s\", \"retriable\": %s}", event, rd_kafka_err2name(error),
        is_retriable(error) ? "true" : "false");
}

static void on_error(rd_kafka_t *rk, int error, const char *reason, void *opaque)
{
    (void)rk;
    (void)reason;
    (void)opaque;
    say_error("error", (rd_kafka_resp_err_t)error);
}

static void set(rd_kafka_conf_t *conf, const char *key, const char *value)
{
    char why[256];

    if (rd_kafka_conf_set(conf, key, value, why, sizeof why) != RD_KAFKA_CONF_OK) {
        fprintf(stderr, "%s\n", why);
        exit(2);
    }
}

static rd_kafka_t *open_client(rd_kafka_type_t type, rd_kafka_conf_t *conf, void *opaque)
{
    char why[256];
    rd_kafka_t *rk;

    rd_kafka_conf_set_opaque(conf, opaque);
    rd_kafka_conf_set_error_cb(conf, on_error);
    rk = rd_kafka_new(type, conf, why, sizeof why);
    if (!rk) {
        fprintf(stderr, "%s\n", why);
        exit(2);
    }
    return rk;
}

/* ---- write ---- */

#define PIPELINES_SINCE 0x020300ff

/* What the delivery report of a record needs: which one it was. */
static void *tag_of(int32_t partition, unsigned sequence)
{
    return (void *)((uintptr_t)sequence << 8 | (uintptr_t)partition);
}

static void on_delivery(rd_kafka_t *rk, const rd_kafka_message_t *m, void *opaque)
{
    uintptr_t tag = (uintptr_t)m->_private;
    int partition = (int)(tag & 0xff);
    unsigned long sequence = (unsigned long)(tag >> 8);

    (void)rk;
    (void)opaque;
    if (m->err)
        say("{\"event\": \"failed\", \"p\": %d, \"s\": %lu, \"why\": \"%s\"}", partition, sequence,
            rd_kafka_err2name(m->err));
    else
        say("{\"event\": \"acked\", \"p\": %d, \"s\": %lu, \"o\": %lld}", partition, sequence,
            (long long)m->offset);
}

static void write_one(rd_kafka_t *producer, const struct options *o, int32_t partition,
                      unsigned sequence)
{
    char value[64 + PADDING];
    int size = snprintf(value, 64, "%s %u ", required(o, "who"), sequence);
    rd_kafka_resp_err_t error;

    memset(value + size, 'p', PADDING);
    error = rd_kafka_producev(
        producer, RD_KAFKA_V_TOPIC(required(o, "topic")), RD_KAFKA_V_PARTITION(partition),
        RD_KAFKA_V_VALUE(value, (size_t)size + PADDING), RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
        RD_KAFKA_V_OPAQUE(tag_of(partition, sequence)), RD_KAFKA_V_END);
    if (error) {
        say("{\"event\": \"failed\", \"p\": %d, \"s\": %u, \"why\": \"%s\"}", (int)partition,
            sequence, rd_kafka_err2name(error));
        exit(1);
    }
}

/* A steady rate over all partitions, idempotent, until standard input has something. */
static int write_records(const struct options *o)
{
    const struct timespec tick = {.tv_nsec = 1000000000 / TICKS_PER_SECOND};
    unsigned next[PARTITIONS_MAX] = {0};
    int32_t partitions = atoi(required(o, "partitions"));
    int a_tick = atoi(required(o, "rate")) / TICKS_PER_SECOND;
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    rd_kafka_t *producer;
    int32_t partition = 0;
    int left;

    set(conf, "bootstrap.servers", required(o, "bootstrap"));
    set(conf, "enable.idempotence", "true");
    /* Before 2.3.0 a request lost with its connection moves the next expected sequence on, kept or
     * not, and the answer to one that was sent behind it is then taken for a desynchronised
     * sequence: the end of the producer (librdkafka #4438). */
    if (rd_kafka_version() < PIPELINES_SINCE)
        set(conf, "max.in.flight.requests.per.connection", "1");
    rd_kafka_conf_set_dr_msg_cb(conf, on_delivery);
    producer = open_client(RD_KAFKA_PRODUCER, conf, NULL);
    while (!input_has_ended()) {
        for (int i = 0; i < a_tick; i++) {
            write_one(producer, o, partition, next[partition]++);
            partition = (partition + 1) % partitions;
        }
        rd_kafka_poll(producer, 0);
        nanosleep(&tick, NULL);
    }
    rd_kafka_flush(producer, FLUSH_TIMEOUT_MS);
    left = rd_kafka_outq_len(producer);
    if (left)
        fprintf(stderr, "%d records are still open\n", left);
    else
        say("{\"event\": \"closed\"}");
    return left ? 1 : 0;
}

/* ---- member ---- */

struct member {
    const char *topic;
    int64_t next[PARTITIONS_MAX]; /* behind the last record that is not yet committed; -1: none */
    int64_t committed_ms;         /* when it was tried last */
};

static void say_partitions(const char *event, const rd_kafka_topic_partition_list_t *list)
{
    char text[8 * PARTITIONS_MAX] = "";
    size_t at = 0;

    for (int i = 0; i < list->cnt && at < sizeof text - 8; i++)
        at += (size_t)snprintf(text + at, sizeof text - at, "%s%d", i ? ", " : "",
                               (int)list->elems[i].partition);
    say("{\"event\": \"%s\", \"partitions\": [%s]}", event, text);
}

static void forget_all(struct member *m)
{
    for (int p = 0; p < PARTITIONS_MAX; p++)
        m->next[p] = -1;
}

static void forget(struct member *m, const rd_kafka_topic_partition_list_t *list)
{
    for (int i = 0; i < list->cnt; i++)
        m->next[list->elems[i].partition] = -1;
}

static int64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void commit(rd_kafka_t *rk, struct member *m)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(PARTITIONS_MAX);
    rd_kafka_resp_err_t error;

    for (int32_t p = 0; p < PARTITIONS_MAX; p++)
        if (m->next[p] >= 0)
            rd_kafka_topic_partition_list_add(list, m->topic, p)->offset = m->next[p];
    if (list->cnt > 0) {
        error = rd_kafka_commit(rk, list, 0);
        if (error)
            say_error("commit_failed", error);
        for (int i = 0; !error && i < list->cnt; i++)
            say("{\"event\": \"committed\", \"p\": %d, \"o\": %lld}", (int)list->elems[i].partition,
                (long long)list->elems[i].offset);
        if (!error)
            forget_all(m);
    }
    rd_kafka_topic_partition_list_destroy(list);
    m->committed_ms = now_ms();
}

static void on_rebalance(rd_kafka_t *rk, rd_kafka_resp_err_t what,
                         rd_kafka_topic_partition_list_t *list, void *opaque)
{
    struct member *m = opaque;
    bool cooperative = strcmp(rd_kafka_rebalance_protocol(rk), "COOPERATIVE") == 0;
    bool assign = what == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;

    if (!assign && !rd_kafka_assignment_lost(rk))
        commit(rk, m);
    forget(m, list);
    say_partitions(assign ? "assigned" : "revoked", list);
    if (cooperative)
        rd_kafka_error_destroy(assign ? rd_kafka_incremental_assign(rk, list)
                                      : rd_kafka_incremental_unassign(rk, list));
    else
        rd_kafka_assign(rk, assign ? list : NULL);
}

static void take(struct member *m, const rd_kafka_message_t *record)
{
    if (record->err) {
        say_error("error", record->err);
        return;
    }
    say("{\"p\": %d, \"o\": %lld, \"v\": \"%.*s\"}", (int)record->partition,
        (long long)record->offset, (int)record->len, (const char *)record->payload);
    m->next[record->partition] = record->offset + 1;
}

/* Joins, consumes, commits, until standard input has something. */
static int be_member(const struct options *o)
{
    struct member m = {.topic = required(o, "topic")};
    rd_kafka_topic_partition_list_t *topics = rd_kafka_topic_partition_list_new(1);
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    const char *assignor = option(o, "assignor");
    const char *session = option(o, "session");
    rd_kafka_t *rk;

    forget_all(&m);
    set(conf, "bootstrap.servers", required(o, "bootstrap"));
    set(conf, "group.id", required(o, "group"));
    set(conf, "enable.auto.commit", "false");
    set(conf, "auto.offset.reset", "earliest");
    if (!session || strcmp(session, "default") != 0) {
        set(conf, "session.timeout.ms", session ? session : "6000");
        set(conf, "heartbeat.interval.ms", "1000");
    }
    if (assignor && strcmp(assignor, "cooperative") == 0)
        set(conf, "partition.assignment.strategy", "cooperative-sticky");
    rd_kafka_conf_set_rebalance_cb(conf, on_rebalance);
    rk = open_client(RD_KAFKA_CONSUMER, conf, &m);
    rd_kafka_poll_set_consumer(rk);
    rd_kafka_topic_partition_list_add(topics, m.topic, RD_KAFKA_PARTITION_UA);
    rd_kafka_subscribe(rk, topics);
    rd_kafka_topic_partition_list_destroy(topics);
    while (!input_has_ended()) {
        rd_kafka_message_t *record = rd_kafka_consumer_poll(rk, POLL_MS);

        if (record) {
            take(&m, record);
            rd_kafka_message_destroy(record);
        }
        if (now_ms() - m.committed_ms >= COMMIT_EVERY_MS)
            commit(rk, &m);
    }
    commit(rk, &m);
    rd_kafka_consumer_close(rk);
    rd_kafka_destroy(rk);
    say("{\"event\": \"closed\"}");
    return 0;
}

int main(int argc, char **argv)
{
    struct options o = {.count = argc - 2, .words = argv + 2};

    setvbuf(stdout, NULL, _IOLBF, 0);
    if (argc > 2 && strcmp(argv[1], "write") == 0)
        return write_records(&o);
    if (argc > 2 && strcmp(argv[1], "member") == 0)
        return be_member(&o);
    fprintf(stderr, "usage: librdkafka_client write|member KEY=VALUE...\n");
    return 2;
}
