/* What the interop cases share: clients, records, the data directory. Admin requests:
 * client_admin.c. */

#include <dirent.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/interop/client.h"

bool world_fail(struct world *w, const char *file, int line, const char *format, ...)
{
    const char *slash = strrchr(file, '/');
    int used = snprintf(w->reason, sizeof w->reason, "%s:%d: ", slash ? slash + 1 : file, line);
    va_list args;

    va_start(args, format);
    vsnprintf(w->reason + used, sizeof w->reason - (size_t)used, format, args);
    va_end(args);
    return false;
}

bool world_skip(struct world *w, const char *why)
{
    snprintf(w->reason, sizeof w->reason, "%s", why);
    w->skipped = true;
    return false;
}

bool world_restart(struct world *w, bool hard)
{
    char line[16];

    if (!w->restartable)
        return false;
    printf("%s\n", hard ? "@kill" : "@restart");
    fflush(stdout);
    return fgets(line, sizeof line, stdin) != NULL;
}

void world_clean(struct world *w)
{
    for (size_t i = 0; i < w->message_count; i++)
        rd_kafka_message_destroy(w->messages[i]);
    w->message_count = 0;
    while (w->client_count > 0) {
        rd_kafka_t *client = w->clients[--w->client_count];

        if (rd_kafka_type(client) == RD_KAFKA_PRODUCER)
            rd_kafka_purge(client, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
        else
            rd_kafka_assign(client, NULL);
        /* No farewell to a group coordinator: these clients are in no group. */
        rd_kafka_destroy_flags(client, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
    }
}

int64_t now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

const char *new_topic_name(struct world *w)
{
    snprintf(w->topic_name, sizeof w->topic_name, "interop-%08x-%d", w->topic_seed,
             ++w->topic_count);
    return w->topic_name;
}

/* ---- clients ---- */

static void on_delivery(rd_kafka_t *rk, const rd_kafka_message_t *m, void *opaque)
{
    struct delivery *d = m->_private;

    (void)rk;
    (void)opaque;
    if (d)
        *d = (struct delivery){.error = m->err, .offset = m->offset, .done = true};
}

/* librdkafka would print connection errors, which the restart cases provoke on purpose. */
static void on_log(const rd_kafka_t *rk, int level, const char *facility, const char *text)
{
    if (level <= 2)
        fprintf(stderr, "%s %s: %s\n", rd_kafka_name(rk), facility, text);
}

static void set(rd_kafka_conf_t *conf, const char *key, const char *value)
{
    char why[256];

    if (rd_kafka_conf_set(conf, key, value, why, sizeof why) != RD_KAFKA_CONF_OK) {
        fprintf(stderr, "librdkafka: %s=%s: %s\n", key, value, why);
        exit(2);
    }
}

static rd_kafka_t *open_client(struct world *w, rd_kafka_type_t type, const char *const *settings)
{
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    char why[256];
    rd_kafka_t *client;

    set(conf, "bootstrap.servers", w->bootstrap);
    if (type == RD_KAFKA_CONSUMER) {
        set(conf, "group.id", "interop-no-group");
        set(conf, "enable.auto.commit", "false");
        set(conf, "enable.auto.offset.store", "false");
    } else {
        set(conf, "linger.ms", "0");
        rd_kafka_conf_set_dr_msg_cb(conf, on_delivery);
    }
    set(conf, "reconnect.backoff.max.ms", "500");
    for (; settings[0]; settings += 2)
        set(conf, settings[0], settings[1]);
    rd_kafka_conf_set_log_cb(conf, on_log);

    client = w->client_count < WORLD_CLIENTS_MAX ? rd_kafka_new(type, conf, why, sizeof why) : NULL;
    if (!client) {
        fprintf(stderr, "rd_kafka_new: %s\n",
                w->client_count < WORLD_CLIENTS_MAX ? why : "too many");
        exit(2);
    }
    if (type == RD_KAFKA_CONSUMER)
        rd_kafka_poll_set_consumer(client);
    w->clients[w->client_count++] = client;
    return client;
}

rd_kafka_t *open_producer(struct world *w, const char *const *settings)
{
    return open_client(w, RD_KAFKA_PRODUCER, settings);
}

rd_kafka_t *open_consumer(struct world *w, const char *const *settings)
{
    return open_client(w, RD_KAFKA_CONSUMER, settings);
}

/* ---- records ---- */

rd_kafka_resp_err_t produce(rd_kafka_t *producer, const struct record *r, struct delivery *d)
{
    rd_kafka_vu_t what[] = {
        {.vtype = RD_KAFKA_VTYPE_TOPIC, .u.cstr = r->topic},
        {.vtype = RD_KAFKA_VTYPE_PARTITION, .u.i32 = r->partition},
        {.vtype = RD_KAFKA_VTYPE_KEY, .u.mem = {(void *)(uintptr_t)r->key, r->key_size}},
        {.vtype = RD_KAFKA_VTYPE_VALUE, .u.mem = {(void *)(uintptr_t)r->value, r->value_size}},
        {.vtype = RD_KAFKA_VTYPE_TIMESTAMP, .u.i64 = r->timestamp_ms},
        {.vtype = RD_KAFKA_VTYPE_MSGFLAGS, .u.i = RD_KAFKA_MSG_F_COPY},
        {.vtype = RD_KAFKA_VTYPE_OPAQUE, .u.ptr = d},
        {.vtype = RD_KAFKA_VTYPE_HEADERS, .u.headers = r->headers},
    };
    size_t count = sizeof what / sizeof what[0] - (r->headers ? 0 : 1);
    rd_kafka_error_t *error;
    rd_kafka_resp_err_t code;

    for (;;) {
        error = rd_kafka_produceva(producer, what, count);
        if (!error)
            return RD_KAFKA_RESP_ERR_NO_ERROR;
        code = rd_kafka_error_code(error);
        rd_kafka_error_destroy(error);
        if (code != RD_KAFKA_RESP_ERR__QUEUE_FULL)
            return code;
        rd_kafka_poll(producer, 100);
    }
}

struct delivery produce_and_wait(rd_kafka_t *producer, const struct record *r)
{
    struct delivery d = {.error = RD_KAFKA_RESP_ERR__TIMED_OUT, .offset = -1};
    rd_kafka_resp_err_t refused = produce(producer, r, &d);
    int64_t deadline = now_ms() + WORLD_TIMEOUT_MS;

    if (refused)
        return (struct delivery){.error = refused, .offset = -1};
    while (!d.done && now_ms() < deadline)
        rd_kafka_poll(producer, 10);
    if (!d.done) /* its report would be written into this frame */
        rd_kafka_purge(producer, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
    while (!d.done)
        rd_kafka_poll(producer, 10);
    return d;
}

rd_kafka_resp_err_t produce_numbers(rd_kafka_t *producer, const char *topic, int32_t partition,
                                    int first, int count)
{
    struct delivery *deliveries = calloc((size_t)count, sizeof *deliveries);
    rd_kafka_resp_err_t error = deliveries ? RD_KAFKA_RESP_ERR_NO_ERROR : RD_KAFKA_RESP_ERR__FAIL;

    for (int i = 0; i < count && !error; i++) {
        char value[16];
        int size = snprintf(value, sizeof value, "%d", first + i);

        error = produce(
            producer,
            &(struct record){
                .topic = topic, .partition = partition, .value = value, .value_size = (size_t)size},
            &deliveries[i]);
    }
    if (!error)
        error = rd_kafka_flush(producer, WORLD_TIMEOUT_MS);
    if (error) {
        rd_kafka_purge(producer, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
        rd_kafka_flush(producer, WORLD_TIMEOUT_MS);
    }
    for (int i = 0; i < count && !error; i++)
        error = deliveries[i].error;
    free(deliveries);
    return error;
}

bool assign(struct world *w, rd_kafka_t *consumer, const char *topic, int32_t partition,
            int64_t offset)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_resp_err_t error;

    rd_kafka_topic_partition_list_add(list, topic, partition)->offset = offset;
    error = rd_kafka_assign(consumer, list);
    rd_kafka_topic_partition_list_destroy(list);
    EXPECT(w, !error, "assign: %s", rd_kafka_err2name(error));
    return true;
}

static void keep_message(struct world *w, rd_kafka_message_t *m)
{
    if (w->message_count == w->message_capacity) {
        w->message_capacity = w->message_capacity ? 2 * w->message_capacity : 256;
        w->messages = realloc(w->messages, w->message_capacity * sizeof(rd_kafka_message_t *));
        if (!w->messages)
            abort();
    }
    w->messages[w->message_count++] = m;
}

size_t consume(struct world *w, rd_kafka_t *consumer, size_t count, int timeout_ms,
               rd_kafka_message_t ***first)
{
    size_t before = w->message_count;
    int64_t deadline = now_ms() + timeout_ms;

    while (w->message_count - before < count) {
        int64_t left = deadline - now_ms();
        rd_kafka_message_t *m = left > 0 ? rd_kafka_consumer_poll(consumer, (int)left) : NULL;

        if (!m)
            break;
        /* connection and coordinator trouble; a case that wants errors polls itself */
        if (m->err) {
            rd_kafka_message_destroy(m);
            continue;
        }
        keep_message(w, m);
        deadline = now_ms() + timeout_ms;
    }
    if (first)
        *first = w->messages + before;
    return w->message_count - before;
}

size_t read_partition(struct world *w, const char *topic, int32_t partition, int64_t offset,
                      size_t count, rd_kafka_message_t ***first)
{
    rd_kafka_t *consumer = open_consumer(w, NO_SETTINGS);

    if (!assign(w, consumer, topic, partition, offset))
        return 0;
    return consume(w, consumer, count, WORLD_TIMEOUT_MS, first);
}

bool value_is(const rd_kafka_message_t *m, const char *text)
{
    return m->len == strlen(text) && m->payload && !memcmp(m->payload, text, m->len);
}

bool are_numbers(rd_kafka_message_t **messages, size_t count, int first)
{
    for (size_t i = 0; i < count; i++) {
        char text[16];

        snprintf(text, sizeof text, "%d", first + (int)i);
        if (!value_is(messages[i], text) || messages[i]->offset != messages[0]->offset + (int64_t)i)
            return false;
    }
    return true;
}

/* ---- the data directory ---- */

int stored_attributes(struct world *w, const char *topic, int32_t partition)
{
    enum { ATTRIBUTES_AT = 21 }; /* offset 8, length 4, leader epoch 4, magic 1, CRC 4 */
    unsigned char head[ATTRIBUTES_AT + 2];
    char path[512];
    size_t got;
    FILE *file;

    snprintf(path, sizeof path, "%s/%s-%d/00000000000000000000.log", w->data, topic,
             (int)partition);
    file = fopen(path, "rb");
    if (!file)
        return -1;
    got = fread(head, 1, sizeof head, file);
    fclose(file);
    return got == sizeof head ? head[ATTRIBUTES_AT] << 8 | head[ATTRIBUTES_AT + 1] : -1;
}

int stored_files(struct world *w, const char *topic, int32_t partition, const char *suffix)
{
    char path[512];
    struct dirent *entry;
    int count = 0;
    DIR *folder;

    snprintf(path, sizeof path, "%s/%s-%d", w->data, topic, (int)partition);
    folder = opendir(path);
    if (!folder)
        return -1;
    while ((entry = readdir(folder))) {
        size_t size = strlen(entry->d_name);

        if (size >= strlen(suffix) && !strcmp(entry->d_name + size - strlen(suffix), suffix))
            count++;
    }
    closedir(folder);
    return count;
}
