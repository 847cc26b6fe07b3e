/* A reader of all partitions from their beginning, without a group. */

#include "tests/chaos/client.h"

#include <string.h>

enum { CAUGHT_UP_TIMEOUT_MS = 30000, QUIET_MS = 1500 };

static rd_kafka_t *open_reader(struct chaos_client *c)
{
    rd_kafka_conf_t *conf = chaos_conf(c);
    rd_kafka_topic_partition_list_t *all = rd_kafka_topic_partition_list_new(c->partitions);
    rd_kafka_t *reader;

    chaos_set(conf, "group.id", c->who); /* never joined */
    chaos_set(conf, "enable.auto.commit", "false");
    chaos_set(conf, "client.rack", "az-2"); /* from the replica there, where brokers let it
                                             * (KIP-392) */
    /* An offset that is gone is what the test looks for: no silent jump. */
    chaos_set(conf, "auto.offset.reset", "error");
    chaos_set(conf, "fetch.wait.max.ms", "100");
    chaos_set(conf, "fetch.error.backoff.ms", "20");
    reader = chaos_open(RD_KAFKA_CONSUMER, conf);
    rd_kafka_poll_set_consumer(reader);
    for (int32_t p = 0; p < c->partitions; p++)
        rd_kafka_topic_partition_list_add(all, c->topic, p)->offset = 0;
    rd_kafka_assign(reader, all);
    rd_kafka_topic_partition_list_destroy(all);
    return reader;
}

/* After the end of input the reader goes on until nothing has come for a while: the writers are
 * done then. */
int chaos_read(struct chaos_client *c)
{
    rd_kafka_t *reader = open_reader(c);
    int64_t ended_us = 0;
    int64_t last_us = 0;

    for (;;) {
        rd_kafka_message_t *m = rd_kafka_consumer_poll(reader, 50);
        int64_t now = chaos_now_us();

        if (!ended_us && chaos_input_has_ended())
            ended_us = last_us = now;
        if (m && !m->err) {
            chaos_note_read(c, c->who, m);
            last_us = now;
        } else if (m && m->err == RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET) {
            chaos_note_error(c, rd_kafka_message_errstr(m));
        }
        if (m)
            rd_kafka_message_destroy(m);
        if (ended_us &&
            (now - last_us > QUIET_MS * 1000 || now - ended_us > CAUGHT_UP_TIMEOUT_MS * 1000))
            break;
    }
    rd_kafka_destroy(reader);
    return 0;
}
