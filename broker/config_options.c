#include <stdarg.h>
#include <stdio.h>

#include "broker/config.h"
#include "broker/config_listeners.h"
#include "protocol/base/check.h"

/* From settings to what the parts of a node go by, with the checks that need more than one setting.
 */

__attribute__((format(printf, 2, 3))) static struct status refuse(struct config_problem *problem,
                                                                  const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(problem->text, sizeof problem->text, format, args);
    va_end(args);
    return status_error(KERR_INVALID_CONFIG, "setting");
}

static struct status missing(struct config_problem *problem, const char *name)
{
    return refuse(problem, "Missing required configuration \"%s\" which has no default value.",
                  name);
}

/* broker.id is the older name; -1 is its way of saying nothing. */
static struct status set_node_id(const struct config_values *config, struct node_options *out,
                                 struct config_problem *problem)
{
    int64_t node_id = config_values_integer_or(config, "node.id", -1);
    int64_t broker_id = config_values_integer(config, "broker.id");
    bool given = config_values_given(config, "node.id");

    if (given && broker_id >= 0 && broker_id != node_id)
        return refuse(problem, "node.id is %lld, but broker.id is %lld: they are the same setting",
                      (long long)node_id, (long long)broker_id);
    if (!given && broker_id >= 0)
        node_id = broker_id;
    if (node_id < 0)
        return missing(problem, "node.id");
    out->node_id = (int32_t)node_id;
    return STATUS_OK;
}

static struct status check_roles(const struct config_values *config, struct config_problem *problem)
{
    const char *text = config_values_text(config, "process.roles");
    struct str roles = str_from(text);
    struct str role;
    int count = 0;

    if (text == NULL)
        return missing(problem, "process.roles");
    while (config_list_next(&roles, &role)) /* the table lets in broker and controller, each once */
        count++;
    if (count != 2)
        return refuse(problem,
                      "process.roles is %s, but this version runs both roles in one process only: "
                      "process.roles=broker,controller",
                      text);
    return STATUS_OK;
}

#define PATH_CHARS_MAX 3800 /* leaves room for a partition's folder and a file's name */

static struct status set_directories(const struct config_values *config, struct arena *arena,
                                     struct node_options *out, struct config_problem *problem)
{
    const char *text = config_values_text(config, "log.dirs");
    struct str paths = str_from(text ? text : config_values_text(config, "log.dir"));
    struct str path;

    out->log_dir_count = 0;
    while (config_list_next(&paths, &path)) {
        if (out->log_dir_count == NODE_LOG_DIRS_MAX)
            return refuse(problem, "log.dirs: more than %d", NODE_LOG_DIRS_MAX);
        if (path.size > PATH_CHARS_MAX)
            return refuse(problem, "log.dirs: a path has more than %d characters", PATH_CHARS_MAX);
        const char *copy = arena_strdup(arena, path);
        CHECK(copy != NULL);
        out->log_dirs[out->log_dir_count++] = copy;
    }
    const char *metadata = config_values_text(config, "metadata.log.dir");
    out->metadata_log_dir = metadata != NULL && metadata[0] != '\0' ? metadata : out->log_dirs[0];
    const char *state = config_values_text(config, "state.dir");
    if (state != NULL && strlen(state) > PATH_CHARS_MAX)
        return refuse(problem, "state.dir: the path has more than %d characters", PATH_CHARS_MAX);
    out->state_dir = state != NULL && state[0] != '\0' ? state : NULL;
    return STATUS_OK;
}

#define CLUSTER_ID_CHARS_MAX 255 /* as much as meta.properties may hold */

static struct status set_cluster_id(const struct config_values *config, struct node_options *out,
                                    struct config_problem *problem)
{
    const char *id = config_values_text(config, "cluster.id");

    out->cluster_id = id != NULL && id[0] != '\0' ? id : NULL;
    if (out->cluster_id == NULL)
        return STATUS_OK;
    if (strlen(id) > CLUSTER_ID_CHARS_MAX)
        return refuse(problem, "cluster.id has more than %d characters", CLUSTER_ID_CHARS_MAX);
    for (const char *c = id; *c; c++)
        if ((unsigned char)*c <= ' ' || (unsigned char)*c >= 0x7F)
            return refuse(problem,
                          "cluster.id has a character that is not printable ASCII, or a blank");
    return STATUS_OK;
}

/* Some broker settings take more than the topic setting they stand behind (log.retention.hours=-7).
 */
static struct status check_topic_defaults(const struct config_values *config,
                                          struct config_problem *problem)
{
    const struct config_layers layers = {.given = config};
    size_t count;
    const struct config_def *defs = config_defs(CONFIG_OF_TOPIC, &count);
    struct config_error error;

    for (size_t i = 0; i < count; i++) {
        struct config_resolved resolved;
        config_resolve(CONFIG_OF_TOPIC, &defs[i], &layers, &resolved);
        if (resolved.value.data != NULL && !config_check(&defs[i], resolved.value, &error))
            return refuse(problem, "%s: %s", defs[i].synonyms ? defs[i].synonyms : defs[i].name,
                          error.text);
    }
    if (!config_check_topic(&layers, &error))
        return refuse(problem, "%s", error.text);
    return STATUS_OK;
}

/* Apache Kafka's: less would not hold the keys of one batch of its day. */
#define CLEANER_MAP_BYTES_LEAST (1024 * 1024)

static struct status check_cleaner(const struct config_values *config,
                                   struct config_problem *problem)
{
    const int64_t threads = config_values_integer(config, "log.cleaner.threads");

    if (threads > 0 && config_values_integer(config, "log.cleaner.dedupe.buffer.size") / threads <=
                           CLEANER_MAP_BYTES_LEAST)
        return refuse(problem,
                      "log.cleaner.dedupe.buffer.size must be at least 1MB per cleaner thread.");
    return STATUS_OK;
}

/* A class name of Apache Kafka's. False: none that we know. */
static bool replica_selector_by_name(const char *name, enum replica_selector *out)
{
    static const struct {
        const char *name;
        enum replica_selector selector;
    } known[] = {
        {"", SELECT_LEADER},
        {"org.apache.kafka.common.replica.LeaderSelector", SELECT_LEADER},
        {"org.apache.kafka.common.replica.RackAwareReplicaSelector", SELECT_BY_RACK},
    };

    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (!strcmp(known[i].name, name ? name : "")) {
            *out = known[i].selector;
            return true;
        }
    return false;
}

static struct status set_replica_selector(const struct config_values *config,
                                          struct node_options *out, struct config_problem *problem)
{
    const char *name = config_values_text(config, "replica.selector.class");

    if (!replica_selector_by_name(name, &out->replica_selector))
        return refuse(problem,
                      "replica.selector.class: %s is not known; "
                      "org.apache.kafka.common.replica.RackAwareReplicaSelector is.",
                      name);
    return STATUS_OK;
}

static struct status set_coordinator(const struct config_values *config, struct arena *arena,
                                     struct node_options *out, struct config_problem *problem)
{
    struct config_error error;
    struct status st = coordinator_options_read(config, arena, &out->coordinator, &error);

    return status_failed(st) ? refuse(problem, "%s", error.text) : st;
}

#define SESSION_BEATS  5 /* as the controller has it: controller_sessions.c */
#define SESSION_MS_MIN 2000

static int64_t session_ms(const struct config_values *config)
{
    int64_t beats_ms =
        SESSION_BEATS * config_values_integer(config, "broker.heartbeat.interval.ms");
    int64_t limit_ms = config_values_integer(config, "broker.session.timeout.ms");
    int64_t least_ms = beats_ms > SESSION_MS_MIN ? beats_ms : SESSION_MS_MIN;

    return least_ms < limit_ms ? least_ms : limit_ms;
}

static void set_limits(const struct config_values *config, struct node_options *out)
{
    int64_t request_bytes = config_values_integer(config, "queued.max.request.bytes");

    out->frame_bytes_max = (int32_t)config_values_integer(config, "socket.request.max.bytes");
    out->request_bytes_max =
        request_bytes > 0 ? request_bytes : INT64_MAX; /* -1: no limit, as in Kafka */
    out->idle_ms_max = config_values_period_ms(config, "connections.max.idle.ms");
    out->fetch_bytes_max = (int32_t)config_values_integer(config, "fetch.max.bytes");
    out->fetch_sessions_max =
        (int32_t)config_values_integer(config, "max.incremental.fetch.session.cache.slots");
    out->producer_id_expiration_ms = config_values_integer(config, "producer.id.expiration.ms");
    out->retention_check_ms = config_values_period_ms(config, "log.retention.check.interval.ms");
    out->replica_lag_ms_max = config_values_period_ms(config, "replica.lag.time.max.ms");
    out->session_ms = session_ms(config);
    out->checkpoint_ms =
        config_values_period_ms(config, "replica.high.watermark.checkpoint.interval.ms");
    out->shard_count = (int32_t)config_values_integer(config, "trivet.shards");
    out->io_threads = (int32_t)config_values_integer(config, "trivet.io.threads");
}

struct status config_node_options(const struct config_values *config, struct arena *arena,
                                  struct node_options *out, struct config_problem *problem)
{
    struct node_options options = {
        .config = config,
        .rack = config_values_text(config, "broker.rack"),
        .flush_before_ack = config_values_boolean(config, "log.flush.before.ack"),
        .auto_create_topics = config_values_boolean(config, "auto.create.topics.enable"),
        .cleaner_enabled = config_values_boolean(config, "log.cleaner.enable"),
    };
    struct status st = set_node_id(config, &options, problem);

    if (!status_failed(st))
        st = check_roles(config, problem);
    if (!status_failed(st))
        st = set_cluster_id(config, &options, problem);
    if (!status_failed(st))
        st = config_listeners(config, arena, &options, problem);
    if (!status_failed(st))
        st = set_directories(config, arena, &options, problem);
    if (!status_failed(st))
        st = config_voters(config, arena, &options, problem);
    if (!status_failed(st))
        st = config_bootstrap(config, arena, &options, problem);
    if (!status_failed(st))
        st = check_topic_defaults(config, problem);
    if (!status_failed(st))
        st = check_cleaner(config, problem);
    if (!status_failed(st))
        st = set_replica_selector(config, &options, problem);
    if (!status_failed(st))
        st = set_coordinator(config, arena, &options, problem);
    if (status_failed(st))
        return st;
    set_limits(config, &options);
    *out = options;
    return STATUS_OK;
}
