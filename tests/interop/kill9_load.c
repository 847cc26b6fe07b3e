/* A steady idempotent load with acks=all that outlives its broker, and a history of what was
 * promised.
 *
 *   kill9_load HOST:PORT TOPIC PARTITIONS RECORDS_PER_SECOND HISTORY
 *
 * Record n of a partition has the value "n" and padding behind a blank. The history has a line for
 * each delivery report: "acked PARTITION N OFFSET" or "failed PARTITION N ERROR". The load goes on
 * until standard input ends; then everything outstanding is waited for. Exit code 0: nothing was
 * left open. */

#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <librdkafka/rdkafka.h>

enum { PARTITIONS_MAX = 64, PADDING_MAX = 1500, FLUSH_TIMEOUT_MS = 120000, TICKS_PER_SECOND = 100 };

/* What the delivery report of a record needs: which one it was. */
static void *tag_of(int partition, unsigned sequence)
{
    return (void *)((uintptr_t)sequence << 8 | (uintptr_t)partition);
}

static void on_delivery(rd_kafka_t *rk, const rd_kafka_message_t *m, void *opaque)
{
    uintptr_t tag = (uintptr_t)m->_private;
    FILE *history = opaque;

    (void)rk;
    if (m->err)
        fprintf(history, "failed %d %lu %s\n", (int)(tag & 0xff), (unsigned long)(tag >> 8),
                rd_kafka_err2name(m->err));
    else
        fprintf(history, "acked %d %lu %lld\n", (int)(tag & 0xff), (unsigned long)(tag >> 8),
                (long long)m->offset);
}

static void on_log(const rd_kafka_t *rk, int level, const char *facility, const char *text)
{
    (void)rk;
    if (level <= 2) /* the broker dies again and again: only what is fatal is news */
        fprintf(stderr, "%s: %s\n", facility, text);
}

static void set(rd_kafka_conf_t *conf, const char *key, const char *value)
{
    char why[256];

    if (rd_kafka_conf_set(conf, key, value, why, sizeof why) != RD_KAFKA_CONF_OK) {
        fprintf(stderr, "%s\n", why);
        exit(2);
    }
}

static rd_kafka_t *open_producer(const char *bootstrap, FILE *history)
{
    static const char *const settings[][2] = {
        {"enable.idempotence", "true"},
        {"message.timeout.ms", "0"}, /* a record is tried until it is kept */
        {"linger.ms", "1"},
        {"queue.buffering.max.messages", "20000"},
        {"reconnect.backoff.ms", "20"},
        {"reconnect.backoff.max.ms", "100"},
        {"retry.backoff.ms", "20"},
        {"socket.timeout.ms", "10000"},
    };
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    rd_kafka_t *producer;
    char why[256];

    set(conf, "bootstrap.servers", bootstrap);
    for (size_t i = 0; i < sizeof settings / sizeof settings[0]; i++)
        set(conf, settings[i][0], settings[i][1]);
    rd_kafka_conf_set_opaque(conf, history);
    rd_kafka_conf_set_dr_msg_cb(conf, on_delivery);
    rd_kafka_conf_set_log_cb(conf, on_log);
    producer = rd_kafka_new(RD_KAFKA_PRODUCER, conf, why, sizeof why);
    if (!producer) {
        fprintf(stderr, "%s\n", why);
        exit(2);
    }
    return producer;
}

static bool input_has_ended(void)
{
    struct pollfd in = {.fd = STDIN_FILENO, .events = POLLIN};
    char byte;

    return poll(&in, 1, 0) > 0 && read(STDIN_FILENO, &byte, 1) == 0;
}

/* False when the producer takes nothing more for good. */
static bool send_one(rd_kafka_t *producer, const char *topic, int partition, unsigned sequence)
{
    static char value[32 + PADDING_MAX];
    int size = snprintf(value, 32, "%u ", sequence);
    rd_kafka_resp_err_t error;

    memset(value + size, 'p', PADDING_MAX);
    size += rand() % PADDING_MAX;
    do {
        error = rd_kafka_producev(
            producer, RD_KAFKA_V_TOPIC(topic), RD_KAFKA_V_PARTITION(partition),
            RD_KAFKA_V_VALUE(value, (size_t)size), RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
            RD_KAFKA_V_OPAQUE(tag_of(partition, sequence)), RD_KAFKA_V_END);
        if (error == RD_KAFKA_RESP_ERR__QUEUE_FULL)
            rd_kafka_poll(producer, 20);
    } while (error == RD_KAFKA_RESP_ERR__QUEUE_FULL && !input_has_ended());
    if (error && error != RD_KAFKA_RESP_ERR__QUEUE_FULL)
        fprintf(stderr, "produce: %s\n", rd_kafka_err2str(error));
    return !error;
}

int main(int argc, char **argv)
{
    unsigned next[PARTITIONS_MAX] = {0};
    const struct timespec tick = {.tv_nsec = 1000000000 / TICKS_PER_SECOND};
    int partitions = argc == 6 ? atoi(argv[3]) : 0;
    int per_tick = argc == 6 ? atoi(argv[4]) / TICKS_PER_SECOND : 0;
    bool going = true;
    rd_kafka_t *producer;
    FILE *history;
    int left;

    if (partitions < 1 || partitions > PARTITIONS_MAX || per_tick < 1) {
        fprintf(stderr,
                "usage: kill9_load HOST:PORT TOPIC PARTITIONS RECORDS_PER_SECOND HISTORY\n");
        return 2;
    }
    history = fopen(argv[5], "w");
    if (!history) {
        perror(argv[5]);
        return 2;
    }
    srand(1);
    producer = open_producer(argv[1], history);
    while (going && !input_has_ended()) {
        for (int i = 0; i < per_tick && going; i++) {
            int partition = rand() % partitions;

            going = send_one(producer, argv[2], partition, next[partition]++);
        }
        rd_kafka_poll(producer, 0);
        nanosleep(&tick, NULL);
    }
    rd_kafka_flush(producer, FLUSH_TIMEOUT_MS);
    left = rd_kafka_outq_len(producer);
    if (left)
        fprintf(stderr, "%d records are still open\n", left);
    fclose(history);
    if (rd_kafka_fatal_error(producer, NULL, 0)) {
        char why[256];

        rd_kafka_fatal_error(producer, why, sizeof why);
        fprintf(stderr, "the producer failed for good: %s\n", why);
        left++;
    }
    /* Delivery reports would now go to a closed file; the process ends instead. */
    _exit(left ? 1 : 0);
}
