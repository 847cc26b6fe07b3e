#ifndef TESTS_CHAOS_CLIENT_H
#define TESTS_CHAOS_CLIENT_H

/* One client of the chaos test: writes down what brokers promised it and what it saw, a line an
 * event.
 *
 *   acked T WHO PARTITION SEQUENCE OFFSET       a delivery report without an error
 *   forsaken T WHO PARTITION SEQUENCE WHY       given up by a fault of librdkafka's; kept or not
 *   failed T WHO PARTITION SEQUENCE ERROR       one with an error
 *   read T WHO PARTITION OFFSET WRITER SEQUENCE a record that a reader was given; WHO is one run
 *   without a seek
 *   committed T0 T1 WHO PARTITION OFFSET        a commit asked for at T0 was acknowledged at T1
 *   stored T0 T1 WHO PARTITION OFFSET           what was committed, as asked at T0 and answered at
 *                                               T1 (-1: nothing)
 *   error T WHO TEXT                            what an application should not have met
 *
 * Times are microseconds of CLOCK_MONOTONIC, the same for all processes. A record's value is
 * "WRITER SEQUENCE " and padding. Each client goes on until standard input ends. */

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include <librdkafka/rdkafka.h>

enum { PARTITIONS_MAX = 64 };

struct chaos_client {
    const char *bootstrap;
    const char *topic;
    int32_t partitions;
    const char *who;
    FILE *history;
};

int64_t chaos_now_us(void);
bool chaos_input_has_ended(void);

/* Sets one property; ends the process when librdkafka does not take it. */
void chaos_set(rd_kafka_conf_t *conf, const char *key, const char *value);
/* A client's settings that all share. They let go of a silent broker after seconds, as applications
 * that care do. */
rd_kafka_conf_t *chaos_conf(const struct chaos_client *c);
/* Takes conf; ends the process on failure. */
rd_kafka_t *chaos_open(rd_kafka_type_t type, rd_kafka_conf_t *conf);

/* A record that was read, as a line. */
void chaos_note_read(const struct chaos_client *c, const char *run, const rd_kafka_message_t *m);
void chaos_note_error(const struct chaos_client *c, const char *text);

/* What the client does; each returns the exit code. */
int chaos_produce(struct chaos_client *c, int per_second);
int chaos_read(struct chaos_client *c);
int chaos_group(struct chaos_client *c, const char *group);

#endif
