/* The chaos test's client: what its kinds share.
 *
 *   chaos_client produce|read|group BOOTSTRAP TOPIC PARTITIONS WHO HISTORY
 *   [RECORDS_PER_SECOND|GROUP] */

#include "tests/chaos/client.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

int64_t chaos_now_us(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

bool chaos_input_has_ended(void)
{
    struct pollfd in = {.fd = STDIN_FILENO, .events = POLLIN};
    char byte;

    return poll(&in, 1, 0) > 0 && read(STDIN_FILENO, &byte, 1) == 0;
}

void chaos_set(rd_kafka_conf_t *conf, const char *key, const char *value)
{
    char why[256];

    if (rd_kafka_conf_set(conf, key, value, why, sizeof why) != RD_KAFKA_CONF_OK) {
        fprintf(stderr, "%s\n", why);
        exit(2);
    }
}

/* Brokers die again and again: only what is fatal is news. */
static void on_log(const rd_kafka_t *rk, int level, const char *facility, const char *text)
{
    (void)rk;
    if (level <= 2)
        fprintf(stderr, "%s: %s\n", facility, text);
}

rd_kafka_conf_t *chaos_conf(const struct chaos_client *c)
{
    static const char *const settings[][2] = {
        {"reconnect.backoff.ms", "20"},
        {"reconnect.backoff.max.ms", "200"},
        {"retry.backoff.ms", "20"},
        {"socket.timeout.ms", "2000"},
        {"socket.connection.setup.timeout.ms", "1500"},
        {"topic.metadata.refresh.interval.ms", "1000"},
    };
    rd_kafka_conf_t *conf = rd_kafka_conf_new();

    chaos_set(conf, "bootstrap.servers", c->bootstrap);
    chaos_set(conf, "client.id", c->who);
    for (size_t i = 0; i < sizeof settings / sizeof settings[0]; i++)
        chaos_set(conf, settings[i][0], settings[i][1]);
    rd_kafka_conf_set_log_cb(conf, on_log);
    return conf;
}

rd_kafka_t *chaos_open(rd_kafka_type_t type, rd_kafka_conf_t *conf)
{
    char why[256];
    rd_kafka_t *rk = rd_kafka_new(type, conf, why, sizeof why);

    if (!rk) {
        fprintf(stderr, "%s\n", why);
        exit(2);
    }
    return rk;
}

void chaos_note_read(const struct chaos_client *c, const char *run, const rd_kafka_message_t *m)
{
    int size = (int)(m->len < 64 ? m->len : 64);
    char text[65];
    char writer[33];
    unsigned long sequence;

    memcpy(text, m->payload, (size_t)size);
    text[size] = '\0';
    if (sscanf(text, "%32s %lu ", writer, &sequence) != 2) {
        chaos_note_error(c, "a record that nobody wrote");
        return;
    }
    fprintf(c->history, "read %lld %s %d %lld %s %lu\n", (long long)chaos_now_us(), run,
            (int)m->partition, (long long)m->offset, writer, sequence);
}

void chaos_note_error(const struct chaos_client *c, const char *text)
{
    fprintf(c->history, "error %lld %s %s\n", (long long)chaos_now_us(), c->who, text);
}

static int run(struct chaos_client *c, const char *what, const char *more)
{
    if (strcmp(what, "produce") == 0 && more && atoi(more) > 0)
        return chaos_produce(c, atoi(more));
    if (strcmp(what, "read") == 0)
        return chaos_read(c);
    if (strcmp(what, "group") == 0 && more)
        return chaos_group(c, more);
    fprintf(stderr, "chaos_client: what is '%s'?\n", what);
    return 2;
}

int main(int argc, char **argv)
{
    struct chaos_client c;
    int code;

    if (argc < 7 || atoi(argv[4]) < 1 || atoi(argv[4]) > PARTITIONS_MAX) {
        fprintf(stderr, "usage: chaos_client produce|read|group BOOTSTRAP TOPIC PARTITIONS WHO "
                        "HISTORY [RATE|GROUP]\n");
        return 2;
    }
    c = (struct chaos_client){argv[2], argv[3], atoi(argv[4]), argv[5], fopen(argv[6], "w")};
    if (!c.history) {
        perror(argv[6]);
        return 2;
    }
    setvbuf(c.history, NULL, _IOLBF, 0); /* whole lines, for who reads it meanwhile */
    code = run(&c, argv[1], argc > 7 ? argv[7] : NULL);
    if (fclose(c.history) != 0) {
        perror(argv[6]);
        code = 2;
    }
    _exit(code); /* threads of a client that was left open would write to a closed file */
}
