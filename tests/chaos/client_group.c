/* A member of a group: commits what it has read, and now and then asks what is committed. */

#include "tests/chaos/client.h"

#include <string.h>

enum { COMMIT_EVERY_US = 150000, ASK_EVERY_US = 500000, ASK_TIMEOUT_MS = 3000 };

struct member {
    struct chaos_client *client;
    rd_kafka_t *rk;
    int assignments; /* so far; a run of reads is one assignment */
    char run[64];
    int64_t next[PARTITIONS_MAX]; /* behind the last record read of an owned partition; -1: none */
    int64_t committed_us;
    int64_t asked_us;
};

static void note_stored(const struct member *m, const rd_kafka_topic_partition_list_t *list,
                        int64_t since_us)
{
    for (int i = 0; i < list->cnt; i++)
        if (!list->elems[i].err)
            fprintf(m->client->history, "stored %lld %lld %s %d %lld\n", (long long)since_us,
                    (long long)chaos_now_us(), m->client->who, (int)list->elems[i].partition,
                    (long long)(list->elems[i].offset >= 0 ? list->elems[i].offset : -1));
}

/* What the coordinator says is committed for the partitions that this member has. */
static void ask_stored(struct member *m)
{
    rd_kafka_topic_partition_list_t *list = NULL;
    int64_t since = chaos_now_us();

    m->asked_us = since;
    if (rd_kafka_assignment(m->rk, &list) != RD_KAFKA_RESP_ERR_NO_ERROR)
        return;
    if (list->cnt > 0 && !rd_kafka_committed(m->rk, list, ASK_TIMEOUT_MS))
        note_stored(m, list, since);
    rd_kafka_topic_partition_list_destroy(list);
}

static void commit(struct member *m)
{
    rd_kafka_topic_partition_list_t *list =
        rd_kafka_topic_partition_list_new(m->client->partitions);
    int64_t since = chaos_now_us();

    m->committed_us = since;
    for (int32_t p = 0; p < m->client->partitions; p++)
        if (m->next[p] >= 0)
            rd_kafka_topic_partition_list_add(list, m->client->topic, p)->offset = m->next[p];
    if (list->cnt > 0 && !rd_kafka_commit(m->rk, list, 0))
        for (int i = 0; i < list->cnt; i++)
            if (!list->elems[i].err)
                fprintf(m->client->history, "committed %lld %lld %s %d %lld\n", (long long)since,
                        (long long)chaos_now_us(), m->client->who, (int)list->elems[i].partition,
                        (long long)list->elems[i].offset);
    rd_kafka_topic_partition_list_destroy(list);
}

static void forget_positions(struct member *m)
{
    for (int p = 0; p < PARTITIONS_MAX; p++)
        m->next[p] = -1;
}

static void on_rebalance(rd_kafka_t *rk, rd_kafka_resp_err_t what,
                         rd_kafka_topic_partition_list_t *list, void *opaque)
{
    struct member *m = opaque;

    if (what == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS) {
        forget_positions(m);
        snprintf(m->run, sizeof m->run, "%s.%d", m->client->who, ++m->assignments);
        rd_kafka_assign(rk, list);
        return;
    }
    if (!rd_kafka_assignment_lost(rk))
        commit(m);
    forget_positions(m);
    rd_kafka_assign(rk, NULL);
}

static rd_kafka_t *open_member(struct member *m, const char *group)
{
    rd_kafka_conf_t *conf = chaos_conf(m->client);
    rd_kafka_topic_partition_list_t *topics = rd_kafka_topic_partition_list_new(1);
    rd_kafka_t *rk;

    chaos_set(conf, "group.id", group);
    chaos_set(conf, "enable.auto.commit", "false");
    chaos_set(conf, "auto.offset.reset", "earliest");
    chaos_set(conf, "session.timeout.ms", "6000");
    chaos_set(conf, "heartbeat.interval.ms", "500");
    chaos_set(conf, "fetch.wait.max.ms", "100");
    chaos_set(conf, "fetch.error.backoff.ms", "20");
    rd_kafka_conf_set_opaque(conf, m);
    rd_kafka_conf_set_rebalance_cb(conf, on_rebalance);
    rk = chaos_open(RD_KAFKA_CONSUMER, conf);
    rd_kafka_poll_set_consumer(rk);
    rd_kafka_topic_partition_list_add(topics, m->client->topic, RD_KAFKA_PARTITION_UA);
    rd_kafka_subscribe(rk, topics);
    rd_kafka_topic_partition_list_destroy(topics);
    return rk;
}

int chaos_group(struct chaos_client *c, const char *group)
{
    struct member m = {.client = c};

    forget_positions(&m);
    m.rk = open_member(&m, group);
    while (!chaos_input_has_ended()) {
        rd_kafka_message_t *record = rd_kafka_consumer_poll(m.rk, 50);
        int64_t now = chaos_now_us();

        if (record && !record->err) {
            chaos_note_read(c, m.run, record);
            m.next[record->partition] = record->offset + 1;
        }
        if (record)
            rd_kafka_message_destroy(record);
        if (now - m.committed_us > COMMIT_EVERY_US)
            commit(&m);
        if (now - m.asked_us > ASK_EVERY_US)
            ask_stored(&m);
    }
    /* No rd_kafka_consumer_close: librdkafka 2.0.2 can wait for ever there when another member's
     * leaving has begun a rebalance. The process ends, and the group notices. */
    commit(&m);
    ask_stored(&m);
    return 0;
}
