/* trivet cluster describe|quorum|unregister */

#include <argp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/api.h"
#include "protocol/base/kerr.h"
#include "protocol/messages/api_versions.h"
#include "protocol/messages/describe_quorum.h"
#include "protocol/messages/unregister_broker.h"
#include "protocol/messages/unregister_controller.h"
#include "replication/feature_levels.h"
#include "tools/trivet/command.h"
#include "tools/trivet/layout.h"
#include "tools/trivet/verbs.h"

#define ARENA_BYTES_MAX ((size_t)1 << 30)
#define METADATA_TOPIC  STR("__cluster_metadata")

struct cluster_arguments {
    const char *bootstrap;
    const char *verb;
    int32_t id; /* -1: none */
    bool controller;
};

enum { KEY_CONTROLLER = 0x100 };

static const struct argp_option options[] = {
    {"bootstrap-server", 'b', "HOST:PORT", 0,
     "Where a broker listens (default: $TRIVET_BOOTSTRAP, else " BOOTSTRAP_DEFAULT ")", 0},
    {"controller", KEY_CONTROLLER, NULL, 0, "unregister: the id is a controller's, not a broker's",
     0},
    {0},
};

static void add_argument(struct cluster_arguments *a, const char *text, struct argp_state *state)
{
    char *end;
    long value;

    if (!a->verb) {
        a->verb = text;
        return;
    }
    value = strtol(text, &end, 10);
    if (*end || end == text || value < 0 || value > INT32_MAX)
        argp_error(state, "'%s' is not the id of a node", text);
    else if (a->id >= 0)
        argp_error(state, "one id at a time");
    else
        a->id = (int32_t)value;
}

static error_t parse(int key, char *value, struct argp_state *state)
{
    struct cluster_arguments *a = state->input;

    switch (key) {
    case 'b':
        a->bootstrap = value;
        break;
    case KEY_CONTROLLER:
        a->controller = true;
        break;
    case ARGP_KEY_ARG:
        add_argument(a, value, state);
        break;
    default:
        return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

/* ---- quorum ---- */

/* The one partition there is; NULL, with a sentence on stderr. */
static const struct describe_quorum_response_partition_data *
ask_quorum(struct client *c, struct describe_quorum_response *response)
{
    struct describe_quorum_request_partition_data partition = {0};
    struct describe_quorum_request_topic_data topic = {METADATA_TOPIC, &partition, 1};
    struct describe_quorum_request request = {&topic, 1};
    const struct describe_quorum_response_partition_data *p;
    enum kerr code;

    if (!client_call(c, API_DESCRIBE_QUORUM, client_version(c, API_DESCRIBE_QUORUM), &request,
                     response))
        return NULL;
    p = response->topics_count && response->topics[0].partitions_count
            ? response->topics[0].partitions
            : NULL;
    code =
        (enum kerr)(p && response->error_code == KERR_NONE ? p->error_code : response->error_code);
    if (p && code == KERR_NONE)
        return p;
    fprintf(stderr, "trivet: the quorum could not be described: %s\n", kerr_name(code));
    return NULL;
}

static void print_node(const struct describe_quorum_response_partition_data *p,
                       const struct describe_quorum_response_replica_state *s, const char *role)
{
    int64_t lag = p->current_voters_count ? 0 : -1;

    for (size_t i = 0; i < p->current_voters_count; i++) /* the leader's log end is the mark */
        if (p->current_voters[i].replica_id == p->leader_id)
            lag = p->current_voters[i].log_end_offset - s->log_end_offset;
    printf("  %5d  %-8s  log end %lld  lag %lld", s->replica_id, role, (long long)s->log_end_offset,
           (long long)lag);
    if (s->last_fetch_timestamp >= 0 && s->last_caught_up_timestamp >= 0)
        printf("  behind %lld ms",
               (long long)(s->last_fetch_timestamp - s->last_caught_up_timestamp));
    putchar('\n');
}

static int cluster_quorum(struct cluster *c, const void *arguments)
{
    struct describe_quorum_response response;
    const struct describe_quorum_response_partition_data *p =
        ask_quorum(cluster_client(c), &response);

    (void)arguments;
    if (!p)
        return EXIT_FAILED;
    printf("leader %d  epoch %d  high watermark %lld  voters %zu  observers %zu\n", p->leader_id,
           p->leader_epoch, (long long)p->high_watermark, p->current_voters_count,
           p->observers_count);
    for (size_t i = 0; i < p->current_voters_count; i++)
        print_node(p, &p->current_voters[i],
                   p->current_voters[i].replica_id == p->leader_id ? "leader" : "voter");
    for (size_t i = 0; i < p->observers_count; i++)
        print_node(p, &p->observers[i], "observer");
    return EXIT_DONE;
}

/* ---- describe ---- */

static void print_bytes(const char *label, int64_t bytes)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
    double value = (double)bytes;
    size_t unit = 0;

    if (bytes < 0) {
        printf("  %s -", label);
        return;
    }
    for (; value >= 1024 && unit + 1 < sizeof units / sizeof units[0]; unit++)
        value /= 1024;
    printf(unit ? "  %s %.1f %s" : "  %s %.0f %s", label, value, units[unit]);
}

static void print_brokers(const struct layout *l, int32_t controller)
{
    for (size_t i = 0; i < l->broker_count; i++) {
        const struct layout_broker *b = &l->brokers[i];

        printf("  %5d  %.*s:%d  zone %.*s  %s%s  leads %zu  replicas %zu  in sync %zu", b->id,
               STR_ARG(b->host), b->port, STR_ARG(b->zone.size ? b->zone : STR("-")),
               b->fenced ? "fenced" : "alive", b->id == controller ? "  controller" : "", b->leads,
               b->replicas, b->in_sync);
        print_bytes("logs", b->log_bytes);
        print_bytes("free", b->usable_bytes);
        putchar('\n');
    }
}

/* Each zone once, in the order of their first brokers. */
static void print_zones(const struct layout *l)
{
    for (size_t i = 0; i < l->broker_count; i++) {
        struct str zone = l->brokers[i].zone;
        size_t brokers = 0, alive = 0, leads = 0, replicas = 0, in_sync = 0;
        bool seen = false;

        for (size_t k = 0; k < i; k++)
            seen = seen || str_equal(l->brokers[k].zone, zone);
        for (size_t k = i; !seen && k < l->broker_count; k++) {
            const struct layout_broker *b = &l->brokers[k];

            if (!str_equal(b->zone, zone))
                continue;
            brokers++;
            alive += !b->fenced;
            leads += b->leads;
            replicas += b->replicas;
            in_sync += b->in_sync;
        }
        if (!seen && zone.size)
            printf("  %.*s  brokers %zu  alive %zu  leads %zu  replicas %zu  in sync %zu\n",
                   STR_ARG(zone), brokers, alive, leads, replicas, in_sync);
    }
}

static void print_health(const struct layout *l)
{
    size_t leaderless = 0, under_replicated = 0;

    for (size_t i = 0; i < l->partition_count; i++) {
        leaderless += l->partitions[i].leader < 0;
        under_replicated += l->partitions[i].isr.count < l->partitions[i].replicas.count;
    }
    printf("partitions %zu  without leader %zu  under-replicated %zu\n", l->partition_count,
           leaderless, under_replicated);
}

static bool print_features(struct client *c)
{
    struct api_versions_request request;
    struct api_versions_response response;

    api_versions_request_init(&request);
    request.client_software_name = STR("trivet");
    request.client_software_version = STR("0.1");
    if (!client_call(c, API_API_VERSIONS, 3, &request, &response))
        return false;
    puts("features");
    for (size_t i = 0; i < response.finalized_features_count; i++) {
        const struct api_versions_response_finalized_feature_key *f =
            &response.finalized_features[i];

        printf("  %.*s %d", STR_ARG(f->name), f->max_version_level);
        if (str_equal(f->name, STR("metadata.version")))
            printf(" (%s)", metadata_version_name(f->max_version_level));
        putchar('\n');
    }
    return true;
}

static int cluster_describe(struct cluster *c, const void *arguments)
{
    struct describe_quorum_response response;
    const struct describe_quorum_response_partition_data *quorum =
        ask_quorum(cluster_client(c), &response);
    int32_t controller = quorum ? quorum->leader_id : -1;
    struct arena arena;
    struct layout l;
    bool loaded;

    (void)arguments;
    arena_init(&arena, ARENA_BYTES_MAX);
    loaded = layout_load(c, LAYOUT_LOGS, &arena, &l);
    if (loaded) {
        printf("cluster %.*s  brokers %zu\n", STR_ARG(l.cluster_id), l.broker_count);
        print_brokers(&l, controller);
        puts("zones");
        print_zones(&l);
        print_health(&l);
        loaded = print_features(cluster_client(c));
    }
    arena_free(&arena);
    return loaded ? EXIT_DONE : EXIT_FAILED;
}

/* ---- unregister ---- */

static int told(const char *kind, int32_t id, int16_t code, struct str message)
{
    if (code == KERR_NONE) {
        printf("%s %d: unregistered\n", kind, id);
        return EXIT_DONE;
    }
    fprintf(stderr, "trivet: %s %d: %s%s%.*s\n", kind, id, kerr_name((enum kerr)code),
            message.size ? ": " : "", STR_ARG(message));
    return EXIT_FAILED;
}

static int unregister_controller(struct client *c, int32_t id)
{
    struct unregister_controller_request request = {id};
    struct unregister_controller_response response;

    if (!client_call(c, API_UNREGISTER_CONTROLLER, client_version(c, API_UNREGISTER_CONTROLLER),
                     &request, &response))
        return EXIT_FAILED;
    return told("controller", id, response.error_code, response.error_message);
}

static int cluster_unregister(struct cluster *c, const void *arguments)
{
    const struct cluster_arguments *a = arguments;
    struct client *client = cluster_client(c);
    struct unregister_broker_request request = {a->id};
    struct unregister_broker_response response;

    if (a->controller)
        return unregister_controller(client, a->id);
    if (!client_call(client, API_UNREGISTER_BROKER, client_version(client, API_UNREGISTER_BROKER),
                     &request, &response))
        return EXIT_FAILED;
    return told("broker", a->id, response.error_code, response.error_message);
}

/* ---- the table ---- */

static const char *unregister_fault(const void *arguments)
{
    const struct cluster_arguments *a = arguments;

    return a->id < 0 ? "which node? its id" : NULL;
}

static const struct verb rows[] = {
    {"describe", cluster_describe, NULL},
    {"quorum", cluster_quorum, NULL},
    {"unregister", cluster_unregister, unregister_fault},
};

int command_cluster(int argc, char **argv)
{
    static const struct argp argp = {
        options,
        parse,
        "describe|quorum|unregister [ID]",
        "Shows brokers, zones and the metadata quorum; forgets a node that is gone for good.",
        NULL,
        NULL,
        NULL};
    static const struct verbs verbs = {"cluster", rows, sizeof rows / sizeof rows[0]};
    struct cluster_arguments a = {.bootstrap = default_bootstrap(), .id = -1};

    argp_parse(&argp, argc, argv, 0, NULL, &a);
    return verbs_run(&verbs, a.verb, a.bootstrap, &a);
}
