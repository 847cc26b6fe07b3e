/* The operator: makes, grows, changes and deletes topics, deletes records, asks for offsets. One
 * thing at a time, so that what may be in the metadata is known. */

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "protocol/base/check.h"
#include "protocol/base/kerr.h"
#include "protocol/messages/create_partitions.h"
#include "protocol/messages/create_topics.h"
#include "protocol/messages/delete_records.h"
#include "protocol/messages/delete_topics.h"
#include "protocol/messages/incremental_alter_configs.h"
#include "protocol/messages/list_offsets.h"
#include "protocol/messages/metadata.h"
#include "tests/sim/sim_world.h"

#define TICK_US_MAX    40000
#define RETRY_US       20000
#define NAMES          7
#define LASTING_NAMES  2 /* the first of them are never deleted */
#define ALTERABLE_MAX  4
#define RESOURCE_TOPIC 2
#define OPERATION_SET  0
#define ANSWER_US_MAX  (10 * 1000 * 1000)
/* What a lost answer was about has happened by then, or never will. */
#define UNANSWERED_US (3 * 1000 * 1000)
#define SETTLED_US    100000 /* all shards have heard of what a connection before was told */

static struct sim_checker *checker(struct sim_admin *a)
{
    return &a->world->checker;
}

static struct sim_topic *topic_of(struct sim_admin *a)
{
    return &checker(a)->topics[a->topic];
}

static void ask(struct sim_admin *a, int16_t key, int16_t version, const void *message,
                sim_answered *answered)
{
    a->waiting = true;
    sim_connection_send(a->connection, key, version, message, answered, a, ANSWER_US_MAX);
}

/* The answer to a request; NULL: the connection closed, whether it was carried out is not known. */
static struct sim_admin *answered_to(struct sim_answer *answer)
{
    struct sim_admin *a = answer->context;

    a->waiting = false;
    if (!answer->message)
        a->knows = false;
    return a;
}

/* Codes that mean that it may or may not have happened. */
static bool is_unsure(const struct sim_admin *a, enum kerr code)
{
    switch (code) {
    case KERR_REQUEST_TIMED_OUT:
    case KERR_NOT_CONTROLLER:
    case KERR_NOT_LEADER_OR_FOLLOWER:
        return true;
    case KERR_KAFKA_STORAGE_ERROR:
    case KERR_UNKNOWN_SERVER_ERROR:
        return !sim_world_is_calm(a->world);
    default:
        return false;
    }
}

static void complain(struct sim_admin *a, const char *what, enum kerr code)
{
    sim_world_fail(a->world, "%s of %s was answered with %s", what, a->name, kerr_name(code));
}

/* ---- the metadata ---- */

/* The topic that was asked for is there. */
static void created(struct sim_admin *a, struct uuid id)
{
    struct sim_topic *t = sim_checker_add_topic(checker(a), a->name, id, a->create_partitions);

    t->log_append_time = a->create_log_append_time;
    t->retention = a->create_retention;
    t->lasting = a->name[1] - '0' < LASTING_NAMES;
    a->creating = false;
}

static void adopt(struct sim_admin *a, const struct metadata_response_topic *m)
{
    char name[SIM_TOPIC_CHARS];

    snprintf(name, sizeof name, "%.*s", STR_ARG(m->name));
    if (!a->creating || strcmp(a->name, name) != 0 ||
        (int32_t)m->partitions_count != a->create_partitions) {
        sim_world_fail(a->world, "a topic %s of %zu partitions, which nobody made", name,
                       m->partitions_count);
        return;
    }
    created(a, m->topic_id);
}

static void compare(struct sim_admin *a, struct sim_topic *t,
                    const struct metadata_response_topic *m)
{
    const int32_t count = (int32_t)m->partitions_count;

    if (t->state == SIM_TOPIC_GONE) {
        sim_world_fail(a->world, "topic %s is back after it was deleted", t->name);
        return;
    }
    t->state = SIM_TOPIC_THERE;
    if (count < t->partition_count || count > t->partition_count_max)
        sim_world_fail(a->world, "topic %s has %d partitions, not %d to %d", t->name, count,
                       t->partition_count, t->partition_count_max);
    else
        t->partition_count = t->partition_count_max = count;
}

static void note_absent(struct sim_admin *a, struct sim_topic *t, const struct metadata_response *m)
{
    for (size_t i = 0; i < m->topics_count; i++)
        if (uuid_equal(m->topics[i].topic_id, t->id))
            return;
    if (t->state == SIM_TOPIC_THERE)
        sim_world_fail(a->world, "topic %s is gone, though nobody deleted it", t->name);
    t->state = SIM_TOPIC_GONE;
}

static void on_metadata(struct sim_answer *answer)
{
    const struct metadata_response *m = answer->message;
    struct sim_admin *a = answered_to(answer);

    if (!m)
        return;
    for (size_t i = 0; i < m->topics_count; i++) {
        struct sim_topic *t = sim_checker_topic(checker(a), m->topics[i].topic_id);

        if (t)
            compare(a, t, &m->topics[i]);
        else
            adopt(a, &m->topics[i]);
    }
    for (size_t i = 0; i < checker(a)->topic_count; i++)
        if (checker(a)->topics[i].state != SIM_TOPIC_GONE)
            note_absent(a, &checker(a)->topics[i], m);
    a->creating = false;
    a->knows = true;
}

static void ask_metadata(struct sim_admin *a)
{
    struct metadata_request m;

    metadata_request_init(&m);
    m.topics = NULL;
    m.allow_auto_topic_creation = false;
    ask(a, API_METADATA, 12, &m, on_metadata);
}

/* ---- creating ---- */

static void on_created(struct sim_answer *answer)
{
    const struct create_topics_response *m = answer->message;
    struct sim_admin *a = answered_to(answer);
    const struct create_topics_response_creatable_topic_result *r;

    if (!m)
        return;
    r = &m->topics[0];
    if (r->error_code != KERR_NONE) {
        if (is_unsure(a, (enum kerr)r->error_code))
            a->knows = false;
        else
            complain(a, "creation", (enum kerr)r->error_code);
        return;
    }
    created(a, r->topic_id);
}

struct setting {
    const char *name;
    char value[24];
};

/* Settings that make logs roll and shrink within the seconds that a life lasts. */
static size_t choose_settings(struct sim_admin *a, struct setting out[ALTERABLE_MAX],
                              bool *retention)
{
    static const char *const names[] = {"segment.ms",          "retention.ms",
                                        "retention.bytes",     "file.delete.delay.ms",
                                        "segment.index.bytes", "index.interval.bytes"};
    static const int64_t low[] = {1, 200, 2000, 0, 12, 1};
    static const int64_t high[] = {1000, 4000, 40000, 500, 200, 5000};
    size_t count = sim_random_below(&a->random, ALTERABLE_MAX + 1);

    for (size_t i = 0; i < count; i++) {
        size_t which = (i + sim_random_below(&a->random, 3)) % (sizeof names / sizeof names[0]);

        out[i].name = names[which];
        snprintf(out[i].value, sizeof out[i].value, "%" PRId64,
                 sim_random_between(&a->random, low[which], high[which]));
        *retention = *retention || which == 1 || which == 2;
        for (size_t j = 0; j < i; j++)
            if (out[j].name == out[i].name)
                return i;
    }
    return count;
}

static void create(struct sim_admin *a)
{
    struct setting settings[ALTERABLE_MAX];
    struct create_topics_request_creatable_topic_config configs[ALTERABLE_MAX + 1];
    struct create_topics_request_creatable_topic topic;
    struct create_topics_request m;
    size_t count;

    a->create_retention = false;
    count = choose_settings(a, settings, &a->create_retention);
    for (size_t i = 0; i < count; i++)
        configs[i] = (struct create_topics_request_creatable_topic_config){
            str_from(settings[i].name), str_from(settings[i].value)};
    a->create_log_append_time = sim_random_chance(&a->random, 20);
    if (a->create_log_append_time)
        configs[count++] = (struct create_topics_request_creatable_topic_config){
            STR("message.timestamp.type"), STR("LogAppendTime")};
    a->create_partitions = 1 + (int32_t)sim_random_below(&a->random, SIM_PARTITIONS_MAX / 2);
    a->creating = true;
    create_topics_request_init(&m);
    create_topics_request_creatable_topic_init(&topic);
    topic.name = str_from(a->name);
    topic.num_partitions = a->create_partitions;
    topic.replication_factor = 1;
    topic.configs = configs;
    topic.configs_count = count;
    m.topics = &topic;
    m.topics_count = 1;
    ask(a, API_CREATE_TOPICS, 7, &m, on_created);
}

/* ---- deleting ---- */

static void on_deleted(struct sim_answer *answer)
{
    const struct delete_topics_response *m = answer->message;
    struct sim_admin *a = answered_to(answer);

    if (!m)
        return;
    if (m->responses[0].error_code == KERR_NONE)
        topic_of(a)->state = SIM_TOPIC_GONE;
    else if (!is_unsure(a, (enum kerr)m->responses[0].error_code))
        complain(a, "deletion", (enum kerr)m->responses[0].error_code);
    else
        a->knows = false;
}

static void delete (struct sim_admin *a)
{
    struct delete_topics_request_delete_topic_state topic;
    struct delete_topics_request m;

    topic_of(a)->state = SIM_TOPIC_MAY_BE_GONE;
    delete_topics_request_init(&m);
    delete_topics_request_delete_topic_state_init(&topic);
    topic.name = STR_NULL;
    topic.topic_id = topic_of(a)->id;
    m.topics = &topic;
    m.topics_count = 1;
    m.timeout_ms = 5000;
    ask(a, API_DELETE_TOPICS, 6, &m, on_deleted);
}

/* ---- growing ---- */

static void on_grown(struct sim_answer *answer)
{
    const struct create_partitions_response *m = answer->message;
    struct sim_admin *a = answered_to(answer);
    enum kerr code;

    if (!m)
        return;
    code = (enum kerr)m->results[0].error_code;
    if (is_unsure(a, code))
        a->knows = false;
    else if (a->count <= topic_of(a)->partition_count) {
        if (code != KERR_INVALID_PARTITIONS)
            complain(a, "shrinking", code);
    } else if (code == KERR_NONE)
        topic_of(a)->partition_count = topic_of(a)->partition_count_max = a->count;
    else
        complain(a, "growth", code);
}

static void grow(struct sim_admin *a)
{
    struct create_partitions_request_topic topic;
    struct create_partitions_request m;

    a->count = topic_of(a)->partition_count + (int32_t)sim_random_between(&a->random, -1, 2);
    if (a->count < 1 || a->count > SIM_PARTITIONS_MAX)
        return;
    if (a->count > topic_of(a)->partition_count_max)
        topic_of(a)->partition_count_max = a->count;
    create_partitions_request_init(&m);
    create_partitions_request_topic_init(&topic);
    topic.name = str_from(a->name);
    topic.count = a->count;
    topic.assignments = NULL; /* wherever the controller likes */
    m.topics = &topic;
    m.topics_count = 1;
    m.timeout_ms = 5000;
    ask(a, API_CREATE_PARTITIONS, 3, &m, on_grown);
}

/* ---- deleting records ---- */

static void on_records_deleted(struct sim_answer *answer)
{
    const struct delete_records_response *m = answer->message;
    struct sim_admin *a = answered_to(answer);
    const struct delete_records_response_partition_result *r;

    if (!m)
        return;
    r = &m->topics[0].partitions[0];
    if (r->error_code != KERR_NONE) {
        if (!is_unsure(a, (enum kerr)r->error_code) &&
            r->error_code != KERR_UNKNOWN_TOPIC_OR_PARTITION &&
            r->error_code != KERR_OFFSET_OUT_OF_RANGE)
            complain(a, "deletion of records", (enum kerr)r->error_code);
        return;
    }
    if (r->low_watermark < a->offset)
        sim_world_fail(a->world,
                       "%s-%d: records up to %" PRId64
                       " were deleted, but the log starts at %" PRId64,
                       a->name, a->partition, a->offset, r->low_watermark);
    sim_checker_saw_log_start(checker(a), topic_of(a), a->partition, r->low_watermark, a->floor);
}

static void delete_records(struct sim_admin *a)
{
    struct sim_partition *p = &topic_of(a)->partitions[a->partition];
    struct delete_records_request_partition partition;
    struct delete_records_request_topic topic;
    struct delete_records_request m;

    a->offset = (int64_t)sim_random_below(&a->random, (uint64_t)p->high_watermark + 1);
    a->floor = p->log_start;
    if (a->offset > p->deleted_to)
        p->deleted_to = a->offset;
    delete_records_request_init(&m);
    delete_records_request_topic_init(&topic);
    partition = (struct delete_records_request_partition){a->partition, a->offset};
    topic.name = str_from(a->name);
    topic.partitions = &partition;
    topic.partitions_count = 1;
    m.topics = &topic;
    m.topics_count = 1;
    m.timeout_ms = 5000;
    ask(a, API_DELETE_RECORDS, 2, &m, on_records_deleted);
}

/* ---- settings ---- */

static void on_altered(struct sim_answer *answer)
{
    const struct incremental_alter_configs_response *m = answer->message;
    struct sim_admin *a = answered_to(answer);

    if (m && m->responses[0].error_code != KERR_NONE &&
        !is_unsure(a, (enum kerr)m->responses[0].error_code))
        complain(a, "change of settings", (enum kerr)m->responses[0].error_code);
}

static void alter(struct sim_admin *a)
{
    struct setting settings[ALTERABLE_MAX];
    struct incremental_alter_configs_request_alterable_config configs[ALTERABLE_MAX];
    struct incremental_alter_configs_request_alter_configs_resource resource;
    struct incremental_alter_configs_request m;
    bool retention = topic_of(a)->retention;
    size_t count = choose_settings(a, settings, &retention);

    topic_of(a)->retention = retention;
    for (size_t i = 0; i < count; i++)
        configs[i] = (struct incremental_alter_configs_request_alterable_config){
            str_from(settings[i].name), OPERATION_SET, str_from(settings[i].value)};
    incremental_alter_configs_request_init(&m);
    incremental_alter_configs_request_alter_configs_resource_init(&resource);
    resource.resource_type = RESOURCE_TOPIC;
    resource.resource_name = str_from(a->name);
    resource.configs = configs;
    resource.configs_count = count;
    m.resources = &resource;
    m.resources_count = 1;
    ask(a, API_INCREMENTAL_ALTER_CONFIGS, 1, &m, on_altered);
}

/* ---- offsets ---- */

static void on_offsets(struct sim_answer *answer)
{
    const struct list_offsets_response *m = answer->message;
    struct sim_admin *a = answered_to(answer);
    const struct list_offsets_response_partition_response *r;

    if (!m)
        return;
    r = &m->topics[0].partitions[0];
    if (r->error_code != KERR_NONE) {
        if (!is_unsure(a, (enum kerr)r->error_code) && r->error_code != KERR_OFFSET_NOT_AVAILABLE &&
            r->error_code != KERR_UNKNOWN_TOPIC_OR_PARTITION)
            complain(a, "a list of offsets", (enum kerr)r->error_code);
        return;
    }
    if (a->offset == -2)
        sim_checker_saw_log_start(checker(a), topic_of(a), a->partition, r->offset, a->floor);
    else if (a->offset == -1)
        sim_checker_saw(checker(a), topic_of(a), a->partition, r->offset, a->floor, -1, -1);
    else if (r->offset >= 0 && r->offset < a->floor)
        sim_world_fail(a->world,
                       "%s-%d: a lookup by time found offset %" PRId64 " below the log start",
                       a->name, a->partition, r->offset);
}

static void list_offsets(struct sim_admin *a)
{
    const struct sim_partition *p = &topic_of(a)->partitions[a->partition];
    struct list_offsets_request_partition partition;
    struct list_offsets_request_topic topic;
    struct list_offsets_request m;

    a->offset = sim_random_between(&a->random, -4, 0);
    if (a->offset == 0) /* a time */
        a->offset =
            clock_wall_ms(sim_world_clock(a->world)) - (int64_t)sim_random_below(&a->random, 3000);
    a->floor = a->offset == -1 ? p->high_watermark : p->log_start;
    list_offsets_request_init(&m);
    list_offsets_request_topic_init(&topic);
    list_offsets_request_partition_init(&partition);
    partition.partition_index = a->partition;
    partition.timestamp = a->offset;
    topic.name = str_from(a->name);
    topic.partitions = &partition;
    topic.partitions_count = 1;
    m.replica_id = -1;
    m.topics = &topic;
    m.topics_count = 1;
    ask(a, API_LIST_OFFSETS, 8, &m, on_offsets);
}

/* ---- what next ---- */

static void act(struct sim_admin *a)
{
    static void (*const actions[])(struct sim_admin * a) = {
        delete,         grow,         alter,        alter,       delete_records,
        delete_records, list_offsets, list_offsets, list_offsets};
    size_t number = sim_random_below(&a->random, NAMES), action;
    struct sim_topic *t;

    snprintf(a->name, sizeof a->name, "t%zu", number);
    t = sim_checker_topic_named(checker(a), str_from(a->name));
    if (!t) {
        create(a);
        return;
    }
    a->topic = (size_t)(t - checker(a)->topics);
    a->partition = (int32_t)sim_random_below(&a->random, (uint64_t)t->partition_count);
    action = sim_random_below(&a->random, sizeof actions / sizeof actions[0]);
    if (action == 0 && t->lasting)
        return;
    actions[action](a);
}

static void on_timer(struct timer *t)
{
    struct sim_admin *a = CONTAINER_OF(t, struct sim_admin, timer);
    int64_t delay_us = (int64_t)sim_random_below(&a->random, TICK_US_MAX);

    if (a->connection && a->connection->up && sim_random_below(&a->random, 150) == 0)
        sim_connection_close(a->connection);
    if (!a->connection || !a->connection->up) {
        bool lost = a->connection != NULL;

        a->connection = sim_world_connect(a->world, &a->random);
        a->knows = false;
        delay_us = !a->connection ? RETRY_US : lost ? UNANSWERED_US : SETTLED_US;
    } else if (!a->waiting && !a->knows) {
        ask_metadata(a);
    } else if (!a->waiting && a->mode == SIM_WORK) {
        act(a);
    }
    timer_start(&a->world->loop->base, &a->timer, delay_us);
}

void sim_admin_init(struct sim_admin *a, struct sim_world *w)
{
    *a = (struct sim_admin){.world = w, .random = sim_random_split(w->seed, 300)};
    timer_init(&w->loop->base, &a->timer, on_timer);
    timer_start(&w->loop->base, &a->timer, RETRY_US);
}

void sim_admin_free(struct sim_admin *a)
{
    timer_free(&a->world->loop->base, &a->timer);
}
