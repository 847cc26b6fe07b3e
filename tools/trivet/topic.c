/* trivet topic create|list|describe|grow|delete */

#include <argp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/api.h"
#include "protocol/base/kerr.h"
#include "protocol/messages/create_partitions.h"
#include "protocol/messages/create_topics.h"
#include "protocol/messages/delete_topics.h"
#include "protocol/messages/metadata.h"
#include "tools/trivet/command.h"
#include "tools/trivet/verbs.h"

#define NAMES_MAX         256
#define CONFIGS_MAX       64
#define ANSWER_TIMEOUT_MS 30000

struct topic_arguments {
    const char *bootstrap;
    const char *verb;
    struct str names[NAMES_MAX];
    size_t name_count;
    int32_t partitions;
    int16_t replication_factor;
    struct create_topics_request_creatable_topic_config configs[CONFIGS_MAX];
    size_t config_count;
    bool validate_only;
    bool if_not_exists;
    bool internal;
};

enum { KEY_VALIDATE = 0x100, KEY_IF_NOT_EXISTS, KEY_INTERNAL };

static const struct argp_option options[] = {
    {"bootstrap-server", 'b', "HOST:PORT", 0,
     "Where a broker listens (default: $TRIVET_BOOTSTRAP, else " BOOTSTRAP_DEFAULT ")", 0},
    {"partitions", 'p', "N", 0, "create, grow: how many partitions in all (default: the broker's)",
     0},
    {"replication-factor", 'r', "N", 0, "create: replicas of each (default: the broker's)", 0},
    {"config", 'c', "KEY=VALUE", 0, "create: a setting of the topic; may be repeated", 0},
    {"validate-only", KEY_VALIDATE, NULL, 0, "create, grow: only say whether it would be done", 0},
    {"if-not-exists", KEY_IF_NOT_EXISTS, NULL, 0, "create: fine when the topic is there", 0},
    {"internal", KEY_INTERNAL, NULL, 0, "list: internal topics too", 0},
    {0},
};

static long number(const char *text, long max, struct argp_state *state)
{
    char *end;
    long value = strtol(text, &end, 10);

    if (*end || end == text || value < 1 || value > max)
        argp_error(state, "'%s' is not a number from 1 to %ld", text, max);
    return value;
}

static void add_config(struct topic_arguments *a, char *text, struct argp_state *state)
{
    char *equals = strchr(text, '=');

    if (!equals)
        argp_error(state, "--config wants KEY=VALUE");
    else if (a->config_count == CONFIGS_MAX)
        argp_error(state, "more than %d settings", CONFIGS_MAX);
    else
        a->configs[a->config_count++] = (struct create_topics_request_creatable_topic_config){
            {text, (size_t)(equals - text)}, str_from(equals + 1)};
}

static void add_argument(struct topic_arguments *a, const char *text, struct argp_state *state)
{
    if (!a->verb)
        a->verb = text;
    else if (a->name_count == NAMES_MAX)
        argp_error(state, "more than %d topics", NAMES_MAX);
    else
        a->names[a->name_count++] = str_from(text);
}

static error_t parse(int key, char *value, struct argp_state *state)
{
    struct topic_arguments *a = state->input;

    switch (key) {
    case 'b':
        a->bootstrap = value;
        break;
    case 'p':
        a->partitions = (int32_t)number(value, INT32_MAX, state);
        break;
    case 'r':
        a->replication_factor = (int16_t)number(value, INT16_MAX, state);
        break;
    case 'c':
        add_config(a, value, state);
        break;
    case KEY_VALIDATE:
        a->validate_only = true;
        break;
    case KEY_IF_NOT_EXISTS:
        a->if_not_exists = true;
        break;
    case KEY_INTERNAL:
        a->internal = true;
        break;
    case ARGP_KEY_ARG:
        add_argument(a, value, state);
        break;
    default:
        return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

/* One line for a topic that a request was about. */
static int told(struct str name, int16_t code, struct str message, const char *done)
{
    if (code == KERR_NONE) {
        printf("%.*s: %s\n", STR_ARG(name), done);
        return EXIT_DONE;
    }
    fprintf(stderr, "trivet: %.*s: %s%s%.*s\n", STR_ARG(name), kerr_name((enum kerr)code),
            message.size ? ": " : "", STR_ARG(message));
    return EXIT_FAILED;
}

static int topic_create(struct cluster *cluster, const void *arguments)
{
    const struct topic_arguments *a = arguments;
    struct client *c = cluster_client(cluster);
    struct create_topics_request_creatable_topic topics[NAMES_MAX];
    struct create_topics_request request;
    struct create_topics_response response;
    int status = EXIT_DONE;

    create_topics_request_init(&request);
    for (size_t i = 0; i < a->name_count; i++) {
        create_topics_request_creatable_topic_init(&topics[i]);
        topics[i].name = a->names[i];
        topics[i].num_partitions = a->partitions ? a->partitions : -1;
        topics[i].replication_factor = a->replication_factor ? a->replication_factor : -1;
        topics[i].configs = (struct create_topics_request_creatable_topic_config *)a->configs;
        topics[i].configs_count = a->config_count;
    }
    request.topics = topics;
    request.topics_count = a->name_count;
    request.timeout_ms = ANSWER_TIMEOUT_MS;
    request.validate_only = a->validate_only;
    if (!client_call(c, API_CREATE_TOPICS, client_version(c, API_CREATE_TOPICS), &request,
                     &response))
        return EXIT_FAILED;
    for (size_t i = 0; i < response.topics_count; i++) {
        const struct create_topics_response_creatable_topic_result *t = &response.topics[i];

        if (t->error_code == KERR_TOPIC_ALREADY_EXISTS && a->if_not_exists)
            printf("%.*s: is there already\n", STR_ARG(t->name));
        else
            status |= told(t->name, t->error_code, t->error_message,
                           a->validate_only ? "could be created" : "created");
    }
    return status;
}

static int topic_grow(struct cluster *cluster, const void *arguments)
{
    const struct topic_arguments *a = arguments;
    struct client *c = cluster_client(cluster);
    struct create_partitions_request_topic topics[NAMES_MAX];
    struct create_partitions_request request;
    struct create_partitions_response response;
    int status = EXIT_DONE;

    create_partitions_request_init(&request);
    for (size_t i = 0; i < a->name_count; i++) {
        create_partitions_request_topic_init(&topics[i]);
        topics[i].name = a->names[i];
        topics[i].count = a->partitions;
        topics[i].assignments = NULL;
    }
    request.topics = topics;
    request.topics_count = a->name_count;
    request.timeout_ms = ANSWER_TIMEOUT_MS;
    request.validate_only = a->validate_only;
    if (!client_call(c, API_CREATE_PARTITIONS, client_version(c, API_CREATE_PARTITIONS), &request,
                     &response))
        return EXIT_FAILED;
    for (size_t i = 0; i < response.results_count; i++)
        status |=
            told(response.results[i].name, response.results[i].error_code,
                 response.results[i].error_message, a->validate_only ? "could be grown" : "grown");
    return status;
}

static int topic_delete(struct cluster *cluster, const void *arguments)
{
    const struct topic_arguments *a = arguments;
    struct client *c = cluster_client(cluster);
    int16_t version = client_version(c, API_DELETE_TOPICS);
    struct delete_topics_request_delete_topic_state topics[NAMES_MAX];
    struct delete_topics_request request;
    struct delete_topics_response response;
    int status = EXIT_DONE;

    delete_topics_request_init(&request);
    for (size_t i = 0; i < a->name_count; i++)
        topics[i] = (struct delete_topics_request_delete_topic_state){.name = a->names[i]};
    if (version >= 6) {
        request.topics = topics;
        request.topics_count = a->name_count;
    } else {
        request.topic_names = (struct str *)a->names;
        request.topic_names_count = a->name_count;
    }
    request.timeout_ms = ANSWER_TIMEOUT_MS;
    if (!client_call(c, API_DELETE_TOPICS, version, &request, &response))
        return EXIT_FAILED;
    for (size_t i = 0; i < response.responses_count; i++)
        status |= told(response.responses[i].name, response.responses[i].error_code,
                       response.responses[i].error_message, "deleted");
    return status;
}

/* ---- looking ---- */

static bool ask_metadata(struct client *c, const struct topic_arguments *a,
                         struct metadata_response *response)
{
    struct metadata_request_topic topics[NAMES_MAX];
    struct metadata_request request;

    metadata_request_init(&request);
    for (size_t i = 0; i < a->name_count; i++)
        topics[i] = (struct metadata_request_topic){.name = a->names[i]};
    request.topics = a->name_count ? topics : NULL;
    request.topics_count = a->name_count;
    request.allow_auto_topic_creation = false;
    return client_call(c, API_METADATA, client_version(c, API_METADATA), &request, response);
}

static int by_name(const void *a, const void *b)
{
    return str_compare(((const struct metadata_response_topic *)a)->name,
                       ((const struct metadata_response_topic *)b)->name);
}

static int topic_list(struct cluster *cluster, const void *arguments)
{
    const struct topic_arguments *a = arguments;
    struct client *c = cluster_client(cluster);
    struct metadata_response response;

    if (!ask_metadata(c, a, &response))
        return EXIT_FAILED;
    qsort(response.topics, response.topics_count, sizeof *response.topics, by_name);
    for (size_t i = 0; i < response.topics_count; i++)
        if (a->internal || !response.topics[i].is_internal)
            printf("%.*s\n", STR_ARG(response.topics[i].name));
    return EXIT_DONE;
}

static void print_ids(const char *label, const int32_t *ids, size_t count)
{
    printf("  %s ", label);
    for (size_t i = 0; i < count; i++)
        printf("%s%d", i ? "," : "", ids[i]);
    if (count == 0)
        putchar('-');
}

static int by_index(const void *a, const void *b)
{
    const struct metadata_response_partition *x = a, *y = b;

    return (x->partition_index > y->partition_index) - (x->partition_index < y->partition_index);
}

static int topic_print(const struct metadata_response_topic *t)
{
    char id[UUID_TEXT_CHARS + 1];

    if (t->error_code != KERR_NONE)
        return told(t->name, t->error_code, STR_NULL, "");
    uuid_format(t->topic_id, id);
    printf("%.*s  id %s  partitions %zu\n", STR_ARG(t->name), id, t->partitions_count);
    qsort(t->partitions, t->partitions_count, sizeof *t->partitions, by_index);
    for (size_t i = 0; i < t->partitions_count; i++) {
        const struct metadata_response_partition *p = &t->partitions[i];

        printf("  %5d  leader %d  epoch %d", p->partition_index, p->leader_id, p->leader_epoch);
        print_ids("replicas", p->replica_nodes, p->replica_nodes_count);
        print_ids("isr", p->isr_nodes, p->isr_nodes_count);
        if (p->offline_replicas_count)
            print_ids("offline", p->offline_replicas, p->offline_replicas_count);
        putchar('\n');
    }
    return EXIT_DONE;
}

static int topic_describe(struct cluster *cluster, const void *arguments)
{
    const struct topic_arguments *a = arguments;
    struct client *c = cluster_client(cluster);
    struct metadata_response response;
    int status = EXIT_DONE;

    if (!ask_metadata(c, a, &response))
        return EXIT_FAILED;
    qsort(response.topics, response.topics_count, sizeof *response.topics, by_name);
    for (size_t i = 0; i < response.topics_count; i++)
        status |= topic_print(&response.topics[i]);
    return status;
}

/* ---- the table ---- */

static const char *names_fault(const void *arguments)
{
    const struct topic_arguments *a = arguments;

    return a->name_count == 0 ? "which topic?" : NULL;
}

static const char *grow_fault(const void *arguments)
{
    const struct topic_arguments *a = arguments;

    if (a->name_count > 0 && a->partitions == 0)
        return "--partitions says how many there are to be in all";
    return names_fault(arguments);
}

static const struct verb rows[] = {
    {"create", topic_create, names_fault}, {"list", topic_list, NULL},
    {"describe", topic_describe, NULL},    {"grow", topic_grow, grow_fault},
    {"delete", topic_delete, names_fault},
};

int command_topic(int argc, char **argv)
{
    static const struct argp argp = {
        options,
        parse,
        "create|list|describe|grow|delete [TOPIC...]",
        "Makes, shows, grows and deletes topics. Partitions only grow.",
        NULL,
        NULL,
        NULL};
    static const struct verbs verbs = {"topic", rows, sizeof rows / sizeof rows[0]};
    struct topic_arguments a = {.bootstrap = default_bootstrap()};

    argp_parse(&argp, argc, argv, 0, NULL, &a);
    return verbs_run(&verbs, a.verb, a.bootstrap, &a);
}
