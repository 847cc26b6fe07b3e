/* Topics are made, grown and removed. */

#include <stdlib.h>

#include "replication/controller_core_internal.h"
#include "replication/placement.h"
#include "replication/topic_name.h"

static const struct controller_result too_large = {KERR_POLICY_VIOLATION,
                                                   "The request is too large."};

static struct controller_result too_many_partitions(struct arena *a)
{
    return core_refuse(a, KERR_POLICY_VIOLATION, "A request may ask for %d partitions at most.",
                       CONTROLLER_REQUEST_PARTITIONS_MAX);
}

static struct controller_result none_active(struct arena *a, size_t replica_count)
{
    return core_refuse(
        a, KERR_INVALID_REPLICATION_FACTOR,
        "Unable to replicate the partition %zu time(s): All brokers are currently fenced, or have "
        "all their log directories cordoned.",
        replica_count);
}

/* ---- where partitions go ---- */

/* What the partitions of one topic are to be: replicas one after the other, replica_count each. */
struct layout {
    int32_t *replicas;
    size_t partition_count;
    size_t replica_count;
};

static const int32_t *layout_at(const struct layout *l, size_t i)
{
    return &l->replicas[i * l->replica_count];
}

/* A broker takes new replicas as long as one of its directories is not cordoned (KIP-1066). */
static bool has_room(const struct metadata_broker *b)
{
    size_t open = b->log_dir_count;

    for (size_t i = 0; i < b->log_dir_count; i++)
        for (size_t j = 0; j < b->cordoned_log_dir_count; j++)
            if (uuid_equal(b->log_dirs[i], b->cordoned_log_dirs[j])) {
                open--;
                break;
            }
    return b->log_dir_count == 0 || open > 0; /* none: it told us of none */
}

static size_t brokers_with_room(const struct controller_core *c)
{
    size_t count = 0;

    for (size_t i = 0; i < metadata_image_broker_count(c->image); i++)
        count += has_room(metadata_image_broker_at(c->image, i));
    return count;
}

static struct placement *placement_of(const struct controller_core *c)
{
    size_t count = metadata_image_broker_count(c->image);
    struct placement_broker *brokers = memory_zalloc(count, sizeof *brokers);
    size_t with_room = 0;
    struct placement *p;

    for (size_t i = 0; i < count; i++) {
        const struct metadata_broker *b = metadata_image_broker_at(c->image, i);

        if (has_room(b))
            brokers[with_room++] =
                (struct placement_broker){b->id, b->rack, b->fenced || b->in_controlled_shutdown};
    }
    p = placement_create(brokers, with_room, c->random);
    free(brokers);
    return p;
}

/* Placed by us. l->partition_count and replica_count say how many; replicas come from the scratch
 * arena. */
static struct controller_result place(struct controller_core *c, struct arena *a, struct layout *l)
{
    size_t broker_count = brokers_with_room(c);
    struct placement *p;
    bool placed = true;

    if (l->replica_count > broker_count)
        return core_refuse(
            a, KERR_INVALID_REPLICATION_FACTOR,
            "Unable to replicate the partition %zu time(s): The target replication factor of "
            "%zu cannot be reached because only %zu broker(s) are registered or some brokers have "
            "all their log directories cordoned.",
            l->replica_count, l->replica_count, broker_count);
    l->replicas = arena_array(&c->scratch, int32_t, l->partition_count * l->replica_count);
    if (!l->replicas)
        return too_large;
    p = placement_of(c);
    for (size_t i = 0; i < l->partition_count && placed; i++)
        placed = placement_next(p, l->replica_count, &l->replicas[i * l->replica_count]);
    placement_free(p);
    return placed ? CORE_OK : none_active(a, l->replica_count);
}

struct controller_result core_check_replicas(const struct controller_core *c, struct arena *a,
                                             struct id_list brokers)
{
    if (brokers.count == 0)
        return core_refuse(a, KERR_INVALID_REPLICA_ASSIGNMENT,
                           "The manual partition assignment includes an empty replica list.");
    for (size_t i = 0; i < brokers.count; i++) {
        if (!metadata_image_broker(c->image, brokers.ids[i]))
            return core_refuse(
                a, KERR_INVALID_REPLICA_ASSIGNMENT,
                "The manual partition assignment includes broker %d, but no such broker is "
                "registered.",
                brokers.ids[i]);
        if (!has_room(metadata_image_broker(c->image, brokers.ids[i])))
            return core_refuse(
                a, KERR_INVALID_REPLICA_ASSIGNMENT,
                "The manual partition assignment includes broker %d, but all its log directories "
                "are cordoned.",
                brokers.ids[i]);
        if (id_list_contains((struct id_list){brokers.ids, i}, brokers.ids[i]))
            return core_refuse(
                a, KERR_INVALID_REPLICA_ASSIGNMENT,
                "The manual partition assignment includes the broker %d more than once.",
                brokers.ids[i]);
    }
    return CORE_OK;
}

static struct controller_result check_replicas(const struct controller_core *c, struct arena *a,
                                               struct id_list brokers, size_t replica_count)
{
    struct controller_result result = core_check_replicas(c, a, brokers);

    if (result.code != KERR_NONE)
        return result;
    if (brokers.count != replica_count)
        return core_refuse(
            a, KERR_INVALID_REPLICA_ASSIGNMENT,
            "The manual partition assignment includes a partition with %zu replica(s), but this "
            "is not consistent with previous partitions, which have %zu replica(s).",
            brokers.count, replica_count);
    for (size_t i = 0; i < brokers.count; i++)
        if (core_broker_active(c, brokers.ids[i]))
            return CORE_OK;
    return core_refuse(
        a, KERR_INVALID_REPLICA_ASSIGNMENT,
        "All brokers specified in the manual partition assignment are fenced or in controlled "
        "shutdown.");
}

/* Placed by the client. in_order: the n-th assignment is for the n-th partition, else each names
 * its own. */
static struct controller_result take_assignments(struct controller_core *c, struct arena *a,
                                                 const struct controller_assignment *assignments,
                                                 bool in_order, struct layout *l)
{
    bool *seen;

    l->replicas = arena_array(&c->scratch, int32_t, l->partition_count * l->replica_count);
    seen = arena_array(&c->scratch, bool, l->partition_count);
    if (!l->replicas || !seen)
        return too_large;
    for (size_t i = 0; i < l->partition_count; i++) {
        size_t index = in_order ? i : (size_t)assignments[i].partition;
        struct controller_result result =
            check_replicas(c, a, assignments[i].brokers, l->replica_count);

        if (result.code != KERR_NONE)
            return result;
        if (!in_order && (assignments[i].partition < 0 || index >= l->partition_count))
            return core_refuse(a, KERR_INVALID_REPLICA_ASSIGNMENT,
                               "partitions should be a consecutive 0-based integer sequence");
        if (seen[index])
            return core_refuse(a, KERR_INVALID_REPLICA_ASSIGNMENT,
                               "Found multiple manual partition assignments for partition %zu",
                               index);
        seen[index] = true;
        memcpy(&l->replicas[index * l->replica_count], assignments[i].brokers.ids,
               l->replica_count * sizeof(int32_t));
    }
    return CORE_OK;
}

static void emit_partitions(struct controller_core *c, struct uuid topic_id, size_t first,
                            const struct layout *l)
{
    int32_t *isr = arena_array(&c->scratch, int32_t, l->replica_count);
    struct uuid *directories = arena_array(&c->scratch, struct uuid, l->replica_count);
    int16_t metadata_version = core_metadata_version(c);

    CHECK(isr && directories);
    for (size_t i = 0; i < l->partition_count; i++) {
        struct metadata_partition p = {.replicas = {layout_at(l, i), l->replica_count},
                                       .directories = directories};
        struct metadata_record r;

        p.isr.ids = isr;
        for (size_t j = 0; j < l->replica_count; j++) {
            directories[j] = core_default_directory(c, p.replicas.ids[j]);
            if (core_broker_active(c, p.replicas.ids[j]))
                isr[p.isr.count++] = p.replicas.ids[j];
        }
        p.leader = isr[0];
        record_of_partition(&r, topic_id, (int32_t)(first + i), &p, metadata_version);
        core_emit(c, &r);
    }
}

/* ---- create ---- */

static struct controller_result check_name(struct controller_core *c, struct arena *a,
                                           struct str name)
{
    const char *fault = topic_name_error(name);
    struct str collides;

    if (fault)
        return core_refuse(a, KERR_INVALID_TOPIC_EXCEPTION, "Topic name is invalid: %s", fault);
    if (str_equal(name, STR("__cluster_metadata")))
        return core_refuse(a, KERR_INVALID_REQUEST,
                           "Creation of internal topic __cluster_metadata is prohibited.");
    if (metadata_image_topic(c->image, name))
        return core_refuse(a, KERR_TOPIC_ALREADY_EXISTS, "Topic '%.*s' already exists.",
                           STR_ARG(name));
    collides = core_collision_find(c, name);
    if (collides.data)
        return core_refuse(a, KERR_INVALID_TOPIC_EXCEPTION,
                           "Topic '%.*s' collides with existing topic: %.*s", STR_ARG(name),
                           STR_ARG(collides));
    return CORE_OK;
}

static struct controller_result check_counts(struct arena *a, const struct create_topic *q)
{
    if (q->assignment_count > 0) {
        if (q->replication_factor != -1)
            return core_refuse(a, KERR_INVALID_REQUEST,
                               "A manual partition assignment was specified, but "
                               "replication factor was not set to -1.");
        if (q->partition_count != -1)
            return core_refuse(a, KERR_INVALID_REQUEST,
                               "A manual partition assignment was specified, but "
                               "numPartitions was not set to -1.");
        return CORE_OK;
    }
    if (q->replication_factor < -1 || q->replication_factor == 0)
        return core_refuse(
            a, KERR_INVALID_REPLICATION_FACTOR,
            "Replication factor must be larger than 0, or -1 to use the default value.");
    if (q->partition_count < -1 || q->partition_count == 0)
        return core_refuse(a, KERR_INVALID_PARTITIONS,
                           "Number of partitions was set to an invalid non-positive value.");
    return CORE_OK;
}

static struct controller_result lay_out(struct controller_core *c, struct arena *a,
                                        const struct create_topic *q, struct layout *l)
{
    struct controller_result result = check_counts(a, q);

    if (result.code != KERR_NONE)
        return result;
    if (q->assignment_count > 0) {
        l->partition_count = q->assignment_count;
        l->replica_count = q->assignments[0].brokers.count;
        return take_assignments(c, a, q->assignments, false, l);
    }
    l->partition_count =
        (size_t)(q->partition_count == -1 ? config_values_integer(c->given, "num.partitions")
                                          : q->partition_count);
    l->replica_count = (size_t)(q->replication_factor == -1
                                    ? config_values_integer(c->given, "default.replication.factor")
                                    : q->replication_factor);
    return place(c, a, l);
}

/* *set is owned by the caller when the answer is NONE. */
static struct controller_result take_configs(struct controller_core *c, struct arena *a,
                                             const struct create_topic *q,
                                             const struct config_set **set)
{
    struct controller_result result;

    for (size_t i = 0; i < q->config_count; i++)
        if (!q->configs[i].value.data)
            return core_refuse(a, KERR_INVALID_CONFIG,
                               "Null value not supported for topic configs: %.*s",
                               STR_ARG(q->configs[i].name));
    *set = config_set_create(q->configs, q->config_count);
    result = core_check_topic_configs(c, a, *set);
    if (result.code != KERR_NONE)
        config_set_release(*set);
    return result;
}

static struct uuid new_topic_id(struct controller_core *c)
{
    struct uuid id;

    do {
        uint8_t bits[16];

        random_fill(c->random, bits, sizeof bits);
        id = uuid_from_random(bits);
    } while (uuid_is_unsafe(id) || metadata_image_topic_by_id(c->image, id));
    return id;
}

static void emit_topic(struct controller_core *c, struct uuid id, struct str name,
                       const struct config_set *configs, const struct layout *l)
{
    struct metadata_record r;

    metadata_record_init(&r, TOPIC_RECORD_KEY, 0);
    r.topic.name = name;
    r.topic.topic_id = id;
    core_emit(c, &r);
    for (size_t i = 0; i < configs->count; i++) {
        metadata_record_init(&r, CONFIG_RECORD_KEY, 0);
        r.config.resource_type = CONFIG_RESOURCE_TOPIC;
        r.config.resource_name = name;
        r.config.name = configs->entries[i].name;
        r.config.value = configs->entries[i].value;
        core_emit(c, &r);
    }
    emit_partitions(c, id, 0, l);
    core_collision_add(c, name);
}

/* *budget: partitions that the request may still ask for. */
static void create_one(struct controller_core *c, struct arena *a, const struct create_topic *q,
                       size_t *budget, struct create_topic_result *out)
{
    struct layout l = {0};
    const struct config_set *configs = NULL;

    arena_reset(&c->scratch);
    out->result = check_name(c, a, q->name);
    if (out->result.code != KERR_NONE)
        return;
    if ((q->partition_count > 0 && (size_t)q->partition_count > *budget) ||
        q->assignment_count > *budget) {
        out->result = too_many_partitions(a);
        return;
    }
    out->result = take_configs(c, a, q, &configs);
    if (out->result.code != KERR_NONE)
        return;
    out->result = lay_out(c, a, q, &l);
    if (out->result.code == KERR_NONE && l.partition_count > *budget) /* the default counts too */
        out->result = too_many_partitions(a);
    if (out->result.code != KERR_NONE) {
        config_set_release(configs);
        return;
    }
    *budget -= l.partition_count;
    out->topic_id = c->dry_run ? UUID_ZERO : new_topic_id(c);
    out->partition_count = (int32_t)l.partition_count;
    out->replication_factor = (int16_t)l.replica_count;
    out->configs = configs;
    if (!c->dry_run)
        emit_topic(c, out->topic_id, q->name, configs, &l);
}

struct controller_result core_create_topics(struct controller_core *c, struct controller_request *r)
{
    size_t count = r->create.count, budget = CONTROLLER_REQUEST_PARTITIONS_MAX;
    struct core_key *keys;
    bool *twice;

    r->create.results = arena_array(r->arena, struct create_topic_result, count);
    if (!r->create.results)
        return too_large;
    keys = memory_zalloc(count, sizeof *keys);
    twice = memory_zalloc(count, sizeof *twice);
    for (size_t i = 0; i < count; i++)
        keys[i] = (struct core_key){.name = r->create.topics[i].name, .index = i};
    core_find_duplicates(keys, count, twice);
    for (size_t i = 0; i < count; i++)
        if (twice[i])
            r->create.results[i].result =
                core_refuse(r->arena, KERR_INVALID_REQUEST, "Duplicate topic name.");
        else
            create_one(c, r->arena, &r->create.topics[i], &budget, &r->create.results[i]);
    free(keys);
    free(twice);
    return CORE_OK;
}

/* ---- delete ---- */

static struct controller_result delete_one(struct controller_core *c, struct arena *a,
                                           const struct delete_topic *q,
                                           struct delete_topic_result *out)
{
    const struct metadata_topic *t;
    struct metadata_record r;
    char *name;

    out->name = q->name;
    out->id = q->id;
    if (!q->name.data && uuid_is_zero(q->id))
        return core_refuse(a, KERR_INVALID_REQUEST, "Neither topic name nor id were specified.");
    if (q->name.data && !uuid_is_zero(q->id))
        return core_refuse(a, KERR_INVALID_REQUEST,
                           "You may not specify both topic name and topic id.");
    t = q->name.data ? metadata_image_topic(c->image, q->name)
                     : metadata_image_topic_by_id(c->image, q->id);
    if (!t && q->name.data)
        return core_refuse(a, KERR_UNKNOWN_TOPIC_OR_PARTITION,
                           "This server does not host this topic-partition.");
    if (!t)
        return core_refuse(a, KERR_UNKNOWN_TOPIC_ID, "This server does not host this topic ID.");
    name = arena_strdup(a, t->name);
    if (!name)
        return too_large;
    out->name = (struct str){name, t->name.size};
    out->id = t->id;
    metadata_record_init(&r, REMOVE_TOPIC_RECORD_KEY, 0);
    r.remove_topic.topic_id = t->id;
    core_emit(c, &r);
    core_collision_remove(c, out->name);
    return CORE_OK;
}

struct controller_result core_delete_topics(struct controller_core *c, struct controller_request *r)
{
    size_t count = r->remove.count;
    struct core_key *keys;
    bool *twice;

    if (!config_values_boolean(c->given, "delete.topic.enable"))
        return (struct controller_result){KERR_TOPIC_DELETION_DISABLED,
                                          "Topic deletion is disabled."};
    r->remove.results = arena_array(r->arena, struct delete_topic_result, count);
    if (!r->remove.results)
        return too_large;
    keys = memory_zalloc(count, sizeof *keys);
    twice = memory_zalloc(count, sizeof *twice);
    for (size_t i = 0; i < count; i++)
        keys[i] = (struct core_key){
            .name = r->remove.topics[i].name, .id = r->remove.topics[i].id, .index = i};
    core_find_duplicates(keys, count, twice);
    for (size_t i = 0; i < count; i++) {
        struct delete_topic_result *out = &r->remove.results[i];

        out->name = r->remove.topics[i].name;
        out->id = r->remove.topics[i].id;
        out->result =
            twice[i] ? core_refuse(r->arena, KERR_INVALID_REQUEST, "Duplicate topic name or id.")
                     : delete_one(c, r->arena, &r->remove.topics[i], out);
    }
    free(keys);
    free(twice);
    return CORE_OK;
}

/* ---- grow ---- */

static struct controller_result check_growth(struct arena *a, const struct grow_topic *q,
                                             size_t has, size_t budget)
{
    if (q->partition_count >= 0 && (size_t)q->partition_count == has)
        return core_refuse(a, KERR_INVALID_PARTITIONS, "Topic already has %zu partition(s).", has);
    if (q->partition_count < 0 || (size_t)q->partition_count < has)
        return core_refuse(
            a, KERR_INVALID_PARTITIONS,
            "The topic %.*s currently has %zu partition(s); %d would not be an increase.",
            STR_ARG(q->name), has, q->partition_count);
    if ((size_t)q->partition_count - has > budget)
        return too_many_partitions(a);
    if (q->assignments && q->assignment_count != (size_t)q->partition_count - has)
        return core_refuse(
            a, KERR_INVALID_REPLICA_ASSIGNMENT,
            "Attempted to add %zu additional partition(s), but only %zu assignment(s) were "
            "specified.",
            (size_t)q->partition_count - has, q->assignment_count);
    return CORE_OK;
}

static struct controller_result grow_one(struct controller_core *c, struct arena *a,
                                         const struct grow_topic *q, size_t *budget)
{
    const struct metadata_topic *t = metadata_image_topic(c->image, q->name);
    struct controller_result result;
    struct layout l;
    size_t has;

    if (!t)
        return core_refuse(a, KERR_UNKNOWN_TOPIC_OR_PARTITION,
                           "This server does not host this topic-partition.");
    has = t->partition_count;
    result = check_growth(a, q, has, *budget);
    if (result.code != KERR_NONE)
        return result;
    arena_reset(&c->scratch);
    l = (struct layout){.partition_count = (size_t)q->partition_count - has,
                        .replica_count = t->partitions[0]->replicas.count};
    result = q->assignments ? take_assignments(c, a, q->assignments, true, &l) : place(c, a, &l);
    if (result.code != KERR_NONE)
        return result;
    *budget -= l.partition_count;
    if (!c->dry_run)
        emit_partitions(c, t->id, has, &l);
    return CORE_OK;
}

struct controller_result core_grow_topics(struct controller_core *c, struct controller_request *r)
{
    size_t count = r->grow.count, budget = CONTROLLER_REQUEST_PARTITIONS_MAX;
    struct core_key *keys;
    bool *twice;

    r->grow.results = arena_array(r->arena, struct controller_result, count);
    if (!r->grow.results)
        return too_large;
    keys = memory_zalloc(count, sizeof *keys);
    twice = memory_zalloc(count, sizeof *twice);
    for (size_t i = 0; i < count; i++)
        keys[i] = (struct core_key){.name = r->grow.topics[i].name, .index = i};
    core_find_duplicates(keys, count, twice);
    for (size_t i = 0; i < count; i++)
        r->grow.results[i] =
            twice[i] ? core_refuse(r->arena, KERR_INVALID_REQUEST, "Duplicate topic name.")
                     : grow_one(c, r->arena, &r->grow.topics[i], &budget);
    free(keys);
    free(twice);
    return CORE_OK;
}
