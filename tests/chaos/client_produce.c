/* An idempotent producer with acks=all, at a steady rate over all partitions, that tries each
 * record until it is kept. */

#include "tests/chaos/client.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#define PIPELINES_SINCE 0x020300ff

enum { PADDING_MAX = 200, FLUSH_TIMEOUT_MS = 60000, TICKS_PER_SECOND = 100 };

/* What the delivery report of a record needs: which one it was. */
static void *tag_of(int32_t partition, unsigned sequence)
{
    return (void *)((uintptr_t)sequence << 8 | (uintptr_t)partition);
}

/* Before 2.3.0 a request that was lost moves the next expected sequence on, kept or not, and the
 * answer to one that comes to the next leader before it is sent again is then taken for a
 * desynchronised sequence: the end of the producer (librdkafka #4438). */
static bool has_lost_count(rd_kafka_t *producer)
{
    return rd_kafka_version() < PIPELINES_SINCE &&
           rd_kafka_fatal_error(producer, NULL, 0) ==
               RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER;
}

static void on_delivery(rd_kafka_t *rk, const rd_kafka_message_t *m, void *opaque)
{
    struct chaos_client *c = opaque;
    uintptr_t tag = (uintptr_t)m->_private;
    const char *what = !m->err ? "acked" : has_lost_count(rk) ? "forsaken" : "failed";

    fprintf(c->history, "%s %lld %s %d %lu ", what, (long long)chaos_now_us(), c->who,
            (int)(tag & 0xff), (unsigned long)(tag >> 8));
    if (m->err)
        fprintf(c->history, "%s\n", rd_kafka_err2name(m->err));
    else
        fprintf(c->history, "%lld\n", (long long)m->offset);
}

static rd_kafka_t *open_producer(struct chaos_client *c)
{
    rd_kafka_conf_t *conf = chaos_conf(c);

    chaos_set(conf, "enable.idempotence", "true");
    chaos_set(conf, "message.timeout.ms", "0");
    chaos_set(conf, "linger.ms", "2");
    chaos_set(conf, "queue.buffering.max.messages", "1000000");
    /* Where a lost request may end the producer (has_lost_count), none times out before a fault is
     * over. */
    chaos_set(conf, "request.timeout.ms", "2000");
    if (rd_kafka_version() < PIPELINES_SINCE) {
        chaos_set(conf, "max.in.flight.requests.per.connection", "1");
        chaos_set(conf, "request.timeout.ms", "60000");
        chaos_set(conf, "socket.timeout.ms", "60000");
    }
    rd_kafka_conf_set_opaque(conf, c);
    rd_kafka_conf_set_dr_msg_cb(conf, on_delivery);
    return chaos_open(RD_KAFKA_PRODUCER, conf);
}

static bool send_one(rd_kafka_t *producer, const struct chaos_client *c, int32_t partition,
                     unsigned sequence)
{
    char value[64 + PADDING_MAX];
    int size = snprintf(value, 64, "%s %u ", c->who, sequence);
    rd_kafka_resp_err_t error;

    memset(value + size, 'p', PADDING_MAX);
    size += rand() % PADDING_MAX;
    error = rd_kafka_producev(producer, RD_KAFKA_V_TOPIC(c->topic), RD_KAFKA_V_PARTITION(partition),
                              RD_KAFKA_V_VALUE(value, (size_t)size),
                              RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
                              RD_KAFKA_V_OPAQUE(tag_of(partition, sequence)), RD_KAFKA_V_END);
    if (error && !has_lost_count(producer))
        chaos_note_error(c, rd_kafka_err2name(error));
    return !error;
}

/* 0: every record was answered for. */
static int finish(rd_kafka_t *producer, const struct chaos_client *c)
{
    char why[256];
    int left;

    if (!rd_kafka_fatal_error(producer, NULL, 0)) /* else nothing leaves any more */
        rd_kafka_flush(producer, FLUSH_TIMEOUT_MS);
    left = rd_kafka_outq_len(producer);
    if (left) {
        snprintf(why, sizeof why, "%d records are still open", left);
        chaos_note_error(c, why);
    }
    if (rd_kafka_fatal_error(producer, why, sizeof why)) {
        chaos_note_error(c, why);
        left++;
    }
    if (left == 0)
        rd_kafka_destroy(producer);
    return left ? 1 : 0;
}

static void give_up(rd_kafka_t *producer)
{
    rd_kafka_purge(producer, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
    rd_kafka_flush(producer, FLUSH_TIMEOUT_MS);
    rd_kafka_destroy(producer);
}

/* False: the producer has lost count, and another is to go on. */
static bool produce(struct chaos_client *c, int per_second, int *code)
{
    const struct timespec tick = {.tv_nsec = 1000000000 / TICKS_PER_SECOND};
    unsigned next[PARTITIONS_MAX] = {0};
    rd_kafka_t *producer = open_producer(c);
    bool going = true;
    int32_t partition = 0;

    while (going && !chaos_input_has_ended()) {
        for (int i = 0; going && i < (per_second + TICKS_PER_SECOND - 1) / TICKS_PER_SECOND; i++) {
            going = send_one(producer, c, partition, next[partition]);
            next[partition]++;
            partition = (partition + 1) % c->partitions;
        }
        rd_kafka_poll(producer, 0);
        nanosleep(&tick, NULL);
    }
    if (has_lost_count(producer)) {
        give_up(producer);
        return false;
    }
    *code = finish(producer, c);
    return true;
}

int chaos_produce(struct chaos_client *c, int per_second)
{
    const char *who = c->who;
    char another[64];
    int code = 0;

    srand(1);
    for (int i = 2; !produce(c, per_second, &code); i++) { /* numbers its records from 0 again */
        snprintf(another, sizeof another, "%s.%d", who, i);
        c->who = another;
    }
    return code;
}
