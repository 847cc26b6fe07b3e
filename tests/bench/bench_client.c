/* The load of the benchmark: one librdkafka client, its settings printed with its figures.
 *
 *   bench_client produce HOST:PORT TOPIC PARTITIONS RECORD_BYTES RECORDS ACKS
 *   bench_client consume HOST:PORT TOPIC PARTITIONS RECORDS
 *   bench_client latency HOST:PORT TOPIC RECORD_BYTES RECORDS_PER_SECOND SECONDS
 *
 * Prints one line of JSON. The work of the client is the same whatever broker answers. */

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <librdkafka/rdkafka.h>

enum {
    CONSUME_BATCH = 4096,
    IDLE_TIMEOUT_MS = 60000, /* nothing came for so long: the run has failed */
    WARM_UP_SECONDS = 2,     /* of a latency run, not counted */
};

static const char *const produce_settings[][2] = {
    {"linger.ms", "5"},
    {"batch.size", "1000000"},
    {"batch.num.messages", "100000"},
    {"queue.buffering.max.messages", "500000"},
    {"queue.buffering.max.kbytes", "262144"},
    {"compression.type", "none"},
    {"max.in.flight.requests.per.connection", "5"},
    {NULL, NULL},
};

static const char *const consume_settings[][2] = {
    {"group.id", "bench-no-group"},
    {"enable.auto.commit", "false"},
    {"enable.auto.offset.store", "false"},
    {"check.crcs", "false"},
    {"fetch.wait.max.ms", "500"},
    {"fetch.min.bytes", "1"},
    {"fetch.message.max.bytes", "1048576"},
    {"queued.min.messages", "1000000"},
    {"queued.max.messages.kbytes", "262144"},
    {NULL, NULL},
};

static const char *const latency_produce_settings[][2] = {
    {"linger.ms", "0"},
    {"acks", "all"},
    {"compression.type", "none"},
    {NULL, NULL},
};

static const char *const latency_consume_settings[][2] = {
    {"group.id", "bench-no-group"},
    {"enable.auto.commit", "false"},
    {"enable.auto.offset.store", "false"},
    {"fetch.wait.max.ms", "500"},
    {"fetch.min.bytes", "1"},
    {NULL, NULL},
};

static _Noreturn void give_up(const char *what, const char *why)
{
    fprintf(stderr, "bench_client: %s: %s\n", what, why);
    exit(1);
}

static int64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void set(rd_kafka_conf_t *conf, const char *key, const char *value)
{
    char why[256];

    if (rd_kafka_conf_set(conf, key, value, why, sizeof why) != RD_KAFKA_CONF_OK)
        give_up(key, why);
}

/* Counts delivery reports; the opaque of a producer. */
struct delivered {
    int64_t count;
    int64_t failed;
};

static void on_delivery(rd_kafka_t *rk, const rd_kafka_message_t *m, void *opaque)
{
    struct delivered *d = opaque;

    (void)rk;
    d->count++;
    d->failed += m->err != 0;
}

static rd_kafka_t *open_client(rd_kafka_type_t type, const char *bootstrap,
                               const char *const (*settings)[2], const char *acks,
                               struct delivered *delivered)
{
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    rd_kafka_t *client;
    char why[256];

    set(conf, "bootstrap.servers", bootstrap);
    for (; (*settings)[0]; settings++)
        set(conf, (*settings)[0], (*settings)[1]);
    if (acks)
        set(conf, "acks", acks);
    if (delivered) {
        rd_kafka_conf_set_opaque(conf, delivered);
        rd_kafka_conf_set_dr_msg_cb(conf, on_delivery);
    }
    client = rd_kafka_new(type, conf, why, sizeof why);
    if (!client)
        give_up("rd_kafka_new", why);
    return client;
}

static void assign_all(rd_kafka_t *consumer, const char *topic, int partitions, int64_t offset)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(partitions);
    rd_kafka_resp_err_t error;

    for (int p = 0; p < partitions; p++)
        rd_kafka_topic_partition_list_add(list, topic, p)->offset = offset;
    error = rd_kafka_assign(consumer, list);
    rd_kafka_topic_partition_list_destroy(list);
    if (error)
        give_up("assign", rd_kafka_err2str(error));
}

static void print_settings(const char *const (*settings)[2])
{
    printf("\"settings\": \"");
    for (; (*settings)[0]; settings++)
        printf("%s=%s ", (*settings)[0], (*settings)[1]);
    printf("\"}\n");
}

/* ---- as fast as it goes ---- */

static void run_produce(char **args)
{
    const char *topic_name = args[1];
    int partitions = atoi(args[2]);
    size_t size = (size_t)atol(args[3]);
    int64_t records = atoll(args[4]);
    struct delivered delivered = {0};
    rd_kafka_t *producer =
        open_client(RD_KAFKA_PRODUCER, args[0], produce_settings, args[5], &delivered);
    rd_kafka_topic_t *topic = rd_kafka_topic_new(producer, topic_name, NULL);
    char *value = malloc(size);
    int64_t started;
    double seconds;

    /* Noise, so that nothing on the way could compress it. */
    for (size_t i = 0; i < size; i++)
        value[i] = (char)rand();
    started = now_ns();
    for (int64_t i = 0; i < records; i++) {
        /* The value is shared by all records: no copy, and never freed by the library. */
        while (rd_kafka_produce(topic, (int32_t)(i % partitions), 0, value, size, NULL, 0, NULL)) {
            if (rd_kafka_last_error() != RD_KAFKA_RESP_ERR__QUEUE_FULL)
                give_up("produce", rd_kafka_err2str(rd_kafka_last_error()));
            rd_kafka_poll(producer, 1);
        }
        if (i % 1024 == 0)
            rd_kafka_poll(producer, 0);
    }
    if (rd_kafka_flush(producer, IDLE_TIMEOUT_MS) || delivered.failed || delivered.count != records)
        give_up("produce", "not everything was acknowledged");
    seconds = (double)(now_ns() - started) / 1e9;
    printf("{\"records\": %lld, \"bytes\": %lld, \"seconds\": %.3f, \"mb_per_s\": %.1f, \"acks\": "
           "\"%s\", ",
           (long long)records, (long long)records * (long long)size, seconds,
           (double)records * (double)size / 1e6 / seconds, args[5]);
    print_settings(produce_settings);
    rd_kafka_topic_destroy(topic);
    rd_kafka_destroy(producer);
    free(value);
}

static void run_consume(char **args)
{
    int64_t records = atoll(args[3]), got = 0, bytes = 0;
    rd_kafka_t *consumer = open_client(RD_KAFKA_CONSUMER, args[0], consume_settings, NULL, NULL);
    rd_kafka_message_t **batch = calloc(CONSUME_BATCH, sizeof(rd_kafka_message_t *));
    rd_kafka_queue_t *queue;
    int64_t started = now_ns(), last = started;
    double seconds;

    rd_kafka_poll_set_consumer(consumer);
    queue = rd_kafka_queue_get_consumer(consumer);
    assign_all(consumer, args[1], atoi(args[2]), 0);
    while (got < records) {
        ssize_t count = rd_kafka_consume_batch_queue(queue, 100, batch, CONSUME_BATCH);

        for (ssize_t i = 0; i < count; i++) {
            got += !batch[i]->err;
            bytes += batch[i]->err ? 0 : (int64_t)batch[i]->len;
            rd_kafka_message_destroy(batch[i]);
        }
        if (count > 0)
            last = now_ns();
        else if (now_ns() - last > (int64_t)IDLE_TIMEOUT_MS * 1000000)
            give_up("consume", "the records stopped coming");
    }
    seconds = (double)(now_ns() - started) / 1e9;
    printf("{\"records\": %lld, \"bytes\": %lld, \"seconds\": %.3f, \"mb_per_s\": %.1f, ",
           (long long)got, (long long)bytes, seconds, (double)bytes / 1e6 / seconds);
    print_settings(consume_settings);
    rd_kafka_queue_destroy(queue);
    free(batch);
    rd_kafka_destroy_flags(consumer, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
}

/* ---- from produce() to the application ---- */

struct latency_reader {
    const char *bootstrap;
    const char *topic;
    int64_t *took_ns; /* room for `wanted` */
    int64_t wanted;
    int64_t got;
    atomic_bool ready; /* the first record, sent until it comes, has been seen */
};

static void *read_latencies(void *arg)
{
    struct latency_reader *r = arg;
    rd_kafka_t *consumer =
        open_client(RD_KAFKA_CONSUMER, r->bootstrap, latency_consume_settings, NULL, NULL);
    int64_t last = now_ns();

    rd_kafka_poll_set_consumer(consumer);
    assign_all(consumer, r->topic, 1, 0);
    while (r->got < r->wanted && now_ns() - last < (int64_t)IDLE_TIMEOUT_MS * 1000000) {
        rd_kafka_message_t *m = rd_kafka_consumer_poll(consumer, 100);
        int64_t sent;

        if (m && !m->err && m->len >= sizeof sent) {
            last = now_ns();
            memcpy(&sent, m->payload, sizeof sent);
            if (sent) /* 0 marks the records that wake everything up */
                r->took_ns[r->got++] = last - sent;
            atomic_store(&r->ready, true);
        }
        if (m)
            rd_kafka_message_destroy(m);
    }
    rd_kafka_destroy_flags(consumer, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
    return NULL;
}

static void sleep_until(int64_t when_ns)
{
    struct timespec t = {.tv_sec = when_ns / 1000000000, .tv_nsec = when_ns % 1000000000};

    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL);
}

static void send_stamped(rd_kafka_t *producer, rd_kafka_topic_t *topic, char *value, size_t size,
                         int64_t stamp)
{
    memcpy(value, &stamp, sizeof stamp);
    if (rd_kafka_produce(topic, 0, RD_KAFKA_MSG_F_COPY, value, size, NULL, 0, NULL))
        give_up("produce", rd_kafka_err2str(rd_kafka_last_error()));
    rd_kafka_poll(producer, 0);
}

static int ascending(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return (x > y) - (x < y);
}

static double quantile_ms(const int64_t *sorted, int64_t count, double q)
{
    int64_t i = (int64_t)(q * (double)(count - 1) + 0.5);

    return (double)sorted[i] / 1e6;
}

static void run_latency(char **args)
{
    size_t size = (size_t)atol(args[2]);
    int64_t rate = atoll(args[3]), seconds = atoll(args[4]) + WARM_UP_SECONDS,
            skipped = rate * WARM_UP_SECONDS;
    struct latency_reader reader = {
        .bootstrap = args[0], .topic = args[1], .wanted = rate * seconds};
    struct delivered delivered = {0};
    rd_kafka_t *producer =
        open_client(RD_KAFKA_PRODUCER, args[0], latency_produce_settings, NULL, &delivered);
    rd_kafka_topic_t *topic = rd_kafka_topic_new(producer, args[1], NULL);
    char *value = calloc(1, size);
    int64_t start, *took, counted;
    pthread_t thread;

    reader.took_ns = calloc((size_t)reader.wanted, sizeof(int64_t));
    if (size < sizeof start || !value || !reader.took_ns ||
        pthread_create(&thread, NULL, read_latencies, &reader))
        give_up("latency", "cannot start");
    while (!atomic_load(&reader.ready)) {
        send_stamped(producer, topic, value, size, 0);
        sleep_until(now_ns() + 100000000);
    }
    start = now_ns();
    for (int64_t i = 0; i < reader.wanted; i++) {
        sleep_until(start + i * 1000000000 / rate);
        send_stamped(producer, topic, value, size, now_ns());
    }
    pthread_join(thread, NULL);
    if (reader.got != reader.wanted || delivered.failed)
        give_up("latency", "records were lost");
    took = reader.took_ns + skipped;
    counted = reader.wanted - skipped;
    qsort(took, (size_t)counted, sizeof *took, ascending);
    printf("{\"records\": %lld, \"p50_ms\": %.3f, \"p99_ms\": %.3f, \"p999_ms\": %.3f, \"max_ms\": "
           "%.3f, ",
           (long long)counted, quantile_ms(took, counted, 0.5), quantile_ms(took, counted, 0.99),
           quantile_ms(took, counted, 0.999), quantile_ms(took, counted, 1));
    print_settings(latency_produce_settings);
    free(reader.took_ns);
    free(value);
    rd_kafka_topic_destroy(topic);
    rd_kafka_destroy(producer);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        int arguments;
        void (*run)(char **args);
    } commands[] = {
        {"produce", 6, run_produce}, {"consume", 4, run_consume}, {"latency", 5, run_latency}};

    for (size_t i = 0; argc > 1 && i < sizeof commands / sizeof commands[0]; i++) {
        if (strcmp(argv[1], commands[i].name) || argc - 2 != commands[i].arguments)
            continue;
        commands[i].run(argv + 2);
        return 0;
    }
    fprintf(stderr,
            "usage: bench_client produce|consume|latency ...; see the head of its source\n");
    return 2;
}
