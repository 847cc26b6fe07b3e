#include "tests/unit/test.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "broker/config.h"
#include "broker/config_listeners.h"
#include "storage/files_sim.h"

/* What a node is started with, from its sources to what its parts go by. */

/* Enough of a server.properties as people have it. */
#define COMBINED                                                                                   \
    "process.roles=broker,controller\n"                                                            \
    "node.id=3\n"                                                                                  \
    "listeners=PLAINTEXT://:9092,CONTROLLER://:9093\n"                                             \
    "advertised.listeners=PLAINTEXT://kafka-3.example:19092\n"                                     \
    "controller.listener.names=CONTROLLER\n"                                                       \
    "log.dirs=/data/a, /data/b\n"

struct note {
    struct logger logger;
    char text[4096];
};

static void write_note(struct logger *l, enum logger_level level, const char *line, size_t size)
{
    struct note *note = (struct note *)l;
    size_t used = strlen(note->text);

    (void)level;
    snprintf(note->text + used, sizeof note->text - used, "%.*s\n", (int)size, line);
}

struct world {
    struct files *files;
    struct note log;
    const char *sets[8];
    struct config_sources sources;
    struct config_values *values;
    struct arena arena;
    struct node_options options;
    struct config_problem problem;
};

static struct world *world_new(void)
{
    struct world *w = calloc(1, sizeof *w);

    w->files = files_sim_create(NULL);
    w->log.logger = (struct logger){LOGGER_DEBUG, write_note};
    w->sources.sets = w->sets;
    arena_init(&w->arena, CONFIG_ARENA_BYTES);
    return w;
}

static void world_free(struct world *w)
{
    config_values_free(w->values);
    arena_free(&w->arena);
    files_sim_free(w->files);
    free(w);
}

static void with_file(struct world *w, const char *text)
{
    assert_false(status_failed(files_replace(w->files, "/server.properties",
                                             (struct bytes){(const uint8_t *)text, strlen(text)})));
    w->sources.path = "/server.properties";
}

static void with_set(struct world *w, const char *text)
{
    w->sets[w->sources.set_count++] = text;
}

static struct status load(struct world *w)
{
    config_values_free(w->values);
    w->values = NULL;
    struct status st = config_load(&w->sources, w->files, &w->log.logger, &w->values, &w->problem);
    if (!status_failed(st))
        st = config_node_options(w->values, &w->arena, &w->options, &w->problem);
    return st;
}

static void loads(struct world *w)
{
    if (status_failed(load(w)))
        fail_msg("%s", w->problem.text);
}

static void refused(struct world *w, const char *text)
{
    assert_int_equal(load(w).code, KERR_INVALID_CONFIG);
    assert_string_equal(w->problem.text, text);
}

/* Loads the embedded default with one setting, which must be refused. */
static void setting_refused(const char *set, const char *text)
{
    struct world *w = world_new();

    with_set(w, set);
    refused(w, text);
    world_free(w);
}

static void listener_is(const struct world *w, size_t i, const char *name, const char *host,
                        int port, bool controller)
{
    assert_true(i < w->options.listener_count);
    assert_string_equal(w->options.listeners[i].name, name);
    assert_string_equal(w->options.listeners[i].host, host);
    assert_int_equal(w->options.listeners[i].port, port);
    assert_int_equal(w->options.listeners[i].controller, controller);
}

/* ---- sources ---- */

static void with_no_arguments_a_node_is_a_whole_cluster_on_loopback(void **state)
{
    struct world *w = world_new();

    (void)state;
    loads(w);
    assert_int_equal(w->options.node_id, 1);
    assert_int_equal(w->options.listener_count, 2);
    listener_is(w, 0, "PLAINTEXT", "127.0.0.1", 9092, false);
    listener_is(w, 1, "CONTROLLER", "127.0.0.1", 9093, true);
    assert_string_equal(w->options.listeners[0].advertised_host, "127.0.0.1");
    assert_int_equal(w->options.listeners[0].advertised_port, 9092);
    assert_int_equal(w->options.log_dir_count, 1);
    assert_string_equal(w->options.log_dirs[0], "./trivet-data");
    assert_string_equal(w->options.metadata_log_dir, "./trivet-data");
    assert_null(w->options.cluster_id);
    assert_null(w->options.rack);
    assert_true(w->options.flush_before_ack);
    assert_true(w->options.auto_create_topics);
    assert_int_equal(w->options.frame_bytes_max, 104857600);
    assert_int_equal(w->options.request_bytes_max, 67108864);
    assert_int_equal(w->options.idle_ms_max, 600000);
    assert_int_equal(w->options.fetch_bytes_max, 57671680);
    assert_int_equal(w->options.fetch_sessions_max, 1000);
    assert_int_equal(w->options.producer_id_expiration_ms, 86400000);
    assert_int_equal(w->options.retention_check_ms, 300000);
    assert_int_equal(w->options.checkpoint_ms, 5000);
    assert_int_equal(w->options.shard_count, 0);
    assert_int_equal(w->options.io_threads, 4);
    assert_int_equal(config_values_integer(w->values, "offsets.topic.replication.factor"), 1);
    assert_int_equal(config_values_integer(w->values, "transaction.state.log.min.isr"), 1);
    assert_false(config_values_given(w->values, "node.id"));
    assert_string_equal(w->log.text, "");
    world_free(w);
}

static void a_file_says_what_the_node_is(void **state)
{
    struct world *w = world_new();

    (void)state;
    with_file(w, COMBINED
              "# comment\nbroker.rack : zone-b\nnum.partitions 6\nlog.flush.before.ack=false\n"
              "metadata.log.dir=/data/meta\nqueued.max.request.bytes=-1\n");
    loads(w);
    assert_int_equal(w->options.node_id, 3);
    listener_is(w, 0, "PLAINTEXT", "", 9092, false);
    assert_string_equal(w->options.listeners[0].advertised_host, "kafka-3.example");
    assert_int_equal(w->options.listeners[0].advertised_port, 19092);
    listener_is(w, 1, "CONTROLLER", "", 9093, true);
    assert_true(strlen(w->options.listeners[1].advertised_host) > 0); /* the machine's name */
    assert_int_equal(w->options.log_dir_count, 2);
    assert_string_equal(w->options.log_dirs[1], "/data/b");
    assert_string_equal(w->options.metadata_log_dir, "/data/meta");
    assert_string_equal(w->options.rack, "zone-b");
    assert_false(w->options.flush_before_ack);
    assert_true(w->options.request_bytes_max == INT64_MAX);
    assert_int_equal(config_values_integer(w->values, "num.partitions"), 6);
    assert_int_equal(config_values_integer(w->values, "offsets.topic.replication.factor"), 3);
    world_free(w);
}

static void set_beats_the_file_and_the_file_beats_the_environment(void **state)
{
    struct world *w = world_new();

    (void)state;
    w->sources.cluster_id = "from-env";
    loads(w);
    assert_string_equal(w->options.cluster_id, "from-env");
    with_file(w, COMBINED "cluster.id=from-file\nnum.partitions=2\n");
    loads(w);
    assert_string_equal(w->options.cluster_id, "from-file");
    with_set(w, "cluster.id=from-set");
    with_set(w, "cluster.id=from-later-set");
    loads(w);
    assert_string_equal(w->options.cluster_id, "from-later-set");
    w->sources = (struct config_sources){.cluster_id = ""};
    loads(w);
    assert_null(w->options.cluster_id);
    world_free(w);
}

/* The rules of Apache Kafka's image, so that a compose file written for it says the same here. */
static void variables_are_settings_by_the_rules_of_kafkas_image(void **state)
{
    static const char *const variables[] = {
        "PATH=/bin",
        "KAFKA_NODE_ID=2",
        "KAFKA_PROCESS_ROLES=broker,controller",
        "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,PLAINTEXT_"
        "HOST:PLAINTEXT",
        "KAFKA_CONTROLLER_QUORUM_VOTERS=1@kafka-1:9093,2@kafka-2:9093,3@kafka-3:9093",
        "KAFKA_LISTENERS=PLAINTEXT://:19092,CONTROLLER://:9093,PLAINTEXT_HOST://:9092",
        "KAFKA_INTER_BROKER_LISTENER_NAME=PLAINTEXT",
        "KAFKA_ADVERTISED_LISTENERS=PLAINTEXT://kafka-2:19092,PLAINTEXT_HOST://localhost:39092",
        "KAFKA_CONTROLLER_LISTENER_NAMES=CONTROLLER",
        "KAFKA_LOG_DIRS=/tmp/kraft-combined-logs",
        "KAFKA_BROKER_RACK=az-2",
        "KAFKA_HEAP_OPTS=-Xmx1G",
        "KAFKA_OPTS=-Dx=y",
        "KAFKA_LOG4J_ROOT_LOGLEVEL=INFO",
        "KAFKA_=nothing",
        "KAFKA_HOME",
        NULL,
    };
    struct world *w = world_new();

    (void)state;
    w->sources.environment = variables;
    w->sources.cluster_id = "4L6g3nShT-eMCtK--X86sw";
    loads(w);
    assert_int_equal(w->options.node_id, 2);
    assert_int_equal(w->options.listener_count, 3);
    listener_is(w, 0, "PLAINTEXT", "", 19092, false);
    listener_is(w, 1, "CONTROLLER", "", 9093, true);
    assert_string_equal(w->options.listeners[2].advertised_host, "localhost");
    assert_int_equal(w->options.listeners[2].advertised_port, 39092);
    assert_int_equal(w->options.voter_count, 3);
    assert_string_equal(w->options.voters[2].host, "kafka-3");
    assert_string_equal(w->options.log_dirs[0], "/tmp/kraft-combined-logs");
    assert_string_equal(w->options.rack, "az-2");
    /* They describe a node, so the defaults are those of a file, not the embedded ones. */
    assert_int_equal(config_values_integer(w->values, "offsets.topic.replication.factor"), 3);
    assert_string_equal(w->log.text, "");
    world_free(w);
}

static void underscores_in_a_row_are_underscores_and_dashes(void **state)
{
    static const char *const variables[] = {"KAFKA_A__B=1",      "KAFKA_A___B=2", "KAFKA_A____B=3",
                                            "KAFKA_A_____b.C=4", "KAFKA_a._B_=5", NULL};
    static const char *const names[] = {"a_b", "a-b", "a-.b", "a-_b.c", "a_b."};
    struct world *w = world_new();
    char expected[1024] = "";

    (void)state;
    w->sources.environment = variables;
    loads(w);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        snprintf(expected + strlen(expected), sizeof expected - strlen(expected),
                 "level=warn event=unknown_config name=\"%s\" at=\"%.*s\"\n", names[i],
                 (int)(strchr(variables[i], '=') - variables[i]), variables[i]);
    assert_string_equal(w->log.text, expected);
    world_free(w);
}

static void listeners_follow_from_what_is_advertised_where_only_that_is_given(void **state)
{
    static const char *const variables[] = {
        "KAFKA_ADVERTISED_LISTENERS=PLAINTEXT://kafka-1:19092,SIX://[fe80::1]:29092,EMPTY://:39092",
        NULL};
    static const char *const both[] = {
        "KAFKA_ADVERTISED_LISTENERS=PLAINTEXT://kafka-1:19092",
        "KAFKA_LISTENERS=PLAINTEXT://10.0.0.1:19092,CONTROLLER://:9093", NULL};
    struct world *w = world_new();

    (void)state;
    w->sources.environment = variables;
    with_set(w, "controller.listener.names=EMPTY");
    with_set(w, "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SIX:PLAINTEXT,EMPTY:PLAINTEXT");
    loads(w);
    assert_int_equal(w->options.listener_count, 3);
    listener_is(w, 0, "PLAINTEXT", "0.0.0.0", 19092, false);
    listener_is(w, 1, "SIX", "0.0.0.0", 29092, false);
    listener_is(w, 2, "EMPTY", "0.0.0.0", 39092, true);
    assert_string_equal(w->options.listeners[0].advertised_host, "kafka-1");
    assert_string_equal(w->options.listeners[1].advertised_host, "fe80::1");
    w->sources = (struct config_sources){.environment = both};
    loads(w);
    listener_is(w, 0, "PLAINTEXT", "10.0.0.1", 19092, false);
    world_free(w);
}

static void variables_change_single_settings_of_the_embedded_defaults_and_of_a_file(void **state)
{
    static const char *const variables[] = {"KAFKA_NUM_PARTITIONS= 5",
                                            "KAFKA_PROCESS_ROLES=", NULL};
    static const char *const few[] = {"KAFKA_NUM_PARTITIONS=5", "KAFKA_BROKER_RACK=a\\u0062c",
                                      NULL};
    struct world *w = world_new();

    (void)state;
    w->sources.environment = few;
    loads(w);
    assert_int_equal(w->options.node_id, 1);
    assert_int_equal(config_values_integer(w->values, "num.partitions"), 5);
    assert_string_equal(w->options.rack, "abc"); /* escapes are those of a properties file */
    with_file(w, COMBINED "num.partitions=2\nbackground.threads=7\n");
    loads(w);
    assert_int_equal(w->options.node_id, 3);
    assert_int_equal(config_values_integer(w->values, "num.partitions"), 5);
    assert_int_equal(config_values_integer(w->values, "background.threads"), 7);
    with_set(w, "num.partitions=9");
    loads(w);
    assert_int_equal(config_values_integer(w->values, "num.partitions"), 9);
    w->sources = (struct config_sources){.environment = variables};
    assert_int_equal(load(w).code, KERR_INVALID_CONFIG); /* no roles are not the embedded ones */
    world_free(w);
}

static void a_bad_variable_is_refused_by_its_name(void **state)
{
    static const char *const malformed[] = {"KAFKA_NUM_PARTITIONS=\\u12", NULL};
    static const char *const variables[] = {"KAFKA_NUM_PARTITIONS=many", NULL};
    struct world *w = world_new();

    (void)state;
    w->sources.environment = variables;
    refused(w, "KAFKA_NUM_PARTITIONS: Invalid value many for configuration num.partitions: Not a "
               "number of type INT");
    w->sources.environment = malformed;
    refused(
        w,
        "KAFKA_NUM_PARTITIONS: a \\u without four hexadecimal digits, or half of a surrogate pair");
    world_free(w);
}

static void the_embedded_defaults_stay_when_one_setting_is_changed(void **state)
{
    struct world *w = world_new();

    (void)state;
    with_set(w, "log.dirs=/elsewhere");
    loads(w);
    assert_int_equal(w->options.node_id, 1);
    assert_string_equal(w->options.log_dirs[0], "/elsewhere");
    world_free(w);
}

static void an_unknown_name_is_warned_of_with_the_nearest_one(void **state)
{
    struct world *w = world_new();

    (void)state;
    with_file(w, COMBINED "num.partition=2\n");
    with_set(w, "zookeeper.connect=zoo:2181");
    loads(w);
    assert_string_equal(
        w->log.text,
        "level=warn event=unknown_config name=\"num.partition\" at=\"/server.properties:7\" "
        "nearest=\"num.partitions\"\n"
        "level=warn event=unknown_config name=\"zookeeper.connect\" at=\"--set "
        "zookeeper.connect\"\n");
    world_free(w);
}

static void a_bad_value_is_refused_with_file_line_and_reason(void **state)
{
    struct world *w = world_new();

    (void)state;
    with_file(w, "# first\nlog.dirs=a,\\\n  b\nnum.partitions=0\n");
    refused(w, "/server.properties:4: Invalid value 0 for configuration num.partitions: "
               "Value must be at least 1");
    with_file(w, "node.id=\\u12\n");
    refused(
        w,
        "/server.properties:1: a \\u without four hexadecimal digits, or half of a surrogate pair");
    world_free(w);
    setting_refused("num.partitions=many",
                    "--set num.partitions: Invalid value many for configuration "
                    "num.partitions: Not a number of type INT");
}

/* "Never" is often written as the largest number there is. */
static void periods_without_end_do_not_overflow(void **state)
{
    struct world *w = world_new();
    (void)state;

    with_set(w, "connections.max.idle.ms=9223372036854775807");
    with_set(w, "log.retention.check.interval.ms=9223372036854775807");
    with_set(w, "replica.lag.time.max.ms=9223372036854775807");
    with_set(w, "replica.high.watermark.checkpoint.interval.ms=9223372036854775807");
    with_set(w, "offsets.retention.check.interval.ms=9223372036854775807");
    assert_int_equal(load(w).code, KERR_NONE);
    assert_true(w->options.idle_ms_max > 0 && w->options.idle_ms_max <= INT64_MAX / 1000);
    assert_true(w->options.retention_check_ms > 0 &&
                w->options.retention_check_ms <= INT64_MAX / 1000);
    assert_true(w->options.replica_lag_ms_max > 0 &&
                w->options.replica_lag_ms_max <= INT64_MAX / 1000);
    assert_true(w->options.checkpoint_ms > 0 && w->options.checkpoint_ms <= INT64_MAX / 1000);
    assert_true(w->options.coordinator.retention_check_ms <= INT64_MAX / 1000);
    world_free(w);
    w = world_new();
    with_set(w, "connections.max.idle.ms=-9223372036854775808");
    assert_int_equal(load(w).code, KERR_NONE);
    assert_int_equal(w->options.idle_ms_max, -1);
    world_free(w);
    w = world_new();
    with_set(w, "replica.high.watermark.checkpoint.interval.ms=0");
    assert_int_not_equal(load(w).code, KERR_NONE);
    world_free(w);
}

static void a_set_without_key_or_value_is_refused(void **state)
{
    (void)state;
    setting_refused("num.partitions", "--set: expected key=value");
    setting_refused("=1", "--set: expected key=value");
}

static void a_file_that_cannot_be_read_refuses_the_start(void **state)
{
    struct world *w = world_new();

    (void)state;
    w->sources.path = "/missing.properties";
    struct status st = load(w);
    assert_int_equal(st.code, KERR_KAFKA_STORAGE_ERROR);
    assert_int_equal(st.sys_errno, ENOENT);
    assert_string_equal(w->problem.text, "/missing.properties: No such file or directory");
    with_file(w, COMBINED);
    files_sim_fail(w->files, &(struct files_fault){.call = FILES_CALL_READ, .sys_errno = EIO});
    assert_int_equal(load(w).sys_errno, EIO);
    world_free(w);
}

/* ---- settings together ---- */

static void a_file_has_to_say_who_the_node_is(void **state)
{
    struct world *w = world_new();

    (void)state;
    with_file(w, "process.roles=broker,controller\n");
    refused(w, "Missing required configuration \"node.id\" which has no default value.");
    with_file(w, "node.id=1\n");
    refused(w, "Missing required configuration \"process.roles\" which has no default value.");
    with_file(w, "node.id=1\nprocess.roles=broker,controller\n");
    refused(w, "controller.listener.names must contain at least one value");
    with_file(w, "node.id=1\nprocess.roles=broker\n");
    refused(w, "process.roles is broker, but this version runs both roles in one process only: "
               "process.roles=broker,controller");
    world_free(w);
}

static void broker_id_is_an_older_name_of_node_id(void **state)
{
    struct world *w = world_new();

    (void)state;
    with_set(w, "broker.id=7");
    loads(w);
    assert_int_equal(w->options.node_id, 7);
    with_set(w, "node.id=7");
    loads(w);
    with_set(w, "node.id=8");
    refused(w, "node.id is 8, but broker.id is 7: they are the same setting");
    world_free(w);
}

static void listeners_are_parsed_strictly(void **state)
{
    static const char *const bad[] = {"",
                                      "PLAINTEXT",
                                      "PLAINTEXT://",
                                      "PLAINTEXT://h",
                                      "://h:1",
                                      "PLAINTEXT://h:",
                                      "PLAINTEXT://h:x",
                                      "PLAINTEXT://h:65536",
                                      "A B://h:1",
                                      "PLAINTEXT://::1:1",
                                      "PLAINTEXT://h/x:1",
                                      "PLAINTEXT://h:-1",
                                      "PLAINTEXT://h:+1"};
    struct config_endpoint endpoint;

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(config_parse_endpoint(str_from(bad[i]), &endpoint));
    assert_true(config_parse_endpoint(STR("PLAINTEXT://[fe80::1%eth0]:9092"), &endpoint));
    assert_true(str_equal(endpoint.host, STR("fe80::1%eth0")));
    assert_int_equal(endpoint.port, 9092);
    assert_true(config_parse_endpoint(STR("a-b_c.d://:0"), &endpoint));
    assert_int_equal(endpoint.host.size, 0);
}

static void listeners_that_do_not_fit_together_are_refused(void **state)
{
    (void)state;
    setting_refused("listeners=PLAINTEXT:9092",
                    "listeners: PLAINTEXT:9092 is not NAME://host:port");
    setting_refused(
        "listeners=PLAINTEXT://h:1,plaintext://h:2",
        "listeners: each listener must have a different name, PLAINTEXT is there twice");
    setting_refused("listeners=PLAINTEXT://h:1,CONTROLLER://h:1",
                    "listeners: each listener must have a different port, 1 is there twice");
    setting_refused("listeners=PLAINTEXT://h:1",
                    "controller.listener.names: CONTROLLER is not one of listeners");
    setting_refused(
        "listeners=CONTROLLER://h:1",
        "listeners: all of them are in controller.listener.names, so none is for clients");
    setting_refused(
        "listeners=CONTROLLER://h:1,INSIDE://h:2",
        "listeners: no security protocol is defined for INSIDE in listener.security.protocol.map");
    setting_refused(
        "listeners=A://:1,B://:2,C://:3,D://:4,E://:5,F://:6,G://:7,H://:8,I://:9",
        "listeners: no security protocol is defined for A in listener.security.protocol.map");
}

static void more_listeners_than_there_is_room_for_are_refused(void **state)
{
    struct world *w = world_new();

    (void)state;
    with_set(
        w,
        "listener.security.protocol.map=CONTROLLER:PLAINTEXT,A:PLAINTEXT,B:PLAINTEXT,C:PLAINTEXT,"
        "D:PLAINTEXT,E:PLAINTEXT,F:PLAINTEXT,G:PLAINTEXT,H:PLAINTEXT");
    with_set(w,
             "listeners=A://:1,B://:2,C://:3,D://:4,E://:5,F://:6,G://:7,H://:8,CONTROLLER://:9");
    refused(w, "listeners: more than 8");
    world_free(w);
}

static void only_plaintext_is_served(void **state)
{
    (void)state;
    setting_refused(
        "listeners=SSL://:9092,CONTROLLER://:9093",
        "listeners: SSL has security protocol SSL, but this version serves PLAINTEXT only");
    setting_refused("listener.security.protocol.map=PLAINTEXT:SASL_SSL,CONTROLLER:PLAINTEXT",
                    "listeners: PLAINTEXT has security protocol SASL_SSL, but this version serves "
                    "PLAINTEXT only");
    setting_refused("listener.security.protocol.map=PLAINTEXT:PLAINTEXT",
                    "listeners: no security protocol is defined for CONTROLLER in "
                    "listener.security.protocol.map");
}

static void listeners_may_have_any_name_that_is_mapped(void **state)
{
    struct world *w = world_new();

    (void)state;
    with_set(w, "listeners=inside://10.0.0.1:9092,outside://[::1]:9094,ctl://10.0.0.1:9093");
    with_set(w,
             "listener.security.protocol.map=INSIDE:PLAINTEXT, outside:plaintext, CTL:PLAINTEXT");
    with_set(w, "controller.listener.names=CTL");
    with_set(w, "advertised.listeners=OUTSIDE://kafka.example:443");
    with_set(w, "inter.broker.listener.name=INSIDE");
    loads(w);
    listener_is(w, 0, "INSIDE", "10.0.0.1", 9092, false);
    listener_is(w, 1, "OUTSIDE", "::1", 9094, false);
    listener_is(w, 2, "CTL", "10.0.0.1", 9093, true);
    assert_string_equal(w->options.listeners[0].advertised_host, "10.0.0.1");
    assert_string_equal(w->options.listeners[1].advertised_host, "kafka.example");
    assert_int_equal(w->options.listeners[1].advertised_port, 443);
    with_set(w, "inter.broker.listener.name=CTL");
    refused(w, "inter.broker.listener.name: CTL is not one of the listeners for clients");
    world_free(w);
}

static void what_clients_are_told_has_to_lead_somewhere(void **state)
{
    (void)state;
    setting_refused(
        "advertised.listeners=PLAINTEXT://0.0.0.0:9092",
        "advertised.listeners cannot use the nonroutable meta-address 0.0.0.0 of listener "
        "PLAINTEXT; use a routable address or a name");
    setting_refused(
        "listeners=PLAINTEXT://0.0.0.0:9092,CONTROLLER://127.0.0.1:9093",
        "advertised.listeners cannot use the nonroutable meta-address 0.0.0.0 of listener "
        "PLAINTEXT; use a routable address or a name");
    setting_refused("advertised.listeners=OTHER://h:1",
                    "advertised.listeners: OTHER is not one of listeners");
    setting_refused("advertised.listeners=PLAINTEXT",
                    "advertised.listeners: PLAINTEXT is not NAME://host:port");
    setting_refused("advertised.listeners=PLAINTEXT://a:1,PLAINTEXT://b:1",
                    "advertised.listeners: PLAINTEXT is there twice");
}

static void too_little_memory_for_a_cleaner_thread_is_refused(void **state)
{
    (void)state;
    setting_refused("log.cleaner.dedupe.buffer.size=1048576",
                    "log.cleaner.dedupe.buffer.size must be at least 1MB per cleaner thread.");
    struct world *w = world_new();
    with_set(w, "log.cleaner.threads=200");
    refused(w, "log.cleaner.dedupe.buffer.size must be at least 1MB per cleaner thread.");
    world_free(w);
}

static void a_broker_default_that_no_topic_may_have_is_refused(void **state)
{
    (void)state;
    setting_refused(
        "log.retention.ms=-7",
        "log.retention.ms,log.retention.minutes,log.retention.hours: Invalid value -7 for "
        "configuration retention.ms: Value must be at least -1");
    struct world *w = world_new();
    with_set(w, "log.cleaner.min.compaction.lag.ms=11");
    with_set(w, "log.cleaner.max.compaction.lag.ms=10");
    refused(
        w, "conflict topic config setting min.compaction.lag.ms (11) > max.compaction.lag.ms (10)");
    world_free(w);
}

static void a_cluster_id_is_short_and_printable(void **state)
{
    char text[300] = "cluster.id=";

    (void)state;
    setting_refused("cluster.id=a b",
                    "cluster.id has a character that is not printable ASCII, or a blank");
    memset(text + 11, 'x', 256);
    setting_refused(text, "cluster.id has more than 255 characters");
}

static void directories_have_bounds(void **state)
{
    struct world *w = world_new();
    char text[8000] = "log.dirs=";

    (void)state;
    for (int i = 0; i < 17; i++)
        sprintf(text + strlen(text), "%s/d%d", i ? "," : "", i);
    with_set(w, text);
    refused(w, "log.dirs: more than 16");
    memset(text + 9, 'x', 3801);
    text[9 + 3801] = '\0';
    refused(w, "log.dirs: a path has more than 3800 characters");
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(with_no_arguments_a_node_is_a_whole_cluster_on_loopback),
        cmocka_unit_test(a_file_says_what_the_node_is),
        cmocka_unit_test(set_beats_the_file_and_the_file_beats_the_environment),
        cmocka_unit_test(variables_are_settings_by_the_rules_of_kafkas_image),
        cmocka_unit_test(underscores_in_a_row_are_underscores_and_dashes),
        cmocka_unit_test(listeners_follow_from_what_is_advertised_where_only_that_is_given),
        cmocka_unit_test(variables_change_single_settings_of_the_embedded_defaults_and_of_a_file),
        cmocka_unit_test(a_bad_variable_is_refused_by_its_name),
        cmocka_unit_test(the_embedded_defaults_stay_when_one_setting_is_changed),
        cmocka_unit_test(an_unknown_name_is_warned_of_with_the_nearest_one),
        cmocka_unit_test(a_bad_value_is_refused_with_file_line_and_reason),
        cmocka_unit_test(periods_without_end_do_not_overflow),
        cmocka_unit_test(a_set_without_key_or_value_is_refused),
        cmocka_unit_test(a_file_that_cannot_be_read_refuses_the_start),
        cmocka_unit_test(a_file_has_to_say_who_the_node_is),
        cmocka_unit_test(broker_id_is_an_older_name_of_node_id),
        cmocka_unit_test(listeners_are_parsed_strictly),
        cmocka_unit_test(listeners_that_do_not_fit_together_are_refused),
        cmocka_unit_test(more_listeners_than_there_is_room_for_are_refused),
        cmocka_unit_test(only_plaintext_is_served),
        cmocka_unit_test(listeners_may_have_any_name_that_is_mapped),
        cmocka_unit_test(what_clients_are_told_has_to_lead_somewhere),
        cmocka_unit_test(too_little_memory_for_a_cleaner_thread_is_refused),
        cmocka_unit_test(a_broker_default_that_no_topic_may_have_is_refused),
        cmocka_unit_test(a_cluster_id_is_short_and_printable),
        cmocka_unit_test(directories_have_bounds),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
