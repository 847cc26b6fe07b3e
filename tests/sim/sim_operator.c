#include "tests/sim/sim_operator.h"

#include <stdio.h>
#include <string.h>

#include "protocol/base/kerr.h"
#include "protocol/messages/alter_partition_reassignments.h"
#include "protocol/messages/create_partitions.h"
#include "protocol/messages/create_topics.h"
#include "protocol/messages/delete_records.h"
#include "protocol/messages/delete_topics.h"
#include "protocol/messages/incremental_alter_configs.h"
#include "protocol/messages/metadata.h"
#include "tests/sim/sim_world.h"

#define TICK_US_MAX    200000
#define RETRY_US       50000
#define PATIENCE_US    (15 * 1000 * 1000) /* then it hangs up */
#define TIMEOUT_MS     3000
#define RESOURCE_TOPIC 2
#define OPERATION_SET  0
#define KNOWN_US       (1000 * 1000)    /* until a node knows what was done through it */
#define PROOF_TOPICS   SIM_MACHINES_MAX /* kept for the end */

static struct sim_operated *topic_of(struct sim_operator *o)
{
    return &o->topics[o->at];
}

/* Some node that runs; in the proof the one that it is about. */
static void connect(struct sim_operator *o)
{
    struct sim_world *w = o->world;
    unsigned i = o->task == SIM_TASK_PROVE
                     ? o->machine
                     : (unsigned)sim_random_below(&o->random, w->machine_count);

    o->connection = sim_world_connect_to(w, i, &o->random);
}

static void ask(struct sim_operator *o, int16_t key, int16_t version, const void *message,
                sim_answered *answered)
{
    o->waiting = true;
    o->asked_us = o->world->sched.now_us;
    sim_connection_send(o->connection, key, version, message, answered, o, PATIENCE_US);
}

/* Whether it was carried out. While nothing is wrong, it is, at once. */
static bool is_done(struct sim_operator *o, const char *what, int16_t error)
{
    o->done += error == KERR_NONE;
    sim_trace_say(&o->world->trace, "%s of %s: %s", what, topic_of(o)->name,
                  kerr_name((enum kerr)error));
    if (o->task == SIM_TASK_PROVE && error != KERR_NONE && error != KERR_REQUEST_TIMED_OUT &&
        error != KERR_NOT_CONTROLLER)
        sim_world_fail(o->world, "%s of %s was answered with %s", what, topic_of(o)->name,
                       kerr_name((enum kerr)error));
    return error == KERR_NONE;
}

/* ---- creating ---- */

static void on_created(struct sim_answer *a)
{
    const struct create_topics_response *m = a->message;
    struct sim_operator *o = a->context;
    struct sim_operated *t = topic_of(o);

    o->waiting = false;
    if (!m || !is_done(o, "creation", m->topics[0].error_code))
        return;
    t->created = SIM_DONE;
    t->id = m->topics[0].topic_id;
    t->partitions = t->partitions_max;
    o->made = true;
    (void)sim_checker_add_topic(&o->world->checker, t->name, t->id, t->partitions);
}

static void create(struct sim_operator *o)
{
    struct create_topics_request_creatable_topic topic;
    struct create_topics_request m;
    struct sim_operated *t;

    if (o->topic_count + (o->task == SIM_TASK_PROVE ? 0 : PROOF_TOPICS) >= SIM_OPERATED_MAX)
        return;
    o->at = o->topic_count++;
    t = topic_of(o);
    *t = (struct sim_operated){
        .created = SIM_ASKED,
        .partitions_max = 1 + (int32_t)sim_random_below(&o->random, 4),
        .replicas = (int16_t)(1 + sim_random_below(&o->random, o->world->machine_count)),
    };
    snprintf(t->name, sizeof t->name, "t%zu", o->at);
    create_topics_request_init(&m);
    create_topics_request_creatable_topic_init(&topic);
    topic.name = str_from(t->name);
    topic.num_partitions = t->partitions_max;
    topic.replication_factor = t->replicas;
    m.topics = &topic;
    m.topics_count = 1;
    m.timeout_ms = TIMEOUT_MS;
    ask(o, API_CREATE_TOPICS, 7, &m, on_created);
}

/* ---- deleting ---- */

static void on_deleted(struct sim_answer *a)
{
    const struct delete_topics_response *m = a->message;
    struct sim_operator *o = a->context;

    o->waiting = false;
    if (m && is_done(o, "deletion", m->responses[0].error_code)) {
        topic_of(o)->deleted = SIM_DONE;
        sim_checker_topic(&o->world->checker, topic_of(o)->id)->state = SIM_TOPIC_GONE;
    }
}

static void delete (struct sim_operator *o)
{
    struct delete_topics_request_delete_topic_state topic;
    struct delete_topics_request m;

    topic_of(o)->deleted = SIM_ASKED;
    sim_checker_topic(&o->world->checker, topic_of(o)->id)->state = SIM_TOPIC_MAY_BE_GONE;
    delete_topics_request_init(&m);
    delete_topics_request_delete_topic_state_init(&topic);
    topic.name = str_from(topic_of(o)->name);
    m.topics = &topic;
    m.topics_count = 1;
    m.timeout_ms = TIMEOUT_MS;
    ask(o, API_DELETE_TOPICS, 6, &m, on_deleted);
}

/* ---- growing ---- */

static void on_grown(struct sim_answer *a)
{
    const struct create_partitions_response *m = a->message;
    struct sim_operator *o = a->context;

    o->waiting = false;
    if (!m || !is_done(o, "growth", m->results[0].error_code) ||
        o->count <= topic_of(o)->partitions)
        return;
    topic_of(o)->partitions = o->count;
    sim_checker_topic(&o->world->checker, topic_of(o)->id)->partition_count = o->count;
}

static void grow(struct sim_operator *o)
{
    struct create_partitions_request_topic topic;
    struct create_partitions_request m;

    o->count = topic_of(o)->partitions_max + 1 + (int32_t)sim_random_below(&o->random, 2);
    if (o->count > SIM_PARTITIONS_MAX)
        return;
    topic_of(o)->partitions_max = o->count;
    create_partitions_request_init(&m);
    create_partitions_request_topic_init(&topic);
    topic.name = str_from(topic_of(o)->name);
    topic.count = o->count;
    topic.assignments = NULL;
    m.topics = &topic;
    m.topics_count = 1;
    m.timeout_ms = TIMEOUT_MS;
    ask(o, API_CREATE_PARTITIONS, 3, &m, on_grown);
}

/* ---- moving ---- */

static void on_moved(struct sim_answer *a)
{
    const struct alter_partition_reassignments_response *m = a->message;
    struct sim_operator *o = a->context;

    o->waiting = false;
    if (m)
        (void)is_done(o, "reassignment",
                      m->error_code ? m->error_code : m->responses[0].partitions[0].error_code);
}

/* Some brokers, in some order. */
static size_t choose_brokers(struct sim_operator *o, int32_t *out)
{
    const unsigned machines = o->world->machine_count;
    const size_t count = 1 + sim_random_below(&o->random, machines);

    for (unsigned i = 0; i < machines; i++) {
        size_t j = sim_random_below(&o->random, i + 1);

        out[i] = out[j];
        out[j] = (int32_t)i + 1;
    }
    return count;
}

static void move(struct sim_operator *o)
{
    struct alter_partition_reassignments_request_reassignable_partition partition;
    struct alter_partition_reassignments_request_reassignable_topic topic;
    struct alter_partition_reassignments_request m;
    int32_t brokers[SIM_MACHINES_MAX];

    alter_partition_reassignments_request_init(&m);
    alter_partition_reassignments_request_reassignable_topic_init(&topic);
    alter_partition_reassignments_request_reassignable_partition_init(&partition);
    partition.partition_index =
        (int32_t)sim_random_below(&o->random, (uint64_t)topic_of(o)->partitions);
    partition.replicas_count = choose_brokers(o, brokers);
    partition.replicas = brokers;
    topic.name = str_from(topic_of(o)->name);
    topic.partitions = &partition;
    topic.partitions_count = 1;
    m.topics = &topic;
    m.topics_count = 1;
    m.timeout_ms = TIMEOUT_MS;
    ask(o, API_ALTER_PARTITION_REASSIGNMENTS, 1, &m, on_moved);
}

/* ---- settings ---- */

static void on_altered(struct sim_answer *a)
{
    const struct incremental_alter_configs_response *m = a->message;
    struct sim_operator *o = a->context;

    o->waiting = false;
    if (m)
        (void)is_done(o, "change of settings", m->responses[0].error_code);
}

/* What may be set, in which range. */
static const struct setting {
    const char *name;
    int64_t low, high;
    bool deletes; /* records, by and by */
} settings[] = {
    {"segment.ms", 100, 5000, false},         {"segment.ms", 100, 5000, false},
    {"retention.ms", 500, 20000, true},       {"retention.bytes", 2000, 100000, true},
    {"min.insync.replicas", 1, 3, false},     {"min.insync.replicas", 1, 3, false},
    {"file.delete.delay.ms", 0, 1000, false},
};

static void alter(struct sim_operator *o)
{
    const struct setting *s =
        &settings[sim_random_below(&o->random, sizeof settings / sizeof settings[0])];
    struct incremental_alter_configs_request_alterable_config config = {str_from(s->name),
                                                                        OPERATION_SET, STR_NULL};
    char value[24];
    struct incremental_alter_configs_request_alter_configs_resource resource;
    struct incremental_alter_configs_request m;

    snprintf(value, sizeof value, "%lld",
             (long long)sim_random_between(&o->random, s->low, s->high));
    config.value = str_from(value);
    sim_trace_say(&o->world->trace, "%s is to have %s=%s", topic_of(o)->name, s->name, value);
    if (s->deletes)
        sim_checker_topic(&o->world->checker, topic_of(o)->id)->retention = true;
    incremental_alter_configs_request_init(&m);
    incremental_alter_configs_request_alter_configs_resource_init(&resource);
    resource.resource_type = RESOURCE_TOPIC;
    resource.resource_name = str_from(topic_of(o)->name);
    resource.configs = &config;
    resource.configs_count = 1;
    m.resources = &resource;
    m.resources_count = 1;
    ask(o, API_INCREMENTAL_ALTER_CONFIGS, 1, &m, on_altered);
}

/* ---- deleting records ---- */

static void on_records_deleted(struct sim_answer *a)
{
    const struct delete_records_response *m = a->message;
    const struct delete_records_response_partition_result *r =
        m ? &m->topics[0].partitions[0] : NULL;
    struct sim_operator *o = a->context;

    o->waiting = false;
    if (!m || !is_done(o, "deletion of records", r->error_code))
        return;
    if (r->low_watermark < o->offset)
        sim_world_fail(
            o->world, "%s-%d: records up to %lld were deleted, but the log starts at %lld",
            topic_of(o)->name, o->count, (long long)o->offset, (long long)r->low_watermark);
    sim_checker_saw_log_start(&o->world->checker,
                              sim_checker_topic(&o->world->checker, topic_of(o)->id), o->count,
                              r->low_watermark, 0);
}

/* As far as somebody was told that records are committed; through whoever leads, which is not this
 * node for sure. */
static void delete_records(struct sim_operator *o)
{
    struct sim_topic *t = sim_checker_topic(&o->world->checker, topic_of(o)->id);
    struct delete_records_request_partition partition;
    struct delete_records_request_topic topic;
    struct delete_records_request m;
    struct sim_partition *p;

    o->count = (int32_t)sim_random_below(&o->random, (uint64_t)topic_of(o)->partitions);
    p = &t->partitions[o->count];
    o->offset = (int64_t)sim_random_below(&o->random, (uint64_t)p->high_watermark + 1);
    if (o->offset > p->deleted_to)
        p->deleted_to = o->offset;
    delete_records_request_init(&m);
    delete_records_request_topic_init(&topic);
    partition = (struct delete_records_request_partition){o->count, o->offset};
    topic.name = str_from(topic_of(o)->name);
    topic.partitions = &partition;
    topic.partitions_count = 1;
    m.topics = &topic;
    m.topics_count = 1;
    m.timeout_ms = TIMEOUT_MS;
    ask(o, API_DELETE_RECORDS, 2, &m, on_records_deleted);
}

/* ---- what there is ---- */

static const struct metadata_response_topic *find(const struct metadata_response *m,
                                                  const char *name)
{
    for (size_t i = 0; i < m->topics_count; i++)
        if (str_equal(m->topics[i].name, str_from(name)))
            return &m->topics[i];
    return NULL;
}

static const char *judge(const struct sim_operated *t, const struct metadata_response_topic *m)
{
    if (!m)
        return t->created == SIM_DONE && t->deleted == SIM_NOT_ASKED
                   ? "is gone, though nobody deleted it"
                   : NULL;
    if (t->created == SIM_DONE && !uuid_equal(t->id, m->topic_id))
        /* Of a request that was forwarded again for want of an answer, one copy may come after the
         * deletion. */
        return t->deleted == SIM_NOT_ASKED ? "has another id" : NULL;
    if (t->deleted == SIM_DONE)
        return "is there, though it was deleted";
    if ((int32_t)m->partitions_count < t->partitions ||
        (int32_t)m->partitions_count > t->partitions_max)
        return "has not the partitions that were asked for";
    for (size_t i = 0; i < m->partitions_count; i++)
        if (m->partitions[i].leader_id < 0)
            return "has a partition without a leader";
    return NULL;
}

static void on_metadata(struct sim_answer *a)
{
    const struct metadata_response *m = a->message;
    struct sim_operator *o = a->context;

    o->waiting = false;
    if (!m)
        return;
    for (size_t i = 0; i < o->topic_count; i++) {
        const char *wrong = judge(&o->topics[i], find(m, o->topics[i].name));

        if (wrong)
            sim_world_fail(o->world, "topic %s %s, says machine %u", o->topics[i].name, wrong,
                           o->machine);
    }
    o->machine++;
    o->made = false;
    sim_connection_close(o->connection);
}

static void look(struct sim_operator *o)
{
    struct metadata_request m;

    metadata_request_init(&m);
    m.topics = NULL;
    m.allow_auto_topic_creation = false;
    ask(o, API_METADATA, 12, &m, on_metadata);
}

/* ---- what next ---- */

static void work(struct sim_operator *o)
{
    static void (*const actions[])(struct sim_operator * o) = {
        delete,         grow,           alter, alter, delete_records,
        delete_records, delete_records, move,  move,  move};

    if (o->topic_count == 0 || sim_random_chance(&o->random, 40)) {
        create(o);
        return;
    }
    o->at = sim_random_below(&o->random, o->topic_count);
    if (topic_of(o)->created == SIM_DONE && topic_of(o)->deleted == SIM_NOT_ASKED)
        actions[sim_random_below(&o->random, sizeof actions / sizeof actions[0])](o);
}

static void act(struct sim_operator *o)
{
    if (o->task == SIM_TASK_WORK)
        work(o);
    else if (o->task == SIM_TASK_PROVE && o->machine < o->world->machine_count) {
        if (o->made && o->world->sched.now_us - o->asked_us > KNOWN_US)
            look(o);
        else if (!o->made)
            create(o);
    }
}

static void on_timer(struct timer *t)
{
    struct sim_operator *o = CONTAINER_OF(t, struct sim_operator, timer);
    int64_t delay_us = (int64_t)sim_random_below(&o->random, TICK_US_MAX);

    if (o->waiting && o->world->sched.now_us - o->asked_us > PATIENCE_US)
        sim_connection_close(o->connection);
    else if (!o->waiting && o->connection && o->connection->up &&
             sim_random_below(&o->random, 4) == 0 && o->task == SIM_TASK_WORK)
        sim_connection_close(o->connection); /* through another node */
    if (!o->connection || !o->connection->up) {
        connect(o);
        delay_us = RETRY_US;
    } else if (!o->waiting) {
        act(o);
    }
    timer_start(&o->world->loop->base, &o->timer, delay_us);
}

void sim_operator_init(struct sim_operator *o, struct sim_world *w)
{
    *o = (struct sim_operator){.world = w, .random = sim_random_split(w->seed, 400)};
    timer_init(&w->loop->base, &o->timer, on_timer);
    timer_start(&w->loop->base, &o->timer, RETRY_US);
}

void sim_operator_set(struct sim_operator *o, enum sim_task task)
{
    o->task = task;
    o->machine = 0;
    o->made = false;
    if (task == SIM_TASK_PROVE && o->connection && o->connection->up)
        sim_connection_close(o->connection);
}

bool sim_operator_proved(const struct sim_operator *o)
{
    return o->task == SIM_TASK_PROVE && o->machine == o->world->machine_count;
}

void sim_operator_free(struct sim_operator *o)
{
    timer_free(&o->world->loop->base, &o->timer);
}
